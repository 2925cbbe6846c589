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
"""Lowest niceness of the thread of the models, so that answering a page goes before a step."""
P = ParamSpec("P")
T = TypeVar("T")


class ModelLock:
    """A lock that says for how long the work under it has made no progress, and that can be closed for good.

    Attributes:
        closed: whether the server stops; nobody gets the lock any more.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._moved: float | None = None
        self._executor: ThreadPoolExecutor | None = None
        self.closed = False

    def do(self, work: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
        """Take the lock and do this in the one thread that works with models.

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
        """Take the lock.

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
        """Check that the lock can still be had.

        Raises:
            StoppingError: if the server stops.
        """
        if self.closed:
            raise StoppingError("The server is being restarted; go on in a minute: press Step or Run again.")

    def moved(self) -> None:
        """Note, while holding the lock, that the work makes progress.

        Raises:
            StoppingError: if the server stops, so that nobody waits for a download.
        """
        self._moved = time.monotonic()
        if self.closed:
            raise StoppingError("The server is being restarted; try again in a minute.")

    def must_end(self) -> bool:
        """Note, while holding the lock, that the work makes progress; whether it is to end because the server stops."""
        self._moved = time.monotonic()
        return self.closed

    @property
    def seconds_still(self) -> float | None:
        """For how many seconds the work under the lock has made no progress; None while there is none."""
        moved = self._moved
        return None if moved is None else time.monotonic() - moved

    def close(self, seconds: float) -> bool:
        """Close the lock for good and wait for the work under it; whether that ended within these seconds."""
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
