"""The inspector and the faults of the page in Chromium, by what a person sees."""

from __future__ import annotations

import pytest

from specviz.digits import digits
from specviz.figures import step_frame
from specviz.figures.text import token_label
from specviz.trace.schema import Decision, Step, Trace
from tests import faults
from tests.browser import Watched, telling
from tests.pairs import make_trace
from tests.sample_traces import HOSTILE, RULES, sample_trace

pytestmark = pytest.mark.browser
SELECT = "node => window.specvizViewer.mounted.at(-1).select(node, true)"
PATHS = "all => all.map((one) => [one.dataset.path, one.dataset.value])"
KEEP = """() => {
    window.copied = [];
    const clipboard = { writeText: async (text) => copied.push(text) };
    Object.defineProperty(navigator, "clipboard", { configurable: true, value: clipboard });
}"""


@pytest.fixture(scope="module")
def trace() -> Trace:
    return make_trace(max_new_tokens=30)


def find(trace: Trace, verifier: str, outcome: str) -> tuple[int, Decision]:
    """A step and a decision in it, about a node that no other decision of the verifier is about."""
    for position, step in enumerate(trace.steps):
        for decision in step.verdicts[verifier].decisions:
            if decision.outcome == outcome:
                return position, decision
    raise AssertionError(f"{verifier} {outcome} nothing")


def look(seen: Watched, position: int, decision: Decision, verifier: str) -> None:
    """Go to a step, watch a verifier and select the node of a decision."""
    page = seen.page
    page.evaluate("step => window.specvizViewer.mounted.at(-1).show(step)", position)
    page.wait_for_function("n => document.querySelector('.sv-root').dataset.painted?.endsWith('/' + n)", arg=position)
    page.evaluate(SELECT, decision.node)
    if page.get_attribute(".sv-say", "data-verifier") != verifier:
        page.click(f".sv-watch:text-is('{verifier}')")


def label_of(step: Step, token: int | None) -> str:
    return token_label(step.text_of()[token]) if token is not None else ""


def test_a_decision_is_a_picture_for_every_kind_of_rule(from_file, trace):
    seen = from_file(trace)
    page = seen.page
    position, decision = find(trace, "rejection", "accepted")
    if (decision.threshold or 0) >= 1:
        position, decision = next(
            (i, d)
            for i, step in enumerate(trace.steps)
            for d in step.verdicts["rejection"].decisions
            if d.outcome == "accepted" and d.threshold < 1
        )
    look(seen, position, decision, "rejection")
    said = page.inner_text(".sv-say")
    coin, threshold = digits(decision.uniform), digits(decision.threshold)
    assert said == f"Accepted by rejection: the coin {coin} fell inside the accept zone, 0 to {threshold}."
    assert f"{digits(decision.p)} ÷ {digits(decision.q)} = {threshold}" in page.inner_text(".sv-sumline")
    assert page.locator(".sv-pair b").all_inner_texts() == [digits(decision.q), digits(decision.p)]
    zone, ring = (page.locator(f".sv-decisionline .sv-line-{name}") for name in ("zone", "coin"))
    box, at = zone.bounding_box(), ring.bounding_box()
    assert box["x"] < at["x"] + at["width"] / 2 < box["x"] + box["width"], "the coin lies in the accept zone"
    picture = page.locator(".sv-decisionline").bounding_box()
    share = box["width"] / (picture["width"] * 294 / 310)
    assert share == pytest.approx(decision.threshold, abs=0.01)

    position, decision = find(trace, "rejection", "rejected")
    look(seen, position, decision, "rejection")
    assert f"the coin {digits(decision.uniform)} missed the accept zone" in page.inner_text(".sv-say")
    taken = page.inner_text(".sv-taken")
    assert "What this rejection took" in taken
    assert f"mass {digits(decision.residual.mass)}, scaled to 1" in taken
    numbers = page.locator(".sv-takenrows .sv-number").all_inner_texts()
    left = [float(number) for number in numbers if not number.startswith("<")]
    assert left == sorted(left, reverse=True)
    assert numbers[: len(left)] == [number for number in numbers if not number.startswith("<")]
    assert page.inner_text(".sv-takenhead") == "left, scaled to 1"

    position, decision = find(trace, "eta", "rejected")
    look(seen, position, decision, "eta")
    assert f"gives it {digits(decision.p)}, no more than the {digits(decision.threshold)}" in page.inner_text(".sv-say")
    assert "accept above" in page.locator(".sv-decisionline").text_content()
    assert page.locator(".sv-line-coin").count() == 0, "eta flips no coin"

    for verifier in ("naive", "greedy"):
        position, decision = find(trace, verifier, "rejected")
        look(seen, position, decision, verifier)
        compared = page.inner_text(".sv-compared")
        for token in (trace.steps[position].tree.nodes[decision.node].token, decision.expected):
            assert label_of(trace.steps[position], token) in compared
        assert "≠" in compared
        assert page.locator(".sv-decisionline").count() == 0

    others = page.locator(".sv-otherrows .sv-watch").all_inner_texts()
    assert others == [name for name in trace.steps[0].verdicts if name != "greedy"]
    page.click(".sv-watch >> text=rejection")
    assert page.get_attribute(".sv-say", "data-verifier") == "rejection"


def test_every_number_has_a_python_path_that_gives_it(from_file, trace):
    seen = from_file(trace)
    page = seen.page
    checked = 0
    outcomes = {"rejection": "rejected", "eta": "accepted", "naive": "rejected", "greedy": "rejected"}
    for verifier, outcome in outcomes.items():
        position, decision = find(trace, verifier, outcome)
        look(seen, position, decision, verifier)
        for summary in page.locator(".sv-inspector summary").all():
            summary.click()
        numbers = page.locator(".sv-inspector [data-path]").evaluate_all(PATHS)
        for path, value in numbers:
            found = eval(path, {"__builtins__": {}}, {"trace": trace})
            assert float(value) == found, path
        checked += len(numbers)
    assert checked > 100


def test_numbers_are_copied_in_full_with_their_place(from_file, trace):
    seen = from_file(trace)
    page = seen.page
    page.evaluate(KEEP)
    position, decision = find(trace, "rejection", "rejected")
    at = trace.steps[position].verdicts["rejection"].decisions.index(decision)
    look(seen, position, decision, "rejection")
    page.click("[data-act=copy-numbers]")
    path = f'trace.steps[{position}].verdicts["rejection"].decisions[{at}]'
    (copied,) = page.evaluate("copied")
    assert f"{path}.uniform  # {decision.uniform!r}\n" in copied
    assert f"{path}.threshold  # {decision.threshold!r}\n" in copied
    page.click(".sv-say .sv-recorded >> nth=0")
    assert page.evaluate("copied[1]") == f"{path}.uniform"
    assert page.inner_text(".sv-copied") == f"Copied {path}.uniform"
    page.click("[data-act=all-numbers]")
    assert page.evaluate("document.activeElement.className") == "sv-numbers"
    page.click(".sv-close")
    assert "This step" in page.inner_text(".sv-inspector")


def test_inside_the_step_the_picture_waits_for_its_coin(from_file, trace):
    seen = from_file(trace)
    page = seen.page
    decision = trace.steps[0].verdicts["rejection"].decisions[0]
    page.keyboard.press(".")
    page.evaluate(SELECT, decision.node)
    assert "Only a guess so far" in page.inner_text(".sv-say")
    assert page.locator(".sv-pair b").all_inner_texts()[1] == "?"
    assert page.locator(".sv-line-coin, .sv-others").count() == 0


def test_hostile_tokens_and_names_stay_text_in_pictures(from_file):
    name = "<img src=x onerror=alert(1)>"
    verifiers = (*RULES, name)
    trace = sample_trace(steps=1, tokens=HOSTILE, seed=1, verifiers=verifiers, fault="no_compaction")
    seen = from_file(trace)
    for node in range(1, 6):
        seen.page.evaluate(SELECT, node)
        for place in range(len(verifiers) - 1):
            seen.page.locator(".sv-watch").nth(place).click()
            assert seen.page.locator(".sv-say").count() == 1
    seen.page.keyboard.press("w")
    seen.page.wait_for_selector(".sv-why li")
    assert seen.page.locator("img, .sv-body script").count() == 0
    assert name in seen.page.inner_text(".sv-body")


# ---------------------------------------------------------------------------------------------------------- faults


@pytest.fixture(scope="module")
def faulty() -> Trace:
    with faults.no_compaction():
        return make_trace(audit=True, max_new_tokens=20)


def test_a_fault_is_the_headline_and_why_leads_back_to_its_cause(from_file, faulty):
    caches = [step_frame(faulty, i)["caches"]["target"] for i in range(len(faulty.steps))]
    first = next(i for i, cache in enumerate(caches) if cache["faults"])
    after = caches[first]["after"]
    at = after["good"].index(0)
    slot, due = after["slot"][at], caches[first]["node"][after["due"][at]]
    seen = from_file(faulty, go=first)
    page = seen.page
    assert page.inner_text(".sv-alarmtitle") == f"✕ Slot {slot} holds the wrong token"
    assert "first fault; " in page.inner_text(".sv-alarmsub")
    assert f"target slot {slot} wrong" in page.text_content(f".sv-faulty[data-node='{due}']")
    page.keyboard.press("e")
    assert page.input_value(".sv-figuredialog input[type=text]").startswith(f"Slot {slot} holds the wrong token: ")
    page.keyboard.press("Escape")
    page.click("[data-act=why]")
    assert page.locator(".sv-why h4").all_inner_texts()[:4] == ["Slot", "Movefirst cause", "Decision", "Row"]
    moves = page.inner_text(".sv-why li >> nth=1")
    origin = caches[first]["slot"][after["due"][at]]
    assert f"The move {origin} → {slot} is missing: this update moved nothing." in moves
    assert page.locator(".sv-why-after").count() == 1, "what follows is hatched"
    assert "differs from a recompute by" in page.inner_text(".sv-why-after")
    values = page.locator(".sv-why [data-path]").evaluate_all(PATHS)
    assert values
    for path, value in values:
        found = eval(path, {"__builtins__": {"max": max}}, {"trace": faulty})
        assert value == found if isinstance(found, str) else float(value) == found
    page.click(".sv-whylink >> text=Decision")
    assert f"Node {due}" in page.inner_text(".sv-inspector h3")
    page.keyboard.press("Backspace")
    assert page.inner_text(".sv-inspector h3").startswith(f"Why? Slot {slot}")
    page.keyboard.press("Escape")
    assert f"Node {telling(faulty, first)}" in page.inner_text(".sv-inspector")
    page.keyboard.press("Escape")
    assert "This step" in page.inner_text(".sv-inspector")


def test_a_consequence_leads_to_its_cause_and_backspace_back(from_file, faulty):
    caches = [step_frame(faulty, i)["caches"] for i in range(len(faulty.steps))]
    found = [any(one["faults"] for one in both.values()) for both in caches]
    fresh = [any(one["fresh"] for one in both.values()) for both in caches]
    first = found.index(True)
    later = next(i for i in range(first + 1, len(found)) if found[i] and not fresh[i])
    hits = [i for i, it in enumerate(fresh) if it]
    seen = from_file(faulty, go=later)
    page = seen.page
    count = len(faulty.steps)
    assert page.inner_text(".sv-alarmtitle") == f"↳ The target cache is still wrong since step {first + 1}"
    page.keyboard.press("w")
    page.click(f".sv-whylink >> text=Step {first + 1}")
    seen.wait_for_step(first + 1, count)
    assert page.locator(".sv-firstcause").count() == 1
    page.keyboard.press("Backspace")
    seen.wait_for_step(later + 1, count)
    page.keyboard.press("N")
    seen.wait_for_step(max(i for i in hits if i < later) + 1, count)
    page.keyboard.press("n")
    following = [i for i in hits if i > max(i for i in hits if i < later)]
    seen.wait_for_step((following[0] if following else max(i for i in hits if i < later)) + 1, count)
