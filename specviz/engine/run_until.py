"""Run steps until something ends it: the one loop behind ``record``, the page's Step and Run, and a run made again."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from specviz.interruption import StepEndedError
from specviz.trace.breakpoints import Breakpoints, Hit, last_hits
from specviz.trace.schema import EndReason, Trace

StopReason = Literal["run ended", "breakpoint", "steps", "stop", "seconds", "step ended", "session gone"]
"""Why no further step was run."""


class Running(Protocol):
    """What the loop needs of a session."""

    @property
    def end_reason(self) -> EndReason | None:
        """None while steps can follow."""
        ...

    must_end: Callable[[], bool] | None
    """Asked in the middle of a long step, see :class:`specviz.engine.session.Session`."""

    @property
    def trace(self) -> Trace:
        """The run so far; it is asked for where there are breakpoints."""
        ...

    def step(self) -> Any:
        """Run a step."""
        ...


@dataclass(frozen=True)
class StepDone:
    """A step that was run just now.

    Attributes:
        count: how many steps this call has run with it.
        hits: the breakpoints it met.
        is_last: whether the run has ended with it, it met a breakpoint, or as many steps are run as were asked for.
    """

    count: int
    hits: Sequence[Hit]
    is_last: bool


def run_until(
    session: Running,
    *,
    steps: int | None = None,
    breakpoints: Breakpoints | None = None,
    seconds: float | None = None,
    must_stop: Callable[[], bool] | None = None,
    step: Callable[[], bool] | None = None,
) -> Generator[StepDone, None, StopReason]:
    """Run steps, yielding after each, and return why it went no further.

    Args:
        steps: how many at most; None for no limit.
        breakpoints: the first step that meets one is the last.
        seconds: once they are over no step begins, except for the first, and a long one ends; None for no limit.
        must_stop: asked before every step, and in a long one.
        step: runs a step of the session in place of ``session.step``; False if the session is no longer there.

    Raises:
        SpecvizError: of a step.
    """
    began, count = time.monotonic(), 0

    def is_over() -> bool:
        return seconds is not None and time.monotonic() - began > seconds

    if seconds is not None or must_stop is not None:
        session.must_end = lambda: is_over() or (must_stop is not None and must_stop())
    try:
        while session.end_reason is None:
            if steps is not None and count >= steps:
                return "steps"
            if must_stop is not None and must_stop():
                return "stop"
            if count > 0 and is_over():
                return "seconds"
            try:
                if step is None:
                    session.step()
                elif not step():
                    return "session gone"
            except StepEndedError:
                return "step ended"
            count += 1
            hits = last_hits(session.trace, breakpoints) if breakpoints else []
            yield StepDone(count, hits, session.end_reason is not None or bool(hits) or count == steps)
            if hits:
                return "breakpoint"
        return "run ended"
    finally:
        session.must_end = None
