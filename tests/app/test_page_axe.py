"""What axe, the accessibility checker, finds on the page: nothing serious, light and dark, wide, narrow, enlarged."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe

from specviz.app.run_handlers import FIRST_TRACE, TRACES
from specviz.trace.io import load_trace
from tests.browser import DRAWN
from tests.sample_traces import sample_trace

pytestmark = pytest.mark.browser
WIDE, PHONE, ENLARGED = (1280, 800), (390, 844), (640, 400)
"""The last is what a window of the first has at 200 %."""


def serious(page) -> list[str]:
    """Serious and critical violations, each with the first element it was found on."""
    page.wait_for_timeout(500)  # the lower pictures are drawn after the tree
    # Every rule runs; of what passed, only the first element is described, which takes most of axe's time otherwise.
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [
        f"{one['id']} ({one['impact']}): {one['nodes'][0]['html'][:200]}: {one['nodes'][0]['failureSummary'][:300]}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize(
    ("theme", "size"), [("light", WIDE), ("dark", WIDE), ("light", PHONE), ("dark", ENLARGED)], ids=str
)
def test_the_exported_page_has_no_serious_violation(from_file, theme, size):
    seen = from_file(load_trace(TRACES / f"{FIRST_TRACE}.json.gz"), theme=theme, size=size)
    tree = seen.page.locator(".sv-treebox").bounding_box()
    assert tree["height"] >= 130
    assert tree["y"] + tree["height"] <= size[1], "the tree is in sight"
    assert serious(seen.page) == []
    seen.dock("table")
    seen.click_card(1)
    assert serious(seen.page) == []
    seen.page.keyboard.press("e")
    seen.page.wait_for_selector("dialog[open] img[src]")
    assert serious(seen.page) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_fault_and_its_causes_have_no_serious_violation(from_file, theme):
    trace = sample_trace(steps=2, seed=2, fault="no_compaction")
    seen = from_file(trace, theme=theme)
    seen.page.keyboard.press("w")
    seen.page.wait_for_selector(".sv-why li")
    assert serious(seen.page) == []


@pytest.mark.parametrize(("theme", "size"), [("light", ENLARGED), ("dark", PHONE)], ids=str)
def test_every_tab_and_panel_of_the_served_page_has_no_serious_violation(served, theme, size):
    trace = sample_trace(steps=2)
    seen = served(trace, size=size)
    page = seen.page
    page.goto(f"{page.url}?__theme={theme}")
    page.wait_for_selector(DRAWN)
    for tab in ("settings", "breakpoints", "verifiers", "runs", "compare", "share"):
        seen.menu(tab)
        assert serious(page) == [], tab
    seen.menu("compare")
    page.click("#compare-b input")
    page.click("[role=option]:has-text('recorded: chain-of-4')")
    page.click("button#compare")
    page.wait_for_selector(".sv-compare")
    assert serious(page) == [], "comparison"
    page.click("[data-act=compare-close]")
    seen.dock("whatif")
    page.wait_for_selector(".sv-whatif table")
    assert serious(page) == [], "what if"
    seen.menu("lessons")
    page.click("[data-act=lesson-open-cache]")
    page.wait_for_selector(".sv-lesson h3")
    page.click("[data-act=lesson-show]")
    assert serious(page) == [], "lessons"
    seen.menu("faults")
    page.click("[data-act=fault-open-no-compaction]")
    page.wait_for_selector(".sv-lesson-ask .sv-checks")
    assert serious(page) == [], "faults"
