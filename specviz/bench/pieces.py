"""The checks that need a card, in pieces of a few minutes: ``bench --piece``.

Every piece is a process of its own that loads a pair of random models (:mod:`specviz.models.random_models`), measures,
and has its figures written before the next one begins. So a card that is lent for minutes gives what it had time for, a
crash costs one piece, and a command that is given again goes on where it ended.
"""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from specviz.bench import device_calls, peak_memory, step_cost
from specviz.bench.bench import describe_machine
from specviz.drafting import resolve_builder
from specviz.errors import SettingsError, SpecvizError, shown
from specviz.models.devices import choose_device
from specviz.models.loading import Pair
from specviz.models.memory import as_loaded, step_memory
from specviz.models.pair_spec import ModelChoice
from specviz.models.quantization import DEVICES as QUANTIZED_DEVICES
from specviz.models.quantization import why_unusable
from specviz.models.random_models import SIZES, TARGET, ensure_models
from specviz.trace.metrics import tolerances

TREES = tuple(tree for tree in step_cost.TREES if tree.choice.name == "k_config" and tree.nodes != 64)
SMALL_TREES = tuple(tree for tree in TREES if tree.nodes <= 256)
ENOUGH_SECONDS = 100.0
"""After so long a piece begins no other round: with loading it ends within three minutes where a card is slow, too."""
AUDITED_STEPS = 3


@dataclass(frozen=True)
class Piece:
    """What is measured together.

    Attributes:
        measures: keys of :data:`MEASURES`; none only makes the models.
        draft: of the size's.
        contexts: tokens of the prompts of ``growth``.
    """

    meaning: str
    measures: tuple[str, ...] = ()
    draft: str = "68m"
    quantization: str = "none"
    trees: tuple[step_cost.BenchTree, ...] = TREES
    contexts: tuple[int, ...] = ()

    @property
    def needs_cuda(self) -> bool:
        return "calls" in self.measures


_QUANTIZED = ("steps", "memory", "audit")
PIECES = {
    "models": Piece("make the random models"),
    "steps-68m": Piece("step over forwards, audits", ("steps", "audit")),
    "steps-2-layers": Piece("the same with the draft that reads its target", ("steps", "audit"), "2-layers"),
    "calls-68m": Piece("waits and launches by torch's profiler", ("calls",)),
    "calls-2-layers": Piece("the same with the draft that reads its target", ("calls",), "2-layers"),
    "memory": Piece("peak memory and what was planned", ("memory",)),
    "growth": Piece(
        "step over forwards as context and tree grow",
        ("growth",),
        trees=step_cost.GROWN_TREES,
        contexts=step_cost.CONTEXTS,
    ),
    "int8": Piece("the target in int8", _QUANTIZED, quantization="int8", trees=SMALL_TREES),
    "nf4": Piece("the target in nf4", _QUANTIZED, quantization="nf4", trees=SMALL_TREES),
}


@dataclass(frozen=True)
class Measuring:
    """What every measure of a piece is told."""

    pair: Pair
    trees: tuple[step_cost.BenchTree, ...]
    contexts: tuple[int, ...]
    steps: int
    say: step_cost.Say
    enough: Callable[[], bool]


@dataclass(frozen=True)
class Figures:
    """What one measure found: for the file, and for the terminal.

    Attributes:
        failed: whether it is not as it must be.
    """

    values: Any
    lines: tuple[str, ...]
    failed: bool = False


@dataclass(frozen=True)
class Outcome:
    """How a piece ended.

    Attributes:
        values: for its file; None if it was skipped or failed.
        lines: of its tables, or the sentence why there are none.
        failed: whether it ended without figures, or something it found is not as it must be.
    """

    values: dict[str, Any] | None
    lines: tuple[str, ...]
    failed: bool = False


def _steps(m: Measuring) -> Figures:
    costs = step_cost.step_costs(m.pair, m.steps, m.trees, m.say, m.enough)
    return Figures([cost.as_json() for cost in costs], tuple(step_cost.overhead_lines(costs)))


def _growth(m: Measuring) -> Figures:
    costs = step_cost.growth_costs(m.pair, m.steps, m.contexts, m.trees, m.say, m.enough)
    return Figures([cost.as_json() for cost in costs], tuple(step_cost.overhead_lines(costs)))


def _calls(m: Measuring) -> Figures:
    calls = device_calls.step_calls(m.pair, m.steps, m.trees, m.say, m.enough)
    return Figures([cost.as_json() for cost in calls], tuple(device_calls.calls_lines(calls)))


def _memory(m: Measuring) -> Figures:
    """Peaks of ``generate`` and of every tree, with what a step of it was planned to need."""
    peak_memory.use_once(m.pair)
    found: list[peak_memory.Peak] = []
    values: list[dict[str, Any]] = []
    for tree in (None, *m.trees):
        m.say(f"memory: {peak_memory.PLAIN if tree is None else tree.label}")
        found.append(peak_memory.peak_of(m.pair, tree))
        values.append(found[-1].as_json())
        if tree is not None:
            values[-1]["planned_over_loaded"] = _planned(m.pair, tree)
    planned = ", ".join(f"{value['planned_over_loaded'] / 1e6:.0f} MB" for value in values[1:])
    return Figures(values, (*peak_memory.peak_lines(found), f"planned over loaded, tree by tree: {planned}"))


def _planned(pair: Pair, tree: step_cost.BenchTree) -> int:
    """Bytes that the steps of a short run are planned to need beside the weights."""
    builder, options = resolve_builder(tree.choice)
    work = builder.work(options)
    context = len(pair.encode(step_cost.PROMPT, False, "drop")) + peak_memory.STEPS * (work.forwards + 1)
    models = as_loaded(pair.target), as_loaded(pair.draft)
    return step_memory(*models, context=context, nodes=tree.nodes, draft_rows=work.rows).total


def _audit(m: Measuring) -> Figures:
    """The caches of a few steps of the smallest tree, each against a recompute."""
    session = step_cost.session_for(m.pair, m.trees[0], audit=True)
    changes = [step.caches for step in session.run(AUDITED_STEPS)]
    values: dict[str, Any] = {}
    for model, limit in tolerances(m.pair.models).items():
        audits = [getattr(caches, model).audit for caches in changes]
        worst = max(audit.worst() for audit in audits if audit is not None)
        values[model] = {"worst": worst, "tolerance": limit, "within": worst <= limit}
    lines = [
        f"audit of the {model}: {value['worst']:.2g} at most, {'within' if value['within'] else 'BEYOND'} the "
        f"{value['tolerance']:g} that rounding may leave"
        for model, value in values.items()
    ]
    return Figures(values, tuple(lines), failed=not all(value["within"] for value in values.values()))


MEASURES: dict[str, Callable[[Measuring], Figures]] = {
    "steps": _steps,
    "calls": _calls,
    "memory": _memory,
    "growth": _growth,
    "audit": _audit,
}


def parse_pieces(text: str) -> tuple[str, ...]:
    """``int8,models`` -> the pieces to measure, in their own order; ``all`` for all.

    Raises:
        SettingsError: for a piece there is not, or none at all.
    """
    named = {name.strip() for name in text.split(",") if name.strip()}
    if unknown := sorted(named - PIECES.keys() - {"all"}):
        raise SettingsError(f"There is no piece {shown(unknown[0])}; choose all, or from {', '.join(PIECES)}.")
    if not named:
        raise SettingsError(f"No piece is chosen; choose all, or from {', '.join(PIECES)}.")
    return tuple(piece for piece in PIECES if "all" in named or piece in named)


def run_pieces(
    names: Sequence[str],
    folder: Path,
    size: str,
    device: str,
    dtype: str,
    steps: int,
    say: step_cost.Say,
) -> bool:
    """Measure every piece that has no file yet.

    Args:
        names: keys of :data:`PIECES`.
        folder: for a file a piece, and for the models; made if it is not there.
        size: key of :data:`~specviz.models.random_models.SIZES`.
        device, dtype: as :func:`~specviz.models.loading.load_pair` takes them.
        steps: measured for each tree.
        say: told what there is to read.

    Returns:
        whether all that were begun ended well.

    Raises:
        SettingsError: for a device there is not, or a folder that cannot be written to.
    """
    where = choose_device(device).type
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"No figures can be saved to {str(folder)!r}; name a folder you can write to.") from error
    good = True
    for name in names:
        file = folder / f"{size}-{name}.json"
        say(f"\n{name}: {PIECES[name].meaning}")
        if file.exists():
            say(f"measured before, in {file}; delete it to measure again")
            continue
        if why := why_skipped(PIECES[name], where):
            say(f"skipped, because {why}")
            continue
        outcome = _in_a_process(name, folder, size, where, dtype, steps)
        for line in outcome.lines:
            say(line)
        if outcome.values is not None:
            # What is not as it must be is kept, too, and is measured again.
            saved = file.with_suffix(".failed.json") if outcome.failed else file
            _write(saved, outcome.values)
            say(f"saved {saved}")
        good = good and not outcome.failed
    return good


def why_skipped(piece: Piece, device: str) -> str | None:
    """What this machine lacks for a piece; None if it can be measured."""
    if piece.needs_cuda and device != "cuda":
        return f"the profiler counts calls of CUDA and this runs on {device}"
    if piece.quantization != "none":
        if device not in QUANTIZED_DEVICES:
            return f"quantized models do not run on {device}"
        if importlib.util.find_spec("bitsandbytes") is None:
            return f"{piece.quantization} needs bitsandbytes, which is not installed (pip install bitsandbytes)"
    return None


def _in_a_process(name: str, folder: Path, size: str, device: str, dtype: str, steps: int) -> Outcome:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(
                measure_piece, name, folder, size, device, dtype, steps, torch.get_num_threads()
            ).result()
        except BrokenProcessPool:
            return Outcome(
                None, ("failed: its process was ended from outside, perhaps for want of memory",), failed=True
            )


def measure_piece(name: str, folder: Path, size: str, device: str, dtype: str, steps: int, threads: int) -> Outcome:
    """Measure one piece in this process, its models made if they are not there.

    Whatever goes wrong is told: the pieces after it may go well.
    """
    torch.set_num_threads(threads)
    piece, began, where = PIECES[name], time.perf_counter(), choose_device(device)
    try:
        if why := why_unusable(piece.quantization, where):
            return Outcome(None, (f"skipped, because {why}",))
        models = ensure_models(folder / f"models-{size}", SIZES[size], where)
        values: dict[str, Any] = {"piece": name, "size": size}
        found: dict[str, Figures] = {}
        if piece.measures:
            choice = ModelChoice(
                str(models / TARGET), str(models / piece.draft), device, dtype, target_quantization=piece.quantization
            )
            pair = choice.load()
            values["machine"] = describe_machine(pair)
            enough = time.perf_counter() + ENOUGH_SECONDS
            measuring = Measuring(
                pair, piece.trees, piece.contexts, steps, _quiet, lambda: time.perf_counter() > enough
            )
            found = {measure: MEASURES[measure](measuring) for measure in piece.measures}
    except SpecvizError as error:
        return Outcome(None, (f"failed: {error}",), failed=True)
    except Exception as error:
        return Outcome(None, (f"failed: {shown(error, 500)}",), failed=True)
    values |= {measure: one.values for measure, one in found.items()}
    values["seconds"] = time.perf_counter() - began
    lines = [line for one in found.values() for line in one.lines]
    return Outcome(values, (*lines, f"took {values['seconds']:.0f} s"), any(one.failed for one in found.values()))


def _quiet(_: str) -> None:
    """Tells nobody: a piece has few minutes."""


def _write(file: Path, values: dict[str, Any]) -> None:
    """Under its own name only when it is whole: a file that is there is a piece that is done."""
    half = file.with_suffix(".part")
    half.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    half.replace(file)
