"""By which text did the engine process its rows: each by that of its node's path, or all by the committed text alone?

The engine's raw rows are processed in every way that :data:`~specviz.recorder.processors.READINGS` has, and compared
with the rows that it says it judges by.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from specviz.errors import SpecvizError
from specviz.recorder.checks.processing import apart, loosened
from specviz.recorder.checks.results import (
    TEXT_LACKS,
    lacked,
    tolerance_of_format,
    unit_roundoff,
)
from specviz.recorder.checks.rows import View
from specviz.recorder.checks.rule import Lacking
from specviz.recorder.processors import READINGS, Reading, Readings, Stated, lines_of, say_reading
from specviz.recorder.raw_step import Rows
from specviz.recorder.summaries import process
from specviz.trace.checks import Check
from specviz.trace.schema import Processed, ProcessorMode, Sampling, cut

if TYPE_CHECKING:  # at run time it would import torch
    import torch

PROCESSORS = "processors"
DRAFT_PROCESSORS = "draft_processors"
_CLOSER = 8
"""Rows are those of another reading where that is so many times closer, be both within what rounding explains."""


@dataclass
class Reread:
    """The rows of one model in a step, and its raw ones as each reading processes them.

    Attributes:
        nodes: whose rows these are.
        said: [m, V], the rows that the engine judges by.
        given: which of them it gave itself; the others were made of its raw rows.
    """

    view: View
    readings: Readings
    sampling: Sampling
    nodes: list[int]
    logits: torch.Tensor
    said: Rows
    given: list[bool]
    dtype: str | None

    @property
    def stated(self) -> Stated:
        return self.readings.stated

    @cached_property
    def paths(self) -> list[list[int]]:
        step = self.view.step
        return lines_of(step.parents, step.tokens, self.nodes)

    @cached_property
    def limit(self) -> float:
        """How far an entry may be off by rounding."""
        return tolerance_of_format(self.dtype)

    def scores(self, reading: Reading) -> torch.Tensor:
        """[m, V], see :meth:`Readings.scores`."""
        if reading not in self._scores:
            self._scores[reading] = self.readings.scores(reading, self.logits, self.view.step.text, self.paths)
        return self._scores[reading]

    def rows(self, reading: Reading) -> Rows:
        """[m, V] of probabilities."""
        if reading not in self._rows:
            made = self.readings.rows(self.scores(reading), self.view.step.text, self.sampling)
            self._rows[reading] = made.numpy()
        return self._rows[reading]

    @cached_property
    def _scores(self) -> dict[Reading, torch.Tensor]:
        return {}

    @cached_property
    def _rows(self) -> dict[Reading, Rows]:
        return {}

    def differences(self, reading: Reading) -> list[float]:
        """Of each row that the engine gave the largest difference of an entry; 0 of the others."""
        scores = self.scores(reading).numpy()
        return [
            apart(said, ours, self._make, self.sampling, self.limit, unit_roundoff(self.dtype)) if given else 0.0
            for said, ours, given in zip(self.said, scores, self.given, strict=True)
        ]

    def _make(self, scores: Rows, by: float) -> Rows:
        import torch

        if not by:
            readings, sampling = self.readings, self.sampling
        else:
            readings, sampling = self.stated.ready(scores.shape[-1], by), loosened(self.sampling, by)
        made: Rows = readings.rows(torch.from_numpy(scores), self.view.step.text, sampling).numpy()
        return made

    def variation(self, row: int, reading: Reading) -> float:
        """The total variation between a row that the engine judges by and that of a reading."""
        return _variation(self.said[row], self.rows(reading)[row])

    @cached_property
    def is_of(self) -> ProcessorMode | None:
        """The mode whose rows they are, as far as rounding tells; of both the one that the engine says it has."""
        said = self.stated.said.mode
        modes: tuple[ProcessorMode, ...] = ("exact", "frozen") if said == "exact" else ("frozen", "exact")
        return next((mode for mode in modes if max(self.differences(mode)) <= self.limit), None)


def reread(view: View, *, draft: bool = False) -> Reread:
    """The target's rows, or the draft's.

    Raises:
        Lacking: where they cannot be processed again; says what that lacks.
    """
    key = "draft" if draft else "target"
    if key not in view.reread:
        try:
            view.reread[key] = _reread(view, draft)
        except SpecvizError as error:
            view.reread[key] = Lacking(f"processors that can be put on these rows: {error}")
        except Lacking as lack:
            view.reread[key] = lack
    found = view.reread[key]
    if isinstance(found, Lacking):
        raise found
    assert isinstance(found, Reread)
    return found


def _reread(view: View, draft: bool) -> Reread:
    step = view.step
    who = "draft" if draft else "target"
    probs, logits, nodes, made = (
        (step.q, step.q_logits, step.q_nodes, step.q_made)
        if draft
        else (step.p, step.p_logits, step.p_nodes, step.p_made)
    )
    formats = (step.draft_dtype, step.draft_logits_dtype) if draft else (step.dtype, step.logits_dtype)
    sampling = step.draft_sampling if draft else step.target_sampling
    if sampling is None and not draft and step.rule == "greedy":
        sampling = Sampling()  # of rows that only the most likely token is taken of
    if step.processors is None:
        raise Lacking("the processors that the engine has (processors=)")
    if logits is None:
        raise Lacking(f"the {who}'s raw rows (logits=)")
    if sampling is None:
        raise Lacking(f"what makes the {who}'s rows of its logits besides ({'draft_' if draft else ''}sampling=)")
    if probs is None:
        raise Lacking(f"the {who}'s rows")
    if draft and step.vocabulary is not None:
        raise Lacking("a draft that has the target's token ids")
    if step.guessed:
        raise Lacking(TEXT_LACKS)
    if not step.text or step.text[-1] != step.tokens[0]:
        raise Lacking("a root that is the text's last token")
    import torch

    found = Reread(
        view,
        step.processors.ready(logits.shape[1]),
        sampling,
        nodes,
        torch.from_numpy(logits if logits.flags.writeable else logits.copy()),
        probs,
        [node not in made for node in nodes],
        max(formats, key=tolerance_of_format),
    )
    for reading in ("exact", "frozen"):
        found.rows(reading)  # what cannot be made is told here
    return found


def processors(view: View, *, draft: bool = False) -> Check:
    """The rows that the engine gave against its raw ones, processed as it says.

    Of one that promises the target's law that is exact, whatever it says of its mode.
    """
    name, who = (DRAFT_PROCESSORS, "draft") if draft else (PROCESSORS, "target")
    step = view.step
    try:
        rows = reread(view, draft=draft)
    except Lacking as lack:
        return lacked(name, str(lack))
    if not any(rows.given):
        return lacked(name, f"the {who}'s rows as probabilities and as logits, both")
    mode = rows.stated.said.mode
    due: ProcessorMode = "exact" if step.lossless and not draft else mode
    off, others = rows.differences(due), {}
    worst = max(off)
    limit = rows.limit
    if worst > tolerance_of_format("float32"):
        others = {reading: rows.differences(reading) for reading in READINGS if reading != due}
    fitting = [one for one, found in others.items() if max(found) <= rows.limit and _CLOSER * max(found) < worst]
    if fitting:
        nearest = max(tolerance_of_format("float32"), _CLOSER * min(max(others[one]) for one in fitting))
        fitting = [one for one in fitting if max(others[one]) <= nearest]
        limit = min(limit, nearest)
    failed = [row for row, difference in enumerate(off) if difference > limit]
    first = max(failed, key=lambda row: off[row], default=None)
    return Check(
        name=name,
        compared=sum(rows.given),
        failed=len(failed),
        worst=min(worst, 1e308),
        tolerance=limit,
        node=None if first is None else rows.nodes[first],
        message=None if first is None else cut(_said(rows, first, fitting, who)),
    )


def _said(rows: Reread, row: int, fitting: list[Reading], who: str) -> str:
    """What the rows are, if not what is due."""
    numbers = {mode: rows.variation(row, mode) for mode in ("exact", "frozen")}
    return say_reading(rows.stated, fitting, who, rows.view.named(rows.nodes[row]), numbers)


def moved(view: View) -> dict[int, Processed]:
    """What processors did to the target's row at each node; empty where that cannot be told."""
    if view.step.processors is None:
        return {}
    try:
        rows = reread(view)
    except Lacking:
        return {}
    plain = process(rows.logits.numpy(), rows.sampling)
    return {
        node: Processed(
            moved=_variation(rows.said[row], plain[row]),
            apart=_variation(rows.rows("exact")[row], rows.rows("frozen")[row]),
        )
        for row, node in enumerate(rows.nodes)
    }


def _variation(one: Rows, other: Rows) -> float:
    return min(1.0, float(np.abs(one.astype(np.float64) - other).sum()) / 2)
