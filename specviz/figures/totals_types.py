"""The columns of the totals of a run. See :mod:`specviz.figures.frame_types`."""

from __future__ import annotations

from typing_extensions import TypedDict


class Counts(TypedDict):
    """Columns: how many were accepted, of how many, and the 95 % interval of that share over steps; null for too few
    steps."""

    accepted: list[int]
    of: list[int]
    least: list[float | None]
    most: list[float | None]


class AtNodes(TypedDict):
    """Sums over the nodes with children that a verifier's walks reached: at how many a child was accepted, what the
    rule could expect there, and the optima."""

    nodes: int
    accepted: int
    expected: float
    optimum: float


class VerifierTotals(TypedDict):
    """Of one verifier over the steps that know it; ``depth`` from depth 1, ``rank`` from draw rank 0. ``low`` and
    ``high`` are the 95 % interval of ``efficiency`` over steps; null for too few. ``atNodes`` is null where no optimum
    was recorded, and for a rule that does not decide node by node."""

    verifier: str
    drives: int
    steps: int
    accepted: int
    emitted: int
    efficiency: float | None
    low: float | None
    high: float | None
    depth: Counts
    rank: Counts
    atNodes: AtNodes | None


class AgainstTotals(TypedDict):
    """Two verifiers over the steps that both judged, see :class:`specviz.trace.intervals.Against`; null for too few."""

    verifier: str
    other: str
    steps: int
    parted: int
    value: float
    low: float | None
    high: float | None
    noise: bool | None


class RankColumns(TypedDict):
    """Columns over depths, see :class:`specviz.trace.target_ranks.RankHistogram`."""

    depth: list[int]
    ends: list[int]
    known: list[list[int]]
    never: list[int]
    beyond: list[int]
    noRow: list[int]
    recorded: list[int]


class RankTotals(TypedDict):
    """Ranks in the draft's rows of the tokens that ended the drivers' walks; ``names`` are those of ``known``."""

    names: list[str]
    rejections: RankColumns
    leaves: RankColumns


class AdvisedTree(TypedDict):
    """See :class:`specviz.trace.advice.Advised`."""

    budget: int
    nodes: int
    levels: int
    paths: str
    expected: float
    seconds: float | None
    fastest: bool


class AdviceFound(TypedDict):
    """See :class:`specviz.trace.advice.Advice`. ``best`` is the budget of the tree that is offered first."""

    decisions: int
    steps: int
    leftOut: int
    driver: str
    proposal: str | None
    nodes: float
    today: float
    seen: float
    low: float | None
    high: float | None
    trees: list[AdvisedTree]
    best: int
    notes: list[str]


class AdviceTotals(TypedDict):
    """What shape would pay, or in a sentence why nothing is advised."""

    refused: str | None
    found: AdviceFound | None


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
    """The run so far. ``thrown`` counts drafts that the driver accepted and that are not in the text, which ended.
    ``shared`` is of another engine's run that specviz's rules judged again; else null.

    ``against`` has every other verifier beside the driver of the last step. ``calibration``, ``confidence`` and
    ``outside`` are of the draft, over all steps; the last two are null where none was recorded. ``advice``
    is of the whole run, also beside totals of a part of it."""

    steps: int
    tokens: int
    thrown: int
    formulas: dict[str, str]
    verifiers: list[VerifierTotals]
    shared: SharedTotals | None
    against: list[AgainstTotals]
    calibration: CalibrationTotals
    confidence: ConfidenceTotals | None
    outside: OutsideTotals | None
    ranks: RankTotals
    advice: AdviceTotals
