"""Trees whose shape follows the draft's own confidence.

``eagle2``: EAGLE-2 (arXiv 2406.16858, sections 3.1 and 3.2). ``best_first``: OPT-Tree (arXiv 2406.17276) and DySpec
(arXiv 2410.11744), which spend a node budget on the largest products of q.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from specviz.dice import Dice
from specviz.drafting.base import Builder, BuilderWork, Draft, Limits
from specviz.options import Options
from specviz.trace.schema import Proposal
from specviz.tree import MAX_NODES, Growth


class DynamicOptions(Options):
    rule: Literal["eagle2", "best_first"] = Field(
        "eagle2", description="eagle2 expands the best top_k nodes of a level, best_first all that can still be kept"
    )
    top_k: int = Field(
        10, ge=1, le=64, description="Children per expanded node; for eagle2 also nodes expanded per level"
    )
    depth: int = Field(6, ge=0, le=64, description="Deepest level")
    total: int = Field(60, ge=1, le=MAX_NODES, description="Nodes that are kept, the root not counted")
    threshold: float = Field(
        0.0, ge=0, le=1, description="best_first: stop when a level adds less to the expected accepted length"
    )


def _grow(growth: Growth, draft: Draft, options: DynamicOptions, dice: Dice, step: int, limits: Limits) -> list[int]:
    """Expand level by level, then keep the ``total`` nodes with the largest product of q on their path.

    A product never grows downwards, so with ties broken towards the shallower (and then the earlier) node no child
    outlives its parent. For the same reason nothing below a node outside the best ``total`` can enter them: best_first,
    which expands every node inside, ends with the best tree of that size there is. Children are chosen, not sampled:
    the dice is not asked. A node outside stays outside, so each level is compared with the best so far only.
    """
    score = {0: 1.0}
    kept = [0]
    frontier = [0]
    for _ in range(min(options.depth, limits.max_depth)):
        if not frontier:
            break
        rows = draft.expand(growth, frontier)
        growth.add_rows(frontier, rows)
        top, ids = draft.reads.now(*rows.topk(min(options.top_k, rows.shape[-1]), dim=-1))
        level = []
        for node, tokens, probs in zip(frontier, ids.tolist(), top.tolist(), strict=True):
            for token, prob in zip(tokens, probs, strict=True):
                if prob > 0:
                    child = growth.add(node, token)
                    score[child] = score[node] * prob
                    level.append(child)
        before = sum(score[node] for node in kept)
        kept = _best(growth, score, [*kept, *level], options.total)
        expandable = [node for node in level if growth.tokens[node] not in limits.end_tokens]
        if options.rule == "eagle2":
            frontier = sorted(sorted(expandable, key=lambda node: (-score[node], node))[: options.top_k])
        elif sum(score[node] for node in kept) - before < options.threshold:
            break
        else:
            inside = set(kept)
            frontier = [node for node in expandable if node in inside]
    return kept


def _best(growth: Growth, score: dict[int, float], nodes: list[int], total: int) -> list[int]:
    """The root and the ``total`` best of ``nodes``, ascending."""
    order = sorted(nodes, key=lambda node: (-score[node], growth.depths[node], node))
    return sorted(order[: total + 1])


def _most_work(options: DynamicOptions) -> BuilderWork:
    """Level by level as many nodes as the rule can expand. A node of best_first is kept when it is expanded, and so are
    its ancestors: that leaves less room on every level."""
    forwards = rows = nodes = 0
    expanded = 1
    for depth in range(options.depth):
        forwards, rows, nodes = forwards + 1, rows + expanded, nodes + expanded * options.top_k
        room = options.top_k if options.rule == "eagle2" else options.total - depth
        expanded = min(expanded * options.top_k, room)
        if expanded < 1:
            break
    return BuilderWork(forwards, rows, nodes)


def _proposal(options: DynamicOptions) -> Proposal:
    return "top_k"


DYNAMIC = Builder(
    name="dynamic",
    summary="the draft's most confident nodes (EAGLE-2, or best first)",
    Options=DynamicOptions,
    grow=_grow,
    proposal=_proposal,
    max_nodes=lambda options: options.total if options.depth else 0,
    most_work=_most_work,
)
