"""A :class:`RawStep` -> the frozen, small values of a trace. What was not said is null."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from specviz.models.tokens import TokenTexts
from specviz.recorder.cache_reading import moves
from specviz.recorder.raw_step import BONUS, RawStep
from specviz.recorder.summaries import columns_of, rank, summaries, top_of
from specviz.trace.schema import (
    LONGEST_TOKEN,
    MOST_NODES,
    Bonus,
    BonusKind,
    CacheChange,
    Caches,
    Check,
    Decision,
    DraftTree,
    FailedStep,
    Node,
    Outcome,
    PartialNode,
    Processed,
    Row,
    Slot,
    Step,
    Timings,
    TokenText,
    TopK,
    Verdict,
    cut,
)

N = TypeVar("N", bound=PartialNode)


class Texts:
    """Token texts as far as the engine gives them: ``decode`` is called once for each token id, with a list of it.

    Args:
        method: where ``decode`` is made of a fast tokenizer's own, that one: such a tokenizer says what a token adds
            within a text, leading spaces and parts of characters included.
    """

    def __init__(self, decode: Callable[[list[int]], str] | None, method: object = None):
        self._decode = decode
        tokenizer = getattr(method, "__self__", None)
        self._within = TokenTexts(tokenizer) if getattr(tokenizer, "backend_tokenizer", None) is not None else None
        self._known: dict[int, TokenText | None] = {}
        self._seen: set[int] = set()

    def __bool__(self) -> bool:
        """Whether there are any."""
        return self._decode is not None

    def __call__(self, token: int) -> str | None:
        self._seen.add(token)
        known = self._text_of(token)
        return None if known is None else known.text

    def of(self, tokens: Iterable[int]) -> tuple[TokenText, ...]:
        """The texts of these tokens, in the order of their ids."""
        return tuple(text for token in sorted({*tokens}) if (text := self._text_of(token)) is not None)

    def seen(self) -> tuple[TokenText, ...]:
        """The texts of all tokens that were asked for since the last time, in the order of their ids."""
        seen, self._seen = self._seen, set()
        return self.of(seen)

    def whole(self, tokens: Sequence[int]) -> str:
        """The text of several tokens; empty where there is none."""
        return "" if self._decode is None else _clean(self._decode([*tokens]))

    def _text_of(self, token: int) -> TokenText | None:
        if token not in self._known:
            self._known[token] = self._text(token)
        return self._known[token]

    def _text(self, token: int) -> TokenText | None:
        if self._decode is None:
            return None
        if self._within is not None:
            with contextlib.suppress(Exception):  # of a tokenizer that is not as others are
                return self._within(token)
        return TokenText(id=token, text=cut(_clean(self._decode([token])), LONGEST_TOKEN))


def _clean(text: object) -> str:
    """Half a character, as some tokenizers give, cannot be written to a file."""
    return str(text).encode("utf-8", "replace").decode()


def build_step(
    raw: RawStep,
    path: Sequence[int],
    engine: str,
    texts: Texts,
    checks: Sequence[Check],
    timings: Timings,
    *,
    source: BonusKind | None = None,
    verdicts: Mapping[str, Verdict] | None = None,
    processed: Mapping[int, Processed] | None = None,
    prefilled: int | None = None,
    fused_prefill: bool = False,
) -> Step:
    """The step as a trace has it.

    Args:
        path: the accepted nodes, which hang together.
        engine: under whose name its verdict stands.
        source: of the bonus token.
        verdicts: specviz's own, by the verifiers' names.
        processed: by node what processors did to the target's row.
    """
    outside, moved = _outside(raw), processed or {}
    nodes = [
        node.model_copy(update={"p_outside": outside.get(node.id), "processed": moved.get(node.id)})
        for node in _nodes(Node, raw, texts)
    ]
    tree = DraftTree(builder=None, proposal=raw.proposal, nodes=tuple(nodes))
    verdict = _verdict(raw, path, engine, texts, source)
    caches = Caches(target=_cache(raw, "target"), draft=_cache(raw, "draft"))
    slots = [slot.token for change in (caches.target, caches.draft) if change for slot in change.appended]
    for token in (*raw.committed, *slots):
        texts(token)
    again = {name: _with_texts(judged, texts) for name, judged in (verdicts or {}).items()}
    return Step(
        index=raw.index,
        context=raw.context,
        tree=tree,
        verdicts={engine: verdict, **again},
        driver=engine,
        committed=tuple(raw.committed),
        caches=caches,
        tokens=texts.seen(),
        timings=timings,
        prefilled=prefilled,
        fused_prefill=fused_prefill,
        checks=tuple(checks),
    )


def build_failed(raw: RawStep, texts: Texts, message: str) -> FailedStep:
    """The step as far as it got."""
    return FailedStep(
        index=raw.index,
        context=raw.context,
        builder=None,
        proposal=raw.proposal,
        nodes=_nodes(PartialNode, raw, texts),
        tokens=texts.seen(),
        message=message,
    )


# --------------------------------------------------------------------------------------------------------- the tree


def _nodes(kind: type[N], raw: RawStep, texts: Texts) -> tuple[N, ...]:
    p, q = _edges(raw, raw.p, raw.p_nodes, None), _edges(raw, raw.q, raw.q_nodes, raw.vocabulary)
    target = _rows(raw.p, raw.p_logits, raw.p_nodes, None, texts)
    draft = _rows(raw.q, raw.q_logits, raw.q_nodes, raw.vocabulary, texts)
    depths, children, found = [0] * len(raw.tokens), [0] * len(raw.tokens), []
    for i, (token, parent) in enumerate(zip(raw.tokens, raw.parents, strict=True)):
        order = 0
        if i:
            depths[i], order = depths[parent] + 1, children[parent]
            children[parent] += 1
        found.append(
            kind(
                id=i,
                parent=parent,
                depth=depths[i],
                rank=order,
                token=token,
                text=texts(token),
                draft_prob=q[i],
                target_prob=p[i],
                draft=draft.get(i),
                target=target.get(i),
            )
        )
    return tuple(found)


def _edges(raw: RawStep, rows: Any, nodes: Sequence[int], vocabulary: Any) -> list[float | None]:
    """The probability of every node in its parent's row; None for the root, and where there is no such row."""
    found: list[float | None] = [None] * len(raw.tokens)
    if rows is None:
        return found
    row_of = {node: i for i, node in enumerate(nodes)}
    columns = columns_of(raw.tokens, vocabulary, rows.shape[1])
    for i, parent in enumerate(raw.parents):
        if i and parent in row_of:
            column = columns[i]
            # What is not in the vocabulary of the draft cannot be proposed by it.
            found[i] = min(float(rows[row_of[parent], column]), 1.0) if column is not None else 0.0
    return found


def _outside(raw: RawStep) -> dict[int, float]:
    """What the target's rows give to tokens that have no column in the draft's; empty where it was not said which."""
    if raw.p is None or raw.vocabulary is None:
        return {}
    outside = np.ones(raw.p.shape[1], dtype=bool)
    outside[raw.vocabulary[raw.vocabulary < len(outside)]] = False
    if not outside.any():
        return {}
    masses = raw.p.sum(axis=1, where=outside, dtype=np.float64)
    return {node: min(float(mass), 1.0) for node, mass in zip(raw.p_nodes, masses, strict=True)}


def _rows(probs: Any, logits: Any, nodes: Sequence[int], vocabulary: Any, texts: Texts) -> dict[int, Row]:
    if probs is None and logits is None:
        return {}
    found = dict(zip(nodes, summaries(probs, logits, vocabulary), strict=True))
    for row in found.values():
        for entries in (row.raw, row.processed):
            _mention(entries, texts)
    return found


def _mention(entries: TopK | None, texts: Texts) -> None:
    for token in entries.ids if entries else ():
        texts(token)


# ------------------------------------------------------------------------------------------------------- the verdict


def _verdict(raw: RawStep, path: Sequence[int], engine: str, texts: Texts, source: BonusKind | None) -> Verdict:
    thresholds = [1.0, *(raw.thresholds.get(node) for node in range(1, len(raw.tokens)))]
    return Verdict(
        verifier=engine,
        options={},
        lossless="unknown",
        thresholds=tuple(thresholds),
        decisions=tuple(_decision(raw, node, coin, path) for node, coin in raw.coins.items() if node > 0),
        path=tuple(path),
        bonus=_bonus(raw, path[-1] if path else 0, texts, source),
    )


def _decision(raw: RawStep, node: int, coin: float, path: Sequence[int]) -> Decision:
    threshold = raw.thresholds.get(node)
    outcome: Outcome = "accepted" if node in path else "rejected"
    if outcome == "rejected" and threshold is not None and coin < threshold:
        outcome = "passed, not chosen"
    return Decision(
        node=node,
        rule=raw.rule or "not recorded",
        comparison=None if threshold is None else "uniform < threshold",
        threshold=threshold,
        p=None,
        q=None,
        uniform=coin,
        outcome=outcome,
        reason=None,
    )


def _with_texts(verdict: Verdict, texts: Texts) -> Verdict:
    """The same verdict, its bonus with a text, and all tokens that it mentions mentioned."""
    for decision in verdict.decisions:
        _mention(decision.residual.top if decision.residual else None, texts)
        if decision.expected is not None:
            texts(decision.expected)
    if verdict.other_mode is not None and verdict.other_mode.bonus is not None:
        texts(verdict.other_mode.bonus)
    if verdict.bonus is None:
        return verdict
    _mention(verdict.bonus.distribution, texts)
    named = verdict.bonus.model_copy(update={"text": texts(verdict.bonus.token)})
    return verdict.model_copy(update={"bonus": named})


def _bonus(raw: RawStep, node: int, texts: Texts, source: BonusKind | None) -> Bonus | None:
    if raw.bonus is None:
        return None
    distribution = None if raw.bonus_row is None else top_of(raw.bonus_row)
    _mention(distribution, texts)
    return Bonus(
        token=raw.bonus,
        text=texts(raw.bonus),
        node=node,
        source=source,
        uniform=raw.coins.get(BONUS),
        distribution=distribution,
        draft_rank=_draft_rank(raw, node, raw.bonus),
    )


def _draft_rank(raw: RawStep, node: int, token: int) -> int | None:
    if raw.q is None or node not in raw.q_nodes:
        return None
    column = columns_of([token], raw.vocabulary, raw.q.shape[1])[0]
    return None if column is None else rank(raw.q[raw.q_nodes.index(node)], column)


# -------------------------------------------------------------------------------------------------------- the caches


def _cache(raw: RawStep, which: str) -> CacheChange | None:
    target = which == "target"
    nodes = (raw.p_nodes or [*range(len(raw.tokens))]) if target else raw.q_nodes
    slots, positions, mask = (
        (raw.slots, raw.positions, raw.mask) if target else (raw.draft_slots, raw.draft_positions, raw.draft_mask)
    )
    reading = raw.caches.get(which)
    if reading is None and slots is None and positions is None and mask is None:
        return None
    start = None if reading is None else reading.start
    appended = [*_late(raw, start, slots)]
    columns = 0 if mask is None else mask.shape[1] - len(nodes)
    before_told = columns > 0 or raw.context == 1
    own = None if mask is None or slots is None or not slots.keys() >= {*nodes} else [slots[node] for node in nodes]
    for i, node in enumerate(nodes):
        appended.append(
            Slot(
                slot=slots.get(node) if slots else None,
                token=raw.tokens[node],
                position=positions[i] if positions else None,
                role="node",
                node=node,
                sees=None
                if own is None or mask is None
                else tuple(sorted(slot for k, slot in enumerate(own) if mask[i, columns + k])),
                sees_before=int(mask[i, :columns].sum()) if mask is not None and before_told else None,
            )
        )
    places = [slot.slot for slot in appended]
    if None not in places:
        appended.sort(key=lambda slot: slot.slot or 0)
    if reading is None:
        return CacheChange(
            length_before=start,
            appended=tuple(appended),
            moves=None,
            dropped=None,
            length_after=None,
            fingerprints_before=None,
            fingerprints_after=None,
        )
    moved, dropped = moves(reading)
    whole = reading.length_after - reading.start == len(reading.after)
    offsets = [-1 if slot.slot is None else slot.slot - reading.start for slot in appended]
    known = all(0 <= offset < len(reading.before) for offset in offsets)
    return CacheChange(
        length_before=reading.start,
        appended=tuple(appended),
        moves=moved,
        dropped=dropped,
        length_after=reading.length_after,
        fingerprints_before=tuple(reading.before[offset] for offset in offsets) if known else None,
        fingerprints_after=reading.after if whole else None,
    )


def _late(raw: RawStep, start: int | None, slots: dict[int, int] | None) -> Iterable[Slot]:
    """Slots between the committed ones and the first node: committed tokens that were fed late, the last ones before
    the root."""
    if start is None or not slots:
        return
    late = min(slots.values()) - start
    if not 0 < late < min(raw.context, MOST_NODES):
        return  # none, or a whole prompt: a trace keeps as many as a tree has nodes
    for k in range(late):
        yield Slot(
            slot=start + k,
            token=raw.text[raw.context - 1 - late + k],
            position=None,
            role="context",
            node=None,
            sees=None,
            sees_before=None,
        )
