"""Intervals over steps hold what they say, and a difference between verifiers is called noise where it may be none."""

from __future__ import annotations

import random

import pytest

from specviz.trace.intervals import against, efficiency_interval, gap_interval, ranks_by_step, share_interval
from specviz.trace.metrics import acceptance_by_rank
from specviz.trace.schema import Step, Trace
from specviz.trace.summary import summary
from tests.sample_traces import k_config, sample_trace
from tests.tools.coverage import alike, coverage, decisions, lengths, mean_length


@pytest.fixture(scope="module")
def trace() -> Trace:
    return sample_trace(k_config(2, 1), steps=24, verifiers=("rejection", "eta"))


def test_the_intervals_of_the_totals_hold_the_truth() -> None:
    assert 0.91 < coverage(600, lambda luck: efficiency_interval(lengths(25, luck)), mean_length()) < 0.98
    assert 0.91 < coverage(600, lambda luck: share_interval(decisions(25, 0.4, luck)), 0.4) < 0.98
    luck = random.Random(1)
    differences = [efficiency_interval(alike(25, luck)) for _ in range(600)]
    assert 0.92 < sum(low <= 0 <= high for low, high in differences) / 600 < 0.99


def test_decisions_of_one_step_that_agree_are_worth_fewer() -> None:
    agree = [(4, 4) if i % 2 else (0, 4) for i in range(20)]
    apart = [(2, 4)] * 20
    (low, high), (least, most) = share_interval(agree), share_interval(apart)
    assert high - low > 1.7 * (most - least)
    assert share_interval(agree[:9]) is None
    assert share_interval([(0, 4)] * 20)[0] == 0


def accepted(step: Step, name: str, count: int) -> Step:
    """The step in which a verifier accepts so many nodes of a chain."""
    path = (1, 3)[:count]
    verdict = step.verdicts[name]
    bonus = verdict.bonus.model_copy(update={"node": path[-1] if path else 0})
    changed = verdict.model_copy(update={"path": path, "bonus": bonus})
    return step.model_copy(update={"verdicts": {**step.verdicts, name: changed}})


def compared(trace: Trace, eta: list[int]) -> Trace:
    steps = [accepted(accepted(step, "rejection", 1), "eta", eta[at % len(eta)]) for at, step in enumerate(trace.steps)]
    return trace.model_copy(update={"steps": tuple(steps)})


def test_a_difference_is_noise_unless_the_steps_agree_about_it(trace: Trace) -> None:
    noisy, sure, same = (compared(trace, eta) for eta in ([0, 2], [1, 2, 2], [1]))
    assert against(noisy, "eta", "rejection").noise is True
    found = against(sure, "eta", "rejection")
    assert (found.steps, found.parted, found.value, found.noise) == (24, 16, pytest.approx(2 / 3), False)
    assert found.interval[0] > 0
    none = against(same, "eta", "rejection")
    assert (none.parted, none.value, none.noise) == (0, 0, True)
    assert against(sure.model_copy(update={"steps": sure.steps[:9]}), "eta", "rejection").noise is None
    assert against(sure, "greedy", "rejection") is None
    assert "eta less rejection: +0.67 new tokens a step" in summary(sure)
    assert "more than noise" in summary(sure)
    assert "may be noise" in summary(noisy)
    assert "noise" not in summary(same), "where no step differs there is nothing to be sure of"


def test_an_end_token_that_ends_nothing_takes_no_bonus_token_away(trace: Trace) -> None:
    """Within ``min_new_tokens`` the text goes on behind an end token, in every figure alike."""
    plain = compared(trace, [1, 2, 2])
    ends = tuple(sorted({node.token for step in plain.steps for node in step.tree.nodes}))
    settings = plain.settings.model_copy(update={"min_new_tokens": 10_000})
    going_on = plain.model_copy(update={"end_tokens": ends, "settings": settings})
    assert against(going_on, "eta", "rejection") == against(plain, "eta", "rejection")
    assert _lines_about_lengths(summary(going_on)) == _lines_about_lengths(summary(plain))
    ending = plain.model_copy(update={"end_tokens": ends})
    assert _lines_about_lengths(summary(ending)) != _lines_about_lengths(summary(plain))


def _lines_about_lengths(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(("block efficiency of", "eta less"))]


def test_ranks_by_step_add_up_to_the_totals(trace: Trace) -> None:
    sums = [(sum(a for a, _ in one), sum(n for _, n in one)) for one in ranks_by_step(trace.steps, "rejection")]
    assert sums == acceptance_by_rank(trace.steps, "rejection")


def with_gaps(trace: Trace, gaps: list[float]) -> Trace:
    """The trace with an optimum of 0.6 at every root, of which eta expects so much less."""
    steps = []
    for step, gap in zip(trace.steps, gaps, strict=False):
        root, *others = step.tree.nodes
        eta = step.verdicts["eta"]
        expected = (0.6 - gap, *[None] * len(others))
        steps.append(
            step.model_copy(
                update={
                    "tree": step.tree.model_copy(update={"nodes": (root.model_copy(update={"optimum": 0.6}), *others)}),
                    "verdicts": {**step.verdicts, "eta": eta.model_copy(update={"expected_acceptance": expected})},
                }
            )
        )
    return trace.model_copy(update={"steps": tuple(steps)})


def test_how_far_a_rule_is_from_the_optimum_has_an_interval(trace: Trace) -> None:
    always = with_gaps(trace, [0.25] * 12)
    assert gap_interval(always.steps, "eta") == pytest.approx((0.25, 0.25))
    low, high = gap_interval(with_gaps(trace, [0.4, -0.2] * 8).steps, "eta")
    assert (low + high) / 2 == pytest.approx(0.1)
    assert -0.1 < low < 0
    assert "expected 0.350, optimum 0.600; optimum less expected +0.250 (95 %: 0.25 to 0.25)" in summary(always)
    assert gap_interval(always.steps[:9], "eta") is None
    assert gap_interval(always.steps, "rejection") is None
