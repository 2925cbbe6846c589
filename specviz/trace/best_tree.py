"""The best static trees for every node budget at once, by Sequoia's recursion (arXiv 2402.12374, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

RankPath = tuple[int, ...]
Plan = dict[RankPath, int]
"""Draw ranks from the root -> number of children there. Leaves are absent."""


class BestTrees:
    """The trees of at most ``total`` nodes and ``depth`` levels with the largest expected accepted length.

    A node is accepted with the product of the acceptances of the ranks on its path. With ``best[d][n]``, the most that
    a subtree of n nodes and d levels below its own root is worth (that root counted as 1), and ``rest[r][m]``, the most
    that m nodes are worth as children from rank r on: ``rest[r][m] = max(0, max over s <= m of acceptance[r] best[d -
    1][s] + rest[r + 1][m - s])`` and ``best[d][n] = 1 + rest[0][n - 1]``.

    Args:
        acceptance: at depth 1, 2, ... the probability that the child of draw rank 0, 1, ... is the accepted one, given
            that its parent was; the last row holds at all greater depths.
    """

    def __init__(self, acceptance: Sequence[Sequence[float]], total: int, depth: int) -> None:
        # A chain cannot be longer, and no level can be needed beyond the budget.
        self._levels = min(depth, total)
        self._rows = [acceptance[min(level, len(acceptance) - 1)] for level in range(self._levels)]
        self.total = total
        best = np.concatenate(([0.0], np.ones(total)))
        self._choices: list[list[np.ndarray]] = []
        for ranks in reversed(self._rows):
            rest = np.zeros(total + 1)
            chosen: list[np.ndarray] = []
            for p in reversed(ranks):
                rest, sizes = _split(p, best, rest)
                chosen.append(sizes)
            self._choices.append(chosen[::-1])
            best = np.concatenate(([0.0], 1.0 + rest[:-1]))
            self._rest = rest

    def expected(self, nodes: int) -> float:
        """New tokens a target forward, bonus included, with the best tree of ``nodes`` <= total nodes."""
        return 1.0 + float(self._rest[nodes]) if self._levels else 1.0

    def plan(self, nodes: int) -> Plan:
        """The best tree of ``nodes`` <= total nodes; of fewer where there are no more ranks and levels for them."""
        plan: Plan = {}

        def lay(path: RankPath, left: int, depth: int) -> None:
            """Give ``left`` descendants to the node at ``path``, which is at ``depth``."""
            if depth == self._levels:
                return
            choices = self._choices[self._levels - depth - 1]
            for rank in range(len(self._rows[depth])):
                if left == 0:
                    return
                size = int(choices[rank][left])
                plan[path] = rank + 1
                lay((*path, rank), size - 1, depth + 1)
                left -= size

        lay((), nodes, 0)
        return plan


_BLOCK = 64
"""Numbers of nodes that are worked out at once: few enough that a block stays in the processor's cache."""


def _split(p: float, best: np.ndarray, rest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For m = 0, 1, ... nodes: the most they are worth as a child of acceptance ``p`` with its descendants and as the
    children after it, and how many of them the child then has, itself counted; 0 for no nodes."""
    worths, sizes = np.zeros(len(rest)), np.zeros(len(rest), dtype=int)
    for start in range(1, len(rest), _BLOCK):
        m = np.arange(start, min(start + _BLOCK, len(rest)))[:, None]
        s = np.arange(1, m[-1, 0] + 1)[None, :]
        worth = np.where(s <= m, p * best[s] + rest[np.maximum(m - s, 0)], -1.0)
        worths[m[:, 0]], sizes[m[:, 0]] = worth.max(1), worth.argmax(1) + 1
    return worths, sizes


def paths_of(plan: Plan) -> list[RankPath]:
    """Every node of a plan as its draw ranks from the root, level by level."""
    return sorted(((*path, rank) for path, width in plan.items() for rank in range(width)), key=lambda p: (len(p), p))


def paths_text(plan: Plan) -> str:
    """The same as the builder ``explicit`` takes it."""
    return ",".join(f"[{','.join(map(str, path))}]" for path in paths_of(plan))


def expected_tokens(acceptance: Sequence[Sequence[float]], parents: Sequence[int], ranks: Sequence[int]) -> float:
    """New tokens a target forward of any tree, by the same rule; a rank that the acceptance has not got counts 0.

    Args:
        parents: of the nodes in topological order; -1 for the root, which is the first.
        ranks: draw ranks among siblings.
    """
    reach, depths = [1.0], [0]
    for parent, rank in zip(parents[1:], ranks[1:], strict=True):
        row = acceptance[min(depths[parent], len(acceptance) - 1)]
        reach.append(reach[parent] * (row[rank] if rank < len(row) else 0.0))
        depths.append(depths[parent] + 1)
    return sum(reach)
