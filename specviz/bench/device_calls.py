"""How often a step waits for its CUDA device and how much it launches there, by phase, as torch's profiler saw it.

The host runs ahead of the device. It has to wait for every value that it reads and for every upload that blocks, and
each launch takes some microseconds of its time: that is what a small step costs on a card beside its forwards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function, supported_activities

from specviz.bench.step_cost import WARM_UP, BenchTree, Say, session_for, without_end_tokens
from specviz.engine.session import Session
from specviz.errors import SettingsError
from specviz.models.head_model import HeadModel
from specviz.models.language_model import LanguageModel
from specviz.models.loading import Pair

FORWARD = "forward"
"""Inside a model, in whatever phase."""
REST = "rest"
"""Of a step, in no phase: prefills, and the step's value when it is made."""
_MARK = "specviz."
_WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")
_COPIES = ("cudaMemcpyAsync", "cudaMemcpy")


@dataclass(frozen=True)
class Span:
    """A call or a marked part of the program on the host, in the profiler's microseconds."""

    name: str
    start: float
    end: float


@dataclass(frozen=True)
class Calls:
    """Of one part of a step.

    Attributes:
        waits: calls that return when the device has done all it was told.
        launches: of kernels.
        copies: between host and device, in either direction; those that wait are followed by a wait.
    """

    waits: int = 0
    launches: int = 0
    copies: int = 0


@dataclass(frozen=True)
class StepCalls:
    """All profiled steps of one tree; for each the calls by part: the phases, :data:`FORWARD`, :data:`REST`."""

    tree: BenchTree
    levels: tuple[int, ...]
    """Draft forwards of each step."""
    steps: tuple[dict[str, Calls], ...]

    def of(self, part: str, kind: str) -> float:
        """The median over steps."""
        return median(getattr(step.get(part, Calls()), kind) for step in self.steps)

    def outside(self, kind: str) -> float:
        """The same of a whole step without its forwards."""
        return median(
            sum(getattr(calls, kind) for part, calls in step.items() if part != FORWARD) for step in self.steps
        )

    @property
    def parts(self) -> list[str]:
        """In the order in which they first came."""
        return list(dict.fromkeys(part for step in self.steps for part in step))

    def as_json(self) -> dict[str, Any]:
        kinds = ("waits", "launches", "copies")
        return {
            "tree": self.tree.choice.model_dump(),
            "nodes": self.tree.nodes,
            "levels": median(self.levels),
            "outside_the_forwards": {kind: self.outside(kind) for kind in kinds},
            "by_part": {part: {kind: self.of(part, kind) for kind in kinds} for part in self.parts},
        }


def step_calls(
    pair: Pair, steps: int, trees: Sequence[BenchTree], say: Say = print, enough: Callable[[], bool] = lambda: False
) -> list[StepCalls]:
    """Profile ``steps`` steps of every tree, all verifiers recording.

    Args:
        enough: asked after every step whether to end.
    """
    pair = without_end_tokens(pair)
    found = []
    for tree in trees:
        say(f"calls: {tree.label}")
        session = session_for(pair, tree)
        for _ in range(WARM_UP):
            session.step()
        levels, counted = [], []
        for _ in range(steps):
            parts, forwards = profiled_step(session)
            counted.append(parts)
            levels.append(forwards)
            if enough():
                break
        found.append(StepCalls(tree, tuple(levels), tuple(counted)))
    return found


def profiled_step(session: Session) -> tuple[dict[str, Calls], int]:
    """Run one step. Returns its calls by part, and the number of the draft's forwards.

    Raises:
        SettingsError: on CUDA, if the profiler cannot see its calls.
    """
    activities = [ProfilerActivity.CPU]
    if on_cuda := session.pair.target.device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
        if ProfilerActivity.CUDA not in supported_activities():
            raise SettingsError("This build of PyTorch cannot profile CUDA; install one with CUPTI.")
    clock, forwards = session._clock, [0]
    session._clock = _MarkedClock(clock)  # type: ignore[assignment]
    try:
        with (
            _marked(session.pair.target, [0]),
            _marked(session.pair.draft, forwards),
            profile(activities=activities) as profiled,
            record_function(_MARK + REST),
        ):
            session.step()
    finally:
        session._clock = clock
    parts = calls_by_part(_spans(profiled))
    if on_cuda and not any(calls.launches for calls in parts.values()):
        raise SettingsError("torch's profiler saw no call of CUDA; run it where CUPTI may be used, perhaps as root.")
    return parts, forwards[0]


def calls_by_part(spans: Iterable[Span]) -> dict[str, Calls]:
    """Sort the calls of a step into its parts.

    Args:
        spans: of the host, in any order: calls of CUDA, marked parts, and others. What is in no marked part does not
            count: the profiler itself waits for the device when it ends. A call inside a forward counts there alone.
    """
    spans = sorted(spans, key=lambda span: (span.start, -span.end))
    marks = [span for span in spans if span.name.startswith(_MARK)]
    counts: dict[str, Counter[str]] = {}
    for mark in marks:
        counts.setdefault(mark.name.removeprefix(_MARK), Counter())
    for span in spans:
        kind = _kind(span.name)
        around = [mark for mark in marks if mark.start <= span.start < mark.end] if kind else []
        if kind and around:
            # The last one that began is the innermost; a phase comes before the forwards in it.
            counts[around[-1].name.removeprefix(_MARK)][kind] += 1
    return {part: Calls(**count) for part, count in counts.items()}


def _kind(name: str) -> str | None:
    if name in _WAITS:
        return "waits"
    if name in _COPIES:
        return "copies"
    return "launches" if "LaunchKernel" in name else None


def _spans(profiled: profile) -> Iterator[Span]:
    """What the profiler saw on the host; the same marks on the device are another story."""
    for event in profiled.events() or ():
        if event.device_type == torch.autograd.DeviceType.CPU:
            yield Span(event.name, event.time_range.start, event.time_range.end)


class _MarkedClock:
    """A step's clock whose phases the profiler sees."""

    def __init__(self, clock: Any):
        self._clock = clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._clock, name)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        with self._clock.phase(name), record_function(_MARK + name):
            yield


@contextmanager
def _marked(model: LanguageModel | HeadModel, count: list[int]) -> Iterator[None]:
    """Have the profiler see the model's forwards, and count them."""
    if isinstance(model, HeadModel):
        run, forwards = model._run, (model.head, getattr(model.head, "block", None))

        def marked(part: Any, *arguments: Any) -> Any:
            count[0] += part in forwards
            with record_function(_MARK + FORWARD):
                return run(part, *arguments)

        model._run = marked  # type: ignore[method-assign]
        try:
            yield
        finally:
            del model._run
        return
    layers = model.model.base_model
    open_: list[Any] = []

    def enter(module: Any, _inputs: Any) -> None:
        count[0] += module is layers
        open_.append(record_function(_MARK + FORWARD).__enter__())

    def leave(*_: Any) -> None:
        open_.pop().__exit__(None, None, None)

    # A draft that reads its target runs its layers, its head and its output matrix one by one.
    modules = {model.model, layers, model.model.get_output_embeddings(), model.head} - {None}
    hooks = [module.register_forward_pre_hook(enter) for module in modules]
    hooks += [module.register_forward_hook(leave) for module in modules]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def calls_lines(found: Sequence[StepCalls]) -> Iterator[str]:
    """A table: waits and launches outside the forwards, then by part."""
    yield f"{'tree':<28}{'part':<12}{'waits':>8}{'launches':>10}{'copies':>8}"
    for cost in found:
        whole = "".join(f"{cost.outside(kind):>{width}.0f}" for kind, width in _WIDTHS)
        yield f"{cost.tree.label:<28}{'a step':<12}{whole}  outside the forwards, {median(cost.levels):.0f} levels"
        for part in cost.parts:
            yield f"{'':<28}{part:<12}" + "".join(f"{cost.of(part, kind):>{width}.0f}" for kind, width in _WIDTHS)


_WIDTHS = (("waits", 8), ("launches", 10), ("copies", 8))
