"""The lock that is held while a model works or is loaded, and the thread that works: one accelerator, one at a time."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from specviz.errors import StoppingError

NICE = 10
"""How far model work stands back at least where the processor is short: a page that is looked at does not wait."""
P = ParamSpec("P")
T = TypeVar("T")


class ModelLock:
    """A lock that knows since when its work has not moved, and can be closed for good.

    Attributes:
        closed: whether the server stops; nobody gets the lock any more.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._moved: float | None = None
        self._executor: ThreadPoolExecutor | None = None
        self.closed = False

    def do(self, work: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
        """Wait for the turn and have the one thread that works with models do this.

        Gradio has each click handled in another thread, and a thread that computes brings a pool of helpers of
        PyTorch's and a heap of its own.

        Raises:
            StoppingError: if the server stops; and whatever ``work`` raises.
        """
        with self:
            if self._executor is None:
                executor = ThreadPoolExecutor(1, thread_name_prefix="models", initializer=_stand_back)
                executor.submit(int)  # starts the thread, or fails before there is work that could be left in the queue
                self._executor = executor
            result = self._executor.submit(work, *given, **named)
            try:
                return result.result()
            finally:
                del result  # an error and its frames would keep each other, and with them the models

    def __enter__(self) -> None:
        """Wait for the turn.

        Raises:
            StoppingError: if the server stops.
        """
        self._lock.acquire()
        try:
            self.check_open()
        except StoppingError:
            self._lock.release()
            raise
        self._moved = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._moved = None
        self._lock.release()

    def check_open(self) -> None:
        """Say whether there is any use in waiting for the turn.

        Raises:
            StoppingError: if the server stops.
        """
        if self.closed:
            raise StoppingError("The server is being restarted; go on in a minute: press Step or Run again.")

    def moved(self) -> None:
        """Say, while holding it, that the work goes on.

        Raises:
            StoppingError: if the server stops, so that nobody waits for a download.
        """
        self._moved = time.monotonic()
        if self.closed:
            raise StoppingError("The server is being restarted; try again in a minute.")

    def must_end(self) -> bool:
        """Note, while holding it, that the work goes on; whether it is to end because the server stops."""
        self._moved = time.monotonic()
        return self.closed

    @property
    def seconds_still(self) -> float | None:
        """For how long the work under it has not moved; None while nobody works."""
        moved = self._moved
        return None if moved is None else time.monotonic() - moved

    def close(self, seconds: float) -> bool:
        """Let nobody in any more and wait for the work that is under way; say whether it ended in time."""
        self.closed = True
        ended = self._lock.acquire(timeout=seconds)
        if ended:
            self._lock.release()
        return ended


def _stand_back() -> None:
    """Give the thread that works with models a lower priority than those that answer."""
    if sys.platform == "linux":  # elsewhere that would be the whole process
        with contextlib.suppress(OSError):
            own = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, own, max(NICE, os.getpriority(os.PRIO_PROCESS, own)))
