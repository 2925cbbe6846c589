"""The lessons say what their runs say: every claim is worked out again here from the trace."""

from __future__ import annotations

import re

import pytest

from specviz.digits import digits
from specviz.errors import TraceError
from specviz.lessons import LESSONS, FilledLesson, text_of
from specviz.trace.io import load_trace
from specviz.trace.schema import Choice, Trace
from tests.pairs import make_trace
from tests.paths import ASSETS
from tests.tools.record_assets import FILE

BY_NAME = {lesson.name: lesson for lesson in LESSONS}
WORDS_A_MINUTE = 130
"""A slow reader of a technical text."""


def told(name: str) -> tuple[Trace, FilledLesson, str]:
    trace = load_trace(ASSETS / f"{BY_NAME[name].run}.json.gz")
    lesson = BY_NAME[name].fill(trace)
    return trace, lesson, " ".join((*before(lesson), text_of(lesson.solved)))


def before(lesson: FilledLesson) -> list[str]:
    """What is read before it is answered."""
    return [*map(text_of, (*lesson.paragraphs, lesson.aside)), lesson.question, lesson.hint]


def mean(trace: Trace, verifier: str) -> str:
    return f"{sum(len(step.verdicts[verifier].path) for step in trace.steps) / len(trace.steps):.2f}"


def decided(trace: Trace, lesson: FilledLesson, verifier: str) -> dict[int, object]:
    return {d.node: d for d in trace.steps[lesson.step].verdicts[verifier].decisions}


def test_there_are_seven_and_each_is_read_in_under_three_minutes():
    assert [lesson.name for lesson in LESSONS] == ["chain", "trees", "residual", "eta", "longest", "cache", "bug"]
    for name in BY_NAME:
        _, _, text = told(name)
        assert len(text.split()) < 2.0 * WORDS_A_MINUTE, "a minute stays for the picture"


def test_every_number_of_a_lesson_changes_with_its_run():
    # A number of its own in a template is an assertion error in the module; here: none is left that was not filled in.
    for name in BY_NAME:
        assert "{" not in told(name)[2]
        assert re.search(r"\d", told(name)[2])


def test_chain():
    trace, lesson, text = told("chain")
    step = trace.steps[lesson.step]
    assert [node.parent for node in step.tree.nodes] == [-1, 0, 1, 2, 3]
    verdict = step.verdicts["rejection"]
    assert verdict.path
    broken = verdict.decisions[len(verdict.path)]
    assert broken.outcome == "rejected"
    assert broken.uniform >= broken.threshold
    assert lesson.nodes == {broken.node}
    first = verdict.decisions[0]
    assert first.uniform < first.threshold
    for number in (
        first.p,
        first.q,
        first.threshold,
        first.uniform,
        broken.p,
        broken.q,
        broken.threshold,
        broken.uniform,
    ):
        assert digits(number) in text
    assert f"kept {mean(trace, 'rejection')} drafted tokens a step" in text
    assert f"Over the {len(trace.steps)} steps" in text


def test_trees():
    trace, lesson, text = told("trees")
    step = trace.steps[lesson.step]
    path = step.verdicts["rejection"].path
    (node,) = lesson.nodes
    assert node == path[0]
    assert step.tree.nodes[node].rank >= 1
    leaving = 0
    alone = 0
    for one in trace.steps:
        firsts = 0
        for at in one.verdicts["rejection"].path:
            if one.tree.nodes[at].rank:
                leaving += 1
                break
            firsts += 1
        alone += firsts
    assert f"In {leaving} of the {len(trace.steps)} steps" in text
    assert f"given {alone / len(trace.steps):.2f} tokens a step; the tree gave {mean(trace, 'rejection')}" in text


def test_residual():
    trace, lesson, text = told("residual")
    nodes = trace.steps[lesson.step].tree.nodes
    by_node = decided(trace, lesson, "rejection")
    changed = {n for n, d in by_node.items() if d.p is not None and abs(d.p - nodes[n].target_prob) > 1e-4}
    assert lesson.nodes >= changed
    assert changed
    for node in lesson.nodes:
        earlier = [d for n, d in by_node.items() if n < node and nodes[n].parent == nodes[node].parent]
        assert any(d.outcome == "rejected" for d in earlier)
    shown = int(re.search(r"node (\d+), for one", text)[1])
    assert shown in lesson.nodes
    assert f"{digits(nodes[shown].target_prob)}, but rejection judged it with p = {digits(by_node[shown].p)}" in text
    rejected = by_node[int(re.search(r"node (\d+) was rejected", text)[1])]
    assert f"has mass {digits(rejected.residual.mass)}" in text


def test_eta():
    trace, lesson, text = told("eta")
    eta, rejection = (decided(trace, lesson, name) for name in ("eta", "rejection"))
    for node in lesson.nodes:
        assert eta[node].p > eta[node].threshold
        assert rejection[node].uniform >= rejection[node].threshold
    options = trace.steps[lesson.step].verdicts["eta"].options
    assert f"epsilon is {options['epsilon']} and delta is {options['delta']}" in text
    assert f"eta accepts {mean(trace, 'eta')} tokens a step and rejection {mean(trace, 'rejection')}" in text


def test_longest():
    trace, lesson, text = told("longest")
    verdicts = trace.steps[lesson.step].verdicts
    assert lesson.nodes == {verdicts["longest_path"].path[-1]}
    assert len(verdicts["longest_path"].path) > len(verdicts["traversal"].path)
    assert verdicts["longest_path"].lossless == "no"
    assert verdicts["traversal"].lossless == "yes"
    assert f"{mean(trace, 'longest_path')} tokens a step, rejection {mean(trace, 'rejection')}" in text
    assert f"Traversal accepts {mean(trace, 'traversal')} tokens a step" in text


def test_cache():
    trace, lesson, text = told("cache")
    change = trace.steps[lesson.step].caches.target
    source, place = max(change.moves, key=lambda move: move[0] - move[1])
    (node,) = lesson.nodes
    assert next(slot.slot for slot in change.appended if slot.node == node) == source
    assert f"from slot {source} to slot {place}" in text
    assert f"keeps {len(change.appended) - len(change.dropped)} of these entries" in text
    assert f"throws {len(change.dropped)} away" in text
    assert f"becomes {change.length_after}" in text


def test_bug():
    trace, lesson, text = told("bug")
    assert load_trace(FILE) == trace
    step = trace.steps[lesson.step]
    change = step.caches.target
    for node in lesson.nodes:
        place = 1 + step.verdicts[step.driver].path.index(node)
        before = next(m for s, m in zip(change.appended, change.fingerprints_before, strict=True) if s.node == node)
        assert change.fingerprints_after[place] != before
        assert f"should be in slot {change.length_before + place}" in text
    assert not change.moves
    for one in (change for each in trace.steps for change in (each.caches.target, each.caches.draft)):
        assert set(one.fingerprints_after) <= set(one.fingerprints_before), "every slot holds what can be named"
    assert all(one.caches.target.audit for one in trace.steps)
    worst = max(x for rows in (change.audit.keys, change.audit.values) for row in rows for x in row)
    assert worst > 0.01
    assert f"off by up to {digits(worst)}" in text
    for earlier in trace.steps[: lesson.step]:
        audit = earlier.caches.target.audit
        assert max(x for rows in (audit.keys, audit.values) for row in rows for x in row) < 1e-4


def test_nothing_before_the_answer_gives_it_away():
    """Neither the numbers that light cards nor the words; and where the step is asked for, not the step."""
    for name in BY_NAME:
        trace, lesson, _ = told(name)
        lit = {
            piece.node
            for sentence in (*lesson.paragraphs, lesson.aside)
            for piece in sentence
            if piece.node is not None
        }
        assert not lit & lesson.nodes, name
        named = {int(number) for text in before(lesson) for number in re.findall(r"node (\d+)", text)}
        assert not named & lesson.nodes, name
        if lesson.asks_step:
            numbers = {int(number) for text in before(lesson) for number in re.findall(r"\d+", text)}
            assert numbers == {len(trace.steps)}
    asked = [name for name in BY_NAME if told(name)[1].asks_step]
    assert asked == ["bug"]


def test_every_wrong_answer_has_its_reason():
    for name in BY_NAME:
        trace, lesson, _ = told(name)
        assert lesson.otherwise
        assert not {(lesson.step, node) for node in lesson.nodes} & set(lesson.wrong)
        driver = lesson.verifier
        for (index, node), why in lesson.wrong.items():
            step = trace.steps[index]
            assert 0 < node < len(step.tree.nodes)
            by_node = {d.node: d for d in step.verdicts[driver].decisions}
            if found := re.search(r"coin (\S+) is below its threshold (\S+), so", text_of(why)):
                assert by_node[node].outcome == "accepted"
                assert found.groups() == (digits(by_node[node].uniform), digits(by_node[node].threshold))
            if found := re.search(
                r"coin (?:of its edge, )?([^ ,]+),? missed its accept zone, which ends at (\S+?)[.:](?:\s|$)",
                text_of(why),
            ):
                assert by_node[node].outcome == "rejected"
                assert found.groups() == (digits(by_node[node].uniform), digits(by_node[node].threshold))
            if "refused" in text_of(why):
                assert by_node[node].outcome == "rejected"
                assert by_node[node].p <= by_node[node].threshold
    _, chain, _ = told("chain")
    assert [text_of(why) for why in chain.wrong.values()] == [
        "Its coin 0.877 is below its threshold 2.31, so it stayed."
    ]


def test_the_reasons_about_the_bug_are_what_the_caches_hold():
    trace, lesson, _ = told("bug")
    accepted = {(step.index, node) for step in trace.steps for node in step.verdicts[step.driver].path}
    assert set(lesson.wrong) == accepted - {(lesson.step, node) for node in lesson.nodes}
    for (index, node), why in lesson.wrong.items():
        step = trace.steps[index]
        change = step.caches.target
        place = 1 + step.verdicts[step.driver].path.index(node)
        prints = dict(zip([slot.node for slot in change.appended], change.fingerprints_before, strict=True))
        slot = change.length_before + place
        if slot >= change.length_after:
            assert step is trace.steps[-1]
            assert text_of(why) == "The text ends before it, so its entry was not to be kept."
        elif change.fingerprints_after[place] == prints[node]:
            assert text_of(why) == f"Slot {slot} holds its entry after the update, as it must."
        else:
            assert index > lesson.step
            assert text_of(why) == "It did lose its entry, but it was not the first to."


def test_a_run_that_shows_nothing_is_said_to():
    with pytest.raises(TraceError, match="no step that shows"):
        BY_NAME["trees"].fill(make_trace(builder=chain_of_one()))


def chain_of_one():
    return Choice(name="k_config", options={"tree": "1"})
