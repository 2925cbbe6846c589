"""A recorded row beside the logits that a model computed again: by how much each part of it is off."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import torch

from specviz.errors import SpecvizError
from specviz.recorder.processors import READINGS, Reading
from specviz.recorder.reprocessed import Reprocessed
from specviz.trace.schema import Row, Sampling, Step


@dataclass(frozen=True)
class Compared:
    """One row that was recomputed.

    Attributes:
        part: what differed most, and ``over``: by how many times what is allowed; ``difference``: by how much.
        readings: where processors look at the text, the same of the processed row for each way to put them on it, and
            the least that the total variation can be.
    """

    step: int
    node: int
    part: str
    difference: float
    over: float
    readings: Mapping[Reading, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Made:
    """What makes a processed row of logits: sampling, and before it processors, where there are any."""

    sampling: Sampling | None
    processors: Reprocessed | None = None


def compared(
    step: Step, node: int, row: Row, logits: torch.Tensor, made: Made, allowed: tuple[float, float]
) -> Iterator[Compared]:
    """The part of the row that differs most, measured by what is allowed of it; nothing where no part can be told.

    Of a row after processors the text counts that fits best: by which it ought to be is told by itself.
    """

    def each(parts: Iterator[tuple[str, float, int]]) -> list[Compared]:
        return [
            Compared(step.index, node, part, difference, difference / allowed[kind]) for part, difference, kind in parts
        ]

    double, sampling, processors = logits.double(), made.sampling, made.processors
    parts = each(_of_raw(row, double))
    if processors is None:
        parts += each(_of_processed(row, double, sampling, with_listed=row.raw is None))
    readings: dict[Reading, tuple[float, float]] = {}
    if processors is not None and processors.readings is not None and sampling is not None:
        best: list[Compared] = []
        for reading in READINGS:
            try:
                scores = processors.scores(step, node, double, reading)
            except SpecvizError:  # what one of them makes of it is no row
                continue
            found = each(_of_processed(row, scores, sampling, with_listed=True, cuts=processors.cuts))
            if found:
                worst = max(found, key=lambda one: one.over)
                best.append(worst)
                readings[reading] = (worst.over, processors.variation(step, row, scores, sampling))
        # Raw ones, where they are there, say all of the cache, mask and positions.
        parts += [min(best, key=lambda one: one.over)] if best and row.raw is None else []
    if parts:
        yield replace(max(parts, key=lambda one: one.over), readings=readings)


def _of_raw(row: Row, logits: torch.Tensor) -> Iterator[tuple[str, float, int]]:
    """(what, difference, 0 for a probability or 1 for nats) of each part of a row before the sampling parameters."""
    if row.raw is not None and _fits(row.raw.ids, logits):
        recorded = torch.tensor(row.raw.probs, dtype=torch.float64)
        yield "probability", _largest(recorded, logits.softmax(-1)[list(row.raw.ids)]), 0
    if row.log_sum_exp is not None:
        ours = float(logits.logsumexp(-1))
        yield "log-sum-exp", abs(row.log_sum_exp - ours) / max(1.0, abs(ours)), 1


def _of_processed(
    row: Row, logits: torch.Tensor, sampling: Sampling | None, *, with_listed: bool, cuts: bool = False
) -> Iterator[tuple[str, float, int]]:
    """The same after them, of logits as they were before temperature, top-k and top-p.

    Args:
        with_listed: whether the listed tokens are compared.
        cuts: whether something else than the sampling parameters leaves tokens out.
    """
    if sampling is None:
        return
    plain = sampling == Sampling(temperature=sampling.temperature) and not cuts
    listed = row.processed
    if with_listed and listed is not None and _fits(listed.ids, logits):
        recorded, ids = torch.tensor(listed.probs, dtype=torch.float64), list(listed.ids)
        if sampling.temperature == 0 or len(ids) == 1:
            # The most likely token, or one as likely but for rounding.
            probs = logits.softmax(-1)
            yield "probability", float(probs.max() - probs[ids[0]]), 0
        elif plain:
            yield "probability", _largest(recorded, (logits / sampling.temperature).softmax(-1)[ids]), 0
        else:
            # What a cut leaves out is decided by the last digit: only what it left in is compared.
            among = (logits[ids] / sampling.temperature).softmax(-1)
            yield "probability", _largest(recorded / recorded.sum(), among), 0
    if row.entropy is not None and plain and sampling.temperature > 0:
        logs = (logits / sampling.temperature).log_softmax(-1)
        yield "entropy", abs(row.entropy + float((logs.exp() * logs.clamp(min=-1e300)).sum())), 1


def _fits(ids: tuple[int, ...], logits: torch.Tensor) -> bool:
    return bool(ids) and max(ids) < len(logits)


def _largest(one: torch.Tensor, other: torch.Tensor) -> float:
    difference = float((one.to(other) - other).abs().max())
    return difference if math.isfinite(difference) else math.inf
