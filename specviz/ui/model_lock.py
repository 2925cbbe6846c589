"""The lock that is held while a model works or is loaded: one accelerator, one at a time."""

from __future__ import annotations

import threading
import time

from specviz.errors import StoppingError


class ModelLock:
    """A lock that knows since when its work has not moved, and can be closed for good.

    Attributes:
        closed: whether the server stops; nobody gets the lock any more.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._moved: float | None = None
        self.closed = False

    def __enter__(self) -> None:
        """Wait for the turn.

        Raises:
            StoppingError: if the server stops.
        """
        self._lock.acquire()
        if self.closed:
            self._lock.release()
            raise StoppingError("The server is being restarted; go on in a minute: press Step or Run again.")
        self._moved = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self._moved = None
        self._lock.release()

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
