"""Trace files: values to JSON and back. What is no trace, or too large, is refused before it takes memory."""

from __future__ import annotations

import gzip
import io
import json
import os
import tempfile
import zlib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from specviz.errors import TraceError
from specviz.trace.schema import MOST_OPTIONS, MOST_VERIFIERS, READ_VERSIONS, Trace

MAX_TRACE_BYTES = 256 * 1024 * 1024
"""Largest trace that is read, counted after decompression."""
BYTES_A_LIST, BYTES_A_FIELD, BYTES_A_VALUE = 40, 16, 10
"""A file may hold one list or object in so many bytes of its limit, one field and one value likewise. Recorded ones
take about 55, 25 and 12. An empty list takes two bytes in a file and 300 in memory."""

SPARE_BYTES = 4 * 1024 * 1024
"""A file may be twice as dense as that for its own size, and a small one denser by so much."""


def dump_trace(trace: Trace) -> bytes:
    """A trace as UTF-8 JSON."""
    return trace.model_dump_json(exclude_defaults=False).encode()


def parse_trace(data: bytes, *, max_bytes: int = MAX_TRACE_BYTES) -> Trace:
    """Validate JSON (gzipped or not) and return the trace.

    Raises:
        TraceError: for anything that is not a trace of this schema version, in one sentence.
    """
    if data[:2] == b"\x1f\x8b":
        data = _gunzip(data, max_bytes)
    if len(data) > max_bytes:
        raise TraceError(f"This trace is larger than {max_bytes >> 20} MB; record fewer steps or smaller trees.")
    version = _looked_at(data, max_bytes)
    if version not in READ_VERSIONS or type(version) is not int:
        raise TraceError(
            f"This file has trace schema version {repr(version)[:40]} and this specviz reads 1 and 2; "
            "open it with the specviz that wrote it, or record it again."
        )
    try:
        return Trace.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = _one_line(".".join(str(part) for part in first["loc"]), 120) or "the whole file"
        raise TraceError(f"This trace is broken at {where}: {_one_line(first['msg'], 200)}; record it again.") from None


def load_trace(path: str | os.PathLike[str], *, max_bytes: int = MAX_TRACE_BYTES) -> Trace:
    """Read a trace file, ``.json`` or ``.json.gz``. See :func:`parse_trace`."""
    try:
        return read_trace(path, max_bytes=max_bytes)
    except (OSError, ValueError) as error:  # a name with a null character
        why = getattr(error, "strerror", None) or error
        raise TraceError(f"The trace {_short(path)} cannot be read ({why}); check the path.") from None


def read_trace(path: str | os.PathLike[str], *, max_bytes: int = MAX_TRACE_BYTES) -> Trace:
    """As :func:`load_trace`, where whoever hears of an error may not know the path.

    Raises:
        OSError: if the file cannot be read.
        TraceError: see :func:`parse_trace`.
    """
    with open(path, "rb") as file:
        data = file.read(max_bytes + 1)
    return parse_trace(data, max_bytes=max_bytes)


def save_trace(trace: Trace, path: str | os.PathLike[str]) -> None:
    """Write a trace, gzipped when the name ends in ``.gz``. A killed save leaves the previous file untouched.

    Raises:
        TraceError: if the folder cannot be written to.
    """
    try:
        write_file(Path(path), packed(trace) if Path(path).suffix == ".gz" else dump_trace(trace))
    except OSError as error:
        raise TraceError(f"The trace cannot be saved to {str(path)!r} ({error.strerror}); choose another.") from None


def packed(trace: Trace) -> bytes:
    """A trace as gzipped UTF-8 JSON, the same bytes whenever it is made."""
    return gzip.compress(dump_trace(trace), compresslevel=6, mtime=0)


def write_file(target: Path, data: bytes) -> None:
    """Write a file whole, or leave what was there before.

    Raises:
        OSError: if it cannot be written; nothing of it is left then.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise


def _gunzip(data: bytes, max_bytes: int) -> bytes:
    """Decompress in small pieces, so that a bomb is refused after ``max_bytes`` and not after its full size."""
    out = io.BytesIO()
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            while piece := file.read(1 << 20):
                out.write(piece)
                if out.tell() > max_bytes:
                    raise TraceError(f"This trace unpacks to more than {max_bytes >> 20} MB; record fewer steps.")
    except (OSError, EOFError, zlib.error):
        raise TraceError("This .gz file is damaged or cut short; copy or record the trace again.") from None
    return out.getvalue()


def _looked_at(data: bytes, max_bytes: int) -> Any:
    """The schema version of a file that is JSON and can be taken apart at a cost that its size tells.

    This comes before the parse that builds values: objects are thrown away as soon as they were counted.
    """
    crowded = TraceError(
        f"This trace holds more lists and numbers than a recorded one of its size, or of {max_bytes >> 20} MB; record "
        "it again, with fewer steps if it is that large."
    )
    lists, fields, values = data.count(b"[") + data.count(b"{"), data.count(b":"), data.count(b",")
    # By its own size, too: four megabytes of brackets took two gigabytes, as each of several errors repeats its input.
    room = min(max_bytes, 2 * len(data) + SPARE_BYTES)
    if max(lists * BYTES_A_LIST, fields * BYTES_A_FIELD, values * BYTES_A_VALUE) > room:
        raise crowded
    top: list[tuple[str, Any]] = []

    def count(pairs: list[tuple[str, Any]]) -> None:
        if len(pairs) > max(MOST_VERIFIERS, MOST_OPTIONS):
            raise crowded
        top[:] = pairs  # the outermost object comes last

    try:
        value = json.loads(data.decode(), object_pairs_hook=count, parse_float=lambda _: None)
    except (ValueError, RecursionError):
        raise TraceError("This file is not JSON; choose a trace that specviz recorded.") from None
    outermost = dict(top)
    if value is not None or "schema_version" not in outermost:
        raise TraceError("This JSON is not a specviz trace; choose a file that specviz recorded.")
    return outermost["schema_version"]


def _one_line(text: str, most: int) -> str:
    return " ".join(text.split())[:most]


def _short(path: str | os.PathLike[str]) -> str:
    return f"{os.fspath(path)!r:.300}"
