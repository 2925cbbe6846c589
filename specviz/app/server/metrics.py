"""What this process has done since it was started, as numbers a person can read.

No name comes from a visitor: there are as many counters as there are lines in this file and kinds of errors.
"""

from __future__ import annotations

import threading
import time
from collections import Counter

from specviz.errors import SpecvizError

NAMES = {
    "runs": "runs, forks included",
    "steps": "steps of runs",
    "tokens": "tokens committed by them",
    "comparisons": "small comparisons",
    "uploads": "files taken in",
    "busy": "requests refused because too many were waiting",
    "connections": "connections refused because there were too many",
    "slow": "requests that did not come, and answers that were not read, in time",
    "refused": "requests for addresses that are closed here, or too large",
}
PAGES = "pages open now"
RUNNING = "runs and comparisons under way now"
UNEXPECTED = "unexpected"
"""The kind of every error that is no :class:`~specviz.errors.SpecvizError`."""


def kind_of(error: BaseException) -> str:
    """The name of an error's class in specviz; a visitor's verifier cannot add one."""
    known = {SpecvizError, *SpecvizError.__subclasses__()}
    return next((one.__name__ for one in type(error).__mro__ if one in known), UNEXPECTED)


class Counters:
    """Numbers by name; any thread may add to them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self.began = time.monotonic()

    def add(self, name: str, count: int = 1) -> None:
        with self._lock:
            self._counts[name] += count

    def failed(self, error: BaseException) -> None:
        """Count an error that a visitor was told of."""
        self.add(f"errors, {kind_of(error)}")

    def __getitem__(self, name: str) -> int:
        with self._lock:
            return self._counts[name]

    @property
    def seconds(self) -> float:
        """Seconds since the process was started."""
        return time.monotonic() - self.began

    def text(self) -> str:
        """A line a counter, the numbers below each other."""
        with self._lock:
            counts = dict(self._counts)
        lines = [("seconds since the start", int(self.seconds))]
        lines += [(now, counts.get(now, 0)) for now in (PAGES, RUNNING)]
        lines += [(said, counts.get(name, 0)) for name, said in NAMES.items()]
        lines += sorted((name, count) for name, count in counts.items() if name.startswith("errors, "))
        width = max(len(f"{count:,}") for _, count in lines)
        return "".join(f"{count:>{width},}  {said}\n" for said, count in lines)


COUNTS = Counters()
"""The counters of this process."""
