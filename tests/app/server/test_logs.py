"""The log under attack: a thousand equal errors are a few lines."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from specviz.app.server import logs

log = logging.getLogger("specviz.tests.logs")


def fail(kind: type[Exception]) -> None:
    try:
        raise kind("what a stranger wrote")
    except kind as error:
        log.warning("a call failed", exc_info=error)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], list[dict[str, Any]]]:
    """What some work logs, as the server writes it."""

    def lines(work: Callable[[], object]) -> list[dict[str, Any]]:
        stream = io.StringIO()
        handler = logging.StreamHandler(stream)
        handler.setFormatter(logs.JsonLines())
        handler.addFilter(logs.Repeated())
        log.addHandler(handler)
        try:
            work()
        finally:
            log.removeHandler(handler)
        return [json.loads(line) for line in stream.getvalue().splitlines()]

    monkeypatch.setattr(log, "level", logging.INFO)
    return lines


def test_a_thousand_equal_errors_are_three_lines_and_others_are_written_beside_them(written) -> None:
    def work() -> None:
        for _ in range(1_000):
            fail(ValueError)
        fail(KeyError)
        for number in range(10):
            logs.event(log, "run started", number=number)

    lines = written(work)
    assert [line.get("error") for line in lines[:4]] == ["ValueError", "ValueError", "ValueError", "KeyError"]
    assert "held_back" in lines[2]
    assert "held_back" not in lines[0]
    assert [line["number"] for line in lines[4:]] == list(range(10)), "what happened is no error"


def test_of_events_of_one_name_so_many_a_minute_are_written_and_the_next_says_how_many_more(
    written, monkeypatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(logs.time, "monotonic", lambda: clock[0])

    def work() -> None:
        for number in range(1_000):
            logs.event(log, "run started", number=number)
        logs.event(log, "stopping")
        clock[0] += logs.SAME_SECONDS + 1
        logs.event(log, "run started", number=1_000)

    lines = written(work)
    assert [line.get("number") for line in lines] == [*range(logs.SAME_EVENTS), None, 1_000]
    assert "held_back" in lines[logs.SAME_EVENTS - 1]
    assert lines[-1]["more"] == 1_000 - logs.SAME_EVENTS


def test_after_a_while_the_next_line_says_how_many_were_held_back(written, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(logs.time, "monotonic", lambda: clock[0])

    def work() -> None:
        for _ in range(100):
            fail(ValueError)
        clock[0] += logs.SAME_SECONDS + 1
        fail(ValueError)
        fail(ValueError)

    assert [line.get("more") for line in written(work)] == [None] * 3 + [97, None]


def test_no_more_kinds_are_remembered_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "KINDS_KEPT", 3)
    repeated = logs.Repeated()
    records = [logging.LogRecord("name", logging.ERROR, "file", line, "said", None, None) for line in range(50)]
    assert all(repeated.filter(record) for record in records)
    assert len(repeated._kinds) <= 3
