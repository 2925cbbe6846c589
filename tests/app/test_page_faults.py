"""The gallery of faults as a visitor sees it: a list, and a fault at the step and the node where it shows."""

from __future__ import annotations

import pytest

from specviz.gallery import FAULTS, fault_named
from tests.tools.fault_doc import found_in

pytestmark = pytest.mark.browser
STATE = "window.specvizViewer.mounted.at(-1).state"


def test_a_fault_opens_where_it_shows_and_is_left_with_its_run(served):
    seen = served()
    page = seen.page
    seen.menu("faults")
    page.wait_for_selector(".sv-faultlist")
    assert page.locator(".sv-faultlist b").all_inner_texts() == [fault.title for fault in FAULTS]
    assert page.locator(".sv-faultlist b + span").all_inner_texts() == [fault.said for fault in FAULTS]

    fault = fault_named("no-compaction", FAULTS)
    page.click(f"[data-act=fault-open-{fault.name}]")
    page.wait_for_selector(f".sv-lesson h3:text-is('{fault.title}')")
    found = found_in(fault)
    assert page.locator(".sv-lesson .sv-checks b").all_inner_texts() == [one.check.replace("_", " ") for one in found]
    assert page.evaluate(f"[{STATE}.step, {STATE}.selected, {STATE}.dock]") == [found[0].step, found[0].node, "cache"]
    assert page.is_visible(".sv-kv-wrong"), "the slot that holds another node"
    (link,) = page.locator(".sv-lesson a").all()
    assert (link.inner_text(), link.get_attribute("href")) == (fault.reports[0].name, fault.reports[0].address)
    assert link.get_attribute("rel") == "noopener noreferrer"

    # Each finding leads to its step; another fault follows, in whose list the first is left.
    page.click(".sv-lesson .sv-checks li:nth-child(2) button")
    page.wait_for_function(f"{STATE}.step === {found[1].step}")
    page.click("[data-act=fault-next]")
    page.wait_for_selector(f'.sv-lesson h3:text-is("{FAULTS[1].title}")')
    assert page.locator(".sv-lesson").count() == 1
    run = page.evaluate(f"{STATE}.run.id")
    seen.menu("lessons")
    page.wait_for_selector(".sv-lesson h3:text-is('Lessons')")
    assert page.locator(".sv-lesson").count() == 1, "one column at a time"
    seen.menu("faults")
    page.wait_for_selector(".sv-lesson h3:text-is('Faults')")
    page.keyboard.press("Escape")
    page.wait_for_selector(".sv-lesson", state="detached")
    assert page.get_attribute("#menu-view-button", "aria-selected") == "true"
    assert page.evaluate(f"{STATE}.run.id") == run, "the run stays"
