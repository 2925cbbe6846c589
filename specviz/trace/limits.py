"""How large and how crowded a file of strangers may be, looked at before any value is built of it."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from typing import Any, NamedTuple

from specviz.errors import TraceError
from specviz.trace.schema import MOST_OPTIONS, MOST_VERIFIERS

MAX_TRACE_BYTES = 256 * 1024 * 1024
"""Largest trace that is read, counted after decompression."""
BYTES_A_LIST, BYTES_A_FIELD, BYTES_A_VALUE = 40, 16, 10
"""A file may hold one list or object in so many bytes of its limit, one field and one value likewise. Recorded ones
take about 55, 25 and 12. An empty list takes two bytes in a file and 300 in memory."""

SPARE_BYTES = 4 * 1024 * 1024
"""A file may be twice as dense as that for its own size, and a small one denser by so much."""

GZIPPED = b"\x1f\x8b"
"""How such a file begins."""


def unpacked(data: bytes, max_bytes: int) -> bytes:
    """The bytes of a file, which may be gzipped.

    Raises:
        TraceError: if they are more than ``max_bytes``, or the file is damaged.
    """
    if data[:2] == GZIPPED:
        data = _gunzip(data, max_bytes)
    if len(data) > max_bytes:
        raise TraceError(f"This trace is larger than {max_bytes >> 20} MB; record fewer steps or smaller trees.")
    return data


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


class Density(NamedTuple):
    """What was counted of a file, or of its beginning."""

    size: int = 0
    lists: int = 0
    fields: int = 0
    values: int = 0


def check_density(data: bytes, max_bytes: int, before: Density | None = None) -> Density:
    """Count what a file holds.

    Args:
        before: what was counted of all that comes before ``data`` in the file.

    Raises:
        TraceError: for a file that cannot be taken apart at a cost that its size tells.
    """
    size, lists, fields, values = before or Density()
    size, fields, values = size + len(data), fields + data.count(b":"), values + data.count(b",")
    lists += data.count(b"[") + data.count(b"{")
    # By its own size, too: four megabytes of brackets took two gigabytes, as each of several errors repeats its input.
    room = min(max_bytes, 2 * size + SPARE_BYTES)
    if max(lists * BYTES_A_LIST, fields * BYTES_A_FIELD, values * BYTES_A_VALUE) > room:
        raise crowded(max_bytes)
    return Density(size, lists, fields, values)


def crowded(max_bytes: int) -> TraceError:
    return TraceError(
        f"This trace holds more lists and numbers than a recorded one of its size, or of {max_bytes >> 20} MB; record "
        "it again, with fewer steps if it is that large."
    )


def outermost(data: bytes, max_bytes: int) -> dict[str, Any] | None:
    """The outermost fields of JSON, those that are objects themselves as None; None where it is no object.

    This comes before the parse that builds values: objects are thrown away as soon as they were counted.

    Raises:
        ValueError, RecursionError: if it is not JSON.
        TraceError: for an object with more fields than any recorded one.
    """
    top: list[tuple[str, Any]] = []

    def count(pairs: list[tuple[str, Any]]) -> None:
        if len(pairs) > max(MOST_VERIFIERS, MOST_OPTIONS):
            raise crowded(max_bytes)
        top[:] = pairs  # the outermost object comes last

    value = json.loads(data.decode(), object_pairs_hook=count, parse_float=lambda _: None)
    return dict(top) if value is None and top else None


def one_line(text: str, most: int) -> str:
    return " ".join(text.split())[:most]
