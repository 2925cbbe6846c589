"""Siblings rejected one after another in draw order, many parents at a time: what rejection and traversal share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from specviz.transfers import upload
from specviz.tree import TokenTree
from specviz.verifiers.base import End

_PARENTS_AT_ONCE = 4
"""So few rows stay in a processor's caches from one operation to the next."""
_BYTES_ON_A_GPU = 1 << 28
"""Of the rows of p of as many parents as are looked at together; q and the residual take as much each."""


class Remaining:
    """Rows p and q of m parents, as the children that were rejected so far leave them.

    Everything happens in place, in memory that serves one group of parents after another: on the CPU fresh memory costs
    more than the sums.

    Args:
        parents: the largest number of parents that could be looked at together.

    Attributes:
        most: the largest number of parents in a group.
        p: [m, V], the target's rows, scaled to 1.
        q: [m, V], the rows that the next siblings were drawn from; None for a point mass.
    """

    def __init__(self, tree: TokenTree, target: torch.Tensor, parents: int = 1):
        self._tree, self._target = tree, target
        on_cpu = target.device.type == "cpu"
        most = _PARENTS_AT_ONCE if on_cpu else max(1, _BYTES_ON_A_GPU // (target.shape[-1] * target.element_size()))
        self.most = max(1, min(most, parents))
        shape = self.most, target.shape[-1]
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
            alive = mass != 0
            self.p.scatter_(-1, x, px.masked_fill_(alive, 0.0)).div_(mass.where(alive, 1.0))
            return (mass if worth is None else worth[:, None] * mass)[:, 0]
        left = self._spare
        if worth is None:
            torch.sub(self.p, self.q, out=left)
        else:
            torch.mul(self.p, worth[:, None], out=left).sub_(self.q)
        mass = left.clamp_(min=0.0).sum(-1, keepdim=True)
        alive = mass != 0
        if mass.device.type == "cpu":
            for row in (~alive[:, 0]).nonzero()[:, 0].tolist():
                left[row] = self.p[row]
            left.div_(mass.where(alive, 1.0))
        else:  # which rows these are would have to be waited for
            torch.where(alive, left.div_(mass), self.p, out=left)
        self.p, self._spare = left, self.p
        return mass[:, 0]

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


@dataclass(frozen=True)
class Round:
    """The next child of each of several parents.

    Attributes:
        children: [m], nodes.
        x: [m, 1], their tokens.
        more: how many of them have a next sibling; these come first.
    """

    children: Sequence[int]
    x: torch.Tensor
    more: int


def in_groups(tree: TokenTree, parents: Sequence[int], rows: Remaining) -> Iterator[Sequence[int]]:
    """Parents with children, those with most children first, as many at a time as ``rows`` has room for.

    ``rows`` has entered each group when it comes.
    """
    ordered = sorted(parents, key=lambda parent: -len(tree.shape.children[parent]))
    for start in range(0, len(ordered), rows.most):
        group = ordered[start : start + rows.most]
        rows.enter(group)
        yield group


def in_draw_order(tree: TokenTree, group: Sequence[int], rows: Remaining) -> Iterator[Round]:
    """All children of a group: the first of every parent, then their second ones, and so on.

    At least those that have a next sibling are to be rejected before the next round.
    """
    families = [tree.shape.children[parent] for parent in group]
    ranks = [[family[rank] for family in families if len(family) > rank] for rank in range(len(families[0]))]
    tokens = upload([[tree.tokens[child]] for children in ranks for child in children], rows.p.device)
    columns = tokens.split([len(children) for children in ranks])
    for children, x, younger in zip(ranks, columns, [*ranks[1:], []], strict=True):
        rows.keep(len(children))
        rows.go_on()
        yield Round(children, x, len(younger))


class NodeValues:
    """A number of every node, found piece by piece in any order. Of a node that is found twice the later one counts.

    On a GPU nothing is written in place: a piece costs no operation until the values are asked for.
    """

    def __init__(self, of_root: float, like: torch.Tensor):
        self._pieces = [upload([of_root], like.device, like.dtype)]
        self._place = {0: 0}
        self._length = 1

    def add(self, nodes: Sequence[int], values: torch.Tensor) -> None:
        """Values [len(nodes)]."""
        self._pieces.append(values)
        self._place.update((node, self._length + i) for i, node in enumerate(nodes))
        self._length += len(nodes)

    def at(self, nodes: Sequence[int]) -> torch.Tensor:
        """[len(nodes)], of nodes whose value was found."""
        if len(self._pieces) > 1:
            self._pieces = [torch.cat(self._pieces)]
        (values,) = self._pieces
        return values.index_select(0, upload([self._place[node] for node in nodes], values.device))


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
    tokens = upload([[tree.tokens[child]] for child in children], target.device)
    for child, x in zip(children, tokens.split(1), strict=True):
        rows.go_on()
        mass = rows.reject(x, None if worth is None else worth[child : child + 1])
        yield mass, rows.p[0]


def row_at(tree: TokenTree, end: End, target: torch.Tensor, worth: torch.Tensor | None = None) -> torch.Tensor:
    """[V], what the children that were rejected at the end of a walk have left of its row; ``worth`` as above."""
    if not end.rejected:
        return target[end.node]
    *_, (_, row) = rejected_in_turn(tree, end.rejected, target, worth)
    return row


def _take(values: torch.Tensor, rows: Sequence[int], out: torch.Tensor) -> torch.Tensor:
    return torch.index_select(values, 0, upload(rows, values.device), out=out)
