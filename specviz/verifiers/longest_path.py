"""The longest path whose edges each pass a coin of their own: the naive wish for long acceptances. Lossy.

Every edge is tested with the unmodified p and q, as if it had no siblings; taking the deepest survivor then favours
tokens that happen to lie on long branches. :mod:`specviz.verifiers.traversal` is the exact way to look for depth first.
"""

from __future__ import annotations

import torch

from specviz.options import Options
from specviz.tree import TokenTree
from specviz.verifiers.base import Context, End, Judgement, Luck, Verifier, Walk, draft_edge_probs, edge_probs, ratio
from specviz.verifiers.walks import flip, walk_deepest


def judge(tree: TokenTree, target: torch.Tensor, options: Options) -> Judgement:
    """Threshold of every child: ``p[x] / q[x]`` of the rows as they are."""
    p, q = edge_probs(tree, target), draft_edge_probs(tree, target)

    def distribution(end: End) -> torch.Tensor:
        return target[end.node]

    return Judgement(ratio(p, q), p, q, distribution)


def walk(context: Context, luck: Luck) -> Walk:
    return walk_deepest(context, lambda node: flip(context, luck, node), "target")


LONGEST_PATH = Verifier(
    name="longest_path",
    summary="a coin per edge, then the deepest path that passed",
    judge=judge,
    walk=walk,
    comparison="uniform < threshold",
    rule="u < p/q on every edge",
    plain=True,
)
