"""A recording that is still being written: what was appended since is read, and nothing twice."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from specviz.errors import TraceError
from specviz.trace.limits import GZIPPED, MAX_TRACE_BYTES, Density, check_density, outermost
from specviz.trace.recording import Header, RequestLines, check_lines, checked_line, header_of, is_recording, trace_of
from specviz.trace.schema import Trace

READ_AT_ONCE = 4 * 1024 * 1024
"""Bytes of one look, unless a single line has more: whoever waits for the first steps of a long file sees them soon."""


class GrowingRecording:
    """The whole lines of a recording so far. A last line without its end waits until it has one.

    The limits are those of a file that is opened whole: its bytes, its lines, and how densely they are filled. A file
    that is written anew, in its place or over it, begins anew here.

    Args:
        path: it need not be there yet.

    Attributes:
        header: of the file; None until it has one.
        steps: how many steps are in it, those that failed among them, of all requests.
        fresh: requests that something new is known of; whoever has looked at them clears it.
        problem: why nothing more of it is read, as a sentence; None while all is well.
    """

    def __init__(self, path: str | os.PathLike[str], max_bytes: int = MAX_TRACE_BYTES):
        self.path, self._most = Path(path), max_bytes
        self._seen: tuple[int, ...] | None = None
        self._begin()

    def _begin(self) -> None:
        self.header: Header | None = None
        self.problem: str | None = None
        self.steps = 0
        self.fresh: set[str | None] = set()
        self._first = b""
        self._at = self._lines = 0
        self._density = Density()
        self._requests: dict[str | None, RequestLines] = {}

    @property
    def requests(self) -> list[str | None]:
        """Names of the requests of which it is known how they began, in that order."""
        return [name for name, found in self._requests.items() if found.run is not None]

    def trace(self, request: str | None) -> Trace:
        """The run of a request so far.

        Raises:
            TraceError: where its lines contradict each other.
        """
        assert self.header is not None
        return trace_of(self.header, [*self._requests].index(request), request, self._requests[request])

    def read(self) -> bool:
        """Read the next lines that are whole. Returns whether anything became different."""
        try:
            now = os.stat(self.path)
            seen = (now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns)
            if seen == self._seen:
                return False
            with open(self.path, "rb") as file:
                changed, more = self._read(file, now.st_size)
        except (OSError, ValueError) as error:
            if isinstance(error, FileNotFoundError):
                return self._forget(None)
            why = getattr(error, "strerror", None) or error
            return self._forget(f"The recording cannot be read ({why}); check the path.")
        self._seen = None if more else seen
        return changed

    def _forget(self, problem: str | None) -> bool:
        known = (self.header, self.problem)
        self._begin()
        self._seen, self.problem = None, problem
        return known != (None, problem)

    def _read(self, file: BinaryIO, size: int) -> tuple[bool, bool]:
        """Whether anything became different, and whether there may be more to read at once."""
        replaced = bool(self._first or self.problem) and (size < self._at or file.read(len(self._first)) != self._first)
        if replaced:
            self._begin()
        if self.problem is not None:
            return False, False
        file.seek(self._at)
        data, more = _whole_lines(file, self._most - self._at)
        try:
            self._take(data)
            if size > self._most and not more:
                raise TraceError(
                    f"This recording is larger than {self._most >> 20} MB, so nothing after step {self.steps} is "
                    "followed; record fewer steps or smaller trees."
                )
        except TraceError as error:
            self.problem = str(error)
            return True, False
        return replaced or bool(data), more

    def _take(self, data: bytes) -> None:
        if not data:
            return
        if not self._at and (data.startswith(GZIPPED) or not is_recording(data)):
            self._first = data[:64]
            raise TraceError("This file is no recording, so it cannot be followed; open a trace with --trace.")
        check_lines(self._lines + data.count(b"\n"))
        self._density = check_density(data, self._most, self._density)
        for line in data.removesuffix(b"\n").split(b"\n"):
            self._add(line)
            self._lines += 1
            self._at += len(line) + 1

    def _add(self, line: bytes) -> None:
        if not self._lines:
            self._first = line
            self.header = header_of(line, self._most)
            return
        number = self._lines + 1
        try:
            outermost(line, self._most)
        except (ValueError, RecursionError):
            raise TraceError(f"Line {number} of this recording is not JSON; record it again.") from None
        said = checked_line(line, number)
        self._requests.setdefault(said.request, RequestLines()).add(said)
        self.fresh.add(said.request)
        self.steps += said.step is not None or said.failed is not None


def _whole_lines(file: BinaryIO, most: int) -> tuple[bytes, bool]:
    """The next lines that have their end, and whether more may follow: at most so many bytes."""
    parts: list[bytes] = []
    left = most
    while left > 0 and (part := file.read(min(READ_AT_ONCE, left))):
        left -= len(part)
        end = part.rfind(b"\n")
        if end >= 0:
            return b"".join([*parts, part[: end + 1]]), len(part) == READ_AT_ONCE
        parts.append(part)
    return b"", False
