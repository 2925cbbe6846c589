"""Part (h) of ``bench``: what the optimum of every node costs, and what each rule can expect there, beside a step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch

from specviz.bench.step_cost import WARM_UP, BenchTree, Say, session_for, synchronize, timed_step, without_end_tokens
from specviz.engine.step_values import Verified
from specviz.models.loading import Pair
from specviz.trace.schema import Choice
from specviz.tree import TokenTree
from specviz.verifiers.optimum import expected_acceptance, optimum_of_nodes

TREES = tuple(
    BenchTree(nodes, Choice(name="k_config", options={"tree": tree, "proposal": proposal}))
    for proposal in ("without_replacement", "with_replacement", "top_k")
    for nodes, tree in ((28, "4,2,2"), (60, "6,3,2"))
)


@dataclass(frozen=True)
class OptimumCost:
    """Steps of one tree.

    Attributes:
        optimum: seconds for the optima of all nodes of each step.
        expected: seconds for what the six rules of (a) can expect at all of them.
        steps: seconds of each step, the optimum not recorded.
    """

    tree: BenchTree
    optimum: tuple[float, ...]
    expected: tuple[float, ...]
    steps: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """What recording them adds to a step, over the step."""
        return (median(self.optimum) + median(self.expected)) / median(self.steps)

    def as_json(self) -> dict[str, Any]:
        return {
            "tree": self.tree.choice.model_dump(),
            "nodes": self.tree.nodes,
            "added_over_step": self.ratio,
            "optimum_seconds": self.optimum,
            "expected_seconds": self.expected,
            "step_seconds": self.steps,
        }


def optimum_costs(pair: Pair, steps: int, trees: Sequence[BenchTree] = TREES, say: Say = print) -> list[OptimumCost]:
    """Measure ``steps`` steps of every tree; the two are computed on the step's own rows and not recorded."""
    pair = without_end_tokens(pair)
    costs = []
    for tree in trees:
        say(f"optimum: {tree.label}, {str(tree.choice.options['proposal']).replace('_', ' ')}")
        session = session_for(pair, tree)
        times: list[tuple[float, float]] = []
        session.watch = _watch(pair, times)
        walls = [timed_step(session)[0] for _ in range(steps + WARM_UP)]
        own = [wall - sum(spent) for wall, spent in zip(walls, times, strict=True)]
        optimum, expected = zip(*times[WARM_UP:], strict=True)
        costs.append(OptimumCost(tree, optimum, expected, tuple(own[WARM_UP:])))
    return costs


def _watch(
    pair: Pair, times: list[tuple[float, float]]
) -> Callable[[TokenTree, torch.Tensor, Mapping[str, Verified]], None]:
    def watch(tree: TokenTree, target: torch.Tensor, results: Mapping[str, Verified]) -> None:
        synchronize(pair)
        began = time.perf_counter()
        optimum_of_nodes(tree, target)
        between = time.perf_counter()
        for verified in results.values():
            expected_acceptance(verified.verifier, tree, verified.judgement)
        times.append((between - began, time.perf_counter() - between))

    return watch


def optimum_lines(costs: Sequence[OptimumCost]) -> Iterator[str]:
    """Part (h) as a table, milliseconds."""
    yield f"{'tree':<24}{'proposal':<22}{'steps':>6}{'optimum':>10}{'expected':>10}{'step':>10}{'added/step':>12}  [ms]"
    for cost in costs:
        times = "".join(f"{1e3 * median(one):>10.1f}" for one in (cost.optimum, cost.expected, cost.steps))
        proposal = str(cost.tree.choice.options["proposal"]).replace("_", " ")
        yield f"{cost.tree.label:<24}{proposal:<22}{len(cost.steps):>6}{times}{cost.ratio:>12.3f}"
