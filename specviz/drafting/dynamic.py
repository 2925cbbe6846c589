"""Trees whose shape follows the draft's own confidence (EAGLE-2, arXiv 2406.16858, sections 3.1 and 3.2)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from specviz.dice import Dice
from specviz.drafting.base import Builder, Draft, Limits
from specviz.options import Options
from specviz.trace import Proposal
from specviz.tree import MAX_NODES, Growth


class DynamicOptions(Options):
    rule: Literal["eagle2"] = Field("eagle2", description="Expand the best nodes of each level, then keep the best")
    top_k: int = Field(10, ge=1, le=64, description="Children per expanded node, and nodes expanded per level")
    depth: int = Field(6, ge=0, le=64, description="Deepest level")
    total: int = Field(60, ge=1, le=MAX_NODES, description="Nodes that are kept, the root not counted")


def _grow(growth: Growth, draft: Draft, options: DynamicOptions, dice: Dice, step: int, limits: Limits) -> list[int]:
    """Expand the ``top_k`` nodes of each level by the product of q on their path, then keep the ``total`` best.

    A product never grows downwards, so with ties broken towards the shallower (and then the earlier) node no child
    outlives its parent. Children are chosen, not sampled: the dice is not asked.
    """
    score = {0: 1.0}
    frontier = [0]
    for _ in range(min(options.depth, limits.max_depth)):
        if not frontier:
            break
        rows = draft.expand(growth, frontier)
        growth.add_rows(frontier, rows)
        top, ids = rows.topk(min(options.top_k, rows.shape[-1]), dim=-1)
        level = []
        for node, tokens, probs in zip(frontier, ids.tolist(), top.tolist(), strict=True):
            for token, prob in zip(tokens, probs, strict=True):
                if prob > 0:
                    child = growth.add(node, token)
                    score[child] = score[node] * prob
                    level.append(child)
        expandable = [node for node in level if growth.tokens[node] not in limits.end_tokens]
        frontier = sorted(sorted(expandable, key=lambda node: (-score[node], node))[: options.top_k])
    best = sorted(score, key=lambda node: (-score[node], growth.depths[node], node))
    return sorted(best[: options.total + 1])


def _proposal(options: DynamicOptions) -> Proposal:
    return "top_k"


DYNAMIC = Builder(
    name="dynamic",
    summary="the draft's most confident nodes (EAGLE-2)",
    Options=DynamicOptions,
    grow=_grow,
    proposal=_proposal,
    max_nodes=lambda options: options.total if options.depth else 0,
)
