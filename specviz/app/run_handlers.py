"""What the buttons do: start, continue and stop runs, and hand blocks of frames to the viewer.

Every handler answers with a block (JSON text) and, where a run moved, with its trace and the id of its live session.
An expected failure becomes a notice in the page; what was recorded stays.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

from specviz.app.answers import LargeAnswers, frames_block, message, notice
from specviz.app.form import as_form_reads
from specviz.app.server.metrics import COUNTS
from specviz.app.server.progress import Progress, mapped
from specviz.app.server.session_registry import Live, Sessions, Ticket
from specviz.app.server.session_start import SessionStart
from specviz.app.server.tempdir import FULL
from specviz.app.server.trace_store import StoredTrace
from specviz.assets import ASSETS
from specviz.display import upright
from specviz.engine.run_until import StepDone, run_until
from specviz.errors import BusyError, SettingsError, SpecvizError, TraceError, shown
from specviz.figures import dump_block
from specviz.figures.text import one_line
from specviz.models.pair_spec import ModelChoice
from specviz.trace.breakpoints import Breakpoints, Hit, first_hit
from specviz.trace.identity import caveats
from specviz.trace.io import load_trace
from specviz.trace.schema import Settings, Trace, cut
from specviz.verifiers import VERIFIERS

log = logging.getLogger(__name__)
TRACES = ASSETS / "traces"
FIRST_TRACE = "default-4-2-2"
MOST_AT_ONCE = 24
ENDED = "This run has ended ({}). Press New run, or change a setting."
REPEATED = "The run that was in sight has ended ({}); this is a new one from its prompt, with its settings."
EVICTED = "This run's place was needed for others; press Step or Run to go on with it."

Inputs = tuple[str, ModelChoice, Settings]
"""(prompt, models, settings)"""
Answer = tuple[str, "Trace | None", "Ticket | None"]
"""(block as JSON, the trace so far, the ticket of the live session)"""


def recorded_traces(folder: Path = TRACES) -> list[str]:
    """Names of the runs that come with specviz, the one to open first in front."""
    names = sorted(path.name.removesuffix(".json.gz") for path in folder.glob("*.json.gz"))
    return sorted(names, key=lambda name: name != FIRST_TRACE)


def open_recorded(name: str, folder: Path = TRACES) -> Trace:
    """A recorded run that comes with specviz, by its name in :func:`recorded_traces`.

    Raises:
        TraceError: for any other name, and for a file that cannot be read.
    """
    if name not in recorded_traces(folder):
        raise TraceError(f"There is no recorded run {shown(name)}.")
    return load_trace(folder / f"{name}.json.gz")


def file_title(path: str) -> str:
    """What a page calls a file that a visitor sent."""
    return one_line(Path(path).name.removesuffix(".gz").removesuffix(".json").removesuffix(".jsonl"), 40)


def verifier_names() -> list[str]:
    """All registered verifiers, those of users last."""
    return list(VERIFIERS)


def opening_block(trace: Trace) -> str:
    """The first frames of a run, as many as fit; the viewer asks for the rest."""
    return frames_block(trace, range(len(trace.steps)), go=0)


def wanted_block(trace: Trace, run: str, steps: Any) -> str:
    """The frames that a viewer misses, those of the first positions of a list; "" if another run is asked for."""
    if run != trace.id or not isinstance(steps, list):
        return ""
    return frames_block(trace, positions_of(steps), fills=True)


async def wanted_frames(large: LargeAnswers, request: Any, stored: StoredTrace, steps: Any) -> str:
    """:func:`wanted_block` in its turn; where the client has its share of turns, ``left`` says to ask again."""
    try:
        return str(await large.make(request, stored.size, lambda: wanted_block(stored.trace, stored.id, steps)))
    except BusyError:
        return dump_block({"fills": True, "left": positions_of(steps)})
    except SpecvizError as error:
        return failed(error)


def positions_of(steps: Any) -> list[int]:
    """The positions that a viewer asks for, each once; nothing else of what was sent."""
    sent = steps[: 2 * MOST_AT_ONCE] if isinstance(steps, list) else []
    return list(dict.fromkeys(step for step in sent if type(step) is int and 0 <= step < 2**31))[:MOST_AT_ONCE]


def run_steps(
    sessions: Sessions,
    page: str,
    inputs: Inputs,
    steps: int,
    trace: Trace | None,
    ticket: Ticket | None,
    until: Breakpoints | None = None,
) -> Iterator[Answer]:
    """Run up to ``steps`` steps, one answer a step; starts a new run if these inputs are not those of the live one.

    Args:
        until: breakpoints at which it stops earlier.
    """
    sessions.clear_stop(page)
    try:
        if trace is not None and ticket is not None and _has_ended(trace, inputs, ticket):
            yield message("info", ENDED.format(trace.end_reason)), trace, ticket
            return
        live, ticket, said = yield from _session(sessions, page, inputs, steps, trace, ticket)
        if live.session.end_reason is not None:
            yield message("info", ENDED.format(live.session.end_reason)), live.session.trace, ticket
            return
        yield from _go_on(sessions, page, live, ticket, steps, until, said)
    except Exception as error:
        trace = sessions.trace_of(ticket) or trace
        yield failed(error, trace), trace, ticket
    finally:
        sessions.end_click(ticket)


def fork(sessions: Sessions, page: str, inputs: Inputs, trace: Trace, position: int) -> Iterator[Answer]:
    """A new run that shares the steps before ``position`` and runs that step again, with the settings of ``inputs``.

    One step is run. The prompt of ``inputs`` is not used. With the run's own settings the step comes out the same.
    """
    sessions.clear_stop(page)
    _, models, settings = inputs
    ticket: Ticket | None = None
    try:
        if not 0 <= position < max(1, len(trace.steps)):
            raise SettingsError(f"This run has no step {position + 1}; choose a step that is there.")
        sessions.limits.check_tree(settings.builder, len(settings.verifiers))
        sessions.limits.check_context(len(trace.prompt_tokens), settings.max_new_tokens)
        start = SessionStart(trace.prompt, settings, sessions.limits, trace, fork_at=position)
        session = yield from _opened(sessions, models, start, 1, trace, None)
        # Compared with what the form says next, and the form spells every option out.
        live = Live(session, models, trace.prompt, as_form_reads(settings) or settings, page)
        ticket = sessions.add(live)
        yield from _go_on(sessions, page, live, ticket, 1)
    except Exception as error:
        forked = sessions.trace_of(ticket)
        shown = forked if forked is not None and forked.failed is not None else None
        yield failed(error, shown), shown, ticket if shown else None
    finally:
        sessions.end_click(ticket)


def _go_on(
    sessions: Sessions,
    page: str,
    live: Live,
    ticket: Ticket,
    steps: int,
    until: Breakpoints | None = None,
    said: str | None = None,
) -> Iterator[Answer]:
    """Run the steps of a click, one answer a step.

    Args:
        said: is shown with the last step, unless a breakpoint was hit there.
    """
    session = live.session

    def answer(done: StepDone) -> Answer:
        trace = session.trace
        position = len(trace.steps) - 1
        # The page asks for the steps before, should it miss them: after a fork, or where a session was made again.
        more: dict[str, Any] = {"live": True}
        if not done.is_last:
            more["notice"] = notice("working", f"Running: {done.count} of at most {steps} steps.")
        elif done.hits:
            more |= stopped_at(done.hits)
        elif said:
            more["notice"] = notice("info", said)
        return frames_block(trace, [position], go=position, **more), trace, ticket

    running = run_until(
        session,
        steps=steps,
        breakpoints=until,
        seconds=sessions.limits.seconds,
        must_stop=lambda: sessions.must_stop(page),
        step=lambda: sessions.step(ticket, live),
    )
    reason = yield from mapped(running, answer)
    if reason == "stop":
        yield dump_block({"notice": None}), session.trace, ticket
    elif reason == "seconds":
        yield message("info", sessions.limits.out_of_time()), session.trace, ticket
    elif reason == "step ended":
        yield message("info", sessions.limits.step_ended(len(session.trace.steps) + 1)), session.trace, ticket
    elif reason == "session gone":
        session.release()
        yield message("info", EVICTED), session.trace, ticket


def stopped_at(found: Sequence[Hit]) -> dict[str, Any]:
    """What a block says of the breakpoints that a step hit, and where to look."""
    first = found[0]
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return {
        "notice": notice("info", f"Breakpoint at step {first.position + 1}: {first.reason}{more}"),
        "look": {"step": first.position, "node": first.node, "verifier": None},
    }


def next_hit(trace: Trace, start: int, until: Breakpoints) -> str:
    """A block that goes to the next step from ``start`` on that hits a breakpoint, else to the first one before it."""
    if not until:
        return message("info", "No breakpoint is set; tick or fill in one first.")
    found = first_hit(trace, start, until)
    if found is None:
        if (found := first_hit(trace, 0, until)) is None:
            return message("info", "No step hits a breakpoint.")
        block = stopped_at([found])
        block["notice"]["text"] += f" (the search began anew: no step after step {start} hits one)"
        return dump_block(block)
    return dump_block(stopped_at([found]))


def failed(error: Exception, trace: Trace | None = None) -> str:
    """A block that shows an error: its sentence, or for a bug in specviz its name, with the rest in the log.

    Args:
        trace: the run that it ended, if it did; what is known of its last step is shown, too.
    """
    if trace is None or trace.failed is None or trace.end_message != cut(str(error)):
        return message("error", sentence(error))
    return frames_block(trace, [], go=max(0, len(trace.steps) - 1), live=True, notice=notice("error", sentence(error)))


def sentence(error: Exception) -> str:
    """What to tell a visitor of an error; a bug in specviz goes to the log."""
    COUNTS.failed(error)
    if isinstance(error, SpecvizError):
        return upright(str(error))
    log.error("unexpected error", exc_info=error)
    if isinstance(error, OSError) and error.errno in FULL:
        return "The server's disk is full; try again later."
    return f"Something is wrong in specviz ({type(error).__name__}); see the server's log."


def working(progress: Progress) -> str:
    """A block that only says that work is going on."""
    return dump_block({"notice": notice("working", progress.text, progress.fraction)})


def _session(
    sessions: Sessions, page: str, inputs: Inputs, steps: int, trace: Trace | None, ticket: Ticket | None
) -> Generator[Answer, None, tuple[Live, Ticket, str | None]]:
    """(the live session for these inputs, its ticket, what to tell the visitor), yielding how loading goes.

    The session is the one of the ticket if it is still there, or made again from the trace, or new.
    """
    prompt, models, settings = inputs
    limits = sessions.limits
    limits.check_prompt(prompt)
    limits.check_tree(settings.builder, len(settings.verifiers))
    live = sessions.get(ticket)
    if live is not None and ticket is not None and live.goes_on_for(models, prompt, settings):
        if settings.max_new_tokens != live.settings.max_new_tokens:
            limits.check_run(live.session.pair, settings, len(live.session.prompt_tokens))
            live.session.go_on(settings.max_new_tokens)
            live.settings = settings
        return live, ticket, None
    del live  # its pair may have to make room for the one that is loaded now
    sessions.drop(ticket)
    left = trace is not None and _was_left(trace, prompt, settings, ticket, models)
    # A run of this page keeps its id when its session is made again.
    start = SessionStart(prompt, settings, limits, trace if left else None, same=ticket is not None)
    session = yield from _opened(sessions, models, start, steps, trace, ticket)
    live = Live(session, models, prompt, settings, page)
    said = None
    if left and trace is not None:
        said = caveats(session.trace.models, trace.models)
    elif trace is not None and ticket is None and _is_of(trace, prompt, settings):
        said = REPEATED.format(trace.end_reason)
    return live, sessions.add(live), said


def _was_left(trace: Trace, prompt: str, settings: Settings, ticket: Ticket | None, models: ModelChoice) -> bool:
    """Whether these inputs continue a run without a live session: it was dropped, or the run is an unfinished file."""
    limit = {"max_new_tokens": settings.max_new_tokens} if ticket is not None else {}
    if not _is_of(trace, prompt, settings, **limit):
        return False
    return ticket.models == models if ticket is not None else trace.end_reason in (None, "stopped")


def _is_of(trace: Trace, prompt: str, settings: Settings, **but: Any) -> bool:
    """Whether these are the inputs of a run, with the settings in ``but`` replaced."""
    if trace.settings is None:
        return False
    recorded = trace.settings.model_copy(update=but)
    return trace.prompt == prompt and settings in (recorded, as_form_reads(recorded))


def _has_ended(trace: Trace, inputs: Inputs, ticket: Ticket) -> bool:
    """Whether this run of the page has come to its end, and nothing in these inputs lets it go on."""
    prompt, models, settings = inputs
    same = trace.settings is not None and trace.settings.max_new_tokens == settings.max_new_tokens
    return same and trace.end_reason not in (None, "stopped") and _was_left(trace, prompt, settings, ticket, models)


def _opened(
    sessions: Sessions,
    models: ModelChoice,
    start: SessionStart,
    steps: int,
    trace: Trace | None,
    ticket: Ticket | None,
) -> Generator[Answer, None, Any]:
    """A session for so many steps, telling the page how loading goes."""
    opening = sessions.backend.open_session(models, start, steps)
    return (yield from mapped(opening, lambda progress: (working(progress), trace, ticket)))


def ask_models(
    sessions: Sessions,
    models: ModelChoice,
    trace: Trace,
    said: str,
    forwards: int,
    function: Callable[..., Any],
    *arguments: Any,
) -> Generator[str, None, Any]:
    """As :meth:`specviz.app.server.backend.Backend.ask`, yielding blocks on the way."""
    asking = sessions.backend.ask(models, trace, forwards, said, function, *arguments)
    return (yield from mapped(asking, working))
