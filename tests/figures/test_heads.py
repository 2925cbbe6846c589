"""Draft heads on the page: caches by their own rules, on real runs of random heads and with planted faults."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from specviz.digits import digits
from specviz.engine.session import Session
from specviz.figures import block
from specviz.figures.cache_types import Cache
from specviz.figures.text import token_label
from specviz.trace.calibration import outside_vocabulary
from specviz.trace.schema import Choice, Trace
from tests import pairs
from tests.head_traces import DFLASH, EAGLE3, HEADS, P_EAGLE, head_trace, with_kept_draft
from tests.heads import pair_with

PART = ", a part of the vocabulary"
KINDS = {
    "eagle3": f"eagle3{PART}",
    "p_eagle": f"p_eagle{PART}",
    "dflash": "dflash",
    "dspark": "dspark",
    "medusa": "medusa",
}
"""Format -> which of :data:`tests.heads.KINDS` stands for it."""


@cache
def real(name: str) -> Trace:
    """A run of a small target with a random head of this format, as its files are read."""
    settings = pairs.make_settings("4,2,2", audit=True, max_new_tokens=6, verifiers=(Choice(name="rejection"),))
    session = Session(pair_with(KINDS[name]), settings, "the sea")
    list(session.run())
    return session.trace


def frames(trace: Trace) -> Iterator[tuple[dict[str, Any], Cache]]:
    for frame in block(trace, range(len(trace.steps)))["frames"]:
        yield frame, frame["caches"]["draft"]


@pytest.mark.parametrize("name", KINDS)
def test_a_sound_head_fits_and_says_which_states_its_slots_hold(name: str) -> None:
    trace = real(name)
    text = [*trace.prompt_tokens, *trace.output_tokens()]
    texts = {one.id: one for one in trace.prompt_texts} | {t.id: t for step in trace.steps for t in step.tokens}
    for step, (frame, own) in zip(trace.steps, frames(trace), strict=True):
        assert (own["faults"], own["lacks"]) == ([], [])
        assert frame["caches"]["target"]["faults"] == []
        assert frame["draftRan"], "Medusa, too, which writes no slots"
        drafted = [phase["caption"] for phase in frame["phases"]["before"] if phase["kind"] == "draft"]
        assert ["from the same forward" in caption for caption in drafted[1:]] == [name != "eagle3"] * 2
        of, at, said = (own["states"][part] for part in ("of", "at", "text"))
        assert own["kind"] == {"medusa": "none", "dflash": "states", "dspark": "states"}.get(name, "pairs")
        for i, source in enumerate(of):
            if source == "t":
                assert said[i] == token_label(texts[text[at[i]]])
                if own["kind"] == "pairs":
                    assert own["text"][i] == token_label(texts[text[at[i] + 1]]), "a pair is of the token after it"
            elif source == "o":
                assert at[i] == frame["tree"]["parent"][own["node"][i]]
        assert ("o" in of, "m" in of) == {"eagle3": (True, False), "medusa": (False, False)}.get(name, (False, True))
        held = own["settled"]
        offset = own["kind"] == "pairs"
        due = text[max(0, own["before"] - 3) + offset : own["before"] + offset]
        assert held == {"text": [token_label(texts[token]) for token in due], "step": [None] * len(due)}
        if "m" in own["role"]:
            head = trace.models.draft.head
            assert own["role"].count("m") >= head.depth - 1
            root = own["node"].index(0)
            assert own["position"][root:] == [*range(own["mask"]["root"], own["position"][-1] + 1)]
        assert step.caches.draft.audit.worst() < 1e-4


def test_what_a_head_says_beside_its_rows_is_carried() -> None:
    trace = real("dspark")
    for step, (frame, _) in zip(trace.steps, frames(trace), strict=True):
        rows = [(node.id, node.draft) for node in step.tree.nodes if node.draft]
        assert frame["nodes"]["bias"]["node"] == [node for node, _ in rows]
        for (_, row), by in zip(rows, frame["nodes"]["bias"]["by"], strict=True):
            assert by == pytest.approx(row.bias, rel=1e-5)
        confidence = frame["nodes"]["confidence"]
        assert [confidence[node] for node, _ in rows] == pytest.approx([row.confidence for _, row in rows])
        assert frame["nodes"]["outside"] is None
    trace = real("eagle3")
    for step, (frame, _) in zip(trace.steps, frames(trace), strict=True):
        assert frame["nodes"]["outside"] == pytest.approx([node.p_outside for node in step.tree.nodes])
        assert frame["nodes"]["confidence"] is None
        assert frame["nodes"]["bias"] == {"node": [], "by": []}


# ----------------------------------------------------------------------------------------------------------- faults


def with_draft(trace: Trace, position: int, **update: Any) -> Trace:
    """The trace with another change of the draft's cache in one step."""
    step = trace.steps[position]
    change = step.caches.draft.model_copy(update=update)
    changed = step.model_copy(update={"caches": step.caches.model_copy(update={"draft": change})})
    steps = [*trace.steps[:position], changed, *trace.steps[position + 1 :]]
    return trace.model_copy(update={"steps": tuple(steps)})


def faults_of(trace: Trace, position: int) -> str:
    return "\n".join(list(frames(trace))[position][1]["faults"])


@pytest.mark.parametrize("name", ["eagle3", "p_eagle", "dflash"])
def test_a_sound_cache_made_by_hand_has_no_fault(name: str) -> None:
    assert all(own["faults"] == [] for _, own in frames(head_trace(HEADS[name], steps=4)))


def test_drafted_keys_and_values_that_stay_are_found() -> None:
    """vllm #14649: the slots of accepted nodes stay, with the head's own states in place of the target's."""
    said = faults_of(with_kept_draft(head_trace(EAGLE3, steps=2)), 1)
    assert "does not hold what was kept for it: nothing should be there" in said
    assert "slots were to be kept, but the cache grew by" in said


def test_accepted_tokens_that_are_not_fed_again_are_found() -> None:
    trace = head_trace(EAGLE3, steps=4)
    step = next(i for i, one in enumerate(trace.steps) if any(s.role == "context" for s in one.caches.draft.appended))
    change = trace.steps[step].caches.draft
    late = sum(slot.role == "context" for slot in change.appended)
    base = change.length_before
    slots = [
        slot.model_copy(update={"slot": slot.slot - late, "position": slot.position - late, "sees": None})
        for slot in change.appended[late:]
    ]
    trace = with_draft(
        trace,
        step,
        appended=tuple(slots),
        dropped=tuple(slot.slot for slot in slots[1:]),
        length_after=base + 1,
        fingerprints_before=change.fingerprints_before[late:],
        fingerprints_after=change.fingerprints_before[late : late + 1],
    )
    assert f"Before the root the cache holds {base} pairs; the text has {base + late}." in faults_of(trace, step)


@pytest.mark.parametrize(
    ("head", "said"),
    [(P_EAGLE, "A slot that is no ancestor is seen by"), (DFLASH, "An ancestor is not seen by")],
    ids=lambda value: getattr(value, "format", ""),
)
def test_a_block_with_the_attention_of_the_other_kind_is_found(head: Any, said: str) -> None:
    trace = head_trace(head, steps=2)
    change = trace.steps[1].caches.draft
    block_slots = [slot.slot for slot in change.appended if slot.role != "context"]
    causal = head is DFLASH

    def turned(slot: Any) -> Any:
        if slot.role == "context":
            return slot
        seen = [one for one in block_slots if one <= slot.slot] if causal else block_slots
        text = [one.slot for one in change.appended if one.role == "context"]
        return slot.model_copy(update={"sees": (*text, *seen)})

    appended = tuple(turned(slot) for slot in change.appended)
    assert said in faults_of(with_draft(trace, 1, appended=appended), 1)


def test_positions_are_counted_with_the_offset_that_was_recorded() -> None:
    trace = head_trace(EAGLE3, steps=2)

    def shifted(head: Any) -> Trace:
        draft = trace.models.draft.model_copy(update={"head": head})
        return trace.model_copy(update={"models": trace.models.model_copy(update={"draft": draft})})

    one = EAGLE3.model_copy(update={"options": {"position_offset": 1}})
    assert "The position is not length + depth" in faults_of(shifted(one), 1)
    assert faults_of(shifted(EAGLE3.model_copy(update={"options": {"position_offset": "?"}})), 1) == ""


# ------------------------------------------------------------------------------------------------------------- page


@pytest.mark.browser
def test_the_page_shows_a_step_head_with_what_it_cannot_propose(from_file) -> None:
    trace = head_trace(EAGLE3)
    seen = from_file(trace)
    page = seen.page
    page.keyboard.press("Escape")
    step = page.inner_text(".sv-thisstep")
    assert "EAGLE-3: one forward a level, 1 layer of its own, can propose 120 of 200 tokens" in step
    assert "the target after layers 2, 18, 36 of 36; 36 before the final norm" in step
    assert "reads = 2, 18, 36; norm_output = false" in step
    assert page.locator(".sv-layerread").count() == 3
    seen.click_card(0)
    root = trace.steps[0].tree.nodes[0].p_outside
    box = page.locator(".sv-picture .sv-outsidebox")
    assert digits(root) in box.inner_text()
    assert f"no lossless rule accepts a drafted token with more than {digits(1 - root)}." in box.inner_text()
    assert box.locator("[data-path='trace.steps[0].tree.nodes[0].p_outside']").count() == 1
    width, bar = (page.locator(f".sv-picture {one}").bounding_box()["width"] for one in (".sv-outside", ".sv-outbar"))
    assert bar / width == pytest.approx(root, abs=0.02)
    seen.dock("totals")
    found = outside_vocabulary(trace.steps)
    totals = page.inner_text(".sv-drafttotals")
    assert f"Mean over the {found.nodes} nodes in {found.steps} steps" in totals
    assert f"a ceiling of {digits(1 - found.p)}" in totals
    assert "Confidence" not in totals
    page.keyboard.press("Shift+ArrowRight")
    page.wait_for_function("document.querySelector('.sv-drafttotals').innerText.includes('too few steps')")
    page.keyboard.press("Escape")
    page.click("[data-tab=cache]")
    page.click("[data-cache=model][value=draft]")
    page.wait_for_selector(".sv-slots [title*='the target\\'s state at']")
    assert page.locator('.sv-slots [title*="the head\'s own state at"]').count() > 1


@pytest.mark.browser
def test_the_page_shows_a_block_head_with_its_rows_its_bias_and_its_confidence(from_file) -> None:
    trace = real("dspark")
    seen = from_file(trace)
    page = seen.page
    page.keyboard.press("Escape")
    page.click("summary:has-text('Rows of the block')")
    rows = page.locator("table:has(caption:text-is('Rows of the block')) tbody tr")
    rows.first.wait_for()
    positions = [
        slot.position for slot in trace.steps[0].caches.draft.appended if slot.role == "mask" or slot.node == 0
    ]
    assert [rows.nth(i).locator("td").nth(1).inner_text() for i in range(rows.count())] == [*map(str, positions)]
    assert rows.nth(0).locator("td").last.inner_text() == "level 1"
    assert rows.nth(1).locator("td").nth(3).inner_text().startswith("masked, ")
    seen.click_card(0)
    row = trace.steps[0].tree.nodes[0].draft
    said = page.inner_text(".sv-numbers")
    assert f"confidence that a child is accepted: {digits(row.confidence)}" in said
    assert f"by {digits(max(row.bias))}" in said
    assert page.locator(".sv-numbers .sv-lift").count() == len(row.bias)
    assert page.locator("[data-path='trace.steps[0].tree.nodes[0].draft.bias[0]']").count() == 1
    assert page.locator(".sv-outsidebox").count() == 0, "it can propose every token"
    seen.dock("totals")
    assert "Confidence of the head" in page.inner_text(".sv-drafttotals")
