"""The lessons as a learner uses them: a column beside the tree, answers in every way, a bug that has to be found."""

from __future__ import annotations

import pytest

from specviz.lessons import LESSONS, FilledLesson, Lesson, text_of
from specviz.trace.io import load_trace
from specviz.trace.schema import Trace
from tests.browser import RIBBONS, VIEW, Watched
from tests.paths import ASSETS

pytestmark = pytest.mark.browser
MOST_KEYS = 60
BY_NAME = {lesson.name: lesson for lesson in LESSONS}
IN_SIGHT = """(() => {
    const box = document.activeElement.getBoundingClientRect();
    return box.top >= 0 && box.bottom <= innerHeight && box.left >= 0 && box.right <= innerWidth;
})()"""
LIT = "[...document.querySelectorAll('.sv-card.sv-lit')].map(card => card.dataset.node)"
TEXT_LIT = "[...document.querySelectorAll('.sv-lesson .sv-lit')].map(link => link.dataset.node)"
GIVEAWAYS = """(() => {
    const marks = ['.sv-found', '.sv-found-again', '.sv-found-after', '.sv-fault', '.sv-faulty', '.sv-kv-wrong',
        '.sv-alarm', '.sv-jump', '.sv-bad', '.sv-arc-wrong', '.sv-arc-missing', '.sv-finding'];
    const seen = [...document.querySelectorAll(marks.join())].filter(one => one.checkVisibility());
    const places = ['.sv-strip', '.sv-headbox', '.sv-treepanel', '.sv-inspector', '.sv-dock'];
    const parts = [...document.querySelectorAll(places.join())];
    const tips = parts.flatMap(part => [...part.querySelectorAll('[title], [aria-label]')]);
    const shown = tips.filter(one => one.checkVisibility()).map(one => `${one.title} ${one.ariaLabel}`);
    const told = /✕ (must|stays|due|step|Here|target|draft)|not due|not fit|fingerprint;|(is|still|left) wrong/;
    const texts = [...parts.map(part => part.innerText), ...shown].filter(text => told.test(text));
    return [...seen.map(one => one.outerHTML), ...texts];
})()"""
"""Script: marks in sight, and texts of the page (tips and labels, too), that say that a cache is not as it must be."""


def filled(name: str) -> FilledLesson:
    return BY_NAME[name].fill(trace_of(BY_NAME[name]))


def trace_of(lesson: Lesson) -> Trace:
    return load_trace(ASSETS / f"{lesson.run}.json.gz")


def open_lesson(seen: Watched, name: str) -> FilledLesson:
    """Go to the lessons, and to one of them."""
    seen.menu("lessons")
    seen.page.click(f"[data-act=lesson-open-{name}]")
    seen.page.wait_for_selector(f".sv-lesson h3:text-is('{BY_NAME[name].title}')")
    return filled(name)


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
    # Depth goes to the right, and downwards on a telephone.
    narrow = page.viewport_size["width"] < 480
    up, down, on, back = (f"Arrow{way}" for way in (("Up Down Right Left" if narrow else "Left Right Down Up").split()))
    while at() != 0:
        press(up)
    for node in path:
        press(down)
        while at() != node:
            before = at()
            press(on)
            if at() == before:  # the path is in the middle, its elder siblings are above
                while at() != node:
                    before = at()
                    press(back)
                    assert at() != before, f"arrows do not reach node {node}"
    press("Enter")
    return keys


@pytest.mark.parametrize("width", [390, 1280])
def test_all_seven_are_finished_with_the_keyboard_alone(served, width):
    seen = served(size=(width, 844))
    page = seen.page
    page.focus("#menu-view-button")
    page.keyboard.press("ArrowRight")  # arrows go from tab to tab
    page.wait_for_selector(".sv-lessonlist")
    page.wait_for_function("document.querySelectorAll('.sv-lessonlist button').length === 7")
    if width < 1000:
        assert page.locator(".sv-lessonlist button").last.bounding_box()["y"] < 844, "the list has the window"
        assert not page.is_visible(".sv-treebox")
    assert page.locator("#menu > .tab-wrapper [role=tab][tabindex='0']").count() == 1, "others are not in the way"
    page.focus("[data-act=lesson-open-chain]")
    page.keyboard.press("Enter")
    for number, lesson in enumerate(LESSONS, start=1):
        page.wait_for_selector(f".sv-lesson h3:text-is('{lesson.title}')")
        assert page.inner_text(".sv-lesson-head span") == f"{number} of 7"
        assert page.evaluate("document.activeElement.tagName") == "H3", "a screen reader starts at the lesson"
        if width < 1000:
            high = {name: page.locator(name).bounding_box()["height"] for name in (".sv-treepanel", ".sv-top")}
            assert high[".sv-treepanel"] < 844 / 3 < high[".sv-top"], "the lesson has more room than the tree"
        told = filled(lesson.name)
        for _ in range(told.start, told.step):
            page.keyboard.press("ArrowRight")
        seen.wait_for_step(told.step + 1, len(trace_of(lesson).steps))
        assert answer_by_keys(seen, sorted(told.nodes)) < MOST_KEYS
        page.wait_for_selector(".sv-lesson-question:has-text('✓ Yes, node')")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out"
        if number < 7:
            assert page.evaluate("document.activeElement.dataset.act") == "lesson-next"
            page.keyboard.press("Enter")
    page.wait_for_selector(".sv-lesson-ask:has-text('That was the last lesson.')")
    page.focus("[data-act=lesson-list]")
    page.keyboard.press("Enter")
    assert page.locator(".sv-lessonlist .sv-good").count() == 7


def test_a_lesson_stands_beside_the_tree_and_its_numbers_light_cards(served):
    seen = served()
    page = seen.page
    open_lesson(seen, "chain")
    at = {
        name: page.locator(name).bounding_box() for name in (".sv-lesson", ".sv-treebox", ".sv-inspector", ".sv-dock")
    }
    assert page.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]") == [1280, 800]
    assert at[".sv-treebox"]["x"] >= at[".sv-lesson"]["x"] + at[".sv-lesson"]["width"]
    assert at[".sv-inspector"]["y"] >= at[".sv-treebox"]["y"] + at[".sv-treebox"]["height"]
    assert at[".sv-dock"]["height"] < 40, "the dock is closed where the lesson does not need it"
    page.hover(".sv-lesson-value >> nth=0")
    assert page.evaluate(LIT) == ["1"]
    page.hover(".sv-card-node[data-node='1'] .sv-bg")
    assert page.evaluate(TEXT_LIT) == ["1"] * 5, "the card lights its numbers"
    page.click(".sv-lesson-card")
    page.wait_for_selector(".sv-inspector .sv-nodenumber:has-text('1')")
    read = [page.locator(name).bounding_box() for name in (".sv-inspector", ".sv-card[aria-selected=true] > .sv-bg")]
    for node in (1, 2):
        page.hover(f".sv-card-node[data-node='{node}'] .sv-bg")
        tip = page.locator(".sv-tip").bounding_box()
        assert tip["height"] > 20
        for box in read:
            beside = tip["x"] + tip["width"] <= box["x"] or box["x"] + box["width"] <= tip["x"]
            assert beside or tip["y"] + tip["height"] <= box["y"] or box["y"] + box["height"] <= tip["y"]
    assert page.inner_text(".sv-lesson-answer") == "", "to look a number up is no answer"
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.querySelector('.sv-lesson-card').dataset.node === undefined")
    page.keyboard.press("Escape")
    page.wait_for_function("document.querySelector('.sv-lesson') === null")
    assert page.get_attribute("#menu-view-button", "aria-selected") == "true", "one key leaves"
    assert page.locator(".sv-dock").bounding_box()["height"] > 40, "the dock is as it was"


def test_a_wrong_answer_says_why_and_show_me_shows_it(served):
    seen = served()
    page = seen.page
    told = open_lesson(seen, "cache")
    assert seen.where().startswith(f"step {told.step + 1} of ")
    (_, near), why = next(iter(told.wrong.items()))
    far = next(node for node in range(1, 7) if (told.step, node) not in told.wrong and node not in told.nodes)
    seen.click_card(near)
    page.wait_for_selector(f".sv-lesson-wrong:has-text('✕ Not node {near}. {text_of(why)}')")
    seen.click_card(far)
    page.wait_for_selector(f".sv-lesson-wrong:has-text('✕ Not node {far}. {told.otherwise}')")
    assert page.inner_text(".sv-lesson-question") == told.question, "it can be tried again at once"
    page.click("[data-act=lesson-hint]")
    assert page.inner_text(".sv-lesson-hint") == told.hint
    # Of 28 nodes, 1 may be followed by another digit.
    page.keyboard.press("1")
    page.wait_for_selector(".sv-lesson-ask .sv-note:has-text('Node 1: Enter, or one more digit.')")
    page.keyboard.press("4")
    page.wait_for_selector(".sv-lesson-wrong:has-text('✕ Not node 14.')")
    page.click("[data-act=lesson-show]")
    (node,) = told.nodes
    page.wait_for_selector(f".sv-lesson-question:has-text('Here: node {node}.')")
    assert page.evaluate(f"(() => {{ {VIEW} return state.selected; }})()") == node
    # The page View is the run without a lesson.
    seen.menu("view")
    page.wait_for_function("document.querySelector('.sv-lesson') === null")
    page.keyboard.press("l")
    page.wait_for_selector(".sv-lessonlist")
    page.keyboard.press("l")
    page.wait_for_function("document.querySelector('.sv-lesson') === null")


def test_nothing_gives_the_bug_away_before_it_is_found(served):
    seen = served()
    page = seen.page
    told, steps = open_lesson(seen, "bug"), len(trace_of(BY_NAME["bug"]).steps)
    (node,) = told.nodes
    assert seen.where() == f"step 1 of {steps}"
    page.locator(".sv-cachebelow details").first.locator("summary").click()
    for number in range(1, steps + 1):
        seen.wait_for_step(number, steps)
        assert page.evaluate(GIVEAWAYS) == [], f"step {number}"
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Home")
    seen.wait_for_step(1, steps)
    for key in ("n", "N", "w"):
        page.keyboard.press(key)
        assert seen.where() == f"step 1 of {steps}", "no key leads there"
    page.keyboard.press("5")
    seen.click_card(1)
    page.wait_for_selector(".sv-lesson-wrong:has-text('holds its entry after the update')")
    for _ in range(told.step):
        page.keyboard.press("ArrowRight")
    seen.wait_for_step(told.step + 1, steps)
    for panel in ("audit", "masks", "totals", "verdicts", "cache"):
        seen.dock(panel)
        assert page.evaluate(GIVEAWAYS) == [], panel
    seen.click_card(node)
    page.wait_for_selector(f".sv-lesson-question:has-text('✓ Yes, node {node}.')")
    page.wait_for_selector(".sv-kv-wrong:visible")
    assert page.locator(".sv-timeline .sv-found").count() == 1, "the marks are back"
    assert page.is_visible("[data-act=why]")


def test_what_the_keys_walk_on_is_in_sight(served):
    """In a narrow window the tree lies far below the question."""
    seen = served(size=(390, 844))
    page = seen.page
    for lesson in ("trees", "eta"):
        open_lesson(seen, lesson) if lesson == "trees" else page.click(f"[data-act=lesson-open-{lesson}]")
        page.wait_for_selector(f".sv-lesson h3:text-is('{BY_NAME[lesson].title}')")
        page.keyboard.press("t")
        for key in ("ArrowRight", "ArrowDown", "ArrowDown"):
            assert page.evaluate(IN_SIGHT)
            page.keyboard.press(key)
        assert page.evaluate(IN_SIGHT)
        page.keyboard.press("Enter")
        page.wait_for_selector(".sv-lesson-answer p")
        page.keyboard.press("t")
        assert page.evaluate(IN_SIGHT)
        page.click("[data-act=lesson-list]")


def test_a_lesson_shows_the_verifier_it_is_about(served):
    seen = served()
    page = seen.page
    seen.menu("lessons")
    page.click(".sv-chip[data-verifier=eta]")
    page.keyboard.press(".")
    page.click("[data-act=lesson-open-eta]")
    page.wait_for_selector(f".sv-lesson h3:text-is('{BY_NAME['eta'].title}')")
    assert page.input_value(".sv-lens select") == "eta"
    assert page.evaluate(RIBBONS) == ["eta"]
    assert page.inner_text(".sv-phasewhere") == "step into", "the step as a whole"


def test_a_lesson_leaves_with_the_run_it_is_about(served):
    seen = served()
    page = seen.page
    open_lesson(seen, "chain")
    assert page.input_value("#prompt textarea") == trace_of(LESSONS[0]).prompt
    seen.menu("runs")
    page.click("#runs-list label:has-text('Tell a bedtime story')")
    page.wait_for_function("document.querySelector('#prompt textarea').value.startsWith('Tell a bedtime story')")
    page.wait_for_function("document.querySelector('.sv-lesson') === null")
    page.wait_for_selector("#menu-view-button[aria-selected=true]")
    seen.menu("lessons")
    page.wait_for_selector(".sv-lessonlist")
