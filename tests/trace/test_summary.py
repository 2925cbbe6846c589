"""The lines that a recorded run is summed up with on the command line."""

from __future__ import annotations

from specviz.digits import digits
from specviz.trace.summary import summary
from tests import faults
from tests.pairs import make_trace
from tests.sample_traces import sample_trace


def audit_lines(trace) -> list[str]:
    return [line for line in summary(trace).splitlines() if line.startswith("audit: ")]


def test_an_audit_beyond_the_tolerance_is_not_told_as_if_it_were_within():
    with faults.no_compaction():
        trace = make_trace(audit=True, max_new_tokens=20)
    worst = [step.caches.target.audit.worst() for step in trace.steps]
    wrong = [i for i, value in enumerate(worst) if value > 1e-4]
    assert wrong[0] > 0
    target, _ = audit_lines(trace)
    assert f"off by at most {digits(max(worst), 2)} (relative)" in target
    assert f"step {wrong[0] + 1} is the first of {len(wrong)} beyond the tolerance 1·10⁻⁴" in target
    assert "within" not in target


def test_only_what_was_audited_is_told():
    trace = make_trace(audit=True, max_new_tokens=12)
    first = trace.steps[0]
    bare = first.caches.target.model_copy(update={"audit": None})
    nothing = first.caches.draft.model_copy(update={"audit": None})
    steps = [s.model_copy(update={"caches": s.caches.model_copy(update={"draft": nothing})}) for s in trace.steps]
    steps[0] = first.model_copy(update={"caches": first.caches.model_copy(update={"target": bare, "draft": nothing})})
    (line,) = audit_lines(trace.model_copy(update={"steps": tuple(steps)}))
    assert "the target's cache" in line
    assert f"at {len(steps) - 1} of {len(steps)} steps; within the tolerance" in line
    assert audit_lines(sample_trace(steps=2)) == []


def test_a_run_that_goes_on_is_not_said_not_to_have_started():
    trace = sample_trace(steps=2).model_copy(update={"end_reason": None})
    assert "in 2 steps, ended: not yet" in summary(trace)
    assert "in 0 steps, ended: not started" in summary(trace.model_copy(update={"steps": ()}))
