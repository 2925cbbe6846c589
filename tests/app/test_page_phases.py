"""Step into, in Chromium: what the tree shows after each phase, and that it shows nothing that comes later."""

from __future__ import annotations

import pytest

from specviz.digits import digits
from specviz.figures.text import visible
from tests.browser import RIBBONS
from tests.pairs import make_trace
from tests.sample_traces import HOSTILE, RULES, k_config, sample_trace

pytestmark = pytest.mark.browser
CARDS = ".sv-card-node"


def caption(seen) -> str:
    return seen.page.inner_text("[aria-live=polite]")


def into(seen, text: str) -> None:
    """Press “.” until the sentence contains ``text``."""
    for _ in range(80):
        if text in caption(seen):
            return
        seen.page.keyboard.press(".")
    raise AssertionError(f"no phase says {text!r}")


def test_the_draft_grows_level_by_level_without_target_probabilities(from_file):
    trace = sample_trace(k_config(4, 2, 2), steps=2)
    seen = from_file(trace)
    for count in (1 + 4, 1 + 4 + 8, 1 + 4 + 8 + 16):
        seen.page.keyboard.press(".")
        assert seen.page.locator(CARDS).count() == count
        assert not seen.page.locator(f"{CARDS} :is(.sv-chance, .sv-coin, .sv-pip)").count()
        assert seen.page.locator(f"{CARDS} .sv-bar-q").count() == count - 1
        assert not seen.page.locator(f"{CARDS} .sv-bar-p").count()
        assert "level" in caption(seen)
    seen.page.keyboard.press(".")
    assert "one forward scores all 29 nodes" in caption(seen)
    node = trace.steps[0].tree.nodes[3]
    said = seen.page.get_attribute(f"{CARDS}[data-node='3']", "aria-label")
    assert f"draft {digits(node.draft_prob)}, target {digits(node.target_prob)}" in said
    assert seen.page.locator(f"{CARDS} .sv-bar-p").count() == 28
    assert seen.page.evaluate(RIBBONS) == []
    assert seen.page.locator(".sv-card-bonus").count() == 0


def test_decisions_come_one_by_one_and_only_of_the_verifier_in_sight(from_file):
    trace = sample_trace(steps=1, seed=3)
    seen = from_file(trace)
    into(seen, "one forward")
    verdict = trace.steps[0].verdicts["rejection"]
    looked = [decision.node for decision in verdict.decisions]
    for taken, decision in enumerate(verdict.decisions, start=1):
        seen.page.keyboard.press(".")
        said = caption(seen)
        assert said.startswith("rejection: u ")
        assert f"“{visible(trace.steps[0].tree.nodes[decision.node].text)}”" in said
        assert seen.page.locator(".sv-acting").get_attribute("data-node") == str(decision.node)
        told = {
            int(card.get_attribute("data-node"))
            for card in seen.page.locator(CARDS, has=seen.page.locator(".sv-mark")).all()
        }
        assert told == set(looked[:taken])
    seen.page.keyboard.press(".")
    assert "rejection accepts" in caption(seen)
    assert seen.page.locator(".sv-card-bonus").count() == 1
    assert seen.page.evaluate(RIBBONS) == ["rejection"]


def test_commit_and_cache_update_close_the_step(from_file):
    trace = sample_trace(steps=2, seed=3)
    step = trace.steps[0]
    seen = from_file(trace)
    page = seen.page
    into(seen, "one forward")
    words = page.locator(".sv-word[data-step='0']")
    assert "sv-later" in words.first.get_attribute("class")
    page.keyboard.press("2")
    assert "Not known yet" in page.evaluate(
        "getComputedStyle(document.querySelector('[aria-label=Verdicts]'), '::after').content"
    )
    assert not page.is_visible("[aria-label=Verdicts] table")
    into(seen, "Commit")
    assert "sv-later" not in words.first.get_attribute("class")
    assert page.is_visible("[aria-label=Verdicts] table")
    page.keyboard.press("1")
    page.click("[data-act=compare-paths]")
    assert page.locator(".sv-card-bonus").count() == 3
    assert "nothing is kept or moved yet" in page.inner_text(".sv-cachesaid")
    assert page.locator(".sv-slots .sv-kv-kept").count() == 0
    page.keyboard.press(".")
    assert "Cache update: target keeps" in caption(seen)
    change = step.caches.target
    assert page.locator(".sv-slots .sv-kv-kept").count() == change.length_after - change.length_before


def test_backwards_out_and_on_to_the_next_step(from_file):
    trace = sample_trace(steps=3, seed=3)
    seen = from_file(trace)
    page = seen.page
    whole = caption(seen)
    page.keyboard.press(",")
    assert "Cache update" in caption(seen)
    page.keyboard.press(".")
    seen.wait_for_step(2, 3)
    assert "level 1" in caption(seen)
    assert page.inner_text(".sv-phasewhere").startswith("phase 1 of")
    page.keyboard.press(",")
    seen.wait_for_step(1, 3)
    assert "Cache update" in caption(seen)
    page.keyboard.press("Escape")
    assert caption(seen) == whole
    assert page.inner_text(".sv-phasewhere") == "step into"
    page.keyboard.press(".")
    page.keyboard.press("ArrowRight")
    seen.wait_for_step(2, 3)
    assert "Step 2:" in caption(seen)


def test_buttons_and_the_list_of_phases(from_file):
    seen = from_file(sample_trace(steps=1, seed=3))
    page = seen.page
    page.click("[data-act=phaseNext]")
    page.click("[data-act=phaseNext]")
    assert "level 2" in caption(seen)
    assert page.locator(".sv-phaselist li").count() == 2
    assert "Inside the step: phase 2 of" in page.inner_text(".sv-inspector")
    page.click(".sv-phaselist button >> nth=0")
    assert "level 1" in caption(seen)
    assert page.is_disabled("[data-act=phaseBack]")
    page.click("[data-act=phaseLeave]")
    assert "Step 1:" in caption(seen)
    assert not page.is_visible("[data-act=phaseLeave]")


def test_another_verifier_can_be_watched_inside_the_step(from_file):
    trace = sample_trace(steps=1, seed=3, verifiers=tuple(RULES))
    seen = from_file(trace)
    into(seen, "rejection: u")
    seen.page.select_option(".sv-lens select", "longest_path")
    assert caption(seen).startswith("longest_path: u")
    into(seen, "longest_path accepts")
    before = [card.get_attribute("data-bonus") for card in seen.page.locator(".sv-card-bonus").all()]
    assert before == ["longest_path"]
    into(seen, "Commit")
    assert "rejection is the driver" in caption(seen)


def test_a_node_selected_inside_the_step_tells_only_what_is_known(from_file):
    trace = sample_trace(steps=1, seed=3)
    seen = from_file(trace)
    page = seen.page
    step = trace.steps[0]
    decision = step.verdicts["rejection"].decisions[0]

    def panel() -> str:
        page.evaluate("node => window.specvizViewer.mounted.at(-1).select(node, true)", decision.node)
        return page.inner_text(".sv-inspector")

    page.keyboard.press(".")
    said = panel()
    assert "No verifier has judged the tree yet." in said
    assert "Neither model has run this node yet." in said
    assert page.locator(".sv-inspector [data-model=target], .sv-inspector [data-bonus]").count() == 0
    assert digits(step.tree.nodes[decision.node].target_prob) not in said
    into(seen, "one forward")
    said = panel()
    assert "No verifier has judged the tree yet." in said
    assert page.locator(".sv-inspector [data-model=target]").count() == 2
    page.keyboard.press("Escape")
    page.keyboard.press(".")
    panel()
    judged = page.locator(".sv-inspector .sv-decision[data-verifier]")
    assert judged.count() == 1
    assert decision.outcome in judged.inner_text()
    later = next(d.node for d in step.verdicts["rejection"].decisions if d.node != decision.node)
    page.evaluate("node => window.specvizViewer.mounted.at(-1).select(node, true)", later)
    assert "has not come by yet" in judged.inner_text()
    assert page.locator(".sv-inspector [data-bonus]").count() == 0
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    panel()
    assert judged.count() == 3


def test_a_rule_that_chooses_at_its_end_has_accepted_nothing_before(from_file):
    trace = sample_trace(steps=1, seed=3, verifiers=tuple(RULES))
    step = trace.steps[0]
    node = next(d.node for d in step.verdicts["longest_path"].decisions if d.outcome == "accepted")
    seen = from_file(trace)
    seen.page.select_option(".sv-lens select", "longest_path")
    into(seen, f"passes “{visible(step.tree.nodes[node].text)}”")
    select = "node => window.specvizViewer.mounted.at(-1).select(node, true)"
    seen.page.evaluate(select, node)
    assert "accepted" not in seen.page.inner_text(".sv-inspector .sv-who")
    into(seen, "longest_path accepts")
    seen.page.evaluate(select, node)
    assert "accepted" in seen.page.inner_text(".sv-inspector .sv-who")


def test_play_walks_the_phases(from_file):
    seen = from_file(sample_trace([-1, 0, 0], steps=1, seed=3))
    seen.page.keyboard.press(".")
    seen.page.keyboard.press(" ")
    # A file's own policy forbids the strings that wait_for_function evaluates.
    seen.page.locator("[aria-live=polite]", has_text="Cache update").wait_for(state="attached")
    seen.page.wait_for_selector("[aria-label=Play]")


def test_hostile_tokens_stay_text_in_every_phase(from_file):
    seen = from_file(sample_trace(steps=1, tokens=HOSTILE, seed=1))
    said = ""
    for _ in range(40):
        seen.page.keyboard.press(".")
        said += caption(seen)
    assert "Cache update" in said
    assert seen.page.locator("img, .specviz b i, .specviz script").count() == 0


def test_drafts_that_were_accepted_and_thrown_away_look_and_read_so(from_file):
    whole = make_trace(driver="longest_path", max_new_tokens=8)
    at = next(i for i, step in enumerate(whole.steps) if len(step.committed) > 2)
    kept = sum(len(step.committed) for step in whole.steps[:at])
    trace = make_trace(driver="longest_path", max_new_tokens=kept + 1)
    thrown = [str(node) for node in trace.steps[at].thrown_away()]
    assert thrown
    seen = from_file(trace, go=at)
    looks = seen.page.locator(f"{CARDS}.sv-thrown")
    assert looks.evaluate_all("cards => cards.map((card) => card.dataset.node)") == thrown
    assert "longest_path: accepted and thrown away" in looks.first.get_attribute("aria-label")
    assert seen.page.locator(".sv-chip-thrown").count() >= len(thrown)
    seen.click_card(int(thrown[0]))
    assert "Accepted and thrown away: the text ends before it (max_new_tokens)." in seen.page.inner_text(".sv-picture")
    seen.page.keyboard.press("Escape")
    assert f"{len(thrown)} thrown away; the text ends" in seen.page.inner_text(".sv-sub")
    seen.page.keyboard.press("Escape")
    nodes = trace.steps[at].tree.nodes
    said = " ".join(visible(nodes[int(node)].text) for node in thrown)
    fact = seen.page.locator(".sv-thisstep dd", has_text="not in the text")
    assert fact.inner_text() == f"accepted, and not in the text: {said}"
    seen.page.keyboard.press(".")
    assert not looks.count(), "nobody knows yet how the step ends"
    into(seen, "Commit")
    assert looks.count() == len(thrown)
    seen.page.select_option(".sv-lens select", "rejection")
    assert not looks.count(), "another verifier's path was no text anyway"
    for step in range(at):
        assert not trace.steps[step].thrown_away()
