"""The columns of the totals of a run. See :mod:`specviz.figures.frame_types`."""

from __future__ import annotations

from typing_extensions import TypedDict


class Counts(TypedDict):
    """Columns: how many were accepted, of how many."""

    accepted: list[int]
    of: list[int]


class AtNodes(TypedDict):
    """Sums over the nodes with children that a verifier's walks reached: at how many a child was accepted, what the
    rule could expect there, and the optima."""

    nodes: int
    accepted: int
    expected: float
    optimum: float


class VerifierTotals(TypedDict):
    """Of one verifier over the steps that know it; ``depth`` from depth 1, ``rank`` from draw rank 0. ``atNodes`` is
    null where no optimum was recorded, and for a rule that does not decide node by node."""

    verifier: str
    drives: int
    steps: int
    accepted: int
    emitted: int
    efficiency: float | None
    depth: Counts
    rank: Counts
    atNodes: AtNodes | None


class SharedTotals(TypedDict):
    """Over the steps that each of ``verifiers`` judged, so that they can be compared."""

    steps: int
    verifiers: list[VerifierTotals]


class CalibrationTotals(TypedDict):
    """Columns over depths from 1 on, see :class:`specviz.trace.calibration.Calibration`. ``low`` and ``high`` are of
    p - q, ``least`` and ``most`` of accepted / reached; null for too few steps."""

    steps: list[int]
    drafted: list[int]
    q: list[float | None]
    p: list[float | None]
    low: list[float | None]
    high: list[float | None]
    accepted: list[int]
    reached: list[int]
    least: list[float | None]
    most: list[float | None]


class ConfidenceTotals(TypedDict):
    """Columns over depths from 1 on, of the nodes above them, see :class:`specviz.trace.calibration.Confidence`."""

    nodes: list[int]
    said: list[float | None]
    accepted: list[int]
    least: list[float | None]
    most: list[float | None]


class OutsideTotals(TypedDict):
    """See :class:`specviz.trace.calibration.Outside`; ``low`` and ``high`` are null for too few steps."""

    nodes: int
    steps: int
    p: float
    low: float | None
    high: float | None
    accepted: int


class Totals(TypedDict):
    """The run so far. ``shared`` is of another engine's run that specviz's rules judged again; else null.

    The last three are of the draft, over all steps. ``confidence`` and ``outside`` are null where none was recorded."""

    steps: int
    tokens: int
    formulas: dict[str, str]
    verifiers: list[VerifierTotals]
    shared: SharedTotals | None
    calibration: CalibrationTotals
    confidence: ConfidenceTotals | None
    outside: OutsideTotals | None
