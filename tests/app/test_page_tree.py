"""The draft tree in Chromium as a person meets it: coins on cards, search, zoom and drag, the whole of it small."""

from __future__ import annotations

import re

import pytest

from specviz.verifier_styles import STYLES
from tests.browser import RIBBONS, telling
from tests.sample_traces import RULES, random_tree, sample_trace

pytestmark = pytest.mark.browser
FIND, FOUND = ".sv-find input", ".sv-foundcount"
ZOOM = "document.querySelector('.sv-world').getBoundingClientRect().width"


def shown(page, which: str = "") -> set[int]:
    return {int(card.get_attribute("data-node")) for card in page.locator(f".sv-card-node{which}").all()}


def box_of(page, node: int) -> dict:
    return page.locator(f".sv-card-node[data-node='{node}'] .sv-bg").bounding_box()


def test_cards_show_what_was_compared_and_the_path_is_straight(from_file):
    trace = sample_trace(steps=1, seed=3, verifiers=tuple(RULES))
    step = trace.steps[0]
    seen = from_file(trace)
    page = seen.page
    for name, sign in [("rejection", ".sv-coin"), ("eta", ".sv-value"), ("naive", None), ("greedy", None)]:
        page.select_option(".sv-lens select", name)
        assert page.evaluate(RIBBONS) == [name]
        looked = {decision.node for decision in step.verdicts[name].decisions}
        signs = shown(page, ":has(.sv-coin, .sv-value)")
        assert signs == (looked if sign else set()), name
        if sign:
            assert shown(page, f":has({sign})") == looked
        middles = {
            round(box["y"] + box["height"] / 2) for box in (box_of(page, n) for n in (0, *step.verdicts[name].path))
        }
        assert len(middles) == 1
        for node in looked - set(step.verdicts[name].path):
            assert page.locator(f".sv-card-node[data-node='{node}'] .sv-mark").count() == 1
    assert all(page.locator(".sv-card-node .sv-cardnumber").nth(i).text_content() == str(i + 1) for i in (0, 7, 27))


def test_all_verifiers_are_in_sight_or_one_click_away(from_file):
    names = list(STYLES)
    assert len(names) == 9
    seen = from_file(sample_trace(steps=1, verifiers=tuple(names)))
    page = seen.page
    page.wait_for_selector("[data-act=everyone]")
    chips = page.locator(".sv-chip:not(.sv-beyond)")
    assert page.inner_text("[data-act=everyone]") == f"+{len(names) - 1 - chips.count()}"
    legend, last = page.locator(".sv-legend").bounding_box(), chips.last.bounding_box()
    assert last["x"] + last["width"] <= legend["x"] + legend["width"], "no name is cut"
    page.click("[data-act=everyone]")
    switches = page.locator("[role=menuitemcheckbox]")
    assert [one.get_attribute("data-verifier") for one in switches.all()] == names[1:]
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    page.wait_for_selector(f"[role=menuitemcheckbox][data-verifier={names[-1]}][aria-checked=false]:focus")
    page.keyboard.press("Escape")
    assert not switches.first.is_visible()
    assert page.evaluate("document.activeElement.dataset.act") == "everyone"
    page.keyboard.press("c")
    page.wait_for_function(f"{RIBBONS}.length === 8")
    assert names[-1] not in page.evaluate(RIBBONS)
    page.set_viewport_size({"width": 390, "height": 844})
    page.click("[data-act=everyone]")
    assert switches.first.is_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("c")
    page.click("[data-act=more]")
    page.click("[data-act=verifiers]")
    assert switches.first.is_visible()
    page.set_viewport_size({"width": 1280, "height": 800})


def test_searching_dims_the_rest_opens_folds_and_goes_on(from_file):
    trace = sample_trace(random_tree(256, seed=4), steps=2, verifiers=tuple(RULES))
    nodes = trace.steps[0].tree.nodes
    seen = from_file(trace)
    page = seen.page
    hidden = next(node for node in range(255, 0, -1) if node not in shown(page))
    page.keyboard.press("/")
    page.keyboard.type(f"node {hidden}")
    assert page.inner_text(FOUND) == "1"
    assert shown(page, ".sv-found") == {hidden}
    assert shown(page, ".sv-dim") == shown(page) - {0, hidden}
    page.keyboard.press("Enter")
    assert page.inner_text(FOUND) == "1/1"
    assert page.get_attribute(f".sv-card-node[data-node='{hidden}']", "aria-selected") == "true"
    page.fill(FIND, "p < 0.01")
    few = {node.id for node in nodes[1:] if node.target_prob < 0.01}
    assert page.inner_text(FOUND) == str(len(few))
    assert shown(page, ":not(.sv-dim)") <= few | {0}
    visited = []
    for _ in range(3):
        page.keyboard.press("Enter")
        visited.append(int(page.get_attribute(".sv-card[aria-selected=true]", "data-node")))
    assert visited == sorted(few)[:3]
    page.keyboard.press("Shift+Enter")
    assert page.get_attribute(".sv-card[aria-selected=true]", "data-node") == str(visited[1])
    page.fill(FIND, "rejected by eta")
    rejected = {d.node for d in trace.steps[0].verdicts["eta"].decisions if d.outcome == "rejected"}
    assert page.inner_text(FOUND) == str(len(rejected))
    page.fill(FIND, "no such token")
    assert page.inner_text(FOUND) == "none"
    assert "No token of this tree" in page.get_attribute(FIND, "title")
    page.keyboard.press("Escape")
    assert page.locator(".sv-dim").count() == 0
    page.keyboard.press("ArrowRight")
    seen.wait_for_step(2, 2)


def test_the_tree_is_enlarged_moved_and_fitted_again(from_file):
    trace = sample_trace(steps=2, verifiers=tuple(RULES))
    seen = from_file(trace)
    page = seen.page
    place = page.locator(".sv-treebox").bounding_box()
    x, y = place["x"] + place["width"] / 2, place["y"] + place["height"] / 2
    assert not page.is_visible(".sv-mini")
    fits = page.evaluate(ZOOM)
    page.keyboard.press("+")
    page.keyboard.press("+")
    assert page.inner_text("[data-act=fit]") == "156%"
    assert page.is_visible(".sv-mini")
    page.wait_for_timeout(200)  # it grows within 120 ms
    assert page.evaluate(ZOOM) > 1.4 * fits
    before = box_of(page, 0)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 60, y - 40, steps=3)
    page.mouse.up()
    after = box_of(page, 0)
    assert (round(after["x"] - before["x"]), round(after["y"] - before["y"])) == (-60, -40)
    chosen = page.get_attribute(".sv-card[aria-selected=true]", "data-node")
    assert int(chosen) == telling(trace, 0), "a drag is no click"
    page.mouse.move(x, y)
    page.keyboard.down("Control")
    page.mouse.wheel(0, 200)
    page.keyboard.up("Control")
    page.wait_for_function("() => document.querySelector('[data-act=fit]').textContent !== '156%'")
    page.keyboard.press("0")
    assert page.inner_text("[data-act=fit]") == "Fit"
    page.wait_for_timeout(200)
    assert abs(page.evaluate(ZOOM) - fits) < 1
    page.click("[data-act=smaller]")
    assert page.inner_text("[data-act=fit]") == "80%"


def test_a_large_tree_has_a_small_picture_that_leads_into_its_folds(from_file):
    trace = sample_trace(random_tree(1024), steps=1, verifiers=tuple(RULES))
    seen = from_file(trace)
    page = seen.page
    place = page.locator(".sv-treebox").bounding_box()
    for node in shown(page):
        box = box_of(page, node)
        assert box["y"] >= place["y"]
        assert box["y"] + box["height"] <= place["y"] + place["height"] + 1
    said = page.inner_text(".sv-mini")
    assert "1023 drafted" in said
    assert int(re.search(r"(\d+) shown", said)[1]) == len(shown(page)) - 1
    spot = page.locator(".sv-mini svg").bounding_box()
    page.mouse.click(spot["x"] + spot["width"] - 6, spot["y"] + spot["height"] - 6)
    chosen = int(page.get_attribute(".sv-card[aria-selected=true]", "data-node"))
    assert chosen in shown(page)
