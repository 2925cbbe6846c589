"""Caches, masks, positions and audits of the page in Chromium, by what a person sees.

Every planted fault must stand out without a look at the code.
"""

from __future__ import annotations

import pytest

from specviz.figures import step_frame
from specviz.trace.schema import Trace
from tests import faults
from tests.browser import Watched, labels, names, open_panel, open_table, read
from tests.pairs import make_trace
from tests.sample_traces import random_tree, sample_trace

pytestmark = pytest.mark.browser
KV, MASK, AUDIT = (f"section[aria-label='{name}']" for name in ("KV cache", "Mask and positions", "Audit"))
HEAD, CELL = ".sv-cachehead", ".sv-kv[data-slot='{}']"
OVERLAPS = """[...document.querySelectorAll('.sv-kv, .sv-kv > *')].filter((cell, i, all) => {
    const a = cell.getBoundingClientRect(), next = all.filter((other) => other.parentElement === cell.parentElement);
    const cut = cell.matches('small') && cell.scrollWidth > cell.clientWidth;
    return cut || next.some((other) => {
        const b = other.getBoundingClientRect();
        const meet = (from, to) => a[from] < b[to] - 0.5 && b[from] < a[to] - 0.5;
        return other !== cell && meet("left", "right") && meet("top", "bottom");
    });
}).map((cell) => cell.textContent)"""
"""Script: the cells and lines of the caches' strip that lie on another one, and slot numbers that are cut."""


@pytest.fixture(scope="module")
def audited() -> Trace:
    return make_trace(audit=True, max_new_tokens=20)


def faulty(fault, **fields) -> Trace:
    with fault():
        return make_trace(audit=True, max_new_tokens=20, **fields)


# ------------------------------------------------------------------------------------------------------- caches


def look(seen: Watched, slot: int) -> str:
    return seen.page.get_attribute(CELL.format(slot), "class") or ""


def title(seen: Watched, slot: int) -> str:
    return seen.page.get_attribute(CELL.format(slot), "title") or ""


def test_slots_say_what_became_of_them(from_file):
    trace = make_trace(max_new_tokens=40)
    position, step = next((i, s) for i, s in enumerate(trace.steps) if len(s.caches.target.moves) > 1)
    seen = from_file(trace, go=position)
    page, change = seen.page, step.caches.target
    kept, written = change.length_after - change.length_before, len(change.appended)
    assert f"keeps {kept} of {written} slots, moves {len(change.moves)}, cuts {written - kept}" in read(seen, HEAD)
    assert f"length {change.length_before} → {change.length_after}" in read(seen, HEAD)
    assert "✓ every kept slot has its fingerprint" in read(seen, HEAD)
    assert page.locator(".sv-arc:not(.sv-arc-head)").count() == len(change.moves)
    assert page.locator(".sv-slots :is(.sv-arc-wrong, .sv-kv-wrong)").count() == 0
    from_slot, to_slot = next((a, b) for a, b in change.moves if a >= change.length_after)
    told = title(seen, to_slot)
    assert f"moved from slot {from_slot}" in told
    assert change.fingerprints_before[from_slot - change.length_before] in told
    assert "sv-kv-kept" in look(seen, to_slot)
    assert "sv-kv-source" in look(seen, from_slot)
    gone = next(s for s in change.dropped if s >= change.length_after and s not in dict(change.moves))
    assert "sv-kv-cut" in look(seen, gone)
    assert "stale" in title(seen, gone)
    page.click(f"{HEAD} button[value=tree]")
    assert "sv-kv-cut" not in look(seen, gone)
    assert f"moved to slot {to_slot}" in title(seen, from_slot)
    page.click(f"{HEAD} button[value=draft]")
    draft = step.caches.draft
    assert f"of {len(draft.appended)} slots" in read(seen, HEAD)
    rows = open_table(seen, KV, "Cache slots as a table")
    moved = rows.nth(from_slot - change.length_before).inner_text()
    assert f"moved to {to_slot}" in moved
    assert change.fingerprints_before[from_slot - change.length_before] in moved


def test_inside_a_step_the_caches_tell_nothing_before_it_has_happened(from_file):
    trace = make_trace(max_new_tokens=40)
    position, step = next((i, s) for i, s in enumerate(trace.steps) if len(s.caches.target.moves) > 1)
    seen = from_file(trace, go=position)
    page = seen.page
    page.keyboard.press(".")
    assert "nothing of this step is written yet" in read(seen, HEAD)
    assert page.locator(".sv-kv[data-slot]").count() == 0
    while "one forward" not in page.inner_text("[aria-live=polite]"):
        page.keyboard.press(".")
    for _ in range(3):
        assert f"{len(step.caches.target.appended)} slots hold the tree; nothing is kept" in read(seen, HEAD)
        assert page.locator(".sv-slots :is(.sv-arc, .sv-kv-kept, .sv-kv-cut, .sv-kv-source)").count() == 0
        assert page.is_disabled(f"{HEAD} button[value=after]")
        assert "kept" not in title(seen, step.caches.target.length_before)
        page.keyboard.press(".")


@pytest.mark.parametrize("size", [(1280, 800), (390, 844)])
def test_labels_do_not_overlap_after_a_long_text(from_file, size):
    """At 1,650 tokens of context, where slot numbers have four digits."""
    trace = sample_trace(steps=2, seed=3)
    seen = from_file(long_context(trace, 1650), size=size)
    page = seen.page
    assert f"#0–#{1650 + 2}" in read(seen, ".sv-slots")
    for value in ("after", "tree", "draft", "after"):
        page.click(f"{HEAD} button[value={value}]")
        page.evaluate("Promise.all(document.getAnimations().map((one) => one.finished))")
        assert page.locator(".sv-kv").count() > 3
        assert page.evaluate(OVERLAPS) == []


def long_context(trace: Trace, more: int) -> Trace:
    """The same run after ``more`` further tokens of prompt."""
    steps = []
    for step in trace.steps:
        changes = {}
        for name in ("target", "draft"):
            change = getattr(step.caches, name)
            slots = tuple(
                s.model_copy(
                    update={
                        "slot": s.slot + more,
                        "position": s.position + more,
                        "sees_before": None if s.sees_before is None else s.sees_before + more,
                    }
                )
                for s in change.appended
            )
            changes[name] = change.model_copy(
                update={
                    "length_before": change.length_before + more,
                    "length_after": change.length_after + more,
                    "appended": slots,
                    "dropped": tuple(s + more for s in change.dropped),
                    "moves": tuple((a + more, b + more) for a, b in change.moves),
                }
            )
        caches = step.caches.model_copy(update=changes)
        steps.append(step.model_copy(update={"context": step.context + more, "caches": caches}))
    tokens = trace.prompt_tokens[:1] * more + trace.prompt_tokens
    return trace.model_copy(update={"steps": tuple(steps), "prompt_tokens": tokens})


def test_a_cache_that_was_not_compacted_shows_in_the_slot_itself(from_file):
    trace = faulty(faults.no_compaction)
    position = next(i for i, s in enumerate(trace.steps) if s.verdicts["rejection"].path[:1] not in ((), (1,)))
    seen = from_file(trace, go=position)
    assert "does not hold what was kept" in read(seen, f"{KV} .sv-alarm")
    assert "does not hold what was kept" in read(seen, HEAD)
    assert "✓" not in read(seen, HEAD)
    step = trace.steps[position]
    slot, due = step.caches.target.length_before + 1, step.verdicts["rejection"].path[0]
    assert "sv-kv-wrong" in look(seen, slot)
    told = title(seen, slot)
    assert f"✕ must hold node {due}, holds node 1" in told
    assert "kept where it was" not in told
    assert seen.page.locator(".sv-arc-missing:not(.sv-arc-head)").count() == len(step.verdicts["rejection"].path)
    rows = open_table(seen, KV, "Cache slots as a table")
    assert any("✕ is slot" in text for text in rows.all_inner_texts())
    jump = seen.page.locator(".sv-jump [data-act=finding]").first
    assert "finding" in jump.inner_text()
    jump.click()
    assert seen.page.evaluate("document.querySelector('.sv-alarm').getBoundingClientRect().top < innerHeight")


def test_steps_with_findings_are_marked_in_the_timeline_and_its_table(from_file):
    trace = faulty(faults.no_compaction)
    found = [bool(caches_faults(trace, position)) for position in range(len(trace.steps))]
    first = found.index(True)
    fresh = [any(c["fresh"] for c in step_frame(trace, i)["caches"].values()) for i in range(len(trace.steps))]
    again, after = "sv-found-again", "sv-found-after"
    wanted = ["" if not f else "sv-found" if i == first else again if fresh[i] else after for i, f in enumerate(found)]
    assert {"sv-found", again, after} <= set(wanted)
    seen = from_file(trace)
    columns, segments = seen.page.locator(".sv-bin"), seen.page.locator(".sv-seg")
    marks = "all => all.map(one => [...one.classList].filter(name => name.startsWith('sv-found')).join())"
    assert columns.evaluate_all(marks) == wanted
    assert segments.evaluate_all(marks) == wanted
    wrong = columns.nth(first)
    assert "the first" in wrong.get_attribute("title")
    later = columns.nth(wanted.index(after)).get_attribute("title")
    assert f"↳ target cache, 2 findings, a consequence of step {first + 1}" in later
    rows = open_table(seen, "section[aria-label='The run so far']", "Timeline as a table").all_inner_texts()
    assert ["finding" in row for row in rows] == found
    assert ["the first" in row for row in rows] == [i == first for i in range(len(rows))]
    assert ["a consequence of" in row for row in rows] == [name == after for name in wanted]


def test_a_consequence_is_said_to_be_one_and_leads_to_its_cause(from_file):
    trace = faulty(faults.no_compaction)
    first = next(i for i, s in enumerate(trace.steps) if s.verdicts["rejection"].path[:1] not in ((), (1,)))
    seen = from_file(trace, go=first + 1)
    page = seen.page
    assert not step_frame(trace, first + 1)["caches"]["target"]["fresh"]
    assert "↳ Nothing new here" in page.inner_text(".sv-jump")
    assert "This step's own update fits" in read(seen, f"{KV} .sv-alarm")
    assert f"This cache was wrong before: step {first + 1} is where it began." in read(seen, AUDIT)
    old = seen.page.locator(".sv-slots .sv-kv-wrong:not([data-slot])")
    assert f"✕ step {first + 1}" in old.first.inner_text(), "the slot that was left wrong says since when"
    page.click("[data-act=first-finding]")
    seen.wait_for_step(first + 1, len(trace.steps))
    assert "✕ First here" in page.inner_text(".sv-jump")
    assert "It is the first such step." in read(seen, f"{KV} .sv-alarm")
    change = trace.steps[first].caches.target
    kept, written = change.length_after - change.length_before, len(change.appended)
    page.click(".sv-cachehead button[value=tree]")
    label = page.get_attribute(".sv-slots", "aria-label")
    assert f"keeps {kept} of {written} slots, " in label
    assert "of them not due there" in label


def test_a_cache_that_was_rebuilt_is_not_blamed_on_what_was_before(from_file):
    trace = faulty(faults.no_compaction)
    first = next(i for i, s in enumerate(trace.steps) if s.verdicts["rejection"].path[:1] not in ((), (1,)))
    later = next(i for i in range(first + 2, len(trace.steps)) if caches_faults(trace, i))
    steps = list(trace.steps)
    steps[later] = steps[later].model_copy(update={"prefilled": steps[later].context - 1})
    seen = from_file(trace.model_copy(update={"steps": tuple(steps)}))
    classes = seen.page.locator(".sv-bin").evaluate_all("all => all.map(one => one.classList.contains('sv-found'))")
    assert [i for i, marked in enumerate(classes) if marked] == [first, later]


def test_no_step_of_a_sound_run_is_marked(from_file, audited):
    seen = from_file(audited)
    assert seen.page.locator(".sv-bin").count() == len(audited.steps)
    assert seen.page.locator(".sv-strip [class*=sv-found]").count() == 0
    assert "differs from a recompute by: target" in seen.page.inner_text(HEAD)
    assert "not compared" not in seen.page.inner_text(HEAD)


def test_the_alarm_leads_out_of_the_full_window(from_file):
    trace = faulty(faults.no_compaction)
    position = next(i for i, s in enumerate(trace.steps) if s.verdicts["rejection"].path[:1] not in ((), (1,)))
    seen = from_file(trace, go=position)
    page = seen.page
    page.keyboard.press("f")
    page.wait_for_selector(".sv-focus .sv-jump [data-act=finding]")
    page.click(".sv-jump [data-act=finding]")
    assert page.locator(".sv-focus").count() == 0
    page.wait_for_function(
        "(() => { const box = document.querySelector('.sv-alarm').getBoundingClientRect();"
        " return box.height > 0 && box.top >= 0 && box.top < innerHeight; })()"
    )


def caches_faults(trace: Trace, position: int) -> list[str]:
    caches = step_frame(trace, position)["caches"]
    return [*caches["target"]["faults"], *caches["draft"]["faults"]]


def test_a_slot_lights_its_node(from_file):
    seen = from_file(make_trace(max_new_tokens=6))
    seen.page.evaluate("window.specvizViewer.mounted.at(-1).select(3)")
    seen.page.wait_for_timeout(400)
    assert seen.page.locator(f"{KV} .sv-kv.sv-picked").count() >= 1
    seen.page.click(f"{HEAD} button[value=tree]")
    assert seen.page.locator(f"{KV} .sv-kv.sv-picked").count() == 1, "also with the tree, where it was written"
    seen.page.click(f"{KV} .sv-kv[data-node='1']")
    assert "sv-picked" in seen.page.get_attribute(".sv-card-node[data-node='1']", "class")
    seen.page.evaluate("window.specvizViewer.mounted.at(-1).select(3)")
    seen.dock("masks")
    assert seen.page.locator(f"{MASK} .sv-mask[data-model=target] .sv-outline.sv-picked").count() == 1


# -------------------------------------------------------------------------------------------------------- masks


def point(seen: Watched, picture: str, row: int, column: int) -> str:
    """Move the pointer over a cell of a mask with readable cells, and read the line below it."""
    place = seen.page.locator(f"[data-picture='{picture}']")
    open_panel(seen, f"[data-picture='{picture}']")
    place.hover(position={"x": 92 + 44 + 4 + 15 * column + 7, "y": 18 + 15 * row + 7})
    return read(seen, f".sv-mask[data-model={picture.split('.')[1]}] output")


def test_a_sound_mask_agrees_with_ancestry_and_can_be_read(from_file):
    trace = make_trace(max_new_tokens=6)
    step = trace.steps[0]
    seen = from_file(trace)
    assert "✓ mask and positions fit" in read(seen, f"{MASK} .sv-mask[data-model=target] h4")
    looks = set(names(seen, "mask.target"))
    assert "cell.seen" in looks
    assert not looks & {"cell.leak", "cell.missing"}
    base = step.context - 1
    assert f"p{base + 2} = {base} + 2 ✓" in labels(seen, "mask.target")
    child = next(n for n in step.tree.nodes if n.depth == 2)
    assert "its ancestor ✓" in point(seen, "mask.target", child.id, child.parent)
    assert "does not see" in point(seen, "mask.target", child.id, child.id + 1)
    rows = open_table(seen, MASK, "Mask and positions as a table")
    cells = rows.nth(child.id).locator("td").all_inner_texts()
    assert cells[3] == cells[4] == f"0, {child.parent}, {child.id}"
    seen.page.locator("[data-picture='mask.target']").click(position={"x": 20, "y": 18 + 15 * child.id + 7})
    assert f"Node {child.id}" in seen.page.inner_text(".sv-inspector h3")


def test_a_sibling_leak_shows_in_look_word_and_table(from_file):
    seen = from_file(faulty(faults.sibling_leak))
    assert "✕ 27 wrong" in read(seen, f"{MASK} .sv-mask[data-model=target] h4")
    assert "cell.leak" in names(seen, "mask.target")
    assert "+" in labels(seen, "mask.target")
    assert "a leak ✕" in point(seen, "mask.target", 2, 1)
    assert "no ancestor" in read(seen, f"{KV} .sv-alarm")
    assert "1 ✕" in open_table(seen, MASK, "Mask and positions as a table").nth(2).inner_text()


def test_an_ancestor_that_is_not_seen_shows(from_file):
    trace = sample_trace(steps=1)
    step = trace.steps[0]
    slots = tuple(s.model_copy(update={"sees": s.sees[1:] or s.sees}) for s in step.caches.target.appended)
    caches = step.caches.model_copy(update={"target": step.caches.target.model_copy(update={"appended": slots})})
    seen = from_file(trace.model_copy(update={"steps": (step.model_copy(update={"caches": caches}),)}))
    assert "cell.missing" in names(seen, "mask.target")
    assert "−" in labels(seen, "mask.target")
    assert "its ancestor ✕" in point(seen, "mask.target", 1, 0)


def test_positions_off_by_one_show_in_strip_and_mask(from_file):
    trace = faulty(faults.positions_off_by_one)
    seen = from_file(trace)
    base = trace.steps[0].context - 1
    assert f"position {base + 1}, ✕ its position had to be {base}" in title(seen, base)
    assert "sv-kv-wrong" in look(seen, base)
    seen.dock("masks")
    assert f"p{base + 2} not {base} + 1 ✕" in labels(seen, "mask.target")
    assert "position is not length + depth" in read(seen, f"{KV} .sv-alarm")


def test_a_large_mask_is_folded_says_so_and_grows(from_file):
    trace = sample_trace(random_tree(1024), steps=1, fault="mask")
    seen = from_file(trace)
    seen.dock("masks")
    seen.page.wait_for_selector("[data-picture='mask.target'] svg")
    note = read(seen, f"{MASK} .sv-mask[data-model=target] .sv-note >> nth=0")
    assert "of 1024 rows and columns are drawn" in note
    assert "cell.leak" in names(seen, "mask.target"), "wrong rows are never folded away"
    width = "document.querySelector(`[data-picture='mask.target'] svg`).getBoundingClientRect().width"
    before = seen.page.evaluate(width)
    seen.page.click(f"{MASK} .sv-mask[data-model=target] [data-act=mask-larger]")
    assert seen.page.evaluate(width) > before
    seen.page.click(f"{MASK} .sv-mask[data-model=target] [data-act=mask-smaller]")
    assert seen.page.evaluate(width) == before
    assert open_table(seen, MASK, "Mask and positions as a table").count() > 1024


# -------------------------------------------------------------------------------------------------------- audits


def test_the_audit_is_a_heat_map_with_its_tolerance(from_file, audited):
    seen = from_file(audited)
    assert "✓ target: worst" in read(seen, AUDIT)
    told = labels(seen, "audit")
    assert "target · tolerance 1·10⁻⁴" in told
    first = f"#{audited.steps[0].caches.target.length_before}"
    for word in ("keys", "values", "earlier", first, "red line: tolerance"):
        assert word in told
    looks = names(seen, "audit")
    assert "tolerance" in looks
    assert "beyond" not in looks
    rows = open_table(seen, AUDIT, "Audit as a table")
    layers = audited.models.target.layers
    assert rows.count() == 2 * layers + 2 * audited.models.draft.layers


def test_what_a_recompute_does_not_give_is_framed_and_marked(from_file):
    seen = from_file(faulty(faults.positions_off_by_one))
    assert "beyond" in names(seen, "audit")
    assert any(label.startswith("! ") for label in labels(seen, "audit"))
    assert "✕ target: worst" in read(seen, AUDIT)
    assert "audit finds" in read(seen, f"{KV} .sv-alarm")


def test_a_run_without_an_audit_says_how_to_get_one(from_file):
    seen = from_file(sample_trace(steps=1))
    assert "was not audited" in read(seen, AUDIT)
    assert seen.page.locator("[data-picture=audit]").is_visible() is False
