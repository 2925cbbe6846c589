"""How well a draft's numbers fit: counted by hand on small runs, and intervals that hold what they say."""

from __future__ import annotations

import random

import pytest

from specviz.digits import digits
from specviz.trace.calibration import (
    LEAST_STEPS,
    calibration_by_depth,
    confidence_by_depth,
    outside_vocabulary,
    ratio_interval,
    student,
    wilson,
)
from specviz.trace.schema import Trace
from specviz.trace.summary import summary
from tests.head_traces import DSPARK, EAGLE3, head_trace
from tests.sample_traces import k_config, sample_trace


@pytest.fixture(scope="module")
def trace() -> Trace:
    return head_trace(EAGLE3, parents=k_config(3, 2))


def test_q_by_depth_is_that_of_the_drafted_tokens_beside_what_the_target_gives_them(trace: Trace) -> None:
    found = calibration_by_depth(trace.steps)
    assert len(found) == 2
    for depth, one in enumerate(found, start=1):
        nodes = [node for step in trace.steps for node in step.tree.nodes if node.depth == depth]
        assert (one.steps, one.drafted) == (len(trace.steps), len(nodes))
        assert one.q == pytest.approx(sum(node.draft_prob for node in nodes) / len(nodes))
        assert one.p == pytest.approx(sum(node.target_prob for node in nodes) / len(nodes))
        low, high = one.off
        assert low < one.p - one.q < high
        paths = [step.verdicts[step.driver].path for step in trace.steps]
        assert one.reached == sum(len(path) >= depth - 1 for path in paths)
        assert one.accepted == sum(len(path) >= depth for path in paths)


def test_what_was_not_recorded_is_left_out_and_not_taken_for_zero(trace: Trace) -> None:
    def without(step):
        nodes = [node.model_copy(update={"draft_prob": None} if node.depth == 1 else {}) for node in step.tree.nodes]
        return step.model_copy(update={"tree": step.tree.model_copy(update={"nodes": tuple(nodes)})})

    first, second = calibration_by_depth([without(step) for step in trace.steps])
    assert (first.steps, first.drafted, first.q, first.p, first.off) == (0, 0, None, None, None)
    assert first.reached == len(trace.steps), "what was accepted is known all the same"
    assert second.drafted
    assert calibration_by_depth([]) == []
    assert confidence_by_depth(trace.steps) == []
    assert outside_vocabulary(sample_trace().steps) is None


def test_what_cannot_be_proposed_is_a_mean_over_the_nodes_that_were_reached(trace: Trace) -> None:
    values, taken = [], 0
    for step in trace.steps:
        path = step.verdicts[step.driver].path
        for depth, node in enumerate((0, *path)):
            if any(other.parent == node for other in step.tree.nodes):
                values.append(step.tree.nodes[node].p_outside)
                taken += depth < len(path)
    found = outside_vocabulary(trace.steps)
    assert (found.nodes, found.accepted, found.steps) == (len(values), taken, len(trace.steps))
    assert found.p == pytest.approx(sum(values) / len(values))
    assert len(values) < sum(len(step.tree.nodes) for step in trace.steps)


def test_confidence_stands_beside_what_was_accepted_of_the_same_nodes() -> None:
    trace = head_trace(DSPARK, parents=k_config(3, 2))
    first, second = confidence_by_depth(trace.steps)
    said = [step.tree.nodes[0].draft.confidence for step in trace.steps]
    assert (first.nodes, first.said) == (len(said), pytest.approx(sum(said) / len(said)))
    assert first.accepted == second.nodes == sum(bool(step.verdicts[step.driver].path) for step in trace.steps)
    assert second.accepted == sum(len(step.verdicts[step.driver].path) == 2 for step in trace.steps)


def test_of_few_steps_no_interval_is_given(trace: Trace) -> None:
    few = calibration_by_depth(trace.steps[: LEAST_STEPS - 1])
    assert [(one.off, one.share) for one in few] == [(None, None)] * 2
    assert few[0].q is not None
    assert outside_vocabulary(trace.steps[: LEAST_STEPS - 1]).interval is None
    assert calibration_by_depth(trace.steps[:LEAST_STEPS])[0].off is not None
    assert wilson(9, 9) is None


@pytest.mark.parametrize(("freedom", "table"), [(9, 2.262), (14, 2.145), (30, 2.042), (200, 1.972)])
def test_the_quantile_is_that_of_the_tables(freedom: int, table: float) -> None:
    assert student(freedom) == pytest.approx(table, abs=1.1e-3)


def test_intervals_hold_as_often_as_they_say() -> None:
    """Steps of some nodes each that resemble each other: 95 % of 600 intervals over 15 steps should hold 0."""
    luck, held = random.Random(5), 0
    for _ in range(600):
        by_step = []
        for _ in range(15):
            count, common = luck.randint(1, 6), luck.gauss(0, 0.2)
            by_step.append((sum(common + luck.gauss(0, 0.1) for _ in range(count)), count))
        low, high = ratio_interval(by_step)
        held += low <= 0 <= high
    assert 0.92 < held / 600 < 0.98


def test_wilsons_interval_is_that_of_the_literature() -> None:
    """81 of 263: 0.255 to 0.366 (Newcombe 1998, method 3)."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(20, 20)[1] == 1.0


def test_the_summary_tells_the_draft_and_what_was_not_recorded_of_it(trace: Trace) -> None:
    said = summary(trace)
    first = calibration_by_depth(trace.steps)[0]
    assert "draft head: eagle3, step, reads the target's hidden states 2, 18, 36, the last layer's before" in said
    assert "set by hand: reads, norm_output" in said
    assert f"drafted at depth 1: mean q {digits(first.q)}, mean p {digits(first.p)} over {first.drafted} tokens" in said
    assert f"accepts at most {digits(1 - outside_vocabulary(trace.steps).p)} on average" in said
    assert "too few steps for an interval" not in said

    bare = sample_trace(steps=2).model_copy(update={"models": trace.models})
    assert "p outside the draft's vocabulary: not recorded" in summary(bare)
    assert "too few steps for an interval" in summary(bare)
    assert "draft head" not in summary(sample_trace(steps=2))
    assert "confidence at depth 1" in summary(head_trace(DSPARK))
