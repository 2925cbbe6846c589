"""Where everything stands on the page, in Chromium: the whole step in one window, the dock, and a telephone's sheet."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.sample_traces import RULES, sample_trace

pytestmark = pytest.mark.browser
PARTS = {
    "head": ".sv-headbox",
    "strip": ".sv-strip",
    "tree": ".sv-treepanel",
    "node": ".sv-inspector",
    "dock": ".sv-dock",
}
CARDS = """(() => {
    const box = document.querySelector('.sv-treebox').getBoundingClientRect();
    return [...document.querySelectorAll('.sv-card[data-node]')].map(element => {
        const card = element.getBoundingClientRect();
        const wide = card.left >= box.left - 1 && card.right <= box.right + 1;
        return wide && card.top >= box.top - 1 && card.bottom <= box.bottom + 1;
    });
})()"""
"""Script: for every card, whether all of it is in the box of the tree."""


TOOLS = """[document.querySelector('.sv-treehead'), ...[...document.querySelectorAll(
    '.sv-treehead > button, .sv-lens, .sv-chip, .sv-find, .sv-zoom > *, .sv-more > button')].filter(e => e.offsetParent)
    ].map(e => [e.getBoundingClientRect(), e]).map(([r, e]) => [r.left, r.top, r.right, r.bottom, e.className])"""
"""Script: the edges of the row of tools, then of every tool in it."""

PATH_IN_SIGHT = """path => {
    const box = document.querySelector('.sv-treebox').getBoundingClientRect();
    const cards = path.map(node => document.querySelector(`.sv-card-node[data-node='${node}'] .sv-bg`));
    const bonus = document.querySelector(`.sv-card[data-bonus='rejection'] .sv-bg`);
    const all = [...cards, bonus].map(one => one.getBoundingClientRect());
    return all.every(one => one.top >= box.top - 1 && one.bottom <= box.bottom + 1 && one.right <= box.right + 1);
}"""
"""Script: whether every card of a path, and a bonus card, is in the box of the tree."""

SMALL = """all => all.filter(one => !one.closest('.sv-inspector')).map(one => [one, one.getBoundingClientRect()])
    .filter(([, box]) => box.height < 44 || box.width < 44).map(([one]) => one.outerHTML)"""
"""Script: buttons beside the node's that a finger misses."""


def boxes(seen) -> dict[str, dict[str, float]]:
    return {name: seen.page.locator(place).bounding_box() for name, place in PARTS.items()}


def test_the_whole_step_is_in_one_window(from_file):
    """28 nodes and six verifiers at 1280 x 800: nothing to scroll, every card in sight, each part in its place."""
    seen = from_file(sample_trace(steps=3, verifiers=tuple(RULES)))
    page = seen.page
    assert page.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]") == [1280, 800]
    at = boxes(seen)
    for box in at.values():
        assert box["x"] >= 0
        assert box["y"] >= 0
        assert box["x"] + box["width"] <= 1280
        assert box["y"] + box["height"] <= 800
    assert at["head"]["y"] < at["strip"]["y"] < at["tree"]["y"] < at["dock"]["y"]
    assert at["node"]["x"] >= at["tree"]["x"] + at["tree"]["width"]
    assert at["node"]["y"] + at["node"]["height"] <= at["dock"]["y"]
    assert at["tree"]["height"] >= 400
    cards = page.evaluate(CARDS)
    assert len(cards) == 29
    assert all(cards)


def test_the_dock_opens_one_panel_at_a_time_by_click_and_by_key(from_file):
    seen = from_file(sample_trace(steps=2))
    page = seen.page
    panels = ".sv-dockbody > section:visible"
    assert page.get_attribute(panels, "aria-label") == "KV cache"
    page.focus(".sv-tabs [data-tab=cache]")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.dataset.tab") == "verdicts"
    assert page.locator(panels).count() == 1
    assert page.get_attribute(panels, "aria-label") == "Verdicts"
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement.dataset.tab") == "table", "what needs a server is left out of a file"
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.dataset.tab") == "cache"
    tall = boxes(seen)["tree"]["height"]
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("k")
    assert page.locator(panels).count() == 0
    assert page.get_attribute("[data-act=dock]", "aria-expanded") == "false"
    page.wait_for_function("tall => document.querySelector('.sv-treepanel').clientHeight > tall", arg=tall)
    page.keyboard.press("4")
    assert page.get_attribute(panels, "aria-label") == "Mask and positions"
    page.wait_for_selector("[data-picture='mask.target'] svg")
    page.click("[data-act=dock]")
    assert page.locator(panels).count() == 0


def test_on_a_telephone_the_node_is_a_tab_of_a_sheet(from_file):
    trace = sample_trace(steps=2, seed=3)
    path = (0, *trace.steps[0].verdicts["rejection"].path)
    seen = from_file(trace, size=(390, 844))
    page = seen.page
    place = page.locator(".sv-treebox").bounding_box()
    rungs = [page.locator(f".sv-card-node[data-node='{node}'] .sv-bg").bounding_box() for node in path]
    left = [box["x"] for box in rungs]
    assert max(left) - min(left) < 2, "the path goes straight down"
    assert all(upper["y"] + upper["height"] < lower["y"] for upper, lower in pairwise(rungs))
    sibling = next(node.id for node in trace.steps[0].tree.nodes[1:] if node.parent == 0 and node.id not in path)
    beside = page.locator(f".sv-card-node[data-node='{sibling}'] .sv-bg").bounding_box()
    assert beside["x"] > place["x"]
    assert abs(beside["y"] - rungs[1]["y"]) < 2
    page.mouse.move(300, place["y"] + 60)
    page.mouse.down()
    page.mouse.move(100, place["y"] + 60, steps=3)
    page.mouse.up()
    moved = page.locator(f".sv-card-node[data-node='{sibling}'] .sv-bg").bounding_box()
    assert round(beside["x"] - moved["x"]) == 200, "what stands further right is moved into sight"
    page.click("[data-act=fit]")
    assert page.inner_text("[data-act=fit]") == "Fit path"
    page.wait_for_function(PATH_IN_SIGHT, arg=list(path))
    assert page.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]") == [390, 844]
    assert page.locator(".sv-treebox").bounding_box()["height"] >= 180
    assert page.is_visible(".sv-inspector")
    assert page.locator(".sv-dockbody > section:visible").count() == 0
    sheet, dock = page.locator(".sv-inspector").bounding_box(), page.locator(".sv-dock").bounding_box()
    assert (sheet["height"], sheet["y"] + sheet["height"]) == (288, dock["y"])
    assert page.locator(".sv-dockhead").bounding_box()["height"] == 56
    small = page.locator(".sv-root button:visible, .sv-root select:visible").evaluate_all(SMALL)
    assert small == []
    page.click(".sv-tabs [data-tab=verdicts]")
    assert not page.is_visible(".sv-inspector")
    assert page.is_visible("section[aria-label=Verdicts]")
    seen.click_card(1)
    assert page.is_visible(".sv-inspector"), "what was asked for is in sight"
    assert page.get_attribute(".sv-tabs [data-tab=node]", "aria-selected") == "true"


def test_a_long_prompt_leaves_the_bar_as_it_is(served):
    seen = served(sample_trace(steps=2))
    page = seen.page
    bar, step = page.locator(".specviz-head").bounding_box(), page.locator("#step").bounding_box()
    assert bar["height"] == 56
    page.fill("#prompt textarea", "Tell me everything about the sea. " * 40)
    page.evaluate("document.activeElement.blur()")
    assert page.locator(".specviz-head").bounding_box() == bar
    assert page.locator("#prompt textarea").bounding_box()["height"] == 38
    assert page.locator("#step").bounding_box()["height"] == step["height"]
    assert page.evaluate("document.documentElement.scrollHeight") == 800
    page.focus("#prompt textarea")
    assert page.locator("#prompt textarea").bounding_box()["height"] > 100, "all of it is seen while it is written"
    assert page.locator("#step").bounding_box()["height"] == step["height"]
    assert page.locator("#prompt textarea").evaluate("box => getComputedStyle(box).borderBottomWidth") == "1px"
    page.set_viewport_size({"width": 390, "height": 844})
    panel = page.locator("#prompt textarea").bounding_box()
    assert (panel["x"], panel["width"]) == (8, 374), "on a telephone it spans the window"
    assert panel["y"] + 1 >= page.locator("#step").bounding_box()["y"] + 40, "Step and Run stay in reach"
    page.fill("#prompt textarea", "Sea")
    assert page.locator("#prompt textarea").bounding_box()["height"] == 38, "what fits its line stays in it"


def test_in_a_low_window_the_tree_has_half_of_the_height(from_file):
    seen = from_file(sample_trace(steps=1, verifiers=tuple(RULES)))
    page = seen.page
    page.set_viewport_size({"width": 900, "height": 700})
    page.wait_for_function("document.querySelector('.sv-treepanel').clientHeight >= 350")
    assert page.get_attribute("[data-act=dock]", "aria-expanded") == "false"
    page.click(".sv-tabs [data-tab=verdicts]")
    assert page.locator(".sv-dockbody").bounding_box()["height"] <= 0.22 * 700 + 1


def test_the_tools_of_the_tree_are_one_row_at_every_width(from_file):
    seen = from_file(sample_trace(steps=1, verifiers=tuple(RULES)))
    page = seen.page
    for width in (1920, 1280, 1000, 800, 640, 480, 390):
        page.set_viewport_size({"width": width, "height": 800})
        row, *tools = page.evaluate(TOOLS)
        for i, (left, top, right, bottom, name) in enumerate(tools):
            assert row[0] <= left, (width, name)
            assert right <= row[2], (width, name)
            assert row[1] <= top < bottom <= row[3], (width, name)
            assert i == 0 or tools[i - 1][2] <= left, (width, name)
            assert width > 390 or bottom - top >= 44, name
        assert len(tools) >= 6
    page.keyboard.press("/")
    page.keyboard.type("node 2")
    assert page.locator(".sv-find input").bounding_box()["width"] > 200, "a search has the row for itself"
    page.keyboard.press("Escape")
    page.focus("[data-act=more]")
    page.keyboard.press("ArrowDown")
    chosen = [page.inner_text("[role=menuitem]:focus")]
    for _ in range(2):
        page.keyboard.press("ArrowDown")
        chosen.append(page.inner_text("[role=menuitem]:focus"))
    assert chosen == page.locator("[role=menu][aria-label] [role=menuitem]").all_inner_texts()
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.dataset.act") == "more"
    page.set_viewport_size({"width": 1280, "height": 800})
    page.keyboard.press("ArrowDown")
    assert page.inner_text("[role=menuitem]:focus") == chosen[1], "where names have room, they are no tool"
    page.keyboard.press("Escape")
    assert page.get_attribute("[data-act=more]", "aria-expanded") == "false"
    page.keyboard.press("Enter")
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    assert page.get_attribute("dialog[open]", "aria-label") == "Keys"
