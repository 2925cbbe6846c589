"""Peak memory of a run, each in a process of its own: part (d) of ``bench``."""

from __future__ import annotations

import multiprocessing
import resource
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from specviz.bench.greedy_speed import PLAIN, generate
from specviz.bench.step_cost import PROMPT, TREES, BenchTree, Say, session_for, without_end_tokens
from specviz.models.head_model import HeadModel
from specviz.models.loading import Pair
from specviz.models.pair_spec import ModelChoice

GENERATED = 32
"""Tokens of the run of plain ``generate`` that the trees are compared with."""
STEPS = 3


@dataclass(frozen=True)
class Peak:
    """Memory of one process, bytes.

    Attributes:
        loaded: in use when both models were loaded and had run once: resident on the CPU, allocated by PyTorch on
            CUDA.
        peak: the most in use from then on; on the CPU, where a system cannot forget an earlier peak, ever.
    """

    case: str
    loaded: int
    peak: int

    @property
    def over_loaded(self) -> int:
        return max(0, self.peak - self.loaded)

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"over_loaded": self.over_loaded}


def peaks(
    names: ModelChoice, trees: Sequence[BenchTree] = TREES, say: Say = print, *, baseline: bool = True
) -> list[Peak]:
    """A short run of every tree with all verifiers recording, one process after the other.

    Args:
        baseline: begin with plain ``generate``.
    """
    found = []
    for tree in ([None] if baseline else []) + [*trees]:
        say(f"memory: {PLAIN if tree is None else tree.label}")
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            found.append(pool.submit(measure_peak, names, tree, torch.get_num_threads()).result())
    return found


def measure_peak(names: ModelChoice, tree: BenchTree | None, threads: int) -> Peak:
    """Load the pair here and run one case. Only a fresh process gives a figure of that case alone."""
    torch.set_num_threads(threads)
    pair = names.load()
    use_once(pair)
    return peak_of(pair, tree)


def use_once(pair: Pair) -> None:
    """Weights mapped from a file are in memory once they were used, and libraries take their workspaces."""
    with torch.inference_mode():
        for model in (pair.target, pair.draft):
            if isinstance(model, HeadModel):  # it is on the device as it was read
                continue
            model.model(input_ids=torch.tensor([[0]], device=model.device), use_cache=False)


def peak_of(pair: Pair, tree: BenchTree | None) -> Peak:
    """Run one case in this process; None is plain ``generate``. On CUDA an earlier case changes nothing."""
    pair = without_end_tokens(pair)
    device = pair.target.device
    loaded = _in_use(device)
    _forget_peak(device)
    if tree is None:
        generate(pair, pair.encode(PROMPT, False, "drop"), GENERATED)
    else:
        for step in session_for(pair, tree).run(STEPS):
            assert len(step.tree.nodes) == tree.nodes + 1
    return Peak(PLAIN if tree is None else tree.label, loaded, max(loaded, _peak(device)))


def peak_lines(found: Sequence[Peak]) -> Iterator[str]:
    """Part (d) as a table."""
    yield f"{'case':<24}{'pair loaded':>14}{'peak':>12}{'over loaded':>14}"
    for peak in found:
        loaded, most, over = (size / 1e6 for size in (peak.loaded, peak.peak, peak.over_loaded))
        yield f"{peak.case:<24}{loaded:>11.0f} MB{most:>9.0f} MB{over:>11.0f} MB"


def _in_use(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    return _status("VmRSS") or _peak(device)


def _forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak becomes what is resident now
    except OSError:
        return


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    # ru_maxrss counts bytes on macOS and kilobytes elsewhere.
    unit = 1 if sys.platform == "darwin" else 1024
    return _status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _status(field: str) -> int:
    """A line of ``/proc/self/status``, in bytes; 0 where there is none."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:")), 0)
