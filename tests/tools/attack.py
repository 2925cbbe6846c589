"""The page under attack: ``python -m tests.tools.attack`` starts the real app and does what strangers did to it.

Every case is one way in which a single visitor stopped the page for everybody else once. The attacker asks from
127.0.0.2 (and the addresses after it), while an honest visitor at 127.0.0.1 clicks: each click is timed and its answer
looked at. The exit status is 1 if a verdict fails. It is bounded in time, bytes and connections, talks to nothing but
loopback addresses, and needs Linux, whose 127.0.0.0/8 it uses. Seconds belong to the machine they were taken on: the
load average is said, and close other work first.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from specviz.app.page import build_page
from specviz.app.server.limits import read_limits
from specviz.app.server.session_registry import Sessions
from tests.tools import attack_connections, attack_requests, attack_shares, attack_work
from tests.tools.attack_attacker import Attacker, Case, loopback
from tests.tools.attack_server import Running, end, start
from tests.tools.attack_verdicts import Scales, Seen, Verdict, memory_mb, verdicts, wait_until
from tests.tools.attack_visitor import Honest

SECONDS = 10.0
STEP_PATIENCE = 30.0
"""How long the last step of the honest visitor may wait for its turn after an attack."""
ENDING_SECONDS = 30.0
"""How long an attack may take to end after its time."""
MINUTES = 12.0
TOLD_FULL = 'Fault: 507 {"detail":'
"""What a visitor meets who sends a file to a full disk."""
ITEMS = {
    1: "answers sized by what is asked for",
    2: "processor time per byte on the event loop",
    3: "pools without shares",
    4: "connections",
    5: "many tiny files",
    6: "work that was not counted",
    7: "turns",
    8: "text that turns text around",
    9: "a full disk, long addresses, the end",
    10: "who a client is",
}
CASES = sorted(
    [*attack_requests.CASES, *attack_shares.CASES, *attack_connections.CASES, *attack_work.CASES],
    key=lambda case: case.item,
)
_FORKING = multiprocessing.get_context("fork")


@dataclass
class Result:
    """A case, what was seen, and what must hold."""

    item: int
    name: str
    about: str
    seen: Seen
    verdicts: list[Verdict]

    @property
    def holds(self) -> bool:
        return all(verdict.holds for verdict in self.verdicts)

    def lines(self) -> Iterator[str]:
        """As a person reads it."""
        before, after = self.seen.load
        said = f"{self.item} {self.name}: {self.about} (load {before:.1f} to {after:.1f})"
        yield f"{'holds' if self.holds else 'FAILS'}  {said}"
        for verdict in self.verdicts:
            yield f"    {'holds' if verdict.holds else 'FAILS'}  {verdict.name}: {verdict.said}"
        for said, count in Counter(self.seen.answered).most_common(6):
            yield f"           {count:>6,} x {said}"


# ------------------------------------------------------------------------------------------------------- the attack


def run_case(case: Case, running: Running, honest: Honest | None, page: Any, seconds: float) -> tuple[Result, bool]:
    """Attack, with somebody honest beside it; and whether the server is as it was before."""
    seen = Seen(idle_mb=running.idle_mb, load=(os.getloadavg()[0], 0.0))
    away = [honest.step_away()] if honest and case.away else []
    ours, theirs = _FORKING.Pipe()
    attacker = _FORKING.Process(target=_attack, args=(case, running, page, case.longer * seconds, theirs))
    scales = Scales(running.pid, running.files, running.links, running.log)
    began = time.monotonic()
    attacker.start()
    theirs.close()
    scales.start()
    if honest:
        honest.start()
    attacker.join(case.longer * seconds + ENDING_SECONDS)
    if honest:  # an attack that is refused at once leaves too few clicks to judge by
        time.sleep(max(0.0, seconds - (time.monotonic() - began)))
    if attacker.is_alive():
        attacker.kill()
        seen.faults.append("the attack itself failed: it did not end")
    with contextlib.suppress(EOFError):
        if ours.poll():
            seen.answered, faults = ours.recv()
            seen.faults += faults
    came = honest.stop(seen, STEP_PATIENCE) if honest else True
    if case.server == "full disk":  # whoever sends a file there has to be told so
        seen.clicks = [click for click in seen.clicks if not (click.fault or "").startswith(TOLD_FULL)]
    if honest and case.away:
        seen.steps += [*away, honest.step_away()]
    if not came:
        seen.faults.append(f"the honest visitor's step had no turn within {STEP_PATIENCE:g} s after the attack")
    scales.stop(seen)
    seen.load = (seen.load[0], os.getloadavg()[0])
    result = Result(case.item, case.name, case.about, seen, list(verdicts(seen, honest is not None)))
    return result, result.holds and honest is not None and wait_until(lambda: running.queued() == 0, 10)


def _attack(case: Case, running: Running, page: Any, seconds: float, theirs: Any) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    attacker = Attacker(running.url, page, seconds, running.pid, running.files, running.log)

    def attack() -> None:
        try:
            case.attack(attacker)
        except BaseException as error:  # it must be known that it did not attack
            attacker.faults.append(f"the attack itself failed: {type(error).__name__}: {error}")

    thread = threading.Thread(target=attack, daemon=True)
    thread.start()
    thread.join(seconds + ENDING_SECONDS / 2)
    if thread.is_alive():  # that an attacker waits is nobody's harm
        attacker.note("an answer was still waited for at the end")
    theirs.send((dict(attacker.answered), list(attacker.faults)))
    os._exit(0)  # the page's own threads are not here


def idle(attacker: Attacker) -> None:
    """Nobody attacks."""
    attacker.wait(attacker.seconds)


def run(chosen: Sequence[Case], seconds: float, minutes: float, host: str, say: Any = print) -> list[Result]:
    """All cases, one after the other; after one that failed the server is another one."""
    page = build_page(Sessions(limits=read_limits({}, public=True)))
    results: list[Result] = []
    running: Running | None = None
    honest: Honest | None = None
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="specviz-attack-") as name:
        try:
            for number, case in enumerate(chosen):
                if time.monotonic() - began > 60 * minutes:
                    say(f"After {minutes:g} minutes {len(chosen) - number} cases were left out.")
                    results += [_not_run(left) for left in chosen[number:]]
                    break
                if running is not None and running.kind != case.server:
                    _leave(running, honest)
                    running = None
                if running is None:
                    running = start(case.server, Path(name) / str(number), host)
                    honest = Honest(running.url, page, running.folder)
                    honest.first_step()
                    running.idle_mb = memory_mb(psutil.Process(running.pid))
                result, well = run_case(case, running, honest if case.honest else None, page, seconds)
                results.append(result)
                say("\n".join(result.lines()), flush=True)
                if not well:
                    _leave(running, honest)
                    running = None
        finally:
            if running is not None:
                _leave(running, honest)
    return results


def _leave(running: Running, honest: Honest | None) -> None:
    if honest is not None:
        honest.leave()
    end(running)


def _not_run(case: Case) -> Result:
    seen = Seen(faults=["it was not run: the time was over"])
    return Result(case.item, case.name, case.about, seen, [Verdict("run", False, seen.faults[0])])


def table(results: Sequence[Result]) -> Iterator[str]:
    """One line a case, as a table in Markdown."""
    yield "| item | case | clicks | failed | median s | p95 s | memory MB | files MB | links MB | log MB | |"
    yield "|---|---|---|---|---|---|---|---|---|---|---|"
    for result in results:
        seen = result.seen
        seconds = sorted(click.seconds for click in seen.clicks) or [float("nan")]
        failed = sum(click.fault is not None for click in [*seen.clicks, *seen.steps])
        numbers = [
            f"{len(seen.clicks)} + {len(seen.steps)}",
            str(failed),
            f"{seconds[len(seconds) // 2]:.2f}",
            f"{seconds[min(len(seconds) - 1, int(0.95 * len(seconds)))]:.2f}",
            *(f"{number:,.0f}" for number in (seen.peak_mb, seen.files_mb, seen.links_mb)),
            f"{seen.log_mb:.2f}",
        ]
        wrong = ", ".join(verdict.name for verdict in result.verdicts if not verdict.holds)
        yield f"| {result.item} | {result.name} | {' | '.join(numbers)} | {wrong or 'holds'} |"


def as_json(results: Sequence[Result]) -> str:
    """All that was seen."""
    return json.dumps([asdict(result) | {"holds": result.holds} for result in results], indent=1) + "\n"


def parser() -> argparse.ArgumentParser:
    """The options of the command line."""
    names = ["idle", *(case.name for case in CASES)]
    assert __doc__ is not None
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument(
        "--only", action="append", metavar="NAME", help=f"this case, or cases; one of: {', '.join(names)}"
    )
    made.add_argument("--seconds", type=float, default=SECONDS, help="how long a case lasts; some take twice as long")
    made.add_argument("--minutes", type=float, default=MINUTES, help="after so many no further case begins")
    made.add_argument("--host", default="127.0.0.1", type=loopback, help="a loopback address, where the app is served")
    made.add_argument("--json", type=Path, metavar="FILE", help="write all that was seen there")
    return made


def choose(names: Sequence[str] | None) -> list[Case]:
    """The cases of these names, all for none; first of all somebody who is not attacked.

    Raises:
        SystemExit: for a name that no case has.
    """
    known = {case.name: case for case in [Case(0, "idle", "nobody attacks", idle), *CASES]}
    if unknown := [name for name in names or () if name not in known]:
        raise SystemExit(f"There is no case {unknown[0]!r}; there are {', '.join(known)}.")
    return [known[name] for name in names or known]


def main(arguments: Sequence[str] | None = None) -> int:
    given = parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the server that it has started ends with it
    results = run(choose(given.only), given.seconds, given.minutes, given.host)
    print("\n".join(table(results)))
    if given.json:
        given.json.write_text(as_json(results), encoding="utf-8")
    return 0 if all(result.holds for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
