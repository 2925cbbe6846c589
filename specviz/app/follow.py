"""Following a recording while it is written, and stepping the engine that writes it.

One thread looks at the file for all pages of the server; a page asks what is new. The engine's gate, see
:mod:`specviz.recorder.gate`, is held as long as a page is open that follows.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import replace
from pathlib import Path

from specviz.app.page_state import PageState, Run, models_of
from specviz.app.server.limits import RUNS_KEPT
from specviz.app.server.trace_store import StoredTrace
from specviz.app.stepping import State, Stepper
from specviz.errors import SettingsError, TraceError
from specviz.figures.block_types import Following
from specviz.figures.text import one_line
from specviz.recorder.gate import find_gate
from specviz.trace.breakpoints import Breakpoints, Hit
from specviz.trace.growing import GrowingRecording
from specviz.trace.schema import Trace

log = logging.getLogger(__name__)
LOOK_SECONDS = 0.1
"""Between two looks at the file."""
SEEK_SECONDS = 0.01
"""The same while an engine runs to a breakpoint, and waits for each of its steps to be looked at."""
UNSEEN_SECONDS = 90.0
"""A page that has not asked for so long is gone, though its connection may not have ended. A browser lets the timers of
a tab out of sight run once a minute."""
HEADS = {"": "Following {}", "running": "Running {}", "stopped": "Stopping {}", "ended": "The loop has ended"}


class Follower:
    """A recording that the pages of a server follow.

    Args:
        path: it need not be there yet.

    Attributes:
        version: a larger number whenever there is anything new to say.
        runs: of the requests of the recording, in the order in which they began.
    """

    def __init__(self, path: Path):
        self._name = one_line(path.name, 32)
        self._recording = GrowingRecording(path)
        self._looking = threading.Lock()
        """Of whoever looks at the file; no page waits while its lines are read."""
        self._lock = threading.RLock()
        """Of all that pages ask for."""
        self._pages: dict[str, float] = {}
        self.version = 1
        self._begin()
        self.look()

    def _begin(self) -> None:
        self._id: str | None = None
        self._steps = 0
        self._requests: dict[str | None, Run] = {}
        self._stepper: Stepper | None = None
        self._said = ""
        self._problem: str | None = None
        self._hits: tuple[int, str, list[Hit]] | None = None

    @property
    def runs(self) -> list[Run]:
        with self._lock:
            return [*self._requests.values()]

    def start(self) -> None:
        """Look again and again, until the process ends."""
        threading.Thread(target=self._work, name="follow", daemon=True).start()

    def _work(self) -> None:
        while True:
            try:
                seeks = self.look()
            except Exception:
                log.exception("following a recording failed")
                seeks = False
            time.sleep(SEEK_SECONDS if seeks else LOOK_SECONDS)

    # ------------------------------------------------------------------------------------------------ of the file

    def look(self) -> bool:
        """Read what is new, and have the engine wait or go on. Whether it runs to a breakpoint."""
        with self._looking:
            changed = self._recording.read()
            id = self._recording.header.id if self._recording.header else None
            if self._id != id:
                self._renew(id)
            new = self._take()
            with self._lock:
                self._steps = self._recording.steps
                self._problem = self._recording.problem or self._problem
                self._hold()
                if self._stepper is not None and (found := self._stepper.judge(self._steps, new)):
                    self._hits = (self.version + 1, *found)
                said = self._state()
                if changed or said != self._said:
                    self._said = said
                    self.version += 1
                return self._stepper is not None and self._stepper.seeks

    def _renew(self, id: str | None) -> None:
        """Another recording stands in the place of the one before; its runs stay as they were."""
        gate = find_gate(self._recording.path, id) if id else None
        with self._lock:
            if self._stepper is not None:
                self._stepper.close()
            self._begin()
            self._id, self._stepper = id, Stepper(gate) if gate else None

    def _take(self) -> list[tuple[Trace, range]]:
        """Bring the runs up to date; what steps are new."""
        new: list[tuple[Trace, range]] = []
        names = self._recording.requests[:RUNS_KEPT]
        for name in [name for name in names if name in self._recording.fresh]:
            try:
                trace = self._recording.trace(name)
            except TraceError as error:
                self._problem = str(error)
                continue
            run = self._requests.get(name)
            new.append((trace, range(run.stored.steps if run else 0, len(trace.steps))))
            if run is not None:
                run.stored.grow(trace)
                continue
            first = next(iter(self._requests.values()), None)
            recording = first.id if first else trace.id
            run = Run(StoredTrace.shared(trace), self._name, models_of(trace), recording=recording)
            with self._lock:
                self._requests[name] = run
        self._recording.fresh.clear()
        return new

    # ------------------------------------------------------------------------------------------------ of the pages

    def seen(self, page: str) -> None:
        """A page asks: it is open."""
        with self._lock:
            self._pages[page] = time.monotonic()

    def left(self, page: str) -> None:
        """A page was closed. With the last one the engine is let go."""
        with self._lock:
            self._pages.pop(page, None)
            self._hold()

    def _hold(self) -> None:
        gone = time.monotonic() - UNSEEN_SECONDS
        self._pages = {page: at for page, at in self._pages.items() if at > gone}
        if self._stepper is None or not self._stepper.look():
            return
        if self._pages:
            self._stepper.hold(self._steps)
        else:
            self._stepper.let_go()

    def _state(self) -> State:
        return self._stepper.state(self._steps) if self._stepper else ""

    def status(self, asked: str | None = None) -> Following:
        """What the command bar says.

        Args:
            asked: the run in sight of the page that asks.
        """
        with self._lock:
            count, state = self._steps, self._state()
            rest = f"{count:,} step{'' if count == 1 else 's'}"
            head = f"Waiting after step {count:,}" if state == "waiting" else HEADS[state].format(self._name)
            if state == "waiting":
                rest = self._name
            elif self._id is None:
                rest = "waiting for its first line"
            if self._problem:
                head, rest = f"{self._name} is not followed any further", self._problem
            runs = [run.id for run in self._requests.values()]
            return {"version": self.version, "asked": asked, "runs": runs, "head": head, "rest": rest, "gate": state}

    def hits_since(self, version: int, run: str | None) -> list[Hit]:
        """What the engine waits for in this run, if that is newer than what was said at ``version``."""
        with self._lock:
            found = self._hits
            return found[2] if found and found[0] > version and found[1] == run else []

    def order(self, act: object, until: Breakpoints) -> None:
        """``step``, ``run`` or ``stop``.

        Raises:
            SettingsError: for anything else, and where no engine waits for this server.
        """
        with self._lock:
            steps = self._steps
            if self._stepper is None or self._stepper.state(steps) not in ("waiting", "running"):
                raise SettingsError("No loop waits for this page; record it with gate=True, and run it again.")
            self._hits = None
            if act == "stop":
                self._stepper.stop()
            elif act == "run":
                self._stepper.run(steps, until)
            elif act == "step":
                self._stepper.step(steps)
            else:
                raise SettingsError("A loop that waits takes step, run or stop; choose one of these.")
            self._said = self._state()
            self.version += 1

    def shown_in(self, there: PageState, first: bool) -> PageState:
        """The state of a page with all runs of the recording.

        Args:
            first: whether the first of them comes into sight.
        """
        runs, known = self.runs, there
        for run in runs:
            if there.find(run.id) is None:
                there = there.show(run)
        if first and runs:
            return there.show(runs[0])
        return replace(there, shown=known.shown, anew=known.anew)
