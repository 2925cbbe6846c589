"""Sets of processors in a comparison: the same prompts and luck, a run each, tested beside each other."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from specviz.app.compare.quick_run import small_job
from specviz.app.compare.replay_step import replay
from specviz.app.compare.store import ComparisonStore
from specviz.app.compare.tab import CompareTab
from specviz.app.compare.view import Selection, board, choices, settled
from specviz.app.page_state import PageState
from specviz.app.server.limits import Limits
from specviz.app.server.session_registry import Sessions
from specviz.cli import _parser
from specviz.compare import cli as compare_cli
from specviz.compare import jobs
from specviz.compare.jobs import Job
from specviz.compare.labels import labels_of
from specviz.compare.named import parse_processor_set, parse_tree, parse_verifier
from specviz.compare.read import runs_of
from specviz.compare.replay import replayable_run
from specviz.compare.report.figures import labels_figure, lengths_figure, tradeoff_figure
from specviz.compare.rows import SAMPLING, TABLES, Rows, columns_of
from specviz.compare.spec import Comparison, settings_of
from specviz.compare.statistics import Group, tallies
from specviz.compare.summary import SUMMARY, dump, load, summarize
from specviz.compare.text_report import format_report
from specviz.compare.verify_rows import verify_rows
from specviz.errors import SettingsError
from specviz.models.loading import load_pair
from specviz.models.pair_spec import ModelChoice
from specviz.trace.processors import parse_processors
from tests import tiny
from tests.compare.made import make, rows_in

PENALTY = "repetition_penalty:penalty=4.0"
SETS = ("none", f"exact={PENALTY}", f"frozen=frozen draft {PENALTY}; min_p:min_p=0.01")
LABELS = ["none", "exact", "frozen"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny.save_pair(folder)
    return folder


def job_of(models: Path, sets: tuple[str, ...] = SETS, free: int = 1, **fields: object) -> Job:
    comparison = Comparison(
        trees=(parse_tree("2,2"),),
        verifiers=(parse_verifier("rejection"), parse_verifier("naive")),
        driver="rejection",
        free=free,
        max_new_tokens=6,
        processor_sets=tuple(parse_processor_set(text) for text in sets),
        **fields,
    )
    prompts = tuple(jobs.Prompt(name, "chat", text) for name, text in (("a", "the sea"), ("b", "a thin hen")))
    return Job(comparison, prompts, ModelChoice(str(models / "target"), str(models / "draft"), device="cpu"))


@pytest.fixture(scope="module")
def folder(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished comparison that was broken off in the middle and gone on with."""
    made, job = tmp_path_factory.mktemp("made"), job_of(models)
    jobs.open_folder(made, job)
    for index, packed in jobs.run_here(job, jobs.missing(made, job)[:3]):
        jobs.write_unit(made, index, packed)
    assert len(jobs.missing(made, job)) == len(job.units()) - 3
    with pytest.raises(SettingsError, match="another comparison"):
        jobs.open_folder(made, job_of(models, SETS[:2]))
    make(made, job)
    (made / SUMMARY).write_bytes(dump(summarize(tallies(Rows(**rows_in(made))), labels_of(job.comparison))))
    return made


def test_every_set_makes_the_rows_that_it_makes_alone(folder: Path, models: Path, tmp_path: Path) -> None:
    together = rows_in(folder)
    fields = {"processors": f"{PENALTY}; min_p:min_p=0.01", "processor_mode": "frozen", "processor_draft": True}
    for label, given in (("none", {}), ("frozen", fields)):
        for name, rows in rows_in(make(tmp_path / label, job_of(models, (), 0, **given))).items():
            assert {row["processors_label"] for row in rows} == {None}
            labelled = [row for row in together[name] if (row["processors_label"], row["mode"]) == (label, "paired")]
            assert labelled == [row | {"processors_label": label} for row in rows]
    texts = {row["processors_label"]: row["tokens"] for row in together["outputs"] if row["mode"] == "paired"}
    assert len({tuple(tokens) for tokens in texts.values()}) == len(SETS), "here the sets' texts are different ones"
    lossless = {
        label: {row["lossless"] for row in together["steps"] if row["processors_label"] == label and row["nodes"]}
        for label in LABELS
    }
    assert lossless == {"none": {"yes"}, "exact": {"yes"}, "frozen": {"no"}}


def test_the_target_alone_runs_once_for_each_set_and_is_what_its_texts_are_measured_against(folder: Path) -> None:
    alone = {row["processors_label"]: row for row in rows_in(folder)["outputs"] if row["verifier"] == SAMPLING}
    assert list(alone) == LABELS
    assert alone["none"]["tokens"] != alone["exact"]["tokens"]
    summary = load(folder)
    values = {
        (row["processors"], row["verifier"]): row["value"]
        for row in summary["estimates"]
        if (row["mode"], row["measure"], row["kind"]) == ("free", "nll_sampled_per_token", None)
    }
    tested = [row for row in summary["differences"] if row["measure"] == "nll_sampled_per_token"]
    assert len(tested) == len(SETS) * 2
    for row in tested:
        expected = values[row["processors"], row["a"]] - values[row["processors"], SAMPLING]
        assert row["value"] == pytest.approx(expected, abs=1e-5)


def test_the_summary_tests_sets_against_each_other(folder: Path) -> None:
    summary = load(folder)
    assert {row["label"]: row["processors"] for row in summary["processors"]} == {
        "none": "none",
        "exact": PENALTY,
        "frozen": f"frozen draft {PENALTY}; min_p:min_p=0.01",
    }
    rows = [row for row in summary["processors_differences"] if (row["mode"], row["verifier"]) == ("paired", "naive")]
    pairs = {(row["a"], row["b"]) for row in rows}
    assert pairs == {("none", "exact"), ("none", "frozen"), ("exact", "frozen")}
    values = {
        (row["processors"], row["measure"]): row["value"]
        for row in summary["estimates"]
        if (row["mode"], row["verifier"], row["kind"]) == ("paired", "naive", None)
    }
    for row in rows:
        difference = values[row["a"], row["measure"]] - values[row["b"], row["measure"]]
        assert row["value"] == pytest.approx(difference, abs=1e-5)
    report = format_report(tallies(Rows(**rows_in(folder))))
    assert "Differences in accepted length between sets of processors" in report
    assert "exact - frozen" in report
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert f"| processors `frozen` | `frozen draft {PENALTY}; min_p:min_p=0.01` |" in card
    assert "the same for all sets of processors, trees" in card


def test_rows_of_another_set_are_found(folder: Path) -> None:
    rows = rows_in(folder)
    assert verify_rows(Rows(**rows)) == []
    mixed = [row | {"processors_label": "none"} for row in rows["steps"]]
    assert verify_rows(Rows(**(rows | {"steps": mixed})))


def test_files_without_the_column_stay_readable() -> None:
    for table, columns in TABLES.items():
        assert list(columns)[-1] == "processors_label"
        assert columns_of(table, list(columns)[:-1]) == list(columns)[:-1]
        assert columns_of(table, [*list(columns)[:-1], "other"]) is None


def test_a_step_of_a_set_is_made_again(folder: Path) -> None:
    group = Group("paired", "2,2", 1.0, None, "frozen")
    *_, ((text, trace, _), inputs) = replay(Sessions(load_pair), "p", folder, group, ("b", "rejection"), 1, PageState())
    assert "Step 2 was made again and is as it was recorded." in text
    assert trace.settings.processors == inputs[2].processors == parse_processor_set(SETS[2]).parsed()
    with pytest.raises(SettingsError, match="not all there"):
        replayable_run(folder, group._replace(processors="unheard of"), "b")


def test_files_of_a_stranger_import_nothing(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "of_a_stranger.py").write_text("raise SystemExit('imported')\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in (*(f"{table}.parquet" for table in TABLES), "comparison.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    plan = json.loads((folder / "comparison.json").read_text(encoding="utf-8"))
    plan["comparison"]["processor_sets"][2]["processors"] = "of_a_stranger:Class"
    (tmp_path / "comparison.json").write_text(json.dumps(plan), encoding="utf-8")
    store = ComparisonStore(shipped=Path("nowhere"), more=[tmp_path])
    ((_, key),) = store.names()
    opened = store.open_listed(key)
    group = Group("paired", "2,2", 1.0, None, "frozen")
    *_, ((text, trace, _), _) = replay(
        Sessions(load_pair), "p", opened.folder, group, ("b", "rejection"), 0, PageState()
    )
    assert trace is None
    assert "of_a_stranger:Class is code" in text.replace("'", "")
    assert "of_a_stranger" not in sys.modules


def test_the_page_shows_every_set(folder: Path) -> None:
    store = ComparisonStore(shipped=Path("nowhere"), more=[folder])
    ((_, key),) = store.names()
    opened = store.open_listed(key)
    assert "3 processor sets" in opened.about
    assert choices(opened.summary)["processors"] == LABELS
    for figure, count in (("processors", 2), ("processors_differences", 4)):
        chosen = settled(opened.summary, Selection(figure=figure, processors="frozen"))
        assert chosen.figure == figure
        (section,) = json.loads(board(opened, chosen))["sections"]
        rows = section["table"]["rows"]
        assert len(rows) == count
        assert {row["point"][5] for row in rows} == {None}
        assert all("frozen" in row["cells"] for row in rows)
    group = Group("paired", "2,2", 1.0, None, "frozen")
    _, runs = json.loads(board(opened, replace(chosen, group=group)))["sections"]
    assert runs["title"].startswith("Runs: frozen on 2,2")
    rows = [row for row in rows_in(folder)["outputs"] if (row["processors_label"], row["mode"]) == ("frozen", "paired")]
    assert {it.prompt_id: it.steps for it in runs_of(folder, group)} == {row["prompt_id"]: row["steps"] for row in rows}
    tab = CompareTab(SimpleNamespace(), store)
    event = SimpleNamespace(_data={"section": "figure", "data": ["paired", "2,2", 1.0, "naive", None, None, "frozen"]})
    _, (_, selection) = tab.on_point((key, Selection()), event)
    assert selection.group == group


def test_charts_name_the_set_with_the_tree(folder: Path) -> None:
    summary = load(folder)
    headings = [note.text for note in lengths_figure(summary["estimates"]).layout.annotations]
    assert headings == [f"<b>{label} · 2,2</b>" for label in LABELS]
    figure = labels_figure(summary["estimates"], axis="processors")
    assert figure.layout.meta["title"] == "New tokens a target forward by set of processors, the driver's text"
    assert [note.text for note in figure.layout.annotations] == ["<b>rejection · 2,2</b>", "<b>naive · 2,2</b>"]
    assert list(figure.layout.yaxis.ticktext) == LABELS * 2
    figure = tradeoff_figure(summary["estimates"], y="nll_sampled_per_token", temperature=1.0)
    lines = [shape.y0 for shape in figure.layout.shapes if shape.type == "line"]
    alone = [row for row in summary["estimates"] if row["verifier"] == SAMPLING and row["kind"] is None]
    assert lines == [row["value"] for row in alone if row["measure"] == "nll_sampled_per_token"]


@pytest.mark.parametrize(
    ("text", "label", "found"),
    [
        ("none", "none", None),
        ("plain=none", "plain", None),
        ("min_p:min_p=0.2", "min_p:min_p=0.2", ("min_p:min_p=0.2", "exact", False)),
        ("frozen min_p", "frozen min_p", ("min_p", "frozen", False)),
        ("x = frozen draft min_p; ignore_eos", "x", ("min_p; ignore_eos", "frozen", True)),
        ("exact draft ignore_eos", "exact draft ignore_eos", ("ignore_eos", "exact", True)),
    ],
)
def test_sets_are_read_as_people_type_them(text: str, label: str, found: tuple[str, str, bool] | None) -> None:
    one = parse_processor_set(text)
    assert one.label == label
    assert one.parsed() == (None if found is None else parse_processors(found[0], found[1], draft=found[2]))
    assert parse_processor_set(f"again={one.written()}").parsed() == one.parsed()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--processor-sets", "frozen"], "has none; write none"),
        (["--processor-sets", "x="], "has none; write none"),
        (["--processor-sets", " "], "has no name"),
        (["--processor-sets", "none", "none"], "The set of processors none is named twice"),
        (["--processor-sets", "min_p:min_p=7"], "min_p"),
        (["--processor-sets", "no_such"], "There is no processor"),
        (["--processor-sets", "json:JSONDecoder"], "is code, which only the commands record and check"),
        (["--processor-sets", "none", "--processor", "min_p"], "cannot be given beside sets"),
        (["--processor-sets", "none", "--processor-mode", "frozen"], "cannot be given beside sets"),
        (
            [
                "--processor-sets",
                *(f"{i}=none" if i else "a=none" for i in range(1)),
                *(f"s{i}=none" for i in range(12)),
            ],
            "at most 12",
        ),
    ],
)
def test_sets_that_cannot_be_are_one_sentence(options: list[str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        compare_cli.job_of(_parser().parse_args(["compare", *options]))


def test_a_small_comparison_has_sets_or_what_stands_under_settings() -> None:
    values = {"prompts": 1, "free": 0, "tokens": 4, "trees": ["2,2"], "verifiers": ["naive"], "temperatures": ["1"]}
    of_all = parse_processors("min_p:min_p=0.1", "frozen", draft=True)
    job = small_job(values | {"processors_of_all": of_all}, ModelChoice(), Limits())
    (unit,) = job.units()
    assert settings_of(job.comparison, unit, False).processors == of_all
    job = small_job(
        values | {"processors": ["none", "ignore_eos"], "processors_of_all": of_all}, ModelChoice(), Limits()
    )
    found = [settings_of(job.comparison, unit, False).processors for unit in job.units()]
    assert found == [None, parse_processors("ignore_eos")]
    with pytest.raises(SettingsError, match="1 to 4 processors"):
        small_job(values | {"processors": [f"s{i}=none" for i in "abcde"]}, ModelChoice(), Limits())
    with pytest.raises(SettingsError, match="is code"):
        small_job(values | {"processors": ["json:JSONDecoder"]}, ModelChoice(), Limits())
