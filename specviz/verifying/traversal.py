"""Traversal verification (arXiv 2505.12398): leaves first, so whole paths are accepted at once. Lossless.

The tree is consumed leaf by leaf in post-order. A leaf is accepted, with its whole path, with the probability that its
path is worth; a rejected leaf leaves a residual at its parent, whose own worth falls accordingly. On a chain this is
block verification (arXiv 2403.10444).
"""

from __future__ import annotations

import torch

from specviz.options import Options
from specviz.sampling import top_k
from specviz.tree import Shape, TokenTree
from specviz.verifying.base import (
    ALL_PROPOSALS,
    Context,
    End,
    Judgement,
    Luck,
    Residuals,
    Ruling,
    Verifier,
    Walk,
    draft_edge_probs,
    edge_probs,
    ratio,
)
from specviz.verifying.rejection import RECORDED_RESIDUAL, proposal_rows, without
from specviz.verifying.walks import flip


def post_order(shape: Shape) -> list[int]:
    """The order in which nodes become leaves: first remaining children down, removed from the bottom. Root last."""
    order: list[int] = []
    stack = [0]
    while stack:
        node = stack.pop()
        order.append(node)
        stack.extend(shape.children[node])
    # Reversed pre-order with the LAST child first is post-order with the first child first.
    return order[::-1]


def judge(tree: TokenTree, target: torch.Tensor, options: Options) -> Judgement:
    """Threshold of a node: the worth of its path at the moment it has become a leaf.

    ``worth(root) = 1``; ``worth(c) = min(1, worth(v) p_v[x] / q_v[x])`` until a child of c was removed, and from then
    on ``S / (S + 1 - worth)``, where S is the mass of the residual ``max(worth p - q, 0)`` at c.
    """
    n = len(tree)
    p_used, q_used = edge_probs(tree, target), draft_edge_probs(tree, target)
    one = torch.ones((), dtype=target.dtype, device=target.device)
    k = min(RECORDED_RESIDUAL, target.shape[-1])
    tops: dict[int, tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = {}
    worth: list[torch.Tensor] = [one] * n
    p_rows: dict[int, torch.Tensor] = {}
    q_rows: dict[int, torch.Tensor | None] = {}

    def enter(node: int) -> None:
        """Fix the worth of a path when the descent first reaches its end, and go on to the first children."""
        while True:
            if node:
                parent, x = tree.shape.parents[node], tree.tokens[node]
                q_row = q_rows[parent]
                p_used[node] = p_rows[parent][x]
                if q_row is not None:
                    q_used[node] = q_row[x]
                worth[node] = torch.minimum(one, worth[parent] * ratio(p_used[node], q_used[node]))
            if not tree.shape.children[node]:
                return
            p_rows[node] = target[node]
            rows = proposal_rows(tree, [node], target)
            q_rows[node] = None if rows is None else rows[0]
            node = tree.shape.children[node][0]

    enter(0)
    at_leaf: list[torch.Tensor] = [one] * n
    worth_before: dict[int, torch.Tensor] = {}
    for leaf in post_order(tree.shape)[:-1]:
        parent, x = tree.shape.parents[leaf], tree.tokens[leaf]
        at_leaf[leaf] = worth[leaf]
        worth_before[leaf] = worth[parent]
        p_rows[parent], q_rows[parent], mass = remove(
            p_rows[parent], q_rows[parent], x, worth[parent], tree.proposal == "without_replacement"
        )
        if parent:
            worth[parent] = _worth_after(mass, worth[parent])
        top, ids = top_k(p_rows[parent], k)
        tops[leaf] = (mass, ids, top)
        rank = tree.shape.ranks[leaf]
        if rank + 1 < len(tree.shape.children[parent]):
            enter(tree.shape.children[parent][rank + 1])
        else:
            q_rows.pop(parent)
            if parent:
                p_rows.pop(parent)

    def distribution(end: End) -> torch.Tensor:
        p = target[end.node]
        q_all = proposal_rows(tree, [end.node], target) if end.rejected else None
        q = None if q_all is None else q_all[0]
        for child in end.rejected:
            drop = tree.proposal == "without_replacement"
            p, q, _ = remove(p, q, tree.tokens[child], worth_before[child], drop)
        return p

    residuals = None
    if tops:
        nothing = (torch.zeros_like(one), torch.zeros(k, dtype=torch.long, device=one.device), one.expand(k) * 0)
        columns = [tops.get(node, nothing) for node in range(n)]
        mass, ids, probs = (torch.stack([column[i] for column in columns]) for i in range(3))
        residuals = Residuals(mass, ids, probs)
    return Judgement(torch.stack(at_leaf), p_used, q_used, distribution, residuals)


def remove(
    p: torch.Tensor, q: torch.Tensor | None, x: int, worth: torch.Tensor, drop: bool
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
    """Take a rejected leaf with token x from its parent: (residual p, q of the next sibling, residual mass S).

    Args:
        p: [V], the parent's target row, as earlier removals left it.
        q: [V], or None for a point mass.
        worth: scalar, of the parent's path.
        drop: whether siblings are drawn without replacement.
    """
    left = worth * p
    if q is None:
        left[x] = (left[x] - 1).clamp(min=0)
    else:
        left = (left - q).clamp_(min=0)
    mass = left.sum()
    p = torch.where(mass > 0, left / mass.clamp(min=torch.finfo(p.dtype).tiny), p)
    if q is not None and drop:
        q = without(q[None], torch.tensor([[x]], device=q.device))[0]
    return p, q, mass


def _worth_after(mass: torch.Tensor, worth: torch.Tensor) -> torch.Tensor:
    """``S / (S + 1 - worth)``; 0 where both S and 1 - worth vanish (p = q: the rejection had probability zero)."""
    # In this order: a small S would vanish next to 1, and S / 0 is no worth.
    return mass / (mass + (1 - worth)).clamp(min=torch.finfo(mass.dtype).tiny)


def walk(context: Context, luck: Luck) -> Walk:
    """Flip the coin of each leaf in turn; the first that passes brings its whole path.

    Nodes on that path above the leaf were accepted without a coin of their own, so they carry no ruling.
    """
    rulings: list[Ruling] = []
    removed: dict[int, list[int]] = {}
    path: tuple[int, ...] = ()
    end = 0
    for leaf in post_order(context.shape)[:-1]:
        ruling = flip(context, luck, leaf)
        rulings.append(ruling)
        if ruling.outcome == "accepted":
            path, end = context.shape.path(leaf), leaf
            break
        removed.setdefault(context.shape.parents[leaf], []).append(leaf)
    rejected = tuple(removed.get(end, ()))
    return Walk(tuple(rulings), path, End(end, "residual" if rejected else "target", rejected))


TRAVERSAL = Verifier(
    name="traversal",
    summary="leaves first: accepts whole paths, exact and longest-first",
    judge=judge,
    walk=walk,
    comparison="uniform < threshold",
    rule="u < worth of the path",
    lossless=ALL_PROPOSALS,
)
