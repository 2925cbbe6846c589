"""A step is ended in the middle of long judging, and nothing that was recorded is lost."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest

from specviz.engine.run_until import run_until
from specviz.engine.session import Session
from specviz.interruption import PATIENCE, StepEndedError, end_if_asked, endable
from specviz.trace.schema import Choice, Settings
from tests.pairs import make_pair


def session(verifiers: tuple[str, ...], record_optimum: bool) -> Session:
    settings = Settings(
        builder=Choice(name="k_config", options={"tree": "2,2", "proposal": "with_replacement"}),
        verifiers=tuple(Choice(name=name) for name in verifiers),
        driver=verifiers[0],
        max_new_tokens=8,
        record_optimum=record_optimum,
    )
    return Session(make_pair(), settings, "the sea")


@pytest.mark.parametrize(
    ("verifiers", "record_optimum"),
    [(("rejection", "naive"), False), (("coupling",), False), (("rejection",), True)],
    ids=["between two verifiers", "between two nodes", "in the optimum"],
)
@pytest.mark.parametrize("by", ["seconds", "must_stop"])
def test_a_long_step_is_ended_and_can_be_run_again(monkeypatch, verifiers, record_optimum, by) -> None:
    straight = session(verifiers, record_optimum)
    list(straight.run(2))
    ended = session(verifiers, record_optimum)
    ended.step()
    clock = itertools.count(0, PATIENCE + 1)
    monkeypatch.setattr("specviz.interruption.time", SimpleNamespace(monotonic=lambda: next(clock)))
    asked = iter([False])
    over = {"seconds": -1.0} if by == "seconds" else {"must_stop": lambda: next(asked, True)}
    running = run_until(ended, **over)
    with pytest.raises(StopIteration) as stopped:
        next(running)
    assert stopped.value.value == "step ended"
    assert ended.end_reason is None
    assert ended.trace.failed is None
    assert [step.committed for step in ended.steps] == [straight.steps[0].committed]
    monkeypatch.undo()
    assert ended.must_end is None
    assert ended.step().committed == straight.steps[1].committed
    assert next(clock) == 2 * (PATIENCE + 1), "it was asked twice, and ended the second time"


def test_short_work_is_not_ended_and_outside_of_a_run_nothing_is(monkeypatch) -> None:
    end_if_asked()
    now = iter([0.0, PATIENCE, PATIENCE + 0.1, 0.0])
    monkeypatch.setattr("specviz.interruption.time", SimpleNamespace(monotonic=lambda: next(now)))
    with endable(lambda: True):
        end_if_asked()
        end_if_asked()
        with endable(None), pytest.raises(StepEndedError):
            end_if_asked()
    with endable(lambda: False):
        end_if_asked()
