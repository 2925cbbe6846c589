"""Multi-round rejection sampling down a tree.

Leviathan et al. 2023 (arXiv 2211.17192) and Chen et al. 2023 on a chain; SpecInfer (arXiv 2305.09781) and
multi-candidate speculative decoding (arXiv 2401.06706) on a tree. Lossless for every proposal of this project.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

import torch

from specviz.options import Options
from specviz.tree import TokenTree
from specviz.verifiers.base import ALL_PROPOSALS, End, Judgement, Residuals, Verifier, ratio, with_root
from specviz.verifiers.siblings import NodeValues, Remaining, in_draw_order, in_groups, rejected_in_turn, row_at
from specviz.verifiers.walks import walk_down


def judge(tree: TokenTree, target: torch.Tensor, options: Options) -> Judgement:
    """Threshold of child c with token x: ``p[x] / q[x]``, p being the residual left by its elder siblings."""
    rows = Remaining(tree, target, len(tree.shape.inner))
    p, q = NodeValues(math.nan, target), NodeValues(math.nan, target)
    for group in in_groups(tree, tree.shape.inner, rows):
        for now in in_draw_order(tree, group, rows):
            for values, there in zip((p, q), rows.at(now.x), strict=True):
                values.add(now.children, there)
            if now.more:
                rows.keep(now.more)
                rows.reject(now.x[: now.more])
    nodes = range(len(tree))
    p_used, q_used = p.at(nodes), q.at(nodes)
    thresholds = with_root(ratio(p_used, q_used), 1.0)

    def distribution(end: End) -> torch.Tensor:
        return row_at(tree, end, target)

    def residuals(nodes: Sequence[int]) -> Residuals:
        found = []
        for parent, siblings in groupby(nodes, key=lambda node: tree.shape.parents[node]):
            wanted = set(siblings)
            family = [child for child in tree.shape.children[parent] if child <= max(wanted)]
            for child, (mass, row) in zip(family, rejected_in_turn(tree, family, target), strict=True):
                if child in wanted:
                    found.append(Residuals.of(mass, row[None]))
        return Residuals.cat(found)

    return Judgement(thresholds, p_used, q_used, distribution, residuals)


REJECTION = Verifier(
    name="rejection",
    summary="multi-round rejection sampling, child by child in draw order",
    judge=judge,
    walk=walk_down,
    comparison="uniform < threshold",
    rule="u < p/q",
    lossless=ALL_PROPOSALS,
    decides_by_node=True,
)
