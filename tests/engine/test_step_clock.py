"""Seconds of a step, on a clock that the test winds."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from specviz.engine.step_clock import StepClock
from specviz.models import stopwatch
from specviz.trace.schema import Timings


def test_every_phase_is_split_and_what_is_outside_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: now.seconds)
    target, draft = (SimpleNamespace(device=torch.device("cpu"), forwards=[(0.0, 5.0)]) for _ in range(2))

    def work(seconds: float, model: SimpleNamespace | None = None) -> None:
        now.seconds += seconds
        if model is not None:
            model.forwards.append((now.seconds - seconds, now.seconds))

    clock = StepClock(target, draft, target)
    clock.restart()
    work(64.0, target)  # a prefill
    with clock.phase("draft"):
        work(1.0, draft)
        work(2.0)
    with clock.phase("score"):
        work(4.0, target)
        work(0.5)
    with clock.phase("verify"):
        work(8.0)
    work(128.0)  # somebody watches
    with clock.phase("commit"):
        work(16.0)
    with clock.phase("record"):
        work(32.0)
    without = Timings(draft=1.0, target=4.0, build=2.0, verify=8.5, commit=16.0, record=32.0, audit=0.0)
    assert clock.timings() == without
    with clock.phase("audit"):
        work(0.25)
    assert clock.timings() == without.model_copy(update={"audit": 0.25})

    clock.restart()
    assert clock.timings() == Timings(draft=0.0, target=0.0, build=0.0, verify=0.0, commit=0.0, record=0.0, audit=0.0)
