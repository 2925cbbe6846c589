"""What if, breakpoints and comparisons, by what a person sees in Chromium."""

from __future__ import annotations

import re

import pytest

from specviz.trace.schema import Choice
from tests import pairs
from tests.browser import Watched
from tests.sample_traces import sample_trace

pytestmark = pytest.mark.browser
PANEL = ".sv-whatif"


def tiny(*_: object, **__: object) -> object:
    return pairs.make_pair()


def open_panel(seen: Watched) -> None:
    seen.dock("whatif")
    seen.page.wait_for_selector(f"{PANEL} table")


def difference(seen: Watched, by: str) -> None:
    seen.page.wait_for_selector(f"{PANEL} .sv-whatif-by:has-text('{by}')")


# ----------------------------------------------------------------------------------------------------- what if


def test_a_changed_coin_turns_a_decision_and_both_stand_side_by_side(served):
    trace = pairs.make_trace(seed=5)
    step = trace.steps[0]
    decision = next(d for d in step.verdicts["rejection"].decisions if d.outcome == "rejected" and d.threshold > 0.01)
    seen = served(trace, tiny)
    page = seen.page
    seen.click_card(decision.node)
    page.click(".sv-inspector :text('Force this coin')")  # it goes to the field, with a coin that turns the decision
    turned = page.locator(f"{PANEL} tr[data-differs=true]").filter(has=page.locator(f"[data-node='{decision.node}']"))
    turned.wait_for()
    assert 0.9 * decision.threshold < float(page.input_value(f"{PANEL} [data-field=coin]")) < decision.threshold
    result, dock = page.locator(".sv-whatif-result").bounding_box(), page.locator(".sv-dockbody").bounding_box()
    assert dock["y"] <= result["y"]
    assert result["y"] + result["height"] <= dock["y"] + dock["height"], "the outcome is in sight"
    assert "rejection would accept" in page.inner_text(".sv-whatif-result")
    page.keyboard.type("0.000001")  # instead of it
    page.wait_for_selector(f"{PANEL} td:has-text('u 1.00·10⁻⁶')")
    row = page.locator(f"{PANEL} tr[data-differs=true]").filter(has=page.locator(f"[data-node='{decision.node}']"))
    row.wait_for()
    assert "✕ rejected" in row.locator("td").nth(0).inner_text()
    assert "≠ ● accepted: u 1.00·10⁻⁶ <" in row.locator("td").nth(1).inner_text()
    assert "From the trace alone" in page.inner_text(f"{PANEL} .sv-whatif-by")
    assert page.locator(f".sv-whatif-mark[data-node='{decision.node}']").inner_text() == "≠"
    assert f"coin of node {decision.node} = 0.000001" in page.inner_text(".sv-whatif-changes")
    page.keyboard.press("Escape")
    page.click("[data-act=next]")
    page.wait_for_function("document.querySelectorAll('.sv-whatif-mark:not(.sv-on-path)').length === 0")
    page.click("[data-act=back]")
    page.wait_for_selector(f".sv-whatif-mark[data-node='{decision.node}']")
    page.click(".sv-whatif-changes button")
    page.wait_for_function("document.querySelectorAll('.sv-whatif tr[data-differs=true]').length === 0")


def test_a_forced_node_and_a_bonus_that_needs_the_models(served):
    trace = pairs.make_trace(seed=5)
    first = next(node.id for node in trace.steps[0].tree.nodes if node.parent == 0)
    seen = served(trace, tiny)
    page = seen.page
    open_panel(seen)
    page.select_option(f"{PANEL} [data-field=verifier]", "greedy")
    seen.click_card(first)
    assert "flips no coin" in page.inner_text(PANEL)
    page.click("[data-act=whatif-accept]")
    page.wait_for_selector(f"{PANEL} td:has-text('forced by hand')")
    page.select_option(f"{PANEL} [data-field=verifier]", "rejection")
    page.fill(f"{PANEL} [data-field=bonus]", "0.123")
    page.click("[data-act=whatif-models]")
    difference(seen, "By the models")
    assert page.locator("[data-act=whatif-models]").count() == 0
    assert "not known" not in page.inner_text(f"{PANEL} table")


def test_other_options_and_other_verifiers_say_that_rows_are_needed(served):
    trace = pairs.make_trace(seed=5, verifiers=(Choice(name="rejection"), Choice(name="eta")))
    seen = served(trace, tiny)
    page = seen.page
    open_panel(seen)
    page.select_option(f"{PANEL} [data-field=verifier]", "traversal")
    page.wait_for_selector(f"{PANEL} :text('did not judge this tree, so its thresholds')")
    page.click("[data-act=whatif-models]")
    difference(seen, "By the models")
    assert "recorded: rejection" in page.inner_text(f"{PANEL} thead")
    page.select_option(f"{PANEL} [data-field=verifier]", "eta")
    page.fill(f"{PANEL} [data-field=option-epsilon]", "0.5")
    page.wait_for_selector(f"{PANEL} :text('Other options give eta other thresholds')")
    page.fill(f"{PANEL} [data-field=option-epsilon]", "7")
    page.wait_for_selector(f"{PANEL} .sv-bad")
    assert "cannot use option epsilon" in page.inner_text(f"{PANEL} .sv-bad")


def test_an_exported_page_asks_nobody(from_file):
    seen = from_file(sample_trace(steps=1))
    assert seen.page.locator(PANEL).count() == 0


# ------------------------------------------------------------------------------------------------- breakpoints


def test_run_stops_at_a_breakpoint_and_a_run_is_searched_for_them(served):
    whole = pairs.make_trace(seed=0, verifiers=(Choice(name="rejection"), Choice(name="eta")))
    none = [i for i, step in enumerate(whole.steps) if not step.verdicts["rejection"].path]
    seen = served(whole, tiny)
    page = seen.page
    seen.menu("breakpoints")
    page.click("#next-hit")
    page.wait_for_selector(".sv-notice:has-text('No breakpoint is set')")
    page.check("label:has-text('Nothing accepted') input")
    page.click("#next-hit")
    hits = [i for i in none if i > 0]
    seen.wait_for_step(hits[0] + 1, len(whole.steps))
    assert f"Breakpoint at step {hits[0] + 1}: rejection accepted none" in page.inner_text(".sv-notice")
    page.keyboard.press("End")
    seen.wait_for_step(len(whole.steps), len(whole.steps))
    seen.menu("breakpoints")
    page.click("#next-hit")
    page.wait_for_selector(".sv-notice:has-text('the search began anew')")
    seen.wait_for_step(none[0] + 1, len(whole.steps))
    seen.menu("settings")
    page.uncheck("label:has-text('Chat template') input")
    page.click("#run")
    page.wait_for_selector(".sv-notice:has-text('Breakpoint at step'):not(:has-text('began anew'))")
    at, count = seen.where().removeprefix("step ").split(" of ")
    assert at == count
    assert "accepted nothing" in page.inner_text(".sv-summary") or "accepted 0 of" in page.inner_text(".sv-summary")
    seen.menu("breakpoints")
    page.get_by_label("Entropy above").fill("warm")
    page.click("#run")
    page.wait_for_selector("[role=alert]:has-text('is not a number')")


# ----------------------------------------------------------------------------------------------------- compare


def test_two_runs_part_where_their_tokens_say(served):
    trace = pairs.make_trace(seed=5)
    seen = served(trace, tiny)
    page = seen.page
    page.keyboard.press("ArrowRight")
    seen.tool("fork")
    seen.wait_for_step(2, 2)
    seen.menu("settings")
    page.fill("label:has-text('Seed') input", "78")
    seen.menu("view")
    seen.tool("fork")
    page.wait_for_function("document.querySelector('.sv-models').textContent.includes('seed 78')")
    page.click("#run")
    page.wait_for_function("document.querySelector('.sv-models').innerText.includes('ended: max_new_tokens')")
    seen.menu("compare")
    page.wait_for_function("document.querySelector('#compare-a input').value.includes('seed 78')")
    assert page.input_value("#compare-b input") != page.input_value("#compare-a input")
    page.click("#compare-b input")
    page.get_by_role("option", name=re.compile("^the run it was started with")).click()
    page.click("button#compare")
    page.wait_for_selector(".sv-compare")
    room = page.locator(".sv-top").bounding_box()
    assert room["height"] >= 700, "the comparison has the window below the bar"
    assert not page.is_visible(".sv-treepanel, .sv-strip, .sv-dock")
    said = page.inner_text(".sv-compare-said")
    first = len(trace.steps[0].committed)
    assert "They part at token" in said
    index = int(said.split("They part at token ")[1].split(":")[0]) - 1
    assert index >= first, "the fork shares the first step"
    assert "Not comparable: both sample, and what determines their draws is not the same, so chance alone" in said
    assert "Not the same: seed (78 and 5)." in said
    assert "The same: prompt, models, sampling, tree, driver." in said
    assert "real difference" not in said
    assert page.locator(".sv-compare mark").count() > 0
    page.click("[data-act=compare-open-1]")
    page.wait_for_function("document.querySelector('.sv-models').textContent.includes('seed 5')")
    assert page.locator(".sv-compare").bounding_box()["height"] < 60, "a line above the run that was opened"
    assert page.locator(".sv-treepanel").bounding_box()["height"] > 200
    page.click("[data-act=compare-back]")
    assert page.is_visible(".sv-compare-said")
    page.click("[data-act=compare-close]")
    assert page.locator(".sv-compare").count() == 0


def test_greedy_against_plain_greedy_is_one_click(served):
    from specviz.trace.schema import Sampling

    greedy = pairs.make_trace(
        target=Sampling(temperature=0.0), verifiers=(Choice(name="greedy"),), driver="greedy", max_new_tokens=12
    )
    seen = served(greedy, tiny)
    seen.menu("compare")
    seen.page.wait_for_function("document.querySelector('#compare-a input').value.includes('greedy drives')")
    seen.page.click("button#compare")
    seen.page.wait_for_selector(".sv-notice:has-text('Two runs are needed')")
    seen.page.click("#plain-greedy")
    seen.page.wait_for_selector(".sv-compare")
    assert "write the same 12 tokens" in seen.page.inner_text(".sv-compare-said")


def test_a_coin_that_nobody_looks_at_says_so(served):
    """Of a rule that flips coins, at a node that it does not come to; and of every rule that flips none."""
    trace = pairs.make_trace(seed=5)
    step = trace.steps[0]
    examined = {decision.node for decision in step.verdicts["rejection"].decisions}
    node = next(n.id for n in step.tree.nodes[1:] if n.id not in examined)
    seen = served(trace, tiny)
    page = seen.page
    open_panel(seen)
    assert page.locator(".sv-whatif-unused").count() == 0
    page.evaluate("node => window.specvizViewer.mounted.at(-1).select(node)", node)  # it may be folded
    page.fill(f"{PANEL} [data-field=coin]", "0.25")
    page.wait_for_selector(".sv-whatif-unused:has-text('was not looked at by rejection: it did not come to that node')")
    for name in ("naive", "greedy", "eta"):
        page.select_option(f"{PANEL} [data-field=verifier]", name)
        page.wait_for_selector(f".sv-whatif-unused:has-text('was not looked at: {name} flips no coin at a node')")
        assert f"coin of node {node} = 0.25" in page.inner_text(".sv-whatif-changes"), "the change is still there"
    page.select_option(f"{PANEL} [data-field=verifier]", "longest_path")
    page.wait_for_selector(f"{PANEL} thead:has-text('what if: longest_path')")
    page.click(".sv-whatif-changes button")
    page.wait_for_function("document.querySelectorAll('.sv-whatif-unused').length === 0")
