"""The page under load: ``python -m tests.tools.load`` starts the real app and drives it as many visitors at once would.

Sessions click Step and Run at a person's pace, each with prompts and seeds of their own; browsers open recorded runs
and walk through them. Afterwards every run that was saved is made again by the engine alone and compared. The exit
status is 1 if a verdict fails. Numbers belong to the machine they were taken on: close other work first.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx

from specviz.app.page import build_page
from specviz.app.run_handlers import open_recorded, recorded_traces
from specviz.app.server.limits import read_limits
from specviz.app.server.session_registry import Sessions
from specviz.models.pair_spec import ModelChoice
from specviz.trace.schema import Settings
from tests.paths import ROOT
from tests.tools.load_browsers import Looked, Reader, chromiums, wait
from tests.tools.load_visitors import Person, Seen, Tab, Wanted, check, in_turns, strangers

WARM_UP = 1 / 3
"""Part of the time that counts neither for memory nor for moves."""
MOST_GROWTH = 0.05
"""Memory is flat if the line through its samples rises by less than this part of their median."""
MOST_SLOWER = 3.0
"""Times that a move may take as long as on an idle server."""
SAMPLE_SECONDS = 2.0
IDLE_MOVES = 40
THREADS = 1
"""Of PyTorch, in the app and where its runs are made again: with another number sums differ in their last digits, and
once in a hundred steps another token is drafted."""
FORM = {"chat": True, "max_new_tokens": 40}


@dataclass(frozen=True)
class Load:
    """How much of it.

    Attributes:
        click_pause, move_pause: seconds between two clicks of a session and two moves of a browser, in the mean.
        checked: how many of the saved runs are made again, in turns of one from each session; None for all.
        models: what the sessions run; the default pair is run as a public page would.
    """

    sessions: int = 50
    minutes: float = 10.0
    browsers: int = 20
    click_pause: float = 30.0
    move_pause: float = 10.0
    idle_moves: int = IDLE_MOVES
    checked: int | None = None
    models: ModelChoice = field(default_factory=ModelChoice)

    @property
    def public(self) -> bool:
        return self.models == ModelChoice()


@dataclass(frozen=True)
class Verdict:
    """One thing that must hold, and what was seen of it."""

    name: str
    holds: bool
    said: str


@dataclass
class Report:
    """What came of it; :attr:`verdicts` decide."""

    load: Load
    verdicts: list[Verdict] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, dict[str, float]] = field(default_factory=dict)
    """Median, 95th percentile and most of the waits for a turn and of whole answers."""
    moves_ms: dict[str, dict[str, float]] = field(default_factory=dict)
    """The same of moves in a browser, idle and under load."""
    memory_mb: list[tuple[float, float]] = field(default_factory=list)
    """(seconds since the load began, resident memory of the server)."""
    counters: str = ""
    errors: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        return all(verdict.holds for verdict in self.verdicts)

    def lines(self) -> Iterator[str]:
        """As a person reads it."""
        for verdict in self.verdicts:
            yield f"{'holds' if verdict.holds else 'FAILS'}  {verdict.name}: {verdict.said}"
        yield ""
        yield from (f"{count:>8,}  {name}" for name, count in self.counts.items())
        for name, numbers in (self.seconds | self.moves_ms).items():
            yield f"{name}: " + ", ".join(f"{what} {number:,.4g}" for what, number in numbers.items())
        yield "\n" + self.counters
        yield from self.errors[:20]


# ----------------------------------------------------------------------------------------------------- the server


@contextmanager
def app(load: Load, folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The real ``app.py`` on a free port: its address and its process. It is ended with SIGTERM."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "app.py", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--public"] if load.public else ["--no-public"]
    environment = {**os.environ, "GRADIO_TEMP_DIR": str(folder / "gradio"), "GRADIO_ANALYTICS_ENABLED": "False"}
    environment["OMP_NUM_THREADS"] = f"{THREADS}"
    log = folder / "log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
        )
    # The browsers stand for other people's machines, whose processors the server does not use.
    with contextlib.suppress(OSError):
        Path(f"/proc/{process.pid}/autogroup").write_text("10")
    try:
        url = f"http://127.0.0.1:{port}"
        while not _answers(url):
            if process.poll() is not None:
                raise SystemExit(f"The app did not start:\n{log.read_text()}")
            time.sleep(0.2)
        yield url, process
    finally:
        process.terminate()
        process.wait(timeout=180)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", timeout=10, verify=False).status_code == 200
    except httpx.TransportError:
        return False


class Scales(threading.Thread):
    """Weighs the server's process until it is told to stop; where there is no ``/proc``, nothing is weighed."""

    def __init__(self, pid: int):
        super().__init__(daemon=True)
        self._status, self._began = Path(f"/proc/{pid}/status"), time.monotonic()
        self.samples: list[tuple[float, float]] = []
        self.over = threading.Event()

    def run(self) -> None:
        while self._status.exists() and not self.over.wait(SAMPLE_SECONDS):
            if found := re.search(r"VmRSS:\s+(\d+) kB", self._status.read_text()):
                self.samples.append((time.monotonic() - self._began, int(found[1]) / 1000))


# ------------------------------------------------------------------------------------------------------- the load


def run(load: Load, say: Any = print) -> Report:
    """Start the app, load it, and judge what was seen."""
    page = build_page(Sessions(limits=read_limits({}, public=load.public)))
    values = {**FORM, **asdict(load.models)}
    seen, people = Seen(), []
    with tempfile.TemporaryDirectory(prefix="specviz-load-") as name, app(load, Path(name)) as (url, process):
        people = [Person(i, url, page, values, load.click_pause, seen) for i in range(load.sessions)]
        say("Loading the models …")
        first = Tab(url, page)
        first.press("on_step", **values)
        first.leave()
        idle, looked, scales, began = asyncio.run(_drive(load, url, process, people, say))
        report = Report(load, memory_mb=scales.samples, errors=[*looked.errors, *seen.errors])
        report.counters = httpx.get(f"{url}/counters", timeout=60).text
    warm = began + WARM_UP * 60 * load.minutes
    report.counts = {
        "clicks answered": seen.counts["clicks"],
        "refused because the queue was full": seen.counts["busy"],
        "runs saved": len(seen.wanted),
        "moves in browsers": len(looked.moves),
        "runs opened in browsers": looked.pages,
    }
    report.seconds = {"s to one's turn": _spread(seen.waits), "s to the last answer": _spread(seen.answers)}
    loaded = [ms for at, ms in looked.moves if at >= warm]
    report.moves_ms = {"ms a move, idle": _spread(idle), "ms a move, loaded": _spread(loaded)}
    say("Making the saved runs again …")
    chosen = in_turns(seen.wanted)[: load.checked]
    wrong = [*strangers(people), *_wrong(page, chosen, load.models)]
    whose = len({one.visitor for one in chosen})
    said = (
        f"{len(chosen)} of {len(seen.wanted)} runs, of {whose} sessions, are what the engine makes of prompt and seed"
    )
    everybody = min(load.sessions, load.sessions if load.checked is None else load.checked)
    alone = whose == everybody and not wrong
    report.verdicts = [
        Verdict("no cross-talk", alone, said if alone else "; ".join(wrong) or f"only {whose} sessions have a run"),
        Verdict("no error but busy", not report.errors, f"{len(report.errors)} errors"),
        memory_verdict([one for one in scales.samples if one[0] >= warm - began]),
    ]
    if load.browsers:
        report.verdicts.append(moves_verdict(idle, loaded))
    return report


async def _drive(
    load: Load, url: str, process: subprocess.Popen[bytes], people: Sequence[Person], say: Any
) -> tuple[list[float], Looked, Scales, float]:
    """Milliseconds of moves while nothing else works, what readers met under load, the memory, and when it began."""
    recorded = [(name, open_recorded(name)) for name in recorded_traces()]
    idle, looked = Looked(), Looked()
    over = asyncio.Event()
    async with chromiums(load.browsers) as browsers:
        if browsers:
            say("Moves on an idle server …")
            alone = Reader(0, url, recorded, idle)
            enough = asyncio.create_task(_until(lambda: len(idle.moves) >= load.idle_moves or idle.errors, over))
            await alone.read(browsers[0], over, 0.5, load.idle_moves)
            await enough
            over.clear()
        say("Opening all browsers …")
        readers = [
            asyncio.create_task(
                Reader(i, url, recorded, looked).read(browsers[i % len(browsers)], over, load.move_pause, 60)
            )
            for i in range(load.browsers)
        ]
        while looked.pages < load.browsers and not looked.errors:
            await asyncio.sleep(0.2)
        say(f"{load.sessions} sessions and {load.browsers} browsers for {load.minutes:g} minutes …")
        scales, began = Scales(process.pid), time.monotonic()
        scales.start()
        for person in people:
            person.start()
        while time.monotonic() - began < 60 * load.minutes and process.poll() is None:
            await asyncio.sleep(0.2)
        scales.over.set()
        over.set()
        for person in people:
            person.over.set()
        await asyncio.gather(*readers)
        for person in people:
            await asyncio.to_thread(person.join, 300)
    looked.errors += idle.errors
    looked.errors += [f"{person.name} hangs" for person in people if person.is_alive()]
    if process.poll() is not None:
        looked.errors.append(f"the server ended with {process.returncode}")
    return [ms for _, ms in idle.moves], looked, scales, began


async def _until(true: Any, over: asyncio.Event) -> None:
    while not true():
        await wait(over, 0.1)
    over.set()


def _wrong(page: Any, chosen: Sequence[Wanted], models: ModelChoice) -> Iterator[str]:
    import torch

    from specviz.models.loading import load_pair

    torch.set_num_threads(THREADS)
    form = next(fn.fn for fn in page.fns.values() if getattr(fn.fn, "__name__", "") == "on_step").__self__.form
    pair = load_pair(**asdict(models))
    for wanted in chosen:
        values = {name: component.value for name, component in form.components.items()} | wanted.values
        settings: Settings = form.read(tuple(values.values()))[2]
        if wrong := check(wanted, settings, pair):
            yield wrong


# ---------------------------------------------------------------------------------------------------- the verdicts


def memory_verdict(samples: Sequence[tuple[float, float]]) -> Verdict:
    """Of (seconds, MB) after the warm-up: whether the line through them is flat."""
    if len(samples) < 3:
        return Verdict("memory flat", False, "it was not measured")
    times, sizes = zip(*samples, strict=True)
    slope = statistics.linear_regression(times, sizes).slope
    growth, median = slope * (times[-1] - times[0]), statistics.median(sizes)
    said = f"{growth:+.0f} MB on {median:,.0f} MB in {(times[-1] - times[0]) / 60:.1f} minutes after the warm-up"
    return Verdict("memory flat", growth <= MOST_GROWTH * median, f"{said}, {60 * slope:+.1f} MB a minute")


def moves_verdict(idle: Sequence[float], loaded: Sequence[float]) -> Verdict:
    """Of milliseconds a move: whether median and 95th percentile are at most :data:`MOST_SLOWER` times those idle."""
    name = f"moves at most {MOST_SLOWER:g} times their idle time"
    if len(idle) < 2 or len(loaded) < 2:
        return Verdict(name, False, "too few were measured")
    parts = {what: (_spread(loaded)[what], _spread(idle)[what]) for what in ("median", "p95")}
    said = ", ".join(f"{what} {here:.0f} ms for {there:.0f}" for what, (here, there) in parts.items())
    return Verdict(name, all(here <= MOST_SLOWER * there for here, there in parts.values()), said)


def _spread(numbers: Sequence[float]) -> dict[str, float]:
    if len(numbers) < 2:
        return {}
    p95 = statistics.quantiles(numbers, n=20, method="inclusive")[-1]
    return {"median": statistics.median(numbers), "p95": p95, "most": max(numbers)}


def parser() -> argparse.ArgumentParser:
    """What the command takes."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--sessions", type=int, default=Load.sessions)
    made.add_argument("--minutes", type=float, default=Load.minutes)
    made.add_argument("--browsers", type=int, default=Load.browsers)
    made.add_argument("--click-pause", type=float, default=Load.click_pause, help="seconds between two clicks of one")
    made.add_argument("--move-pause", type=float, default=Load.move_pause, help="seconds between two moves of one")
    made.add_argument("--checked", type=int, metavar="RUNS", help="make so many of the saved runs again; default: all")
    made.add_argument("--json", type=Path, metavar="FILE", help="write the report with all samples of memory there")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    given = vars(parser().parse_args(arguments))
    file = given.pop("json")
    report = run(Load(**given))
    print("\n".join(report.lines()))
    if file:
        file.write_text(json.dumps(asdict(report), indent=1) + "\n", encoding="utf-8")
    return 0 if report.holds else 1


if __name__ == "__main__":
    sys.exit(main())
