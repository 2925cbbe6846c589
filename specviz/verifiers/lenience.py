"""Lenience: rejection sampling with q multiplied by a number below 1 (Leviathan et al. 2023, arXiv 2211.17192, A.5).

More tokens are accepted, and what comes out is no target sample any more; but after a single child no token comes out
with more than p / lenience. On a tree every sibling is treated so in turn, as in :mod:`specviz.verifiers.rejection`.
Lossy; lossless at a lenience of 1, where it is that rule.
"""

from __future__ import annotations

import math

import torch
from pydantic import Field

from specviz.options import Options
from specviz.tree import TokenTree
from specviz.verifiers.base import End, Judgement, Verifier, ratio, with_root
from specviz.verifiers.siblings import NodeValues, Remaining, in_draw_order, in_groups, row_at
from specviz.verifiers.walks import walk_down


class LenienceOptions(Options):
    lenience: float = Field(0.5, gt=0, le=1, description="What q is multiplied by; 1 is rejection sampling")


def judge(tree: TokenTree, target: torch.Tensor, options: LenienceOptions) -> Judgement:
    """Threshold of child c with token x: ``p[x] / (lenience q[x])``, p being what its elder siblings left.

    A rejected sibling leaves ``max(p - lenience q, 0)``, scaled to 1.
    """
    rows = Remaining(tree, target, len(tree.shape.inner))
    p, q = NodeValues(math.nan, target), NodeValues(math.nan, target)
    # max(p / lenience - q, 0) is the same once it is scaled.
    worth = target.new_full((len(tree),), 1 / options.lenience)
    for group in in_groups(tree, tree.shape.inner, rows):
        for now in in_draw_order(tree, group, rows):
            for values, there in zip((p, q), rows.at(now.x), strict=True):
                values.add(now.children, there)
            if now.more:
                rows.keep(now.more)
                rows.reject(now.x[: now.more], worth[: now.more])
    nodes = range(len(tree))
    p_used, q_used = p.at(nodes), q.at(nodes)
    thresholds = with_root(ratio(p_used, options.lenience * q_used), 1.0)

    def distribution(end: End) -> torch.Tensor:
        return row_at(tree, end, target, worth)

    return Judgement(thresholds, p_used, q_used, distribution)


LENIENCE = Verifier(
    name="lenience",
    summary="rejection sampling with q made smaller: accepts more, no token above p / lenience",
    judge=judge,
    walk=walk_down,
    comparison="uniform < threshold",
    rule="u < p/(lenience q)",
    lossless=lambda proposal, options: bool(options.lenience == 1),  # noqa: ARG005
    Options=LenienceOptions,
    decides_by_node=True,
)
