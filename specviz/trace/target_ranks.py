"""Where a walk ended: which rank the token that the target emitted there has in the draft's row.

At a node whose children were all rejected this answers whether one more of them would have helped. A rank that was not
recorded cannot be worked out beyond the row's recorded width, and is said to be beyond it.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterable
from typing import Literal, NamedTuple

from specviz.trace.schema import Bonus, Node, Step

BINS = (0, 1, 2, 3, 4, 8, 16, 32)
"""First rank of every column of a histogram; the last one has no end."""
WHOLE = 0.99999
"""A list with this much mass is the whole distribution but for the rounding of its six digits: what it has not got is
never drawn. Ten entries of a sure row may have 0.9999 and leave a tail that is drawn now and then."""

Kind = Literal["rank", "never", "beyond", "no row"]


class TargetRank(NamedTuple):
    """Of one end of a walk.

    Attributes:
        depth: of the node at which the walk ended.
        children: of that node, all of them rejected; 0 at a leaf, whose bonus nothing was rejected for.
        kind: ``rank``, it is known; ``never``, the draft's row gives this token nothing, so that no width proposes it;
            ``beyond``, the token is not in the row as far as that was recorded; ``no row``, the draft has none there
            or none was recorded.
        rank: how many tokens the draft likes better; of ``beyond`` how many were recorded.
    """

    depth: int
    children: int
    kind: Kind
    rank: int


class RankHistogram(NamedTuple):
    """Of walks that ended at one depth: rejections, or the leaves that were reached.

    Attributes:
        depth: that of the rejected children; of leaves, that of the leaves.
        ends: how many walks; the columns below add up to them.
        known: per column of :data:`BINS`.
        recorded: the fewest entries that a row of ``beyond`` has; 0 for none of them.
    """

    depth: int
    ends: int
    known: tuple[int, ...]
    never: int
    beyond: int
    no_row: int
    recorded: int


def column_names() -> list[str]:
    """What the columns of :data:`BINS` are called."""
    names = [str(a) if b == a + 1 else f"{a}-{b - 1}" for a, b in itertools.pairwise(BINS)]
    return [*names, f"{BINS[-1]}+"]


def column_of(rank: int) -> int:
    """The column of :data:`BINS` that a rank is counted in."""
    return bisect.bisect_right(BINS, rank) - 1


def target_rank(step: Step) -> TargetRank | None:
    """Of the driver's walk; None where no bonus token was recorded."""
    bonus = step.verdicts[step.driver].bonus
    if bonus is None:
        return None
    node = step.tree.nodes[bonus.node]
    children = sum(one.parent == node.id for one in step.tree.nodes[1:])
    return TargetRank(node.depth, children, *_rank(bonus, node))


def _rank(bonus: Bonus, node: Node) -> tuple[Kind, int]:
    row = node.draft.processed if node.draft else None
    if row is not None and bonus.token in row.ids:
        q = row.probs[row.ids.index(bonus.token)]
        known = sum(other > q for other in row.probs) if bonus.draft_rank is None else bonus.draft_rank
        return ("rank", known) if q > 0 else ("never", 0)
    listed = 0 if row is None else len(row.ids)
    # Where more tokens are liked better than the list has, it is not the whole distribution, whatever it adds up to.
    if row is not None and sum(row.probs) >= WHOLE and (bonus.draft_rank or 0) <= listed:
        return "never", 0
    if bonus.draft_rank is not None:
        return "rank", bonus.draft_rank
    return ("no row", 0) if row is None else ("beyond", listed)


def rank_histograms(steps: Iterable[Step]) -> tuple[list[RankHistogram], list[RankHistogram]]:
    """Of rejections by the depth of what was rejected, and of leaves that were reached by their depth; depths without
    any are left out."""
    ends = [found for step in steps if (found := target_rank(step)) is not None]
    rejections = [one._replace(depth=one.depth + 1) for one in ends if one.children]
    return _by_depth(rejections), _by_depth([one for one in ends if not one.children])


def _by_depth(ends: list[TargetRank]) -> list[RankHistogram]:
    found = []
    for depth in sorted({one.depth for one in ends}):
        own = [one for one in ends if one.depth == depth]
        ranks = [one.rank for one in own if one.kind == "rank"]
        beyond = [one.rank for one in own if one.kind == "beyond"]
        kinds = [one.kind for one in own]
        columns = [column_of(rank) for rank in ranks]
        known = tuple(columns.count(column) for column in range(len(BINS)))
        found.append(
            RankHistogram(
                depth,
                len(own),
                known,
                kinds.count("never"),
                len(beyond),
                kinds.count("no row"),
                min(beyond, default=0),
            )
        )
    return found
