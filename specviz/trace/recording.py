"""Recordings of other engines: what :class:`specviz.Recorder` appends to a file, step by step, read as traces.

A recording is UTF-8 text of JSON objects, one a line. The first says what it is::

    {"specviz_recording": 1, "created": ..., "specviz_version": ..., "id": ...}

Each of the others names the request it is about (null where there is one only) and holds one of these:

    ``run``     a :class:`Run`, what was known at the start; a later one replaces it
    ``step``    a :class:`~specviz.trace.schema.Step`
    ``failed``  a :class:`~specviz.trace.schema.FailedStep`, that an error ended; the run may have gone on after it
    ``end``     an :class:`End`

Fields that have their default may be left out. A recording may end anywhere: a torn last line is dropped.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from specviz.errors import TraceError, shown
from specviz.trace.limits import MAX_TRACE_BYTES, check_density, one_line, outermost, unpacked
from specviz.trace.schema import (
    LONGEST_PROMPT,
    Count,
    EndReason,
    Engine,
    FailedStep,
    Many,
    Models,
    Name,
    Step,
    TokenText,
    Trace,
)
from specviz.trace.values import Text, Value

MAGIC = b'{"specviz_recording"'
"""How a recording begins."""
MOST_LINES = 100_000
"""Of one recording, whatever they hold: each costs more than its bytes."""


class Header(Value):
    """The first line."""

    specviz_recording: Literal[1]
    created: Name
    """ISO 8601, UTC."""
    specviz_version: Name
    id: Annotated[str, Field(pattern=r"^[0-9a-zA-Z_-]{1,48}$")]


class Run(Value):
    """What is known of a request when its first step begins; see the fields of a trace."""

    engine: Engine
    models: Models
    prompt: Annotated[str, Field(max_length=LONGEST_PROMPT)]
    prompt_tokens: Annotated[Many[Count], Field(min_length=1)]
    prompt_texts: Many[TokenText]
    end_tokens: Many[Count] = ()


class End(Value):
    """How a request ended; ``message`` is the sentence of an error."""

    reason: EndReason
    message: Text | None = None


class Line(Value):
    """A line after the first: about one request, one thing."""

    request: Name | None = None
    run: Run | None = None
    step: Step | None = None
    failed: FailedStep | None = None
    end: End | None = None

    @model_validator(mode="after")
    def _one_thing(self) -> Line:
        if sum(part is not None for part in (self.run, self.step, self.failed, self.end)) != 1:
            raise ValueError("a line holds one of run, step, failed and end")
        return self


@dataclass
class RequestLines:
    """What the lines so far say of one request."""

    run: Run | None = None
    steps: list[Step] = field(default_factory=list)
    failed: FailedStep | None = None
    gone_on_after: list[FailedStep] = field(default_factory=list)
    end: End | None = None

    def add(self, line: Line) -> None:
        if line.run is not None:
            self.run = line.run
        elif line.step is not None:
            self.steps.append(line.step)
            self._go_on()  # what failed was tried again, or the next one was
            self.end = None
        elif line.failed is not None:
            self._go_on()
            self.failed = line.failed
        else:
            self.end = line.end

    def _go_on(self) -> None:
        if self.failed is not None:
            self.gone_on_after.append(self.failed)
            self.failed = None


def is_recording(data: bytes) -> bool:
    """Whether a file, unpacked, begins as a recording does; it may be torn in its first line."""
    return bool(data) and (data.startswith(MAGIC) or MAGIC.startswith(data[: len(MAGIC)].rstrip(b"\n")))


def read_recording(
    source: str | os.PathLike[str] | bytes, request: str | None = None, *, max_bytes: int = MAX_TRACE_BYTES
) -> Trace:
    """One request of a recording as a trace.

    Args:
        source: a path, or the bytes of a file.
        request: its name; None: the first one.

    Raises:
        TraceError: for anything that is no recording, is larger than ``max_bytes``, or has no such request, in one
            sentence.
    """
    found = _read(source, request, True, max_bytes)
    if request is not None and request not in found:
        names = listed(request_names(source, max_bytes=max_bytes))
        raise TraceError(f"This recording has no request {shown(request)}; choose one that it holds: {names}.")
    return next(iter(found.values()))


def request_names(source: str | os.PathLike[str] | bytes, *, max_bytes: int = MAX_TRACE_BYTES) -> list[str | None]:
    """The requests of a recording that can be read, in the order in which they began."""
    data = unpacked(source if isinstance(source, bytes) else file_bytes(source, max_bytes), max_bytes)
    names: dict[str | None, None] = {}
    for text in _lines(data, max_bytes)[1:]:
        with contextlib.suppress(ValueError, RecursionError):  # the last line may be torn
            name = (outermost(text, max_bytes) or {}).get("request")
            names[name if isinstance(name, str) else None] = None
    return [*names]


def listed(names: Sequence[str | None]) -> str:
    """Some requests, as a sentence names them."""
    most = 8
    said = ", ".join("None" if name is None else shown(name, 30) for name in names[:most])
    return said if len(names) <= most else f"{said} and {len(names) - most} more"


def read_recordings(
    source: str | os.PathLike[str] | bytes, *, max_bytes: int = MAX_TRACE_BYTES
) -> dict[str | None, Trace]:
    """All requests of a recording by name, in the order in which they began; see :func:`read_recording`."""
    return _read(source, None, False, max_bytes)


def _read(
    source: str | os.PathLike[str] | bytes, wanted: str | None, one: bool, max_bytes: int
) -> dict[str | None, Trace]:
    data = unpacked(source if isinstance(source, bytes) else file_bytes(source, max_bytes), max_bytes)
    lines = _lines(data, max_bytes)
    header = header_of(lines[0] if lines else b"", max_bytes)
    requests: dict[str | None, RequestLines] = {}
    numbers: dict[str | None, int] = {}
    for number, text in enumerate(lines[1:], start=2):
        try:
            top = outermost(text, max_bytes)
        except (ValueError, RecursionError):
            if number == len(lines):
                break  # the process was killed while it wrote this one
            raise TraceError(f"Line {number} of this recording is not JSON; record it again.") from None
        name = (top or {}).get("request")
        key = name if isinstance(name, str) else None
        numbers.setdefault(key, len(numbers))
        if one and key != (wanted if wanted is not None else next(iter(numbers))):
            continue
        line = checked_line(text, number)
        requests.setdefault(line.request, RequestLines()).add(line)
    if not numbers:
        raise TraceError("This recording ends before its first run; record it again.")
    return {name: trace_of(header, numbers[name], name, found) for name, found in requests.items()}


def file_bytes(path: str | os.PathLike[str], max_bytes: int = MAX_TRACE_BYTES) -> bytes:
    """The file, and of a larger one a byte more than ``max_bytes``.

    Raises:
        TraceError: if it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return file.read(max_bytes + 1)
    except (OSError, ValueError) as error:  # a name with a null character
        why = getattr(error, "strerror", None) or error
        raise TraceError(f"The recording {os.fspath(path)!r:.300} cannot be read ({why}); check the path.") from None


def check_lines(count: int) -> None:
    """Raises TraceError for more lines than a recording may have."""
    if count > MOST_LINES:
        raise TraceError(
            f"This recording has more than {MOST_LINES:,} lines; record fewer steps, or fewer requests, in one file."
        )


def _lines(data: bytes, max_bytes: int) -> list[bytes]:
    check_lines(data.count(b"\n"))
    check_density(data, max_bytes)
    return data.removesuffix(b"\n").split(b"\n")


def header_of(line: bytes, max_bytes: int) -> Header:
    """The first line.

    Raises:
        TraceError: for anything else.
    """
    try:
        top = outermost(line, max_bytes) or {}
    except (ValueError, RecursionError):
        raise TraceError("The first line of this recording is torn; record it again.") from None
    version = top.get("specviz_recording")
    if type(version) is not int or version != 1:
        raise TraceError(
            f"This recording has version {repr(version)[:40]} and this specviz reads 1; open it with the specviz that "
            "wrote it, or record it again."
        )
    try:
        return Header.model_validate_json(line)
    except ValidationError as error:
        raise _broken(error, 1) from None


def checked_line(text: bytes, number: int) -> Line:
    """A line after the first, with its number in the file, from 1 on.

    Raises:
        TraceError: for anything else.
    """
    try:
        return Line.model_validate_json(text)
    except ValidationError as error:
        raise _broken(error, number) from None


def _broken(error: ValidationError, line: int) -> TraceError:
    first = error.errors(include_url=False, include_input=False)[0]
    where = one_line(".".join(str(part) for part in first["loc"]), 120)
    place = f"line {line}" + (f", {where}" if where else "")
    return TraceError(f"This recording is broken at {place}: {one_line(first['msg'], 200)}; record it again.")


def trace_of(header: Header, number: int, name: str | None, found: RequestLines) -> Trace:
    """The run of a request.

    Args:
        number: of the request in the file, from 0 on.

    Raises:
        TraceError: where its lines contradict each other.
    """
    if found.run is None:
        which = "" if name is None else f" of the request {shown(name)}"
        raise TraceError(f"This recording does not say with which prompt the run{which} began; record it again.")
    end, failed = found.end, found.failed
    if failed is not None:
        end = End(reason="error", message=failed.message)
    try:
        return Trace(
            id=header.id + (f"-{number}" if number else ""),
            created=header.created,
            specviz_version=header.specviz_version,
            engine=found.run.engine,
            request=name,
            models=found.run.models,
            settings=None,
            prompt=found.run.prompt,
            prompt_tokens=found.run.prompt_tokens,
            prompt_texts=found.run.prompt_texts,
            end_tokens=found.run.end_tokens,
            steps=tuple(found.steps),
            end_reason=end.reason if end else None,
            end_message=end.message if end else None,
            failed=failed,
            failures=tuple(found.gone_on_after),
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise TraceError(
            f"The lines of this recording contradict each other: {one_line(first['msg'], 200)}; record it again."
        ) from None
