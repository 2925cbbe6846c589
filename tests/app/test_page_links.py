"""One hover, one selection, keys inside the tree, the tree alone in the window: in Chromium, as a person meets them."""

from __future__ import annotations

import pytest

from tests.browser import telling
from tests.sample_traces import HOSTILE, RULES, random_tree, sample_trace

pytestmark = pytest.mark.browser
SIZES = [(1280, 800), (390, 844)]
FOCUSED = "document.activeElement.dataset.node ?? document.activeElement.dataset.stub ?? null"


def card(node: int) -> str:
    return f".sv-card-node[data-node='{node}']"


def slot(node: int) -> str:
    """A cell of the caches' strip that holds a node."""
    return f".sv-kv[data-node='{node}'] >> nth=0"


# ------------------------------------------------------------------------------------------------ linked hover


def test_a_card_lights_its_word_its_rows_and_its_slots(from_file):
    trace = sample_trace(steps=2, seed=3)
    node = trace.steps[0].verdicts["rejection"].path[0]
    seen = from_file(trace)
    page = seen.page
    seen.wait_for_step(1, 2)
    seen.dock("table")
    page.wait_for_selector("details[open] tbody tr")
    page.evaluate("scrollTo(0, 0)")
    page.hover(card(node))
    assert "sv-lit" in page.get_attribute(f".sv-word[data-node='{node}']", "class")
    row = page.locator("details[open] tbody tr").nth(node)
    assert "sv-lit" in (row.get_attribute("class") or "")
    assert "sv-lit" in page.get_attribute(slot(node), "class")
    page.mouse.move(5, 5)
    assert page.locator(".sv-lit").count() == 0
    for key in ("]", "."):
        page.mouse.move(5, 5)
        page.hover(card(1))
        page.wait_for_selector(".sv-tip:not([hidden])")
        page.keyboard.press(key)  # the mouse rests on what has gone
        page.wait_for_selector(".sv-tip[hidden]", state="attached")
        assert page.locator(".sv-lit").count() == 0


def test_words_rows_and_slots_light_their_card(from_file):
    trace = sample_trace(steps=2, seed=3)
    node = trace.steps[0].verdicts["rejection"].path[0]
    seen = from_file(trace)
    page = seen.page
    seen.wait_for_step(1, 2)
    page.hover(f".sv-word[data-node='{node}']")
    assert "sv-lit" in page.get_attribute(card(node), "class")
    page.hover(".sv-word[data-bonus]")
    assert page.get_attribute(".sv-card-bonus.sv-lit", "data-bonus") == "rejection"
    page.hover(slot(node))
    assert "sv-lit" in page.get_attribute(card(node), "class")
    seen.dock("table")
    page.locator("details[open] tbody tr").nth(node).hover()
    assert "sv-lit" in page.get_attribute(card(node), "class")


def test_one_selection_for_all(from_file):
    trace = sample_trace(steps=2, seed=3)
    node = trace.steps[0].verdicts["rejection"].path[0]
    seen = from_file(trace)
    page = seen.page
    seen.wait_for_step(1, 2)
    page.click(f".sv-word[data-node='{node}']")
    assert page.get_attribute(card(node), "aria-selected") == "true"
    assert f"Node {node}" in page.inner_text(".sv-inspector")
    page.wait_for_selector(f".sv-kv.sv-picked[data-node='{node}']")
    page.dblclick(card(node))
    assert page.get_attribute(card(node), "aria-selected") == "true"
    for key, said in (("w", "Nothing is wrong in step 1."), ("N", "Before step 1 nothing is known")):
        page.keyboard.press(key)
        assert said in page.inner_text(".sv-notice")
        assert page.get_attribute(card(node), "aria-selected") == "true"
    seen.click_card(node)  # once more takes the selection away
    assert page.locator(".sv-card[aria-selected=true]").count() == 0
    page.click(slot(node))
    assert page.get_attribute(card(node), "aria-selected") == "true"
    page.evaluate("scrollTo(0, 0)")
    page.click(".sv-word[data-step='1'] >> nth=0")
    seen.wait_for_step(2, 2)
    (chosen,) = page.locator(".sv-card[aria-selected=true]").all()
    assert int(chosen.get_attribute("data-node")) == telling(trace, 1), "of another step the one that tells most"


# ------------------------------------------------------------------------------------------------- tree keys


def test_arrows_walk_inside_the_tree_and_outside_it_the_steps(from_file):
    seen = from_file(sample_trace(steps=3))  # 4, 2, 2
    page = seen.page
    page.keyboard.press("t")
    assert page.evaluate(FOCUSED) == "0"
    for key, node in [("ArrowRight", 1), ("ArrowDown", 2), ("ArrowRight", 7), ("ArrowDown", 8), ("ArrowDown", 9),
                      ("ArrowUp", 8), ("ArrowLeft", 2), ("ArrowLeft", 0), ("ArrowLeft", 0)]:  # fmt: skip
        page.keyboard.press(key)
        assert page.evaluate(FOCUSED) == str(node)
    assert seen.where() == "step 1 of 3"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert "Node 1" in page.inner_text(".sv-inspector")
    halo = page.evaluate("getComputedStyle(document.activeElement.querySelector('.sv-halo')).display")
    assert halo == "inline"
    page.keyboard.press("]")  # steps move from here too, and the focus stays in the tree
    seen.wait_for_step(2, 3)
    assert page.evaluate(FOCUSED) == "1"
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowRight")
    seen.wait_for_step(3, 3)


def test_a_click_on_a_card_leaves_the_arrows_with_the_steps(from_file):
    seen = from_file(sample_trace(steps=2))
    seen.click_card(5)
    seen.page.keyboard.press("ArrowRight")
    seen.wait_for_step(2, 2)


def test_cards_say_what_they_show(from_file):
    trace = sample_trace(steps=1)
    seen = from_file(trace)
    decision = trace.steps[0].verdicts["rejection"].decisions[0]
    said = seen.page.get_attribute(card(decision.node), "aria-label")
    assert f"node {decision.node}, token" in said
    assert f"rejection: {decision.outcome}" in said
    assert seen.page.locator("[role=treeitem][tabindex='0']").count() == 1


def test_every_key_is_listed(from_file):
    seen = from_file(sample_trace(steps=1))
    seen.tool("helpButton")
    listed = seen.page.inner_text("dialog[open] dl")
    for what in ("one step back", "inside the step", "into the tree", "alone in the window", "play, pause"):
        assert what in listed
    seen.page.keyboard.press("ArrowRight")
    seen.page.keyboard.press("Escape")
    assert seen.page.locator("dialog[open]").count() == 0


# ------------------------------------------------------------------------------------------------------- room


def test_28_nodes_fit_into_the_window(from_file):
    """At 1280 x 800: all of the tree lies in its place, and nothing scrolls; alone in the window it is larger."""
    seen = from_file(sample_trace(steps=2, verifiers=tuple(RULES)))
    page = seen.page
    place = page.locator(".sv-treebox").bounding_box()
    before = {}
    for node in range(29):
        box = before[node] = page.locator(f"{card(node)} .sv-bg").bounding_box()
        assert box["x"] >= place["x"]
        assert box["y"] >= place["y"]
        assert box["x"] + box["width"] <= place["x"] + place["width"]
        assert box["y"] + box["height"] <= place["y"] + place["height"]
        assert box["height"] >= 15
    page.keyboard.press("f")
    for node in range(29):
        box = page.locator(f"{card(node)} .sv-bg").bounding_box()
        assert box["x"] >= 0
        assert box["y"] >= 0
        assert box["x"] + box["width"] <= 1280
        assert box["y"] + box["height"] <= 800
        assert box["height"] > before[node]["height"]
    assert not page.is_visible(".sv-slots")
    page.keyboard.press("ArrowRight")
    seen.wait_for_step(2, 2)
    page.keyboard.press("Escape")
    assert page.get_attribute("[data-act=focus]", "aria-pressed") == "false"
    page.click("[data-act=focus]")
    assert page.get_attribute("[data-act=focus]", "aria-pressed") == "true"
    page.keyboard.press("f")
    assert page.locator(".sv-focus").count() == 0


@pytest.mark.parametrize("size", SIZES)
def test_focus_mode_covers_the_gradio_page(served, size):
    seen = served(sample_trace(steps=2), size=size)
    seen.page.keyboard.press("f")
    box = seen.page.locator(".sv-root").bounding_box()
    assert (box["x"], box["y"], box["width"], box["height"]) == (0, 0, *size)
    top = seen.page.evaluate("document.elementFromPoint(20, 20).closest('.sv-root') !== null")
    assert top


def test_folds_say_what_they_hide_and_open_from_the_keyboard(from_file):
    trace = sample_trace(random_tree(256, seed=4), steps=1, verifiers=tuple(RULES))
    seen = from_file(trace)
    page = seen.page
    fold = page.locator(".sv-card-stub").first
    assert "more" in fold.text_content()
    before = page.locator(".sv-card-node").count()
    said = page.inner_text(".sv-folded")
    assert f"{256 - before} of 256 nodes are folded" in said
    fold.focus()
    page.keyboard.press("Enter")
    assert page.locator(".sv-card-node").count() > before
    assert page.inner_text(".sv-folded") != said


@pytest.mark.parametrize("size", SIZES)
def test_hostile_cards_stay_inside_the_page(from_file, size):
    seen = from_file(sample_trace(steps=1, tokens=HOSTILE, seed=1), size=size)
    page = seen.page
    shown = "".join(page.locator(".sv-cardtoken").all_text_contents())
    assert "${a" in shown
    assert page.locator(".sv-card img, .sv-card script, .sv-card b").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    page.keyboard.press("t")
    for _ in range(2):  # deeper: to the right, or downwards on a telephone
        page.keyboard.press("ArrowRight" if size[0] > 480 else "ArrowDown")
    assert page.get_attribute(".sv-card:focus", "aria-level") == "3"
    box = page.locator(".sv-card:focus .sv-bg").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= size[0]


def test_reduced_motion_and_an_empty_run(from_file):
    empty = sample_trace(steps=1).model_copy(update={"steps": (), "end_reason": None})
    seen = from_file(sample_trace(steps=1), reduced_motion="reduce")
    seen.page.evaluate(
        """(run) => {
            const place = document.createElement('div');
            document.body.replaceChildren(place);
            window.specvizViewer.mount(place, {}).update(run);
        }""",
        block(empty),
    )
    assert "This run has no step yet." in seen.page.inner_text(".sv-empty")


def block(trace) -> dict:
    from specviz.figures import block as make_block

    return make_block(trace, range(0))
