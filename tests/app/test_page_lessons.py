"""The lessons by keyboard alone, in a window as narrow as a telephone."""

from __future__ import annotations

import pytest

from specviz.lessons import LESSONS, Lesson
from specviz.trace.io import load_trace
from specviz.trace.schema import Trace
from tests.browser import RIBBONS, VIEW, Watched
from tests.paths import ASSETS

pytestmark = pytest.mark.browser
MOST_KEYS = 60
IN_SIGHT = """(() => {
    const box = document.activeElement.getBoundingClientRect();
    return box.top >= 0 && box.bottom <= innerHeight && box.left >= 0 && box.right <= innerWidth;
})()"""


def answer_by_keys(seen: Watched, nodes: list[int]) -> int:
    """Walk the tree from the root to one of ``nodes`` with arrows alone; returns the number of keys."""
    page = seen.page
    keys = 0

    def press(key: str) -> None:
        nonlocal keys
        keys += 1
        page.keyboard.press(key)

    def at() -> int:
        return page.evaluate("Number(document.activeElement.dataset.node ?? -1)")

    press("t")
    page.wait_for_function("document.activeElement.dataset.node !== undefined")
    goal = nodes[0]
    parent = page.evaluate(f"(() => {{ {VIEW} return state.frames.get(state.step).tree.parent; }})()")
    path = [goal]
    while parent[path[0]] > 0:
        path.insert(0, parent[path[0]])
    while at() != 0:
        press("ArrowLeft")
    for node in path:
        press("ArrowRight")
        while at() != node:
            before = at()
            press("ArrowDown")
            assert at() != before, f"arrows do not reach node {node}"
    press("Enter")
    return keys


@pytest.mark.parametrize("width", [390, 1280])
def test_all_seven_are_finished_with_the_keyboard_alone(served, width):
    seen = served(size=(width, 844))
    page = seen.page
    page.wait_for_selector(".sv-card")
    page.focus("#menu-lessons-button")
    page.keyboard.press("Enter")
    page.wait_for_selector(".sv-lessonlist")
    page.wait_for_function("document.querySelectorAll('.sv-lessonlist button').length === 7")
    page.focus("[data-act=lesson-open-chain]")
    page.keyboard.press("Enter")
    for number, lesson in enumerate(LESSONS, start=1):
        page.wait_for_selector(f".sv-lesson h3:has-text('{number} of 7: {lesson.title}')")
        assert page.evaluate("document.activeElement.tagName") == "H3", "a screen reader starts at the lesson"
        nodes = sorted(lesson.fill(trace_of(lesson)).nodes)
        assert answer_by_keys(seen, nodes) < MOST_KEYS
        page.wait_for_selector(".sv-lesson-right:has-text('✓ Right.')")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out"
        if number < 7:
            assert page.evaluate("document.activeElement.dataset.act") == "lesson-next"
            page.keyboard.press("Enter")
    page.wait_for_selector(".sv-lesson-right:has-text('That was the last lesson.')")
    page.focus("[data-act=lesson-list]")
    page.keyboard.press("Enter")
    assert page.locator(".sv-lessonlist .sv-good").count() == 7


def test_a_wrong_answer_gets_the_hint_and_show_me_shows_it(served):
    seen = served()
    page = seen.page
    page.wait_for_selector(".sv-card")
    seen.menu("lessons")
    page.wait_for_selector(".sv-lessonlist")
    assert page.locator(".sv-lessonlist .sv-good").count() == 0, "none is done"
    page.click("[data-act=lesson-open-cache]")
    page.wait_for_selector(".sv-lesson h3:has-text('6 of 7')")
    told = LESSONS[5].fill(trace_of(LESSONS[5]))
    assert seen.where().startswith(f"step {told.step + 1} of ")
    wrong = next(node for node in range(1, 5) if node not in told.nodes)
    seen.click_card(wrong)
    page.wait_for_selector(f".sv-lesson-wrong:has-text('Node {wrong} is not the one.')")
    assert told.hint in page.inner_text(".sv-lesson-answer")
    page.click("[data-act=lesson-show]")
    page.wait_for_selector(".sv-lesson-right:has-text('Shown')")
    assert told.solved in page.inner_text(".sv-lesson-answer")
    page.click("[data-act=lesson-close]")
    assert page.locator(".sv-lesson").count() == 0


def test_what_the_keys_walk_on_is_in_sight(served):
    """In a narrow window the tree lies far below the question."""
    seen = served(size=(390, 844))
    page = seen.page
    page.wait_for_selector(".sv-card")
    seen.menu("lessons")
    for lesson, start in (("trees", "0"), ("eta", "0")):
        page.click(f"[data-act=lesson-open-{lesson}]")
        page.wait_for_selector(f".sv-lesson h3:has-text('{next(x.title for x in LESSONS if x.name == lesson)}')")
        page.focus("[data-act=lesson-tree]")
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.dataset.node") == start, "every lesson starts at the root"
        for key in ("ArrowRight", "ArrowDown", "ArrowDown"):
            assert page.evaluate(IN_SIGHT)
            page.keyboard.press(key)
        assert page.evaluate(IN_SIGHT)
        page.keyboard.press("Enter")  # most likely wrong: the page goes up to the answer
        page.wait_for_selector(".sv-lesson-answer p")
        page.keyboard.press("t")
        assert page.evaluate(IN_SIGHT)
        page.click("[data-act=lesson-list]")


def test_a_lesson_shows_the_verifier_it_is_about(served):
    seen = served()
    page = seen.page
    page.wait_for_selector(".sv-card")
    seen.menu("lessons")
    page.click(".sv-chip[data-verifier=eta]")
    page.keyboard.press(".")
    page.click("[data-act=lesson-open-eta]")
    page.wait_for_selector(".sv-lesson h3:has-text('4 of 7')")
    assert page.input_value(".sv-lens select") == "eta"
    assert page.evaluate(RIBBONS) == ["eta"]
    assert page.inner_text(".sv-phasewhere") == "step into", "the step as a whole"


def test_a_lesson_leaves_with_the_run_it_is_about(served):
    seen = served()
    page = seen.page
    page.wait_for_selector(".sv-card")
    seen.menu("lessons")
    page.click("[data-act=lesson-open-chain]")
    page.wait_for_selector(".sv-lesson h3:has-text('1 of 7')")
    assert page.input_value("#prompt textarea") == trace_of(LESSONS[0]).prompt
    seen.menu("runs")
    page.click("#runs-list label:has-text('Tell a bedtime story')")
    page.wait_for_function("document.querySelector('#prompt textarea').value.startsWith('Tell a bedtime story')")
    page.wait_for_function("document.querySelector('.sv-lesson') === null")
    seen.menu("lessons")
    page.wait_for_selector(".sv-lessonlist")


def trace_of(lesson: Lesson) -> Trace:
    return load_trace(ASSETS / f"{lesson.run}.json.gz")
