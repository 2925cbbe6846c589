"""Parts (a), (c), (e) and (f) of ``bench``: a step's time over its forwards by tree and by context, a commit's time, a
recorded step's bytes."""

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
from specviz.drafting import resolve_builder
from specviz.engine.session import Session
from specviz.models.loading import Pair
from specviz.trace.io import dump_trace
from specviz.trace.schema import Choice, Settings, Step, Timings, Trace
from specviz.verifiers import STANDARD

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

    def fits(self, pair: Pair) -> bool:
        """Whether the draft drafts as deep as this tree is: a block head has a number of levels."""
        head = pair.draft.info.head
        builder, options = resolve_builder(self.choice)
        return head is None or head.depth is None or builder.work(options).forwards <= head.depth


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
DEFAULT_TREE = TREES[0]
GROWN_TREES = TREES[1:4]
"""Of part (f), behind its shortest context."""


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
        return self.timings.seconds("draft", "target")

    @property
    def ratio(self) -> float:
        """Step over forwards: 1 is a step that costs nothing else."""
        return self.wall / self.forwards

    @property
    def rest(self) -> float:
        """Seconds in no phase: the step's value is made and validated after the last of them."""
        return self.wall - self.timings.seconds(*PHASES)


@dataclass(frozen=True)
class StepCost:
    """All measured steps of one tree.

    Attributes:
        gzip_bytes_a_step: of the trace file, prompt and settings included.
        prompt_tokens: tokens that came before the first step.
    """

    tree: BenchTree
    steps: tuple[MeasuredStep, ...]
    gzip_bytes_a_step: float
    prompt_tokens: int = 0

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
            "prompt_tokens": self.prompt_tokens,
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


def step_costs(
    pair: Pair,
    steps: int,
    trees: Sequence[BenchTree] = TREES,
    say: Say = print,
    enough: Callable[[], bool] = lambda: False,
) -> list[StepCost]:
    """Measure ``steps`` steps of every tree, all verifiers recording, temperature 1, driven by rejection.

    Args:
        enough: asked after every round whether to end.
    """
    pair = without_end_tokens(pair)
    fitting = [tree for tree in trees if tree.fits(pair)]
    if left_out := [tree.label for tree in trees if tree not in fitting]:
        say(f"deeper than the draft's blocks, left out: {', '.join(left_out)}")
    return _step_costs([(tree, session_for(pair, tree)) for tree in fitting], steps, say, enough)


def growth_costs(
    pair: Pair,
    steps: int,
    contexts: Sequence[int] = CONTEXTS,
    trees: Sequence[BenchTree] = GROWN_TREES,
    say: Say = print,
    enough: Callable[[], bool] = lambda: False,
) -> list[StepCost]:
    """Measure the smallest tree at each context length that the models can hold, and each tree behind the shortest."""
    pair = without_end_tokens(pair)
    places = [(DEFAULT_TREE, context) for context in contexts if _fits(pair, context)]
    places += [(tree, places[0][1]) for tree in trees if places]
    cases = []
    for tree, context in places:
        say(f"growth: reading a context of {context:,} tokens for {tree.label}")
        cases.append((tree, session_for(pair, tree, context)))
    return _step_costs(cases, steps, say, enough)


def _step_costs(
    cases: Sequence[tuple[BenchTree, Session]], steps: int, say: Say, enough: Callable[[], bool]
) -> list[StepCost]:
    """The runs take turns step by step, so that a slow moment of the machine meets all of them."""
    measured: list[list[MeasuredStep]] = [[] for _ in cases]
    for turn in range(steps + WARM_UP):
        say(f"steps: round {turn + 1} of {steps + WARM_UP}")
        for (tree, session), done in zip(cases, measured, strict=True):
            wall, step = timed_step(session)
            assert len(step.tree.nodes) == tree.nodes + 1, f"{tree.label} grew {len(step.tree.nodes) - 1} nodes"
            if turn >= WARM_UP:
                assert step.timings is not None
                done.append(MeasuredStep(wall, step.timings, len(step.model_dump_json().encode())))
        if turn >= WARM_UP and enough():
            break
    return [
        StepCost(tree, tuple(done), _gzip_bytes(session) / len(session.steps), len(session.prompt_tokens))
        for (tree, session), done in zip(cases, measured, strict=True)
    ]


def commit_costs(pair: Pair, steps: int, contexts: Sequence[int] = CONTEXTS, say: Say = print) -> list[CommitCost]:
    """Measure ``steps`` commits at each context length that the models can hold, taking turns."""
    pair = without_end_tokens(pair)
    sessions = {}
    for context in contexts:
        if _fits(pair, context):
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
                assert step.timings is not None
                seconds[context].append(step.timings.seconds("commit"))
                changes = (step.caches.whole("target"), step.caches.whole("draft"))
                moved[context].append(sum(len(change.moves) for change in changes))
    return [CommitCost(context, tuple(seconds[context]), tuple(moved[context])) for context in sessions]


def _fits(pair: Pair, context: int) -> bool:
    """Whether the models can hold a context and what a run adds to it."""
    room = min(pair.target.max_positions, pair.draft.max_positions)
    return context + min(_COMMIT_ROOM, room // 4) <= room


def session_at(pair: Pair, context: int) -> Session:
    """A run of 4,2,2 under rejection whose prompt has exactly ``context`` tokens."""
    return session_of(pair, _settings(DEFAULT_TREE.choice, ("rejection",)), prompt_of(pair, context))


def session_for(pair: Pair, tree: BenchTree, context: int | None = None, *, audit: bool = False) -> Session:
    """A run of ``tree`` with all verifiers, on the prompt, or on one of exactly ``context`` tokens."""
    settings = _settings(tree.choice, tuple(verifier.name for verifier in STANDARD)).model_copy(update={"audit": audit})
    return Session(pair, settings, PROMPT) if context is None else session_of(pair, settings, prompt_of(pair, context))


def prompt_of(pair: Pair, context: int) -> list[int]:
    """The prompt, again and again, of exactly ``context`` tokens."""
    text = PROMPT
    while len(pair.encode(text, False, "drop")) < context:
        text += " " + text
    return pair.encode(text, False, "drop")[:context]


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
    """Parts (a) and (f) as a table, milliseconds."""
    names = ("wall", *PHASES, "rest")
    head = f"{'tree':<28}{'prompt':>7}{'steps':>6}{'step/forwards':>15}"
    yield head + "".join(f"{name:>10}" for name in names) + "  [ms]"
    for cost in costs:
        times = "".join(f"{1e3 * cost.phase(name):>10.1f}" for name in names)
        yield f"{cost.tree.label:<28}{cost.prompt_tokens:>7,}{len(cost.steps):>6}{cost.ratio:>15.3f}{times}"


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


def _settings(builder: Choice, verifiers: tuple[str, ...]) -> Settings:
    return Settings(
        builder=builder,
        verifiers=tuple(Choice(name=name) for name in verifiers),
        driver="rejection",
        max_new_tokens=100_000,
        prompt_end_token="drop",
    )


def _gzip_bytes(session: Session) -> int:
    return len(gzip.compress(dump_trace(session.trace), compresslevel=6, mtime=0))
