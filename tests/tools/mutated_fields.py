"""What can be done to one place of a trace, given as JSON values, or to its file, without understanding it."""

from __future__ import annotations

import contextlib
import gzip
import random
import re
from collections.abc import Callable
from functools import cache
from typing import Any

from tests.tools.mutated_values import HOSTILE_TEXTS, NUMBERS, hostile, put, value_at


def a_step(luck: random.Random, base: Any) -> int:
    return luck.randrange(len(base["steps"])) if base["steps"] else 0


def a_path(luck: random.Random, base: Any) -> tuple[Any, ...]:
    """A random place of the trace, anywhere in its depth."""
    here, path = base, []
    while True:
        if isinstance(here, dict) and here:
            step: Any = luck.choice(list(here))
        elif isinstance(here, list) and here:
            step = luck.randrange(len(here))
        else:
            return tuple(path)
        path.append(step)
        here = here[step]
        if luck.random() < 0.12 and len(path) > 1:
            return tuple(path)


def _retyped(luck: random.Random, base: Any) -> Any:
    path = a_path(luck, base)
    return put(base, path, hostile(luck)) if path else base


def _extreme(luck: random.Random, base: Any) -> Any:
    """Another value of the same type, at the edge."""
    path = a_path(luck, base)
    now = value_at(base, path)
    new: Any = None
    if isinstance(now, bool):
        new = not now
    elif isinstance(now, int):
        new = luck.choice([0, 1, -1, 2**31, 2**53, 2**63 - 1, 2**64, 10**18, 10**300, 10**4290, now + 1, now - 1])
    elif isinstance(now, float):
        new = luck.choice([*NUMBERS, now * 1.00001, -now])
    elif isinstance(now, str):
        new = luck.choice(HOSTILE_TEXTS)
    elif isinstance(now, list):
        new = luck.choice([[], now * 2, now[::-1], now[:1], now[1:], [now], now * 40 if len(now) < 200 else now])
    elif isinstance(now, dict):
        keys = list(now)
        luck.shuffle(keys)
        new = luck.choice(
            [
                {},
                {key: now[key] for key in keys},
                {key: now[key] for key in keys[1:]},
                now | {"more": 1},
                now | {"": now},
            ]
        )
    return put(base, path, new)


def _dropped(luck: random.Random, base: Any) -> Any:
    path = a_path(luck, base)
    holder = value_at(base, path[:-1])
    if isinstance(holder, dict):
        return put(base, path[:-1], {key: value for key, value in holder.items() if key != path[-1]})
    return put(base, path[:-1], holder[: path[-1]] + holder[path[-1] + 1 :])


def _doubled(luck: random.Random, base: Any) -> Any:
    path = a_path(luck, base)
    holder = value_at(base, path[:-1])
    if isinstance(holder, list):
        return put(
            base, path[:-1], holder[: path[-1]] + [holder[path[-1]]] * luck.choice([2, 3, 50]) + holder[path[-1] :]
        )
    return put(base, path, [holder[path[-1]]])


def _swapped(luck: random.Random, base: Any) -> Any:
    one, two = a_path(luck, base), a_path(luck, base)
    a, b = value_at(base, one), value_at(base, two)
    with contextlib.suppress(KeyError, IndexError, TypeError):
        return put(put(base, one, b), two, a)
    return base


def _nested(luck: random.Random, base: Any) -> Any:
    value: Any = luck.choice([0, "x", None])
    for _ in range(luck.choice([20, 150, 190, 210, 500])):
        value = luck.choice([[value], {"a": value}])
    return put(base, a_path(luck, base), value)


def tree_ids(luck: random.Random, base: Any) -> Any:
    """Ids, parents, depths and ranks that break the tree, or just move in it."""
    if not base["steps"]:
        return base
    where = ("steps", a_step(luck, base), "tree", "nodes")
    nodes = value_at(base, where)
    field = luck.choice(["id", "parent", "depth", "rank"])
    at = luck.randrange(len(nodes))
    if luck.random() < 0.5:
        other = luck.randrange(len(nodes))
        return put(base, where, [*nodes[:at], nodes[other], *nodes[at + 1 :]])
    return put(base, (*where, at, field), luck.choice([0, -1, at, at + 1, len(nodes), 2**40, nodes[at][field] + 1]))


FIELDS: list[tuple[str, Callable[[random.Random, Any], Any]]] = [
    ("retyped", _retyped),
    ("extreme", _extreme),
    ("extreme", _extreme),
    ("dropped", _dropped),
    ("doubled", _doubled),
    ("swapped", _swapped),
    ("nested", _nested),
    ("tree ids", tree_ids),
]


# What can be done to a file without understanding it.


def _damaged(luck: random.Random, data: bytes) -> bytes:
    made = bytearray(data)
    for _ in range(luck.randint(1, 6)):
        at = luck.randrange(len(made))
        if luck.random() < 0.5:
            made[at] = luck.randrange(256)
        else:
            del made[at : at + luck.randint(1, 3000)]
    return bytes(made)


def _bad_text(luck: random.Random, data: bytes) -> bytes:
    bad = luck.choice(
        [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\\ud800", b"\\udc00\\ud800", b"\\u0000", b"\x00", b"\\x"]
    )
    at = data.find(luck.choice([b'"text": "', b'"prompt": "', b'"reason": "', b'"id": "']))
    at = data.index(b'"', at + 8) + 1
    return data[:at] + bad + data[at:]


def _zipped(luck: random.Random, data: bytes) -> bytes:
    packed = gzip.compress(data, compresslevel=1)
    bomb = _bomb(luck.choice([b" ", b"[", b"0,", b'{"a":']), luck.choice([1, 20, 80]))
    cut = luck.randrange(1, len(packed))
    return luck.choice(
        [
            packed[:cut],
            packed + packed,
            packed + b"trailing",
            packed[:cut] + packed[:cut],
            packed + bomb,
            bomb,
            gzip.compress(packed),
            b"\x1f\x8b" + luck.randbytes(200),
            _damaged(luck, packed),
        ]
    )


@cache
def _bomb(piece: bytes, megabytes: int) -> bytes:
    return gzip.compress(piece * ((megabytes << 20) // len(piece)), compresslevel=1)


def _concatenated(luck: random.Random, data: bytes) -> bytes:
    return luck.choice(
        [data + data, data + b"\n", b" " * 5000 + data, data[: luck.randrange(len(data))], b"\xef\xbb\xbf" + data]
    )


def _raw_numbers(luck: random.Random, data: bytes) -> bytes:
    """Numbers that Python's JSON writer does not write."""
    number = luck.choice(
        [b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-0", b"1E400", b"9" * 5000, b"0x10", b"1_0", b"01"]
    )
    found = [match.span() for match in re.finditer(rb"(?<=: )-?[0-9][0-9.e+-]*", data[:200_000])]
    first, last = luck.choice(found)
    return data[:first] + number + data[last:]


def _dense(luck: random.Random, data: bytes) -> bytes:
    """Much in few bytes: what costs a parser a hundred times its size."""
    size = luck.choice([1, 4, 24, 63]) << 20
    head = b'{"schema_version": 1, "steps": ['
    kind = luck.choice([b"[],", b"{},", b"0,", b'"",', b"[[[0]]],", b'{"a":0},', b"1.5e3,", b"null,"])
    if luck.random() < 0.3:
        size = min(size, 8 << 20)
        return b'{"schema_version": 1, ' + b",".join(b'"%d":0' % i for i in range(size // 12)) + b"}"
    if luck.random() < 0.3:
        field = luck.choice([b'"prompt_tokens": [', b'"end_tokens": [', b'"x": ['])
        at = data.index(b'"schema_version"')
        return data[:at] + field + kind * (size // len(kind)) + b"0], " + data[at:]
    return head + kind * (size // len(kind)) + b"0]}"


def _foreign(luck: random.Random, data: bytes) -> bytes:
    return luck.choice(
        [b"", b"null", b"0", b'"x"', b"[]", b"{}", b'{"schema_version": 1}', b'{"schema_version": 1.0}', b"[" * 10**6]
        + [b'{"a":' * 50_000]
        + [data.replace(b'"schema_version": 1', b'"schema_version": ' + v) for v in (b"2", b"[1]", b"true", b"1.0")]
        + [luck.randbytes(5000), b"PK\x03\x04", b"[" + data + b"]"]
    )


FILES: list[tuple[str, Callable[[random.Random, bytes], bytes]]] = [
    ("damaged", _damaged),
    ("damaged", _damaged),
    ("bad text", _bad_text),
    ("zipped", _zipped),
    ("concatenated", _concatenated),
    ("raw numbers", _raw_numbers),
    ("raw numbers", _raw_numbers),
    ("dense", _dense),
    ("foreign", _foreign),
]
