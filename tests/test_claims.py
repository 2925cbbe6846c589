"""What the program says of a run: every such sentence is listed in docs/claims.md, with tests that make it false."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from specviz.app.handlers import Actions
from specviz.app.page_state import PageState, Run
from specviz.app.proofs import Proofs
from specviz.app.server.session_registry import Sessions
from specviz.app.server.share_store import ShareStore
from specviz.app.server.trace_store import StoredTrace
from specviz.bench import greedy
from specviz.engine.whatif import through_models
from specviz.figures.diff import difference_sentences
from specviz.figures.node import TokenTable
from specviz.models.pair_spec import ModelChoice
from specviz.trace.diff import compare
from specviz.trace.metrics import difference_text
from specviz.trace.schema import Choice, Row, Sampling, TopK
from specviz.trace.summary import summary
from specviz.trace.whatif_question import Question
from tests import faults, pairs
from tests.paths import ROOT
from tests.sample_traces import sample_trace

PAGE = ROOT / "docs" / "claims.md"
WORDS = ("lossless", "✓", "near tie", "real difference", "trace alone", "agrees with itself", "as it was recorded")
"""A string that holds one of these claims something."""


@dataclass(frozen=True)
class Claim:
    words: str
    file: str
    tests: tuple[str, ...]


def cells(line: str) -> list[str]:
    """The cells of a table's row, split at bars outside backticks."""
    return [cell.strip() for cell in re.findall(r"((?:`[^`]*`|[^|`])+)", line.strip().strip("|"))]


def read_claims() -> list[Claim]:
    found = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("| `"):
            words, file, tests = (re.findall(r"`([^`]+)`", cell) for cell in cells(line))
            assert len(words) == len(file) == 1, line
            found.append(Claim(words[0], file[0], tuple(tests)))
    return found


CLAIMS = read_claims()


def functions(path: Path) -> set[str]:
    return {node.name for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)}


def test_every_claim_stands_where_the_page_says() -> None:
    assert len(CLAIMS) > 60
    assert len({(claim.words, claim.file) for claim in CLAIMS}) == len(CLAIMS), "one row a claim"
    missing = [claim for claim in CLAIMS if claim.words not in (ROOT / claim.file).read_text(encoding="utf-8")]
    assert not missing


def test_every_claim_has_a_test_that_exists() -> None:
    known: dict[str, set[str]] = {}
    for claim in CLAIMS:
        assert claim.tests, f"nothing makes {claim.words!r} false"
        for test in claim.tests:
            name, _, function = test.partition("::")
            if name not in known:
                known[name] = functions(ROOT / name) if (ROOT / name).is_file() else set()
            assert function.startswith("test_"), test
            assert function in known[name], f"{test}, of {claim.words!r}, does not exist"


def strings_of(path: Path) -> list[str]:
    """The strings of a source file that claim something, as they are written there, docstrings left out."""
    text = path.read_text(encoding="utf-8")
    if not claims_something(text):
        return []
    if path.suffix == ".js":
        lines = [line for line in text.splitlines() if not line.lstrip().startswith(("//", "/*", "*"))]
        return [line for line in lines if claims_something(line) and re.search(r"[\"`]", line)]
    found: list[str] = []

    def walk(node: ast.AST) -> None:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            return
        if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str)):
            inside = " ".join(str(part.value) for part in ast.walk(node) if isinstance(part, ast.Constant))
            # A field, a column or one of the values that a type lists is only named.
            if claims_something(inside) and not inside.isidentifier() and inside not in WORDS:
                found.append(ast.get_source_segment(text, node) or inside)
            return
        for child in ast.iter_child_nodes(node):
            walk(child)

    walk(ast.parse(text))
    return found


def claims_something(text: str) -> bool:
    return any(word in text.replace(".lossless", "") for word in WORDS)


def test_no_string_that_claims_something_is_missing_in_the_table() -> None:
    untold = []
    for path in sorted([*(ROOT / "specviz").rglob("*.py"), *(ROOT / "assets" / "viewer").rglob("*.js")]):
        name = path.relative_to(ROOT).as_posix()
        told = [claim.words for claim in CLAIMS if claim.file == name]
        untold += [
            f"{name}: {string[:200]}" for string in strings_of(path) if not any(words in string for words in told)
        ]
    assert not untold, "put them into docs/claims.md, with the test that makes them false"


# ------------------------------------------------------------------- what no other test of the program makes false


def test_greedy_output_that_differs_is_not_called_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = greedy.plain_greedy

    def other(*arguments: object, **options: object):
        tokens, margins = plain(*arguments, **options)
        return [*tokens[:2], tokens[2] ^ 1, *tokens[3:]], margins

    monkeypatch.setattr(greedy, "plain_greedy", other)
    found = list(greedy.compare_with_generate(pairs.make_pair(scale=0.1), prompts=1, max_new_tokens=4))
    assert found
    for line in found:
        assert not line.equal
        assert line.differs_at == 2
        assert "DIFFERS at token" in line.text()
        assert not line.text().endswith("equal")


def test_a_greedy_run_is_not_said_to_sample() -> None:
    sampled = sample_trace(steps=1)
    assert "a samples, so its text follows its coins" in " ".join(
        difference_sentences(compare(sampled, sampled, ("a", "b")))
    )
    changes = {"target": Sampling(temperature=0.0), "verifiers": (Choice(name="greedy"),), "driver": "greedy"}
    run = sample_trace(steps=1, verifiers=("greedy",))
    run = run.model_copy(update={"settings": run.settings.model_copy(update=changes)})
    assert "samples" not in " ".join(difference_sentences(compare(run, run, ("a", "b"))))


def test_two_runs_are_not_called_the_same_run(tmp_path: Path) -> None:
    act = Actions(Sessions(), ShareStore(tmp_path), Proofs(), sample_trace(steps=1))
    desk = PageState()
    for name in ("one", "two"):
        trace = sample_trace(steps=1).model_copy(update={"id": name})
        desk = desk.show(Run(StoredTrace(trace), name, ModelChoice()))
    assert "A and B are the same run" in act.on_compare(desk, "one", "one")[0]
    assert "the same run" not in act.on_compare(desk, "one", "two")[0]


def test_rows_that_differ_are_not_told_as_one() -> None:
    trace = sample_trace(steps=1)
    raw = TopK(ids=(1, 2), probs=(0.5, 0.25))
    for processed, same in ((raw, True), (TopK(ids=(1, 2), probs=(0.5, 0.26)), False)):
        row = Row(entropy=1.0, raw=raw, processed=processed)
        told = TokenTable(trace.steps[0]).distributions([row], [10])
        assert (told["entropy"], told["raw"]["node"]) == ([1], [0])
        assert (told["processed"]["node"] == []) == same
    shorter = Row(entropy=1.0, raw=raw, processed=TopK(ids=(1,), probs=(1.0,)))
    assert TokenTable(trace.steps[0]).distributions([shorter], [10])["processed"]["node"] == [0]


def test_other_rows_are_told_with_their_difference() -> None:
    trace = pairs.make_trace(seed=5, max_new_tokens=4)
    step = trace.steps[0]
    question = Question(verifier=Choice(name="rejection"))
    exact = through_models(pairs.make_pair(), trace, 0, question)
    assert exact.difference < 1e-5
    node = step.tree.nodes[1]
    moved = node.model_copy(update={"target_prob": node.target_prob + 0.00390625})
    nodes = (step.tree.nodes[0], moved, *step.tree.nodes[2:])
    other = step.model_copy(update={"tree": step.tree.model_copy(update={"nodes": nodes})})
    changed = trace.model_copy(update={"steps": (other, *trace.steps[1:])})
    found = through_models(pairs.make_pair(), changed, 0, question)
    assert found.difference == pytest.approx(0.00390625, abs=1e-5)


def test_the_audit_line_tells_the_worst_of_a_run_with_a_fault() -> None:
    def lines(trace) -> list[str]:
        return [line for line in summary(trace).splitlines() if "a recompute" in line]

    def worst(trace) -> list[str]:
        audits = [[getattr(step.caches, model).audit.worst() for step in trace.steps] for model in ("target", "draft")]
        return [difference_text(max(one)) for one in audits]

    sound = pairs.make_trace(audit=True, max_new_tokens=4)
    with faults.positions_off_by_one():
        faulty = pairs.make_trace(audit=True, max_new_tokens=4)
    for trace, verdict in ((sound, "within the tolerance"), (faulty, "step 1 is the first of")):
        for line, off in zip(lines(trace), worst(trace), strict=True):
            assert f"off by at most {off} (relative)" in line
            assert verdict in line


@pytest.mark.browser
def test_numbers_that_contradict_an_outcome_are_marked_and_no_others(from_file) -> None:
    trace = sample_trace(steps=2, verifiers=("rejection",))
    marks = "✕ These numbers do not give this outcome."
    first = trace.steps[0].verdicts["rejection"].decisions[0]
    seen = from_file(trace)
    seen.click_card(first.node)
    seen.page.wait_for_selector(".sv-inspector .sv-decision")
    assert marks not in seen.page.inner_text(".sv-inspector")
    seen.finish()
    verdict = trace.steps[0].verdicts["rejection"]
    wrong = first.model_copy(update={"threshold": 0.5, "uniform": 0.25 if first.outcome == "rejected" else 0.75})
    told = verdict.model_copy(update={"decisions": (wrong, *verdict.decisions[1:])})
    step = trace.steps[0].model_copy(update={"verdicts": {"rejection": told}})
    seen = from_file(trace.model_copy(update={"steps": (step, *trace.steps[1:])}))
    seen.click_card(first.node)
    seen.page.wait_for_selector(".sv-inspector .sv-decision")
    assert marks in seen.page.inner_text(".sv-inspector")
