"""What shape of tree would pay: the best one for a node budget by the acceptance that was measured in a run.

What comes out is a hypothesis. The acceptance is that of the text it was measured on, and the shape is the one that
its noise likes best, so few decisions promise too much; what is gained stands on held-out prompts only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from specviz.errors import SettingsError
from specviz.trace.acceptance import Acceptance, acceptance
from specviz.trace.best_tree import BestTrees, expected_tokens, paths_text
from specviz.trace.calibration import Interval
from specviz.trace.forward_times import ForwardTimes, merged, times_of_run
from specviz.trace.intervals import efficiency_interval
from specviz.trace.metrics import new_tokens
from specviz.trace.schema import Proposal, Trace

LEAST_DECISIONS = 100
"""Nodes whose children were judged, below which nothing is advised: one decision more or less moves every figure by
a hundredth then."""
BUDGETS = (4, 8, 16, 28, 64)
MOST_BUDGET = 256
DEPTH = 8
"""Levels of an advised tree at most; deeper than any trees of the run reached is beyond what was measured."""


HOPEFUL = (
    "The shape is chosen by the same decisions that its expected tokens are worked out from, so these are too hopeful, "
    "the more so the fewer decisions there are; what it gains is what held-out prompts show."
)


class Advised(NamedTuple):
    """The best tree of one budget.

    Attributes:
        nodes: of the tree; fewer than the budget where the measured ranks and levels allow no more.
        levels: of the tree.
        paths: as the builder ``explicit`` takes them.
        expected: new tokens a target forward by the model, bonus included.
        seconds: of both models' forwards in a step; None where that width was not measured.
    """

    budget: int
    nodes: int
    levels: int
    paths: str
    expected: float
    seconds: float | None

    @property
    def speed(self) -> float | None:
        """Expected tokens a second of forwards."""
        return self.expected / self.seconds if self.seconds else None


class Advice(NamedTuple):
    """Attributes:
    driver, proposal: of the steps that were counted, those of the newest kind in the runs.
    steps: how many were counted.
    left_out: steps that had another driver, proposal or sampling, processors included.
    chosen: whether the builder chose by the draft's confidence what it expanded, so that the acceptance is that of
        confident places.
    decisions: nodes whose children were judged.
    acceptance: the estimate.
    today: what the model expects of the trees of these steps.
    seen: new tokens a target forward in them, with its interval.
    nodes: of their trees on average.
    trees: by rising budget.
    times: measured forwards.
    fastest: budget with the most expected tokens a second; None where fewer than two budgets have measured widths.
    """

    driver: str
    proposal: Proposal | None
    steps: int
    left_out: int
    chosen: bool
    decisions: int
    acceptance: Acceptance
    today: float
    seen: float
    interval: Interval | None
    nodes: float
    trees: tuple[Advised, ...]
    times: ForwardTimes
    fastest: int | None

    def best(self) -> Advised:
        """The tree for the fastest budget, or else for as many nodes as today's."""
        wanted = self.fastest if self.fastest is not None else round(self.nodes)
        return min(self.trees, key=lambda tree: abs(tree.budget - wanted))


def advise(
    traces: Sequence[Trace], budgets: Sequence[int] = (), depth: int = DEPTH, measured: Sequence[ForwardTimes] = ()
) -> Advice:
    """From one run or several of the same pair.

    Args:
        budgets: nodes; none: :data:`BUDGETS` and as many as today's trees have.
        measured: times of forwards besides those of the runs.

    Raises:
        SettingsError: for too few decisions, or a budget or depth out of range, in a sentence.
    """
    if any(not 1 <= budget <= MOST_BUDGET for budget in budgets) or not 1 <= depth <= 32:
        raise SettingsError(f"A budget is a number of nodes from 1 to {MOST_BUDGET}, and a depth one from 1 to 32.")
    kinds = [(kind_of(trace, at), trace, step) for trace in traces for at, step in enumerate(trace.steps)]
    wanted = kinds[-1][0] if kinds else None
    kept = [(trace, step) for kind, trace, step in kinds if kind == wanted]
    steps = [step for _, step in kept]
    if steps and steps[-1].tree.builder == "prompt_lookup":
        raise SettingsError("These trees were copied from the text, so they say nothing about a shape for the draft.")
    found = acceptance(steps)
    if sum(found.decisions) < LEAST_DECISIONS:
        raise SettingsError(too_few(sum(found.decisions)))
    lengths = [new_tokens(step, step.driver, trace.end_tokens) for trace, step in kept]
    nodes = sum(len(step.tree.nodes) - 1 for step in steps) / len(steps)
    times = merged([times_of_run(traces), *measured])
    head = traces[-1].models.draft.head if traces[-1].models.draft else None
    levels = min(depth, head.depth) if head is not None and head.depth else depth
    chosen = budgets or (*BUDGETS, min(max(1, round(nodes)), MOST_BUDGET))
    trees = _trees(found, sorted(set(chosen)), levels, times)
    today = [
        expected_tokens(found.rows, [n.parent for n in step.tree.nodes], [n.rank for n in step.tree.nodes])
        for step in steps
    ]
    return Advice(
        driver=steps[-1].driver,
        proposal=steps[-1].tree.proposal,
        steps=len(steps),
        left_out=len(kinds) - len(kept),
        chosen=steps[-1].tree.builder == "dynamic",
        decisions=sum(found.decisions),
        acceptance=found,
        today=sum(today) / len(today),
        seen=sum(lengths) / len(lengths),
        interval=efficiency_interval(lengths),
        nodes=nodes,
        trees=trees,
        times=times,
        fastest=_fastest(trees),
    )


def kind_of(trace: Trace, position: int) -> tuple[object, ...]:
    """What has to be the same for two steps' acceptance to be one figure."""
    step = trace.steps[position]
    copied = step.tree.builder == "prompt_lookup"
    settings = trace.settings_of(position)
    sampling = (trace.sampling_of(position), settings.processors if settings else None)
    return step.driver, step.verdicts[step.driver].options, step.tree.proposal, copied, sampling


def too_few(decisions: int) -> str:
    """Why nothing is advised."""
    return (
        f"{decisions} decisions are too few to advise a tree; it takes {LEAST_DECISIONS} nodes whose children the "
        "driver judged. Record a longer run, or give several."
    )


def _trees(found: Acceptance, budgets: Sequence[int], levels: int, times: ForwardTimes) -> tuple[Advised, ...]:
    best = BestTrees(found.rows, budgets[-1], levels)
    trees = []
    for budget in budgets:
        plan = best.plan(budget)
        nodes, deepest = sum(plan.values()), max((len(path) + 1 for path in plan), default=0)
        seconds = times.seconds(nodes, deepest)
        trees.append(Advised(budget, nodes, deepest, paths_text(plan), best.expected(budget), seconds))
    return tuple(trees)


def _fastest(trees: Sequence[Advised]) -> int | None:
    timed = [(speed, tree.budget) for tree in trees if (speed := tree.speed) is not None]
    return max(timed)[1] if len(timed) > 1 else None
