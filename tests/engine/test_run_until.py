"""The loop that runs steps: what ends it, and what is told of every step."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import pytest

from specviz.engine.run_until import StepDone, run_until
from specviz.trace.breakpoints import Breakpoints, hits
from specviz.trace.schema import EndReason, Trace
from tests.sample_traces import sample_trace


class Replayed:
    """A session that runs the steps of a recorded run."""

    def __init__(self, recorded: Trace):
        self.recorded = recorded
        self.trace = recorded.model_copy(update={"steps": ()})

    @property
    def end_reason(self) -> EndReason | None:
        return "max_new_tokens" if len(self.trace.steps) == len(self.recorded.steps) else None

    def step(self) -> bool:
        steps = self.recorded.steps[: len(self.trace.steps) + 1]
        self.trace = self.trace.model_copy(update={"steps": steps})
        return True


@pytest.fixture(scope="module")
def recorded() -> Trace:
    return sample_trace(steps=4)


def told(running: Generator[StepDone, None, str]) -> tuple[list[StepDone], str]:
    """Everything that is yielded, and the reason."""
    reasons: list[str] = []

    def keep() -> Generator[StepDone, None, None]:
        reasons.append((yield from running))

    return list(keep()), reasons[0]


def counted(*answers: bool) -> Callable[[], bool]:
    """These answers, one a call."""
    return iter(answers).__next__


@pytest.mark.parametrize(
    ("conditions", "count", "reason"),
    [
        ({}, 4, "run ended"),
        ({"steps": 4}, 4, "run ended"),
        ({"steps": 3}, 3, "steps"),
        ({"steps": 0}, 0, "steps"),
        ({"must_stop": counted(True)}, 0, "stop"),
        ({"must_stop": counted(False, False, True)}, 2, "stop"),
        ({"seconds": 1e6}, 4, "run ended"),
        ({"seconds": -1}, 1, "seconds"),
    ],
)
def test_what_ends_it(recorded: Trace, conditions: dict[str, Any], count: int, reason: str) -> None:
    session = Replayed(recorded)
    done, why = told(run_until(session, **conditions))
    assert why == reason
    assert [one.count for one in done] == [*range(1, count + 1)]
    assert session.trace.steps == recorded.steps[:count]
    # Whoever is stopped from outside cannot know it at the last step.
    last_is_known = reason in ("run ended", "steps")
    assert [one.is_last for one in done] == [last_is_known and place == count for place in range(1, count + 1)]


def test_the_first_step_that_meets_a_breakpoint_is_the_last(recorded: Trace) -> None:
    until = Breakpoints(token=recorded.steps[2].committed[0])
    first = next(place for place in range(4) if hits(recorded, place, until))
    done, why = told(run_until(Replayed(recorded), breakpoints=until, steps=4))
    assert why == "breakpoint"
    assert [one.is_last for one in done] == [False] * first + [True]
    assert [list(one.hits) for one in done] == [[]] * first + [hits(recorded, first, until)]


def test_a_session_that_is_gone_ends_it_before_the_step(recorded: Trace) -> None:
    session, there = Replayed(recorded), counted(True, True, False)
    done, why = told(run_until(session, step=lambda: there() and session.step()))
    assert (len(done), len(session.trace.steps), why) == (2, 2, "session gone")
