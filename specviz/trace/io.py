"""Trace files: values to JSON and back. What is no trace, or too large, is refused before it takes memory."""

from __future__ import annotations

import gzip
import os
import tempfile
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from specviz.errors import TraceError
from specviz.trace.limits import MAX_TRACE_BYTES, check_density, one_line, outermost, unpacked
from specviz.trace.recording import is_recording, read_recording, read_recordings
from specviz.trace.schema import READ_VERSIONS, Trace


def dump_trace(trace: Trace) -> bytes:
    """A trace as UTF-8 JSON."""
    return trace.model_dump_json(exclude_defaults=False).encode()


def parse_trace(data: bytes, *, request: str | None = None, max_bytes: int = MAX_TRACE_BYTES) -> Trace:
    """Validate JSON (gzipped or not) and return the trace.

    Args:
        request: of a recording, which of its requests; None: the first.

    Raises:
        TraceError: for anything that is not a trace of this schema version, in one sentence.
    """
    data = unpacked(data, max_bytes)
    if is_recording(data):
        return read_recording(data, request, max_bytes=max_bytes)
    version = _version(data, max_bytes)
    if version not in READ_VERSIONS or type(version) is not int:
        raise TraceError(
            f"This file has trace schema version {repr(version)[:40]} and this specviz reads 1 and 2; "
            "open it with the specviz that wrote it, or record it again."
        )
    try:
        return Trace.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = one_line(".".join(str(part) for part in first["loc"]), 120) or "the whole file"
        raise TraceError(f"This trace is broken at {where}: {one_line(first['msg'], 200)}; record it again.") from None


def load_trace(path: str | os.PathLike[str], *, request: str | None = None, max_bytes: int = MAX_TRACE_BYTES) -> Trace:
    """Read a trace file, ``.json`` or ``.json.gz``, or a recording, ``.jsonl``. See :func:`parse_trace`."""
    try:
        return read_trace(path, request=request, max_bytes=max_bytes)
    except (OSError, ValueError) as error:  # a name with a null character
        why = getattr(error, "strerror", None) or error
        raise TraceError(f"The trace {_short(path)} cannot be read ({why}); check the path.") from None


def read_trace(path: str | os.PathLike[str], *, request: str | None = None, max_bytes: int = MAX_TRACE_BYTES) -> Trace:
    """As :func:`load_trace`, where whoever hears of an error may not know the path.

    Raises:
        OSError: if the file cannot be read.
        TraceError: see :func:`parse_trace`.
    """
    with open(path, "rb") as file:
        data = file.read(max_bytes + 1)
    return parse_trace(data, request=request, max_bytes=max_bytes)


def read_traces(path: str | os.PathLike[str], *, max_bytes: int = MAX_TRACE_BYTES) -> list[Trace]:
    """As :func:`read_trace`, with the runs of all requests of a recording, in the order in which they began."""
    with open(path, "rb") as file:
        data = unpacked(file.read(max_bytes + 1), max_bytes)
    if is_recording(data):
        return [*read_recordings(data, max_bytes=max_bytes).values()]
    return [parse_trace(data, max_bytes=max_bytes)]


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


def _version(data: bytes, max_bytes: int) -> Any:
    """The schema version of a file that can be taken apart at a cost that its size tells."""
    check_density(data, max_bytes)
    try:
        fields = outermost(data, max_bytes)
    except (ValueError, RecursionError):
        raise TraceError("This file is not JSON; choose a trace that specviz recorded.") from None
    if fields is None or "schema_version" not in fields:
        raise TraceError("This JSON is not a specviz trace; choose a file that specviz recorded.")
    return fields["schema_version"]


def _short(path: str | os.PathLike[str]) -> str:
    return f"{os.fspath(path)!r:.300}"
