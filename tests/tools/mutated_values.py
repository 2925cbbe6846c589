"""Values that do harm, and JSON values with one place changed."""

# ruff: noqa: E501 - lists of values read best in full lines

from __future__ import annotations

import random
from typing import Any

NUMBERS: list[float] = [
    *(
        0.0,
        -0.0,
        1.0,
        -1.0,
        5e-324,
        1e-308,
        2.2250738585072014e-308,
        1e300,
        -1e300,
        1.7976931348623157e308,
        1e38,
        1e-45,
    ),
    *(float("nan"), float("inf"), float("-inf"), 0.1 + 0.2, 2.0**53, 1 - 2**-53),
]
WHOLE: list[int] = [0, 1, -1, 2, 7, 255, 2**31, 2**53, 2**63 - 1, 2**63, 2**64, -(2**63), 10**18, 10**310, 10**4290]
HOSTILE_TEXTS: list[str] = [
    *("", " ", "\u202egnp.exe", "</script><script>alert(1)</script>", "${alert(1)}", "{{7*7}}", "<img src=x onerror=alert(1)>"),
    *("\x00", "\u0000\u001b[31m", "\n\n\r\n", "\u2028\u2029", "e\u0301" * 40, "\u0301", "日本語" * 30, "😀", "\ufffd\ufeff"),
    *("../../../etc/passwd", "/etc/passwd", "~root/x", "~nobody-here/x", "file:///etc/passwd", "http://127.0.0.1:9/x", "C:\\con"),
    *("%s%n{0}{x!r}", "a" * 300, "b" * 5000, "__class__", "NaN", "1e999", "-1", "9" * 4000, "0x10", "1_000", "１２"),
    *("name=value", "eta:epsilon=0.1/0.2", "[0],[1]", "4,2,2", "-" * 200, "--help", "a=b=c", "'\"`;$(touch x)", "con.json.gz"),
]  # fmt: skip
SURROGATES: list[str] = ["\ud800", "a\udfffb", "\udc00\ud800"]
"""Half characters; a browser's JSON can hold them, a file's cannot."""


def hostile(luck: random.Random, depth: int = 2) -> Any:
    """Any JSON value, at the edge of its type."""
    kind = luck.randrange(8 if depth else 6)
    if kind == 0:
        return luck.choice(NUMBERS)
    if kind == 1:
        return luck.choice(WHOLE)
    if kind in (2, 3):
        return luck.choice(HOSTILE_TEXTS)
    if kind == 4:
        return luck.choice([None, True, False])
    if kind == 5:
        return luck.choice([[], {}, [[]], [None] * 3000, "x" * 100_000])
    if kind == 6:
        return [hostile(luck, depth - 1) for _ in range(luck.randint(1, 5))]
    return {luck.choice(HOSTILE_TEXTS): hostile(luck, depth - 1) for _ in range(luck.randint(1, 5))}


def value_at(base: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        base = base[step]
    return base


def put(base: Any, path: tuple[Any, ...], value: Any) -> Any:
    """``base`` with another value at ``path``; only what lies on the way is copied."""
    if not path:
        return value
    first, rest = path[0], path[1:]
    if isinstance(base, dict):
        return {**base, first: put(base[first], rest, value)}
    return [*base[:first], put(base[first], rest, value), *base[first + 1 :]]
