"""The best static shape for a node budget, from acceptance by sibling rank (Sequoia, arXiv 2402.12374, section 3.1)."""

from __future__ import annotations

from functools import lru_cache

from pydantic import Field

from specviz.dice import Dice
from specviz.drafting.base import Builder, BuilderWork, Draft, Limits
from specviz.drafting.static import grow_plan
from specviz.errors import SettingsError
from specviz.options import Options
from specviz.trace.best_tree import BestTrees, Plan
from specviz.trace.schema import Proposal
from specviz.tree import MAX_NODES, Growth

MOST_RANKS = 32


class SequoiaOptions(Options):
    acceptance: str = Field(
        "0.41,0.069,0.026,0.017",  # measured for the default pair, docs/draft.md
        description="Probability that the first, second, ... sibling is accepted, given that its parent was",
    )
    total: int = Field(28, ge=1, le=MAX_NODES, description="Nodes, the root not counted")
    depth: int = Field(8, ge=1, le=32, description="Deepest level")
    proposal: Proposal = Field("without_replacement", description="How siblings are proposed")


def parse_acceptance(text: str) -> tuple[float, ...]:
    """``0.5,0.2`` -> numbers.

    Raises:
        SettingsError: unless they are probabilities that sum to at most 1.
    """
    try:
        ranks = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise SettingsError(
            f"The acceptance {text[:60]!r} is not a list of numbers; write it like 0.5,0.2,0.1."
        ) from None
    if not all(0 < p <= 1 for p in ranks) or sum(ranks) > 1 + 1e-9 or len(ranks) > MOST_RANKS:
        raise SettingsError(
            f"Acceptance by sibling rank is a list of at most {MOST_RANKS} probabilities that sum to at most 1."
        )
    return ranks


@lru_cache(maxsize=32)
def sequoia_plan(acceptance: str, total: int, depth: int) -> Plan:
    """The tree of at most ``total`` nodes and ``depth`` levels with the largest expected accepted length; see
    :class:`~specviz.trace.best_tree.BestTrees`."""
    return BestTrees((parse_acceptance(acceptance),), total, depth).plan(total)


def _grow(growth: Growth, draft: Draft, options: SequoiaOptions, dice: Dice, step: int, limits: Limits) -> None:
    plan = sequoia_plan(options.acceptance, options.total, options.depth)
    grow_plan(growth, draft, plan, options.proposal, dice, step, limits)


def _most_work(options: SequoiaOptions) -> BuilderWork:
    """From the sizes alone: computing the plan of a large tree is itself work, which a limit must come before."""
    ranks, levels = len(parse_acceptance(options.acceptance)), min(options.depth, options.total)
    widest = sum(ranks**level for level in range(1, levels + 1))  # every node with a child of every rank
    nodes = min(options.total, widest)
    return BuilderWork(levels, min(nodes, 1 + widest - ranks**levels), nodes)


SEQUOIA = Builder(
    name="sequoia",
    summary="the best static shape for measured acceptance by sibling rank",
    Options=SequoiaOptions,
    grow=_grow,
    proposal=lambda options: options.proposal,
    max_nodes=lambda options: _most_work(options).nodes,
    most_work=_most_work,
)
