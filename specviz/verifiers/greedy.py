"""Greedy decoding, verified: an edge passes when its token is the target's most likely one."""

from __future__ import annotations

import torch

from specviz.options import Options
from specviz.sampling import argmax
from specviz.tree import TokenTree
from specviz.verifiers.base import (
    Context,
    End,
    Judgement,
    Luck,
    Ruling,
    Verifier,
    Walk,
    draft_edge_probs,
    edge_probs,
    with_root,
)
from specviz.verifiers.walks import walk_deepest


def judge(tree: TokenTree, target: torch.Tensor, options: Options) -> Judgement:
    """Threshold of a child: 1 where its token is the argmax of its parent's row, else 0."""
    best = argmax(target)
    parents, tokens, _ = tree.edges.to(target.device, non_blocking=True)
    expected = with_root(best.index_select(0, parents), 0)
    thresholds = (tokens == expected).to(target.dtype)

    def distribution(end: End) -> torch.Tensor:
        return torch.zeros_like(target[end.node]).scatter_(0, best[end.node], 1.0)

    p, q = edge_probs(tree, target), draft_edge_probs(tree, target)
    return Judgement(thresholds, p, q, distribution, expected=expected)


def walk(context: Context, luck: Luck) -> Walk:
    def test(node: int) -> Ruling:
        expected = context.expected[node]
        if context.tokens[node] == expected:
            return Ruling(node, "accepted", "the target's most likely token", expected=expected)
        return Ruling(node, "rejected", "the target prefers another token", expected=expected)

    return walk_deepest(context, test, "argmax")


GREEDY = Verifier(
    name="greedy",
    summary="follow the target's most likely tokens; equals greedy decoding",
    judge=judge,
    walk=walk,
    comparison="token = argmax",
    rule="x = argmax p",
    is_greedy=True,
    plain=True,
    decides_by_node=True,
)
