"""The phases inside a step: their order, what each sentence says, and that none tells what comes later."""

from __future__ import annotations

import pytest

from specviz.digits import digits
from specviz.figures.frames import run_header as make_header
from specviz.figures.frames import step_frame
from specviz.figures.phases import comparison, is_walk, step_phases
from specviz.figures.text import visible
from specviz.lessons import LESSONS
from specviz.trace.io import load_trace
from specviz.trace.schema import Sampling, Step
from tests.pairs import make_trace
from tests.paths import ASSETS
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
    assert f", {len(target.dropped)} stale, length {target.length_after}" in update


def test_what_a_cache_keeps_is_read_from_its_slots_and_not_from_what_was_meant():
    """A cut without a gathering drops nothing by its own account."""
    trace = sample_trace(fault="no_compaction", steps=6, seed=2)
    told = 0
    for step in trace.steps:
        change = step.caches.target
        kept = len(step.verdicts["rejection"].path) + 1
        claimed = change.model_copy(update={"dropped": (), "moves": ()})
        step = step.model_copy(update={"caches": step.caches.model_copy(update={"target": claimed})})
        update = phases_of(step)["after"][1]["caption"]
        assert f"target keeps {kept} of 29 new slots" in update
        assert f", {29 - kept} stale, length" in update
        assert "moved" not in update.split(";")[0]
        wrong = sum(a != b for a, b in zip((0, *step.verdicts["rejection"].path), range(kept), strict=True))
        assert (f", {wrong} of them not due there" in update) == (wrong > 0)
        told += wrong > 0
    assert told


def test_a_draft_that_ran_nothing_is_not_said_to_have_drafted():
    trace = make_trace(tree="prompt lookup", prompt="the sea the sea the sea", max_new_tokens=2)
    step = trace.steps[0]
    assert len(step.tree.nodes) > 1
    phases = phases_of(step)
    assert phases["before"][0]["caption"].startswith("Draft, level 1: prompt_lookup took “")
    assert "draft ran nothing, length" in phases["after"][1]["caption"]
    assert make_header(trace)["draftRan"] is False
    assert make_header(sample_trace(steps=1))["draftRan"] is True
    assert make_header(sample_trace(steps=1).model_copy(update={"steps": ()}))["draftRan"] is None


def test_a_target_that_gives_no_first_token_anything_likes_none_best():
    trace = make_trace(target=Sampling(temperature=0.0), max_new_tokens=6)
    step = next(s for s in trace.steps if not any(n.target_prob for n in s.tree.nodes[1:5]))
    assert "it gives none of the first level any probability" in phases_of(step)["before"][-1]["caption"]


def test_small_numbers_are_told_and_near_ones_told_apart():
    step = sample_trace(steps=1, seed=3).steps[0]
    verdict = step.verdicts["rejection"]
    decision = verdict.decisions[0].model_copy(
        update={"uniform": 0.34912, "threshold": 0.34918, "p": 0.000389, "q": 0.00804, "outcome": "accepted"}
    )
    said = comparison(step, decision)
    assert said == "u 0.3491 < p/q 3.89·10⁻⁴/0.00804 = 0.3492"


def test_the_sign_follows_the_numbers_and_an_outcome_that_does_not_is_told():
    step = sample_trace(steps=1, seed=3).steps[0]
    verdict = step.verdicts["rejection"]
    rejected = next(d for d in verdict.decisions if d.outcome == "rejected")
    wrong = rejected.model_copy(update={"uniform": 0.1, "threshold": 0.6})
    verdict = verdict.model_copy(update={"decisions": (wrong,), "path": ()})
    step = step.model_copy(update={"verdicts": step.verdicts | {"rejection": verdict}})
    said = phases_of(step)["verdicts"]["rejection"]["phases"][0]["caption"]
    assert "u 0.100 < p/q" in said
    assert "→ rejected" in said
    assert "these numbers do not give this outcome" in said
    sound = phases_of(make_trace(max_new_tokens=6).steps[0])["verdicts"]
    assert not any("do not give" in phase["caption"] for one in sound.values() for phase in one["phases"])


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


# ------------------------------------------------------------------------------------------- the shipped runs


SHIPPED = sorted(path for path in ASSETS.glob("*/*.json.gz") if path.parent.name != "faults")
"""Those of sound engines: tests/gallery says what is found in the others."""


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name.removesuffix(".json.gz"))
def test_what_is_said_of_a_shipped_run_is_what_it_recorded(path):
    """The sentences against the trace, number by number, by ways of their own."""
    trace = load_trace(path)
    for position, step in enumerate(trace.steps):
        frame, verdict = step_frame(trace, position), step.verdicts[step.driver]
        said, written = frame["summary"], len(step.committed)
        assert f"accepted {len(verdict.path)} of {len(step.tree.nodes) - 1} drafted tokens" in said
        assert ("without the bonus token" in said) == (written <= len(verdict.path))
        assert (f"after {written} of them" in said) == (written < len(verdict.path))
        assert all(letters[0] == "t" for letters in frame["tree"]["states"].values())
        for name, one in step.verdicts.items():
            *decided, last = frame["phases"]["verdicts"][name]["phases"]
            for phase, decision in zip(decided, one.decisions, strict=True):
                told = phase["caption"]
                assert "do not give this outcome" not in told
                assert ("→ rejected" in told) == (decision.outcome == "rejected")
                numbers = (decision.uniform, decision.threshold, decision.p)
                if decision.comparison == "uniform < threshold":
                    assert (" < " in told) == (decision.uniform < decision.threshold)
                    assert all(digits(n) in told for n in numbers[:2] if len(set(map(digits, numbers[:2]))) == 2)
            assert ("accepts nothing" in last["caption"]) == (not one.path)
        update = frame["phases"]["after"][1]["caption"]
        for model, sentence in zip(("target", "draft"), update.removeprefix("Cache update: ").split("; "), strict=True):
            change = getattr(step.caches, model)
            kept = sum(print_ in change.fingerprints_before for print_ in change.fingerprints_after)
            stale = len(change.appended) - kept
            assert sentence.startswith(f"{model} keeps {kept} of {len(change.appended)} new slots")
            assert (f", {stale} stale," in sentence) == (stale > 0)
            assert sentence.endswith(f"length {change.length_after}")
            cache = frame["caches"][model]
            assert [cache["slot"][i] for i, state in enumerate(cache["state"]) if state in "km"] == sorted(
                slot.slot
                for slot, print_ in zip(change.appended, change.fingerprints_before, strict=True)
                if print_ in change.fingerprints_after
            )


def test_the_first_fault_of_the_planted_run_is_where_its_lesson_says():
    lesson = LESSONS[-1]
    trace = load_trace(ASSETS / f"{lesson.run}.json.gz")
    found = [i for i in range(len(trace.steps)) if step_frame(trace, i)["caches"]["target"]["faults"]]
    assert found[0] == lesson.fill(trace).step
    update = step_frame(trace, found[0])["phases"]["after"][1]["caption"]
    assert "target keeps 3 of 16 new slots, 1 of them not due there, 13 stale, length 53" in update
