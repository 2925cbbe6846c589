"""The backend that runs models on a GPU which the platform gives for one call at a time: ZeroGPU.

Such a call runs in a forked process. Its arguments and what it yields are pickled, and when it is over the process is
forgotten, so nothing lives between two clicks: a click loads the pair, prefills the run so far and runs its steps. In
the process that serves the page no model is loaded and the accelerator is never touched: files are fetched, values come
back.

:func:`work_in_call` is what runs in that process; all else runs in the one that serves the page. The platform is one
function, :data:`GpuCall`.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, TypeVar

from specviz.app.server.backend import Backend, LocalBackend
from specviz.app.server.limits import Limits
from specviz.app.server.progress import Progress, in_a_thread
from specviz.app.server.session_start import SessionStart, refuse_other_target
from specviz.errors import SettingsError, SpecvizError, shown
from specviz.models.download_cache import ProgressCallback
from specviz.models.pair_spec import ModelChoice
from specviz.trace.schema import EndReason, FailedStep, Trace, cut

log = logging.getLogger(__name__)
T = TypeVar("T")

Work = Callable[..., Generator[Any, None, None]]
"""``work(pair, *arguments)`` yields values that can be pickled. A function of a module: it goes over by its name."""
GpuCall = Callable[..., Generator[Any, None, None]]
"""``call(seconds, models, work, *arguments)`` yields what :func:`work_in_call` yields; closing it ends the work after
the step it is in. Raises SpecvizError where the platform gives no GPU, or takes it away."""

MOST_SECONDS = 120
"""What is asked for at most; visitors have a few minutes of GPU a day."""
LOADING = "SPECVIZ_ZERO_LOADING"
"""Variable: seconds to start the process and put the models on the GPU, where ours do not fit."""
DEFAULT_PAIR_SECONDS, OTHERS_SECONDS = 15, 45
"""The same, for the pair that comes with specviz and for others."""
SECONDS_A_STEP = 0.25
TOKENS_A_SECOND = 2_000
"""Of prefilling, both models."""
SPARE_SECONDS = 5.0
"""So much earlier the work ends by itself: a process that is killed yields nothing more."""
OVER = "The GPU is lent for {} seconds a click and they are over; press Step or Run to go on."


def seconds_for(models: ModelChoice, context: int, steps: float) -> int:
    """How long a GPU is asked for: the platform counts it against the visitor's quota and ends what takes longer.

    Args:
        context: tokens to prefill.
        steps: how many steps are run, or their worth in time.
    """
    loading = DEFAULT_PAIR_SECONDS if (models.target, models.draft) == ("default", "default") else OTHERS_SECONDS
    if text := os.environ.get(LOADING):
        if not (text.isascii() and text.isdigit() and len(text) < 5):
            raise SettingsError(f"{LOADING} cannot be {shown(text)}; set it to a whole number of seconds.")
        loading = int(text)
    return min(MOST_SECONDS, round(loading + context / TOKENS_A_SECOND + SECONDS_A_STEP * steps + SPARE_SECONDS))


# ---------------------------------------------------------------------------------- what goes over, and comes back


@dataclass(frozen=True)
class Failure:
    """An error as a value: of exceptions the platform passes on no more than their class.

    Attributes:
        ended: whether the run has ended with it.
        failed: what is known of the step that it ended.
    """

    error: SpecvizError
    ended: bool = False
    failed: FailedStep | None = None


_backends: dict[int, LocalBackend] = {}
"""Process -> its loaded pair. A process that the platform happens to use again need not load it again."""


def work_in_call(seconds: float, models: ModelChoice, work: Work, *arguments: Any) -> Generator[Any, None, None]:
    """In the process that has the GPU: load the pair, yielding :class:`Progress`, then yield what
    ``work(pair, *arguments)`` yields, until shortly before ``seconds`` are over."""
    until = time.monotonic() + seconds - SPARE_SECONDS
    try:
        # By process: a fork must not wait for the locks of the one it was forked from.
        pair = yield from _backends.setdefault(os.getpid(), LocalBackend()).pair(models)
        with closing(work(pair, *arguments)) as values:
            for value in values:
                yield value
                if time.monotonic() > until:
                    return
    except SpecvizError as error:
        yield Failure(error)
    except Exception as error:
        log.error("unexpected", exc_info=error)
        yield Failure(SpecvizError(f"Something is wrong in specviz ({type(error).__name__}); see the server's log."))


def run_steps(pair: Any, start: SessionStart, steps: int) -> Generator[Any, None, None]:
    """Work: the run so far (a Trace), then up to ``steps`` Steps."""
    session = start.open(pair)
    yield session.trace
    try:
        yield from session.run(steps)
    except SpecvizError as error:
        yield Failure(error, session.end_reason == "error", session.failed)


def answer(pair: Any, trace: Trace, function: Callable[..., Any], *arguments: Any) -> Generator[Any, None, None]:
    """Work: what ``function(pair, *arguments)`` says about a run that was recorded with this pair."""
    refuse_other_target(pair, trace)
    yield function(pair, *arguments)


# ------------------------------------------------------------------------------------------------------ this side


class ZeroGpuBackend(Backend):
    """Runs models in a process that has a GPU for one call; no pair is loaded in this process.

    Args:
        call: gives a GPU for one call, see :data:`GpuCall`.
    """

    keeps_sessions = False
    loaded_pairs = 0

    def __init__(self, call: GpuCall, limits: Limits | None = None):
        super().__init__(limits)
        self._call = call

    def open_session(self, models: ModelChoice, start: SessionStart, steps: int) -> Generator[Progress, None, Any]:
        """A :class:`ZeroGpuSession` for these steps; see :meth:`Backend.open_session`."""
        steps = min(steps, start.steps_left)
        seconds = seconds_for(models, start.context, steps)
        trace, values = yield from self._first_value(seconds, models, run_steps, start, steps)
        return ZeroGpuSession(trace, values, seconds)

    def ask(
        self,
        models: ModelChoice,
        trace: Trace,
        forwards: int,
        said: str,  # noqa: ARG002
        function: Callable[..., Any],
        *arguments: Any,
    ) -> Generator[Progress, None, Any]:
        """See :meth:`Backend.ask`; ``said`` is not shown, since nothing tells when the models have been loaded."""
        context = len(trace.prompt_tokens) + len(trace.output_tokens())
        seconds = seconds_for(models, context, forwards)
        value, rest = yield from self._first_value(seconds, models, answer, trace, function, *arguments)
        for _ in rest:  # to its end: the process is then free
            pass
        return value

    def with_pair(
        self,
        models: ModelChoice,
        work: Callable[[Any], T],  # noqa: ARG002
        said: str | None = None,  # noqa: ARG002
    ) -> Generator[Progress, None, T]:
        """Refuses: what holds a pair for longer than a click cannot be done here."""
        self.limits.check_models(models)
        raise SettingsError(
            "The GPU is lent for one click at a time here, which is too short for this; run specviz on a machine "
            "of your own."
        )
        yield  # a generator like the other backend's

    def in_turn(self, work: Callable[[], T]) -> T:
        """Holds the lock, in the thread of the caller: nothing is computed in this process."""
        with self.lock:
            return work()

    def can_step(self, models: ModelChoice, session: Any) -> bool:  # noqa: ARG002
        """A session has its models for as long as its call lasts."""
        return True

    def mark_used(self, models: ModelChoice) -> None:
        """Nothing to note: no pair is loaded here."""

    def _first_value(
        self, seconds: int, models: ModelChoice, work: Work, *arguments: Any
    ) -> Generator[Progress, None, tuple[Any, Generator[Any, None, None]]]:
        """Begin some work, yielding progress until its first value; returns that and the others.

        Raises:
            SpecvizError: if the files, the GPU or the models cannot be had, or the work fails at once.
        """
        self.limits.check_models(models)
        self.lock.check_open()
        yield Progress("Looking for the models …")
        yield from in_a_thread(lambda progress: fetch(models, progress))
        yield Progress("Waiting for a GPU …")
        values = self._call(seconds, models, work, *arguments)
        for value in values:
            if isinstance(value, Progress):
                yield value
            elif isinstance(value, Failure):
                raise value.error
            else:
                return value, values
        raise SpecvizError(OVER.format(seconds))


def fetch(models: ModelChoice, progress: ProgressCallback) -> None:
    """Bring the files of a pair here, so that no time of the GPU goes by over it.

    Raises:
        SpecvizError: as :func:`~specviz.models.loading.load_pair`, as far as it is about files.
    """
    from specviz.models.sources import fetch_files, find_source

    fetch_files(find_source(models.target, "target", progress), progress)
    fetch_files(find_source(models.draft, "draft", progress), progress)


class ZeroGpuSession:
    """Looks like the engine's session, for the steps of one click.

    Attributes:
        on_progress: called with the number of the step that is waited for. What part of it runs is known in the process
            that has the GPU, which may be steps ahead.
        must_end: asked by nobody: the seconds of the call end what runs there.
    """

    def __init__(self, trace: Trace, steps: Generator[Any, None, None], seconds: int):
        self.trace, self._steps, self._seconds = trace, steps, seconds
        self.prompt_tokens = trace.prompt_tokens
        self.on_progress: Callable[[Progress], None] | None = None
        self.must_end: Callable[[], bool] | None = None

    @property
    def end_reason(self) -> EndReason | None:
        """As the engine's: None while steps can follow."""
        return None if self.trace.end_reason == "stopped" else self.trace.end_reason

    @property
    def held_bytes(self) -> int:
        """Of this process, for caches: they are in the other one."""
        return 0

    def step(self) -> None:
        """Wait for the next step and add it to the trace.

        Raises:
            SpecvizError: what went wrong, in one sentence; steps before are intact.
        """
        if self.on_progress is not None:
            self.on_progress(Progress(f"Waiting for step {len(self.trace.steps) + 1} from the GPU …"))
        value = next(self._steps, None)
        if value is None:
            raise SpecvizError(OVER.format(self._seconds))
        if isinstance(value, Failure):
            if value.ended:
                said = {"end_reason": "error", "end_message": cut(str(value.error)), "failed": value.failed}
                self.trace = self.trace.model_copy(update=said)
            raise value.error
        steps = (*self.trace.steps, value)
        self.trace = self.trace.model_copy(update={"steps": steps, "end_reason": value.end_reason or "stopped"})

    def release(self) -> None:
        """Give the GPU back, once the step is done that is being run there."""
        self._steps.close()
