"""What one message to the browser carries besides frames: the run, notices, where to stand, answers.

See :mod:`specviz.figures.frame_types`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from typing_extensions import TypedDict

from specviz.figures.frame_types import Frame, JsonOf
from specviz.figures.totals_types import Totals
from specviz.figures.whatif_types import VerifierChoice, WhatIf
from specviz.trace.schema import ModelInfo, Sampling, Settings


class Looks(TypedDict):
    """How a verifier is drawn: its colour's role (``v0`` ...) and its dash."""

    name: str
    role: str
    dash: str


class FailedNodes(TypedDict):
    """Columns over the nodes of a failed step; ``wrong`` says what is wrong with the logits there."""

    parent: list[int | None]
    text: list[str]
    q: list[float | None]
    p: list[float | None]
    wrong: list[str | None]


class Failed(TypedDict):
    """The step that an error ended, as far as it came."""

    step: int
    message: str
    nodes: FailedNodes


class RunModels(TypedDict):
    """Null for a model that another engine did not name, or has not."""

    target: Annotated[dict[str, Any], JsonOf(ModelInfo)] | None
    draft: Annotated[dict[str, Any], JsonOf(ModelInfo)] | None


class Weights(TypedDict):
    """A short name of each model's weights."""

    target: str
    draft: str


class RecordedFrom(TypedDict):
    """Another engine that decoded the run, as far as it said.

    rule, lossless   what it says of itself; null where it did not
    target, draft    how its logits become distributions; null where not recorded
    said             all of it in a few words, to stand where specviz's own runs have driver and settings"""

    name: str
    version: str | None
    rule: str | None
    lossless: bool | None
    target: Annotated[dict[str, Any], JsonOf(Sampling)] | None
    draft: Annotated[dict[str, Any], JsonOf(Sampling)] | None
    said: str


class FoundColumns(TypedDict):
    """Columns over what does not fit in a run, the gravest first.

    weight      ``error`` or ``warning``
    step, node  where it is first, or null for the whole run, the whole step
    meaning     what it usually means
    place       the part of the page that shows it, as :data:`specviz.recorder.findings.Place` names it"""

    check: list[str]
    weight: list[str]
    step: list[int | None]
    node: list[int | None]
    sentence: list[str]
    meaning: list[str]
    place: list[str]


class CheckColumns(TypedDict):
    """Columns over checks, and what there is to say of each."""

    check: list[str]
    said: list[str]


class Findings(TypedDict):
    """What the checks of a run found.

    ran     how many checks compared something
    fits    of those that found nothing, what they compared
    notRun  of those that could not run, what they lacked
    more    findings that are not listed"""

    ran: int
    found: FoundColumns
    fits: CheckColumns
    notRun: CheckColumns
    more: int


class Run(TypedDict):
    """What is said of a whole run. ``asked`` is the prompt as it was given, ``prompt`` what the models saw of it,
    with what a chat template adds. ``draftRan`` is null for a run without a step, and where it was not recorded.
    ``engine`` and ``findings`` are null for specviz's own runs, ``settings`` for all others."""

    id: str
    created: str
    version: str
    steps: int
    endReason: str | None
    endMessage: str | None
    failed: Failed | None
    asked: str
    prompt: str
    promptTokens: int
    models: RunModels
    weights: Weights
    engine: RecordedFrom | None
    request: str | None
    settings: Annotated[dict[str, Any], JsonOf(Settings)] | None
    driver: str
    draftRan: bool | None
    verifiers: list[Looks]
    totals: Totals
    findings: Findings | None


class Notice(TypedDict):
    """A message: an error, a word, or work going on, ``fraction`` of it done. ``at``: seconds, so that each is new."""

    kind: Literal["error", "info", "working"]
    text: str
    fraction: float | None
    at: float


class Refused(TypedDict):
    """A position whose frame cannot be sent, and why."""

    step: int
    text: str


class Look(TypedDict):
    """Where to stand."""

    step: int | None
    node: int | None
    verifier: str | None


class Link(TypedDict, total=False):
    """What a run is called in addresses, with how many steps; ``copy`` where a person waits for it."""

    run: str
    name: str
    steps: int
    copy: bool


class RequestName(TypedDict):
    """A request of the recording that the run in sight is of, and the id of its run."""

    run: str
    name: str


class Following(TypedDict):
    """What is said of a recording that the page follows while it is written.

    version  another number whenever there is something new
    asked    the run that was in sight when it was asked for; a block with a run is for no other
    runs     ids of the runs of its requests
    head     what stands out in the command bar, ``rest`` what follows it
    gate     of the loop that writes it: ``""`` without one that this page holds, else ``waiting``, ``running``,
             ``stopped`` or ``ended``"""

    version: int
    asked: str | None
    runs: list[str]
    head: str
    rest: str
    gate: Literal["", "waiting", "running", "stopped", "ended"]


class LessonName(TypedDict):
    name: str
    title: str


class LessonPiece(TypedDict):
    """A piece of a lesson's sentence, as :class:`specviz.lessons.lesson.Piece` says."""

    text: str
    kind: Literal["plain", "strong", "value", "card", "q", "p"]
    node: int | None


class WrongAnswer(TypedDict):
    """Why a node of a step is no answer."""

    step: int
    node: int
    said: list[LessonPiece]


class Lesson(TypedDict):
    """A lesson about one step of a run; one of ``nodes`` answers it.

    start    the step that is shown first: where it is not ``step``, that one has to be found, too
    wrong    why other nodes are no answer; ``otherwise`` is why those are not that stand nowhere in it"""

    name: str
    number: int
    count: int
    title: str
    run: str
    step: int
    start: int
    verifier: str
    dock: bool
    paragraphs: list[list[LessonPiece]]
    aside: list[LessonPiece]
    question: str
    nodes: list[int]
    hint: str
    solved: list[LessonPiece]
    wrong: list[WrongAnswer]
    otherwise: str
    next: str | None


class FaultName(TypedDict):
    """A fault of the gallery, and what its loop does wrong in a sentence."""

    name: str
    title: str
    said: str


class FaultReport(TypedDict):
    """Where somebody met a fault: an issue or a pull request."""

    name: str
    address: str


class Fault(TypedDict):
    """A fault of the gallery, beside its run.

    more     what comes of it
    look     where the page shows it
    finding  which of the run's findings says where it shows; null where the checks find it no more"""

    name: str
    number: int
    count: int
    title: str
    said: str
    more: str
    look: str
    run: str
    finding: int | None
    reports: list[FaultReport]
    next: str | None


class ComparedRun(TypedDict):
    """One side of a comparison; ``run`` is null where it cannot be opened."""

    name: str
    run: str | None
    driver: str
    tokens: int
    steps: int
    efficiency: float | None
    accepted: list[int]


class Parting(TypedDict):
    """Where two texts part; steps and nodes are null on the side of what is no run."""

    index: int
    tokens: list[str | None]
    steps: list[int | None]
    nodes: list[int | None]
    margin: float | None
    chosen: list[float | None]
    meaning: str


class Pieces(TypedDict):
    """Columns over the pieces of a text: whether both texts have it."""

    kind: list[Literal["equal", "differs"]]
    text: list[str]


class SettingsThatDiffer(TypedDict):
    """Columns over settings, with both values."""

    name: list[str]
    a: list[str]
    b: list[str]


class ComparisonValue(TypedDict):
    """Two runs beside each other."""

    sides: list[ComparedRun]
    said: list[str]
    parting: Parting | None
    texts: list[Pieces]
    settings: SettingsThatDiffer


class BlockHead(TypedDict):
    """A block about a run, without its frames; ``go`` asks to show that position."""

    version: int
    run: Run
    go: int | None


class Block(TypedDict, total=False):
    """One message. Which keys it has says what it is about.

    fills    whether it only brings frames that were asked for
    live     whether it is a step of a run that goes on, which does not take a reader away from another run
    left     positions for which there was no room
    proofs   verifier -> key of its options -> proposal -> what was found
    compare  null closes the comparison"""

    version: int
    run: Run
    go: int | None
    frames: list[Frame]
    fills: bool
    live: bool
    left: list[int]
    refused: list[Refused]
    notice: Notice | None
    proofs: dict[str, dict[str, dict[str, str]]]
    look: Look
    link: Link
    requests: list[RequestName]
    following: Following
    lessons: list[LessonName]
    lesson: Lesson
    faults: list[FaultName]
    fault: Fault
    verifiers: list[VerifierChoice]
    whatif: WhatIf
    compare: ComparisonValue | None
