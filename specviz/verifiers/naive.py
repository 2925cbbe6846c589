"""Target sampling: draw the target's own token and follow the child that carries it. Lossless on any tree.

Also what OPT-Tree (arXiv 2406.17276) calls the longest path: one draw a node, and the walk goes on while it matches.
"""

from __future__ import annotations

import torch

from specviz.options import Options
from specviz.trace.schema import Outcome
from specviz.tree import TokenTree
from specviz.verifiers.base import (
    ALL_PROPOSALS,
    Context,
    End,
    Judgement,
    Luck,
    Ruling,
    Verifier,
    Walk,
    draft_edge_probs,
    edge_probs,
)


def judge(tree: TokenTree, target: torch.Tensor, options: Options) -> Judgement:
    """Threshold of a child: the probability that the target draws its token."""
    p = edge_probs(tree, target)

    def distribution(end: End) -> torch.Tensor:
        return target[end.node]

    return Judgement(p, p, draft_edge_probs(tree, target), distribution)


def walk(context: Context, luck: Luck) -> Walk:
    """Draws tokens and flips no coins; of duplicate siblings the first is followed."""
    rulings: list[Ruling] = []
    path: list[int] = []
    while True:
        node = path[-1] if path else 0
        end = End(node, "target")
        drawn = luck.draw(node, context.distribution(end))
        for child in context.shape.children[node]:
            match = context.tokens[child] == drawn.token
            reason = "the target drew this token" if match else "the target drew another token"
            outcome: Outcome = "accepted" if match else "rejected"
            rulings.append(Ruling(child, outcome, reason, drawn.uniform, drawn.token))
            if match:
                path.append(child)
                break
        else:
            return Walk(tuple(rulings), tuple(path), End(node, "target", drawn=drawn))


NAIVE = Verifier(
    name="naive",
    summary="draw from the target and follow the child that matches",
    judge=judge,
    walk=walk,
    comparison="token = drawn",
    rule="x = y, y ~ p",
    lossless=ALL_PROPOSALS,
    plain=True,
    decides_by_node=True,
)
