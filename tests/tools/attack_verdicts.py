"""What was seen while somebody attacked a page, and whether the page held: shares of time, memory, disk and log."""

from __future__ import annotations

import contextlib
import math
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from specviz.app.server import limits
from tests.tools.load import Verdict

MOST_SECONDS = 1.0
"""95th percentile of an honest visitor's clicks, all together and of each kind."""
FEWEST_CLICKS = 20
"""Of fewer clicks of one kind the 95th percentile is the slowest of all: there the median counts."""
MEMORY_TIMES, MEMORY_MORE = 1.5, 500.0
"""Resident memory may reach so many times what it is when idle, and so many MB more."""
SAVED_MB = limits.SAVED_BYTES / 2 / 1e6
"""What one address may have saved: half of what all may."""
FILES_MB = limits.UNREAD_BYTES / 2 / 1e6 + SAVED_MB
"""What one address may leave in the folder of files that were sent or saved."""
LINKS_MB = limits.LINK_BYTES / 2 / 1e6
"""The same of the files behind links."""
LOG_MB = 1.0
"""What the log may grow by in one case; a case takes seconds."""
SAMPLE_SECONDS = 0.2


@dataclass(frozen=True)
class Click:
    """One of an honest visitor, and what was wrong with its answer, if anything was."""

    kind: str
    seconds: float
    fault: str | None = None


@dataclass
class Seen:
    """What was measured in one case.

    Attributes:
        clicks: of the honest visitor that need no model.
        steps: its clicks that wait in the queue of the models. ``busy`` counts those that were refused with a sentence.
        idle_mb, peak_mb: resident memory of the server and its processes, before anybody attacked and at most since.
        files_mb, files: what the attack added to the folder of files sent and saved, at most.
        links_mb: what it added to the files behind links.
        log_mb: what the log grew by.
        answered: what the attackers were told, with how often.
        faults: what the case itself found wrong, in sentences.
        load: the machine's load average over one minute when the case began and when it ended.
    """

    clicks: list[Click] = field(default_factory=list)
    steps: list[Click] = field(default_factory=list)
    busy: int = 0
    idle_mb: float = 0.0
    peak_mb: float = 0.0
    files_mb: float = 0.0
    files: int = 0
    links_mb: float = 0.0
    log_mb: float = 0.0
    answered: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    load: tuple[float, float] = (0.0, 0.0)

    def times(self) -> dict[str, tuple[float, float, int]]:
        """(median, 95th percentile, count) of the seconds of each kind of click."""
        kinds: dict[str, list[float]] = {}
        for click in self.clicks:
            kinds.setdefault(click.kind, []).append(click.seconds)
        return {kind: (statistics.median(found), percentile(found, 0.95), len(found)) for kind, found in kinds.items()}


def percentile(values: Sequence[float], part: float) -> float:
    """The smallest of the values that so large a part of them does not pass."""
    return sorted(values)[math.ceil(part * len(values)) - 1]


def verdicts(seen: Seen, honest: bool = True) -> Iterator[Verdict]:
    """What must hold in every case.

    Args:
        honest: whether somebody clicked beside the attack; a case about a server that stops has nobody.
    """
    if honest:
        yield _clicks(seen)
        yield _times(seen)
        failed = [click.fault for click in seen.steps if click.fault]
        said = f"{len(seen.steps)} answered, {seen.busy} told to wait" + "".join(f"; {one}" for one in failed[:2])
        yield Verdict("no step fails", not failed, said)
    most = MEMORY_TIMES * seen.idle_mb + MEMORY_MORE
    yield Verdict("memory", seen.peak_mb <= most, f"{seen.peak_mb:,.0f} of {most:,.0f} MB")
    held = seen.files_mb <= FILES_MB and seen.links_mb <= LINKS_MB
    said = f"files {seen.files_mb:,.0f} of {FILES_MB:,.0f} MB ({seen.files:,})"
    said += f", links {seen.links_mb:,.0f} of {LINKS_MB:,.0f} MB"
    yield Verdict("disk", held, said)
    yield Verdict("log", seen.log_mb <= LOG_MB, f"{seen.log_mb:,.2f} of {LOG_MB:,.0f} MB")
    yield Verdict("the attack itself", not seen.faults, "; ".join(seen.faults) or "stayed within its share")


def _clicks(seen: Seen) -> Verdict:
    failed = Counter(f"{click.kind}: {click.fault}" for click in seen.clicks if click.fault)
    said = f"{sum(failed.values())} of {len(seen.clicks)}" + "".join(f"; {one}" for one, _ in failed.most_common(2))
    return Verdict("no click fails", bool(seen.clicks) and not failed, said)


def _times(seen: Seen) -> Verdict:
    name = f"clicks under {MOST_SECONDS:g} s"
    times = seen.times()
    if not times:
        return Verdict(name, False, "nothing was answered")
    counted = {kind: p95 if count >= FEWEST_CLICKS else median for kind, (median, p95, count) in times.items()}
    worst = max(counted, key=lambda kind: counted[kind])
    every = [click.seconds for click in seen.clicks]
    said = f"median {statistics.median(every):.2f}, p95 {percentile(every, 0.95):.2f}"
    said += f"; slowest {worst} {counted[worst]:.2f}"
    return Verdict(name, max(counted[worst], percentile(every, 0.95)) < MOST_SECONDS, said)


class Scales(threading.Thread):
    """Weighs a server's processes and folders until it is told to stop.

    Args:
        files, links: folders whose growth is measured.
    """

    def __init__(self, pid: int, files: Path, links: Path, log: Path):
        super().__init__(daemon=True)
        self._process, self._folders, self._log = psutil.Process(pid), (files, links), log
        self._before = [size_of(folder) for folder in self._folders]
        self._log_before = log.stat().st_size
        self._peak = 0.0
        self._most = [(0.0, 0), (0.0, 0)]
        self.over = threading.Event()

    def run(self) -> None:
        turn = 0
        while not self.over.wait(SAMPLE_SECONDS):
            self._peak = max(self._peak, memory_mb(self._process))
            if turn % 5 == 0:
                self._weigh_folders()
            turn += 1

    def stop(self, seen: Seen) -> None:
        """Stop, and write what was found into ``seen``."""
        self.over.set()
        self.join()
        self._weigh_folders()
        seen.peak_mb = max(self._peak, memory_mb(self._process))
        (seen.files_mb, seen.files), (seen.links_mb, _) = self._most
        seen.log_mb = (self._log.stat().st_size - self._log_before) / 1e6

    def _weigh_folders(self) -> None:
        for i, (folder, (size, count)) in enumerate(zip(self._folders, self._before, strict=True)):
            now, files = size_of(folder)
            self._most[i] = max(self._most[i], (now - size, files - count))


def memory_mb(process: psutil.Process) -> float:
    """Resident memory of a process, and what its children do not share with it; 0 once it has ended."""
    total = 0.0
    with contextlib.suppress(psutil.Error):
        total = process.memory_info().rss / 1e6
        for child in process.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                total += child.memory_full_info().uss / 1e6
    return total


def size_of(folder: Path) -> tuple[float, int]:
    """(MB on the disk, number of files) below a folder; links to folders are not followed."""
    size, count = 0, 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            found = path.lstat()
            if not path.is_dir():
                size, count = size + 512 * found.st_blocks, count + 1
    return size / 1e6, count


def wait_until(true: Callable[[], bool], seconds: float) -> bool:
    """Whether something became true in time; it is called again and again."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if true():
            return True
        time.sleep(0.1)
    return False
