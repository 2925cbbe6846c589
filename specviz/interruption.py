"""Ending a step in the middle of long work on the host, such as the judging of many nodes of a large vocabulary.

Whoever runs a step says when it must end, and work that can be long asks between two of its parts. A step that has
worked for less than a few seconds there is not ended, because it is nearly done and would have to be run again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

PATIENCE = 5.0
"""Seconds of such work, from its first part on, after which a step can be ended."""


class StepEndedError(BaseException):
    """A step was ended. No Exception: it is nobody's fault, least of all that of the verifier at work."""


_ask: ContextVar[Callable[[], bool] | None] = ContextVar("ask", default=None)


@contextmanager
def endable(must_end: Callable[[], bool] | None) -> Iterator[None]:
    """Let a step that is run inside be ended once ``must_end`` says so; None for what holds outside."""
    if must_end is None:
        yield
        return
    began: float | None = None

    def ask() -> bool:
        nonlocal began
        now = time.monotonic()
        began = now if began is None else began
        return now - began > PATIENCE and must_end()

    token = _ask.set(ask)
    try:
        yield
    finally:
        _ask.reset(token)


def end_if_asked() -> None:
    """Between two parts of long work.

    Raises:
        StepEndedError: if the step must end.
    """
    ask = _ask.get()
    if ask is not None and ask():
        raise StepEndedError
