"""Multi-round rejection sampling down a tree.

Leviathan et al. 2023 (arXiv 2211.17192) and Chen et al. 2023 on a chain; SpecInfer (arXiv 2305.09781) and
multi-candidate speculative decoding (arXiv 2401.06706) on a tree. Lossless for every proposal of this project.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch

from specviz.options import Options
from specviz.transfers import upload
from specviz.tree import TokenTree
from specviz.verifiers.base import (
    ALL_PROPOSALS,
    End,
    Judgement,
    Residuals,
    Verifier,
    draft_edge_probs,
    edge_probs,
    ratio,
)
from specviz.verifiers.siblings import in_draw_order, rejected_in_turn, row_at
from specviz.verifiers.walks import walk_down


def judge(tree: TokenTree, target: torch.Tensor, options: Options) -> Judgement:
    """Threshold of child c with token x: ``p[x] / q[x]``, p being the residual left by its elder siblings."""
    p_used, q_used = edge_probs(tree, target), draft_edge_probs(tree, target)
    for children, x, rows, more in in_draw_order(tree, [tree.shape.inner], target):
        at = upload(children, target.device)
        p_used[at], q_used[at] = rows.at(x)
        if more:
            rows.keep(more)
            rows.reject(x[:more])
    thresholds = ratio(p_used, q_used)
    thresholds[:1].fill_(1.0)  # thresholds[0] = 1.0 would wait for the device

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
)
