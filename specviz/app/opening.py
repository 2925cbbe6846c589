"""Opening a run: a recorded one, a file, one of the page, or one that a link names; and the block that shows it."""

from __future__ import annotations

import logging
import os
from functools import lru_cache

from specviz.app import run_handlers, whatif
from specviz.app.page_state import PageState, Run, models_of
from specviz.app.server.clients import Client
from specviz.app.server.limits import RUNS_KEPT
from specviz.app.server.readers import Readers
from specviz.app.server.share_store import ShareStore
from specviz.app.server.trace_store import StoredTrace
from specviz.errors import SettingsError, TraceError
from specviz.figures import dump_block
from specviz.figures.text import one_line

log = logging.getLogger(__name__)


def first_block(run: Run | None) -> str:
    """The first block of a run: frames, the address that names it, and what the tools have to know."""
    if run is None:
        return ""
    extra: dict[str, object] = {"verifiers": whatif.verifier_choices()}
    if run.link:
        extra["link"] = {"run": run.id, "name": run.link, "steps": run.stored.steps}
    recorded = run.link is not None and run.link in run_handlers.recorded_traces()
    return f"[{_frames_of(run.link or '') if recorded else run_handlers.opening_block(run.trace)},{dump_block(extra)}]"


@lru_cache(maxsize=32)
def _frames_of(name: str) -> str:
    # Everybody who comes opens one of the same few runs, and drawing twenty steps takes a fifth of a second.
    return run_handlers.opening_block(_stored(name).trace)


@lru_cache(maxsize=32)
def _stored(name: str) -> StoredTrace:
    return StoredTrace.shared(run_handlers.open_recorded(name))


def recorded(name: str) -> Run:
    stored = _stored(name)
    return Run(stored, name, models_of(stored.head), link=name)


def uploaded(readers: Readers, path: str | None, most_bytes: int, client: Client) -> list[Run]:
    """The run of a file, or those of the requests of a recording: the first of them, as many as a page keeps."""
    if not path:
        raise TraceError("No file came; choose a trace that specviz recorded.")
    if not os.path.isfile(path):  # so that no sentence names a folder of this machine; any text may be asked for
        raise TraceError("The file is not here any more; send it again.")
    try:
        runs = readers.read_runs(path, most_bytes, client)
    except OSError as error:  # whose words name a folder of this machine
        log.warning("a file that was sent cannot be read", exc_info=error)
        raise TraceError("The server cannot read the file now; send it again.") from None
    title, recording = run_handlers.file_title(path), runs[0].id if len(runs) > 1 else None
    return [Run(stored, title, models_of(stored.head), recording=recording) for stored in runs[:RUNS_KEPT]]


def requests_block(page_state: PageState) -> str:
    """The requests to choose from, where the run in sight is one of several of a recording."""
    runs = page_state.requests()
    return dump_block({"requests": [{"run": run.id, "name": request_name(run)} for run in runs]}) if runs else ""


def request_name(run: Run) -> str:
    name = run.stored.head.request
    return "without a name" if name is None else one_line(name, 40)


def listed(page_state: PageState, id: object) -> Run:
    run = page_state.find(id)
    if run is None:
        raise SettingsError(page_state.absent("This run is not open any more; choose one that is listed."))
    return run


def chosen(page_state: PageState, id: str | None) -> Run:
    """The run that was chosen as a side of a comparison of two.

    Raises:
        SettingsError: if none was, or if it is not open any more.
    """
    if id and id.startswith("recorded:"):
        return recorded(id.removeprefix("recorded:"))
    if not id:
        raise SettingsError("Two runs are needed; choose the one that is missing above.")
    return listed(page_state, id)


def linked(readers: Readers, share_store: ShareStore, name: str, client: Client) -> Run:
    if name in run_handlers.recorded_traces():
        return recorded(name)
    stored = share_store.read(name, lambda path, most_bytes: readers.read_trace(path, most_bytes, client))
    return Run(stored, "a shared run", models_of(stored.head), link=name)
