"""Opening a run: a recorded one, a file, one of the page, or one that a link names; and the block that shows it."""

from __future__ import annotations

from functools import lru_cache

from specviz.app import answers, run_handlers, whatif
from specviz.app.page_state import PageState, Run, models_of
from specviz.app.server.share_store import ShareStore
from specviz.app.server.trace_store import StoredTrace
from specviz.errors import SettingsError, TraceError
from specviz.figures import dump_block


def first_block(run: Run | None, said: str | None = None) -> str:
    """The first block of a run: frames, the address that names it, what the tools have to know, and ``said``."""
    if run is None:
        return ""
    extra: dict[str, object] = {"verifiers": whatif.verifier_choices()}
    if said:
        extra["notice"] = answers.notice("info", said)
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
    return StoredTrace(run_handlers.open_recorded(name))


def recorded(name: str) -> Run:
    stored = _stored(name)
    return Run(stored, name, models_of(stored.head), link=name)


def uploaded(path: str | None, most_bytes: int) -> Run:
    if not path:
        raise TraceError("No file came; choose a trace that specviz recorded.")
    trace = run_handlers.read_upload(path, most_bytes)
    return Run(StoredTrace(trace), run_handlers.file_title(path), models_of(trace))


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


def linked(share_store: ShareStore, name: str) -> Run:
    if name in run_handlers.recorded_traces():
        return recorded(name)
    trace = share_store.load(name)
    return Run(StoredTrace(trace), "a shared run", models_of(trace), link=name)
