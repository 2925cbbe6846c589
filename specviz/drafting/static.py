"""Trees whose shape is known before drafting: ``k_config`` (uniform) and ``explicit`` (heterogeneous)."""

from __future__ import annotations

import json
from functools import lru_cache

from pydantic import Field

from specviz.dice import Dice
from specviz.drafting.base import Builder, BuilderWork, Draft, Limits, propose
from specviz.errors import SettingsError
from specviz.options import Options
from specviz.trace.best_tree import Plan, RankPath
from specviz.trace.schema import Proposal
from specviz.tree import MAX_NODES, Growth


class KConfigOptions(Options):
    tree: str = Field("4,2,2", description="Children per node, level by level; empty for no draft at all")
    proposal: Proposal = Field("without_replacement", description="How siblings are proposed")


class ExplicitOptions(Options):
    paths: str = Field(
        "[0],[1],[2],[0,0],[0,1],[1,0],[0,0,0],[0,0,1],[0,0,0,0]",
        description="Every node as its draw ranks from the root",
    )
    proposal: Proposal = Field("without_replacement", description="How siblings are proposed")


@lru_cache(maxsize=64)
def k_config_plan(tree: str) -> Plan:
    """``4,2,2`` -> every node at depth i - 1 has the i-th number of children.

    Raises:
        SettingsError: for anything but positive whole numbers, or for more than 1,024 nodes.
    """
    try:
        widths = [int(part) for part in tree.split(",")] if tree.strip() else []
    except ValueError:
        raise SettingsError(f"The tree {tree[:60]!r} is not a list of whole numbers; write it like 4,2,2.") from None
    if any(width < 1 for width in widths):
        raise SettingsError(f"The tree {tree[:60]!r} has a level without children; write it like 4,2,2.")
    nodes, level = 0, 1
    for width in widths:
        level *= width
        nodes += level
        if nodes > MAX_NODES:
            raise SettingsError(f"The tree {tree[:60]!r} has more than {MAX_NODES} nodes; choose a smaller one.")
    plan: Plan = {}
    paths: list[RankPath] = [()]
    for width in widths:
        plan.update((path, width) for path in paths)
        paths = [(*path, rank) for path in paths for rank in range(width)]
    return plan


@lru_cache(maxsize=64)
def explicit_plan(paths: str) -> Plan:
    """``[0],[1],[0,0]`` -> a heterogeneous tree; an entry is the draw rank among siblings.

    Raises:
        SettingsError: for a node whose parent or elder sibling is missing (dropping a drawn sibling would bias every
            verifier), for a node named twice, or for more than 1,024 nodes.
    """
    try:
        listed = json.loads(f"[{paths}]")
        nodes = {tuple(path) for path in listed}
    except (ValueError, TypeError, RecursionError):
        raise SettingsError("The paths are not lists of draw ranks; write them like [0],[1],[0,0].") from None
    if any(not path or any(type(rank) is not int or rank < 0 for rank in path) for path in nodes):
        raise SettingsError("Every path is a list of draw ranks 0, 1, 2, ...; write them like [0],[1],[0,0].")
    if len(nodes) != len(listed):
        raise SettingsError("A path is listed twice; name every node once.")
    if len(nodes) > MAX_NODES:
        raise SettingsError(f"The tree has {len(nodes)} nodes; choose one of at most {MAX_NODES}.")
    plan: Plan = {}
    for path in sorted(nodes):
        parent, rank = path[:-1], path[-1]
        if parent and parent not in nodes:
            raise SettingsError(f"Node {list(path)} has no parent {list(parent)}; add it to the paths.")
        if rank and (*parent, rank - 1) not in nodes:
            raise SettingsError(f"Node {list(path)} has no elder sibling {[*parent, rank - 1]}; ranks have no gaps.")
        plan[parent] = max(plan.get(parent, 0), rank + 1)
    return plan


def grow_plan(
    growth: Growth, draft: Draft, plan: Plan, proposal: Proposal, dice: Dice, step: int, limits: Limits
) -> None:
    """Grow level by level, one draft forward each. Levels stay in the order of their parents."""
    level: list[tuple[int, RankPath]] = [(0, ())]
    while level:
        expandable = [
            (node, path)
            for node, path in level
            if path in plan
            and growth.depths[node] < limits.max_depth
            and (node == 0 or growth.tokens[node] not in limits.end_tokens)
        ]
        if not expandable:
            break
        nodes = [node for node, _ in expandable]
        rows = draft.expand(growth, nodes)
        growth.add_rows(nodes, rows)
        siblings = propose(rows, [plan[path] for _, path in expandable], nodes, proposal, dice, step, draft.reads)
        level = []
        for (node, path), tokens in zip(expandable, siblings, strict=True):
            level += [(growth.add(node, token), (*path, rank)) for rank, token in enumerate(tokens)]


def plan_work(plan: Plan) -> BuilderWork:
    """What growing a plan takes: a forward a level, a row for every node that has children."""
    return BuilderWork(len({len(path) for path in plan}), len(plan), sum(plan.values()))


def _grow_k_config(
    growth: Growth, draft: Draft, options: KConfigOptions, dice: Dice, step: int, limits: Limits
) -> None:
    grow_plan(growth, draft, k_config_plan(options.tree), options.proposal, dice, step, limits)


def _grow_explicit(
    growth: Growth, draft: Draft, options: ExplicitOptions, dice: Dice, step: int, limits: Limits
) -> None:
    grow_plan(growth, draft, explicit_plan(options.paths), options.proposal, dice, step, limits)


K_CONFIG = Builder(
    name="k_config",
    summary="every node of a level has the same number of children",
    Options=KConfigOptions,
    grow=_grow_k_config,
    proposal=lambda options: options.proposal,
    max_nodes=lambda options: sum(k_config_plan(options.tree).values()),
    most_work=lambda options: plan_work(k_config_plan(options.tree)),
)

EXPLICIT = Builder(
    name="explicit",
    summary="any heterogeneous tree, node by node",
    Options=ExplicitOptions,
    grow=_grow_explicit,
    proposal=lambda options: options.proposal,
    max_nodes=lambda options: sum(explicit_plan(options.paths).values()),
    most_work=lambda options: plan_work(explicit_plan(options.paths)),
)
