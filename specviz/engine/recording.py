"""Live tensors -> recorded values. Everything here is read from the objects in which it happened."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from specviz.dice import Draw
from specviz.models.kv_cache import Compaction, SlotCache, Written
from specviz.options import Options
from specviz.sampling import entropy, top_k
from specviz.trace.schema import (
    Bonus,
    CacheChange,
    Decision,
    DraftTree,
    Lossless,
    Node,
    PartialNode,
    Residual,
    Row,
    Sampling,
    Settings,
    Slot,
    TokenText,
    TopK,
    Verdict,
)
from specviz.tree import TokenTree
from specviz.verifiers import Judgement, Ruling, Verifier, Walk, edge_probs

N = TypeVar("N", bound=PartialNode)


class Texts:
    """Looks token texts up and remembers which ones a step mentions."""

    def __init__(self, token_text: Callable[[int], TokenText]):
        self._token_text = token_text
        self._seen: dict[int, TokenText] = {}

    def __call__(self, token: int) -> str:
        if token not in self._seen:
            self._seen[token] = self._token_text(token)
        return self._seen[token].text

    def mention(self, tokens: Sequence[int]) -> None:
        for token in tokens:
            if token not in self._seen:
                self._seen[token] = self._token_text(token)

    def seen(self) -> tuple[TokenText, ...]:
        """In the order of their ids."""
        return tuple(self._seen[token] for token in sorted(self._seen))


def rows_of(logits: torch.Tensor, probs: torch.Tensor, sampling: Sampling, k: int, texts: Texts) -> list[Row]:
    """Record n distributions.

    Args:
        logits: [n, V], as the model returned them.
        probs: [n, V], processed.
    """
    k = min(k, logits.shape[-1])
    top, indices = top_k(logits, k)
    # Every sampling parameter keeps the order of the tokens, so one top-k serves the raw and the processed row.
    processed = probs.gather(-1, indices)
    untouched = sampling == Sampling()
    raw = processed if untouched else torch.exp(top - logits.logsumexp(-1, keepdim=True))
    entropies = [0.0] * len(probs) if sampling.temperature == 0 else entropy(probs).tolist()
    best = [_short(logit) if math.isfinite(logit) else None for logit in top[:, 0].tolist()]
    columns = (indices.tolist(), raw.tolist(), processed.tolist(), entropies, best)
    rows = []
    for ids, raw_row, row, h, logit in zip(*columns, strict=True):
        texts.mention(ids)
        plain = _positive(ids, raw_row)
        kept = plain if untouched else _positive(ids, row)
        rows.append(Row(entropy=abs(h), raw=plain, processed=kept, top_logit=logit))
    return rows


def record_tree(
    builder: str, tree: TokenTree, target: torch.Tensor, target_rows: list[Row], draft_rows: list[Row], texts: Texts
) -> DraftTree:
    """The drafted and scored tree.

    Args:
        target: [n, V], processed.
        target_rows: one per node.
        draft_rows: one per row of ``tree.rows``.
    """
    nodes = _nodes(Node, tree, target, target_rows, draft_rows, texts)
    return DraftTree(builder=builder, proposal=tree.proposal, nodes=nodes)


@dataclass
class Attempt:
    """How far a step has come, for the case that it fails."""

    texts: Texts | None = None
    tree: TokenTree | None = None
    scored: tuple[torch.Tensor, torch.Tensor] | None = None
    """The target's logits and processed rows, [n, V] each."""
    recorded: DraftTree | None = None


def record_attempt(
    attempt: Attempt, draft_rows: Callable[[int, Texts], list[Row]], settings: Settings, texts: Texts
) -> tuple[PartialNode, ...]:
    """The tree of a step that failed, with the rows that were computed.

    Args:
        attempt: has a tree.
        draft_rows: (k, texts) -> one per row of that tree.
    """
    if attempt.recorded is not None:
        return attempt.recorded.nodes
    assert attempt.tree is not None
    drafted = draft_rows(settings.record_top_k, texts)
    if attempt.scored is None:
        return _nodes(PartialNode, attempt.tree, None, None, drafted, texts)
    logits, probs = attempt.scored
    scored = rows_of(logits, probs, settings.target, settings.record_top_k, texts)
    return _nodes(PartialNode, attempt.tree, probs, scored, drafted, texts)


def _nodes(
    kind: type[N],
    tree: TokenTree,
    target: torch.Tensor | None,
    target_rows: list[Row] | None,
    draft_rows: list[Row],
    texts: Texts,
) -> tuple[N, ...]:
    p = None if target is None else edge_probs(tree, target).tolist()
    q = _softmax_edge_probs(tree)
    nodes = []
    for i, token in enumerate(tree.tokens):
        row = tree.row_of.get(i)
        fields: dict[str, Any] = {
            "id": i,
            "parent": tree.shape.parents[i],
            "depth": tree.shape.depths[i],
            "rank": tree.shape.ranks[i],
            "token": token,
            "text": texts(token),
            "draft_prob": q[i] if i else None,
            "target_prob": p[i] if i and p else None,
            "draft": None if row is None else draft_rows[row],
            "target": target_rows[i] if target_rows else None,
        }
        nodes.append(kind(**fields))
    return tuple(nodes)


def _softmax_edge_probs(tree: TokenTree) -> list[float]:
    """What the draft's processed rows say of every node's token, whatever the proposal; nothing for the root."""
    if len(tree) == 1:
        return [math.nan]
    rows = [tree.row_of[parent] for parent in tree.shape.parents[1:]]
    return [math.nan, *tree.rows[rows, list(tree.tokens[1:])].tolist()]


@dataclass(frozen=True)
class Verified:
    """One verifier's work on one tree."""

    verifier: Verifier
    options: Options
    judgement: Judgement
    """On the host, but for the rows its functions reach."""
    walk: Walk
    bonus: Draw
    row: torch.Tensor
    """[V], what the bonus token was drawn from."""
    lossless: Lossless = "not proved"
    """See :func:`specviz.verifiers.proof_table.says`."""


def record_verdict(verified: Verified, k: int, texts: Texts) -> Verdict:
    """Judgement and walk as one verdict."""
    verifier, walk, bonus = verified.verifier, verified.walk, verified.bonus
    judgement = verified.judgement
    thresholds = [1.0, *judgement.thresholds.tolist()[1:]]
    p, q = judgement.p.tolist(), judgement.q.tolist()
    residuals = _residuals(judgement, walk.rulings, k, texts)
    top, indices = top_k(verified.row, min(k, verified.row.shape[-1]))
    decisions = tuple(
        Decision(
            node=ruling.node,
            rule=verifier.rule,
            comparison=verifier.comparison,
            threshold=thresholds[ruling.node],
            p=_number(p[ruling.node]),
            q=_number(q[ruling.node]),
            uniform=ruling.uniform,
            expected=ruling.expected,
            outcome=ruling.outcome,
            reason=_reason(ruling, residuals),
            residual=residuals.get(ruling.node),
        )
        for ruling in walk.rulings
    )
    texts.mention([ruling.expected for ruling in walk.rulings if ruling.expected is not None])
    return Verdict(
        verifier=verifier.name,
        options=dict(verified.options),
        lossless=verified.lossless,
        thresholds=tuple(thresholds),
        decisions=decisions,
        path=walk.path,
        bonus=Bonus(
            token=bonus.token,
            text=texts(bonus.token),
            node=walk.end.node,
            source=walk.end.source,
            uniform=bonus.uniform,
            distribution=_top(indices.tolist(), top.tolist(), texts),
        ),
    )


def _residuals(judgement: Judgement, rulings: Sequence[Ruling], k: int, texts: Texts) -> dict[int, Residual]:
    """The residual after every rejected node, for rules that have residuals."""
    rejected = [ruling.node for ruling in rulings if ruling.outcome == "rejected"]
    if judgement.residuals is None or not rejected:
        return {}
    found = judgement.residuals(rejected)
    columns = zip(rejected, found.mass.tolist(), found.ids.tolist(), found.probs.tolist(), strict=True)
    return {node: Residual(mass=mass, top=_top(ids[:k], probs[:k], texts)) for node, mass, ids, probs in columns}


def _reason(ruling: Ruling, residuals: Mapping[int, Residual]) -> str:
    residual = residuals.get(ruling.node)
    if residual is not None and residual.mass == 0:
        return f"{ruling.reason}; the residual has no mass, so the target row before it is kept"
    return ruling.reason


def record_change(
    cache: SlotCache,
    base: int,
    written: Sequence[Written],
    node_of: Mapping[int, int],
    context: int,
    before: tuple[str, ...],
    kept: Compaction,
) -> CacheChange:
    """What a step did to one cache.

    Args:
        base: committed slots before the step.
        written: the rows appended since.
        node_of: offset -> tree node.
        context: how many of the first rows were committed tokens that the cache caught up with.
        before: fingerprints of the appended slots, read after the forwards.
    """
    slots = tuple(
        Slot(
            slot=base + offset,
            token=row.token,
            position=row.position,
            role="context" if offset < context else "node" if offset in node_of else "pruned",
            node=node_of.get(offset),
            sees=tuple(base + other for other in row.sees),
            sees_before=row.sees_before,
        )
        for offset, row in enumerate(written)
    )
    return CacheChange(
        length_before=base,
        appended=slots,
        moves=kept.moves,
        dropped=kept.dropped,
        length_after=cache.num_committed,
        fingerprints_before=before,
        fingerprints_after=cache.fingerprints(base, cache.num_committed),
    )


def _top(ids: list[int], probs: list[float], texts: Texts) -> TopK:
    """The entries of positive probability."""
    kept = sum(p > 0 for p in probs)
    texts.mention(ids[:kept])
    return TopK(ids=tuple(ids[:kept]), probs=tuple(_short(p) for p in probs[:kept]))


def _positive(ids: list[int], probs: list[float]) -> TopK:
    """The entries of positive probability, wherever they stand: of equal logits any one may be the one that is kept."""
    kept = [(token, _short(p)) for token, p in zip(ids, probs, strict=True) if p > 0]
    return TopK(ids=tuple(token for token, _ in kept), probs=tuple(p for _, p in kept))


def _number(x: float) -> float | None:
    return None if math.isnan(x) else x


def _short(p: float) -> float:
    """Six digits: for showing and listing. What decisions compare is kept in full. Less than one stays so."""
    short = float(f"{p:.6g}")
    return 0.999999 if short == 1 > p else short
