"""The panels of the page in Chromium, by what a person sees: totals, one node's arithmetic, bonus tokens, and all."""

from __future__ import annotations

import json

import pytest

from specviz.digits import digits
from specviz.figures import block, dump_block
from specviz.figures.text import token_label, visible
from specviz.trace import metrics
from specviz.trace.schema import Sampling, Trace
from tests import faults
from tests.browser import open_panel, open_table, read
from tests.figures.test_processed import run as processed_run
from tests.pairs import make_trace
from tests.sample_traces import HOSTILE, RULES, sample_trace

pytestmark = pytest.mark.browser
RUN, KV, MASK, AUDIT = (
    f"section[aria-label='{name}']" for name in ("The run so far", "KV cache", "Mask and positions", "Audit")
)


@pytest.fixture(scope="module")
def audited() -> Trace:
    return make_trace(audit=True, max_new_tokens=20)


# ------------------------------------------------------------------------------------------------------- the run


def test_totals_stand_beside_their_formulas(from_file):
    trace = sample_trace(steps=5, seed=3)
    seen = from_file(trace)
    said = read(seen, RUN)
    for name in ("block_efficiency", "acceptance_by_depth", "acceptance_by_rank"):
        assert metrics.FORMULAS[name] in said
    for verifier in trace.steps[0].verdicts:
        row = read(seen, f"{RUN} tr[data-verifier={verifier}]")
        assert f"{metrics.block_efficiency(trace, verifier):.2f}" in row
        assert ("driver" in row) == (verifier == "rejection")
        for accepted, taken in metrics.acceptance_by_depth(trace.steps, verifier):
            assert f"{accepted}/{taken}" in row
        for rank, (accepted, taken) in enumerate(metrics.acceptance_by_rank(trace.steps, verifier)):
            assert f"{accepted}/{taken}\nrank {rank}" in row
    rows = open_table(seen, RUN, "Totals as counts")
    assert "block efficiency" in rows.nth(0).inner_text()


def test_totals_grow_while_a_run_goes_on(from_file):
    trace = sample_trace(steps=5, seed=3)
    blocks = [
        json.loads(dump_block(block(trace.model_copy(update={"steps": trace.steps[:n]}), range(n)))) for n in (0, 2, 4)
    ]
    seen = from_file(trace)
    said = seen.page.evaluate(
        """async (blocks) => {
            const place = document.createElement('div'), said = [];
            document.body.append(place);
            const other = window.specvizViewer.mount(place, {});
            place.querySelector('[data-tab=totals]').click();
            for (const block of blocks) {
                block.run.id = 'other';
                other.update(block);
                const panel = place.querySelector('.sv-totals'), wanted = `${block.run.steps} steps`;
                for (let i = 0; i < 200 && block.run.steps && !panel.textContent.includes(wanted); i++)
                    await new Promise(done => setTimeout(done, 50));
                said.push(panel.textContent);
            }
            return said;
        }""",
        blocks,
    )
    assert "2 steps" in said[1]
    assert "4 steps" in said[2]
    seen.page.evaluate("window.specvizViewer.mounted.at(-1).dispose()")


def test_the_timeline_is_a_table_that_moves(from_file):
    trace = sample_trace(steps=4, seed=3)
    seen = from_file(trace)
    rows = open_table(seen, RUN, "Timeline as a table")
    assert rows.count() == 4
    cells = rows.nth(2).locator("td").all_inner_texts()
    assert cells[2] == str(len(trace.steps[2].committed))
    paths = [str(len(trace.steps[2].verdicts[name].path)) for name in ("rejection", "eta", "longest_path")]
    assert cells[3:6] == paths
    # The sample's bonus distribution is not the residual it names: the alarm counts that as a finding.
    assert cells[6:] == ["bonus token, 1 finding, anew after step 2"]
    rows.nth(2).locator("button").click()
    seen.wait_for_step(3, 4)


# ------------------------------------------------------------------------------------------------------ the node


def test_both_distributions_raw_and_processed(from_file):
    trace = make_trace(max_new_tokens=6, target=Sampling(temperature=0.7, top_p=0.6), draft=Sampling(temperature=0.9))
    step = trace.steps[0]
    node = next(n for n in step.tree.nodes if n.depth == 2 and n.draft is not None)
    seen = from_file(trace)
    seen.click_card(node.id)
    parent, texts = step.tree.nodes[node.parent], step.text_of()
    tables = seen.page.locator(".sv-inspector .sv-row")
    assert tables.count() == 4, "both models, where the node was judged and after it"
    for table, row in zip(tables.all(), (parent.target, parent.draft, node.target, node.draft), strict=True):
        said = table.inner_text()
        assert f"entropy {digits(row.entropy)}" in said
        assert "raw" in said
        assert "processed" in said
        first = table.locator("tbody tr").first.inner_text()
        assert token_label(texts[row.raw.ids[0]]) in first
        assert digits(row.raw.probs[0]) in first
        assert digits(row.processed.probs[0]) in first
        assert "the rest" in table.locator("tbody tr").last.inner_text()
    hit = tables.first.locator(".sv-hit").inner_text()
    assert digits(node.target_prob) in hit, "the judged token is marked in its parent's row"
    assert "cut" in tables.first.inner_text(), "what top-p removed is told apart from what is unlikely"


def test_what_every_verifier_compared_and_what_the_rejections_left(from_file):
    trace = make_trace(max_new_tokens=30)
    position, decision = next(
        (i, d)
        for i, step in enumerate(trace.steps)
        for d in step.verdicts["rejection"].decisions
        if step.tree.nodes[d.node].rank == 2 and d.residual is not None
    )
    step = trace.steps[position]
    seen = from_file(trace, go=position)
    seen.click_card(decision.node)
    box = seen.page.locator(".sv-decision[data-verifier=rejection]")
    said = box.inner_text()
    for part in (
        f"u {digits(decision.uniform, 7)} ≥ {digits(decision.threshold, 7)} threshold",
        "rule u < p/q",
        f"p {digits(decision.p, 6)} / q {digits(decision.q, 6)}",
        decision.reason,
        "✕ rejected",
        "2 elder siblings came first",
        f"Residual after it: mass {digits(decision.residual.mass)}",
    ):
        assert part in said, part
    box.locator("summary", has_text="elder siblings").click()
    box.locator(".sv-elders > li").nth(1).wait_for()
    elders = box.locator(".sv-elders > li").all_inner_texts()
    nodes = step.tree.nodes
    same = [d for d in step.verdicts["rejection"].decisions if nodes[d.node].parent == nodes[decision.node].parent]
    for told, elder in zip(elders, same[:2], strict=True):
        assert "✕ rejected" in told
        assert f"mass {digits(elder.residual.mass)}" in told
    box.locator("summary", has_text="Residual after it").click()
    rows = box.locator(".sv-bars tbody tr")
    rows.first.wait_for()
    top = decision.residual.top
    assert token_label(step.text_of()[top.ids[0]]) in rows.first.inner_text()
    assert digits(top.probs[0]) in rows.first.inner_text()


def test_where_every_bonus_was_drawn_from(from_file):
    trace = make_trace(max_new_tokens=12)
    seen = from_file(trace)
    seen.page.keyboard.press("Escape")  # from the node to the step
    for name, verdict in trace.steps[0].verdicts.items():
        box = seen.page.locator(f".sv-inspector .sv-decision[data-bonus={name}]")
        said = box.inner_text()
        assert f"from the {verdict.bonus.source} at node {verdict.bonus.node}" in said
        assert token_label(trace.steps[0].text_of()[verdict.bonus.token]) in said
        box.locator("summary").click()
        first = box.locator("tbody tr").first
        first.wait_for()
        assert digits(verdict.bonus.distribution.probs[0]) in first.inner_text()


# -------------------------------------------------------------------------------------------------------- bonus


def test_a_stale_residual_is_told_where_the_bonus_is(from_file):
    with faults.stale_residual():
        trace = make_trace(max_new_tokens=20)
    position = next(i for i, s in enumerate(trace.steps) if s.verdicts["rejection"].bonus.source == "residual")
    seen = from_file(trace, go=position)
    seen.page.keyboard.press("Escape")  # from the node to the step
    said = "not the residual that was left after the last rejected sibling"
    assert said in read(seen, "section[aria-label='Verdicts'] tr[data-verifier=rejection]")
    assert said not in read(seen, "section[aria-label='Verdicts'] tr[data-verifier=traversal]")
    assert said in seen.page.inner_text(".sv-decision[data-bonus=rejection]")
    assert "bonus token, 1 finding" in seen.page.inner_text(".sv-jump")


# ------------------------------------------------------------------------------------------------ all the panels


def test_every_panel_is_explained_and_every_picture_has_a_table(from_file, audited):
    seen = from_file(audited)
    sections = seen.page.locator(".sv-body section.sv-panel")
    assert sections.count() >= 6
    for section in sections.all():
        if name := section.get_attribute("aria-label"):
            assert name in ("Draft tree", "What if") or any(
                len(note) > 40 for note in section.locator(".sv-note").all_text_contents()
            )
    without = seen.page.evaluate(
        """() => [...document.querySelectorAll('[data-picture]')].filter(
            picture => !picture.closest('section').querySelector('details') && picture.dataset.picture !== 'tree'
        ).map(picture => picture.dataset.picture)"""
    )
    assert without == []
    assert seen.page.locator("summary:has-text('Draft tree as a table')").count() == 1


def test_hostile_tokens_stay_text_in_every_panel(from_file):
    trace = sample_trace(steps=3, tokens=HOSTILE, seed=1, fault="no_compaction")
    seen = from_file(trace)
    for step in range(3):
        if step:
            seen.page.click("[data-act=next]")
            seen.wait_for_step(step + 1, 3)
        for node in range(0, 29, 5):
            seen.page.evaluate("node => window.specvizViewer.mounted.at(-1).select(node)", node)
            for summary in seen.page.locator(".sv-inspector summary").all():
                summary.click()
        for tab in seen.page.locator(".sv-tabs button:visible").all():
            tab.click()
            for summary in seen.page.locator(".sv-dockbody details:not([open]) > summary").all():
                if summary.is_visible():
                    summary.click()
        assert seen.page.locator("img, .sv-body script, .sv-labels b").count() == 0
    body = seen.page.inner_text(".sv-body")
    for token in HOSTILE[:5]:
        assert visible(token.text) in body
    assert "⟨U+202E⟩gnp.exe" in body


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_panels_fit_a_phone_in_both_themes(from_file, theme, tmp_path, audited):
    seen = from_file(audited, theme=theme, size=(390, 844))
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= 390
    for section in (RUN, KV, MASK, AUDIT):
        open_panel(seen, section)
        box = seen.page.locator(section).bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
    ink = seen.page.evaluate("getComputedStyle(document.querySelector('.sv-labels .sv-l-title')).color")
    assert (sum(int(part) for part in ink[4:-1].split(",")[:3]) < 300) == (theme == "light")
    seen.page.screenshot(path=tmp_path / "phone.png", full_page=True)


def test_a_verifier_of_ones_own_is_counted_and_drawn(from_file):
    trace = sample_trace(steps=2, verifiers=("mine", *RULES))
    seen = from_file(trace)
    read(seen, RUN)
    assert "mine" in read(seen, f"{RUN} tr[data-verifier=mine]")


# ----------------------------------------------------------------------------------------------- what it says


def test_no_verifier_is_said_to_have_accepted_the_root(from_file):
    trace = sample_trace(steps=1, verifiers=tuple(RULES))
    seen = from_file(trace)
    rows = open_table(seen, "section[aria-label='Draft tree as a table']", "Draft tree as a table")
    root = rows.nth(0).locator("td").all_inner_texts()
    assert root[4] == "–", "it was not drawn"
    assert root[7:] == ["– not judged"] * len(RULES)
    assert "accepted" in rows.nth(trace.steps[0].verdicts["rejection"].path[0]).inner_text()


def cut_trace(**fields) -> tuple[Trace, int]:
    """A run whose last step accepted more than the text had room for, and how many tokens were written."""
    for seed in range(20):
        for limit in range(3, 9):
            trace = make_trace(seed=seed, max_new_tokens=limit, **fields)
            step = trace.steps[-1]
            if len(step.verdicts["rejection"].path) > len(step.committed):
                return trace, len(step.committed)
    raise AssertionError("no run was cut inside its path")


def test_what_was_accepted_and_not_written_is_told_apart(from_file):
    trace, written = cut_trace()
    step, last = trace.steps[-1], len(trace.steps) - 1
    verdict = step.verdicts["rejection"]
    seen = from_file(trace, go=last)
    page = seen.page
    page.keyboard.press("Escape")  # from the node to the step
    assert f"the text ends after {written} of them (max_new_tokens), without the bonus token" in page.inner_text(
        ".sv-summary"
    )
    row = page.locator("tr[data-verifier=rejection]").first.inner_text()
    assert f"{written} written" in row
    assert "not written: the text ends before it (max_new_tokens)" in row
    for other in (v for v in step.verdicts if v != "rejection"):
        assert "not written" not in page.locator(f"tr[data-verifier={other}]").first.inner_text()
    assert "not written" in page.text_content(".sv-card-bonus[data-bonus=rejection]")
    cut = len(verdict.path) + 1 - written
    assert f"{written} token{'s' if written > 1 else ''} of the driver's {len(verdict.path) + 1}" in page.inner_text(
        ".sv-inspector"
    )
    assert f"count {cut} that were thrown away, because the text ended" in read(seen, RUN)
    for place, node in enumerate(verdict.path):
        page.evaluate("node => window.specvizViewer.mounted.at(-1).select(node, true)", node)
        said = page.inner_text(".sv-decision[data-verifier=rejection]:not([data-bonus])") + page.inner_text(
            ".sv-inspector"
        )
        assert ("not written: the text ends before it" in said) == (place >= written)


def test_what_the_other_mode_of_processors_decides_is_told_everywhere(from_file):
    trace = processed_run("repetition_penalty:penalty=4")
    others = {
        (at, name): verdict.other_mode
        for at, step in enumerate(trace.steps)
        for name, verdict in step.verdicts.items()
        if verdict.other_mode
    }
    driven = [at for at, name in others if name == trace.steps[at].driver]
    first, driver = driven[0], trace.steps[driven[0]].driver
    seen = from_file(trace, go=first)
    page = seen.page
    assert f"; ≠ processors in frozen mode: {len(others[first, driver].path)} kept, then “" in page.inner_text(
        ".sv-sub"
    )
    assert page.locator(".sv-segdots b").count() == len(driven)
    seen.dock("verdicts")
    assert "≠ in the frozen mode it keeps" in page.inner_text(f"tr[data-verifier={driver}]")
    for at, name in ((first, driver), next(place for place, other in others.items() if other.nodes)):
        page.evaluate("at => window.specvizViewer.mounted.at(-1).show(at)", at)
        page.select_option(".sv-lens select", name)
        marked = page.locator(".sv-card-node.sv-otherwise").evaluate_all(
            "cards => cards.map((one) => one.dataset.node)"
        )
        assert set(map(int, marked)) == set(others[at, name].nodes)
        bonus = trace.steps[at].verdicts[name].bonus.token
        assert page.locator(".sv-card-bonus.sv-otherwise").count() == (others[at, name].bonus != bonus)


def test_a_step_without_a_draft_model_says_so(from_file):
    trace = make_trace(tree="prompt lookup", prompt="the sea the sea the sea", max_new_tokens=2)
    seen = from_file(trace)
    assert "target (draft ran in no step)" in seen.page.inner_text(".sv-models")
    seen.page.keyboard.press("Escape")  # from the node to the step
    said = seen.page.inner_text(".sv-inspector")
    assert "no draft model ran, target" in said
    assert "11 tokens before this step: the prompt" in said
    assert "audit" not in said, "nothing was audited"
    seen.page.click(".sv-cachehead button[value=draft]")
    assert "ran nothing in this step" in read(seen, ".sv-cachesaid")
    seen.click_card(1)
    said = seen.page.inner_text(".sv-inspector")
    assert "prompt_lookup: entropy" in said
    assert "draft: entropy" not in said
    assert "1st of 1 after" in said
    assert "drawn 1st" not in said


def test_small_probabilities_are_read_everywhere(from_file):
    trace = sample_trace(steps=1, seed=3)
    step = trace.steps[0]
    small = {1: (0.000389, 0.00804), 2: (0.9996, 0.0)}
    nodes = [
        n.model_copy(update=dict(zip(("draft_prob", "target_prob"), small[n.id], strict=True))) if n.id in small else n
        for n in step.tree.nodes
    ]
    # Nobody decided about them: the picture of a decision shows p and q as it used them.
    verdicts = {
        name: verdict.model_copy(update={"decisions": tuple(d for d in verdict.decisions if d.node not in small)})
        for name, verdict in step.verdicts.items()
    }
    tree = step.tree.model_copy(update={"nodes": tuple(nodes)})
    step = step.model_copy(update={"tree": tree, "verdicts": verdicts})
    seen = from_file(trace.model_copy(update={"steps": (step,)}))
    page = seen.page
    rows = open_table(seen, "section[aria-label='Draft tree as a table']", "Draft tree as a table")
    for node, (q, p) in {1: ("3.89·10⁻⁴", "0.00804"), 2: (">0.999", "0")}.items():
        assert f"draft {q}, target {p}" in page.locator(f".sv-card-node[data-node='{node}']").get_attribute(
            "aria-label"
        )
        assert rows.nth(node).locator("td").all_inner_texts()[5:7] == [q, p]
        page.evaluate("node => window.specvizViewer.mounted.at(-1).select(node, true)", node)
        assert page.locator(".sv-pair b").all_inner_texts() == [q, p]
    assert f"“{visible(step.tree.nodes[1].text)}” 3.89·10⁻⁴" in json.dumps(
        json.loads(dump_block(block(trace.model_copy(update={"steps": (step,)}), [0]))), ensure_ascii=False
    )


def test_numbers_that_were_sent_rounded_do_not_accuse_a_verifier(from_file):
    """Coin and threshold that agree in all digits that are carried: only the outcome tells which is larger."""
    trace = sample_trace(steps=1, seed=3)
    step = trace.steps[0]
    verdict = step.verdicts["rejection"]
    first = verdict.decisions[0].model_copy(update={"outcome": "accepted", "uniform": 0.4, "threshold": 0.4 + 1e-12})
    other = next(n.id for n in step.tree.nodes[1:] if n.parent == 0 and n.id != first.node)
    wrong = first.model_copy(update={"node": other, "outcome": "rejected", "uniform": 0.1, "threshold": 0.6})
    verdict = verdict.model_copy(update={"decisions": (first, wrong), "path": ()})
    step = step.model_copy(update={"verdicts": step.verdicts | {"rejection": verdict}})
    seen = from_file(trace.model_copy(update={"steps": (step,)}))
    seen.click_card(first.node)
    said = seen.page.inner_text(".sv-decision[data-verifier=rejection]")
    assert "u 0.400 < 0.400 threshold" in said
    assert "do not give this outcome" not in said
    seen.page.evaluate("node => window.specvizViewer.mounted.at(-1).select(node, true)", other)
    said = seen.page.inner_text(".sv-decision[data-verifier=rejection]")
    assert "u 0.100 < 0.600 threshold" in said
    assert "✕ These numbers do not give this outcome." in said


def test_frames_that_had_no_room_are_asked_for_again_and_refused_ones_say_why(from_file):
    trace = sample_trace(steps=4)
    asked = from_file(trace).page.evaluate(
        """async (whole) => {
          const asked = [];
          const place = document.createElement("div");
          document.body.append(place);
          const viewer = specvizViewer.mount(place, { onNeed: (_, steps) => asked.push(steps) });
          const pause = () => new Promise((done) => setTimeout(done, 400));
          const of = (steps) => whole.frames.filter((frame) => steps.includes(frame.step));
          const some = (steps, more) => ({ ...whole, go: 0, frames: of(steps), ...more });
          viewer.update(some([0], { left: [1, 2, 3] }));
          await pause();
          viewer.update(some([1], { fills: true, left: [3], refused: [{ step: 2, text: "too large to be sent" }] }));
          await pause();
          viewer.update({ fills: true, left: [3] });
          await pause();
          viewer.show(2);
          await pause();
          return [asked, place.querySelector(".sv-empty").textContent];
        }""",
        block(trace, range(4)),
    )
    assert asked[0] == [[1, 2, 3], [3], [3]]
    assert "Step 3 cannot be shown here." in asked[1]
    assert "too large to be sent" in asked[1]
