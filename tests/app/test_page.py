"""The page in Chromium, by what a person sees: open, step, scrub, click, switch, run, stop, fail.

Screenshots go to pytest's temporary folder. Without Chromium the tests are skipped on a desk and fail in CI.
"""

from __future__ import annotations

import threading
import time

import pytest

from specviz.digits import digits
from specviz.errors import ModelError
from specviz.figures import block
from tests.browser import RIBBONS
from tests.sample_traces import HOSTILE, RULES, random_tree, sample_trace

pytestmark = pytest.mark.browser
KEYS = """keys => keys.forEach(key =>
    document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true, cancelable: true})))"""
"""Script: press keys, one after the other within one task."""


# ------------------------------------------------------------------------------------------------------ moves


def test_steps_by_button_key_slider_timeline_and_text(from_file):
    trace = sample_trace(steps=5)
    seen = from_file(trace)
    page = seen.page
    assert seen.where() == "step 1 of 5"
    assert page.is_disabled("[data-act=back]")
    page.click("[data-act=next]")
    seen.wait_for_step(2, 5)
    for key, step in [("ArrowRight", 3), ("End", 5), ("ArrowLeft", 4), ("Home", 1)]:
        page.keyboard.press(key)
        seen.wait_for_step(step, 5)
    page.click("[data-act=last]")
    seen.wait_for_step(5, 5)
    assert page.is_disabled("[data-act=next]")
    page.click("[data-act=back]")
    seen.wait_for_step(4, 5)
    page.click("[data-act=first]")
    seen.wait_for_step(1, 5)
    page.fill("input[type=range]", "2")
    seen.wait_for_step(3, 5)
    page.click(".sv-bin >> nth=1")
    seen.wait_for_step(2, 5)
    page.click(".sv-word[data-step='3'] >> nth=0")
    seen.wait_for_step(4, 5)


def test_keys_are_listed_and_play_walks_to_the_end(from_file):
    seen = from_file(sample_trace(steps=3))
    seen.page.keyboard.press("?")
    assert "one step back" in seen.page.inner_text("dialog[open]")
    # Both before the next frame: until then the dialog that was closed has the focus.
    seen.page.evaluate(KEYS, ["?", " "])
    assert seen.page.locator("dialog[open]").count() == 0
    assert seen.page.get_attribute("[data-act=play]", "aria-label") == "Pause"
    seen.wait_for_step(3, 3)
    seen.page.wait_for_selector("[aria-label=Play]")


def test_the_summary_and_the_tables_say_what_the_trace_says(from_file):
    trace = sample_trace(steps=2, seed=3)
    seen = from_file(trace)
    step = trace.steps[0]
    driver = step.verdicts[step.driver]
    said = seen.page.inner_text("[aria-live=polite]")
    assert f"{step.driver} accepted {len(driver.path)} of 28 drafted tokens" in said
    for name, verdict in step.verdicts.items():
        row = seen.page.inner_text(f"tr[data-verifier={name}]")
        assert str(len(verdict.path)) in row
        assert verdict.bonus.source in row
    seen.dock("table")
    seen.page.wait_for_selector("details[open] tbody tr")  # the table is made when it is first opened
    rows = seen.page.locator("details[open] tbody tr")
    assert rows.count() == 29
    assert step.tree.nodes[7].text.strip() in rows.nth(7).inner_text()
    text = seen.page.inner_text(".sv-text")
    assert text.strip().startswith("because sky")


def test_a_clicked_node_shows_its_decisions(from_file):
    trace = sample_trace(steps=2)
    seen = from_file(trace)
    decision = trace.steps[0].verdicts["rejection"].decisions[0]
    seen.click_card(decision.node)
    box = seen.page.locator(".sv-decision[data-verifier=rejection]")
    said = box.inner_text()
    assert decision.outcome in said
    assert decision.reason in said
    assert digits(decision.uniform, 7) in said
    assert digits(decision.threshold, 7) in said
    inspector = seen.page.inner_text(".sv-inspector")
    assert f"Node {decision.node}" in inspector
    assert "target: entropy" in inspector
    seen.page.keyboard.press("Escape")
    assert "This step" in seen.page.inner_text(".sv-inspector")


def test_the_driver_comes_first_and_all_paths_when_they_are_compared(from_file):
    trace = sample_trace(steps=1)
    seen = from_file(trace)
    page = seen.page
    assert page.evaluate(RIBBONS) == ["rejection"]
    assert page.locator(".sv-card-bonus").count() == 1
    quiet = page.locator(".sv-card-node .sv-pip")
    assert {pip.get_attribute("data-state") for pip in quiet.all()} <= {"a"}, "what the others accepted, and no more"
    before = quiet.count()
    page.keyboard.press("c")
    assert page.get_attribute("[data-act=compare-paths]", "aria-pressed") == "true"
    assert page.evaluate(RIBBONS) == sorted(trace.steps[0].verdicts)
    assert page.locator(".sv-card-bonus").count() == 3
    assert quiet.count() > before
    page.click(".sv-chip[data-verifier=eta]")
    assert page.get_attribute(".sv-chip[data-verifier=eta]", "aria-pressed") == "false"
    assert page.evaluate(RIBBONS) == ["longest_path", "rejection"]
    page.click(".sv-chip[data-verifier=eta]")
    page.click("[data-act=compare-paths]")
    page.select_option(".sv-lens select", "longest_path")
    assert page.evaluate(RIBBONS) == ["longest_path"]
    spine = page.locator(".sv-rank-path")
    path = trace.steps[0].verdicts["longest_path"].path
    assert {int(card.get_attribute("data-node")) for card in spine.all()} == set(path)


def test_folds_open(from_file):
    trace = sample_trace(random_tree(200, seed=4), steps=1, verifiers=tuple(RULES))
    seen = from_file(trace)
    page = seen.page
    assert "folded" in page.inner_text(".sv-treepanel")
    told = "document.querySelector('.sv-treepanel').innerText"
    folded = f"Number({told}.match(/(\\d+) of \\d+ nodes are folded/)?.[1] || 0)"
    before = page.evaluate(folded)
    page.locator(".sv-card-stub").first.click()
    assert page.evaluate(folded) < before


# ------------------------------------------------------------------------------------------------- looks, safety


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1280, 800), (390, 844)])
def test_fits_the_screen_in_both_themes(from_file, theme, size, tmp_path):
    seen = from_file(sample_trace(steps=2, verifiers=tuple(RULES)), theme=theme, size=size)
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= size[0]
    ink = seen.page.evaluate("getComputedStyle(document.querySelector('.sv-bar-p')).fill")
    dark_ink = sum(int(part) for part in ink[4:-1].split(",")[:3]) < 300
    assert dark_ink == (theme == "light")
    shot = tmp_path / "page.png"
    seen.page.screenshot(path=shot, full_page=True)
    assert shot.stat().st_size > 20_000


def test_hostile_tokens_stay_text(from_file):
    trace = sample_trace(steps=3, tokens=HOSTILE, seed=1)
    seen = from_file(trace)
    for _ in trace.steps:
        for tab in seen.page.locator(".sv-tabs button:visible").all():
            tab.click()
            for summary in seen.page.locator("summary:visible").all():
                summary.click()
        for node in range(0, 29, 4):
            seen.page.evaluate("node => window.specvizViewer.mounted.at(-1).select(node)", node)
        assert seen.page.locator("img, .specviz b i, .specviz script").count() == 0
        seen.page.keyboard.press("ArrowRight")
    assert "${alert(1)}" in seen.page.inner_text("body")
    assert "⟨f0 9f⟩" in seen.page.inner_text("body")


def test_a_cache_that_was_not_compacted_stands_out(from_file):
    trace = sample_trace(steps=3, seed=2, fault="no_compaction")
    moved = next(i for i, step in enumerate(trace.steps) if step.caches.target.moves)
    seen = from_file(trace)
    for _ in range(moved):
        seen.page.keyboard.press("ArrowRight")
    seen.wait_for_step(moved + 1, 3)
    assert "does not hold what was kept" in seen.page.inner_text(".sv-alarm")
    assert seen.page.locator(".sv-slots .sv-kv-wrong").count() > 0


def test_two_blocks_and_missing_frames(from_file):
    """Frames that never came are asked for; a reader who went back is left there while a run goes on."""
    trace = sample_trace(steps=4)
    seen = from_file(trace)
    asked = seen.page.evaluate(
        """(whole) => new Promise((resolve) => {
            const part = {...whole, run: {...whole.run, id: 'other'}, frames: whole.frames.slice(0, 2)};
            const place = document.createElement('div');
            document.body.append(place);
            const onNeed = (run, steps) => resolve([run, steps.sort(), other.state.step]);
            const other = window.specvizViewer.mount(place, {onNeed});
            other.update(part);
        })""",
        block(trace, range(4)),
    )
    assert asked == ["other", [2, 3], 0]


# ------------------------------------------------------------------------------------------------------ gradio


def test_the_page_opens_at_once_on_a_recorded_run(served, tmp_path):
    seen = served()
    assert seen.where().startswith("step 1 of")
    seen.page.keyboard.press("ArrowRight")
    seen.page.wait_for_function("document.querySelector('.sv-where').textContent.startsWith('step 2 of')")
    seen.page.screenshot(path=tmp_path / "opened.png")


FRAMES_ASKED_FOR = """{
    window.asked = 0;
    const ask = window.requestAnimationFrame.bind(window);
    window.requestAnimationFrame = (callback) => { window.asked += 1; return ask(callback); };
}"""
"""Script, to run before the page's own."""


def test_an_open_page_that_nobody_touches_does_nothing(served):
    """Gradio's start screen asks for animation frames also when it has gone; :file:`gradio_raf_patch.js` ends that."""
    seen = served(sample_trace(steps=3), before=FRAMES_ASKED_FOR)
    assert seen.page.evaluate("window.asked") > 0
    for _ in range(15):  # the last animation ends by itself, after seconds
        seen.page.evaluate("window.asked = 0")
        seen.page.wait_for_timeout(1000)
        if seen.page.evaluate("window.asked") == 0:
            break
    assert seen.page.evaluate("window.asked") == 0
    seen.page.keyboard.press("ArrowRight")
    seen.wait_for_step(2, 3)
    assert seen.page.evaluate("window.asked") > 0


def test_typing_in_the_prompt_does_not_move_the_cursor(served):
    seen = served(sample_trace(steps=3))
    seen.page.click("#prompt textarea, #prompt input")
    seen.page.keyboard.press("End")
    seen.page.keyboard.press("ArrowLeft")
    assert seen.where() == "step 1 of 3"


def test_hostile_tokens_stay_text_in_gradio(served):
    seen = served(sample_trace(steps=2, tokens=HOSTILE, seed=1))
    seen.page.keyboard.press("ArrowRight")
    seen.wait_for_step(2, 2)
    assert seen.page.locator(".specviz img").count() == 0


def test_a_failure_is_one_sentence_and_the_run_stays(served):
    def refuse(*_: object, **__: object) -> None:
        raise ModelError("The model “<img src=x onerror=alert(1)>” cannot be found; check its name.")

    seen = served(sample_trace(steps=3), refuse)
    seen.page.click("#step")
    seen.page.wait_for_selector("[role=alert]")
    assert "cannot be found; check its name." in seen.page.inner_text("[role=alert]")
    assert "Traceback" not in seen.page.inner_text("body")
    assert seen.where() == "step 1 of 3"


def test_runs_streams_stops_and_steps_on(served, tmp_path):
    """A run on small random models; the loader is the seam."""
    from tests import pairs

    told = threading.Event()

    def load_pair(progress, **_: object):
        progress("Fetching nothing", 0.5)
        told.set()
        return pairs.make_pair()

    seen = served(sample_trace(steps=2), load_pair)
    page = seen.page
    seen.menu("settings")
    page.uncheck("text=Chat template")
    page.click("#step")
    page.wait_for_function("document.querySelector('.sv-where').textContent === 'step 1 of 1'")
    assert told.is_set()
    page.click("#step")
    seen.wait_for_step(2, 2)
    page.click("#run")
    page.wait_for_function("document.querySelector('.sv-models').textContent.includes('ended: max_new_tokens')")
    count = int(seen.where().split(" of ")[1])
    assert count > 2
    page.wait_for_function("document.querySelectorAll('.sv-gap').length === 0")
    page.click(".specviz")
    page.keyboard.press("Home")
    seen.wait_for_step(1, count)
    page.screenshot(path=tmp_path / "ran.png", full_page=True)
    page.click("#run")
    page.wait_for_selector(".sv-notice")
    assert "has ended" in page.inner_text(".sv-notice")


def test_stop_ends_a_run_between_two_steps(served, monkeypatch):
    from specviz.engine.session import Session
    from tests import pairs

    step = Session.step
    monkeypatch.setattr(Session, "step", lambda self: (time.sleep(0.3), step(self))[1])
    seen = served(sample_trace(steps=2), lambda *_, **__: pairs.make_pair())
    page = seen.page
    seen.menu("settings")
    page.uncheck("text=Chat template")
    page.click("#run")
    page.wait_for_function("document.querySelector('.sv-where').textContent === 'step 2 of 2'")
    page.click("#stop")
    page.wait_for_selector(".specviz-command[data-busy=stop] .specviz-state:has-text('Stopping after this step')")
    page.wait_for_selector("#run:visible")
    count = int(seen.where().split(" of ")[1])
    page.wait_for_timeout(1000)
    assert seen.where() == f"step {count} of {count}"
    assert count < 12


@pytest.mark.default_pair
def test_tokens_of_the_default_pair_stream_in(served, tmp_path):
    seen = served()
    seen.page.set_default_timeout(300_000)
    seen.menu("settings")
    most = seen.page.locator("label:has-text('New tokens at most') input")
    assert most.input_value() == "48", "the form has the settings of the recorded run that the page opens on"
    most.fill("12")
    seen.page.click("#run")
    seen.page.wait_for_selector("#stop:visible")
    seen.page.wait_for_selector("#run:visible")
    count = int(seen.where().split(" of ")[1])
    assert seen.where() == f"step {count} of {count}"
    committed = seen.page.locator(".sv-word[data-step]").count()
    assert committed == 12
    seen.page.keyboard.press("Home")
    seen.wait_for_step(1, count)
    seen.click_card(1)
    assert "rejection" in seen.page.inner_text(".sv-inspector")
    seen.page.screenshot(path=tmp_path / "default-pair.png", full_page=True)
