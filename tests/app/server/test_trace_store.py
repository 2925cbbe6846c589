"""Runs in memory: what is packed comes back as it was, and all pages together stay within a bound."""

from __future__ import annotations

import contextlib
import gc

import pytest

from specviz.app import page_state as desks
from specviz.app.page_state import PageState, Run
from specviz.app.server import trace_store as storing
from specviz.app.server.trace_store import StoredTrace, TraceLru
from specviz.models.pair_spec import ModelChoice
from specviz.trace.io import dump_trace
from specviz.trace.schema import TokenText, Trace
from tests.recorder.steps import recorder
from tests.sample_traces import sample_trace


@pytest.fixture
def room(monkeypatch) -> TraceLru:
    """There is memory for two runs of three steps."""
    made = TraceLru(int(2.5 * len(dump_trace(trace_of("x")))))
    monkeypatch.setattr(storing, "_UNPACKED", made)
    return made


def trace_of(id: str, steps: int = 3) -> Trace:
    return sample_trace(steps=steps).model_copy(update={"id": id})


def test_what_was_packed_comes_back_as_it_was(room):
    trace = trace_of("a")
    stored = StoredTrace(trace)
    assert stored.trace is trace
    stored.pack()
    assert stored.is_packed
    assert stored.trace == trace
    assert dump_trace(stored.trace) == dump_trace(trace)
    assert not stored.is_packed
    stored.pack()
    assert stored.trace == trace


def test_steps_that_failed_come_back_too(room):
    rec = recorder(strict=False)
    for fails in (False, True, True, False, True):
        with contextlib.suppress(ZeroDivisionError), rec.step() as step:
            step.verify(accepted=[], bonus=0 // (not fails))
    trace = rec.trace()
    assert ([one.index for one in trace.failures], trace.failed.index, len(trace.steps)) == ([1, 1], 2, 2)
    stored = StoredTrace(trace)
    stored.pack()
    assert stored.trace == trace
    stored.pack()
    assert stored.head.failures == ()


def test_the_head_is_at_hand_without_unpacking(room):
    trace = trace_of("a")
    stored = StoredTrace(trace)
    stored.pack()
    for name in ("prompt", "settings", "models", "forked_from", "end_reason"):
        assert getattr(stored.head, name) == getattr(trace, name)
    assert stored.head.steps == ()
    assert (stored.id, stored.steps, stored.tokens) == ("a", 3, len(trace.output_tokens()))
    assert stored.is_packed


def test_the_run_used_longest_ago_is_packed_first(room):
    a, b = StoredTrace(trace_of("a")), StoredTrace(trace_of("b"))
    assert a.trace.id == "a"
    c = StoredTrace(trace_of("c"))
    assert [one.is_packed for one in (a, b, c)] == [False, True, False]
    assert b.trace.id == "b"
    assert [one.is_packed for one in (a, b, c)] == [True, False, False]
    assert room.total == b.size + c.size


def test_a_run_that_is_too_large_alone_is_still_shown(room):
    large, small = StoredTrace(trace_of("large", steps=9)), StoredTrace(trace_of("small"))
    assert large.is_packed
    assert not small.is_packed
    assert len(large.trace.steps) == 9
    assert not large.is_packed
    assert small.is_packed


def test_a_run_that_nobody_has_leaves_the_room(room):
    kept, gone = StoredTrace(trace_of("a")), StoredTrace(trace_of("b"))
    assert room.total == kept.size + gone.size
    del gone
    gc.collect()
    assert room.total == kept.size


def test_a_longer_state_of_a_run_is_measured_by_its_new_steps(room):
    short, long = trace_of("a", steps=2), trace_of("a", steps=5)
    whole = StoredTrace(long).size
    assert StoredTrace(long, StoredTrace(short)).size == pytest.approx(whole, rel=0.01)


def test_a_run_counts_by_its_packed_form():
    kept = StoredTrace(trace_of("a"))
    head = kept.held_bytes - kept.size // 4
    kept.pack()
    assert kept.held_bytes == head + len(storing.pack(kept.trace))
    assert 0 < head < 20_000


def test_what_is_kept_of_a_packed_run_has_no_list_that_a_file_makes_long():
    """A prompt of 400,000 tokens packs to nothing, and was kept as 200 MB of values."""
    count = 20_000
    texts = tuple(TokenText(id=i, text="a") for i in range(count))
    long = trace_of("a").model_copy(
        update={"prompt_tokens": tuple(range(count)), "prompt_texts": texts, "end_tokens": tuple(range(count))}
    )
    packed = storing.pack(long)
    for kept in (StoredTrace(long), StoredTrace.of_packed(packed, steps=long.steps, tokens=1, size=10**6)):
        assert len(dump_trace(kept.head)) < 20_000
        assert kept.head.prompt == long.prompt
        assert kept.trace == long


def test_a_desk_lets_the_oldest_go_when_its_runs_are_large(room, monkeypatch):
    one = StoredTrace(trace_of("x"))
    monkeypatch.setattr(desks, "MOST_BYTES", int(2.5 * one.held_bytes))
    desk = PageState()
    for id in "abc":
        desk = desk.show(Run(StoredTrace(trace_of(id)), id, ModelChoice()))
    assert [run.id for run in desk.runs] == ["b", "c"]
    desk = desk.show(Run(StoredTrace(trace_of("d", steps=30)), "d", ModelChoice()))
    assert [run.id for run in desk.runs] == ["c", "d"], "what was in sight and what is, however large"
