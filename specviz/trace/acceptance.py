"""Acceptance by depth and sibling rank, as Sequoia's recursion wants it, from whatever trees were run.

The probability that the child of draw rank r is the accepted one, given that its parent was, is estimated from the
nodes with children that the driver's paths reached. A node with fewer children says nothing of the ranks it has not
got, so the product-limit estimate is taken (Kaplan and Meier 1958): the share that took rank r of those that had one
and took none before it, times the share that took none before it. It asks for the path alone, not for decisions, so
that it holds for every rule and every engine.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from specviz.trace.schema import Step
from specviz.trace.target_ranks import target_rank

LEAST_AT_DEPTH = 100
"""Decisions for which a depth has figures of its own; deeper ones are taken together."""
LEAST_AT_RANK = 20
"""Decisions that must have come to a rank, for it to count at all."""
MOST_RANKS = 32


class Reached(NamedTuple):
    """A node whose children were judged.

    Attributes:
        depth: of its children.
        rank: draw rank of the child that was accepted, or would have been in a wider tree; None for none.
        width: ranks of which it says whether they were accepted: all below this.
    """

    depth: int
    rank: int | None
    width: int


class Acceptance(NamedTuple):
    """Estimated acceptance.

    Attributes:
        rows: at depth 1, 2, ... by draw rank; the last one holds at all greater depths.
        decisions: nodes whose children were judged, behind each row.
        widest: per row, ranks that have a figure; what was drawn, or was drawn too rarely, ends there.
    """

    rows: tuple[tuple[float, ...], ...]
    decisions: tuple[int, ...]
    widest: tuple[int, ...]


def reached(step: Step) -> list[Reached]:
    """Of the driver's path. In a top-k tree the children are the draft's likeliest tokens in order, so that the rank of
    a lossless rule's bonus token is that of the child which would have been accepted in a wider tree. Of sampled
    children nobody knows which would have been drawn next."""
    verdict = step.verdicts[step.driver]
    children = step.tree.children()
    found = []
    for depth, node in enumerate((0, *verdict.path), start=1):
        if depth <= len(verdict.path):
            own = children[node]
            found.append(Reached(depth, step.tree.nodes[verdict.path[depth - 1]].rank, len(own)))
        elif children[node]:
            found.append(_ended(step, depth, len(children[node])))
    return found


def _ended(step: Step, depth: int, children: int) -> Reached:
    end = target_rank(step)
    lossless = step.verdicts[step.driver].lossless in ("yes", "greedy decoding")
    if step.tree.proposal != "top_k" or not lossless or end is None or end.kind in ("beyond", "no row"):
        return Reached(depth, None, children)
    # A rank among the children is a tie, or the same token in another row's order: they did not take it.
    wider = end.kind == "rank" and end.rank >= children
    return Reached(depth, end.rank if wider else None, MOST_RANKS if wider or end.kind == "never" else children)


def acceptance(steps: Iterable[Step]) -> Acceptance:
    """By depth as far as there is enough, deeper ones together."""
    found = [one for step in steps for one in reached(step)]
    if not found:
        return Acceptance((), (), ())
    groups = _groups(found)
    rows = tuple(_product_limit(group) for group in groups)
    return Acceptance(rows, tuple(map(len, groups)), tuple(map(len, rows)))


def _groups(found: Sequence[Reached]) -> list[list[Reached]]:
    deepest = max(one.depth for one in found)
    by_depth = [[one for one in found if one.depth == depth] for depth in range(1, deepest + 1)]
    own = next((i for i, group in enumerate(by_depth) if len(group) < LEAST_AT_DEPTH), len(by_depth))
    rest = [one for group in by_depth[own:] for one in group]
    if not rest:
        return by_depth
    if len(rest) < LEAST_AT_DEPTH and own:
        # Too few to stand alone: together with the level above them.
        return [*by_depth[: own - 1], [*by_depth[own - 1], *rest]]
    return [*by_depth[:own], rest]


def _product_limit(group: Sequence[Reached]) -> tuple[float, ...]:
    row: list[float] = []
    left = 1.0
    for rank in range(MOST_RANKS):
        judged = [one for one in group if one.width > rank and (one.rank is None or one.rank >= rank)]
        if len(judged) < LEAST_AT_RANK:
            break
        share = sum(one.rank == rank for one in judged) / len(judged)
        row.append(left * share)
        left *= 1 - share
    return tuple(row)
