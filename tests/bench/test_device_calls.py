"""Counting waits and launches: the sorting on calls that are made up, the marks on a profile of a real step."""

from __future__ import annotations

import json

import pytest

from specviz.bench.device_calls import FORWARD, REST, Calls, Span, StepCalls, calls_by_part, calls_lines, profiled_step
from specviz.bench.step_cost import TREES, session_for
from specviz.models.loading import Pair
from tests.block_pairs import block_pair
from tests.pairs import make_pair, make_reading_pair
from tests.step_pairs import step_pair


def test_a_call_counts_where_it_was_made_and_inside_a_forward_there_alone() -> None:
    spans = [
        Span("cudaLaunchKernel", 0, 1),  # before the step
        Span("specviz.rest", 1, 62),
        Span("cudaMemcpyAsync", 2, 3),  # before any phase
        Span("specviz.draft", 10, 50),
        Span("cudaLaunchKernel", 11, 12),
        Span("specviz.forward", 20, 40),
        Span("specviz.forward", 22, 38),  # the layers inside the model
        Span("cudaLaunchKernelExC", 23, 24),
        Span("cuLaunchKernel", 39, 40),
        Span("cudaStreamSynchronize", 39.5, 40),
        Span("aten::add", 41, 42),
        Span("cudaStreamSynchronize", 45, 46),
        Span("specviz.verify", 50, 60),
        Span("cudaEventSynchronize", 50, 51),
        Span("cudaDeviceSynchronize", 59, 61),
        Span("cudaMemcpyAsync", 52, 53),
        Span("cudaDeviceSynchronize", 63, 64),  # the profiler, when it ends
    ]
    for order in (spans, spans[::-1]):
        assert calls_by_part(order) == {
            "draft": Calls(waits=1, launches=1),
            FORWARD: Calls(waits=1, launches=2),
            "verify": Calls(waits=2, copies=1),
            REST: Calls(copies=1),
        }


def test_a_step_is_told_without_its_forwards_and_as_medians() -> None:
    steps = ({"draft": Calls(1, 10), FORWARD: Calls(9, 90)}, {"draft": Calls(3, 30)}, {"draft": Calls(8, 80)})
    found = StepCalls(TREES[0], (3, 3, 2), steps)
    assert found.outside("waits") == 3
    assert found.of("draft", "launches") == 30
    assert found.of(FORWARD, "waits") == 0
    values = json.loads(json.dumps(found.as_json()))
    assert values["outside_the_forwards"] == {"waits": 3, "launches": 30, "copies": 0}
    assert values["levels"] == 3
    assert [line.split()[:2] for line in calls_lines([found])][2:] == [["draft", "3"], ["forward", "0"]]


def hooks(pair: Pair) -> int:
    modules = [*pair.target.model.modules(), *pair.draft.model.modules()]
    return sum(len(module._forward_pre_hooks) + len(module._forward_hooks) for module in modules)


@pytest.mark.parametrize("pair", [make_pair(), make_reading_pair()], ids=["tokens", "reads its target"])
def test_the_profiler_sees_every_phase_and_every_forward_of_a_real_step(pair: Pair) -> None:
    session, same = session_for(pair, TREES[0]), list(session_for(pair, TREES[0]).run(2))
    before = hooks(pair)
    parts, forwards = profiled_step(session)
    assert forwards == 4  # the prefill's, and three levels
    assert {"draft", "score", "verify", "commit", "record", FORWARD} <= parts.keys()
    assert set(parts.values()) == {Calls()}  # no call of CUDA on a CPU
    step = session.step()
    assert [session.steps[0].tree, step.tree] == [one.tree for one in same]
    assert hooks(pair) == before  # those that transformers has set


@pytest.mark.parametrize(("pair", "forwards"), [(step_pair("eagle1"), 3), (block_pair("medusa"), 1)])
def test_forwards_of_a_draft_head_are_marked(pair: Pair, forwards: int) -> None:
    session = session_for(pair, TREES[0])
    session.step()
    _, counted = profiled_step(session)
    assert counted == forwards
    assert "_run" not in vars(pair.draft)
