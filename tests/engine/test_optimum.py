"""Optima and expectations of a run: recorded where it is asked for, counted over the nodes that walks reached."""

from __future__ import annotations

import json
from functools import lru_cache

import pytest

from specviz.compare.rows import OPTIMA, PROCESSORS, TABLES, Rows, step_rows
from specviz.compare.run_unit import Result, pack, unpack
from specviz.compare.statistics import AT_NODES, estimate, tallies
from specviz.errors import TraceError
from specviz.figures.frames import step_frame
from specviz.figures.totals import run_totals
from specviz.trace.io import dump_trace, parse_trace
from specviz.trace.metrics import node_acceptance
from specviz.trace.schema import Choice, Trace
from specviz.trace.summary import summary
from tests.pairs import make_trace

NAMES = ("rejection", "traversal", "naive", "coupling")


@lru_cache(maxsize=2)
def trace_of(record: bool) -> Trace:
    verifiers = tuple(Choice(name=name) for name in NAMES)
    return make_trace(
        tree=Choice(name="k_config", options={"tree": "2,2"}),
        verifiers=verifiers,
        max_new_tokens=8,
        record_optimum=record,
    )


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("expected_acceptance", [], "expects something of 0 nodes of 7"),
        ("other_mode", {"path": [], "bonus": 1, "nodes": [7]}, "outside the tree"),
        ("other_mode", {"path": [7], "bonus": 1, "nodes": []}, "outside the tree"),
    ],
)
def test_a_file_that_speaks_of_other_nodes_is_refused(field: str, value: object, said: str) -> None:
    data = json.loads(dump_trace(trace_of(True)))
    data["steps"][0]["verdicts"]["rejection"][field] = value
    with pytest.raises(TraceError, match=said):
        parse_trace(json.dumps(data).encode())


def test_it_is_recorded_where_it_is_asked_for_and_changes_nothing_else() -> None:
    with_it, without = trace_of(True), trace_of(False)
    assert with_it.output_tokens() == without.output_tokens()
    assert "record_optimum" not in dump_trace(without).decode()
    assert parse_trace(dump_trace(with_it)).settings.record_optimum
    for step, bare in zip(with_it.steps, without.steps, strict=True):
        inner = {node.parent for node in step.tree.nodes} - {-1}
        assert {node.id for node in step.tree.nodes if node.optimum is not None} == inner
        assert all(node.optimum is None for node in bare.tree.nodes)
        assert all(verdict.expected_acceptance is None for verdict in bare.verdicts.values())
        assert step.verdicts["traversal"].expected_acceptance is None
        for name in ("rejection", "naive", "coupling"):
            told = step.verdicts[name].expected_acceptance
            assert {node for node, share in enumerate(told) if share is not None} == inner
            assert step.verdicts[name].path == bare.verdicts[name].path
    assert b'"record_optimum"' not in dump_trace(without), "files of runs without it are written as before"
    read = parse_trace(dump_trace(with_it))
    assert read.settings == with_it.settings
    assert read.steps[0].tree.nodes[0].optimum == with_it.steps[0].tree.nodes[0].optimum


def test_what_is_expected_of_rejection_follows_from_its_thresholds() -> None:
    step = trace_of(True).steps[0]
    verdict = step.verdicts["rejection"]
    for node, children in enumerate(step.tree.children()):
        if children:
            passing = 1.0
            for child in children:
                passing *= 1 - min(1.0, verdict.thresholds[child])
            assert verdict.expected_acceptance[node] == pytest.approx(1 - passing)


def test_totals_count_the_nodes_reached() -> None:
    trace = trace_of(True)
    totals = {one["verifier"]: one["atNodes"] for one in run_totals(trace, NAMES)["verifiers"]}
    assert totals["traversal"] is None, "it may pass the optimum, so it has none"
    for name in ("rejection", "naive", "coupling"):
        reached = accepted = 0
        for step in trace.steps:
            inner, path = {node.parent for node in step.tree.nodes}, step.verdicts[name].path
            reached, accepted = reached + len(inner & {0, *path}), accepted + len(path)
        assert (totals[name]["nodes"], totals[name]["accepted"]) == (reached, accepted)
        assert 0 < totals[name]["optimum"] <= reached
    said = summary(trace)
    assert "rejection at the" in said
    assert "traversal at the" not in said
    bare = trace_of(False)
    assert node_acceptance(bare.steps, "rejection") is None
    assert "at the nodes reached" not in summary(bare)
    assert all(one["atNodes"] is None for one in run_totals(bare, NAMES)["verifiers"])


def test_rows_of_a_comparison_have_their_sums_and_older_units_are_read_without(monkeypatch) -> None:
    trace = trace_of(True)
    key = {"mode": "paired", "prompt_id": "a", "kind": "k", "tree": "2,2", "temperature": 1.0}
    rows = Rows(list(step_rows(key, {"draft_label": None, "processors_label": None}, trace, [{} for _ in trace.steps])))
    by_name = {tally.verifier: tally for tally in tallies(rows)}
    at = node_acceptance(trace.steps, "coupling")
    means = {name: estimate([by_name["coupling"]], measure).value for name, measure in AT_NODES.items()}
    assert means["optimum_at_nodes"] == pytest.approx(at.optimum / at.nodes)
    assert means["accepted_at_nodes"] == pytest.approx(at.accepted / at.nodes)
    assert estimate([by_name["traversal"]], AT_NODES["optimum_at_nodes"]).prompts == 0
    older = {name: meaning for name, meaning in TABLES["steps"].items() if name not in OPTIMA | PROCESSORS}
    with monkeypatch.context() as patch:
        patch.setitem(TABLES, "steps", older)
        packed = pack(Result(0, trace.models, rows))
    read = unpack(packed)
    assert all(row[name] is None for row in read.rows.steps for name in OPTIMA)
    assert [row["accepted"] for row in read.rows.steps] == [row["accepted"] for row in rows.steps]


def test_a_frame_carries_them_or_says_that_they_are_not_there() -> None:
    frame, bare = (step_frame(trace_of(record), 0) for record in (True, False))
    assert frame["nodes"]["optimum"][0] == pytest.approx(trace_of(True).steps[0].tree.nodes[0].optimum, rel=1e-5)
    acceptance = {one["verifier"]: one["acceptance"] for one in frame["verdicts"]}
    assert acceptance["traversal"] is None
    assert acceptance["naive"][0] is not None
    assert bare["nodes"]["optimum"] is None
    assert all(one["acceptance"] is None for one in bare["verdicts"])
