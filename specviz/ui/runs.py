"""What the buttons do: start, continue and stop runs, and hand blocks of frames to the viewer.

Every handler answers with a block (JSON text) and, where a run moved, with its trace and the id of its live session.
An expected failure becomes a notice in the page; what was recorded stays.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

from specviz.errors import SpecvizError, TraceError
from specviz.figures import block, dump_block, step_frame
from specviz.trace import Settings, Trace, load_trace
from specviz.ui.sessions import Live, ModelChoice, Sessions, Ticket

log = logging.getLogger(__name__)
TRACES = Path(__file__).resolve().parents[2] / "assets" / "traces"
FIRST_TRACE = "default-4-2-2"
OPENING_BYTES = 2_000_000
"""A page opens with at most so much of a recorded run; the viewer asks for the rest."""
MOST_AT_ONCE = 24

Inputs = tuple[str, ModelChoice, Settings]
"""(prompt, models, settings)"""
Answer = tuple[str, "Trace | None", "Ticket | None"]
"""(block as JSON, the trace so far, what finds the live session again)"""


def notice(kind: str, text: str, fraction: float | None = None) -> dict[str, Any]:
    """A message for the page: ``error``, ``info`` or ``working``; ``none`` takes it away."""
    return {"kind": kind, "text": text, "fraction": fraction, "at": time.time()}


def recorded_traces(folder: Path = TRACES) -> list[str]:
    """Names of the runs that come with specviz, the one to open first in front."""
    names = sorted(path.name.removesuffix(".json.gz") for path in folder.glob("*.json.gz"))
    return sorted(names, key=lambda name: name != FIRST_TRACE)


def open_recorded(name: str, folder: Path = TRACES) -> Trace:
    """One of :func:`recorded_traces`.

    Raises:
        TraceError: for any other name, and for a file that cannot be read.
    """
    if name not in recorded_traces(folder):
        raise TraceError(f"There is no recorded run {name!r}.")
    return load_trace(folder / f"{name}.json.gz")


def opening_block(trace: Trace) -> str:
    """The first frames of a run, as many as fit :data:`OPENING_BYTES`."""
    chosen = block(trace, [], go=0)
    size = 0
    for position in range(len(trace.steps)):
        frame = step_frame(trace, position)
        size += len(dump_block(frame))
        if chosen["frames"] and size > OPENING_BYTES:
            break
        chosen["frames"].append(frame)
    return dump_block(chosen)


def wanted_block(trace: Trace, run: str, steps: Iterable[Any]) -> str:
    """The frames that a viewer misses; "" if it speaks of another run."""
    if run != trace.id:
        return ""
    chosen = [step for step in steps if isinstance(step, int)][:MOST_AT_ONCE]
    return dump_block(block(trace, chosen))


def run_steps(
    sessions: Sessions, page: str, inputs: Inputs, steps: int, trace: Trace | None, ticket: Ticket | None
) -> Iterator[Answer]:
    """Run up to ``steps`` steps, one answer a step; starts a new run if these inputs are not those of the live one."""
    sessions.clear_stop(page)
    try:
        live, ticket = yield from _session(sessions, inputs, trace, ticket)
        session = live.session
        if session.end_reason is not None:
            text = f"This run has ended ({session.end_reason}). Press New run, or change a setting."
            yield message("info", text), session.trace, ticket
            return
        for done in range(1, steps + 1):
            if sessions.must_stop(page):
                yield dump_block({"notice": None}), trace, ticket
                return
            with sessions.lock:
                session.step()
            trace = session.trace
            position = len(trace.steps) - 1
            value = block(trace, [position] if done > 1 else _tail(position), go=position)
            going_on = session.end_reason is None and done < steps
            if going_on:
                value["notice"] = notice("working", f"Running: {done} of at most {steps} steps.")
            yield dump_block(value), trace, ticket
            if not going_on:
                return
    except Exception as error:
        kept = sessions.get(ticket)
        yield failed(error), kept.session.trace if kept else trace, ticket


def failed(error: Exception) -> str:
    """A block that only shows an error: its sentence, or for a bug in specviz its name, with the rest in the log."""
    if isinstance(error, SpecvizError):
        return message("error", str(error))
    log.error("unexpected", exc_info=error)
    return message("error", f"Something is wrong in specviz ({type(error).__name__}); see the server's log.")


def message(kind: str, text: str) -> str:
    """A block that only shows a notice."""
    return _only(notice(kind, text))


def _session(
    sessions: Sessions, inputs: Inputs, trace: Trace | None, ticket: Ticket | None
) -> Generator[Answer, None, tuple[Live, Ticket]]:
    """The live session for these inputs: kept, made again from the trace, or new. Tells how loading goes."""
    prompt, models, settings = inputs
    live = sessions.get(ticket)
    if live is not None and ticket is not None and live.goes_on_for(models, prompt, settings):
        if settings.max_new_tokens != live.settings.max_new_tokens:
            live.session.go_on(settings.max_new_tokens)
            live.settings = settings
        return live, ticket
    sessions.drop(ticket)
    loading = sessions.pair(models)
    while True:
        try:
            text, fraction = next(loading)
        except StopIteration as finished:
            pair = finished.value
            break
        yield _only(notice("working", text, fraction)), trace, ticket
    from specviz.engine import Session

    evicted = live is None and ticket is not None and ticket.models == models
    with sessions.lock:
        if evicted and trace is not None and (trace.prompt, trace.settings) == (prompt, settings):
            session = Session.resume(pair, trace)
        else:
            session = Session(pair, settings, prompt)
    live = Live(session, models, prompt, settings)
    return live, sessions.add(live)


def _tail(position: int) -> range:
    """A resumed run has a new id, so its page needs the steps before, too."""
    return range(max(0, position - MOST_AT_ONCE + 1), position + 1)


def _only(said: dict[str, Any]) -> str:
    return dump_block({"notice": said})
