"""Traversal verification (arXiv 2505.12398): leaves first, so whole paths are accepted at once. Lossless.

The tree is consumed leaf by leaf in post-order. A leaf is accepted, with its whole path, with the probability that its
path is worth; a rejected leaf leaves a residual at its parent, whose own worth falls accordingly. On a chain this is
block verification (arXiv 2403.10444).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from specviz.options import Options
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
    ratio,
)
from specviz.verifiers.siblings import NodeValues, Remaining, in_draw_order, in_groups, row_at
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
    rows = Remaining(tree, target, max(map(len, tree.shape.levels), default=0))
    p_used, q_used = NodeValues(math.nan, target), NodeValues(math.nan, target)
    worth, worth_before = NodeValues(1.0, target), NodeValues(1.0, target)
    found: list[Residuals] = []
    place: dict[int, int] = {}
    for level in tree.shape.levels:
        for group in in_groups(tree, level, rows):
            above = worth.at(group)
            for now in in_draw_order(tree, group, rows):
                children, m = now.children, len(now.children)
                worth.add(group[m : len(above)], above[m:])  # of parents that have no child left
                before = above[:m]
                p, q = rows.at(now.x)
                p_used.add(children, p)
                q_used.add(children, q)
                worth_before.add(children, before)
                worth.add(children, (before * ratio(p, q)).clamp(max=1))
                mass = rows.reject(now.x, before)
                above = before if level == (0,) else _worth_after(mass, before)
                place.update((child, len(place)) for child in children)
                found.append(Residuals.of(mass, rows.p))
            worth.add(group[: len(above)], above)
    nodes = range(len(tree))
    worth_when_rejected = worth_before.at(nodes)

    def distribution(end: End) -> torch.Tensor:
        return row_at(tree, end, target, worth_when_rejected)

    def residuals(nodes: Sequence[int]) -> Residuals:
        return Residuals.cat(found).at([place[node] for node in nodes])

    return Judgement(worth.at(nodes), p_used.at(nodes), q_used.at(nodes), distribution, residuals)


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
