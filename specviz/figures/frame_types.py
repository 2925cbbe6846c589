"""What travels to the browser, by name: the run, its frames, and the columns that a frame is made of.

Columns are lists of one length, or texts with one character an entry; a row is what stands at one place in all of them.
``assets/viewer/core/frame.d.ts`` has the same types for the viewer's scripts and is made of this file,
:mod:`specviz.figures.cache_types` and :mod:`specviz.figures.block_types`, with what they import, by ``python -m
tests.tools.viewer_types --write``, so that a name that one side does not know fails the type check of that side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel
from typing_extensions import TypedDict

from specviz.figures.cache_types import Caches
from specviz.trace.schema import ModelInfo, Timings


@dataclass(frozen=True)
class JsonOf:
    """``Annotated[dict[str, Any], JsonOf(C)]`` is the JSON of a recorded value of class ``C``."""

    kind: type[BaseModel]


class Top(TypedDict):
    """The likeliest tokens of a distribution, in falling order."""

    ids: list[int]
    probs: list[float]


class TopColumns(TypedDict):
    """Columns over the nodes that have one: the likeliest tokens of a distribution after each."""

    node: list[int]
    ids: list[list[int]]
    probs: list[list[float]]


class Distributions(TypedDict):
    """One model's distributions after the nodes of ``node``; ``entropy`` is of the processed one, in nats.

    A node of ``raw`` that ``processed`` has not got is one where both are equal, unless ``unprocessed`` has it: there
    the processed one was not recorded. A node that ``raw`` has not got is one where the raw one was not."""

    node: list[int]
    entropy: list[float | None]
    unprocessed: list[int]
    raw: TopColumns
    processed: TopColumns


class Limits(TypedDict):
    """Entries of a distribution that are carried for a node in sight at first, and for a folded one."""

    shown: int
    folded: int


class Biases(TypedDict):
    """Columns over nodes whose token moved the draft's logits: by how much each of the raw entries that are carried."""

    node: list[int]
    by: list[list[float]]


class Nodes(TypedDict):
    """Columns over the nodes of the tree. ``q`` and ``p`` are the draft's and the target's probability; null where they
    were not recorded, and for the root. ``text`` is never null: see :func:`specviz.figures.text.token_of`.

    optimum     of nodes with children; null as a whole where it was not recorded
    outside     what the target gives after each node to tokens that the draft cannot propose
    confidence  how likely the draft says that what it drafts after each node is accepted
    bias        by which the draft's raw rows were moved by the nodes' tokens
    moved       total variation between the target's row without processors and the one that was used
    apart       the same between its rows by the modes exact and frozen
    Of all these but ``bias`` null, for all or for a node, is what does not apply or was not recorded."""

    depth: list[int]
    rank: list[int]
    token: list[int]
    text: list[str]
    q: list[float | None]
    p: list[float | None]
    target: Distributions
    draft: Distributions
    optimum: list[float | None] | None
    limits: Limits
    outside: list[float | None] | None
    confidence: list[float | None] | None
    bias: Biases
    moved: list[float | None] | None
    apart: list[float | None] | None


class DepthSums(TypedDict):
    """Columns over depths from 1 on: the drafted tokens with both probabilities recorded, and the sums of those."""

    drafted: list[int]
    q: list[float]
    p: list[float]


class Tree(TypedDict):
    """The tree and what was made of its nodes; columns run over them.

    parent   -1 for the root
    order    all nodes, children in draw order and before their parent (postorder)
    states   verifier -> one letter a node, see ``OUTCOMES``
    parts    the last node that all accepted paths share; null where they are equal"""

    parent: list[int]
    order: list[int]
    states: dict[str, str]
    parts: int | None


class Residual(TypedDict):
    """What a rejection left of the target: its mass, and the likeliest tokens of it, scaled to 1."""

    mass: float
    ids: list[int]
    probs: list[float]


class DecisionDetails(TypedDict):
    """Columns over the decisions that are carried in full; ``at`` is their place among all."""

    at: list[int]
    threshold: list[float | None]
    reason: list[str | None]
    residual: list[Residual | None]


class Decisions(TypedDict):
    """Columns over a verifier's decisions, in the order they were taken.

    outcome     a letter of ``OUTCOMES``
    rule        place in the verdict's ``rules``
    comparison  place in ``COMPARISONS``; null where another engine did not say
    uniform     the coin, or null for a rule without one and where it was not recorded
    p, q        what was compared, or null
    expected    the token that the node's token was compared with
    details     of the others the threshold stands in the verdict's column"""

    node: list[int]
    outcome: str
    rule: list[int]
    comparison: list[int | None]
    uniform: list[float | None]
    p: list[float | None]
    q: list[float | None]
    expected: list[int | None]
    details: DecisionDetails


class Bonus(TypedDict):
    """A verifier's bonus token and the distribution it was drawn from. ``fault`` says why that cannot be.

    source, uniform, top  null where they were not recorded
    draftRank             how many tokens the draft took for likelier there; null where not recorded"""

    token: int
    text: str
    node: int
    source: str | None
    uniform: float | None
    top: Top | None
    draftRank: int | None
    fault: str | None


class OtherMode(TypedDict):
    """What a verifier makes of the step, with the same luck, where processors work in ``mode``: its path, its bonus
    token, null where that is not known, and the nodes of which something else becomes."""

    mode: Literal["exact", "frozen"]
    path: list[int]
    bonus: str | None
    nodes: list[int]


class Verdict(TypedDict):
    """What one verifier made of the tree. ``thresholds`` has one a node, null where it was not recorded; ``emitted``
    counts the new tokens, bonus included; ``bonus`` is null where the step emitted none, or it was not recorded.
    ``acceptance`` has what the rule could expect at each node with children, given these; null where it was not
    recorded, and for a rule that does not decide node by node. ``otherMode`` is null where processors in the other mode
    change nothing, and without processors. ``optionsKey`` finds what ``check`` says of these options; it is null where
    processors make rows that no check is about."""

    verifier: str
    options: dict[str, str | float | bool | None]
    optionsKey: str | None
    lossless: str
    path: list[int]
    emitted: int
    bonus: Bonus | None
    thresholds: list[float | None]
    acceptance: list[float | None] | None
    rules: list[str]
    decisions: Decisions
    otherMode: OtherMode | None


class DraftPhase(TypedDict):
    kind: Literal["draft"]
    depth: int
    caption: str


class DecidePhase(TypedDict):
    """``upto`` decisions were taken; ``node`` is null for a run of them about folded nodes."""

    kind: Literal["decide"]
    node: int | None
    upto: int
    caption: str


class PlainPhase(TypedDict):
    kind: Literal["target", "verdict", "commit", "cache"]
    caption: str


Phase = DraftPhase | DecidePhase | PlainPhase


class VerdictPhases(TypedDict):
    """``walk`` says that an accepted node is final at once."""

    walk: bool
    phases: list[Phase]


class Phases(TypedDict):
    """The phases inside a step: before any verdict, of the verifier that is watched, after."""

    before: list[Phase]
    verdicts: dict[str, VerdictPhases]
    after: list[Phase]


class Commit(TypedDict):
    """Columns over the committed tokens: piece of readable text, visible token, where it comes from. ``other`` is what
    another engine says it committed and its path and bonus have not."""

    piece: list[str]
    label: list[str]
    origin: list[Literal["accepted", "bonus", "other"]]


class TextEnd(TypedDict):
    """How the text ends in a step.

    said    the reason in words: of a stop string which one, and what its last token says after it
    thrown  nodes that the driver accepted and that are not in the text, because it ends before them"""

    said: str
    thrown: list[int]


class WalkEnd(TypedDict):
    """Where the driver's walk ended, see :class:`specviz.trace.target_ranks.TargetRank`: what the ranks of a range of
    steps are counted from.

    leaf      whether it was one; otherwise all children were rejected
    depth     of the leaf, or of the rejected children
    column    of a known rank among the names of :class:`specviz.figures.totals_types.RankTotals`; else null
    recorded  how many entries the row has that a rank lies beyond; else 0"""

    leaf: bool
    depth: int
    kind: Literal["rank", "never", "beyond", "no row"]
    column: int | None
    recorded: int


class Tolerance(TypedDict):
    target: float
    draft: float


class Frame(TypedDict):
    """Everything the page shows of one step. ``tokens`` has the visible text of every token id it mentions.

    Null is *not recorded*, everywhere: of another engine's run most of a step may be. ``builder`` and ``proposal`` say
    how the tree was grown, ``draftRan`` whether a draft model ran nodes of it. ``draftModel`` is that of a step
    that ran on another draft, or on the same otherwise, than is said of the run. ``walkEnd`` is null where no bonus
    token was recorded."""

    step: int
    index: int
    context: int
    driver: str
    summary: str
    builder: str | None
    proposal: str | None
    draftRan: bool | None
    draftModel: Annotated[dict[str, Any], JsonOf(ModelInfo)] | None
    endReason: str | None
    textEnd: TextEnd | None
    prefilled: int | None
    timings: Annotated[dict[str, Any], JsonOf(Timings)] | None
    tree: Tree
    nodes: Nodes
    verdicts: list[Verdict]
    phases: Phases
    commit: Commit
    tolerance: Tolerance
    caches: Caches
    sums: DepthSums
    walkEnd: WalkEnd | None
    tokens: dict[int, str]
