"""Counts what a step asks of the pretended card: by phase, by line, and inside or outside of the models' forwards."""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import specviz
from specviz.engine.session import Session
from tests.card import pretended
from tests.card.pretended import Kind

PACKAGE = str(Path(specviz.__file__).parent) + "/"
PHASES = {
    "_prefill": "prefill",
    "_draft": "draft",
    "_score": "score",
    "_verify": "verify",
    "_commit": "commit",
    "_record": "record",
    "_audited": "audit",
}
"""Method of the session -> the phase it is. What is in none of them is ``other``."""


@dataclass(frozen=True)
class Where:
    """Where an event comes from.

    Attributes:
        phase: one of :data:`PHASES`, or ``other``.
        line: the innermost of specviz, as ``engine/audit.py:66 ask_audit``.
        forward: whether it is in transformers, or in what transformers calls.
    """

    phase: str
    line: str
    forward: bool


class Counts:
    """Events by kind, operation and place."""

    def __init__(self) -> None:
        self.events: Counter[tuple[Kind, str, Where]] = Counter()

    def __call__(self, kind: Kind, operation: str, operands: str) -> None:
        self.events[kind, operation, _where()] += 1

    def total(self, kind: Kind, *, phase: str | None = None, forward: bool = False) -> int:
        """How many of a kind, inside or outside of the forwards."""
        return sum(
            count
            for (what, _, where), count in self.events.items()
            if what == kind and where.forward == forward and phase in (None, where.phase)
        )

    def by_line(self, kind: Kind) -> list[tuple[int, str, str, str]]:
        """(count, phase, line, operation) outside of the forwards, the most frequent first."""
        found: Counter[tuple[str, str, str]] = Counter()
        for (what, operation, where), count in self.events.items():
            if what == kind and not where.forward:
                found[where.phase, where.line, operation] += count
        return [(count, *place) for place, count in found.most_common()]


def _where() -> Where:
    line, phase, forward = "", "other", False
    frame = sys._getframe(2)
    while frame is not None:
        code = frame.f_code
        if "/transformers/" in code.co_filename:
            forward = True
        elif code.co_filename.startswith(PACKAGE):
            file = code.co_filename.removeprefix(PACKAGE)
            line = line or f"{file}:{frame.f_lineno} {code.co_name}"
            if file == "engine/session.py" and code.co_name in PHASES:
                phase = PHASES[code.co_name]
                break
        frame = frame.f_back
    return Where(phase, line, forward)


@contextlib.contextmanager
def counting() -> Iterator[Counts]:
    """Counts what happens inside the block."""
    counts = Counts()
    with pretended.listening(counts):
        yield counts


assert all(hasattr(Session, name) for name in PHASES)
