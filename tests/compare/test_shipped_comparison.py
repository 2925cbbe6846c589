"""The comparisons that come with specviz: whole, small enough for a Space, and what their figures are made from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from specviz.app.compare.store import SHIPPED
from specviz.compare.parquet_files import read_files, table_files
from specviz.compare.prompts import load_prompts
from specviz.compare.read import find_comparisons
from specviz.compare.rows import TABLES
from specviz.compare.summary import load
from specviz.compare.tables import rows_of
from specviz.compare.verify_rows import verify_rows
from specviz.models.default_pair import assets_hash, draft_assets
from tests.tools import findings

FOLDERS = find_comparisons(SHIPPED)
KINDS = 8


def by_name(name: str) -> Path:
    return next(folder for folder in FOLDERS if folder.name == name)


def test_both_ways_of_comparing_and_a_sweep_are_there() -> None:
    assert [folder.name for folder in FOLDERS] == ["free", "paired", "sweep"]
    for path in SHIPPED.rglob("*"):
        assert not path.is_file() or path.stat().st_size < 10_000_000, path


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_rows_follow_from_their_numbers(folder: Path) -> None:
    """Of some prompts: the command that made them went through all."""
    files = {name: table_files(folder, name) for name in TABLES}
    outputs = read_files("outputs", files["outputs"], ["prompt_id", "kind"]).to_pylist()
    first = {row["kind"]: row["prompt_id"] for row in reversed(outputs)}
    assert len(first) == KINDS
    for kind, prompt_id in first.items():
        rows = rows_of(files, prompt_id)
        assert {row["kind"] for row in rows.outputs} == {kind}
        assert rows.decisions
        assert verify_rows(rows) == []
        assert {row["draft"] for row in rows.outputs} == {f"specviz-draft-2-layers@{assets_hash(draft_assets())}"}
        for row in rows.steps:
            assert row["new_tokens"] - row["accepted"] in (0, 1)  # the bonus, unless the path ended the text


def test_traversal_accepts_no_less_than_rejection_and_that_no_less_than_naive() -> None:
    """Where siblings are sampled; within the noise over prompts."""
    differences = [
        row
        for row in load(by_name("paired"))["differences"]
        if row["measure"] == "accepted_length" and not row["tree"].startswith("dynamic")
    ]
    wanted = {("rejection", "traversal"): -1, ("rejection", "naive"): 1, ("traversal", "naive"): 1}
    seen = 0
    for row in differences:
        sign = wanted.get((row["a"], row["b"]))
        if sign is None:
            continue
        seen += 1
        assert sign * row["value"] > 0 or row["low"] <= 0 <= row["high"], row
    assert seen == 3 * 3 * 2  # trees whose siblings are sampled, temperatures


def test_every_lossy_verifier_is_measured_against_ordinary_sampling() -> None:
    found = {
        (row["a"], row["b"], row["temperature"])
        for row in load(by_name("free"))["differences"]
        if row["measure"] == "nll_sampled_per_token"
    }
    for verifier in ("eta", "longest_path"):
        for temperature in (0.7, 1.0):
            assert (verifier, "sampling", temperature) in found


def test_the_page_of_findings_has_the_tables_that_follow_from_the_rows() -> None:
    """``python -m tests.tools.findings --write`` puts them there."""
    assert findings.written(findings.PAGE.read_text(encoding="utf-8")) == findings.tables()


def test_a_difference_is_turned_round_with_its_interval() -> None:
    row = {"a": "x", "b": "y", "value": -0.5, "low": -0.75, "high": 0.125, "holm": 0.2, "measure": "m"}
    assert findings.difference([row], "y", "x", measure="m") == "+0.50 [-0.12, +0.75] (not clear)"
    assert findings.difference([row | {"holm": 0.01}], "x", "y", measure="m") == "-0.50 [-0.75, +0.12]"


def test_the_plan_says_how_it_was_made() -> None:
    plan = json.loads((by_name("paired") / "comparison.json").read_text(encoding="utf-8"))["comparison"]
    lines = (by_name("paired") / "prompts.jsonl").read_text(encoding="utf-8").splitlines()
    assert plan["paired"] is None, "all of them"
    assert len(lines) == len(load_prompts()) == 160
    assert plan["temperatures"] == [0.7, 1.0]
    assert plan["max_new_tokens"] == 32
    assert [verifier["label"] for verifier in plan["verifiers"]] == [
        *("rejection", "eta", "longest_path", "traversal", "naive")
    ]
