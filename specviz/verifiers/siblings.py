"""Siblings rejected one after another in draw order, many parents at a time: what rejection and traversal share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from specviz.transfers import upload
from specviz.tree import TokenTree
from specviz.verifiers.base import End

_PARENTS_AT_ONCE = 4
"""So few rows stay in a processor's caches from one operation to the next."""
_PARENTS_AT_ONCE_ON_A_GPU = 64
"""Bounds the working memory to that many rows of p, q and a residual."""


class Remaining:
    """Rows p and q of m parents, as the children that were rejected so far leave them.

    Everything happens in place, in memory that serves one group of parents after another: on the CPU fresh memory costs
    more than the sums.

    Args:
        most: the largest number of parents in a group.

    Attributes:
        p: [m, V], the target's rows, scaled to 1.
        q: [m, V], the rows that the next siblings were drawn from; None for a point mass.
    """

    def __init__(self, tree: TokenTree, target: torch.Tensor, most: int = 1):
        self._tree, self._target = tree, target
        shape = most, target.shape[-1]
        self._p_memory = target.new_empty(shape)
        if not tree.q_is_point_mass:
            self._draft = tree.rows.to(target.dtype)
            self._q_memory, self._spare_memory = target.new_empty(shape), target.new_empty(shape)

    def enter(self, parents: Sequence[int]) -> None:
        """Go to another group of parents, none of whose children is rejected yet."""
        m, tree = len(parents), self._tree
        self._rejected: torch.Tensor | None = None
        self.p = _take(self._target, parents, self._p_memory[:m])
        self.q: torch.Tensor | None = None
        if not tree.q_is_point_mass:
            self.q = _take(self._draft, [tree.row_of[parent] for parent in parents], self._q_memory[:m])
            self._spare = self._spare_memory[:m]

    def at(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """[m] each, p and q of the tokens ``x`` [m, 1]."""
        p = self.p.gather(-1, x)[:, 0]
        return p, torch.ones_like(p) if self.q is None else self.q.gather(-1, x)[:, 0]

    def reject(self, x: torch.Tensor, worth: torch.Tensor | None = None) -> torch.Tensor:
        """Make p the residual ``max(worth p - q, 0)`` that the rejected tokens ``x`` [m, 1] leave, scaled to 1.

        A residual without mass (p = q to the last bit: the rejection had probability zero) keeps the p before it.

        Args:
            worth: [m], of the parents' paths; 1 where there is none.

        Returns:
            [m], the mass of the residuals before they are scaled.
        """
        self._rejected = x
        if self.q is None:
            px = self.p.gather(-1, x)
            mass = self.p.scatter_(-1, x, 0.0).sum(-1, keepdim=True)
            self.p.scatter_(-1, x, px.masked_fill_(mass > 0, 0.0))
            share = mass if worth is None else worth[:, None] * mass
        else:
            left = self._spare
            if worth is None:
                torch.sub(self.p, self.q, out=left)
            else:
                torch.mul(self.p, worth[:, None], out=left).sub_(self.q)
            share = mass = left.clamp_(min=0.0).sum(-1, keepdim=True)
            if mass.device.type == "cpu":
                for row in (mass[:, 0] == 0).nonzero()[:, 0].tolist():
                    left[row] = self.p[row]
            else:  # which rows these are would have to be waited for
                torch.where(mass > 0, left, self.p, out=left)
            self.p, self._spare = left, self.p
        self.p.div_(mass.masked_fill(mass == 0, 1.0))
        return share[:, 0]

    def keep(self, m: int) -> None:
        """Keep the first m rows."""
        self.p = self.p[:m]
        if self.q is not None:
            self.q, self._spare = self.q[:m], self._spare[:m]

    def go_on(self) -> None:
        """Go on to the next siblings, which were drawn after the rejected ones: without replacement, without them."""
        if self.q is not None and self._rejected is not None and self._tree.proposal == "without_replacement":
            take_out(self.q, self._rejected[: len(self.q)])


def take_out(q: torch.Tensor, x: torch.Tensor) -> None:
    """Take the tokens ``x`` [m, 1] out of rows q [m, V] and scale them to 1; all zero where nothing is left."""
    q.scatter_(-1, x, 0.0)
    q.div_(q.sum(-1, keepdim=True).clamp_(min=torch.finfo(q.dtype).tiny))


def in_draw_order(
    tree: TokenTree, levels: Sequence[Sequence[int]], target: torch.Tensor
) -> Iterator[tuple[list[int], torch.Tensor, Remaining, int]]:
    """All children: the first of several parents, then their second ones, and so on; one level after the other.

    Args:
        levels: all nodes with children, those that must be done before others in an earlier level.

    Yields:
        (children [m], their tokens [m, 1], the rows they are judged by, how many of them have a next sibling: the first
        ones). At least these are then to be rejected there.
    """
    most = _PARENTS_AT_ONCE if target.device.type == "cpu" else _PARENTS_AT_ONCE_ON_A_GPU
    rows = Remaining(tree, target, min(most, len(tree)))
    for level in levels:
        parents = sorted(level, key=lambda parent: -len(tree.shape.children[parent]))
        for start in range(0, len(parents), most):
            rows.enter(parents[start : start + most])
            families = [tree.shape.children[parent] for parent in parents[start : start + most]]
            for rank in range(len(families[0])):
                children = [family[rank] for family in families if len(family) > rank]
                rows.keep(len(children))
                rows.go_on()
                yield children, _column(tree, children, target), rows, sum(len(f) > rank + 1 for f in families)


def rejected_in_turn(
    tree: TokenTree, children: Sequence[int], target: torch.Tensor, worth: torch.Tensor | None = None
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Reject some children of one parent, at least one, in this order.

    Args:
        worth: [n], of the parent's path when each node is rejected; 1 where there is none.

    Yields:
        After each: (mass of the residual [1], the residual [V], which the next one may overwrite).
    """
    rows = Remaining(tree, target)
    rows.enter([tree.shape.parents[children[0]]])
    for child in children:
        rows.go_on()
        mass = rows.reject(_column(tree, [child], target), None if worth is None else worth[child : child + 1])
        yield mass, rows.p[0]


def row_at(tree: TokenTree, end: End, target: torch.Tensor, worth: torch.Tensor | None = None) -> torch.Tensor:
    """[V], what the children that were rejected at the end of a walk have left of its row; ``worth`` as above."""
    if not end.rejected:
        return target[end.node]
    *_, (_, row) = rejected_in_turn(tree, end.rejected, target, worth)
    return row


def _column(tree: TokenTree, nodes: Sequence[int], like: torch.Tensor) -> torch.Tensor:
    """[m, 1], the tokens of m nodes."""
    return upload([[tree.tokens[node]] for node in nodes], like.device)


def _take(values: torch.Tensor, rows: Sequence[int], out: torch.Tensor) -> torch.Tensor:
    return torch.index_select(values, 0, upload(rows, values.device), out=out)
