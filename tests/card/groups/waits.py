"""How often a step waits for the card: never more often than its budget (tests/card/budgets.py) allows."""

from __future__ import annotations

from functools import lru_cache

import pytest
import torch

from specviz.compare.divergence import Divergences
from specviz.engine.session import Session
from specviz.models.loading import Pair
from tests.card.budgets import AUDIT, DIVERGENCE, STEP, TREES, WHAT_IF
from tests.card.counting import Counts, counting
from tests.card.measure import PROMPT, card_pair, measure_question, measure_step, recorded_run, settings_for
from tests.heads import pair_with

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def pair() -> Pair:
    return card_pair()


@lru_cache
def step_of(name: str):
    return measure_step(card_pair(), settings_for(TREES[name]))


def lines(counts: Counts) -> str:
    return "\n".join(f"{n:5} {phase:8} {line} {operation}" for n, phase, line, operation in counts.by_line("wait"))


def within(counts: Counts, most: int) -> None:
    waits = counts.total("wait")
    assert waits <= most, f"{waits} waits where {most} are allowed:\n{lines(counts)}"


@pytest.mark.parametrize("name", STEP)
def test_a_step_waits_no_more_than_it_may(name):
    measured = step_of(name)
    within(measured.counts, measured.forwards + STEP[name].waits)


@pytest.mark.parametrize(("nodes", "levels"), [(28, 3), (255, 4), (1023, 5)])
def test_steps_are_as_large_as_they_are_called(nodes, levels):
    measured = step_of(f"{nodes} nodes")
    assert (measured.nodes, measured.forwards) == (nodes, levels)


@pytest.mark.parametrize("name", STEP)
def test_a_step_launches_no_more_than_it_may(name):
    counts = step_of(name).counts
    told = "\n".join(map(str, counts.by_line("launch")[:30]))
    assert 0 < counts.total("launch") <= STEP[name].launches, told


@pytest.mark.parametrize("name", STEP)
def test_the_forwards_wait_for_nothing(name):
    counts = step_of(name).counts
    assert counts.total("launch", forward=True) > 50
    assert counts.total("wait", forward=True) == 0


@pytest.mark.parametrize("name", WHAT_IF)
def test_a_question_to_the_models_waits_no_more_than_it_may(name, pair):
    trace = recorded_run(pair, TREES[name])
    levels = max(node.depth for node in trace.steps[1].tree.nodes)
    within(measure_question(pair, trace), levels + WHAT_IF[name])


def test_a_comparison_s_divergence_waits_no_more_than_it_may(pair):
    session = Session(pair, settings_for(TREES["28 nodes"]), PROMPT)
    session.step()
    divergences, found = Divergences(), []

    def watch(*seen) -> None:
        with counting() as counts:
            divergences(*seen)
        found.append(counts)

    session.watch = watch
    session.step()
    assert len(divergences.found) == 1
    within(found[0], DIVERGENCE)


def test_an_audit_waits_no_more_than_it_may(pair):
    counts = measure_step(pair, settings_for(TREES["28 nodes"], audit=True)).counts
    waits = counts.total("wait", phase="audit")
    assert waits <= AUDIT, f"{waits} waits where {AUDIT} are allowed:\n{lines(counts)}"
    assert counts.total("launch", phase="audit") > 0


def test_a_wait_that_is_added_is_counted_where_it_is(monkeypatch):
    plain = Session._commit

    def commit(self, tree, scores, driver):
        tree.rows[0, 0].item()
        return plain(self, tree, scores, driver)

    before = step_of("28 nodes").counts
    monkeypatch.setattr(Session, "_commit", commit)
    after = measure_step(card_pair(), settings_for(TREES["28 nodes"])).counts
    assert after.total("wait") == before.total("wait") + 1


def test_every_wait_has_a_line_and_a_phase():
    counts = step_of("28 nodes").counts
    phases = {"draft", "score", "verify", "commit", "record"}
    assert {phase for _, phase, _, _ in counts.by_line("wait")} <= phases
    assert all(".py:" in line for _, _, line, _ in counts.by_line("wait"))
    assert sum(n for n, _, _, _ in counts.by_line("wait")) == counts.total("wait")
    assert sum(counts.total("launch", phase=phase) for phase in phases) == counts.total("launch")


@pytest.mark.parametrize("kind", ["eagle3, a part of the vocabulary", "medusa", "dspark"])
def test_a_step_of_a_draft_head_waits_no_more_than_that_of_a_model(kind):
    """A block head is run once and read once a level: its tokens are needed for the next one."""
    session = Session(pair_with(kind, card_pair()), settings_for(TREES["28 nodes"]), PROMPT)
    session.step()
    with counting() as counts:
        step = session.step()
    assert max(node.depth for node in step.tree.nodes) == 3
    within(counts, 3 + STEP["28 nodes"].waits)
