"""Comparisons of verifiers over many prompts: rows, resuming, shards, and what the rows say."""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from specviz.cli import _parser, main
from specviz.compare import cli as compare_cli
from specviz.compare import executors, jobs, tables
from specviz.compare.jobs import Job
from specviz.compare.labels import labels_of
from specviz.compare.prompts import load_prompts
from specviz.compare.rows import NO_DRAFT, SAMPLING, TABLES, Row, Rows
from specviz.compare.run_unit import pack, run_unit, unpack
from specviz.compare.spec import Comparison, known_verifiers, prompt_seed, read_comparison, settings_of, units
from specviz.compare.statistics import tallies
from specviz.compare.summary import FROM_SAMPLING, load, summarize
from specviz.compare.text_report import format_report
from specviz.compare.verify_rows import verify_rows
from specviz.engine.session import Session
from specviz.errors import OutOfMemoryError, SettingsError
from specviz.trace.metrics import acceptance_by_depth, acceptance_by_rank, accepted_lengths, emitted_lengths
from specviz.verifiers import VERIFIERS
from tests import forks, tiny
from tests.pairs import make_pair
from tests.paths import ROOT

PROMPTS = ("the sea", "a thin hen", "in the north")


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A small comparison, all but its folder: 3 prompts, 2 trees, 2 temperatures; 2 prompts also free."""
    folder = tmp_path_factory.mktemp("comparison")
    target, draft = tiny.save_pair(folder)
    kinds = ("chat", "story", "chat")
    rows = [{"kind": kind, "text": text} for kind, text in zip(kinds, PROMPTS, strict=True)]
    rows[0]["reference"] = "the sea and the hen"
    lines = [json.dumps(row) + "\n" for row in rows]
    (folder / "few.jsonl").write_text("".join(lines))
    models = ["--target", str(target), "--draft", str(draft), "--device", "cpu", "--prompts", str(folder / "few.jsonl")]
    verifiers = ["--verifiers", "rejection", "traversal", "naive", "mild=eta:epsilon=0.05"]
    size = ["--trees", "2,2", "odd=[0],[1],[0,0]", "--temperatures", "0.7", "1", "--free", "2", "--max-new-tokens", "8"]
    return ["compare", *models, *verifiers, *size]


def options_of(command: list[str], folder: Path, *more: str):
    return _parser().parse_args([*command, "-o", str(folder), *more])


def finish(command: list[str], folder: Path, *more: str) -> dict[str, list[Row]]:
    """Do what is left to do, without Parquet, and return all rows."""
    options = options_of(command, folder, *more)
    job = compare_cli.job_of(options)
    jobs.open_folder(folder, job)
    for index, packed in compare_cli._engine(options, job, jobs.missing(folder, job, options.shard)):
        jobs.write_unit(folder, index, packed)
    return rows_in(folder, job)


def rows_in(folder: Path, job: Job) -> dict[str, list[Row]]:
    found = [jobs.read_unit(folder, unit.index).rows for unit in job.units()]
    return {name: [row for rows in found for row in rows.table(name)] for name in TABLES}


def same(ours: dict[str, list[Row]], theirs: dict[str, list[Row]]) -> bool:
    """Equal tokens and outcomes, floats within 1e-4."""
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert len(ours[name]) == len(theirs[name])
        for a, b in zip(ours[name], theirs[name], strict=True):
            for column in TABLES[name]:
                x, y = a[column], b[column]
                close = isinstance(x, float) and isinstance(y, float) and abs(x - y) <= 1e-4 * max(1, abs(x))
                assert x == y or close, (name, column, x, y)
    return True


@pytest.fixture(scope="module")
def finished(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command makes, and beside it the folder ``units``, as it is before their rows become Parquet files."""
    folder, merge = tmp_path_factory.mktemp("finished") / "out", tables.merge

    def keep_units(folder: Path, job: Job) -> None:
        shutil.copytree(folder, folder.parent / "units")
        merge(folder, job)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "merge", keep_units)
        assert compare_cli.run(options_of(command, folder)) == 0
    return folder


@pytest.fixture(scope="module")
def undisturbed(command: list[str], finished: Path) -> dict[str, list[Row]]:
    units = finished.parent / "units"
    return rows_in(units, compare_cli.job_of(options_of(command, units)))


@pytest.fixture
def all_units(finished: Path, tmp_path: Path) -> Path:
    """A folder with all units, whose rows are not yet in Parquet files."""
    return shutil.copytree(finished.parent / "units", tmp_path / "out")


# --------------------------------------------------------------------------------------------------------- rows


def test_rows_have_the_documented_columns(undisturbed: dict[str, list[Row]]) -> None:
    for name, rows in undisturbed.items():
        assert rows
        for row in rows:
            assert list(row) == list(TABLES[name])
    page = (ROOT / "docs" / "comparison.md").read_text(encoding="utf-8")
    for columns in TABLES.values():
        for column, (word, meaning) in columns.items():
            assert f"| `{column}` | {word} | {meaning} |" in page
    paired = [row for row in undisturbed["outputs"] if row["mode"] == "paired"]
    assert len(paired) == 3 * 2 * 2
    alone = [row for row in undisturbed["outputs"] if row["verifier"] == SAMPLING]
    assert len(alone) == 2 * 2
    assert len(undisturbed["outputs"]) - len(paired) - len(alone) == 2 * 2 * 2 * 4
    for name in ("nll", "distinct_1", "distinct_2"):
        assert all((row[name] is None) == (row["mode"] == "paired") for row in undisturbed["outputs"])


def test_rows_say_what_the_steps_said(command: list[str], tmp_path: Path) -> None:
    job = compare_cli.job_of(options_of(command, tmp_path))
    pair = make_pair(end_tokens=(tiny.END_ID, 40, 41))
    often = make_pair(end_tokens=tuple(range(100, 260)))
    least = job.comparison.model_copy(update={"min_new_tokens": 8})  # within which an end token ends nothing
    units = job.units()
    cases = [(pair, job.comparison, unit) for unit in (units[0], units[5], units[-1])]
    for pair, comparison, unit in (*cases, (often, least, units[0]), (often, least, units[-1])):
        rows = run_unit(pair, comparison, unit).rows
        settings, known = settings_of(comparison, unit, True), known_verifiers(comparison)
        session = Session(pair, settings, unit.prompt.text, known=known)
        list(session.run())
        trace = session.trace
        for name in trace.steps[0].verdicts:
            own = [row for row in rows.steps if row["verifier"] == name]
            assert [row["accepted"] for row in own] == accepted_lengths(trace.steps, name)
            assert [row["new_tokens"] for row in own] == emitted_lengths(trace, name)
            (tally,) = [t for t in tallies(rows) if t.verifier == name]
            assert list(tally.by_depth) == acceptance_by_depth(trace.steps, name)
            assert list(tally.by_rank) == acceptance_by_rank(trace.steps, name)
        assert rows.outputs[0]["tokens"] == list(trace.output_tokens())
        decisions = [d for step in trace.steps for v in step.verdicts.values() for d in v.decisions]
        assert [row["uniform"] for row in rows.decisions] == [d.uniform for d in decisions]
        assert [row["threshold"] for row in rows.decisions] == [d.threshold for d in decisions]


def test_the_target_alone_samples_one_token_a_step(undisturbed: dict[str, list[Row]]) -> None:
    steps = [row for row in undisturbed["steps"] if row["verifier"] == SAMPLING]
    outputs = [row for row in undisturbed["outputs"] if row["verifier"] == SAMPLING]
    assert len(steps) == sum(len(row["tokens"]) for row in outputs)
    assert {row["tree"] for row in (*steps, *outputs)} == {NO_DRAFT}
    assert {(row["nodes"], row["accepted"], row["emitted"], row["first_tv"]) for row in steps} == {(0, 0, 1, 0.0)}


def test_quality_is_in_the_rows(undisturbed: dict[str, list[Row]]) -> None:
    for row in undisturbed["outputs"]:
        has_score = row["mode"] == "free" and row["reference"] is not None
        assert (row["rouge_l"] is not None) == (row["chrf"] is not None) == has_score
    for row in undisturbed["steps"]:
        assert 0 <= row["first_tv"] <= 1
        assert row["first_kl"] >= 2 * row["first_tv"] ** 2 - 1e-6  # Pinsker
        assert row["first_tv_bound"] == 0 or row["verifier"] == "mild"
    excess = [row["first_excess"] for row in undisturbed["steps"] if row["verifier"] == "rejection"]
    assert abs(sum(excess) / len(excess)) < 0.5


def test_every_row_agrees_with_itself(undisturbed: dict[str, list[Row]]) -> None:
    assert verify_rows(Rows(**undisturbed)) == []


@pytest.mark.parametrize(
    ("table", "column", "change"),
    [
        ("decisions", "outcome", lambda row: "rejected" if row["outcome"] == "accepted" else "accepted"),
        ("decisions", "threshold", lambda row: row["threshold"] * 0.9),
        ("decisions", "uniform", lambda row: row["uniform"] and 1 - row["uniform"]),
        ("decisions", "node", lambda row: row["node"] + 1),
        ("steps", "accepted", lambda row: row["accepted"] + 1),
        ("steps", "path_tokens", lambda row: [token + 1 for token in row["path_tokens"]]),
        ("steps", "step", lambda row: row["step"] + 1),
        ("outputs", "tokens", lambda row: row["tokens"][:-1]),
    ],
)
def test_a_row_that_was_changed_is_found(undisturbed: dict[str, list[Row]], table: str, column: str, change) -> None:
    index = next(
        i
        for i, row in enumerate(undisturbed[table])
        if row[column] and row.get("rule", "u < p/q") == "u < p/q" and row.get("accepted", 1)
    )
    changed = [dict(row) for row in undisturbed[table]]
    changed[index][column] = change(changed[index])
    assert verify_rows(Rows(**(undisturbed | {table: changed})))


def test_verifiers_meet_one_luck_whatever_the_tree(undisturbed: dict[str, list[Row]]) -> None:
    seeds = {(row["prompt_id"], row["seed"]) for row in undisturbed["outputs"]}
    assert len(seeds) == len(PROMPTS)
    assert prompt_seed(0, "few-0001") in {seed for _, seed in seeds}
    assert prompt_seed(0, "a") != prompt_seed(1, "a") != prompt_seed(1, "b")
    assert 0 <= prompt_seed(2**62, "é") < 2**63


def test_what_ends_a_text_is_part_of_a_comparison_where_it_was_asked_for() -> None:
    def asked(*options: str) -> Comparison:
        return compare_cli.comparison_of(_parser().parse_args(["compare", *options]))

    plain, ended = asked(), asked("--stop", "\n\n", "--stop", "END", "--min-new-tokens", "2")
    assert not {"stop", "min_new_tokens"} & plain.model_dump(mode="json").keys(), "a folder of before goes on"
    assert read_comparison(json.loads(ended.model_dump_json())) == ended
    settings = settings_of(ended, units(ended, load_prompts())[0], has_template=False)
    assert (settings.stop, settings.min_new_tokens) == (("\n\n", "END"), 2)
    with pytest.raises(SettingsError, match="200 characters"):
        asked("--stop", "x" * 201)


def test_one_rule_takes_part_with_several_options(command: list[str], tmp_path: Path) -> None:
    job = compare_cli.job_of(options_of(command, tmp_path, "--verifiers", "eta", "hard=eta:epsilon=0.5"))
    rows = run_unit(make_pair(), job.comparison, job.units()[0]).rows
    thresholds = {
        name: max(row["threshold"] for row in rows.decisions if row["verifier"] == name) for name in ("eta", "hard")
    }
    assert thresholds["eta"] <= 0.09 + 1e-6 < thresholds["hard"]
    assert "hard" not in VERIFIERS


def test_a_sweep_is_several_verifiers(command: list[str], tmp_path: Path) -> None:
    sweep = ["eta:epsilon=0.05/0.2,delta=0.3", "rejection", "my=eta:epsilon=0.1/0.3"]
    job = compare_cli.job_of(options_of(command, tmp_path, "--verifiers", *sweep))
    labels = labels_of(job.comparison)
    names = ["eta:epsilon=0.05,delta=0.3", "eta:epsilon=0.2,delta=0.3", "my:epsilon=0.1", "my:epsilon=0.3"]
    assert labels.sweeps() == {"eta": names}
    assert labels.varied(names) == ["epsilon"]
    assert [labels.options[name]["epsilon"] for name in names] == [0.05, 0.2, 0.1, 0.3]


def test_trees_of_as_many_nodes_are_compared(command: list[str], tmp_path: Path) -> None:
    trees = ["2,2", "dynamic:total=6,top_k=3,depth=3", "1,1"]
    size = ["--temperatures", "1", "--free", "0", "--verifiers", "rejection", "eta:epsilon=0.05/0.3"]
    options = options_of(command, tmp_path / "out", *size, "--trees", *trees)
    job = compare_cli.job_of(options)
    labels = labels_of(job.comparison)
    assert labels.equal_budgets() == {6: trees[:2]}
    found = [t for unit in job.units() for t in tallies(run_unit(make_pair(), job.comparison, unit).rows)]
    made = summarize(found, labels)
    rows = made["tree_differences"]
    assert {(row["a"], row["b"], row["nodes"]) for row in rows} == {(*trees[:2], 6)}
    assert len(rows) == 2 * 3
    text = format_report(found, labels)
    assert "Trees of at most 6 nodes" in text
    assert "Sweep of eta" in text


# ---------------------------------------------------------------------------------------------- kills and shards


def test_killed_three_times_and_resumed(command: list[str], undisturbed: dict[str, list[Row]], tmp_path: Path) -> None:
    luck_of_test = random.Random(5)
    total = len(undisturbed["outputs"])
    done = 0
    for _ in range(3):
        arguments = [*command, "-o", str(tmp_path / "out")]
        with forks.process(main, arguments, folder=tmp_path, log=tmp_path / "log") as process:
            until = done + luck_of_test.randint(1, total // 4)
            while process.is_alive() and len(list((tmp_path / "out").glob("work/unit-*"))) < until:
                time.sleep(0.01)
            time.sleep(luck_of_test.uniform(0, 0.1))  # into the middle of a unit
        done = len(list((tmp_path / "out").glob("work/unit-*")))
        assert 0 < done < total
    assert same(finish(command, tmp_path / "out"), undisturbed)


def test_broken_off_in_any_write(
    command: list[str], undisturbed: dict[str, list[Row]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_file, calls = os.replace, 0

    def broken(source: str, target: str) -> None:
        nonlocal calls
        calls += 1
        if calls in (1, 2, 6, 20):
            raise KeyboardInterrupt
        replace_file(source, target)

    monkeypatch.setattr(os, "replace", broken)
    for _ in range(4):
        with pytest.raises(KeyboardInterrupt):
            finish(command, tmp_path / "out")
    assert same(finish(command, tmp_path / "out"), undisturbed)


def test_shards_and_processes_give_the_same_rows(
    command: list[str], undisturbed: dict[str, list[Row]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As new as those that are spawned, but they have torch.
    forks.ensure_running()
    monkeypatch.setattr(executors.multiprocessing, "get_context", {"spawn": forks.FORKING}.__getitem__)
    options = options_of(command, tmp_path / "out", "--shard", "2/3")
    job = compare_cli.job_of(options)
    jobs.open_folder(tmp_path / "out", job)
    todo = jobs.missing(tmp_path / "out", job, (2, 3))
    for index, packed in compare_cli._engine(options, job, todo):
        jobs.write_unit(tmp_path / "out", index, packed)
    left = jobs.missing(tmp_path / "out", job)
    assert sorted([*todo, *left]) == list(range(len(job.units())))
    assert same(finish(command, tmp_path / "out", "--processes", "2"), undisturbed)


def test_a_damaged_unit_is_done_again(command: list[str], undisturbed: dict[str, list[Row]], all_units: Path) -> None:
    job = compare_cli.job_of(options_of(command, all_units))
    assert jobs.missing(all_units, job) == []
    path = jobs.unit_path(all_units, 3)
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", jobs.unit_path(all_units, 2).read_bytes()):
        path.write_bytes(damaged)
        with pytest.raises(SettingsError, match="damaged"):
            rows_in(all_units, job)
        assert jobs.missing(all_units, job) == [3]
    assert same(finish(command, all_units), undisturbed)


def test_a_folder_keeps_to_its_comparison(command: list[str], tmp_path: Path) -> None:
    job = compare_cli.job_of(options_of(command, tmp_path / "out"))
    jobs.open_folder(tmp_path / "out", job)
    jobs.open_folder(tmp_path / "out", job)
    assert jobs.read_plan(tmp_path / "out") == (job.comparison, replace(job.pair, device="auto"))
    for other in (
        replace(job, prompts=job.prompts[:2]),
        replace(job, comparison=job.comparison.model_copy(update={"seed": 1})),
        replace(job, pair=replace(job.pair, dtype="bfloat16")),
    ):
        with pytest.raises(SettingsError, match="holds another comparison"):
            jobs.open_folder(tmp_path / "out", other)
    jobs.open_folder(tmp_path / "out", replace(job, pair=replace(job.pair, device="cuda")))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(SettingsError, match="holds other things"):
        jobs.open_folder(tmp_path / "full", job)
    with pytest.raises(SettingsError, match="cannot be used"):
        jobs.open_folder(tmp_path / "full" / "mine.txt", job)


def test_a_comparison_of_which_every_run_broke_off_is_no_success(command: list[str], tmp_path: Path, capsys) -> None:
    few = ["--trees", "2,2", "--temperatures", "1", "--free", "0"]
    options = options_of(command, tmp_path, *few, "--processor", "suppress_tokens:tokens=999999")
    assert compare_cli.run(options) == 1
    assert "3 runs broke off and are not complete" in capsys.readouterr().out


def test_what_goes_wrong_in_a_run_is_recorded(command: list[str], tmp_path: Path, monkeypatch) -> None:
    job = compare_cli.job_of(options_of(command, tmp_path))
    unit = job.units()[0]
    long = replace(unit, prompt=replace(unit.prompt, text="the sea " * 500))
    rows = run_unit(make_pair(), job.comparison, long).rows
    assert (rows.steps, rows.decisions) == ([], [])
    assert rows.outputs[0]["end_reason"] == "error"
    assert "shorten it" in rows.outputs[0]["message"]
    assert verify_rows(rows) == []

    def full(session: Session):
        raise MemoryError

    monkeypatch.setattr(Session, "_step", full)
    with pytest.raises(OutOfMemoryError):
        run_unit(make_pair(), job.comparison, unit)


def test_units_survive_packing(command: list[str], tmp_path: Path) -> None:
    job = compare_cli.job_of(options_of(command, tmp_path))
    result = run_unit(make_pair(), job.comparison, job.units()[-1])
    assert unpack(pack(result)) == result
    for wrong in (b"", b"x", pack(result)[:-9]):
        with pytest.raises(SettingsError):
            unpack(wrong)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--trees", "oracle"], "There is no tree builder 'oracle'"),
        (["--trees", "2,2", "2,2"], "named twice"),
        (["--trees", "a=[0],[2]"], "elder sibling"),
        (["--trees", "dynamic:size=4"], "size"),
        (["--verifiers", "oracle"], "There is no verifier 'oracle'"),
        (["--verifiers", "naive=eta"], "a verifier of its own"),
        (["--verifiers", "eta:epsilon"], "name=value"),
        (["--verifiers", "eta:epsilon=7"], "epsilon"),
        (["--driver", "greedy"], "not one of the verifiers"),
        (["--verifiers", "sampling=naive"], "stand for the target alone"),
        (["--trees", "no draft=2,2"], "stand for the target alone"),
        (["--verifiers", "eta:epsilon=0.1/x"], "epsilon"),
        (["--verifiers", "eta:epsilon=" + "/".join(f"0.{i:03}" for i in range(1, 103))], "more than 100"),
        (["--temperatures", "-1"], "temperature"),
        (["--draft-temperature", "-3"], "temperature"),
        (["--temperatures", "1", "1"], "named twice"),
        (["--max-new-tokens", "0"], "max_new_tokens"),
        (["--paired", "0", "--free", "0"], "nothing to run"),
        (["--prompts", "none.csv"], "cannot be read"),
    ],
)
def test_bad_input_is_one_sentence_before_any_model_is_loaded(
    command: list[str], options: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        compare_cli.job_of(options_of(command, tmp_path, *options))
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------------------------------------------- Parquet


def test_the_command_makes_a_data_set(
    finished: Path, command: list[str], undisturbed: dict[str, list[Row]], capsys: pytest.CaptureFixture[str]
) -> None:
    found = list(tables.read_rows(finished))
    for name in TABLES:
        ours = sorted((row for rows in found for row in rows.table(name)), key=str)
        assert same({name: ours}, {name: sorted(undisturbed[name], key=str)})
    card = (finished / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\npretty_name:")
    assert "license: unknown" in card
    assert "the target alone" in card
    made = load(finished)
    assert [row["label"] for row in made["verifiers"]] == ["rejection", "traversal", "naive", "mild"]
    assert {row["measure"] for row in made["differences"] if row["b"] == SAMPLING} == set(FROM_SAMPLING)
    assert not (finished / "work").exists()
    (finished / "work").mkdir()  # as a kill after the last file would leave it
    assert compare_cli.run(options_of(command, finished)) == 0
    assert "finished already" in capsys.readouterr().err
    assert not (finished / "work").exists()
    assert "every row agrees with itself" in (finished / "report.txt").read_text(encoding="utf-8")


def test_rows_that_contradict_each_other_are_told_by_the_command(
    finished: Path, command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = list(tables.read_rows(finished))
    row = next(row for some in rows for row in some.decisions if row["outcome"] == "accepted")
    row["outcome"] = "rejected"
    monkeypatch.setattr(tables, "read_rows", lambda folder: rows)
    saved = {path: path.read_bytes() for path in finished.iterdir() if path.is_file()}
    assert compare_cli.run(options_of(command, finished)) == 1
    said = capsys.readouterr().out
    assert "NOT all agree." in said
    assert "every row agrees with itself" not in said
    assert "things in the rows contradict each other" in said
    for path, data in saved.items():
        path.write_bytes(data)


def test_a_merge_that_was_killed_is_made_again(
    command: list[str], undisturbed: dict[str, list[Row]], all_units: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = compare_cli.job_of(options_of(command, all_units))
    with monkeypatch.context() as patch:
        patch.setattr(tables, "write_atomically", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            tables.merge(all_units, job)
    assert not jobs.is_finished(all_units)
    tables.merge(all_units, job)
    assert sum(len(rows.steps) for rows in tables.read_rows(all_units)) == len(undisturbed["steps"])


def test_ray_gives_the_same_rows(command: list[str], undisturbed: dict[str, list[Row]], tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="optional")
    assert same(finish(command, tmp_path / "out", "--engine", "ray", "--processes", "2"), undisturbed)


def test_ray_missing_is_one_sentence(command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SettingsError, match="pip install ray"):
        finish(command, tmp_path / "out", "--engine", "ray")


def test_our_own_prompts_are_the_default() -> None:
    job = compare_cli.job_of(_parser().parse_args(["compare", "--target", "default", "--draft", "default"]))
    assert list(job.prompts) == load_prompts()
    assert len(job.units()) == len(job.prompts) * 4 * 2
