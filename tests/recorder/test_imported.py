"""``specviz import``: what an engine has printed becomes a recording, and hostile lines become a sentence."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import specviz
from specviz.cli import main
from specviz.recorder.imported import Head, PrintedStep, import_printed
from specviz.recorder.llama_log import UNKNOWN, import_llama_log
from specviz.trace.recording import read_recordings
from tests.paths import ROOT

SERVER = """\
srv  update_slots: all slots are idle
0.01.234 D  - draft candidate   0, pos   0:    262 (   0.912) ' the'
0.01.234 D  - draft candidate   1, pos   0:    257 (   0.061) ' a'
0.01.240 D  - draft candidate   0, pos   1:   2068 (   0.401) ' quick'
0.01.241 D  - draft candidate   0, pos   2:     13 (   0.300) '
'
slot update_slots: id  3 | task 7 | accepted 1/2 draft tokens, new n_tokens = 661
 - draft candidate   0, pos   0:    999 (   0.100) 'too short to be tried'
 - draft candidate   0, pos   0:    262 (   1.000) ' the'
 - draft candidate   0, pos   1:    257 (   0.500) ' a'
slot update_slots: id  3 | task 7 | accepted  2/ 2 draft tokens
slot update_slots: id  1 | task 8 | accepted 0/3 draft tokens, new n_tokens = 5
"""
SIMPLE = """\
spec         draft:  - seq_id 0, draft candidate   0, pos   0:     11 (   0.700) 'x'
spec         draft:  - seq_id 0, draft candidate   0, pos   1:     12 (   0.600) 'it's'
accepted 1/2 draft tokens, the last target token is: (13)
spec         draft:  - seq_id 0, draft candidate   0, pos   0:     12 (   0.700) 'it's'
accepted 0/1 draft tokens, the last target token is: (11)
"""


def test_the_log_of_llama_server(tmp_path: Path) -> None:
    assert import_llama_log(SERVER.encode(), tmp_path / "run.jsonl") == 3
    runs = read_recordings(tmp_path / "run.jsonl")
    assert [*runs] == ["7", "8"]
    first, second = runs["7"].steps
    unknown = first.tree.nodes[0]
    assert (unknown.text, unknown.token) == (UNKNOWN, 2069)
    assert [node.token for node in first.tree.nodes[1:]] == [262, 2068]
    assert [node.text for node in first.tree.nodes[1:]] == [" the", " quick"]
    assert [node.draft_prob for node in first.tree.nodes] == [None, 0.912, 0.401]
    row = first.tree.nodes[0].draft
    assert row is not None
    assert row.processed is not None
    assert (row.processed.ids, row.entropy) == ((262, 257), None)
    assert first.verdicts["llama.cpp"].path == (1,)
    assert first.committed == (262, 2069)
    assert second.verdicts["llama.cpp"].path == (1, 2)
    assert [node.token for node in second.tree.nodes] == [2069, 262, 257]
    # A step whose candidates are not in the log: its tokens are not known, its number of accepted ones is.
    (lonely,) = runs["8"].steps
    assert [node.text for node in lonely.tree.nodes] == [UNKNOWN] * 4
    assert lonely.verdicts["llama.cpp"].path == ()


def test_the_log_of_the_simple_example_says_the_token_after(tmp_path: Path) -> None:
    assert import_llama_log(SIMPLE.encode(), tmp_path / "run.jsonl") == 2
    trace = specviz.load(tmp_path / "run.jsonl")
    assert trace.output_tokens() == [11, 13, 11]
    assert [node.text for node in trace.steps[0].tree.nodes] == [UNKNOWN, "x", "it's"]
    assert trace.steps[1].tree.nodes[0].token == 13
    assert trace.engine is not None
    assert trace.engine.rule == "naive"


def head(**more: Any) -> dict[str, Any]:
    return {"specviz_steps": 1, "engine": "my-cpp-loop", "prompt": [1, 5], "rule": "rejection", **more}


STEP = {
    "tokens": [5, 7, 8, 9],
    "parents": [-1, 0, 0, 1],
    "accepted": [1],
    "bonus": 4,
    "p": [None, 0.5, 0.25, 0.1],
    "q": [None, 0.25, 0.5, 0.4],
    "coins": {"1": 0.3, "3": 0.9, "-1": 0.5},
    "thresholds": {"1": 2.0, "3": 0.25},
    "texts": {"7": "<b>", "4": "\u202e"},
}


def printed(*lines: object) -> bytes:
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def test_lines_that_a_loop_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = tmp_path / "steps.jsonl", tmp_path / "run.jsonl"
    chain = {"tokens": [4, 2], "accepted": [], "bonus": 3}
    file.write_bytes(printed(head(), STEP, chain) + b'{"tokens": [3, ')  # torn while it was written
    assert main(["import", "jsonl", str(file), "-o", str(out)]) == 0
    assert "2 steps in" in capsys.readouterr().out
    assert main(["audit", str(out)]) == 0
    trace = specviz.load(out)
    assert trace.output_tokens() == [7, 4, 3]
    first = trace.steps[0]
    assert [node.target_prob for node in first.tree.nodes] == [None, 0.5, 0.25, 0.1]
    assert first.tree.nodes[1].text == "<b>"
    verdict = first.verdicts["my-cpp-loop"]
    assert {one.node: (one.uniform, one.threshold) for one in verdict.decisions if one.uniform is not None} == {
        1: (0.3, 2.0),
        3: (0.9, 0.25),
    }
    assert first.timings is None


def test_what_is_wrong_in_printed_lines_is_found_by_the_checks(tmp_path: Path) -> None:
    wrong = {**STEP, "coins": {"1": 0.3, "3": 0.1}}  # node 3 would have been accepted
    import_printed(printed(head(), wrong), tmp_path / "run.jsonl")
    assert main(["audit", str(tmp_path / "run.jsonl")]) == 1


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (b"", "Line 1 is no JSON object"),
        (b'{"engine": "x"}', "Line 1: specviz_steps"),
        (printed({**head(), "specviz_steps": 2}), "Line 1: specviz_steps"),
        (printed(head(engine="rejection"), STEP), "An engine cannot be called 'rejection'"),
        (printed(head(), []), "Line 2 is no JSON object"),
        (printed(head()) + b"[" * 9000 + b"\n", "Line 2 is no JSON object"),
        (printed(head(), {**STEP, "tokens": [-1, 2, 3, 4]}), "Line 2: tokens.0"),
        (printed(head(), {**STEP, "parents": [-1, 2, 0, 1]}), "Line 2: tree.*a parent comes before"),
        (printed(head(), STEP, {**STEP, "accepted": [3]}), "Line 3: verify.*node 3 is not a child of node 0"),
        (printed(head(), {**STEP, "coins": {"9": 0.5}}), "Line 2: verify.*coins of node 9"),
        (printed(head(), {**STEP, "p": [0.5]}), "Line 2: there are 1 entries of p for 4 nodes"),
        (printed(head(), {**STEP, "q": [None, 2, 0, 0]}), "Line 2: q.1"),
        (printed(head(), {**STEP, "nodes": 4}), "Line 2: nodes"),
        (b"[[[[[[[[[[[[[[" * 2_000_000, "more lists and numbers"),
    ],
)
def test_hostile_lines_become_a_sentence(lines: bytes, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(specviz.TraceError, match=sentence) as error:
        import_printed(lines, tmp_path / "run.jsonl")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400
    assert not (tmp_path / "run.jsonl").exists()


@pytest.mark.parametrize(
    ("log", "sentence"),
    [
        (b"", "no step with its draft candidates"),
        (b"\x00\xff" * 3000, "no step with its draft candidates"),
        (b"slot x: id  1 | task 2 | accepted 3/4 draft tokens\n", "no step with its draft candidates"),
        (b"accepted 1/999999 draft tokens\n", "Line 1 has 999,999 drafted tokens"),
        (b" - draft candidate   0 for seq   0, pos   0:     11 (   0.700) 'x'\n", "Line 1 is of llama.cpp's example"),
    ],
)
def test_logs_that_hold_no_step_become_a_sentence(log: bytes, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(specviz.TraceError, match=sentence):
        import_llama_log(log, tmp_path / "run.jsonl")
    assert not (tmp_path / "run.jsonl").exists()


def test_more_candidates_than_a_position_has_are_left_out(tmp_path: Path) -> None:
    many = "".join(f" - draft candidate {k}, pos 0: {k} (0.010) '{'y' * 5000}'\n" for k in range(500))
    assert import_llama_log((many + "accepted 0/1 draft tokens\n").encode(), tmp_path / "run.jsonl") == 1
    row = specviz.load(tmp_path / "run.jsonl").steps[0].tree.nodes[0].draft
    assert row is not None
    assert row.processed is not None
    assert len(row.processed.ids) == 10


def test_the_limits_of_an_import(tmp_path: Path) -> None:
    with pytest.raises(specviz.TraceError, match="larger than 1 MB"):
        import_llama_log(b" " * ((1 << 20) + 1), tmp_path / "run.jsonl", 1 << 20)
    assert main(["import", "llama-log", str(tmp_path / "missing"), "-o", str(tmp_path / "run.jsonl")]) == 2


def test_the_lines_of_the_documents_are_read(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "engines.md").read_text(encoding="utf-8")
    (lines,) = re.findall(r"```json\n(.*?)```", page, flags=re.S)
    assert import_printed(lines.encode(), tmp_path / "run.jsonl") == 1
    assert main(["audit", str(tmp_path / "run.jsonl")]) == 0
    for model in (Head, PrintedStep):
        assert not [name for name in model.model_fields if f"`{name}`" not in page]
