"""The phases inside a step: their order, what each sentence says, and that none tells what comes later."""

from __future__ import annotations

import pytest

from specviz.figures.phases import is_walk, step_phases
from specviz.figures.text import visible
from specviz.trace.schema import Step
from tests.sample_traces import HOSTILE, RULES, k_config, random_tree, sample_trace


def phases_of(step: Step, shown=None) -> dict:
    return step_phases(step, range(len(step.tree.nodes)) if shown is None else shown)


def test_levels_first_then_the_target_then_decisions_then_the_update():
    step = sample_trace(k_config(4, 2, 2), steps=1, verifiers=tuple(RULES)).steps[0]
    phases = phases_of(step)
    assert [(phase["kind"], phase.get("depth")) for phase in phases["before"]] == [
        ("draft", 1),
        ("draft", 2),
        ("draft", 3),
        ("target", None),
    ]
    assert [phase["kind"] for phase in phases["after"]] == ["commit", "cache"]
    for name, verdict in step.verdicts.items():
        *decided, last = phases["verdicts"][name]["phases"]
        assert [phase["node"] for phase in decided] == [decision.node for decision in verdict.decisions]
        assert [phase["upto"] for phase in decided] == list(range(1, len(decided) + 1))
        assert last["kind"] == "verdict"


def test_a_decision_is_told_with_its_numbers():
    step = sample_trace(verifiers=tuple(RULES), seed=3).steps[0]
    phases = phases_of(step)["verdicts"]
    decision = step.verdicts["rejection"].decisions[0]
    said = phases["rejection"]["phases"][0]["caption"]
    assert said.startswith("rejection: u ")
    assert f"“{visible(step.tree.nodes[decision.node].text)}”" in said
    assert (" < p/q " in said) == (decision.outcome != "rejected")
    assert " ≥ p/q " in next(
        phase["caption"]
        for phase, taken in zip(phases["rejection"]["phases"], step.verdicts["rejection"].decisions, strict=False)
        if taken.outcome == "rejected"
    )
    assert phases["eta"]["phases"][0]["caption"].startswith("eta: p ")
    assert "the target drew" in phases["naive"]["phases"][0]["caption"]
    assert "the target likes best" in phases["greedy"]["phases"][0]["caption"]


@pytest.mark.parametrize("name", RULES)
def test_only_a_walk_accepts_at_once(name):
    """A rule that passes several siblings chooses at its end: until then nothing counts as accepted."""
    for seed in range(8):
        step = sample_trace(verifiers=(name,), seed=seed, steps=1).steps[0]
        verdict = step.verdicts[name]
        told = phases_of(step)["verdicts"][name]
        assert told["walk"] == is_walk(step, verdict)
        if any(decision.outcome == "passed, not chosen" for decision in verdict.decisions[:-1]):
            early = [phase["caption"] for phase in told["phases"][:-1]]
            assert told["walk"] or not any("→ accepted" in caption for caption in early)


def test_the_verdict_the_commit_and_the_update_name_what_was_kept():
    trace = sample_trace(seed=3)
    step = trace.steps[0]
    verdict = step.verdicts["rejection"]
    phases = phases_of(step)
    ends = phases["verdicts"]["rejection"]["phases"][-1]["caption"]
    assert f"from the {verdict.bonus.source} at node {verdict.bonus.node}" in ends
    commit, update = (phase["caption"] for phase in phases["after"])
    assert "rejection is the driver" in commit
    target = step.caches.target
    assert f"target keeps {len(target.appended) - len(target.dropped)} of {len(target.appended)} new slots" in update
    assert f"length {target.length_after}" in update


def test_decisions_about_folded_nodes_are_told_together():
    step = sample_trace(random_tree(300, seed=2), steps=1, verifiers=("longest_path",)).steps[0]
    decisions = step.verdicts["longest_path"].decisions
    shown = {decision.node for decision in decisions[1:3]}
    phases = phases_of(step, shown)["verdicts"]["longest_path"]["phases"]
    assert [phase["upto"] for phase in phases[:-1]][-1] == len(decisions)
    assert phases[0] == {
        "kind": "decide",
        "node": None,
        "upto": 1,
        "caption": f"longest_path: one decision about folded nodes, {int(decisions[0].outcome == 'rejected')} rejected",
    }
    assert sum(phase["node"] is not None for phase in phases[:-1]) == 2


def test_a_step_without_a_draft_still_has_phases():
    phases = phases_of(sample_trace([-1], steps=1).steps[0])
    assert [phase["kind"] for phase in phases["before"]] == ["target"]
    assert phases["verdicts"]["rejection"]["phases"][-1]["caption"].startswith("rejection accepts nothing; bonus token")


def test_hostile_tokens_are_made_visible_in_sentences():
    step = sample_trace(tokens=HOSTILE, steps=1, seed=1).steps[0]
    said = str(phases_of(step))
    assert "\u202e" not in said
    assert "\u200b" not in said
