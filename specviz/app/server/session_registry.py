"""The sessions, with their caches, that stay on the server between two clicks, and which pages want to stop.

Pages hold a ticket only. Sessions make room for the next one; one that was dropped is made again from the recorded run
by prefilling.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from specviz.app.server.backend import Backend, LoadPair, LocalBackend
from specviz.app.server.limits import Limits
from specviz.app.server.progress import Progress
from specviz.app.server.streams import STREAMS
from specviz.engine.step_values import StepProgress
from specviz.models.pair_spec import ModelChoice
from specviz.trace.schema import Settings, Trace


@dataclass(frozen=True)
class Ticket:
    """What a page holds instead of a session."""

    key: str
    models: ModelChoice


@dataclass
class Live:
    """A session, what it was started from, and the page that it is of."""

    session: Any
    models: ModelChoice
    prompt: str
    settings: Settings
    page: str = ""

    def goes_on_for(self, models: ModelChoice, prompt: str, settings: Settings) -> bool:
        """Whether another step with these inputs belongs to this run; only the token limit may differ."""
        limit = {"max_new_tokens": settings.max_new_tokens}
        return (self.models, self.prompt, self.settings.model_copy(update=limit)) == (models, prompt, settings)


class Sessions:
    """The registry.

    Args:
        load_pair: for a :class:`~specviz.app.server.backend.LocalBackend`, unless there is a ``backend``.
        limits: likewise; they also say how many sessions stay.
        backend: where the models run.
    """

    def __init__(self, load_pair: LoadPair | None = None, limits: Limits | None = None, backend: Backend | None = None):
        self.backend = backend or LocalBackend(load_pair, limits)
        self.backend.on_pairs_gone = self._keep_only_on
        self.limits = self.backend.limits
        self._live: OrderedDict[str, Live] = OrderedDict()
        self._stops: set[str] = set()
        self._doing: dict[str, StepProgress | Progress] = {}
        self._guard = threading.RLock()
        """Of the dictionary; it is never held while a model works, or while the backend is asked."""

    def step(self, ticket: Ticket, live: Live) -> bool:
        """Wait for the turn and run a step; False if the place of the session or of its pair was needed for others.

        The session has then gone, and its pair with it: whoever goes on begins with loading.

        Raises:
            SpecvizError: of the step.
        """

        def step_if_here() -> bool:
            if self.get(ticket) is live and self.backend.can_step(live.models, live.session):
                doing, page = self._doing, live.page
                live.session.on_progress = lambda said: doing.__setitem__(page, said)  # which does not keep the session
                try:
                    live.session.step()
                finally:
                    doing.pop(page, None)
                return True
            self.drop(ticket)  # it may have come here after its pair had left
            return False

        return self.backend.in_turn(step_if_here)

    def doing(self, page: str) -> StepProgress | Progress | None:
        """What the step that runs for a page is about, or what its backend can say of it; None if none runs."""
        return self._doing.get(page)

    def add(self, live: Live) -> Ticket:
        """Keep a session; another makes room, see :meth:`~specviz.app.server.streams.Streams.first_to_go`."""
        key = secrets.token_hex(8)
        with self._guard:
            self._live[key] = live
            self._make_room()
        return Ticket(key, live.models)

    def get(self, ticket: Ticket | None) -> Live | None:
        """The session, if it is still here; its pair then counts as used, too."""
        with self._guard:
            if ticket is None or ticket.key not in self._live:
                return None
            self._live.move_to_end(ticket.key)
            live = self._live[ticket.key]
        self.backend.mark_used(live.models)
        return live

    def trace_of(self, ticket: Ticket | None) -> Trace | None:
        """What the session has recorded, if it is still here."""
        live = self.get(ticket)
        trace: Trace | None = live.session.trace if live else None
        return trace

    def drop(self, ticket: Ticket | None) -> None:
        """Give a session's caches back."""
        if ticket is not None:
            with self._guard:
                self._live.pop(ticket.key, None)

    def end_click(self, ticket: Ticket | None) -> None:
        """End a session whose run has ended, or that cannot outlive this click; others stay, as far as they may."""
        live = self.get(ticket)
        if live is not None and (not self.backend.keeps_sessions or live.session.end_reason is not None):
            self.drop(ticket)
            live.session.release()
        with self._guard:
            self._make_room()

    def ask_to_stop(self, page: str) -> None:
        """Let the run of this page end after the step it is in."""
        self._stops.add(page)

    def clear_stop(self, page: str) -> None:
        """Forget that this page wanted to stop."""
        self._stops.discard(page)

    def must_stop(self, page: str) -> bool:
        """Whether this page wants to stop."""
        return page in self._stops

    def _make_room(self) -> None:
        """Drop sessions until the others are within the limits. The one used last stays."""
        sizes = {key: live.session.held_bytes for key, live in self._live.items()}
        most = self.limits.live_mb * 1024 * 1024
        while len(sizes) > 1 and ((many := len(sizes) > self.limits.live_runs) or sum(sizes.values()) > most):
            held = [(self._live[key].page, 1 if many else size) for key, size in sizes.items()]
            goes = list(sizes)[STREAMS.first_to_go(held, self.limits.addresses_count)]
            del self._live[goes], sizes[goes]

    def _keep_only_on(self, loaded: Collection[ModelChoice]) -> None:
        """Drop the sessions whose pair is not loaded any more."""
        with self._guard:
            for key in [key for key, live in self._live.items() if self.limits.as_set(live.models) not in loaded]:
                del self._live[key]
