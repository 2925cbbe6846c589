"""The command bar in Chromium: an answer at once, what is being done, whose turn it is, and the keys."""

from __future__ import annotations

import threading

import pytest

from specviz.engine.draft_runners import DraftRunner
from specviz.engine.session import Session
from tests import pairs
from tests.browser import DRAWN, Watched
from tests.sample_traces import sample_trace

pytestmark = pytest.mark.browser
AT_ONCE = """id => new Promise(done => {
    const bar = document.querySelector('.specviz-command'), at = id => document.getElementById(id);
    const shown = id => getComputedStyle(at(id)).display !== 'none';
    at(id).click();
    requestAnimationFrame(() =>
        done([bar.innerText.includes('Starting'), shown('run'), shown('stop'), at('step').ariaPressed]));
})"""
"""Script: press a button; what the bar shows by the next animation frame."""

LEFT_WHILE_OPENING = """() => {
    document.querySelector('[data-act=lesson-skip]').click();
    document.body.dispatchEvent(new KeyboardEvent('keydown', {key: 'Escape', bubbles: true}));
}"""
"""Script: ask for the next lesson, and leave before it is there."""


def said(seen: Watched, text: str) -> None:
    """Wait until the bar says it."""
    seen.page.wait_for_selector(f".specviz-state:has-text('{text}')")


def write(seen: Watched, prompt: str) -> None:
    """A plain prompt: the tiny tokenizer has no chat template."""
    seen.menu("settings")
    seen.page.uncheck("label:has-text('Chat template') input")
    seen.menu("view")
    seen.page.fill("#prompt textarea", prompt)


def test_a_click_is_answered_before_the_server_is(served):
    seen = served(sample_trace(steps=2), lambda *_, **__: pairs.make_pair())
    page = seen.page
    said(seen, "2 steps")
    write(seen, "the sea")
    said(seen, "New prompt")
    held, go_on = [], threading.Event()

    def hold(route) -> None:
        held.append(route)
        go_on.set()

    page.route("**/queue/join*", hold)
    assert page.evaluate(AT_ONCE, "step") == [True, False, True, "false"]
    page.wait_for_timeout(50)
    assert go_on.is_set()
    assert len(held) == 1
    page.click("#step")  # again: it waits, as the bar and the button say
    said(seen, "then Step")
    assert page.get_attribute("#step", "aria-pressed") == "true"
    page.click("#step")
    page.wait_for_selector("#step[aria-pressed=false]")
    assert "then" not in page.inner_text(".specviz-state"), "it was taken back"
    page.keyboard.press("Control+Enter")
    said(seen, "then Run")
    assert page.is_visible("#run[aria-pressed=true]")
    page.click("#step")  # the last one counts
    said(seen, "then Step")
    page.wait_for_timeout(50)
    assert len(held) == 1
    held[0].continue_()
    page.unroute("**/queue/join*")
    seen.wait_for_step(2, 2)
    said(seen, "2 steps")
    assert page.is_visible("#run")
    assert page.get_attribute("#step", "aria-pressed") is None


def test_a_click_while_a_fork_is_made_waits_for_it_and_goes_on_with_it(served, monkeypatch):
    whole = pairs.make_trace(seed=5)
    go_on, forward = threading.Event(), DraftRunner._forward
    monkeypatch.setattr(DraftRunner, "_forward", lambda *given, **named: (go_on.wait(30), forward(*given, **named))[1])
    seen = served(whole, lambda *_, **__: pairs.make_pair())
    page = seen.page
    page.keyboard.press("ArrowRight")
    seen.wait_for_step(2, len(whole.steps))
    at_once = AT_ONCE.replace("at(id).click()", "document.querySelector(id).click()").replace("Starting", "anew")
    assert page.evaluate(at_once, "[data-act=fork]") == [True, False, True, "false"]
    said(seen, "Drafting level 1 of 3")
    page.keyboard.press("Control+Enter")
    said(seen, "then Run")
    go_on.set()
    seen.wait_for_step(len(whole.steps), len(whole.steps))
    said(seen, "Finished")
    assert page.evaluate("specvizViewer.mounted.at(-1).state.run.id") != whole.id


def test_the_engine_says_what_it_does_and_enter_runs(served, monkeypatch):
    go_on, forward = threading.Semaphore(0), DraftRunner._forward

    def forward_when_told(*given, **named):
        assert go_on.acquire(timeout=30)
        return forward(*given, **named)

    monkeypatch.setattr(DraftRunner, "_forward", forward_when_told)
    seen = served(sample_trace(steps=2), lambda *_, **__: pairs.make_pair())
    write(seen, "the sea")
    seen.page.keyboard.press("Enter")
    for level in (1, 2, 3):
        said(seen, f"Drafting level {level} of 3")
        go_on.release()
    go_on.release(1000)
    said(seen, "Finished")
    assert seen.where().endswith(f" of {seen.page.evaluate('window.specvizViewer.mounted.at(-1).state.run.steps')}")


def test_whoever_waits_is_told_and_can_take_the_click_back(served, browser, monkeypatch):
    go_on, forward = threading.Event(), DraftRunner._forward
    monkeypatch.setattr(DraftRunner, "_forward", lambda *given, **named: (go_on.wait(30), forward(*given, **named))[1])
    first = served(sample_trace(steps=2), lambda *_, **__: pairs.make_pair())
    write(first, "the sea")
    first.page.click("#step")
    said(first, "Drafting level 1 of 3")
    second = Watched(browser, first.page.url)
    second.page.wait_for_selector(DRAWN)
    second.page.click("#run")
    said(second, "Waiting: one run ahead of yours")
    second.page.click("#stop")
    second.page.wait_for_selector("#run:visible")
    go_on.set()
    first.wait_for_step(1, 1)
    assert second.where() == "step 1 of 2", "it was taken back"
    second.finish()


def test_a_failure_is_red_and_the_run_stays(served):
    def refuse(*_: object, **__: object) -> None:
        raise MemoryError

    seen = served(sample_trace(steps=3), refuse)
    seen.page.click("#run")
    seen.page.wait_for_selector(".specviz-error .specviz-state:has-text('Failed')")
    seen.page.wait_for_selector(".sv-notice[role=alert]")
    assert seen.where() == "step 1 of 3"
    seen.page.fill("#prompt textarea", "something else")
    said(seen, "Failed")


def test_a_lost_connection_is_said_and_the_page_is_there_again_with_it(served):
    seen = served(sample_trace(steps=3), lambda *_, **__: pairs.make_pair())
    page = seen.page
    page.evaluate("window.isOld = true")
    page.context.set_offline(True)
    said(seen, "Connection lost")
    page.click("#step")
    page.wait_for_selector(".specviz-error[data-busy=step]")
    assert "Connection lost" in page.inner_text(".specviz-state"), "and not that it starts"
    page.context.set_offline(False)
    page.wait_for_function("!window.isOld && document.querySelector('[data-painted]')")  # Gradio loads it again
    said(seen, "3 steps")
    page.click("#run")
    said(seen, "Finished")
    seen.wrong = [one for one in seen.wrong if "ERR_INTERNET_DISCONNECTED" not in one]


def test_steps_of_a_run_take_nobody_out_of_what_they_look_at(served, monkeypatch):
    go_on, step = threading.Semaphore(0), Session.step

    def step_when_told(session: Session):
        assert go_on.acquire(timeout=30)
        return step(session)

    monkeypatch.setattr(Session, "step", step_when_told)
    seen = served(sample_trace(steps=2), lambda *_, **__: pairs.make_pair())
    page = seen.page
    write(seen, "the sea")
    page.keyboard.press("Enter")
    page.wait_for_selector(".sv-starting .sv-headline:has-text('Starting a new run')")
    assert "“the sea”" in page.inner_text(".sv-sub")
    seen.menu("settings")
    go_on.release()
    page.wait_for_function("document.querySelector('.sv-where').textContent === 'step 1 of 1'")
    assert page.locator(".sv-starting").count() == 0
    assert page.get_attribute("#menu-settings-button", "aria-selected") == "true"
    seen.menu("lessons")
    page.click("[data-act=lesson-open-chain]")
    page.wait_for_selector(".sv-lesson-question")
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.locator(".specviz-state b").bounding_box()["width"] > 30, "on a phone, too, it is said what is done"
    page.set_viewport_size({"width": 1280, "height": 800})
    prompt = page.input_value("#prompt textarea")
    go_on.release()
    page.wait_for_selector(".specviz-aside .specviz-state:has-text('· step 2')")
    go_on.release()
    page.wait_for_selector(".specviz-aside .specviz-state:has-text('· step 3')")
    assert page.is_visible(".sv-lesson-question")
    run = page.evaluate("specvizViewer.mounted.at(-1).state.run.id")
    with page.expect_request("**/queue/join*"):  # once it came, the server is told which run is in sight
        page.evaluate(LEFT_WHILE_OPENING)
    page.wait_for_selector(".sv-lesson", state="detached")
    go_on.release()
    page.wait_for_selector(".specviz-aside .specviz-state:has-text('· step 4')")
    page.wait_for_function("prompt => document.querySelector('#prompt textarea').value === prompt", arg=prompt)
    assert page.evaluate("specvizViewer.mounted.at(-1).state.run.id") == run
    assert page.input_value("#prompt textarea") == prompt != "the sea"
    page.click(".specviz-follow")
    seen.wait_for_step(4, 4)
    page.wait_for_function("document.querySelector('#prompt textarea').value === 'the sea'")
    assert not page.is_visible(".sv-lesson")
    go_on.release()
    seen.wait_for_step(5, 5)
    seen.click_card(1)  # whoever reads a node of the newest step stays there
    go_on.release()
    page.wait_for_function("document.querySelector('.sv-where').textContent === 'step 5 of 6'")
    assert page.locator(".sv-card[aria-selected=true]").count() == 1
    page.click("#stop")
    go_on.release(1000)
    page.wait_for_selector("#run:visible")
    assert seen.where() == "step 5 of 7"
