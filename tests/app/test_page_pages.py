"""The pages beside the run, the theme, and the way there by Tab: in Chromium, as a person meets them."""

from __future__ import annotations

import pytest

from specviz.trace.settings import build_sampling
from tests.sample_traces import RULES, sample_trace

pytestmark = pytest.mark.browser
LABELS = """[...document.querySelectorAll('#menu-run :is(.container > span, fieldset > span, .label-text, h2)')]
    .filter(one => one.getClientRects().length).map(one => one.innerText.trim())"""
"""Script: what stands above or beside the fields of Settings, and the headings."""
CARDS = """[...document.querySelectorAll('#menu-run .specviz-group')].map(card =>
    [...card.querySelectorAll(':scope > .specviz-fields :is(.wrap:has(> .wrap-inner), textarea, input[type=number])')]
        .map(one => one.getBoundingClientRect()).filter(one => one.width)
        .map(one => [Math.round(one.x), Math.round(one.y)]))"""
"""Script: where the fields of every card stand, without check boxes."""
WIDTHS = """[document.documentElement.scrollWidth, ...[...document.querySelectorAll('#menu > [role=tabpanel]')]
    .filter(one => one.getClientRects().length).map(one => one.scrollWidth)]"""
FOCUSED = "document.activeElement.id || document.activeElement.textContent"


@pytest.mark.usefixtures("proved_on_few_trees")
def test_the_bar_by_keys_and_the_pages_as_cards(served):
    """Five Tabs come to what matters, the theme stands in the address, fields are aligned, and all fits a telephone."""
    trace = sample_trace(steps=2)
    sampling = build_sampling(temperature=1.0, top_k=7, top_p=1.0, eta_cutoff=0.0)
    seen = served(trace.model_copy(update={"settings": trace.settings.model_copy(update={"target": sampling})}))
    page = seen.page
    stops = []
    for _ in range(8):
        page.keyboard.press("Tab")
        page.wait_for_timeout(20)
        stops.append(page.evaluate(FOCUSED))
    assert stops[0] == "Go to: Tree"
    assert stops[2:7] == ["Fact", "step", "run", "menu-view-button", "new"]
    background = "getComputedStyle(document.querySelector('.sv-root')).backgroundColor"
    light = page.evaluate(background)
    page.keyboard.press("Enter")
    assert page.evaluate(background) == light
    page.keyboard.press("Enter")
    assert page.evaluate(background) != light
    assert page.get_attribute("#theme button", "aria-label") == "Theme: dark; press for system"
    assert page.url.endswith("?__theme=dark")
    page.focus("#menu-view-button")
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector("#menu-settings-button[aria-selected=true]")
    for place, reached in (
        ("Tree", ".sv-card"),
        ("Node", ".sv-inspector"),
        ("Panels", ".sv-tabs [role=tab]"),
        ("Pages", "#menu-view-button"),
    ):
        page.focus(".specviz-goto [tabindex='0']")
        page.keyboard.press("Home")
        for _ in range(["Tree", "Node", "Panels", "Steps", "Pages"].index(place)):
            page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        page.wait_for_function("place => document.activeElement.matches(place)", arg=reached)
    seen.menu("settings")
    page.wait_for_selector("#menu-run h2")
    found = page.evaluate(LABELS)
    for title in ("Models", "Drafting", "Verification", "Sampling", "Length and audits", "Eta epsilon", "Tree"):
        assert title in found
    assert [label for label in found if not label[0].isupper() or "_" in label or ":" in label] == []
    cards = page.evaluate(CARDS)
    assert [len(card) for card in cards] == [3, 3, 4, 3, 2]
    for card, columns, rows in zip(cards, (3, 3, 3, 3, 6), (1, 1, 2, 1, 1), strict=True):
        assert len({x for x, _ in card}) <= columns
        assert len({y for _, y in card}) == rows
    page.fill("label:has-text('Eta epsilon') input", "0.2")
    page.uncheck("label:has(span:text-is('eta')) input")
    page.check("label:has(span:text-is('relaxed')) input")
    page.wait_for_selector("label:has-text('Relaxed top n')")
    assert "Eta epsilon" not in page.evaluate(LABELS), "only options of verifiers that are ticked are in sight"
    page.uncheck("label:has(span:text-is('rejection')) input")
    page.wait_for_selector(".specviz-wrong p:has-text(\"The driver 'rejection' is not among the verifiers\")")
    page.check("label:has(span:text-is('rejection')) input")
    page.wait_for_function("!document.querySelector('.specviz-wrong p')")
    page.check("label:has(span:text-is('eta')) input")
    page.wait_for_selector("label:has-text('Eta epsilon')")
    assert page.input_value("label:has-text('Eta epsilon') input") == "0.2"
    page.click("#menu-run .label-wrap:has-text('Processors')")
    page.fill("label:has-text('Processors') textarea", "min_p:least=0.1")
    page.keyboard.press("Tab")
    page.wait_for_selector(".specviz-wrong p:has-text('The processor min_p cannot use option least=0.1')")
    page.fill("label:has-text('Processors') textarea", "min_p")
    page.wait_for_function("!document.querySelector('.specviz-wrong p')")
    page.click("#menu-run .label-wrap:has-text('Truncation')")
    assert page.input_value("label:has-text('Target top-k') input") == "7", "what is folded was filled in, too"
    page.set_viewport_size({"width": 390, "height": 844})
    for part in ("settings", "breakpoints", "verifiers", "runs", "compare", "share"):
        seen.menu(part)
        page.wait_for_timeout(50)
        assert page.evaluate(WIDTHS) == [390, 390], part


def test_large_type_is_one_key_there_and_back(from_file):
    """28 nodes at 1280 x 800: cards and headline about one and a half times as large, and all of them in sight."""
    seen = from_file(sample_trace(steps=2, verifiers=tuple(RULES)))
    page = seen.page
    size = """(() => {
        const card = document.querySelector(".sv-rank-path .sv-bg").getBoundingClientRect();
        return [card.height, parseFloat(getComputedStyle(document.querySelector(".sv-headline")).fontSize)];
    })()"""
    before = page.evaluate(size)
    page.keyboard.press("b")
    page.wait_for_function(
        "height => document.querySelector('.sv-rank-path .sv-bg').getBoundingClientRect().height > height",
        arg=before[0],
    )
    card, head = page.evaluate(size)
    assert card >= 1.35 * before[0]
    assert head == 1.5 * before[1]
    for hidden in (".sv-inspector", ".sv-dock", ".sv-tools"):
        assert not page.is_visible(hidden)
    for shown in (".sv-headline", ".sv-text", ".sv-dots"):
        assert page.is_visible(shown)
    inside = """[...document.querySelectorAll('.sv-card[data-node] .sv-bg')].map(one => one.getBoundingClientRect())
        .filter(one => one.left >= 0 && one.right <= innerWidth && one.top >= 0 && one.bottom <= innerHeight).length"""
    assert page.evaluate(inside) == 29
    page.keyboard.press("ArrowRight")
    seen.wait_for_step(2, 2)
    page.keyboard.press("b")
    page.wait_for_function("() => document.querySelector('.sv-inspector').getClientRects().length")
    assert page.is_visible(".sv-dock")
    page.keyboard.press("b")
    page.keyboard.press("Escape")
    page.wait_for_function("() => document.querySelector('.sv-inspector').getClientRects().length")
