"""Runs of other engines in frames and in the page: what was not recorded is shown as that, and never as a number."""

from __future__ import annotations

import html
import json
import re
from typing import Any

import pytest
from pydantic import TypeAdapter

from specviz.figures import block, dump_block, run_header, standalone_page, step_frame
from specviz.figures.block_types import Block
from specviz.figures.findings import findings_of
from specviz.figures.notebook import notebook_html
from specviz.recorder.findings import ABOUT, Finding
from specviz.trace.io import load_trace
from specviz.trace.schema import Check, Trace
from tests.browser import Watched
from tests.foreign import ENGINE, foreign
from tests.paths import ROOT
from tests.sample_traces import sample_trace

LEVELS = (1, 2, 3, 4)
FAILED = Check(name="thresholds", compared=9, failed=2, worst=0.31, tolerance=1e-4, node=2)
NOTHING = re.compile(r"\b(null|undefined|NaN|Infinity)\b")
NO_NUMBER = re.compile(r"(?<![\w.,])0\.00\b|(?<![\w.])0 ?%|\b0(\.0)? ms\b")
"""What would stand for a number that nobody recorded."""


@pytest.fixture(scope="module")
def own() -> Trace:
    """Some steps of a run that comes with specviz."""
    trace = load_trace(ROOT / "assets" / "traces" / "default-4-2-2.json.gz")
    return trace.model_copy(update={"steps": trace.steps[:3], "end_reason": None})


def recorded(level: int, **options: Any) -> Trace:
    return foreign(sample_trace(), level, texts=level > 1, **options)


def kinds_of(frame: Any) -> list[str]:
    phases = frame["phases"]
    return [phase["kind"] for phase in (*phases["before"], *phases["verdicts"][ENGINE]["phases"], *phases["after"])]


# ------------------------------------------------------------------------------------------------------- frames


@pytest.mark.parametrize("level", LEVELS)
def test_frames_of_every_level_are_what_their_types_say(level: int) -> None:
    made = json.loads(dump_block(block(recorded(level), range(3))))
    TypeAdapter(list[Block], config={"extra": "forbid"}).validate_python([made])
    assert made["run"]["engine"]["said"] == f"Recorded from {ENGINE} 0.3, rule: rejection"


def test_of_tokens_parents_and_what_was_accepted_nothing_else_is_said() -> None:
    trace = recorded(1)
    frame, run = step_frame(trace, 1), run_header(trace)
    nodes, (verdict,) = frame["nodes"], frame["verdicts"]
    unknown = [None] * len(nodes["depth"])
    assert nodes["q"] == nodes["p"] == verdict["thresholds"] == unknown
    assert nodes["target"]["node"] == nodes["draft"]["node"] == []
    assert set(frame["tree"]["states"][ENGINE]) <= set("tan"), "not “not examined”: that is not known"
    assert set(kinds_of(frame)) == {"draft", "verdict", "commit"}
    assert (frame["timings"], frame["proposal"], frame["prefilled"], frame["draftRan"]) == (None,) * 4
    assert frame["caches"] == {"target": None, "draft": None}
    assert verdict["bonus"]
    assert (verdict["bonus"]["source"], verdict["bonus"]["top"]) == (None, None)
    assert (run["settings"], run["models"]) == (None, {"target": None, "draft": None})
    assert nodes["text"] == [f"‹{node.token}›" for node in trace.steps[1].tree.nodes]
    assert run["asked"] == "".join(f"‹{token}›" for token in trace.prompt_tokens)
    (totals,) = run["totals"]["verifiers"]
    assert totals["depth"]["of"][0] == 3
    assert totals["rank"] == {"accepted": [], "of": [], "least": [], "most": []}
    assert run["totals"]["shared"] is None
    assert not NOTHING.search(" ".join(phase["caption"] for phase in frame["phases"]["before"]) + frame["summary"])


def test_rows_without_logits_are_processed_ones_alone() -> None:
    frame = step_frame(recorded(2), 0)
    rows = frame["nodes"]["target"]
    assert rows["node"] == rows["processed"]["node"] == list(range(len(frame["nodes"]["depth"])))
    assert rows["raw"]["node"] == rows["unprocessed"] == []
    assert all(entropy is not None for entropy in rows["entropy"])
    assert "target" in kinds_of(frame)
    assert "decide" not in kinds_of(frame)


def test_logits_without_sampling_are_raw_rows_alone() -> None:
    value = recorded(2).model_dump(mode="json")
    for step in value["steps"]:
        for node in step["tree"]["nodes"]:
            node["target"] |= {"raw": node["target"]["processed"], "processed": None, "entropy": None}
    rows = step_frame(Trace.model_validate_json(json.dumps(value)), 0)["nodes"]["target"]
    assert rows["unprocessed"] == rows["raw"]["node"] == rows["node"]
    assert rows["processed"]["node"] == []
    assert set(rows["entropy"]) == {None}


def test_only_the_thresholds_that_an_engine_told_are_there() -> None:
    trace = recorded(3)
    frame = step_frame(trace, 0)
    own = trace.steps[0].verdicts[ENGINE]
    told = {decision.node for decision in own.decisions}
    assert {node for node, threshold in enumerate(frame["verdicts"][0]["thresholds"]) if threshold is not None} == told
    assert kinds_of(frame).count("decide") == len(own.decisions)
    assert frame["verdicts"][0]["decisions"]["details"]["reason"] == [None] * len(own.decisions)


def test_caches_are_checked_as_far_as_they_were_recorded() -> None:
    own = sample_trace(fault="no_compaction", steps=6, seed=2)
    level = foreign(own, 4)
    wrong = 0
    for position in range(6):
        mine, theirs = (step_frame(trace, position)["caches"]["target"] for trace in (own, level))
        assert mine
        assert theirs
        assert theirs["moves"] is None
        assert theirs["lacks"] == []
        assert (theirs["faults"][:1], theirs["state"]) == (mine["faults"][:1], mine["state"].replace("d", "l"))
        wrong += len(theirs["faults"])
    assert wrong
    value = level.model_dump(mode="json")
    for step in value["steps"]:
        change = step["caches"]["target"]
        change |= {"fingerprints_before": None, "fingerprints_after": None, "length_after": None}
        for slot in change["appended"]:
            slot |= {"sees": None, "sees_before": None, "position": None}
    cache = step_frame(Trace.model_validate_json(json.dumps(value)), 1)["caches"]["target"]
    assert cache
    assert (cache["after"], cache["mask"], set(cache["state"])) == (None, None, {"u"})
    assert cache["lacks"] == ["the lengths", "positions", "the mask", "fingerprints"]
    assert cache["faults"] == []


def test_nothing_is_compared_over_different_steps() -> None:
    trace = recorded(3)
    first = trace.steps[0]
    alone = first.model_copy(update={"verdicts": {ENGINE: first.verdicts[ENGINE]}})
    totals = run_header(trace.model_copy(update={"steps": (alone, *trace.steps[1:])}))["totals"]
    assert [(one["verifier"], one["steps"]) for one in totals["verifiers"]] == [(ENGINE, 3)]
    assert totals["shared"]
    assert {(one["verifier"], one["steps"]) for one in totals["shared"]["verifiers"]} == {(ENGINE, 2), ("rejection", 2)}


def test_what_an_engine_commits_beside_its_path_is_marked() -> None:
    value = recorded(1).model_dump(mode="json")
    value["steps"][0]["verdicts"][ENGINE]["bonus"] = None
    trace = Trace.model_validate_json(json.dumps(value))
    frame = step_frame(trace, 0)
    accepted = len(trace.steps[0].verdicts[ENGINE].path)
    assert frame["commit"]["origin"] == ["accepted"] * accepted + ["other"]
    assert frame["verdicts"][0]["bonus"] is None
    assert "no bonus token was recorded" in frame["summary"]


# ----------------------------------------------------------------------------------------------------- findings


def test_findings_say_where_what_and_what_could_not_run(own: Trace) -> None:
    found = run_header(foreign(own, 2, checks=(FAILED,)))["findings"]
    assert found
    assert (found["found"]["check"], found["found"]["weight"]) == (["thresholds"], ["error"])
    assert (found["found"]["step"], found["found"]["node"]) == ([0], [2])
    assert found["found"]["sentence"] == ["It does not fit; 6 of 27 comparisons failed, in 3 of 3 steps."]
    assert found["ran"] == 1 + len(found["fits"]["check"])
    assert dict(zip(found["notRun"]["check"], found["notRun"]["said"], strict=True))["mask"] == "the attention mask"
    assert not {*found["notRun"]["check"]} & {*found["fits"]["check"], "thresholds"}
    assert run_header(own)["findings"] is None


def test_findings_and_what_they_mean_are_on_the_page_in_full(own: Trace, monkeypatch: pytest.MonkeyPatch) -> None:
    told = [Finding(name, "error", 0, None, "word " * 200, one.meaning, one.place) for name, one in ABOUT.items()]
    monkeypatch.setattr("specviz.recorder.audit.audit", lambda _: told)
    found = findings_of(foreign(own, 1))["found"]
    assert found["meaning"] == [one.meaning for one in told]
    assert found["sentence"] == [one.sentence for one in told]


def test_a_run_is_audited_once_and_anew_with_every_new_step(own: Trace, monkeypatch: pytest.MonkeyPatch) -> None:
    trace, seen = foreign(own, 1), []
    monkeypatch.setattr("specviz.recorder.audit.audit", lambda trace: seen.append(len(trace.steps)) or [])
    for one in (trace, trace, trace.model_copy(update={"steps": trace.steps[:2]})):
        findings_of(one)
    assert seen == [3, 2]


# --------------------------------------------------------------------------------------------------------- page


def read_all(seen: Watched) -> str:
    """Everything that a person can read or hear now."""
    text: str = seen.page.evaluate(
        """() => [document.body.innerText, document.title, ...[...document.querySelectorAll("main *")].flatMap(
            (element) => ["title", "aria-label"].map((name) => element.getAttribute(name) || ""))].join("\\n")"""
    )
    return text


def check_all(seen: Watched, level: int) -> None:
    """Each panel of the dock, a node on the path and one beside it, and each phase."""
    page = seen.page
    for tab in ("cache", "verdicts", "totals", "masks", "audit", "table", "findings"):
        seen.dock(tab)
        page.evaluate("document.querySelectorAll('.sv-dock details').forEach((one) => (one.open = true))")
        _check(seen, level, tab)
    seen.dock("cache")
    path = page.evaluate("[...document.querySelectorAll('.sv-rank-path')].map((c) => +c.dataset.node)")
    for node in {0, *path[:1], 4}:
        seen.click_card(node)
        page.wait_for_selector(".sv-nodenumber")
        _check(seen, level, f"node {node}")
        page.keyboard.press("Escape")
    seen.dock("audit")
    assert page.is_visible("text=specviz audit FILE --target MODEL")
    assert not page.is_visible("text=This step was not audited")
    for phase in range(page.locator("[data-dot]").count()):
        page.keyboard.press(".")
        page.wait_for_function(
            "n => document.querySelector('.sv-phasewhere').textContent.startsWith(`phase ${n} `)", arg=phase + 1
        )
        _check(seen, level, f"phase {phase + 1}")
    page.keyboard.press("Escape")


def _check(seen: Watched, level: int, where: str) -> None:
    text = read_all(seen)
    for pattern in (NOTHING, *([NO_NUMBER] if level == 1 else [])):
        if found := pattern.search(text):
            raise AssertionError(f"{where}: {text[max(0, found.start() - 80) : found.end() + 40]!r}")


@pytest.mark.parametrize("level", [1, 2, 4])
def test_the_page_shows_what_was_not_recorded_as_that(from_file, own: Trace, level: int) -> None:
    trace = foreign(own, level, texts=level > 1, checks=(FAILED,) if level == 4 else ())
    seen = from_file(trace, go=1)
    page = seen.page
    check_all(seen, level)
    assert f"Recorded from {ENGINE} 0.3, rule: rejection" in page.inner_text(".specviz-file")
    cards = ".sv-card-node:not([data-node='0'])"
    assert (
        bool(page.locator(f"{cards} .sv-bar-q").count())
        == bool(page.locator(f"{cards} .sv-bar-p").count())
        == (level > 1)
    )
    assert bool(page.locator(f"{cards} :is(.sv-coin, .sv-chance)").count()) == (level > 2)
    shown = page.eval_on_selector(".sv-key-q", "(sign) => getComputedStyle(sign).display !== 'none'")
    assert shown == (level > 1)
    dots = page.locator(".sv-dotgroup > span").all_inner_texts()
    assert dots == [
        "draft",
        *["score"] * (level > 1),
        *["coins"] * (level > 2),
        "path",
        "commit",
        *["cache"] * (level > 3),
    ]
    lacks = page.inner_text(".sv-inspector")
    assert ("step.draft(probs=...)" in lacks) == (level == 1)
    assert ("step.verify(coins=...)" in lacks) == (level < 3)
    seen.dock("totals")
    assert page.locator(".sv-totals .sv-unrecorded").count() == (level < 3)
    seen.dock("findings")
    said = page.inner_text("[aria-label=Findings]")
    if level < 4:
        assert f"0 findings of {2 + level} checks that ran; {8 - level} checks could not run." in said
        assert "mask: it lacked the attention mask" in said
        assert "✓" not in said
        assert "not recorded: step.cache(...) records a cache" in page.text_content(".sv-cachesaid")
        return
    assert "1 finding of 11 checks that ran" in said
    assert "target rows: it lacked the target model" in said
    page.click(".sv-checks >> text=step 1, node 2")
    seen.wait_for_step(1, 3)
    assert page.inner_text(".sv-nodenumber") == "Node 2"
    seen.dock("totals")
    assert "Compared over the 3 of 3 steps" in page.inner_text(".sv-totals")


def test_the_output_of_a_notebook_is_the_same_page() -> None:
    for level in (1, 4):
        trace = recorded(level)
        assert html.escape(standalone_page(trace)) in notebook_html(trace)
