"""The difference of two runs: the first token that differs, what that means, and each run's accepted lengths.

A reference that is no specviz run (plain greedy decoding) takes part as a :class:`Reference`. What a difference means
is decided in :mod:`specviz.trace.near_tie`.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from specviz.trace.identity import identity_lines
from specviz.trace.metrics import accepted_lengths, block_efficiency
from specviz.trace.near_tie import Meaning, Scores, greedy_step, meaning_of, scores_of
from specviz.trace.schema import ModelInfo, Row, TokenText, Trace, written
from specviz.trace.settings import flat_engine, flat_settings

PLAIN = "plain greedy decoding"
LARGEST_MATCH = 4_000_000
"""Product of two lengths in tokens up to which the texts are matched piece by piece."""


@dataclass(frozen=True)
class Reference:
    """Tokens that the target of a run decoded greedily by itself, without a tree.

    Attributes:
        tokens: new tokens.
        texts: the text of each token id.
        scores: the target's likeliest tokens where each token was chosen.
        target: what decoded them.
    """

    name: str
    tokens: tuple[int, ...]
    texts: dict[int, TokenText]
    scores: tuple[Scores, ...]
    target: ModelInfo


@dataclass(frozen=True)
class Place:
    """Where a run committed one output token.

    Attributes:
        step: position of the step.
        node: the tree node that carries it, or at which the bonus token was drawn.
        row_node: the node at which the target gave the distribution the token was judged or drawn by.
        bonus: whether it was the bonus token.
    """

    step: int
    node: int
    row_node: int
    bonus: bool


@dataclass(frozen=True)
class Parting:
    """The first token that differs.

    Attributes:
        index: of the output token.
        tokens: each side's token there; None where that side had ended.
        places: where each run committed it; None for a reference, and where it had ended.
        top: the target's two most likely tokens there, before the sampling parameters.
        probs: their probabilities.
        margin: ln(p1 / p2), which is the difference of their logits.
        chosen: the probability of each side's token after the sampling parameters, where recorded.
        meaning: a near tie, a real difference, or why neither can be said.
    """

    index: int
    tokens: tuple[int | None, int | None]
    places: tuple[Place | None, Place | None]
    top: tuple[int, ...]
    probs: tuple[float, ...]
    margin: float | None
    chosen: tuple[float | None, float | None]
    meaning: Meaning


@dataclass(frozen=True)
class Side:
    """One run in figures.

    Attributes:
        accepted: draft tokens accepted in each step; empty for a reference.
        driver: the verifier that decided, or another engine's name.
        samples: whether it draws its tokens; None where another engine did not say.
    """

    name: str
    id: str | None
    tokens: int
    steps: int
    block_efficiency: float
    accepted: tuple[int, ...]
    driver: str
    samples: bool | None


@dataclass(frozen=True)
class Comparison:
    """Two runs.

    Attributes:
        shared: how many output tokens are equal from the start.
        parting: None where all tokens of the shorter run are equal and neither ended by itself before the other.
        pieces: (kind, tokens of A, tokens of B) in order; kind is ``equal``, ``differs``.
        texts: text of every token id that is named.
        settings: (name, of A, of B) where they differ.
    """

    a: Side
    b: Side
    same_prompt: bool
    shared: int
    parting: Parting | None
    pieces: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]
    texts: dict[int, TokenText]
    settings: tuple[tuple[str, str, str], ...]


def compare(a: Trace, b: Trace | Reference, names: tuple[str, str] = ("A", "B")) -> Comparison:
    """Compare two runs. Tokens are compared by id, so the runs should share a tokenizer.

    Where one side stopped because of a token limit, a stop string or a person, the other's further tokens are no
    difference; where it had reached an end of sequence, they are.
    """
    ours, theirs = a.output_tokens(), list(b.tokens) if isinstance(b, Reference) else b.output_tokens()
    shared = next(
        (i for i, (x, y) in enumerate(zip(ours, theirs, strict=False)) if x != y), min(len(ours), len(theirs))
    )
    at_end = shared == min(len(ours), len(theirs))
    shorter = a if len(ours) < len(theirs) else b
    last = (ours if shorter is a else theirs)[-1:]
    ended = shorter.end_reason == "end of sequence" if isinstance(shorter, Trace) else set(last) <= set(a.end_tokens)
    parts = not at_end or (len(ours) != len(theirs) and ended)
    texts = _texts(a) | (b.texts if isinstance(b, Reference) else _texts(b))
    return Comparison(
        a=_side(a, names[0]),
        b=_side(b, names[1]),
        same_prompt=isinstance(b, Reference) or a.prompt_tokens == b.prompt_tokens,
        shared=shared,
        parting=_parting(a, b, ours, theirs, shared) if parts else None,
        pieces=_pieces(ours, theirs),
        texts=texts,
        settings=() if isinstance(b, Reference) else _settings(a, b),
    )


def place_of(trace: Trace, index: int) -> Place | None:
    """Where output token ``index`` was committed; None beyond the end."""
    for position, step in enumerate(trace.steps):
        if index < len(step.committed):
            path, end = step.verdicts[step.driver].path, step.verdicts[step.driver].end
            if index < len(path):
                return Place(position, path[index], step.tree.nodes[path[index]].parent, False)
            return Place(position, end, end, True)
        index -= len(step.committed)
    return None


def _is_processed(trace: Trace | Reference, place: Place | None) -> bool:
    if not isinstance(trace, Trace) or place is None:
        return False
    return trace.steps[place.step].tree.nodes[place.row_node].processed is not None


def _parting(a: Trace, b: Trace | Reference, ours: Sequence[int], theirs: Sequence[int], index: int) -> Parting:
    tokens = tuple(side[index] if index < len(side) else None for side in (ours, theirs))
    places = (place_of(a, index), None if isinstance(b, Reference) else place_of(b, index))
    rows = [
        trace.steps[place.step].tree.nodes[place.row_node].target
        for trace, place in zip((a, b), places, strict=True)
        if isinstance(trace, Trace) and place is not None
    ]
    row = rows[0] if rows else None
    raw = row.raw if row else None
    scores = [None if one is None else scores_of(one) for one in rows]
    if any(_is_processed(trace, place) for trace, place in zip((a, b), places, strict=True)):
        scores = []  # tokens were chosen by processed logits, and raw ones were recorded
    if isinstance(b, Reference) and index < len(b.scores):
        scores.insert(0, b.scores[index])  # of logits, not of recorded probabilities with six digits
    chosen = tuple(_prob(row, token) for token in tokens)
    return Parting(
        index=index,
        tokens=(tokens[0], tokens[1]),
        places=places,
        top=tuple(raw.ids[:2]) if raw else (),
        probs=tuple(raw.probs[:2]) if raw else (),
        margin=scores[0].margin if scores and scores[0] else None,
        chosen=(chosen[0], chosen[1]),
        meaning=meaning_of(
            a,
            b.target if isinstance(b, Reference) else b,
            (places[0].step if places[0] else None, places[1].step if places[1] else None),
            (tokens[0], tokens[1]),
            scores,
        ),
    )


def _prob(row: Row | None, token: int | None) -> float | None:
    if row is None or row.processed is None or token is None:
        return None
    return dict(zip(row.processed.ids, row.processed.probs, strict=True)).get(token)


def _side(run: Trace | Reference, name: str) -> Side:
    if isinstance(run, Reference):
        count = len(run.tokens)
        return Side(name, None, count, count, 1.0 if count else math.nan, (), run.name, False)
    # Steps from before a fork may have had another driver.
    accepted = tuple(n for step in run.steps for n in accepted_lengths([step], step.driver))
    driver = run.settings.driver if run.settings else run.who
    same = {step.driver for step in run.steps} <= {driver}
    efficiency = block_efficiency(run, driver) if same else len(run.output_tokens()) / len(run.steps)
    greedy = {greedy_step(run, position) for position in range(len(run.steps))}
    samples = False if greedy <= {True} else None if None in greedy else True
    return Side(name, run.id, len(run.output_tokens()), len(run.steps), efficiency, accepted, driver, samples)


def _texts(trace: Trace) -> dict[int, TokenText]:
    texts: dict[int, TokenText] = {}
    for step in trace.steps:
        texts.update(step.text_of())
        texts.update((token, written(token, texts)) for token in step.committed if token not in texts)
    return texts


def _settings(a: Trace, b: Trace) -> tuple[tuple[str, str, str], ...]:
    ours, theirs = _all_settings(a), _all_settings(b)
    names = list(dict.fromkeys((*ours, *theirs)))
    return tuple((n, ours.get(n, "–"), theirs.get(n, "–")) for n in names if ours.get(n) != theirs.get(n))


def _all_settings(trace: Trace) -> dict[str, str]:
    said = {"engine": trace.who} | identity_lines(trace.models) | {"prompt": trace.prompt[:80]}
    said |= flat_settings(trace.settings) if trace.settings else {}
    return said | (flat_engine(trace.engine) if trace.engine else {})


def _pieces(a: Sequence[int], b: Sequence[int]) -> tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]:
    """[kind, ours, theirs] in order. Very long texts are matched up to where they part only."""
    if len(a) * len(b) > LARGEST_MATCH:
        shared = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
        pieces = (("equal", tuple(a[:shared]), tuple(b[:shared])), ("differs", tuple(a[shared:]), tuple(b[shared:])))
        return tuple(piece for piece in pieces if piece[1] or piece[2])
    matcher = difflib.SequenceMatcher(None, a, b, autojunk=False)
    return tuple(
        ("equal" if kind == "equal" else "differs", tuple(a[i:j]), tuple(b[k:m]))
        for kind, i, j, k, m in matcher.get_opcodes()
    )
