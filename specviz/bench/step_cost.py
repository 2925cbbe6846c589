"""Parts (a), (c) and (e) of ``bench``: a step's time over its forwards, a commit's time, a recorded step's bytes."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from statistics import median
from typing import Any

import torch

from specviz import __version__
from specviz.engine.session import Session
from specviz.models.loading import Pair
from specviz.trace.io import dump_trace
from specviz.trace.schema import Choice, Settings, Step, Timings, Trace
from specviz.verifiers import VERIFIERS

Say = Callable[[str], None]
"""Called with a line about what is being measured now."""

PHASES = ("draft", "target", "build", "verify", "commit", "record")
"""Parts of :class:`~specviz.trace.schema.Timings` that belong to a step; ``rest`` is the wall time in none of them."""
PROMPT = "Tell a bedtime story about a snail that wants to see the sea."
WARM_UP = 2
"""First steps of every run that are not measured: they prefill, allocate and warm the machine up."""
CONTEXTS = (256, 1000, 4000, 8000)
_COMMIT_ROOM = 100
"""Tokens that a run of part (c) must at least be able to add to its context."""


@dataclass(frozen=True)
class BenchTree:
    """A tree whose recorded steps have exactly ``nodes`` drafted nodes."""

    nodes: int
    choice: Choice

    @property
    def label(self) -> str:
        shape = self.choice.options.get("tree", self.choice.name)
        return f"{shape} ({self.nodes:,} nodes)"


def _k_config(nodes: int, tree: str) -> BenchTree:
    return BenchTree(nodes, Choice(name="k_config", options={"tree": tree}))


def _dynamic(total: int) -> BenchTree:
    return BenchTree(total, Choice(name="dynamic", options={"total": total}))


# Sampled trees ask most of the verifiers: every sibling has a draft row of its own, renormalized again and again.
TREES = (
    _k_config(28, "4,2,2"),
    _k_config(64, "4,3,4"),
    _k_config(256, "4,3,4,4"),
    _k_config(1024, "4,3,4,4,4"),
    _dynamic(64),
    _dynamic(256),
)


@dataclass(frozen=True)
class MeasuredStep:
    """One step.

    Attributes:
        wall: seconds around the whole step, building the recorded value included.
        timings: what the engine measured inside it.
        json_bytes: of the recorded step.
    """

    wall: float
    timings: Timings
    json_bytes: int

    @property
    def forwards(self) -> float:
        """Seconds in both models' forwards."""
        return self.timings.draft + self.timings.target

    @property
    def ratio(self) -> float:
        """Step over forwards: 1 is a step that costs nothing else."""
        return self.wall / self.forwards

    @property
    def rest(self) -> float:
        """Seconds in no phase: the step's value is made and validated after the last of them."""
        return self.wall - sum(getattr(self.timings, phase) for phase in PHASES)


@dataclass(frozen=True)
class StepCost:
    """All measured steps of one tree."""

    tree: BenchTree
    steps: tuple[MeasuredStep, ...]
    gzip_bytes_a_step: float
    """Of the trace file, prompt and settings included."""

    @property
    def ratio(self) -> float:
        return median(step.ratio for step in self.steps)

    @property
    def json_bytes_a_step(self) -> float:
        return median(step.json_bytes for step in self.steps)

    def phase(self, name: str) -> float:
        """Median seconds of a phase, of ``rest`` or of ``wall``."""
        return median(getattr(step if name in ("rest", "wall") else step.timings, name) for step in self.steps)

    def as_json(self) -> dict[str, Any]:
        return {
            "tree": self.tree.choice.model_dump(),
            "nodes": self.tree.nodes,
            "steps": len(self.steps),
            "step_over_forwards": self.ratio,
            "step_over_forwards_of_each_step": [step.ratio for step in self.steps],
            "median_seconds": {name: self.phase(name) for name in ("wall", *PHASES, "rest")},
            "json_bytes_a_step": self.json_bytes_a_step,
            "gzip_bytes_a_step": self.gzip_bytes_a_step,
        }


@dataclass(frozen=True)
class CommitCost:
    """Commits at one context length.

    Attributes:
        context: tokens of the prompt.
        seconds: of each commit, both caches.
        moved: slots that each of them moved, both caches.
    """

    context: int
    seconds: tuple[float, ...]
    moved: tuple[int, ...]

    @property
    def moving(self) -> list[float]:
        """Seconds of the commits that moved anything, or of all if none did: the others cost less, at any context."""
        return [seconds for seconds, moved in zip(self.seconds, self.moved, strict=True) if moved] or [*self.seconds]

    @property
    def median(self) -> float:
        return median(self.moving)

    def as_json(self) -> dict[str, Any]:
        return {"context": self.context, "median_seconds": self.median, "seconds": self.seconds, "moved": self.moved}


def step_costs(pair: Pair, steps: int, trees: Sequence[BenchTree] = TREES, say: Say = print) -> list[StepCost]:
    """Measure ``steps`` steps of every tree, all verifiers recording, temperature 1, driven by rejection.

    The trees take turns step by step, so that a slow moment of the machine meets all of them.
    """
    pair = without_end_tokens(pair)
    verifiers = tuple(Choice(name=name) for name in VERIFIERS)
    sessions = [Session(pair, _settings(tree.choice, verifiers), PROMPT) for tree in trees]
    measured: list[list[MeasuredStep]] = [[] for _ in trees]
    for turn in range(steps + WARM_UP):
        say(f"steps: round {turn + 1} of {steps + WARM_UP}")
        for tree, session, done in zip(trees, sessions, measured, strict=True):
            wall, step = timed_step(session)
            assert len(step.tree.nodes) == tree.nodes + 1, f"{tree.label} grew {len(step.tree.nodes) - 1} nodes"
            if turn >= WARM_UP:
                done.append(MeasuredStep(wall, step.timings, len(step.model_dump_json().encode())))
    return [
        StepCost(tree, tuple(done), _gzip_bytes(session) / len(session.steps))
        for tree, session, done in zip(trees, sessions, measured, strict=True)
    ]


def commit_costs(pair: Pair, steps: int, contexts: Sequence[int] = CONTEXTS, say: Say = print) -> list[CommitCost]:
    """Measure ``steps`` commits at each context length that the models can hold, taking turns."""
    pair = without_end_tokens(pair)
    room = min(pair.target.max_positions, pair.draft.max_positions)
    sessions = {}
    for context in contexts:
        if context + min(_COMMIT_ROOM, room // 4) <= room:
            say(f"commits: reading a context of {context:,} tokens")
            sessions[context] = session_at(pair, context)
            sessions[context].step()
    seconds: dict[int, list[float]] = {context: [] for context in sessions}
    moved: dict[int, list[int]] = {context: [] for context in sessions}
    for turn in range(steps + WARM_UP):
        say(f"commits: round {turn + 1} of {steps + WARM_UP}")
        for context, session in sessions.items():
            if session.end_reason is not None:
                continue
            step = session.step()
            if turn >= WARM_UP:
                seconds[context].append(step.timings.commit)
                changes = (step.caches.target, step.caches.draft)
                moved[context].append(sum(len(change.moves) for change in changes))
    return [CommitCost(context, tuple(seconds[context]), tuple(moved[context])) for context in sessions]


def session_at(pair: Pair, context: int) -> Session:
    """A run of 4,2,2 under rejection whose prompt has exactly ``context`` tokens."""
    text = PROMPT
    while len(pair.encode(text, False, "drop")) < context:
        text += " " + PROMPT
    settings = _settings(Choice(name="k_config"), (Choice(name="rejection"),))
    return session_of(pair, settings, pair.encode(text, False, "drop")[:context])


def session_of(pair: Pair, settings: Settings, tokens: Sequence[int]) -> Session:
    """A run on exactly these prompt tokens: a trace without steps is a prompt, and a run can go on after it."""
    trace = Trace(
        id="prompt",
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        specviz_version=__version__,
        models=pair.models,
        settings=settings,
        prompt="",
        prompt_tokens=tuple(tokens),
        prompt_texts=tuple(pair.token_text(token) for token in sorted(set(tokens))),
    )
    return Session.resume(pair, trace)


def without_end_tokens(pair: Pair) -> Pair:
    """The pair without end-of-sequence tokens, so that no run ends early and every tree has all its nodes."""
    return replace(pair, eos_ids=frozenset())


def timed_step(session: Session) -> tuple[float, Step]:
    """One step and its seconds, with whatever it left running on the device."""
    synchronize(session.pair)
    start = time.perf_counter()
    step = session.step()
    synchronize(session.pair)
    return time.perf_counter() - start, step


def synchronize(pair: Pair) -> None:
    """Wait for the devices of both models."""
    for device in {pair.target.device, pair.draft.device}:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        elif device.type == "mps":
            torch.mps.synchronize()


def overhead_lines(costs: Sequence[StepCost]) -> Iterator[str]:
    """Part (a) as a table, milliseconds."""
    names = ("wall", *PHASES, "rest")
    yield f"{'tree':<24}{'steps':>6}{'step/forwards':>15}" + "".join(f"{name:>10}" for name in names) + "  [ms]"
    for cost in costs:
        times = "".join(f"{1e3 * cost.phase(name):>10.1f}" for name in names)
        yield f"{cost.tree.label:<24}{len(cost.steps):>6}{cost.ratio:>15.3f}{times}"


def commit_lines(costs: Sequence[CommitCost]) -> Iterator[str]:
    """Part (c) as a table."""
    yield f"{'context':>8}{'commits':>9}{'moving':>8}{'median':>12}{'of the first':>14}"
    for cost in costs:
        ratio = cost.median / costs[0].median
        yield f"{cost.context:>8,}{len(cost.seconds):>9}{len(cost.moving):>8}{1e3 * cost.median:>9.2f} ms{ratio:>14.2f}"


def byte_lines(costs: Sequence[StepCost]) -> Iterator[str]:
    """Part (e) as a table."""
    yield f"{'tree':<24}{'JSON a step':>14}{'gzip a step':>14}"
    for cost in costs:
        json_kb, gzip_kb = cost.json_bytes_a_step / 1e3, cost.gzip_bytes_a_step / 1e3
        yield f"{cost.tree.label:<24}{json_kb:>11.1f} kB{gzip_kb:>11.1f} kB"


def _settings(builder: Choice, verifiers: tuple[Choice, ...]) -> Settings:
    return Settings(
        builder=builder, verifiers=verifiers, driver="rejection", max_new_tokens=100_000, prompt_end_token="drop"
    )


def _gzip_bytes(session: Session) -> int:
    return len(gzip.compress(dump_trace(session.trace), compresslevel=6, mtime=0))
