"""The headline, the dots of the phases, and the strip of overview and words: in Chromium, as a person meets them."""

from __future__ import annotations

import pytest

from specviz.figures.node import commit_columns
from specviz.trace import metrics
from tests.pairs import make_trace
from tests.sample_traces import HOSTILE, sample_trace

pytestmark = pytest.mark.browser
RUN = "section[aria-label='The run so far']"


def spot(seen, share: float) -> tuple[float, float]:
    """A point on the overview, `share` of the way along it."""
    box = seen.page.locator(".sv-timeline").bounding_box()
    return box["x"] + share * box["width"], box["y"] + 8


def test_the_headline_says_what_a_step_came_to_and_the_dots_lead_into_it(from_file):
    trace = make_trace(max_new_tokens=6)
    step, seen = trace.steps[0], from_file(trace)
    page, written = seen.page, len(trace.steps[0].committed)
    assert page.inner_text(".sv-headline") == f"{written} token{'s' if written > 1 else ''} from one target forward"
    assert page.locator(".sv-sub code").all_inner_texts() == commit_columns(trace, 0)["label"]
    kept = len(step.verdicts["rejection"].path)
    assert f"rejection kept {kept or 'none'} of 28 drafts, the target added 1" in page.inner_text(".sv-sub")
    coins = len(step.verdicts["rejection"].decisions)
    groups = page.locator(".sv-dotgroup")
    assert groups.locator("> span").all_inner_texts() == ["draft", "score", "coins", "path", "commit", "cache"]
    assert groups.nth(0).locator("button").count() == 3
    assert groups.nth(2).locator("button").count() == coins
    groups.nth(2).locator("button").first.click()
    node = step.verdicts["rejection"].decisions[0].node
    assert page.inner_text(".sv-headline").startswith(f"Coin 1 of {coins}: node {node} is ")
    assert page.inner_text(".sv-sub") == page.inner_text(".sv-summary")
    assert page.locator(".sv-sub code").count() == 0
    assert page.get_attribute(".sv-dot[aria-current=step]", "data-dot") == "4"
    assert page.inner_text(".sv-seg.sv-now") == "…", "what becomes text is not known yet"
    later = page.locator(".sv-dot-later").last
    assert later.get_attribute("title") == f"phase {4 + coins + 3}", "a later moment does not tell itself"
    page.click(".sv-dot >> nth=0")
    assert page.inner_text(".sv-headline") == "Draft, level 1: 4 guesses"


def test_words_and_overview_lead_to_steps_of_a_long_run(from_file):
    trace = sample_trace([-1, 0, 0], steps=400, seed=1)
    seen = from_file(trace)
    page = seen.page
    assert page.locator(".sv-seg").count() == 400
    bins = page.locator(".sv-bin").count()
    assert 150 < bins <= 400
    assert page.locator(".sv-bin").first.bounding_box()["width"] >= 1.5
    page.mouse.click(*spot(seen, 0.75))
    seen.wait_for_step(301, 400)
    words = page.inner_text(".sv-seg.sv-now")
    assert words.split() == "".join(commit_columns(trace, 300)["piece"]).split()
    now, strip = page.locator(".sv-seg.sv-now").bounding_box(), page.locator(".sv-text").bounding_box()
    assert strip["x"] <= now["x"]
    assert now["x"] + now["width"] <= strip["x"] + strip["width"]
    mark = page.locator(".sv-overnow").bounding_box()
    assert mark["width"] >= 4, "a step can be seen among 400"
    assert abs(mark["x"] + mark["width"] / 2 - spot(seen, 300.5 / 400)[0]) < 4
    seen_steps = page.locator(".sv-overseen").bounding_box()
    assert seen_steps["x"] <= mark["x"] <= seen_steps["x"] + seen_steps["width"]
    page.click(".sv-seg[data-step='302']")
    seen.wait_for_step(303, 400)
    page.locator("input[type=range]").focus()
    page.keyboard.press("ArrowRight")
    seen.wait_for_step(304, 400)


def test_totals_follow_a_range_that_is_drawn_over_the_overview(from_file):
    trace = sample_trace(steps=8, seed=3)
    seen = from_file(trace)
    page = seen.page
    seen.dock("totals")
    whole = page.inner_text(f"{RUN} .sv-totals")
    page.mouse.move(*spot(seen, 2.5 / 8))
    page.mouse.down()
    page.mouse.move(*spot(seen, 4.5 / 8), steps=3)
    page.mouse.up()
    own = trace.model_copy(update={"steps": trace.steps[2:5]})
    tokens = sum(len(step.committed) for step in own.steps)
    assert page.inner_text(".sv-rangesaid").startswith(f"steps 3 to 5: {tokens} tokens, {tokens / 3:.2f} a forward")
    assert seen.where() == "step 1 of 8", "choosing a range is no move"
    page.locator(f"{RUN} .sv-totals", has_text="Steps 3 to 5: 3 steps").wait_for()
    for name in ("rejection", "eta", "longest_path"):
        row = page.inner_text(f"{RUN} tr[data-verifier={name}]")
        assert f"{metrics.block_efficiency(own, name):.2f}" in row
        for accepted, of in metrics.acceptance_by_depth(own.steps, name):
            assert f"{accepted}/{of}" in row
    page.keyboard.press("Escape")
    assert not page.is_visible(".sv-rangesaid")
    page.wait_for_function("text => document.querySelector('.sv-totals').innerText === text", arg=whole)
    page.keyboard.down("Shift")
    page.mouse.click(*spot(seen, 1.5 / 8))
    page.keyboard.up("Shift")
    assert page.inner_text(".sv-rangesaid").startswith("steps 1 to 2:")
    said, words = page.locator(".sv-rangesaid").bounding_box(), page.locator(".sv-text").bounding_box()
    assert words["x"] + words["width"] <= said["x"], "it covers no word"
    page.click("[aria-label='Leave the range']")
    assert not page.is_visible(".sv-rangesaid")
    page.keyboard.press("ArrowRight")
    for keys, first, last in [("Right", 2, 3), ("Right", 2, 4), ("Left", 2, 3), ("Left", 2, 2), ("Left", 1, 2)]:
        page.keyboard.press(f"Shift+Arrow{keys}")
        assert page.inner_text(".sv-rangesaid").startswith(f"steps {first} to {last}:")
    assert seen.where() == "step 2 of 8"
    page.keyboard.press("Escape")
    page.focus("input[type=range]")
    page.keyboard.press("Shift+End")
    page.locator(f"{RUN} .sv-totals", has_text="Steps 2 to 8: 7 steps").wait_for()
    page.keyboard.press("Escape")
    assert not page.is_visible(".sv-rangesaid")
    page.keyboard.press("?")
    assert "a range of steps from the one in sight" in page.inner_text("dialog[open]")


def test_hostile_words_stay_text_in_headline_and_strip(from_file):
    seen = from_file(sample_trace(steps=4, tokens=HOSTILE, seed=1))
    page = seen.page
    for _ in range(4):
        for phase in range(8):
            assert page.locator(".sv-headbox :is(img, script), .sv-text :is(img, script, b)").count() == 0, phase
            page.keyboard.press(".")
        page.keyboard.press("Escape")
        page.keyboard.press("ArrowRight")
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
