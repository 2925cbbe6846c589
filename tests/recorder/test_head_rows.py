"""Recorded rows of draft heads against a recompute from the text: every fault that an engine can make with a head."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any
from unittest.mock import patch

import pytest
import torch

from specviz.engine.head_runners import StepHeadRunner
from specviz.engine.session import Session
from specviz.errors import ModelError
from specviz.models.head_model import HeadModel
from specviz.models.loading import Pair
from specviz.recorder.audit import audit
from specviz.recorder.findings import Finding
from specviz.trace.schema import Choice, Trace
from tests import heads
from tests.pairs import make_pair, make_settings

TREE = Choice(name="k_config", options={"tree": "3,1"})
EAGLE = "eagle3, a part of the vocabulary"
KINDS = (
    *("eagle1", EAGLE, "eagle3.1", "mtp"),
    *("medusa", "p_eagle, a part of the vocabulary", "dflash, a part of the vocabulary", "dspark, gated"),
)


pair_with = cache(heads.pair_with)


def recorded(pair: Pair) -> Trace:
    one: dict[str, Any] = {"verifiers": (Choice(name="rejection"),), "seed": 5, "max_new_tokens": 6, "record_top_k": 8}
    session = Session(pair, make_settings(TREE, **one), "the sea is an onion")
    list(session.run())
    assert session.trace.failed is None
    return session.trace


def draft_rows(trace: Trace, kind: str) -> Finding:
    """What a recompute with the right head says."""
    right = pair_with(kind)
    found = [one for one in audit(trace, right.target, right.draft) if isinstance(one, Finding)]
    (rows,) = [one for one in found if one.check == "draft_rows"]
    return rows


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_every_kind_of_head_are_those_of_a_recompute(kind: str) -> None:
    trace = recorded(pair_with(kind))
    found = draft_rows(trace, kind)
    assert found.weight == "note", found.sentence
    # Nor is anything wrong with its slots, positions and masks, which are those of a head.
    assert [one.sentence for one in audit(trace) if isinstance(one, Finding) and one.weight != "note"] == []


@contextmanager
def drafted_keys_stay() -> Iterator[Pair]:
    """vllm #14649: after a verdict the accepted nodes keep the slots that were made of the head's own output."""
    with patch.object(StepHeadRunner, "_staying", lambda _self, nodes: nodes):
        yield pair_with(EAGLE)


@contextmanager
def states_one_token_off() -> Iterator[Pair]:
    """Each token is read beside the state of itself and not of the one before: no shift between state and token."""
    fuse = HeadModel.fuse
    with patch.object(HeadModel, "fuse", lambda self, states: fuse(self, states.roll(-1, 0))):
        yield pair_with(EAGLE)


@contextmanager
def set_otherwise(**by_hand: Any) -> Iterator[Pair]:
    """The head is run with other options than it was made for."""
    yield heads.pair_with("eagle3.1" if "norm_output" in by_hand else EAGLE, **by_hand)


@contextmanager
def changed(change: Callable[[Any], None]) -> Iterator[Pair]:
    """Something of the head was lost while it was loaded."""
    pair = heads.pair_with("eagle3")
    change(pair.draft.head)
    yield pair


@contextmanager
def offsets_ignored() -> Iterator[Pair]:
    """Column c of the logits is taken for token c."""
    pair = heads.pair_with(EAGLE)
    pair.draft.token_ids = torch.arange(len(pair.draft.token_ids))
    yield pair


def lose_embeddings(head: Any) -> None:
    head.embed_tokens.weight = torch.nn.Parameter(0.02 * torch.randn(head.embed_tokens.weight.shape), False)


FAULTS: dict[str, tuple[str, Callable[[], Any]]] = {
    "drafted keys stay": (EAGLE, drafted_keys_stay),
    "layer index off by one": (EAGLE, lambda: set_otherwise(reads="1,2,2")),
    "norm flipped": ("eagle3.1", lambda: set_otherwise(norm_output=False)),
    "no shift between state and token": (EAGLE, states_one_token_off),
    "offsets of d2t ignored": (EAGLE, offsets_ignored),
    "rope of another base": (EAGLE, lambda: set_otherwise(rope_theta=1_000_000.0)),
    "embeddings not loaded": ("eagle3", lambda: changed(lose_embeddings)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_engines_do_wrong_with_heads_is_found(fault: str) -> None:
    kind, planted = FAULTS[fault]
    with ExitStack() as stack:
        trace = recorded(stack.enter_context(planted()))
    assert fault != "drafted keys stay" or any(len(step.committed) > 1 for step in trace.steps)
    found = draft_rows(trace, kind)
    assert found.weight == "warning", found.sentence
    assert found.meaning.startswith("the head reads other states")
    slots = [one.sentence for one in audit(trace) if isinstance(one, Finding) and one.weight != "note"]
    assert bool(slots) == (fault == "drafted keys stay"), slots  # which the slots that stayed say without a model


def test_a_head_is_asked_with_its_target() -> None:
    pair = pair_with(EAGLE)
    with pytest.raises(ModelError, match="give the target too"):
        audit(recorded(pair), draft=pair.draft)
    found = audit(recorded(pair), target=make_pair().target.model, draft=pair.draft)
    assert {one.check for one in found if isinstance(one, Finding)} >= {"draft_rows", "target_rows"}
