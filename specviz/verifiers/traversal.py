"""Traversal verification (arXiv 2505.12398): leaves first, so whole paths are accepted at once. Lossless.

The tree is consumed leaf by leaf in post-order. A leaf is accepted, with its whole path, with the probability that its
path is worth; a rejected leaf leaves a residual at its parent, whose own worth falls accordingly. On a chain this is
block verification (arXiv 2403.10444).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from specviz.options import Options
from specviz.transfers import upload
from specviz.tree import Shape, TokenTree
from specviz.verifiers.base import (
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
from specviz.verifiers.siblings import in_draw_order, row_at
from specviz.verifiers.walks import flip


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
    p_used, q_used = edge_probs(tree, target), draft_edge_probs(tree, target)
    worth = torch.ones_like(p_used)
    worth_before = torch.ones_like(p_used)
    found: list[Residuals] = []
    place: dict[int, int] = {}
    for children, x, rows, _ in in_draw_order(tree, tree.shape.levels, target):
        parents = [tree.shape.parents[child] for child in children]
        at, above = upload(children, target.device), upload(parents, target.device)
        p_used[at], q_used[at] = p, q = rows.at(x)
        worth_before[at] = before = worth[above]
        worth[at] = (before * ratio(p, q)).clamp(max=1)
        mass = rows.reject(x, before)
        if parents != [0]:
            worth[above] = _worth_after(mass, before)
        place.update((child, len(place)) for child in children)
        found.append(Residuals.of(mass, rows.p))

    def distribution(end: End) -> torch.Tensor:
        return row_at(tree, end, target, worth_before)

    def residuals(nodes: Sequence[int]) -> Residuals:
        return Residuals.cat(found).at([place[node] for node in nodes])

    return Judgement(worth, p_used, q_used, distribution, residuals)


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
