"""What a first visitor meets, in Chromium: example prompts, a decision beside the tree, and a tour of one step."""

from __future__ import annotations

import pytest

from specviz.app.form import EXAMPLES
from specviz.app.run_handlers import FIRST_TRACE, TRACES
from specviz.digits import digits
from specviz.figures import step_frame
from specviz.figures.text import token_label
from specviz.trace.io import load_trace
from specviz.trace.schema import Trace
from tests.browser import VIEW, telling
from tests.sample_traces import sample_trace

pytestmark = pytest.mark.browser
CHIPS = "#examples button"
SIZE = "[document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
INSIDE = """selector => {
    const box = document.querySelector(selector).getBoundingClientRect();
    return box.left >= 0 && box.top >= 0 && box.right <= innerWidth && box.bottom <= innerHeight;
}"""
"""Script: whether all of an element is in the window."""


@pytest.fixture(scope="module")
def first() -> Trace:
    """The run that the page opens with."""
    return load_trace(TRACES / f"{FIRST_TRACE}.json.gz")


def head(seen) -> str:
    return seen.page.inner_text(".sv-inspector h3")


def selected(seen) -> int | None:
    return seen.page.evaluate(f"(() => {{ {VIEW} return state.selected; }})()")


def beat(seen, number: int) -> str:
    """What the tour says, once it is there; its note is in the window and not over what it speaks of."""
    page = seen.page
    page.wait_for_selector(f".sv-tourhead:has-text('{number} of 4')")
    assert page.evaluate(INSIDE, ".sv-tour")
    note, ring = page.locator(".sv-tour").bounding_box(), page.locator(".sv-tourring").bounding_box()
    apart = (note["x"] >= ring["x"] + ring["width"], ring["x"] >= note["x"] + note["width"])
    above = (note["y"] >= ring["y"] + ring["height"], ring["y"] >= note["y"] + note["height"])
    assert any((*apart, *above))
    return page.inner_text(".sv-tour")


def test_the_page_opens_with_examples_a_decision_and_a_tour(served, first):
    seen = served()
    page = seen.page
    tree = page.locator(".sv-treepanel").bounding_box()
    page.wait_for_selector(".specviz-state:has-text('Finished')")

    # An example: one click writes it, and the bar says how it is started.
    assert page.locator(CHIPS).all_inner_texts() == [label for label, _ in EXAMPLES]
    assert page.input_value("#prompt textarea") == first.prompt
    page.click(f"{CHIPS} >> nth=1")
    assert page.input_value("#prompt textarea") == EXAMPLES[1][1]
    page.wait_for_selector(".specviz-state:has-text('Enter starts a new run')")
    assert page.evaluate("document.activeElement.closest('#prompt') !== null"), "Enter starts it"
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert page.input_value("#prompt textarea") == EXAMPLES[2][1]
    page.keyboard.press("Tab")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.closest('#examples') === null"), "one of them is a stop of the Tab key"
    assert page.evaluate(SIZE) == [1280, 800]
    assert page.locator(".sv-treepanel").bounding_box() == tree
    page.evaluate("document.activeElement.blur()")

    # A decision: of every step the one that tells most, until somebody chooses, or closes it.
    assert selected(seen) == telling(first, 0)
    assert head(seen).startswith(f"Node {telling(first, 0)}")
    page.keyboard.press("ArrowRight")
    seen.wait_for_step(2, len(first.steps))
    assert selected(seen) == telling(first, 1)
    assert "Rejected by rejection: the coin" in page.inner_text(".sv-say")
    assert "node=" not in page.url, "nobody chose it"
    page.keyboard.press(".")
    assert selected(seen) is None, "inside the step nothing is said of what is not known"
    assert head(seen).startswith("Inside the step")
    page.keyboard.press("Escape")
    assert selected(seen) == telling(first, 1)
    page.keyboard.press("Escape")
    assert head(seen) == "This step"
    page.keyboard.press("ArrowRight")
    seen.wait_for_step(3, len(first.steps))
    assert head(seen) == "This step", "it was closed"
    seen.click_card(2)
    assert "node=2" in page.url
    page.keyboard.press("ArrowLeft")
    seen.wait_for_step(2, len(first.steps))
    assert selected(seen) == telling(first, 1)
    seen.click_card(telling(first, 1))
    assert selected(seen) == telling(first, 1), "a click chooses it"
    assert "node=" in page.url
    page.keyboard.press("Home")
    seen.wait_for_step(1, len(first.steps))

    # The tour: four beats on the run in sight, by keys, each about what is known then.
    step, node = first.steps[0], telling(first, 0)
    card, token = step.tree.nodes[node], token_label(step.text_of()[step.tree.nodes[node].token])
    decision = next(one for one in step.verdicts["rejection"].decisions if one.node == node)
    cache = step_frame(first, 0)["caches"]["target"]
    page.click("[data-act=tour]")
    said = beat(seen, 1)
    assert f"guesses {len(step.tree.nodes) - 1} tokens" in said
    assert f"{token} {digits(card.draft_prob)}" in said
    assert page.locator(".sv-treebox .sv-bar-p").filter(visible=True).count() <= 1, "the target has not looked yet"
    assert page.evaluate("document.activeElement.dataset.act") == "tour-next"
    page.keyboard.press("ArrowRight")
    assert f"{token} gets {digits(card.target_prob)}" in beat(seen, 2)
    page.keyboard.press("Enter")
    said = beat(seen, 3)
    assert digits(decision.uniform) in said
    assert digits(decision.threshold) in said
    assert head(seen).startswith(f"Node {node}")
    page.keyboard.press("ArrowLeft")
    beat(seen, 2)
    page.keyboard.press("ArrowRight")
    beat(seen, 3)
    page.keyboard.press("k")  # the dock is closed: the next beat opens it
    page.keyboard.press("ArrowRight")
    kept = sum(held is not None for held in cache["after"]["held"])
    assert f"Of the {len(cache['slot'])} slots that the target wrote, its cache keeps {kept}," in beat(seen, 4)
    assert page.is_visible(".sv-slots")
    page.click("[data-act=tour-next]")
    assert not page.is_visible(".sv-tour")
    assert not page.is_visible("[data-act=tour]"), "it was taken"
    assert seen.where().startswith("step 1 of")
    assert selected(seen) == node
    page.keyboard.press("ArrowRight")
    seen.wait_for_step(2, len(first.steps))
    page.keyboard.press("?")
    page.click("[data-act=tour-again]")
    beat(seen, 1)
    page.keyboard.press("Escape")
    assert not page.is_visible(".sv-tour, .sv-tourring")
    assert page.evaluate(f"(() => {{ {VIEW} return state.phase; }})()") is None


def test_an_exported_run_has_the_tour_on_a_telephone_too(from_file):
    seen = from_file(sample_trace(steps=2), size=(390, 844))
    page = seen.page
    page.click("[data-act=tour]")
    for number in (1, 2, 3, 4):
        beat(seen, number)
        assert page.evaluate(SIZE)[0] == 390
        page.click("[data-act=tour-next]")
    assert not page.is_visible(".sv-tour")


def test_who_does_something_else_has_left_the_tour(from_file):
    seen = from_file(sample_trace(steps=2))
    page = seen.page
    page.click("[data-act=tour]")
    beat(seen, 1)
    page.keyboard.press(".")
    assert not page.is_visible(".sv-tour")
    page.keyboard.press("]")
    seen.wait_for_step(2, 2)


def test_on_a_telephone_the_examples_scroll_sideways(served):
    seen = served(sample_trace(steps=1), size=(390, 844))
    page = seen.page
    assert page.evaluate(SIZE) == [390, 844]
    page.locator(CHIPS).last.scroll_into_view_if_needed()
    page.click(f"{CHIPS} >> nth=2")
    assert page.input_value("#prompt textarea") == EXAMPLES[2][1]
    assert page.evaluate(SIZE) == [390, 844]
