"""What one page has open: its runs, how they were forked from each other, and which one is shown.

Plain frozen values, so that Gradio may keep them per visitor and no visitor can change another's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from specviz.app.server.limits import KEPT_BYTES, RUNS_KEPT
from specviz.app.server.session_registry import Ticket
from specviz.app.server.trace_store import StoredTrace, head_of
from specviz.figures.text import one_line
from specviz.models.choices import QUANTIZATIONS
from specviz.models.pair_spec import ModelChoice
from specviz.models.sources import as_typed
from specviz.trace.schema import Choice, ModelInfo, Trace

LOST = (
    "The runs of this page made room for others', or were not used for hours; press Step again to start a new one, or "
    "open one under Runs."
)
NOT_OPEN = "This run is not open any more; open it again under Runs."

MOST_BYTES = KEPT_BYTES // 8
"""All runs of a page together, packed: 2,000 steps of small trees. The run in sight stays, however large it is."""


@dataclass(frozen=True)
class Run:
    """A run of the page.

    Attributes:
        stored: the recorded run.
        models: the pair that can go on with it, as it is written in the form.
        ticket: finds its live session, if it has had one.
        link: what the address bar calls it, if a link can open it again.
        recording: the same for all requests of one recording that was opened; None for any other run.
    """

    stored: StoredTrace
    title: str
    models: ModelChoice
    ticket: Ticket | None = None
    link: str | None = None
    recording: str | None = None

    @property
    def id(self) -> str:
        """The id of the trace."""
        return self.stored.id

    @property
    def trace(self) -> Trace:
        """The whole run, which may have to be unpacked; ``stored.head`` is at hand."""
        return self.stored.trace


@dataclass(frozen=True)
class PageState:
    """The runs of a page, oldest first.

    Attributes:
        shown: id of the run in sight.
        filled: id of the run whose settings the form shows (possibly edited since).
        count: how many runs were ever put here; numbers the new ones.
        anew: whether the next step is to start a new run, whatever is in sight.
        lost: whether the page had runs that the server has forgotten, and was not told yet.
        opened: how often a run was opened; steps of a run that goes on do not count.
    """

    runs: tuple[Run, ...] = ()
    shown: str | None = None
    filled: str | None = None
    count: int = 0
    anew: bool = False
    lost: bool = False
    opened: int = 0

    def find(self, id: object) -> Run | None:
        """The run whose trace has this id."""
        return next((run for run in self.runs if run.id == id), None)

    @property
    def run(self) -> Run | None:
        """The run in sight."""
        return self.find(self.shown)

    @property
    def held_bytes(self) -> int:
        """Of all its runs, packed; their caches are not among them."""
        return sum(run.stored.held_bytes for run in self.runs if not run.stored.is_shared)

    def show(self, run: Run, *, filled: bool = False) -> PageState:
        """The state with this run in sight: in the place of an earlier state of the same run, or added."""
        known = self.find(run.id)
        runs = (*self.runs, run) if known is None else tuple(run if one is known else one for one in self.runs)
        stay = [one for one in runs if one.id not in (self.shown, run.id)]
        while stay and (len(runs) > RUNS_KEPT or sum(one.stored.held_bytes for one in runs) > MOST_BYTES):
            goes = stay.pop(0)
            runs = tuple(one for one in runs if one is not goes)
        return replace(
            self,
            runs=runs,
            shown=run.id,
            filled=run.id if filled else self.filled,
            count=self.count + (known is None),
            anew=False,
            lost=False,
            opened=self.opened + 1,
        )

    def requests(self) -> list[Run]:
        """The runs of the recording that the run in sight is of; empty where it is the only one."""
        run = self.run
        runs = [one for one in self.runs if run and run.recording and one.recording == run.recording]
        return runs if len(runs) > 1 else []

    def absent(self, otherwise: str = NOT_OPEN) -> str:
        """What to say of a run that is asked for and is not here."""
        return LOST if self.lost else otherwise

    def after_step(self, trace: Trace, models: ModelChoice, ticket: Ticket) -> PageState:
        """The state with a run in sight that was started, or took a step. A link to it does not have the new step."""
        known = self.find(trace.id)
        title = known.title if known else self.new_title(trace)
        stored = known.stored if known else None
        if stored is None or trace.failed or (stored.steps, stored.head) != (len(trace.steps), head_of(trace)):
            stored = StoredTrace(trace, stored)
        return replace(self.show(Run(stored, title, models, ticket), filled=True), opened=self.opened)

    def after(self, now: PageState) -> PageState:
        """What to keep for the page whose state is ``now``: this state, or, where it is that of a run that goes on and
        a reader has opened another one since, ``now`` with that run as it is here."""
        run = self.run
        if run is None or self.opened >= now.opened:
            return self
        return replace(now.show(run), shown=now.shown, filled=now.filled, anew=now.anew, opened=now.opened)

    def new_title(self, trace: Trace) -> str:
        """What a run that the page does not have yet will be called."""
        parent = self.find(trace.forked_from.trace) if trace.forked_from else None
        return f"run {self.count + 1}" + (f", fork of {parent.title}" if parent else "")

    def lines(self) -> list[tuple[str, str]]:
        """(label, trace id) of every run, forks below what they were forked from and indented."""
        lines: list[tuple[str, str]] = []
        left = {run.id: run for run in self.runs}

        def add(run: Run, depth: int) -> None:
            del left[run.id]
            lines.append(("\u2003" * (depth - 1) + "└ " * (depth > 0) + describe(run), run.id))
            for other in self.runs:
                if _parent(other) == run.id and other.id in left:
                    add(other, depth + 1)

        for run in self.runs:
            if _parent(run) not in left and run.id in left:
                add(run, 0)
        while left:  # files can name each other as parents
            add(next(iter(left.values())), 0)
        return lines


def _parent(run: Run) -> str | None:
    forked_from = run.stored.head.forked_from
    return forked_from.trace if forked_from else None


def describe(run: Run) -> str:
    """A run in one line: title, where it was forked, what drives it, how far it came."""
    head = run.stored.head
    parts = [run.title]
    if head.forked_from:
        parts.append(f"from step {head.forked_from.step + 1} on")
    if (settings := head.settings) is not None:
        heat = "greedy" if settings.target.temperature == 0 else f"temperature {settings.target.temperature:g}"
        driver = f"{one_line(settings.driver, 32)} drives"
        parts += [driver, describe_tree(settings.builder), heat, f"seed {settings.seed}"]
    else:
        parts.append(f"recorded from {one_line(head.who, 32)}")
        if head.request is not None:
            parts.append(f"request {one_line(head.request, 32)}")
    parts.append(f"{run.stored.steps} steps, {run.stored.tokens} tokens")
    if head.end_reason not in (None, "stopped"):
        parts.append(f"ended: {head.end_reason}")
    return " · ".join(parts) + f" · “{one_line(head.prompt.strip(), 40)}”"


def describe_fork(title: str, at: int, own: bool) -> str:
    """What to say of a fork at a step, with settings of its ``own`` or those in the form."""
    said = f"Step {at + 1} was run anew as {title}"
    if own:
        said += ", with the settings of its parent; they stand under Settings now: change them and fork again"
    return f"{said}. Step or Run goes on from here."


def describe_tree(builder: Choice) -> str:
    """A tree builder and its options in a few characters."""
    options = [str(value) for value in builder.options.values() if value not in ("", None)]
    return one_line(f"{builder.name} {' '.join(options)}".strip(), 32)


def models_of(trace: Trace) -> ModelChoice:
    """The pair that recorded a trace, as one would write it in the form; folders are asked for there. The form's own
    for another engine's run, which no pair goes on with."""
    if trace.engine is not None:
        return ModelChoice()
    target, draft = trace.models.both()
    return ModelChoice(
        target=as_typed(target, "target"),
        draft=as_typed(draft, "draft"),
        target_quantization=_bits(target),
        draft_quantization=_bits(draft),
        allow_renamed_tokens=bool(trace.models.renamed_tokens),
        **_by_hand(draft),
    )


def _by_hand(draft: ModelInfo) -> dict[str, str]:
    """What was set by hand of a draft head, as the form has it."""
    head = draft.head
    if head is None:
        return {}
    reads = ",".join(map(str, head.reads)) if "reads" in head.by_hand else ""
    options = [f"{name}={head.options[name]}" for name in head.by_hand if name in head.options]
    return {"head_reads": reads, "head_options": ",".join(options)}


def _bits(model: ModelInfo) -> str:
    """How the form names a quantization that is done while a model is loaded; others come with its files."""
    name = (model.quantization or "").removeprefix("bitsandbytes ")
    return name if name in QUANTIZATIONS else "none"
