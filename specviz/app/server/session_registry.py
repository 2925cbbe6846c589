"""What lives on the server between two clicks: few loaded pairs, and a few sessions with their caches.

Pages hold ids only. Of both, what was used longest ago makes room; a session that was pushed out is built again from
the recorded run by prefilling, a pair by loading it again.
"""

from __future__ import annotations

import gc
import logging
import queue
import secrets
import sys
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from specviz.app.server import logs
from specviz.app.server.limits import Limits
from specviz.app.server.model_worker import ModelLock
from specviz.errors import SettingsError
from specviz.models.download_cache import ProgressCallback
from specviz.models.pair_spec import ModelChoice
from specviz.trace.schema import Settings, Trace

if TYPE_CHECKING:
    from specviz.app.server.zerogpu import Lend

log = logging.getLogger(__name__)
T = TypeVar("T")
LET_GO_SECONDS = 120.0
"""How long a pair that is to be loaded waits for one that a step, or a run of a small comparison, still works with."""
LoadPair = Callable[..., Any]
"""``load_pair(**fields of ModelChoice, progress=...) -> Pair``; raises SpecvizError."""


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
    """The registry. ``lock`` is held while a model works or is loaded: there is one accelerator for all.

    Args:
        load_pair: see :data:`LoadPair`.
        limits: how many sessions and pairs stay, which models may be loaded, and what one click may do with them.
        lend: gives a GPU for one call at a time, see :mod:`specviz.app.server.zerogpu`; no pair is then
            loaded here, and no session outlives its click.
    """

    def __init__(self, load_pair: LoadPair | None = None, limits: Limits | None = None, lend: Lend | None = None):
        self._load_pair = load_pair
        self.lend = lend
        self.limits = limits or Limits()
        self._pairs: OrderedDict[ModelChoice, Any] = OrderedDict()
        self._live: OrderedDict[str, Live] = OrderedDict()
        self._stops: set[str] = set()
        self._books = threading.RLock()
        """Guards the dictionaries, never held while a model works."""
        self.lock = ModelLock()
        self._turn = threading.Lock()
        """To load a pair: nobody takes the room that was made for another."""

    def with_pair(
        self, choice: ModelChoice, work: Callable[[Any], T], said: str | None = None
    ) -> Generator[tuple[str, float | None], None, T]:
        """Load a pair unless it is loaded and have it do ``work(pair)``; yields (message, fraction or None) on the way.

        Nobody whose pair needs the room comes between the two.

        Args:
            said: what to tell while it works.

        Raises:
            SpecvizError: what went wrong, in one sentence; and whatever ``work`` raises.
        """
        self.limits.check_models(choice)
        if self.lend is not None:
            raise SettingsError(
                "The GPU is lent for one click at a time here, which is too short for this; run specviz on a machine "
                "of your own."
            )
        if self._known(choice) is not None:
            if said is not None:
                yield said, None
            done = self.lock.do(self._if_loaded, choice, work)
            if done is not None:
                return done[0]
        yield "Loading the models …", None
        return (yield from told(lambda tell: self._load_and(choice, work, said, tell)))

    def pair(self, choice: ModelChoice) -> Generator[tuple[str, float | None], None, Any]:
        """The pair, see :meth:`with_pair`. Who has it in hand keeps others from loading theirs."""
        return self.with_pair(choice, lambda pair: pair)

    def step(self, ticket: Ticket, live: Live) -> bool:
        """Wait for the turn and run a step; False if the place of the session or of its pair was needed for others.

        The session has then gone, and its pair with it: who goes on begins with loading.

        Raises:
            SpecvizError: of the step.
        """

        def if_here() -> bool:
            here = self.get(ticket) is live
            if here and (self.lend is not None or self._known(live.models) is live.session.pair):
                live.session.step()
                return True
            self.drop(ticket)  # it may have come here after its pair had left
            return False

        if self.lend is not None:  # nothing is computed here
            with self.lock:
                return if_here()
        return self.lock.do(if_here)

    @property
    def loaded_pairs(self) -> int:
        """How many pairs are in memory."""
        with self._books:
            return len(self._pairs)

    def add(self, live: Live) -> Ticket:
        """Keep a session; the one used longest ago makes room."""
        key = secrets.token_hex(8)
        with self._books:
            self._live[key] = live
            self._let_go()
        return Ticket(key, live.models)

    def get(self, ticket: Ticket | None) -> Live | None:
        """The session, if it is still here; its pair then counts as used, too."""
        with self._books:
            if ticket is None or ticket.key not in self._live:
                return None
            self._live.move_to_end(ticket.key)
            live = self._live[ticket.key]
            if live.models in self._pairs:
                self._pairs.move_to_end(live.models)
            return live

    def trace_of(self, ticket: Ticket | None) -> Trace | None:
        """What the session has recorded, if it is still here."""
        live = self.get(ticket)
        trace: Trace | None = live.session.trace if live else None
        return trace

    def drop(self, ticket: Ticket | None) -> None:
        """Give a session's caches back."""
        if ticket is not None:
            with self._books:
                self._live.pop(ticket.key, None)

    def _let_go(self) -> None:
        """Of the sessions used longest ago, until the others are within the limits."""
        sizes = {key: live.session.held_bytes for key, live in self._live.items()}
        most = self.limits.live_mb * 1024 * 1024
        while len(sizes) > 1 and (len(sizes) > self.limits.live_runs or sum(sizes.values()) > most):
            oldest, _ = self._live.popitem(last=False)
            del sizes[oldest]

    def end_click(self, ticket: Ticket | None) -> None:
        """End a session whose run has ended, or whose GPU was lent for this click; others stay, as far as they may."""
        live = self.get(ticket)
        if live is not None and (self.lend is not None or live.session.end_reason is not None):
            self.drop(ticket)
            live.session.release()
        with self._books:
            self._let_go()

    def ask_to_stop(self, page: str) -> None:
        """Let the run of this page end after the step it is in."""
        self._stops.add(page)

    def clear_stop(self, page: str) -> None:
        self._stops.discard(page)

    def must_stop(self, page: str) -> bool:
        return page in self._stops

    def _known(self, choice: ModelChoice) -> Any:
        with self._books:
            if choice in self._pairs:
                self._pairs.move_to_end(choice)
            return self._pairs.get(choice)

    def _if_loaded(self, choice: ModelChoice, work: Callable[[Any], T]) -> tuple[T] | None:
        known = self._known(choice)
        return None if known is None else (work(known),)

    def _load_and(
        self, choice: ModelChoice, work: Callable[[Any], T], said: str | None, progress: ProgressCallback
    ) -> T:
        def at_work(pair: Any) -> T:
            if said is not None:
                self._moving(progress)(said, None)
            return work(pair)

        with self._turn:
            done = self.lock.do(self._if_loaded, choice, at_work)  # somebody else has loaded it meanwhile
            if done is not None:
                return done[0]
            with self.lock:
                gone = self._make_room()
            if gone:
                # Without the lock, so that whoever works with them comes to the end of a step and finds them gone.
                progress("Waiting for memory …", None)
                self._wait_until_collected(gone)
            return self.lock.do(lambda: at_work(self._loaded(choice, progress)))

    def _wait_until_collected(self, pairs: list[weakref.ref[Any]]) -> None:
        """Until nobody has these any more, the server stops, or for :data:`LET_GO_SECONDS`."""
        until = time.monotonic() + LET_GO_SECONDS
        polls = 0
        while any(pair() is not None for pair in pairs) and time.monotonic() < until and not self.lock.closed:
            time.sleep(0.05)
            polls += 1
            if polls % 20 == 0:  # seldom: it holds up the step that is waited for
                return_memory()
        return_memory()

    def _loaded(self, choice: ModelChoice, progress: ProgressCallback) -> Any:
        if self._load_pair is None:
            from specviz.models.loading import load_pair  # imports transformers: not needed to look at a trace

            self._load_pair = load_pair
        began = time.monotonic()
        loaded = self._load_pair(**vars(choice), progress=self._moving(progress))
        with self._books:
            self._pairs[choice] = loaded
        seconds = round(time.monotonic() - began, 3)
        logs.event(log, "pair loaded", target=choice.target, draft=choice.draft, seconds=seconds)
        return loaded

    def _moving(self, progress: ProgressCallback) -> ProgressCallback:
        """ProgressCallback also tells the lock that the work goes on, and ends the loading if the server stops."""

        def tell(message: str, fraction: float | None = None) -> None:
            self.lock.moved()
            progress(message, fraction)

        return tell

    def _make_room(self) -> list[weakref.ref[Any]]:
        """Let go of the pairs used longest ago until one more may come, with all sessions that run on them.

        Returns those that somebody still has in hand: a page that is in the middle of a run on such a pair finds its
        session gone before its next step.
        """
        gone: dict[ModelChoice, weakref.ref[Any]] = {}
        with self._books:
            while len(self._pairs) >= self.limits.pairs:
                choice, pair = self._pairs.popitem(last=False)
                gone[choice] = weakref.ref(pair)
                del pair
            for key in [key for key, live in self._live.items() if live.models not in self._pairs]:
                del self._live[key]
        return_memory()  # in any case: a load that failed may have left half a pair
        return [pair for pair in gone.values() if pair() is not None]


def told(work: Callable[[ProgressCallback], Any]) -> Generator[tuple[str, float | None], None, Any]:
    """What ``work(progress)`` gives, yielding the (message, fraction or None) that it tells on the way.

    It works in a thread, and to its end even if whoever waits goes away.
    """
    said: queue.SimpleQueue[tuple[str, float | None] | None] = queue.SimpleQueue()
    done: list[Any] = []
    failure: list[BaseException] = []

    def tell(message: str, fraction: float | None = None) -> None:
        said.put((message, fraction))

    def run() -> None:
        try:
            done.append(work(tell))
        except BaseException as error:  # raised again below, in the caller's thread
            failure.append(error)
        finally:
            said.put(None)

    threading.Thread(target=run, daemon=True).start()
    while (item := said.get()) is not None:
        yield item
    if failure:
        error = failure.pop()
        try:
            raise error
        finally:
            del error  # it and this frame would keep each other, and with them what was half loaded
    return done[0]


def return_memory() -> None:
    """Collect what nothing refers to any more, and give the accelerator's cached blocks back to the system."""
    gc.collect()
    torch = sys.modules.get("torch")  # whoever has not imported it holds nothing
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
