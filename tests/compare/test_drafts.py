"""Several drafts of one target in a comparison: the same prompts and luck, a run each, tested beside each other."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from specviz.app.compare.replay_step import replay
from specviz.app.compare.store import ComparisonStore
from specviz.app.compare.tab import CompareTab
from specviz.app.compare.view import Selection, board, choices, settled
from specviz.app.page_state import PageState
from specviz.app.server.clients import Client
from specviz.app.server.limits import Limits
from specviz.app.server.readers import Readers
from specviz.app.server.session_registry import Sessions
from specviz.cli import _parser, main
from specviz.compare import cli as compare_cli
from specviz.compare import jobs
from specviz.compare.jobs import Job
from specviz.compare.named import NamedDraft, parse_drafts, parse_tree, parse_verifier
from specviz.compare.read import models_of, runs_of
from specviz.compare.replay import replayable_run
from specviz.compare.report.html_report import charts
from specviz.compare.rows import SAMPLING, TABLES, Rows
from specviz.compare.spec import Comparison
from specviz.compare.statistics import Group, Tally, accepted_length, between_labels, from_base, nll_per_token
from specviz.compare.summary import load
from specviz.compare.verify_rows import verify_rows
from specviz.errors import SettingsError
from specviz.models import loading
from specviz.models.loading import load_pair
from specviz.models.pair_spec import ModelChoice
from tests import head_files, tiny
from tests.compare.made import make, rows_in
from tests.generators import finish

HOSTILE = "<img src=x onerror=alert(1)>"
DRAFTS = {"near": "draft", "weak": "weak", HOSTILE: "draft", "head": "head"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders ``target``, ``draft``, ``weak``: a draft that agrees with the target less, and ``head``: EAGLE-3."""
    folder = tmp_path_factory.mktemp("models")
    tiny.save_pair(folder)
    tiny.perturbed(tiny.make_model("llama"), scale=0.8).save_pretrained(folder / "weak")
    tiny.make_tokenizer().save_pretrained(folder / "weak")
    head = head_files.eagle3(tiny.make_config("llama"), reads=(0, 1, 2), columns=40)
    head_files.save_head(folder / "head", head)
    return folder


def job_of(models: Path, drafts: dict[str, str], free: int = 1) -> Job:
    comparison = Comparison(
        drafts=tuple(NamedDraft(label=label, draft=str(models / name)) for label, name in drafts.items()),
        trees=(parse_tree("2,2"),),
        verifiers=(parse_verifier("rejection"), parse_verifier("naive")),
        driver="rejection",
        free=free,
        max_new_tokens=6,
    )
    prompts = tuple(jobs.Prompt(name, "chat", text) for name, text in (("a", "the sea"), ("b", "a thin hen")))
    first = models / next(iter(drafts.values()), "weak")
    return Job(comparison, prompts, ModelChoice(str(models / "target"), str(first), device="cpu"))


@pytest.fixture(scope="module")
def loaded() -> list[str]:
    """Names of the models whose weights were read while the comparison of :func:`folder` was made."""
    return []


@pytest.fixture(scope="module")
def folder(models: Path, loaded: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished comparison of four drafts: the third is the first one again under a hostile label, the last a head."""
    read_model = loading.read_model

    def seen(source, *arguments):
        loaded.append(source.name)
        return read_model(source, *arguments)

    made, job = tmp_path_factory.mktemp("made"), job_of(models, DRAFTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "read_model", seen)
        make(made, job)
    assert compare_cli._report(made, job) == 0
    return made


def test_the_target_is_read_once_and_every_draft_when_its_turn_comes(folder: Path, loaded: list[str]) -> None:
    assert loaded == ["target", "draft", "weak", "draft"], "and a head is no model"


def test_every_draft_makes_the_rows_that_it_makes_alone(folder: Path, models: Path, tmp_path: Path) -> None:
    together = rows_in(folder)
    alone = rows_in(make(tmp_path, job_of(models, {}, free=0)))
    for name, rows in alone.items():
        assert rows
        assert {row["draft_label"] for row in rows} == {None}
        labelled = [row for row in together[name] if (row["draft_label"], row["mode"]) == ("weak", "paired")]
        assert labelled == [row | {"draft_label": "weak"} for row in rows]
    assert {row["seed"] for row in together["outputs"] if row["prompt_id"] == "a"} == {
        row["seed"] for row in alone["outputs"] if row["prompt_id"] == "a"
    }


def test_the_target_alone_runs_once_whatever_the_drafts(folder: Path) -> None:
    (alone,) = [row for row in rows_in(folder)["outputs"] if row["verifier"] == SAMPLING]
    assert alone["draft_label"] is None
    tested = [row for row in load(folder)["differences"] if (row["b"], row["measure"]) == (SAMPLING, "distinct_1")]
    assert {row["draft"] for row in tested} == set(DRAFTS)


def test_the_summary_tests_drafts_against_each_other(folder: Path) -> None:
    summary = load(folder)
    assert [row["label"] for row in summary["drafts"]] == list(DRAFTS)
    rows = [row for row in summary["draft_differences"] if (row["mode"], row["verifier"]) == ("paired", "rejection")]
    assert {(row["a"], row["b"]) for row in rows} == set(itertools.combinations(DRAFTS, 2))
    values = {
        (row["draft"], row["measure"]): row["value"]
        for row in summary["estimates"]
        if (row["mode"], row["verifier"], row["kind"]) == ("paired", "rejection", None)
    }
    for row in rows:
        difference = values[row["a"], row["measure"]] - values[row["b"], row["measure"]]
        assert row["value"] == pytest.approx(difference, abs=1e-5)
    same = [row for row in rows if (row["a"], row["b"]) == ("near", HOSTILE)]
    assert {(row["value"], row["low"], row["high"], row["p"]) for row in same} == {(0.0, 0.0, 0.0, 1.0)}
    assert "Differences in block efficiency between drafts" in (folder / "report.txt").read_text(encoding="utf-8")


def test_differences_between_drafts_are_the_exchange_test_over_prompts() -> None:
    ours, theirs = [7, 9, 4, 8, 6], [5, 5, 5, 6, 3]
    counts = ((1, 2),)
    found = [
        Tally(Group("paired", "2,2", 1.0, draft), "eta", str(i), "chat", 10, value, value + 10, counts, counts)
        for draft, values in (("x", ours), ("y", theirs))
        for i, value in enumerate(values)
    ]
    (it,) = between_labels(found, accepted_length, "draft")
    assert (it.group, it.a, it.b, it.prompts) == (Group("paired", "2,2", 1.0, "eta"), "x", "y", 5)
    assert it.value == pytest.approx((34 - 24) / 50)
    # Of 32 ways to exchange prompts 4 are as far from 0: as it is, with the third (5 - 4) turned too, and both mirrors.
    assert it.p == pytest.approx(4 / 32, abs=0.015)
    free = [replace(tally, group=tally.group._replace(mode="free"), nll=5.0, tokens=10) for tally in found]
    alone = Tally(Group("free", "no draft", 1.0), "sampling", "0", "chat", 1, 0, 1, (), (), 10, 6.0)
    rows = from_base([*free, alone], nll_per_token, "sampling")
    assert [(it.group.draft, it.value) for it in rows] == [("x", pytest.approx(-0.1)), ("y", pytest.approx(-0.1))]


def test_rows_of_another_luck_or_another_draft_are_found(folder: Path) -> None:
    rows = rows_in(folder)
    assert verify_rows(Rows(**rows)) == []
    other = [dict(row) for row in rows["outputs"]]
    other[-1]["seed"] += 1
    assert any("another seed" in it for it in verify_rows(Rows(**(rows | {"outputs": other}))))
    mixed = [row | {"draft_label": "near"} for row in rows["steps"]]
    assert verify_rows(Rows(**(rows | {"steps": mixed})))


def test_broken_off_between_drafts_and_gone_on_with(folder: Path, models: Path, tmp_path: Path) -> None:
    drafts = {"near": "draft", "head": "head"}
    job = job_of(models, drafts, free=0)
    jobs.open_folder(tmp_path, job)
    for index, packed in jobs.run_here(job, jobs.missing(tmp_path, job)[:3]):
        jobs.write_unit(tmp_path, index, packed)
    assert len(jobs.missing(tmp_path, job)) == len(job.units()) - 3 == 1
    with pytest.raises(SettingsError, match="another comparison"):
        jobs.open_folder(tmp_path, job_of(models, drafts | {"head": "draft"}, free=0))
    wrong = replace(job, comparison=job_of(models, drafts | {"near": "weak"}, free=0).comparison)
    ((index, packed),) = jobs.run_here(wrong, [0])
    with pytest.raises(SettingsError, match="made by other models"):
        jobs.write_unit(tmp_path, index, packed)
    make(tmp_path, job)
    whole = rows_in(folder)
    for name, rows in rows_in(tmp_path).items():
        assert rows == [row for row in whole[name] if row["draft_label"] in drafts and row["mode"] == "paired"]


def test_one_draft_has_the_units_it_always_had(models: Path) -> None:
    job = job_of(models, {})
    assert {unit.draft for unit in job.units()} == {None}
    added = {"drafts", "min_new_tokens", "stop", "record_optimum"}
    added |= {"processors", "processor_mode", "processor_draft", "processor_sets"}
    assert jobs._plan(job)["comparison"].keys() == Comparison.model_fields.keys() - added
    three = job_of(models, DRAFTS)
    own = [[unit for unit in three.units() if unit.draft == label] for label in DRAFTS]
    shapes = [[(unit.mode, unit.prompt.id, unit.tree, unit.verifier) for unit in some] for some in own]
    assert shapes[0] == shapes[1] == shapes[2]
    first = [unit for unit in three.units() if unit.draft in ("near", None)]
    assert job.units() == [replace(unit, index=index, draft=None) for index, unit in enumerate(first)]


def test_a_step_of_a_draft_is_made_again(folder: Path, models: Path, tmp_path: Path) -> None:
    sessions = Sessions(load_pair)
    for label in ("head", "weak"):
        group = Group("paired", "2,2", 1.0, label)
        assert replayable_run(folder, group, "b").pair.draft == str(models / label)
        *_, ((text, trace, _), _) = replay(sessions, "p", folder, group, ("b", "rejection"), 1, PageState())
        assert "Step 2 was made again and is as it was recorded." in text
        assert trace.models.draft.id == label
    recorded = [models_of(folder, label) for label in DRAFTS]
    assert [one.draft.id for one in recorded] == ["draft", "weak", "draft", "head"]
    assert len({one.draft.weights for one in recorded}) == 3
    assert (recorded[-1].draft.head.format, recorded[-1].draft.head.reads) == ("eagle3", (0, 1, 2))
    with pytest.raises(SettingsError, match="not all there"):
        replayable_run(folder, group._replace(draft="unheard of"), "b")
    for name in (*(f"{table}.parquet" for table in TABLES), "comparison.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    plan = json.loads((folder / "comparison.json").read_text(encoding="utf-8"))
    plan["comparison"]["drafts"] = plan["comparison"]["drafts"][:1]
    (tmp_path / "comparison.json").write_text(json.dumps(plan), encoding="utf-8")
    with pytest.raises(SettingsError, match="different comparisons"):
        replayable_run(tmp_path, group, "b")


def test_the_card_and_the_page_have_every_draft(folder: Path) -> None:
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "| models | target | draft `near` | draft `weak` | " in card
    assert "the same for all drafts, trees" in card
    assert "| draft head |  |  |  |  | eagle3, reads 0, 1, 2 |" in card
    shelf = ComparisonStore(shipped=Path("nowhere"))
    paths = [str(folder / f"{name}.parquet") for name in TABLES] + [str(folder / "comparison.json")]
    opened = shelf.get(finish(shelf.add_files(paths, Readers(Limits()), Client())))
    assert "4 drafts" in opened.about
    assert choices(opened.summary)["draft"] == list(DRAFTS)
    for figure in ("drafts", "draft_differences", "accepted_length"):
        chosen = settled(opened.summary, Selection(figure=figure, draft="weak"))
        assert chosen.figure == figure
        (section,) = json.loads(board(opened, chosen))["sections"]
        rows = section["table"]["rows"]
        assert {row["point"][5] for row in rows} <= {"weak", "near"}
        assert len(rows) == {"drafts": 2, "draft_differences": 6, "accepted_length": 2}[figure]
    group = Group("paired", "2,2", 1.0, "weak")
    _, runs = json.loads(board(opened, replace(chosen, group=group)))["sections"]
    assert runs["title"].startswith("Runs: weak on 2,2")
    assert [row["cells"][0] for row in runs["table"]["rows"]] == ["a", "b"]
    rows = [row for row in rows_in(folder)["outputs"] if (row["draft_label"], row["mode"]) == ("weak", "paired")]
    assert {one.prompt_id: one.steps for one in runs_of(folder, group)} == {
        row["prompt_id"]: row["steps"] for row in rows
    }
    for drawn, _ in charts(load(folder), "light"):
        texts = [note.text for note in drawn.layout.annotations] + list(drawn.layout.yaxis.ticktext or ())
        assert not any("<img" in text for text in texts)


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (["default"], ("default", [])),
        (["mine=a/b@c"], ("a/b@c", [("mine", "a/b@c")])),
        (["a/b", "second=c/d"], ("a/b", [("b", "a/b"), ("second", "c/d")])),
        (["a/x@1", "b/x@1", "b/y"], ("a/x@1", [("a/x@1", "a/x@1"), ("b/x@1", "b/x@1"), ("y", "b/y")])),
        (["./eta=0.1"], ("./eta=0.1", [])),
    ],
)
def test_drafts_are_read_from_the_command_line(texts, found) -> None:
    first, drafts = parse_drafts(texts)
    assert (first, [(one.label, one.draft) for one in drafts]) == found


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--draft", "a/b", "--draft", "a/b"], "The draft a/b is named twice"),
        (["--draft", "x=a/b", "--draft", "x=c/d"], "The draft x is named twice"),
        (["--draft", "sampling=a/b"], "stand for the target alone"),
        (["--draft", "x="], "has no model"),
        (["--draft", ""], "has no name"),
        (["--draft", "a" * 301], "at most 300"),
        ([it for i in range(13) for it in ("--draft", f"{i}/b")], "at most 12"),
    ],
)
def test_drafts_that_cannot_be_are_one_sentence(options: list[str], message: str, capsys) -> None:
    with pytest.raises(SettingsError, match=message):
        compare_cli.job_of(_parser().parse_args(["compare", "--target", "default", *options]))
    assert main(["measure-draft", *options]) == 2
    assert message.split("(")[0] in capsys.readouterr().err


def test_a_click_on_the_page_names_the_draft(folder: Path) -> None:
    shelf = ComparisonStore(shipped=Path("nowhere"), more=[folder])
    ((_, key),) = shelf.names()
    shelf.open_listed(key)
    tab = CompareTab(SimpleNamespace(), shelf)
    for data, draft in ((["paired", "2,2", 1.0, "naive", None, "weak"], "weak"), (["free", "no draft", 1.0], None)):
        event = SimpleNamespace(_data={"section": "figure", "data": data})
        _, (_, selection) = tab.on_point((key, Selection()), event)
        assert selection.group == Group(data[0], data[1], 1.0, draft)
