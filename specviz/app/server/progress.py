"""How far a long piece of work is, as one value that everything yields on its way to a result."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, TypeVar

from specviz.models.download_cache import ProgressCallback

Value = TypeVar("Value")
Answer = TypeVar("Answer")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Progress:
    """What is being done, in words for a visitor.

    Attributes:
        fraction: the part that is done, in [0, 1], or None while nobody knows.
    """

    text: str
    fraction: float | None = None


def mapped(
    values: Generator[Value, None, Result], to_answer: Callable[[Value], Answer]
) -> Generator[Answer, None, Result]:
    """``to_answer`` of everything that ``values`` yields, and its result: ``result = yield from mapped(...)``."""
    results: list[Result] = []
    with closing(_keeping_the_result(values, results)) as kept:
        for value in kept:
            yield to_answer(value)
    return results.pop()


def result_of(values: Generator[Any, None, Result]) -> Result:
    """What a generator returns in the end, for a caller that shows nothing on the way."""
    results: list[Result] = []
    for _ in _keeping_the_result(values, results):
        pass
    return results.pop()


def _keeping_the_result(values: Generator[Value, None, Result], results: list[Result]) -> Generator[Value, None, None]:
    results.append((yield from values))


def in_a_thread(work: Callable[[ProgressCallback], Result]) -> Generator[Progress, None, Result]:
    """What ``work(progress)`` returns, yielding what it reports to ``progress`` on the way.

    It works in a thread of its own, and to its end even if whoever waits goes away.

    Raises:
        Exception: whatever ``work`` raises, in the thread that waits.
    """
    reports: queue.SimpleQueue[Progress | None] = queue.SimpleQueue()
    results: list[Result] = []
    errors: list[BaseException] = []

    def report(message: str, fraction: float | None = None) -> None:
        reports.put(Progress(message, fraction))

    def run() -> None:
        try:
            results.append(work(report))
        except BaseException as error:
            errors.append(error)
        finally:
            reports.put(None)

    threading.Thread(target=run, daemon=True).start()
    while (progress := reports.get()) is not None:
        yield progress
    if errors:
        error = errors.pop()
        try:
            raise error
        finally:
            del error  # it and this frame would keep each other, and with them what was half loaded
    return results.pop()
