"""Multi-round rejection sampling down a tree.

Leviathan et al. 2023 (arXiv 2211.17192) and Chen et al. 2023 on a chain; SpecInfer (arXiv 2305.09781) and
multi-candidate speculative decoding (arXiv 2401.06706) on a tree. Lossless for every proposal of this project.
"""

from __future__ import annotations

import torch

from specviz.options import Options
from specviz.sampling import top_k
from specviz.tree import TokenTree
from specviz.verifying.base import (
    ALL_PROPOSALS,
    End,
    Judgement,
    Residuals,
    Verifier,
    draft_edge_probs,
    edge_probs,
    ratio,
)
from specviz.verifying.walks import walk_down

_PARENTS_AT_ONCE = 64
"""Bounds the working memory to that many rows of p and q."""
RECORDED_RESIDUAL = 10


def judge(tree: TokenTree, target: torch.Tensor, options: Options) -> Judgement:
    """Threshold of child c with token x: ``p[x] / q[x]``, p being the residual left by its elder siblings."""
    n = len(tree)
    thresholds = torch.ones(n, dtype=target.dtype, device=target.device)
    p_used, q_used = edge_probs(tree, target), draft_edge_probs(tree, target)
    mass = torch.zeros_like(thresholds)
    k = min(RECORDED_RESIDUAL, target.shape[-1])
    top_ids = torch.zeros(n, k, dtype=torch.long, device=target.device)
    top_probs = torch.zeros(n, k, dtype=target.dtype, device=target.device)

    inner = [node for node, children in enumerate(tree.shape.children) if children]
    for start in range(0, len(inner), _PARENTS_AT_ONCE):
        parents = inner[start : start + _PARENTS_AT_ONCE]
        p = target[parents]
        q = proposal_rows(tree, parents, target)
        for rank in range(max(len(tree.shape.children[v]) for v in parents)):
            rows = [i for i, v in enumerate(parents) if len(tree.shape.children[v]) > rank]
            if len(rows) < len(parents):
                parents, p, q = [parents[i] for i in rows], p[rows], None if q is None else q[rows]
            children = [tree.shape.children[v][rank] for v in parents]
            x = torch.tensor([tree.tokens[c] for c in children], device=target.device)[:, None]
            p_used[children] = px = p.gather(-1, x)[:, 0]
            if q is not None:
                q_used[children] = q.gather(-1, x)[:, 0]
            thresholds[children] = ratio(px, q_used[children])
            p, mass[children], q = reject(p, q, x, tree)
            top_probs[children], top_ids[children] = top_k(p, k)

    def distribution(end: End) -> torch.Tensor:
        p = target[[end.node]]
        q = proposal_rows(tree, [end.node], target) if end.rejected else None
        for child in end.rejected:
            x = torch.tensor([[tree.tokens[child]]], device=target.device)
            p, _, q = reject(p, q, x, tree)
        return p[0]

    return Judgement(thresholds, p_used, q_used, distribution, Residuals(mass, top_ids, top_probs))


def reject(
    p: torch.Tensor, q: torch.Tensor | None, x: torch.Tensor, tree: TokenTree
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """One rejection in each of m rows: (residual p, its mass before scaling, q that the next sibling was drawn from).

    Args:
        p: [m, V].
        q: [m, V], or None for a point mass.
        x: [m, 1], the rejected tokens.

    A residual without mass (p = q to the last bit: the rejection had probability zero) keeps the p before it.
    """
    left = p.scatter(-1, x, 0.0) if q is None else (p - q).clamp_(min=0.0)
    mass = left.sum(-1, keepdim=True)
    p = torch.where(mass > 0, left / mass.clamp(min=torch.finfo(p.dtype).tiny), p)
    if q is not None and tree.proposal == "without_replacement":
        q = without(q, x)
    return p, mass[:, 0], q


def without(q: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Rows of q [m, V] after token x [m, 1] was taken out; all zero where nothing is left."""
    q = q.scatter(-1, x, 0.0)
    return q / q.sum(-1, keepdim=True).clamp(min=torch.finfo(q.dtype).tiny)


def proposal_rows(tree: TokenTree, parents: list[int], like: torch.Tensor) -> torch.Tensor | None:
    """[m, V], the rows siblings were drawn from; None for a point mass."""
    if tree.q_is_point_mass:
        return None
    return tree.rows[[tree.row_of[v] for v in parents]].to(like.dtype)


REJECTION = Verifier(
    name="rejection",
    summary="multi-round rejection sampling, child by child in draw order",
    judge=judge,
    walk=walk_down,
    comparison="uniform < threshold",
    rule="u < p/q",
    lossless=ALL_PROPOSALS,
)
