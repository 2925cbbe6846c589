"""Live tensors and objects of a step -> the frozen values of a trace."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import torch

from specviz.engine.cache_recording import record_change
from specviz.engine.row_recording import Rows, Texts, rows_of, top_of
from specviz.engine.step_values import Commit, Scores, Verified
from specviz.sampling import take_rows, top_k
from specviz.trace.schema import (
    LONGEST_NAME,
    Bonus,
    Caches,
    Decision,
    DraftTree,
    EndReason,
    Node,
    PartialNode,
    Processed,
    Residual,
    Settings,
    Step,
    Timings,
    Verdict,
    cut,
)
from specviz.transfers import Reads, upload
from specviz.tree import TokenTree
from specviz.verifiers import Judgement, Ruling, edge_probs, verifier_errors
from specviz.verifiers.optimum import expected_acceptance, optimum_of_nodes

N = TypeVar("N", bound=PartialNode)


def record_tree(
    builder: str,
    tree: TokenTree,
    scores: Scores,
    draft_rows: Rows,
    settings: Settings,
    texts: Texts,
    reads: Reads,
    outside: torch.Tensor | None = None,
) -> Callable[[], DraftTree]:
    """The drafted and scored tree, to be called once everything of the step has been asked for.

    With ``settings.record_optimum`` the optimum of every node is computed now, which waits for the device.

    Args:
        draft_rows: one per row of ``tree.rows``.
        outside: [V], 1 for the tokens that the draft cannot propose; None where it can propose all.
    """
    is_processed = scores.processed is not None
    target_rows = rows_of(
        scores.logits, scores.probs, settings.target, settings.record_top_k, reads, is_processed=is_processed
    )
    changes = reads.ask(*([] if scores.processed is None else [scores.processed.moved, scores.processed.apart]))
    p_outside = reads.ask(*([] if outside is None else [(scores.probs @ outside).clamp(max=1)]))
    rows = _nodes(Node, tree, scores.probs, target_rows, draft_rows, texts, reads)
    optima = optimum_of_nodes(tree, scores.probs) if settings.record_optimum else []

    def nodes() -> tuple[Node, ...]:
        found = rows()
        if changed := [column.tolist() for column in changes()]:
            found = tuple(
                node.model_copy(update={"processed": Processed(moved=moved, apart=apart)})
                for node, moved, apart in zip(found, *changed, strict=True)
            )
        more: dict[str, list[float] | list[float | None]] = {
            "p_outside": [mass for column in p_outside() for mass in column.tolist()],
            "optimum": optima,
        }
        for name, values in more.items():
            if values:
                found = tuple(node.model_copy(update={name: x}) for node, x in zip(found, values, strict=True))
        return found

    return cache(lambda: DraftTree(builder=builder, proposal=tree.proposal, nodes=nodes()))


@dataclass
class Attempt:
    """How far a step has come: what can be recorded of it if it fails."""

    texts: Texts
    tree: TokenTree | None = None
    scores: Scores | None = None
    recorded: Callable[[], DraftTree] | None = None


def record_attempt(attempt: Attempt, draft_rows: Callable[[int], Rows], settings: Settings) -> tuple[PartialNode, ...]:
    """The nodes of a step that failed, with the rows that were computed.

    Args:
        attempt: has a tree.
        draft_rows: k -> one per row of that tree.
    """
    if attempt.recorded is not None:
        return attempt.recorded().nodes
    assert attempt.tree is not None
    reads, k = Reads(), settings.record_top_k
    drafted = draft_rows(k)
    if attempt.scores is None:
        return _nodes(PartialNode, attempt.tree, None, None, drafted, attempt.texts, reads)()
    logits, probs = attempt.scores.logits, attempt.scores.probs
    scored = rows_of(logits, probs, settings.target, k, reads, is_processed=attempt.scores.processed is not None)
    return _nodes(PartialNode, attempt.tree, probs, scored, drafted, attempt.texts, reads)()


def record_step(
    drafted: TokenTree,
    tree: Callable[[], DraftTree],
    results: Mapping[str, Verified],
    commit: Commit,
    settings: Settings,
    texts: Texts,
    reads: Reads,
    *,
    index: int,
    context: int,
    prefilled: int,
    end_reason: EndReason | None,
    timings: Callable[[], Timings],
) -> Step:
    """A step that is done, without its audits. What it needs from the device is asked for first, and read at once.

    Args:
        tree: of ``drafted``; has asked already.
        results: of every verifier, by name.
        context: committed tokens before the step.
        timings: of the phases so far; called when everything is read.
    """
    asked = {}
    for name, verified in results.items():
        with verifier_errors(verified.verifier):
            asked[name] = record_verdict(verified, drafted, settings, texts, reads)
    draft_ranks = ask_draft_ranks(drafted, results, reads)
    target, draft = record_change(commit.target, reads), record_change(commit.draft, reads)
    reads.finish()  # here, where what goes wrong on the device is no verifier's fault
    verdicts: dict[str, Verdict] = {}
    for name, verified in results.items():
        with verifier_errors(verified.verifier):
            verdicts[name] = asked[name](draft_ranks().get(name))
    changes = target(), draft()
    for change in changes:
        texts.mention([slot.token for slot in change.appended])
    texts.mention(commit.tokens)
    return Step(
        index=index,
        context=context,
        tree=tree(),
        verdicts=verdicts,
        driver=settings.driver,
        committed=commit.tokens,
        end_reason=end_reason,
        caches=Caches(target=changes[0], draft=changes[1]),
        tokens=texts.seen(),
        timings=timings(),
        prefilled=prefilled,
    )


def _nodes(
    kind: type[N],
    tree: TokenTree,
    target: torch.Tensor | None,
    target_rows: Rows | None,
    draft_rows: Rows,
    texts: Texts,
    reads: Reads,
) -> Callable[[], tuple[N, ...]]:
    asked = reads.ask(softmax_edge_probs(tree), *([] if target is None else [edge_probs(tree, target)]))

    def nodes() -> tuple[N, ...]:
        q, *others = (column.tolist() for column in asked())
        p = others[0] if others else None
        drafted, scored = draft_rows(texts), target_rows(texts) if target_rows else None
        shape, found = tree.shape, []
        for i, token in enumerate(tree.tokens):
            row = tree.row_of.get(i)
            fields: dict[str, Any] = {
                "id": i,
                "parent": shape.parents[i],
                "depth": shape.depths[i],
                "rank": shape.ranks[i],
                "token": token,
                "text": texts(token),
                "draft_prob": q[i - 1] if i else None,
                "target_prob": p[i] if i and p else None,
                "draft": None if row is None else drafted[row],
                "target": scored[i] if scored else None,
            }
            found.append(kind(**fields))
        return tuple(found)

    return nodes


def softmax_edge_probs(tree: TokenTree) -> torch.Tensor:
    """[n - 1], the probability of every node but the root in the draft's processed rows, whatever the proposal is."""
    if len(tree) == 1:
        return tree.rows.new_empty(0)
    rows = upload([tree.row_of[parent] for parent in tree.shape.parents[1:]], tree.rows.device)
    return tree.rows[rows, upload(tree.tokens[1:], tree.rows.device)]


def ask_draft_ranks(
    tree: TokenTree, results: Mapping[str, Verified], reads: Reads
) -> Callable[[], dict[str, int | None]]:
    """How many tokens the draft likes better than each verifier's bonus token, by the verifier's name.

    Not there where the draft has no row at the node where it was drawn. To be called once all of the step has been
    asked.
    """
    drawn = {
        name: (tree.row_of[verified.walk.end.node], verified.bonus.token)
        for name, verified in results.items()
        if verified.walk.end.node in tree.row_of and verified.bonus.token < tree.rows.shape[-1]
    }
    if not drawn:
        return dict
    places = list(dict.fromkeys(drawn.values()))  # many verifiers draw the same token at the same node
    rows = take_rows(tree.rows, [row for row, _ in places])
    own = rows.gather(-1, upload([[token] for _, token in places], rows.device))
    asked = reads.ask(torch.count_nonzero(rows > own, -1))

    def ranks() -> dict[str, int | None]:
        by_place = dict(zip(places, asked()[0].tolist(), strict=True))
        return {name: by_place[place] for name, place in drawn.items()}

    return ranks


def record_verdict(
    verified: Verified, tree: TokenTree, settings: Settings, texts: Texts, reads: Reads
) -> Callable[[int | None], Verdict]:
    """One verifier's judgement, walk and bonus token as a verdict, to be called once all of the step has been asked,
    with what :func:`ask_draft_ranks` says of the bonus token."""
    k = settings.record_top_k
    expected = expected_acceptance(verified.verifier, tree, verified.judgement) if settings.record_optimum else None
    residuals = _residuals(verified.judgement, verified.walk.rulings, k, texts, reads)
    top = reads.ask(*top_k(verified.row, min(k, verified.row.shape[-1])))
    return lambda draft_rank: _verdict(verified, residuals(), top(), draft_rank, expected, texts)


def _verdict(
    verified: Verified,
    residuals: Mapping[int, Residual],
    bonus_row: Sequence[torch.Tensor],
    draft_rank: int | None,
    expected_acceptance: Sequence[float | None] | None,
    texts: Texts,
) -> Verdict:
    verifier, walk, bonus = verified.verifier, verified.walk, verified.bonus
    judgement = verified.judgement
    thresholds = [1.0, *judgement.thresholds.tolist()[1:]]
    p, q = judgement.p.tolist(), judgement.q.tolist()
    top, indices = bonus_row
    decisions = tuple(
        Decision(
            node=ruling.node,
            rule=cut(verifier.rule, LONGEST_NAME),
            comparison=verifier.comparison,
            threshold=thresholds[ruling.node],
            p=_number(p[ruling.node]),
            q=_number(q[ruling.node]),
            uniform=ruling.uniform,
            expected=ruling.expected,
            outcome=ruling.outcome,
            reason=cut(_reason(ruling, residuals)),
            residual=residuals.get(ruling.node),
        )
        for ruling in walk.rulings
    )
    other = verified.other_mode
    texts.mention([] if other is None or other.bonus is None else [other.bonus])
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
            distribution=top_of(indices.tolist(), top.tolist(), texts),
            draft_rank=draft_rank,
        ),
        expected_acceptance=None if expected_acceptance is None else tuple(expected_acceptance),
        other_mode=verified.other_mode,
    )


def _residuals(
    judgement: Judgement, rulings: Sequence[Ruling], k: int, texts: Texts, reads: Reads
) -> Callable[[], dict[int, Residual]]:
    """The residual after every rejected node, for rules that have residuals."""
    rejected = [ruling.node for ruling in rulings if ruling.outcome == "rejected"]
    if judgement.residuals is None or not rejected:
        return dict
    found = judgement.residuals(rejected)
    asked = reads.ask(found.mass, found.ids, found.probs)

    def residuals() -> dict[int, Residual]:
        columns = zip(rejected, *(column.tolist() for column in asked()), strict=True)
        return {node: Residual(mass=mass, top=top_of(ids[:k], probs[:k], texts)) for node, mass, ids, probs in columns}

    return residuals


def _reason(ruling: Ruling, residuals: Mapping[int, Residual]) -> str:
    residual = residuals.get(ruling.node)
    if residual is not None and residual.mass == 0:
        return f"{ruling.reason}; the residual has no mass, so the target row before it is kept"
    return ruling.reason


def _number(x: float) -> float | None:
    return None if math.isnan(x) else x
