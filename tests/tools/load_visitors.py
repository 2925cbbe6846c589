"""Visitors of the load test: open tabs that click at a person's pace, each checked against its own prompt and seed."""

from __future__ import annotations

import json
import random
import re
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from specviz.engine.session import Session
from specviz.trace.io import load_trace
from specviz.trace.schema import Settings, Trace
from tests.server import Visitor

QUESTIONS = (
    "why is the sea salty?",
    "how does a bicycle stay upright?",
    "what is a prime number?",
    "who wrote the first novel?",
    "how do I bake bread?",
    "why do cats purr?",
    "what is the capital of France?",
    "tell a story about a snail.",
)
RUN_STEPS = 4
"""Steps of a click on Run."""
_RUN_ID = re.compile(r'\\"run\\":\{\\"id\\":\\"([0-9a-f]+)\\"')


@dataclass
class Wanted:
    """What a visitor asked for, and the file that came of it."""

    visitor: int
    values: dict[str, Any]
    file: bytes


class Ears(list[str]):
    """Takes the place of what a visitor has heard, which would be gigabytes: the runs in it, and when a turn came."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: set[str] = set()
        self.turn = 0.0

    def append(self, line: str) -> None:
        self.runs |= set(_RUN_ID.findall(line))
        if '"process_starts"' in line:
            self.turn = time.monotonic()


class Busy(Exception):
    """The queue is full."""


class Tab(Visitor):
    """A visitor who is told apart from failures that the page is busy."""

    def __init__(self, url: str, page: Any, address: str | None = None):
        super().__init__(url, page, address)
        self.heard: Ears = Ears()

    def begin(self, handler: str, event: Any = None, query: dict[str, str] | None = None, **values: Any) -> str:
        number, fn = self._function(handler)
        answer = self._web.post("/gradio_api/queue/join", json=self._asked(number, fn, event, values), params=query)
        if answer.status_code == 503:
            raise Busy
        assert answer.status_code == 200, answer.text
        event_id: str = answer.json()["event_id"]
        return event_id

    def file(self, path: str) -> bytes:
        answer = self._web.get(f"/gradio_api/file={path}")
        assert answer.status_code == 200, answer.text
        return answer.content


@dataclass
class Seen:
    """What all visitors together met; the lists only grow, and appending is atomic."""

    counts: Counter[str] = field(default_factory=Counter)
    waits: list[float] = field(default_factory=list)
    """Seconds from a click to its turn."""
    answers: list[float] = field(default_factory=list)
    """Seconds from a click to its last answer."""
    errors: list[str] = field(default_factory=list)
    wanted: list[Wanted] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, name: str, number: int = 1) -> None:
        with self._lock:
            self.counts[name] += number


class Person(threading.Thread):
    """One visitor: Step mostly, Run sometimes, a new run with another seed when one has ended.

    Args:
        values: of the form, beside prompt and seed.
        pause: seconds between two clicks, in the mean.
    """

    def __init__(self, number: int, url: str, page: Any, values: dict[str, Any], pause: float, seen: Seen):
        super().__init__(name=f"visitor {number}", daemon=True)
        self.number, self.seen, self.over = number, seen, threading.Event()
        self._open: Callable[[], Tab] = lambda: Tab(url, page)
        self._values, self._pause, self._luck = values, pause, random.Random(number)
        self._runs = 0
        self._shown: str | None = None
        self.own: set[str] = set()
        self.heard: set[str] = set()

    def run(self) -> None:
        try:
            tab = self._open()
            try:
                self.over.wait(self._pause * self._luck.random())
                while not self.over.is_set():
                    self._click(tab)
                    self.over.wait(self._pause * self._luck.uniform(0.5, 1.5))
                self._save(tab)
            finally:
                self.heard = tab.heard.runs
                tab.leave()
        except Exception as error:  # reported, and the others go on
            self.seen.errors.append(f"visitor {self.number}: {type(error).__name__}: {str(error)[:300]}")

    @property
    def asked(self) -> dict[str, Any]:
        """Prompt, seed and the rest of the form for the run in sight."""
        question = QUESTIONS[self.number % len(QUESTIONS)]
        seed = 1000 * self.number + self._runs
        return {"prompt": f"Visitor {self.number} asks: {question}", "seed": seed, **self._values}

    def _click(self, tab: Tab) -> None:
        more = self._luck.random() < 0.2
        began = time.monotonic()
        try:
            how = {"handler": "on_run", "steps_a_run": RUN_STEPS} if more else {"handler": "on_step"}
            answer = tab.press(**how, **self.asked)
        except Busy:
            self.seen.count("busy")
            return
        self.seen.count("clicks")
        self.seen.waits.append(tab.heard.turn - began)
        self.seen.answers.append(time.monotonic() - began)
        block = json.loads(answer[0])
        said = block.get("notice") or {}
        if said.get("kind") == "error":
            self.seen.errors.append(f"visitor {self.number} was told: {said['text']}")
        if "run" not in block:
            self.seen.count("answers without a step")
            return
        self._shown = block["run"]["id"]
        self.own.add(self._shown)
        tab.press("on_list_runs")  # as the page does after a step
        if block["run"]["endReason"] not in (None, "stopped"):
            self._save(tab)
            tab.press("on_new")
            self._runs += 1

    def _save(self, tab: Tab) -> None:
        """Save the run in sight, as a person would; only what was run is asked for."""
        if self._shown is None:
            return
        self._shown = None
        self.seen.wanted.append(Wanted(self.number, self.asked, tab.file(tab.saved())))


def in_turns(wanted: list[Wanted]) -> list[Wanted]:
    """The last run of every session, then the one before of every session, and so on."""
    place: Counter[int] = Counter()
    turns = []
    for one in reversed(wanted):
        turns.append((place[one.visitor], one.visitor, one))
        place[one.visitor] += 1
    return [one for *_, one in sorted(turns, key=lambda turn: turn[:2])]


def check(wanted: Wanted, settings: Settings, pair: Any) -> str | None:
    """What is wrong with a trace, in one sentence, or None: it must be what the engine makes of its prompt and seed.

    Args:
        settings: those that the form says for ``wanted.values``.
    """
    trace = read(wanted.file)
    who = f"visitor {wanted.visitor}, seed {settings.seed}"
    if (trace.prompt, trace.settings) != (wanted.values["prompt"], settings):
        return f"{who}: the trace has the prompt {trace.prompt!r} and the seed {trace.settings.seed}"
    session = Session(pair, settings, wanted.values["prompt"])
    try:
        for step in trace.steps:
            if step.prefilled:  # caches that had been given back: the same text in one forward, not the same last bits
                session.release()
            session.step()
            if step.prefilled != session.steps[-1].prefilled:
                return f"{who}: step {step.index + 1} was fed {step.prefilled} tokens of its context"
            if step_essence(step) != step_essence(session.steps[-1]):
                return f"{who}: step {step.index + 1} is another one than the engine makes by itself"
        if not trace.steps or trace.end_reason not in (session.end_reason, "stopped"):
            return f"{who}: {len(trace.steps)} steps, ended {trace.end_reason}, and not {session.end_reason}"
    finally:
        session.release()
    return None


def step_essence(step: Any) -> Any:
    """What two machines must agree on: tokens, the tree, and every verifier's outcomes; no probability to the bit."""
    verdicts = {
        name: ([(one.node, one.outcome) for one in verdict.decisions], verdict.path, verdict.bonus.token)
        for name, verdict in step.verdicts.items()
    }
    return step.committed, [(node.parent, node.token) for node in step.tree.nodes], verdicts


def read(file: bytes) -> Trace:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "run.json.gz")
        path.write_bytes(file)
        return load_trace(path)


def strangers(people: list[Person]) -> Iterator[str]:
    """Runs that somebody heard of and had not asked for, in sentences; the opening run is nobody's."""
    for person in people:
        others = {run: other.number for other in people if other is not person for run in other.own}
        for run in sorted(person.heard & others.keys()):
            yield f"visitor {person.number} heard of a run of visitor {others[run]}"
