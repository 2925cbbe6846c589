"""What one step, question or audit asks of the pretended card."""

from __future__ import annotations

from dataclasses import dataclass
from unittest import mock

from specviz.engine.session import Session
from specviz.engine.whatif import through_models
from specviz.models.loading import Pair
from specviz.trace.schema import Choice, Settings, Trace
from specviz.trace.whatif_question import Question
from tests import pairs
from tests.card.counting import Counts, counting
from tests.tools.same_traces import make_pair

PROMPT = "the sea is an onion in a tin and the sea is an onion"


@dataclass(frozen=True)
class Measured:
    """Of one step.

    Attributes:
        nodes: drafted ones.
        forwards: of the draft; a level each, of a best-first tree an expansion each.
    """

    counts: Counts
    nodes: int
    forwards: int


def card_pair() -> Pair:
    """A tiny pair on the card, with room for the largest tree."""
    return make_pair("cuda", max_position_embeddings=4096)


def settings_for(tree: Choice, verifiers: tuple[str, ...] = pairs.ALL_VERIFIERS, audit: bool = False) -> Settings:
    chosen = tuple(Choice(name=name) for name in verifiers)
    return pairs.make_settings(tree, verifiers=chosen, driver=verifiers[0], max_new_tokens=200, audit=audit)


def measure_step(pair: Pair, settings: Settings) -> Measured:
    """The first step after the one that fills the caches whose tree has more than one node."""
    session = Session(pair, settings, PROMPT)
    session.step()
    plain = pair.draft.forward
    while True:
        with counting() as counts, mock.patch.object(pair.draft, "forward", side_effect=plain) as forward:
            step = session.step()
        if len(step.tree.nodes) > 2:
            # An audit's own forward is no level.
            forwards = forward.call_count - settings.audit
            return Measured(counts, len(step.tree.nodes) - 1, forwards)


def recorded_run(pair: Pair, tree: Choice) -> Trace:
    """Two steps."""
    session = Session(pair, settings_for(tree), PROMPT)
    session.step()
    session.step()
    return session.trace


def measure_question(pair: Pair, trace: Trace) -> Counts:
    """A what-if question about the second step, answered by the models."""
    with counting() as counts:
        through_models(pair, trace, 1, Question(Choice(name="rejection"), forced={1: True}))
    return counts
