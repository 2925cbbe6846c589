"""The resources that each open page has on the server, which are given back once the page is closed.

A page has live sessions with their caches, files it saved, comparisons it made or sent. Its state (runs as plain
values) stays with Gradio for a while, so that a phone that slept finds its runs again; all else goes at once.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Generator, Hashable, Iterator
from pathlib import Path
from typing import Any

from specviz.app.compare.quick_run import QuickRun
from specviz.app.compare.store import ComparisonStore
from specviz.app.run_handlers import Answer, Inputs
from specviz.app.server import logs
from specviz.app.server.clients import Client
from specviz.app.server.metrics import COUNTS, RUNNING
from specviz.app.server.progress import Progress
from specviz.app.server.saved_files import SavedFiles
from specviz.app.server.session_registry import Sessions, Ticket
from specviz.app.server.streams import STREAMS
from specviz.trace.schema import Trace

MOST_PAGES = 256
"""How many pages are remembered, because a program that calls the page may never say that it leaves."""
MOST_RESOURCES = 16
"""Resources of one page; the one it has had longest is given back first."""
MOST_LOGGED = 200
"""Characters of a model's name that are logged; somebody may have typed a book."""

log = logging.getLogger(__name__)
Release = Callable[[], object]


class Visitors:
    """The resources of every open page, by the page's session hash."""

    def __init__(self, sessions: Sessions):
        self._sessions = sessions
        self.saved = SavedFiles(sessions.limits)
        self._resources: OrderedDict[str, OrderedDict[Hashable, Release]] = OrderedDict()
        self._working: Counter[str] = Counter()
        self._left: set[str] = set()
        self._guard = threading.RLock()

    def register(self, page: str, resource: Hashable, release: Release) -> None:
        """Note that a page has a resource, and what to call to give it back. Of too many resources the oldest is given
        back; of too many pages, all that one has, see :meth:`~specviz.app.server.streams.Streams.first_to_go`."""
        to_release: list[Release] = []
        with self._guard:
            resources = self._resources.setdefault(page, OrderedDict())
            self._resources.move_to_end(page)
            resources[resource] = release
            resources.move_to_end(resource)
            if len(resources) > MOST_RESOURCES:
                to_release.append(resources.popitem(last=False)[1])
            if len(self._resources) > MOST_PAGES:
                held = [(name, len(had)) for name, had in self._resources.items()]
                name, _ = held[STREAMS.first_to_go(held, self._sessions.limits.addresses_count)]
                to_release += self._resources.pop(name).values()
        for give_back in to_release:
            give_back()

    def save_file(self, page: str, client: Client, name: str, write: Callable[[Path], None]) -> str:
        """The path of a file that the page saves, see :meth:`~specviz.app.server.saved_files.SavedFiles.write`.

        It lies where Gradio serves from, so no copy of the file is made that would stay.
        """
        path = self.saved.write(page, client, name, write)
        self.register(page, "saved files", lambda: self.saved.drop(page))
        return str(path)

    def close_page(self, page: str) -> None:
        """The page was closed: stop its work after the step it is in, and give back what it has."""
        with self._guard:
            if self._working[page]:
                self._left.add(page)
                self._sessions.ask_to_stop(page)
        self._give_back(page)

    def stop(self, page: str) -> None:
        """Ask what runs for the page to end after the step it is in; if nothing runs, nothing is remembered."""
        with self._guard:
            if self._working[page]:
                self._sessions.ask_to_stop(page)

    @contextlib.contextmanager
    def working(self, page: str) -> Iterator[None]:
        """While something runs for a page. If the page is closed meanwhile, what it has is given back at the end."""
        with self._guard:
            self._left.discard(page)
            self._working[page] += 1
        COUNTS.add(RUNNING)
        try:
            yield
        finally:
            COUNTS.add(RUNNING, -1)
            with self._guard:
                self._working[page] -= 1
                left = not self._working[page] and page in self._left
                if not self._working[page]:
                    del self._working[page]
                    self._sessions.clear_stop(page)
                self._left -= {page} if left else set()
            if left:
                self._give_back(page)

    def count_run(
        self, page: str, answers: Iterator[Answer], inputs: Inputs, before: Trace | None = None
    ) -> Generator[Answer, None, None]:
        """Yield the answers of a run while they are counted and logged; its session becomes a resource of the page.

        Args:
            before: the run that is gone on with, if one is.
        """
        prompt, models, settings = inputs
        words = {"prompt": prompt} if logs.prompts_are_logged() else {}
        words |= {"target": models.target[:MOST_LOGGED], "draft": models.draft[:MOST_LOGGED]}
        logs.event(log, "run started", driver=settings.driver, tree=settings.builder.name, **words)
        began, steps, tokens, how = time.monotonic(), 0, 0, "page closed"
        seen = (before.id, len(before.steps)) if before else ("", 0)
        try:
            with self.working(page), contextlib.closing(_generator(answers)) as run:
                for answer in run:
                    _, trace, ticket = answer
                    self.register_session(page, ticket)
                    if trace is not None and trace.steps and (trace.id, len(trace.steps)) != seen:
                        committed = len(trace.steps[-1].committed)
                        COUNTS.add("runs", trace.id != seen[0])
                        COUNTS.add("steps")
                        COUNTS.add("tokens", committed)
                        seen, steps, tokens = (trace.id, len(trace.steps)), steps + 1, tokens + committed
                    how = (trace.end_reason if trace else None) or "failed"
                    last, how = how, "page closed"
                    yield answer
                    how = last
        finally:
            seconds = round(time.monotonic() - began, 3)
            logs.event(log, "run ended", run=seen[0], steps=steps, tokens=tokens, seconds=seconds, how=how)

    def count_comparison(
        self, page: str, store: ComparisonStore, answers: Iterator[Progress]
    ) -> Generator[Progress, None, None]:
        """The same for a small comparison, which the store keeps while the page is open."""
        logs.event(log, "comparison started")
        COUNTS.add("comparisons")
        began, finished = time.monotonic(), False
        try:
            with self.working(page), contextlib.closing(_generator(answers)) as reports:
                for progress in reports:
                    if isinstance(progress, QuickRun) and progress.key is not None:
                        finished = True
                        self.register_comparison(page, store, progress.key)
                    yield progress
        finally:
            logs.event(log, "comparison ended", seconds=round(time.monotonic() - began, 3), finished=finished)

    def register_comparison(self, page: str, store: ComparisonStore, key: str) -> None:
        """Register a comparison of the store as a resource of a page."""
        self.register(page, key, lambda: store.remove(key))

    def register_session(self, page: str, ticket: Ticket | None) -> None:
        """Register a live session as a resource of a page."""
        if ticket is not None:
            self.register(page, ticket.key, lambda: self._sessions.drop(ticket))

    def _give_back(self, page: str) -> None:
        with self._guard:
            resources = self._resources.pop(page, OrderedDict())
        for give_back in resources.values():
            give_back()


def _generator(answers: Iterator[Any]) -> Generator[Any, None, None]:
    yield from answers
