"""What 0.1.0 wrote opens: runs, links, comparisons. ``tests/made_by_0_1_0/README.md`` says how the files were made."""

from __future__ import annotations

import gzip
import json
import shutil
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from specviz.app.compare.replay_step import replay
from specviz.app.compare.store import ComparisonStore
from specviz.app.compare.view import Selection, board, choices, settled
from specviz.app.page_state import PageState
from specviz.app.server.clients import Client
from specviz.app.server.limits import Limits
from specviz.app.server.readers import Readers
from specviz.app.server.session_registry import Sessions
from specviz.cli import main
from specviz.compare.statistics import Group
from specviz.compare.tables import read_rows
from specviz.compare.verify_rows import verify_rows
from specviz.engine.session import Session
from specviz.engine.whatif import from_trace
from specviz.figures import step_frame
from specviz.figures.diff import format_comparison
from specviz.figures.export import standalone_page
from specviz.models.loading import Pair, load_pair
from specviz.trace.breakpoints import hits, parse_short
from specviz.trace.diff import compare
from specviz.trace.io import dump_trace, load_trace
from specviz.trace.schema import Choice, Trace
from specviz.trace.summary import summary
from specviz.trace.whatif_question import Question
from tests import tiny
from tests.app.test_opening import Page
from tests.generators import finish
from tests.paths import ASSETS, ROOT
from tests.saved_pages import block_in

MADE = ROOT / "tests" / "made_by_0_1_0"
HELD = next((MADE / "held").iterdir())
RUNS = sorted([*MADE.glob("*.json*"), HELD])
SHIPPED = sorted([*(ASSETS / "traces").iterdir(), *(ASSETS / "lessons").iterdir()])
SHIPPED_NAMES = {"chain-of-4", "default-4-2-2", "dynamic-eagle2", "heterogeneous"}
WORDS = {
    "proposal": {"without_replacement", "with_replacement", "top_k"},
    "comparison": {"uniform < threshold", "p > threshold", "token = drawn", "token = argmax"},
    "outcome": {"accepted", "rejected", "passed, not chosen"},
    "source": {"target", "residual", "truncated", "argmax"},
    "lossless": {"yes", "no", "greedy decoding"},
    "end_reason": {"end of sequence", "max_new_tokens", "context limit", "stopped", "error"},
    "role": {"context", "node", "pruned"},
}
"""Fields of a trace that hold one of few words: those of 0.1.0."""


def read_json(path: Path) -> Any:
    data = path.read_bytes()
    return json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)


def fields(value: Any) -> Iterator[tuple[str, Any]]:
    """(name, value) of every field, however deep."""
    if isinstance(value, dict):
        yield from value.items()
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from fields(part)


def missing(old: Any, new: Any, at: str = "") -> list[str]:
    """Places where ``new`` does not say what ``old`` says; fields that only ``new`` has do not matter."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [place for key, value in old.items() for place in missing(value, new.get(key, "gone"), f"{at}.{key}")]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [place for i, (a, b) in enumerate(zip(old, new, strict=True)) for place in missing(a, b, f"{at}[{i}]")]
    return [] if old == new else [at]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where ``pair/target`` and ``pair/draft`` are the models that made the files."""
    place = tmp_path_factory.mktemp("old")
    tiny.save_pair(place / "pair")
    return place


@pytest.fixture(scope="module")
def pair(folder: Path) -> Pair:
    return load_pair(str(folder / "pair" / "target"), str(folder / "pair" / "draft"), device="cpu")


# ------------------------------------------------------------------------------------------------------- runs


def test_the_samples_have_every_word_and_every_optional_field() -> None:
    found: dict[str, set[str]] = defaultdict(set)
    filled = set()
    for name, value in (field for path in RUNS for field in fields(read_json(path))):
        if name in WORDS and value is not None:
            found[name].add(value)
        if value not in (None, [], {}):
            filled.add(name)
    assert {name: found[name] for name in WORDS} == WORDS
    optional = {"forked_from", "settings", "audit", "reads", "residual", "expected", "end_message", "bytes", "moves"}
    assert optional <= filled
    assert {path.name.removesuffix(".json.gz") for path in SHIPPED} >= SHIPPED_NAMES


@pytest.mark.parametrize("path", [*RUNS, *SHIPPED], ids=lambda path: path.name)
def test_a_run_says_what_it_said(path: Path) -> None:
    trace = load_trace(path)
    assert trace.specviz_version == "0.1.0"
    written = read_json(path)
    assert written["schema_version"] == 1
    assert missing(written, json.loads(dump_trace(trace))) == [".schema_version"]


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.name)
def test_a_run_is_drawn_searched_diffed_asked_and_exported(path: Path, tmp_path: Path) -> None:
    trace = load_trace(path)
    frames = [step_frame(trace, position) for position in range(len(trace.steps))]
    for step, frame in zip(trace.steps, frames, strict=True):
        assert frame["tree"]["parent"] == [node.parent for node in step.tree.nodes]
        assert set(frame["tree"]["states"]) == set(step.verdicts)
    first = trace.steps[0]
    token = first.committed[0]
    until = parse_short([f"token={token}"])
    assert [hit.position for hit in hits(trace, 0, until)] == [0]
    assert all(name in summary(trace) for name in first.verdicts)
    assert "same" in format_comparison(compare(trace, trace))
    assert block_in(standalone_page(trace))["run"]["id"] == trace.id
    recorded = first.verdicts[first.driver]
    answer = from_trace(trace, 0, Question(Choice(name=first.driver, options=recorded.options)))
    assert not isinstance(answer, str), answer
    assert answer.path == recorded.path


@pytest.mark.parametrize("name", ["chat.json.gz", "dynamic-until.json", "greedy-lookup.json.gz"])
def test_a_run_is_run_again_and_goes_on(name: str, pair: Pair) -> None:
    trace = load_trace(MADE / name)
    last = len(trace.steps) - 1
    fork = Session.resume(pair, trace, steps=last, settings=trace.settings)
    again = fork.step()
    assert again.committed == trace.steps[-1].committed
    for verifier, verdict in trace.steps[-1].verdicts.items():
        assert (again.verdicts[verifier].path, again.verdicts[verifier].bonus.token) == (
            verdict.path,
            verdict.bonus.token,
        )
    session = Session.resume(pair, trace, same=True)
    session.go_on(sum(len(step.committed) for step in trace.steps) + 1)
    session.step()
    before = [step.model_copy(update={"models": None}) for step in session.trace.steps[: last + 1]]
    assert tuple(before) == trace.steps, "besides that the weights of these steps are not known"


@pytest.mark.browser
def test_an_export_of_an_old_run_needs_nobody(from_file: Any) -> None:
    trace = load_trace(MADE / "chat.json.gz")
    seen = from_file(trace)
    seen.page.keyboard.press("ArrowRight")
    seen.wait_for_step(2, len(trace.steps))


# ------------------------------------------------------------------------------------------------------ links


LINK = HELD.name.removesuffix(".json.gz")
WHERE = {"step": "2", "node": "3", "verifier": "eta"}


@pytest.mark.parametrize(
    ("name", "query", "look"),
    [
        (LINK, {}, {"step": 0, "node": None, "verifier": None}),
        (LINK, {"step": "2"}, {"step": 1, "node": None, "verifier": None}),
        *((name, WHERE, {"step": 1, "node": 3, "verifier": "eta"}) for name in (LINK, *sorted(SHIPPED_NAMES))),
    ],
)
def test_an_address_opens_its_run(opened: Page, name: str, query: dict[str, str], look: dict[str, Any]) -> None:
    request: Any = SimpleNamespace(session_hash="page", query_params={"trace": name} | query, request=None)
    answer = opened.act.on_load(request)
    shown = dict(fields(json.loads(answer[0])))
    assert shown["look"] == look
    assert shown["link"]["name"] == name, "the address of the page stays"
    opened.take(answer)
    path = HELD if name.startswith("h-") else ASSETS / "traces" / f"{name}.json.gz"
    assert opened.run == load_trace(path)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """A page of a server whose links were made by 0.1.0."""
    held = tmp_path_factory.mktemp("held")
    shutil.copyfile(HELD, held / HELD.name)  # with today's date: links expire
    return Page(held)


# ------------------------------------------------------------------------------------------------ comparisons


def made_again(folder: Path, group: Group, run: tuple[str, str]) -> tuple[str, Trace | None]:
    sessions = Sessions(load_pair)
    *_, ((text, trace, _), _) = replay(sessions, "page", folder, group, run, 0, PageState())
    return dict(fields(json.loads(text)))["notice"]["text"], trace


def test_a_zip_of_the_page_opens_and_its_steps_do(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    store = ComparisonStore(shipped=Path("nowhere"))
    brought = store.get(finish(store.add_files([str(MADE / "specviz-comparison.zip")], Readers(Limits()), Client())))
    assert "models pair/target ← pair/draft" in brought.about
    figures = choices(brought.summary)["figure"]
    assert {"accepted_length", "first_tv_bound", "nll_per_token"} <= set(figures)
    for figure in figures:
        section = json.loads(board(brought, settled(brought.summary, Selection(figure=figure))))["sections"][0]
        assert section["table"]["rows"], figure
    assert brought.folder is not None
    with zipfile.ZipFile(MADE / "specviz-comparison.zip") as archive:
        archive.extractall(tmp_path)
    assert [problem for rows in read_rows(tmp_path / "comparison") for problem in verify_rows(rows)] == []
    said, trace = made_again(brought.folder, Group("paired", "2,1", 1.0), ("chat-01", "rejection"))
    assert said == "Step 1 was made again and is as it was recorded."
    assert trace is not None


def test_what_was_begun_is_finished_as_it_was_begun(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """0.1.0 ran prompts that end in an end token as they are, and its folders do not say so."""
    monkeypatch.chdir(folder)
    begun = tmp_path / "begun"
    shutil.copytree(MADE / "begun", begun)
    done = len(list((begun / "work").iterdir()))
    options = ["--trees", "2,1", "--verifiers", "rejection", "naive", "--paired", "2", "--free", "1"]
    models = ["--target", "pair/target", "--draft", "pair/draft", "--prompts", str(begun / "prompts.jsonl")]
    assert main(["compare", "-o", str(begun), *models, *options, "--no-chat", "--max-new-tokens", "2"]) == 0
    assert "every row agrees with itself" in capsys.readouterr().out
    outputs = [row for rows in read_rows(begun) for row in rows.outputs]
    assert len(outputs) == json.loads((begun / "comparison.json").read_text())["units"] > done > 0
    assert {row["end_reason"] for row in outputs} == {"max_new_tokens"}
    temperature = next(row["temperature"] for row in outputs)
    said, _ = made_again(begun, Group("paired", "2,1", temperature), ("ended", "rejection"))
    assert said == "Step 1 was made again and is as it was recorded."
