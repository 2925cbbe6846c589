"""``python -m tests.tools.mutations``: mutated traces, recordings and settings, wherever a stranger can reach in.

Each case must be accepted, and then survive being shown, or be refused with one sentence. Anything else is a *finding*:
another exception, more time or memory than allowed, a file written outside the folders of the run, a file read that
no one asked for, a process started, a socket used. Cases come from (seed, kind, number) alone, so that ``--only 417``
runs one of them again.

The cases run in a child process with a limit on its address space, under an audit hook; see
``tests/tools/mutated_cases.py`` for what is mutated and ``docs/limits.md`` for the limits that hold.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.paths import ROOT

SECONDS, SECONDS_A_MEGABYTE = 20.0, 1.0
"""CPU time that one case may take: shown in full, a large file takes longer."""
MEGABYTES = 25 * 64
"""Memory by which one case may grow the process: 25 times what a visitor may send, unpacked."""
ADDRESS_SPACE = 8 << 30
"""Of the child, with torch and gradio in it."""
WALL_SECONDS = 180.0
"""After which a case counts as hanging and its process is killed."""


@dataclass(frozen=True)
class Result:
    """What became of one case.

    Attributes:
        what: the mutation, in a few words.
        outcome: ``accepted``, ``refused`` or ``finding``.
        said: the sentence of the refusal, or what is wrong.
        seconds: of CPU.
        megabytes: by which memory grew at its highest.
    """

    kind: str
    number: int
    what: str
    outcome: str
    said: str
    seconds: float
    megabytes: float


# ------------------------------------------------------------------------------------------------------ the child


class Watch:
    """An audit hook: what a case must not do, while it is on."""

    WRITES = frozenset(
        [
            "os.mkdir",
            "os.rename",
            "os.remove",
            "os.rmdir",
            "os.link",
            "os.symlink",
            "os.chmod",
            "os.chown",
            "os.truncate",
        ]
    )
    NEVER = (
        "socket.",
        "subprocess.",
        "os.exec",
        "os.fork",
        "os.posix_spawn",
        "os.system",
        "os.spawn",
        "ftplib.",
        "urllib.",
    )

    def __init__(self, may_write: list[Path], may_read: list[Path]):
        self.may_write = [os.path.realpath(path) for path in may_write]
        self.may_read = [*(os.path.realpath(path) for path in may_read), *self.may_write]
        self.on = False
        self.caught: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event == "open":
            path, mode, flags = arguments
            if isinstance(path, int):
                return
            writes = bool(mode and set(mode) & set("wax+")) or bool(
                (flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            )
            self._see("writes" if writes else "reads", path, self.may_write if writes else self.may_read)
        elif event in self.WRITES:
            self._see(event, arguments[0], self.may_write)
        elif event.startswith(self.NEVER):
            self.caught.append(f"{event} {arguments!r:.200}")

    def _see(self, does: str, path: Any, allowed: list[str]) -> None:
        self.on = False  # what follows asks the file system itself
        try:
            place = os.path.realpath(os.fsdecode(path)) if not isinstance(path, int) else ""
            if place not in ("", "/dev/null") and not any(
                place == root or place.startswith(root.rstrip("/") + "/") for root in allowed
            ):
                self.caught.append(f"{does} {place!r:.200}")
        except ValueError:
            pass
        finally:
            self.on = True


def peak_megabytes() -> float:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmHWM"))


def forget_peak() -> None:
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def child(cases: list[tuple[str, int]], seed: int, home: Path) -> None:
    """Run cases, one line of JSON each; ``begun`` before it, so that the parent knows who hangs or kills."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever the code under test prints is no result
    from tests.tools import mutated_cases

    runners = {}
    for kind in dict(cases):
        (home / kind).mkdir(exist_ok=True)
        runners[kind] = mutated_cases.Runner(kind, seed, home / kind)
    watch = Watch(
        [home], [ROOT, Path(sys.prefix), Path(sys.base_prefix), Path(os.__file__).parent, Path("/proc"), Path("/sys"),
                 Path("/usr/share"), Path("/etc/mime.types")]
    )  # fmt: skip
    for kind, number in cases:
        case = runners[kind].make(number)
        out.write(json.dumps({"begun": [kind, number], "what": case.what}) + "\n")
        forget_peak()
        before, since = peak_megabytes(), time.process_time()
        watch.caught, watch.on = [], True
        try:
            outcome, said = runners[kind].run(case)
        finally:
            watch.on = False
        seconds, grown = time.process_time() - since, peak_megabytes() - before
        problems = list(dict.fromkeys(watch.caught))
        size = len(case.given) / 1e6 if isinstance(case.given, bytes) else 0.0
        if seconds > SECONDS + SECONDS_A_MEGABYTE * size:
            problems.append(f"took {seconds:.1f} s")
        if grown > MEGABYTES:
            problems.append(f"took {grown:.0f} MB")
        if problems:
            outcome, said = "finding", "; ".join([*problems, said])[:1000]
        result = Result(kind, number, case.what, outcome, said, round(seconds, 3), round(grown, 1))
        out.write(json.dumps(asdict(result)) + "\n")


# ----------------------------------------------------------------------------------------------------- the parent


def run(cases: Iterable[tuple[str, int]], seed: int = 0) -> Iterator[Result]:
    """The results of these cases, each a kind and a number, in one process.

    A case that kills or hangs its process is a finding, and the next ones go on in another.
    """
    left = list(cases)
    with tempfile.TemporaryDirectory(prefix="specviz-mutations-") as home:
        while left:
            yield from _some(left, seed, Path(home))


def _some(left: list[tuple[str, int]], seed: int, home: Path) -> Iterator[Result]:
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "GRADIO_ANALYTICS_ENABLED": "False",
        "OMP_NUM_THREADS": "1",
        "SPECVIZ_CACHE": str(home / "cache"),
        "TMPDIR": str(home),
        "HOME": str(home),
        "HF_HOME": str(home / "hub"),
        "GRADIO_TEMP_DIR": str(home / "gradio"),
    }
    command = [sys.executable, "-m", "tests.tools.mutations", "--child", str(seed), str(home)]
    # A file, not a pipe: what the code under test prints must not block it.
    with (home / "said").open("w+b") as errors:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        assert process.stdin is not None

        def read() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                lines.put(line)
            lines.put(None)

        threading.Thread(target=read, daemon=True).start()
        process.stdin.write(json.dumps(left))
        process.stdin.close()
        begun: dict[str, Any] | None = None
        try:
            while left:
                try:
                    line = lines.get(timeout=WALL_SECONDS)
                except queue.Empty:
                    line, why = None, f"hung for {WALL_SECONDS:g} s"
                else:
                    why = "killed its process"
                if line is None:
                    process.kill()
                    process.wait()
                    errors.seek(0)
                    said = f"{why}: {errors.read().decode(errors='replace')[-600:]}"
                    if begun is None:
                        raise RuntimeError(f"the child could not make the next case: {said}")
                    kind, number = begun["begun"]
                    left.remove((kind, number))
                    yield Result(kind, number, begun["what"], "finding", said, 0.0, 0.0)
                    return
                told = json.loads(line)
                if "begun" in told:
                    begun = told
                    continue
                left.remove((told["kind"], told["number"]))
                begun = None
                yield Result(**told)
        finally:
            process.kill()
            process.wait()


def main() -> int:
    if sys.argv[1:2] == ["--child"]:
        seed, home = sys.argv[2:]
        child([(kind, number) for kind, number in json.load(sys.stdin)], int(seed), Path(home))
        return 0
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--traces", type=int, default=10_000)
    parser.add_argument("--recordings", type=int, default=10_000)
    parser.add_argument("--settings", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="this case alone, of each kind whose count is not 0")
    parser.add_argument("--verbose", action="store_true", help="say what became of every case")
    options = parser.parse_args()
    findings = 0
    for kind in ("traces", "recordings", "settings"):
        count = getattr(options, kind)
        numbers = list(range(count)) if options.only is None or not count else [options.only]
        findings += _report(kind, numbers, options.seed, options.verbose)
    return 1 if findings else 0


def _report(kind: str, numbers: list[int], seed: int, verbose: bool) -> int:
    since = time.monotonic()
    outcomes: Counter[str] = Counter()
    slowest = largest = None
    total = 0.0
    for result in run([(kind, number) for number in numbers], seed):
        outcomes[result.outcome] += 1
        total += result.seconds
        slowest = max(slowest or result, result, key=lambda one: one.seconds)
        largest = max(largest or result, result, key=lambda one: one.megabytes)
        if verbose or result.outcome == "finding":
            print(f"{kind} {result.number} [{result.what}] {result.outcome}: {result.said}", flush=True)
    if slowest is None or largest is None:
        return 0
    print(
        f"{sum(outcomes.values()):,} mutated {kind} (seed {seed}): {outcomes['accepted']:,} accepted, "
        f"{outcomes['refused']:,} refused with a sentence, {outcomes['finding']:,} findings; "
        f"{time.monotonic() - since:.0f} s, {total:.0f} s of CPU; the slowest {slowest.seconds:.2f} s "
        f"({slowest.number}, {slowest.what}), the largest +{largest.megabytes:.0f} MB "
        f"({largest.number}, {largest.what})",
        flush=True,
    )
    return outcomes["finding"]


if __name__ == "__main__":
    sys.exit(main())
