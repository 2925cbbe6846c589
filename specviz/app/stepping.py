"""Stepping an engine that waits at a gate: what a page's Step, Run and Stop order, and where its breakpoints hit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from specviz.recorder.gate import ALL, PageGate
from specviz.trace.breakpoints import Breakpoints, Hit, hits
from specviz.trace.schema import Trace

State = Literal["", "waiting", "running", "stopped", "ended"]


class Stepper:
    """An engine that a page steps. All numbers of steps are those of the recording, over all its requests."""

    def __init__(self, gate: PageGate):
        self._gate = gate
        self._past = 0
        self._until = Breakpoints()
        self._stopped = self._ended = False

    def look(self) -> bool:
        """Whether the engine still lives."""
        self._ended = self._ended or not self._gate.engine_lives()
        return not self._ended

    def state(self, steps: int) -> State:
        """What the engine does, with so many steps recorded."""
        if self._ended:
            return "ended"
        if not self._gate.is_held:
            return ""  # nobody holds it, or another server
        if self._stopped:
            return "stopped"
        return "waiting" if steps > self._past else "running"

    @property
    def seeks(self) -> bool:
        """Whether it runs to a breakpoint, so that it waits for each step to be looked at."""
        return bool(self._until)

    def hold(self, steps: int) -> None:
        """Have the engine wait: after the last step, if it does already, or else after the one under way."""
        if not self._gate.is_held and not self._ended and self._gate.hold():
            self._until = Breakpoints()
            self._let(max(0, steps - 1))

    def let_go(self) -> None:
        """The engine runs on, as nobody is there to step it."""
        self._gate.let_go()

    def step(self, steps: int) -> None:
        """Wait again after the next step; of an engine that runs, after the one under way."""
        self._until = Breakpoints()
        self._let(steps)

    def run(self, steps: int, until: Breakpoints) -> None:
        """Wait after no step, or after the next one that hits a breakpoint."""
        self._until = until
        self._let(steps if until else ALL)

    def stop(self) -> None:
        self._stopped = True
        self._gate.order(stop=True)

    def judge(self, steps: int, new: Iterable[tuple[Trace, range]]) -> tuple[str, list[Hit]] | None:
        """Let an engine that runs to a breakpoint go on, unless one is hit.

        Args:
            new: runs, and the positions of their steps that are new.

        Returns:
            The id of the run, and what the first new step hits that hits any; the engine then waits.
        """
        if not self.seeks or steps <= self._past:
            return None
        for trace, positions in new:
            for position in positions:
                if found := hits(trace, position, self._until):
                    self._until = Breakpoints()
                    return trace.id, found
        self._let(steps)
        return None

    def close(self) -> None:
        self._gate.close()

    def _let(self, past: int) -> None:
        self._past = past
        self._gate.order(past=past)
