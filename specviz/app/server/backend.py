"""Where models run: the interface that the page knows, and the backend that runs them in this process.

The other backend, :mod:`specviz.app.server.zerogpu`, runs them in a process that has a GPU for one call.
"""

from __future__ import annotations

import gc
import logging
import sys
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Collection, Generator
from typing import Any, TypeVar

from specviz.app.server import logs
from specviz.app.server.limits import Limits
from specviz.app.server.model_worker import ModelLock
from specviz.app.server.progress import Progress, in_a_thread
from specviz.app.server.session_start import SessionStart, refuse_other_target
from specviz.models.download_cache import ProgressCallback
from specviz.models.pair_spec import ModelChoice
from specviz.trace.schema import Trace

log = logging.getLogger(__name__)
T = TypeVar("T")
LET_GO_SECONDS = 120.0
"""How long a pair that is to be loaded waits for one that a step, or a run of a small comparison, still works with."""
LoadPair = Callable[..., Any]
"""``load_pair(**fields of ModelChoice, progress=...) -> Pair``; raises SpecvizError."""


class Backend(ABC):
    """Runs models for the page. Everything that takes long is a generator that yields :class:`Progress`.

    Args:
        limits: which models may be loaded, and what one click may do with them.

    Attributes:
        lock: is held while a model works or is loaded, because there is one accelerator for all.
        keeps_sessions: whether a session can outlive the click that opened it.
        on_pairs_gone: if there is one, it is called with the pairs that are still loaded once others have made room.
    """

    keeps_sessions: bool

    def __init__(self, limits: Limits | None = None):
        self.limits = limits or Limits()
        self.lock = ModelLock()
        self.on_pairs_gone: Callable[[Collection[ModelChoice]], None] | None = None

    @abstractmethod
    def open_session(self, models: ModelChoice, start: SessionStart, steps: int) -> Generator[Progress, None, Any]:
        """A session for the next ``steps`` steps: the engine's, or one that looks like it.

        Raises:
            SpecvizError: what went wrong, in one sentence.
        """

    @abstractmethod
    def ask(
        self,
        models: ModelChoice,
        trace: Trace,
        forwards: int,
        said: str,
        function: Callable[..., Any],
        *arguments: Any,
    ) -> Generator[Progress, None, Any]:
        """What ``function(pair, *arguments)`` says about a recorded run.

        Args:
            forwards: of the target, about.
            said: what to show while the function works.
            function: of a module; what it takes and returns can be pickled.

        Raises:
            SpecvizError: if the models cannot be loaded, or are others than the run's; and what ``function`` raises.
        """

    @abstractmethod
    def with_pair(
        self, models: ModelChoice, work: Callable[[Any], T], said: str | None = None
    ) -> Generator[Progress, None, T]:
        """What ``work(pair)`` returns, once the pair is loaded. No other pair can take its place between the two.

        Args:
            said: what to show while it works.

        Raises:
            SpecvizError: if the pair cannot be had here; and whatever ``work`` raises.
        """

    def pair(self, models: ModelChoice) -> Generator[Progress, None, Any]:
        """The pair, see :meth:`with_pair`. As long as a caller refers to it, no other pair can be loaded."""
        return self.with_pair(models, lambda pair: pair)

    @abstractmethod
    def in_turn(self, work: Callable[[], T]) -> T:
        """Wait for the lock and do this; what computes here does so in the thread of the models.

        Raises:
            StoppingError: if the server stops; and whatever ``work`` raises.
        """

    @abstractmethod
    def can_step(self, models: ModelChoice, session: Any) -> bool:
        """Whether the models of a session, which were loaded as ``models``, are still there for it."""

    @property
    @abstractmethod
    def loaded_pairs(self) -> int:
        """How many pairs are in the memory of this process."""

    @abstractmethod
    def mark_used(self, models: ModelChoice) -> None:
        """Note that a page goes on with this pair, so that others make room before it."""


class LocalBackend(Backend):
    """Runs models in this process. Few pairs stay loaded; the one used longest ago makes room for the next.

    Args:
        load_pair: see :data:`LoadPair`; by default the one of :mod:`specviz.models.loading`.
        limits: how many pairs stay, too.
    """

    keeps_sessions = True

    def __init__(self, load_pair: LoadPair | None = None, limits: Limits | None = None):
        super().__init__(limits)
        self._load_pair = load_pair
        self._pairs: OrderedDict[ModelChoice, Any] = OrderedDict()
        self._guard = threading.RLock()
        """Of the dictionary; it is never held while a model works."""
        self._turn_to_load = threading.Lock()
        """Held from making room to having loaded, so that the room goes to the pair that it was made for."""

    def open_session(
        self,
        models: ModelChoice,
        start: SessionStart,
        steps: int,  # noqa: ARG002
    ) -> Generator[Progress, None, Any]:
        """The engine's session, which can run more than these steps; see :meth:`Backend.open_session`."""
        return self.with_pair(models, start.open)

    def ask(
        self,
        models: ModelChoice,
        trace: Trace,
        forwards: int,  # noqa: ARG002
        said: str,
        function: Callable[..., Any],
        *arguments: Any,
    ) -> Generator[Progress, None, Any]:
        """See :meth:`Backend.ask`."""

        def work(pair: Any) -> Any:
            refuse_other_target(pair, trace)
            return function(pair, *arguments)

        return self.with_pair(models, work, said)

    def with_pair(
        self, models: ModelChoice, work: Callable[[Any], T], said: str | None = None
    ) -> Generator[Progress, None, T]:
        """See :meth:`Backend.with_pair`."""
        self.limits.check_models(models)
        if self._loaded(models) is not None:
            if said is not None:
                yield Progress(said)
            done = self.lock.do(self._if_loaded, models, work)
            if done is not None:
                return done[0]
        yield Progress("Loading the models …")
        return (yield from in_a_thread(lambda progress: self._load_and(models, work, said, progress)))

    def in_turn(self, work: Callable[[], T]) -> T:
        """See :meth:`Backend.in_turn`."""
        return self.lock.do(work)

    def can_step(self, models: ModelChoice, session: Any) -> bool:
        """Whether this very pair is still loaded; another of the same name may have been loaded since."""
        return self._loaded(models) is session.pair

    @property
    def loaded_pairs(self) -> int:
        """See :attr:`Backend.loaded_pairs`."""
        with self._guard:
            return len(self._pairs)

    def mark_used(self, models: ModelChoice) -> None:
        """See :meth:`Backend.mark_used`."""
        self._loaded(models)

    def _loaded(self, models: ModelChoice) -> Any:
        models = self.limits.as_set(models)
        with self._guard:
            if models in self._pairs:
                self._pairs.move_to_end(models)
            return self._pairs.get(models)

    def _if_loaded(self, models: ModelChoice, work: Callable[[Any], T]) -> tuple[T] | None:
        pair = self._loaded(models)
        return None if pair is None else (work(pair),)

    def _load_and(
        self, models: ModelChoice, work: Callable[[Any], T], said: str | None, progress: ProgressCallback
    ) -> T:
        def at_work(pair: Any) -> T:
            if said is not None:
                self._moving(progress)(said, None)
            return work(pair)

        with self._turn_to_load:
            done = self.lock.do(self._if_loaded, models, at_work)  # somebody else has loaded it meanwhile
            if done is not None:
                return done[0]
            with self.lock:
                gone = self._make_room()
            if gone:
                # Without the lock, so that whoever works with them comes to the end of a step and finds them gone.
                progress("Waiting for memory …", None)
                self._wait_until_collected(gone)
            return self.lock.do(lambda: at_work(self._load(models, progress)))

    def _load(self, models: ModelChoice, progress: ProgressCallback) -> Any:
        if self._load_pair is None:
            from specviz.models.loading import load_pair  # imports transformers: not needed to look at a trace

            self._load_pair = load_pair
        models = self.limits.as_set(models)
        began = time.monotonic()
        pair = self._load_pair(**vars(models), progress=self._moving(progress))
        with self._guard:
            self._pairs[models] = pair
        seconds = round(time.monotonic() - began, 3)
        logs.event(log, "pair loaded", target=models.target, draft=models.draft, seconds=seconds)
        return pair

    def _moving(self, progress: ProgressCallback) -> ProgressCallback:
        """Progress also tells the lock that the work goes on, and ends the loading if the server stops."""

        def report(message: str, fraction: float | None = None) -> None:
            self.lock.moved()
            progress(message, fraction)

        return report

    def _make_room(self) -> list[weakref.ref[Any]]:
        """Let go of the pairs used longest ago until one more may come, with all sessions that run on them.

        Returns those that somebody still has in hand: a page that is in the middle of a run on such a pair finds its
        session gone before its next step.
        """
        gone: list[weakref.ref[Any]] = []
        with self._guard:
            while len(self._pairs) >= self.limits.pairs:
                _, pair = self._pairs.popitem(last=False)
                gone.append(weakref.ref(pair))
                del pair
            loaded = set(self._pairs)
        if self.on_pairs_gone is not None:
            self.on_pairs_gone(loaded)
        return_memory()  # in any case: a load that failed may have left half a pair
        return [pair for pair in gone if pair() is not None]

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


def return_memory() -> None:
    """Collect what nothing refers to any more, and give the accelerator's cached blocks back to the system."""
    gc.collect()
    torch = sys.modules.get("torch")  # whoever has not imported it holds nothing
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
