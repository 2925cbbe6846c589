"""What the page sends before anybody does anything, in Chromium: it is small, and Plotly comes with the first chart."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.browser
SENT = """Object.fromEntries(
    [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]
        .map(entry => [entry.name, entry.encodedBodySize + 300]))"""
"""Script: address -> bytes of its answer as it was sent. 300 is what the standard counts for headers; the body counts
also where the browser had the file of an earlier page."""
TOLD = ("Failed to load resource", "[svelte-i18n]")
"""What the console says: of the file that is held back here, and of texts in Gradio's list of options."""
FIGURE = "[data-section=figure]"


def test_the_first_load_is_small_and_plotly_comes_with_the_first_chart(served):
    seen = served()  # on the recorded run, as somebody who comes for the first time
    page = seen.page
    page.wait_for_function(f"Object.keys({SENT}).some(address => address.endsWith('/run/predict'))")  # the last to come
    sent = page.evaluate(SENT)
    assert len(sent) > 20
    assert 200_000 < sum(sent.values()) < 1_200_000
    assert not [address for address in sent if "plotly" in address]
    weight = "getComputedStyle(document.querySelector('.sv-inspector h3')).fontWeight"
    assert page.evaluate(weight) == "700", "the viewer's styles come after Gradio's, which make headings plain"

    page.route("**/plotly.min.js*", lambda route: route.abort())
    seen.menu("compare")
    page.click("#board-open input")
    page.click("[role=option] >> nth=0")
    page.wait_for_selector(f"{FIGURE} [role=status]:has-text('Plotly could not be loaded from this server')")
    assert page.locator(f"{FIGURE} tbody td").count() > 0, "the numbers are there without the chart"

    page.unroute("**/plotly.min.js*")
    page.click(f"{FIGURE} [data-act=board-again]")
    page.wait_for_selector(f"{FIGURE} .main-svg")
    assert page.inner_text(f"{FIGURE} [role=status]") == ""
    assert len([address for address in page.evaluate(SENT) if "plotly" in address]) >= 1
    seen.wrong[:] = [said for said in seen.wrong if not any(known in said for known in TOLD)]
