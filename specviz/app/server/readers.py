"""Files that strangers send, read in turns: small ones here, large ones in a process of their own.

Nobody waits for another's file: a client reads one large file at a time, and of all clients together a few do. What
reads a large file has little memory and little time, and if it dies, that is one sentence for who sent it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from specviz.app.server.clients import Client
from specviz.app.server.limits import (
    LARGE_FILES,
    LARGE_TRACE_BYTES,
    READ_SECONDS,
    SAVED_PAGE_BYTES,
    SMALL_FILES,
    WAITING_FILES,
    Limits,
)
from specviz.app.server.reading_process import NO_MEMORY, REFUSED
from specviz.app.server.trace_store import StoredTrace, pack
from specviz.compare.received import NO_STEPS
from specviz.compare.statistics import Group, Tally
from specviz.errors import BusyError, SettingsError, TraceError
from specviz.figures.export import write_page
from specviz.trace.io import dump_trace, read_traces
from specviz.trace.schema import Trace

BYTES_A_BYTE = 25
"""Memory that reading a trace takes, for a byte of the largest that is allowed; for its page likewise."""
COMPARISON_BYTES = 1_500 * 1024 * 1024
"""Memory that reading a comparison may take."""
_TURN = 0.05
_ROOT = Path(__file__).parents[3]

log = logging.getLogger(__name__)


class Lane:
    """Some files at once, of a client one; others wait for their turn, few of them.

    Args:
        limits: of the page; they say what a client's share is.
        what: is read, in the plural.
        total: that are read at once.
    """

    def __init__(self, limits: Limits, what: str, total: int):
        self._what = what
        self._waiting = limits.pool(f"{what} waiting to be opened", WAITING_FILES)
        self._reading = limits.pool(f"{what} being opened", total)

    @contextlib.contextmanager
    def turn(self, client: Client) -> Iterator[None]:
        """Wait for the turn, and have it for as long as the context lasts.

        Raises:
            BusyError: if too many wait already, or it does not come.
        """
        with self._waiting.lent(client):
            until = time.monotonic() + READ_SECONDS
            while True:
                try:
                    self._reading.take(client)
                    break
                except BusyError:
                    if time.monotonic() > until:
                        raise
                    time.sleep(_TURN)
        try:
            yield
        finally:
            self._reading.give_back(client)


class Readers:
    """Reads the files that are sent to a page."""

    def __init__(self, limits: Limits):
        self.small, self.large = Lane(limits, "files", SMALL_FILES), Lane(limits, "large files", LARGE_FILES)

    def read_trace(self, path: str | os.PathLike[str], most_bytes: int, client: Client) -> StoredTrace:
        """A trace file, checked and limited; of a recording its first request. See :meth:`read_runs`."""
        return self.read_runs(path, most_bytes, client)[0]

    def read_runs(self, path: str | os.PathLike[str], most_bytes: int, client: Client) -> list[StoredTrace]:
        """The run of a trace file, checked and limited, or those of all requests of a recording.

        Raises:
                OSError: if it cannot be read.
            TraceError: if it is no trace, too large, or takes too much memory or time.
            BusyError: see :meth:`Lane.turn`.
        """
        if not _is_large(path):
            with self.small.turn(client):
                return [StoredTrace(trace) for trace in read_traces(path, max_bytes=most_bytes)]
        runs = []
        with self.large.turn(client), _process("trace", BYTES_A_BYTE * most_bytes, path, most_bytes) as answer:
            while line := answer.readline():
                found = _checked(line, TraceError)
                runs.append(StoredTrace.of_packed(answer.read(found.pop("bytes")), **found))
        return runs

    def write_page(self, trace: Trace, path: Path, client: Client, go: int = 0, alone: bool = False) -> None:
        """Write the HTML page of a run, which takes about ten times as long as reading it.

        Args:
            go: position of the step on which it opens.
            alone: whether it has that step only.

        Raises:
                OSError: if it cannot be written.
            SettingsError: if it is too large.
            TraceError: if it takes too much memory or time. In each case nothing is left of it.
            BusyError: see :meth:`Lane.turn`.
        """
        packed, size = pack(trace), len(dump_trace(trace))
        if size <= LARGE_TRACE_BYTES:
            write_page(trace, path, go=go, alone=alone, most_bytes=SAVED_PAGE_BYTES)
            return
        source = path.with_suffix(".packed")
        with self.large.turn(client):
            try:
                source.write_bytes(packed)
                asked = (source, path, go, int(alone))
                with _process("page", BYTES_A_BYTE * size, *asked, what="Making the page of this run") as answer:
                    found = answer.readline()
                if found:
                    _checked(found, SettingsError)
            except BaseException:
                path.unlink(missing_ok=True)
                raise
            finally:
                source.unlink(missing_ok=True)

    def read_comparison(
        self, paths: Sequence[Path], into: Path, client: Client
    ) -> Generator[tuple[float, list[Tally]], None, None]:
        """Copy the files of a comparison, checked, into an empty folder.

        Yields:
            how much is done, and sums of some of its runs.

        Raises:
            SettingsError: saying what is wrong with them.
            BusyError: see :meth:`Lane.turn`.
        """
        if not any(os.path.isfile(path) and path.suffix.lower() in (".parquet", ".zip") for path in paths):
            raise SettingsError(NO_STEPS)
        with self.large.turn(client), _process("comparison", COMPARISON_BYTES, into, *paths) as answer:
            for line in answer:
                found = _checked(line, SettingsError)
                yield found["done"], [Tally(**one | {"group": Group(*one["group"])}) for one in found["tallies"]]


def _is_large(path: str | os.PathLike[str]) -> bool:
    """Whether a trace file has more than so many bytes, packed or unpacked; one that cannot be read has not."""
    try:
        with open(path, "rb") as file:
            data = file.read(LARGE_TRACE_BYTES + 1)
        if len(data) <= LARGE_TRACE_BYTES and data[:2] == b"\x1f\x8b":
            data = zlib.decompressobj(wbits=31).decompress(data, LARGE_TRACE_BYTES + 1)
    except (OSError, ValueError, zlib.error):
        return False
    return len(data) > LARGE_TRACE_BYTES


@contextlib.contextmanager
def _process(work: str, size: int, *arguments: Any, what: str = "Reading this file") -> Iterator[IO[bytes]]:
    """The answer of a process that reads, which is killed at the end of the context, and after :data:`READ_SECONDS`.

    Args:
        work: see :data:`~specviz.app.server.reading_process.WORK`.
        size: bytes of memory that the work may take.
        what: is done, for the sentence that it took too much.

    Raises:
        TraceError: at the end of the context, if the process died.
    """
    command = [sys.executable, "-m", "specviz.app.server.reading_process", work, str(size), *map(str, arguments)]
    known = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    # Threads of numeric libraries would each reserve address space.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(known), "OMP_NUM_THREADS": "1"}
    environment |= {"OPENBLAS_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    ) as process:
        clock = threading.Timer(READ_SECONDS, process.kill)
        clock.daemon = True
        clock.start()
        try:
            assert process.stdout is not None
            yield process.stdout
            code = process.wait()
        finally:
            clock.cancel()
            process.kill()
    if code not in (0, REFUSED):
        log.warning("the process for a %s ended with %d", work, code)
        why = "more memory" if code == NO_MEMORY else "more memory or time"
        raise TraceError(f"{what} takes {why} than there is for it here; choose a smaller one.")


def _checked(line: bytes, kind: type[TraceError] | type[SettingsError]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(line)
    if "errno" in found:
        raise OSError(found["errno"], os.strerror(found["errno"]))
    if "refused" in found:
        raise kind(found["refused"])
    return found
