"""What lives on the server between two clicks: one loaded pair, and a few sessions with their caches.

Pages hold ids only. A session that was pushed out is built again from the recorded run by prefilling.
"""

from __future__ import annotations

import queue
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from specviz.trace import Settings

Progress = Callable[[str, "float | None"], None]
LoadPair = Callable[..., Any]
"""``load_pair(target, draft, *, device, dtype, progress) -> Pair``; raises SpecvizError."""


@dataclass(frozen=True)
class ModelChoice:
    """Which pair to load, as typed."""

    target: str = "default"
    draft: str = "default"
    device: str = "auto"
    dtype: str = "auto"


@dataclass(frozen=True)
class Ticket:
    """What a page holds instead of a session."""

    key: str
    models: ModelChoice


@dataclass
class Live:
    """A session and what it was started from."""

    session: Any
    models: ModelChoice
    prompt: str
    settings: Settings

    def goes_on_for(self, models: ModelChoice, prompt: str, settings: Settings) -> bool:
        """Whether another step with these inputs belongs to this run; only the token limit may differ."""
        limit = {"max_new_tokens": settings.max_new_tokens}
        return (self.models, self.prompt, self.settings.model_copy(update=limit)) == (models, prompt, settings)


class Sessions:
    """The registry. ``lock`` is held while a model works: there is one accelerator and one pair."""

    def __init__(self, load_pair: LoadPair | None = None, capacity: int = 4):
        self._load_pair = load_pair
        self._capacity = capacity
        self._pair: tuple[ModelChoice, Any] | None = None
        self._live: OrderedDict[str, Live] = OrderedDict()
        self._stops: set[str] = set()
        self.lock = threading.Lock()

    def pair(self, choice: ModelChoice) -> Generator[tuple[str, float | None], None, Any]:
        """Load a pair unless it is loaded, yielding (message, fraction or None) on the way; the pair is returned.

        Raises:
            SpecvizError: what went wrong, in one sentence.
        """
        if self._pair is not None and self._pair[0] == choice:
            return self._pair[1]
        yield "Loading the models …", None
        said: queue.SimpleQueue[tuple[str, float | None] | None] = queue.SimpleQueue()
        failure: list[BaseException] = []

        def tell(message: str, fraction: float | None = None) -> None:
            said.put((message, fraction))

        def work() -> None:
            try:
                self._load(choice, tell)
            except BaseException as error:  # raised again below, in the caller's thread
                failure.append(error)
            finally:
                said.put(None)

        # In a thread, so that its progress can be told. It finishes even if the page that asked is closed meanwhile.
        threading.Thread(target=work, daemon=True).start()
        while (item := said.get()) is not None:
            yield item
        if failure:
            raise failure[0]
        assert self._pair is not None, "work has set it"
        return self._pair[1]

    def add(self, live: Live) -> Ticket:
        """Keep a session; the one used longest ago makes room."""
        key = secrets.token_hex(8)
        self._live[key] = live
        while len(self._live) > self._capacity:
            self._live.popitem(last=False)
        return Ticket(key, live.models)

    def get(self, ticket: Ticket | None) -> Live | None:
        """The session, if it is still here."""
        if ticket is None or ticket.key not in self._live:
            return None
        self._live.move_to_end(ticket.key)
        return self._live[ticket.key]

    def drop(self, ticket: Ticket | None) -> None:
        """Give a session's caches back."""
        if ticket is not None:
            self._live.pop(ticket.key, None)

    def ask_to_stop(self, page: str) -> None:
        """Let the run of this page end after the step it is in."""
        self._stops.add(page)

    def clear_stop(self, page: str) -> None:
        self._stops.discard(page)

    def must_stop(self, page: str) -> bool:
        return page in self._stops

    def _load(self, choice: ModelChoice, progress: Progress) -> None:
        with self.lock:
            if self._pair is not None and self._pair[0] == choice:
                return
            if self._load_pair is None:
                from specviz.models.loading import load_pair  # imports transformers: not needed to look at a trace

                self._load_pair = load_pair
            self._live.clear()  # their caches belong to the pair that goes
            self._pair = None
            loaded = self._load_pair(
                choice.target, choice.draft, device=choice.device, dtype=choice.dtype, progress=progress
            )
            self._pair = (choice, loaded)
