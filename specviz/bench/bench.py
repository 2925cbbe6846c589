"""The benchmark, in parts (a) to (h) that can be run separately; ``docs/bench.md`` says what each figure means."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import torch

from specviz import __version__
from specviz.bench import greedy_speed, optimum_cost, peak_memory, recorder_cost, step_cost
from specviz.errors import SettingsError, shown
from specviz.models.head_model import HeadModel
from specviz.models.loading import Pair
from specviz.models.pair_spec import ModelChoice

PARTS = {
    "a": "step time over the time of both models' forwards, all verifiers recording",
    "b": "tokens a second of greedy decoding",
    "c": "commit time by context",
    "d": "peak memory",
    "e": "trace bytes a step",
    "f": "step time as the context and the tree grow",
    "g": "time in a recorder's calls over the step of a loop of one's own",
    "h": "what recording the optimum of every node adds to a step",
}


@dataclass(frozen=True)
class Sizes:
    """How much each part measures.

    Attributes:
        steps: per tree in (a) and (e), per context in (c), per line of (f), (g) and (h).
        repeats: of every prompt and method in (b).
        prompts: in (b), the first ones of the project's own.
        new_tokens: per run in (b).
    """

    steps: int = 12
    repeats: int = 3
    prompts: int = 4
    new_tokens: int = 64


@dataclass(frozen=True)
class Report:
    """What was measured; a part that was not asked for is empty."""

    machine: dict[str, Any]
    sizes: Sizes
    parts: tuple[str, ...]
    steps: tuple[step_cost.StepCost, ...] = ()
    speeds: tuple[greedy_speed.Speed, ...] = ()
    commits: tuple[step_cost.CommitCost, ...] = ()
    peaks: tuple[peak_memory.Peak, ...] = ()
    growth: tuple[step_cost.StepCost, ...] = ()
    recorders: tuple[recorder_cost.RecorderCost, ...] = ()
    optima: tuple[optimum_cost.OptimumCost, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Plain values; times in seconds, memory in bytes."""
        result: dict[str, Any] = {"machine": self.machine, "sizes": asdict(self.sizes)}
        if self.steps:
            result["steps"] = [cost.as_json() for cost in self.steps]
        if self.speeds:
            assisted = next(speed for speed in self.speeds if speed.method == greedy_speed.ASSISTED)
            result["greedy"] = [
                speed.as_json()
                | {
                    "over_assisted_generation": speed.over(assisted),
                    "over_assisted_generation_after_first_step": speed.later_over(assisted),
                }
                for speed in self.speeds
            ]
            result["best_tree"] = greedy_speed.best_tree(self.speeds).method
        if self.commits:
            result["commits"] = [
                cost.as_json() | {"over_first": cost.median / self.commits[0].median} for cost in self.commits
            ]
        if self.peaks:
            result["memory"] = [peak.as_json() for peak in self.peaks]
        if self.growth:
            result["growth"] = [cost.as_json() for cost in self.growth]
        if self.recorders:
            result["recorder"] = [cost.as_json() for cost in self.recorders]
        if self.optima:
            result["optimum"] = [cost.as_json() for cost in self.optima]
        return result


OF_HEADS = {"a", "e"}
"""Parts that a draft head is measured in: a step, and what a step writes."""


def parse_parts(text: str) -> tuple[str, ...]:
    """``a,c`` -> the parts to measure, in their own order.

    Raises:
        SettingsError: for a part there is not, or none at all.
    """
    named = {name.strip() for name in text.split(",") if name.strip()}
    if unknown := sorted(named - PARTS.keys()):
        raise SettingsError(f"There is no part {shown(unknown[0])} to measure; choose from {', '.join(PARTS)}.")
    if not named:
        raise SettingsError(f"No part is chosen; choose from {', '.join(PARTS)}.")
    return tuple(part for part in PARTS if part in named)


def bench(pair: Pair, names: ModelChoice, parts: Sequence[str], sizes: Sizes, say: step_cost.Say = print) -> Report:
    """Measure the parts, one after the other.

    Args:
        pair: loaded.
        names: what it was loaded by; part (d) loads it again in other processes.
        parts: keys of :data:`PARTS`.
        say: told what is being measured.

    Raises:
        SettingsError: for a draft head and parts that run the draft in other ways than a session does.
    """
    if isinstance(pair.draft, HeadModel) and (others := set(parts) - OF_HEADS):
        raise SettingsError(
            f"With a draft head the parts {', '.join(sorted(OF_HEADS))} are measured and not {min(others)}; choose "
            "those (--only), or a draft model."
        )
    machine = describe_machine(pair)
    steps = step_cost.step_costs(pair, sizes.steps, say=say) if {"a", "e"} & set(parts) else ()
    speeds: Sequence[greedy_speed.Speed] = ()
    if "b" in parts:
        speeds = greedy_speed.greedy_speeds(pair, sizes.repeats, sizes.prompts, sizes.new_tokens, say=say)
    commits = step_cost.commit_costs(pair, sizes.steps, say=say) if "c" in parts else ()
    peaks = peak_memory.peaks(names, say=say) if "d" in parts else ()
    growth = step_cost.growth_costs(pair, sizes.steps, say=say) if "f" in parts else ()
    recorders = recorder_cost.recorder_costs(pair, sizes.steps, say=say) if "g" in parts else ()
    optima = optimum_cost.optimum_costs(pair, sizes.steps, say=say) if "h" in parts else ()
    return Report(
        machine,
        sizes,
        tuple(parts),
        tuple(steps),
        tuple(speeds),
        tuple(commits),
        tuple(peaks),
        tuple(growth),
        tuple(recorders),
        tuple(optima),
    )


def describe_machine(pair: Pair) -> dict[str, Any]:
    """What the figures belong to. ``load`` is the load average of the last minute: near 0 on a quiet machine."""
    device = pair.target.device
    return {
        "target": pair.target.info.model_dump(),
        "draft": pair.draft.info.model_dump(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or device.type,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "specviz": __version__,
    }


def format_report(report: Report) -> str:
    """Tables for the command line."""
    return "\n".join(_lines(report))


def _lines(report: Report) -> Iterator[str]:
    machine = report.machine
    target, draft = (machine[name] for name in ("target", "draft"))
    yield f"{target['id']} with {draft['id']}, {target['dtype']}, {target['device']}"
    yield f"{machine['threads']} threads of {machine['cores']} cores, load {machine['load']} when it began"
    tables = {
        "a": lambda: step_cost.overhead_lines(report.steps),
        "b": lambda: greedy_speed.speed_lines(report.speeds),
        "c": lambda: step_cost.commit_lines(report.commits),
        "d": lambda: peak_memory.peak_lines(report.peaks),
        "e": lambda: step_cost.byte_lines(report.steps),
        "f": lambda: step_cost.overhead_lines(report.growth),
        "g": lambda: recorder_cost.recorder_lines(report.recorders),
        "h": lambda: optimum_cost.optimum_lines(report.optima),
    }
    for part in report.parts:
        yield ""
        yield f"({part}) {PARTS[part]}"
        yield from tables[part]()
        if part == "b" and draft["reads"]:
            yield f"transformers cannot feed the head of {draft['id']}: its assisted generation drafts without it"
