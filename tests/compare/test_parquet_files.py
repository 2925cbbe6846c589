"""Tables in several files: the same rows in the same order, opened, brought by strangers, and as a data set."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import pyarrow.parquet
import pytest

from specviz.app.compare.replay_step import replay
from specviz.app.compare.store import ComparisonStore, packed
from specviz.app.page_state import PageState
from specviz.app.server.clients import Client
from specviz.app.server.limits import Limits
from specviz.app.server.readers import Readers
from specviz.app.server.session_registry import Sessions
from specviz.compare import received, tables
from specviz.compare.jobs import CARD, Job, is_finished, open_folder, write_unit
from specviz.compare.named import parse_tree, parse_verifiers
from specviz.compare.parquet_files import file_names, see_all_are_there, table_files
from specviz.compare.prompts import Prompt
from specviz.compare.read import find_comparisons, runs_of, steps_of, tallies_of
from specviz.compare.received import look_through, take_files
from specviz.compare.rows import TABLES
from specviz.compare.run_unit import pack, run_unit
from specviz.compare.spec import Comparison
from specviz.compare.statistics import Group, tallies
from specviz.compare.tables import merge, read_rows
from specviz.errors import SettingsError
from specviz.models.pair_spec import ModelChoice
from tests.generators import finish
from tests.pairs import make_pair

BOUND = 22_000
PAIRED = Group("paired", "2,2", 1.0)


@pytest.fixture(scope="module")
def job() -> Job:
    comparison = Comparison(
        trees=(parse_tree("2,2"), parse_tree("odd=[0],[1],[0,0]")),
        verifiers=tuple(one for text in ("rejection", "eta", "naive") for one in parse_verifiers(text)),
        driver="rejection",
        free=2,
        max_new_tokens=12,
    )
    texts = ("the sea", "a thin hen", "in the north", "the hen and the sea")
    prompts = tuple(Prompt(f"p{number}", "chat", text) for number, text in enumerate(texts))
    return Job(comparison, prompts, ModelChoice())


@pytest.fixture(scope="module")
def units(job: Job) -> list[bytes]:
    return [pack(run_unit(make_pair(), job.comparison, unit)) for unit in job.units()]


def unmerged(folder: Path, job: Job, units: list[bytes]) -> Path:
    open_folder(folder, job)
    for index, unit in enumerate(units):
        write_unit(folder, index, unit)
    return folder


@pytest.fixture(scope="module")
def whole(job: Job, units: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = unmerged(tmp_path_factory.mktemp("whole"), job, units)
    merge(folder, job)
    return folder


@pytest.fixture(scope="module")
def parted(job: Job, units: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same comparison in files of at most 22 kB. Its folder's name looks like a partition of a data set."""
    folder = unmerged(tmp_path_factory.mktemp("eta=0.1"), job, units)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "LARGEST_FILE", BOUND)
        patch.setattr(tables, "_GROUP_UNITS", 3)
        merge(folder, job)
    return folder


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*.parquet")}


# ------------------------------------------------------------------------------------------------------ writing


def test_no_file_is_too_large_and_the_rows_are_those_of_one_file(whole: Path, parted: Path) -> None:
    assert names_in(whole) == {f"{name}.parquet" for name in TABLES}
    files = table_files(parted, "decisions")
    assert [path.name for path in files] == file_names("decisions", len(files))
    assert len(files) > 2
    for path in parted.glob("*.parquet"):
        assert path.stat().st_size <= BOUND
    assert any(pyarrow.parquet.read_metadata(path).num_row_groups > 1 for path in parted.glob("*.parquet"))
    for name in TABLES:
        found = [row for path in table_files(parted, name) for row in pyarrow.parquet.read_table(path).to_pylist()]
        assert found == pyarrow.parquet.read_table(whole / f"{name}.parquet").to_pylist()
    assert list(read_rows(parted)) == list(read_rows(whole))


def test_a_row_group_that_is_too_large_is_halved(job: Job, units: list[bytes], tmp_path: Path, monkeypatch) -> None:
    folder = unmerged(tmp_path / "out", job, units)
    monkeypatch.setattr(tables, "LARGEST_FILE", BOUND)
    merge(folder, job)
    assert len(table_files(folder, "decisions")) > 1
    assert max(path.stat().st_size for path in folder.glob("*.parquet")) <= BOUND


def test_a_table_without_rows_is_a_file(tmp_path: Path) -> None:
    writer = tables._Writer(tmp_path, "decisions")
    writer.write([])
    writer.close()
    writer.publish()
    (path,) = table_files(tmp_path, "decisions")
    assert pyarrow.parquet.read_table(path).column_names == list(TABLES["decisions"])


def test_numbers_have_no_dictionary_and_words_have_one(whole: Path) -> None:
    group = pyarrow.parquet.read_metadata(whole / "steps.parquet").row_group(0)
    columns = [group.column(index) for index in range(group.num_columns)]
    encoded = {one.path_in_schema.split(".")[0]: "RLE_DICTIONARY" in one.encodings for one in columns}
    assert encoded == {column: word not in ("double", "bool") for column, (word, _) in TABLES["steps"].items()}


def test_a_killed_merge_leaves_nothing_that_looks_finished(
    job: Job, units: list[bytes], parted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = unmerged(tmp_path / "out", job, units)
    replace_file, left = os.replace, 2

    def broken(source: str, target: str) -> None:
        nonlocal left
        if not left:
            raise KeyboardInterrupt
        left -= 1
        replace_file(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(tables, "LARGEST_FILE", 12_000)
        patch.setattr(os, "replace", broken)
        with pytest.raises(KeyboardInterrupt):
            merge(folder, job)
    assert len(names_in(folder)) == 2
    assert not is_finished(folder)
    assert find_comparisons(folder) == []
    merge(folder, job)
    assert names_in(folder) == {f"{name}.parquet" for name in TABLES}, "with another bound, and no part is left"
    assert list(folder.glob(".*.part")) == []
    assert list(read_rows(folder)) == list(read_rows(parted))


@pytest.mark.parametrize("which", ["whole", "parted"])
def test_the_card_names_the_files(which: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch) -> None:
    folder = request.getfixturevalue(which)
    card = (folder / CARD).read_text(encoding="utf-8")
    name = {"whole": "decisions.parquet", "parted": "decisions-*.parquet"}[which]
    assert f"\n  data_files: {name}\n" in card
    assert f"\n## {name}\n" in card
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets", reason="optional")
    for table in TABLES:
        found = datasets.load_dataset(str(folder), table, cache_dir=str(tmp_path), split="train")
        files = table_files(folder, table)
        rows = pyarrow.concat_tables([pyarrow.parquet.read_table(path) for path in files]).to_pylist()
        assert list(found) == rows


# ------------------------------------------------------------------------------------------------------ opening


def test_what_is_looked_up_is_the_same(whole: Path, parted: Path) -> None:
    assert find_comparisons(parted) == [parted]
    for look_up in (
        lambda folder: runs_of(folder, PAIRED),
        lambda folder: [steps_of(folder, PAIRED, f"p{number}") for number in range(4)],
        lambda folder: list(tallies_of(folder)),
    ):
        assert look_up(parted) == look_up(whole)
        assert look_up(whole)


def test_its_steps_are_made_again_from_the_tab_and_its_zip(parted: Path, tmp_path: Path) -> None:
    shelf = ComparisonStore(shipped=Path("nowhere"), more=[parted])
    opened = shelf.open_listed(shelf.names()[0][1])
    path = tmp_path / "comparison.zip"
    packed(opened, path)
    with zipfile.ZipFile(path) as archive:
        assert {f"comparison/{name}" for name in names_in(parted)} < set(archive.namelist())
    brought = shelf.get(finish(shelf.add_files([str(path)], Readers(Limits()), Client())))
    assert brought.summary == opened.summary
    for one in (opened, brought):
        sessions = Sessions(lambda **_: make_pair())
        answers = list(replay(sessions, "p", one.folder, PAIRED, ("p3", "rejection"), 1, PageState()))
        assert "Step 2 was made again and is as it was recorded." in answers[-1][0][0]


# ------------------------------------------------------------------------------------------------ from strangers


def test_loose_files_of_any_name_are_known_by_their_columns(whole: Path, parted: Path, tmp_path: Path) -> None:
    given = []
    for table in reversed(TABLES):
        for number, path in reversed(list(enumerate(table_files(parted, table)))):
            given.append(tmp_path / f"{number:02} of {len(table)}{'.Parquet' if number else '.parquet'}")
            given[-1].write_bytes(path.read_bytes())
    into = tmp_path / "into"
    into.mkdir()
    take_files(given, into)
    look_through(into)
    assert names_in(into) == names_in(parted)
    assert list(tallies_of(into)) == list(tallies_of(whole))
    for table in TABLES:
        rows = [row for path in table_files(into, table) for row in pyarrow.parquet.read_table(path).to_pylist()]
        assert rows == pyarrow.parquet.read_table(whole / f"{table}.parquet").to_pylist()


@pytest.mark.parametrize("zipped", [False, True])
def test_a_missing_file_is_one_sentence(parted: Path, tmp_path: Path, zipped: bool) -> None:
    paths = sorted(parted.glob("*.parquet"))
    missing = next(path for path in paths if path.name.startswith("decisions-00002"))
    paths.remove(missing)
    if zipped:
        with zipfile.ZipFile(tmp_path / "some.zip", "w") as archive:
            for path in paths:
                archive.write(path, f"comparison/{path.name}")
        paths = [tmp_path / "some.zip"]
    into = tmp_path / "into"
    into.mkdir()
    count = len(table_files(parted, "decisions"))
    with pytest.raises(SettingsError, match=f"^Number 2 of the {count} files of decisions is missing; all"):
        take_files(paths, into)
    folder = tmp_path / "folder"
    folder.mkdir()
    for path in parted.iterdir():
        if path != missing and path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    with pytest.raises(SettingsError, match=f"^Number 2 of the {count} files of decisions is missing; all"):
        list(read_rows(folder))
    for path in table_files(folder, "steps"):
        path.unlink()
    for path in folder.glob("decisions*"):
        path.unlink()
    with pytest.raises(SettingsError, match="lacks a table"):
        list(read_rows(folder))


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a.parquet"], None),
        (["b.parquet", "a.parquet"], None),
        (["a-00001-of-00002.parquet", "a-00002-of-00002.parquet"], None),
        (["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"], None),
        (["a-00002-of-00002.parquet"], "Number 1 of the 2"),
        (["a-00000-of-00003.parquet", "a-00002-of-00003.parquet"], "Number 1 of the 3"),
        (["a-00001-of-00001.parquet", "a.parquet"], "do not belong together"),
        (["a-00001-of-00003.parquet", "a.parquet"], "do not belong together"),
        (["a-00001-of-00002.parquet", "b-00002-of-00002.parquet"], "do not belong together"),
        (["a-00001-of-00002.parquet", "a-00002-of-00003.parquet"], "do not belong together"),
        (["a-00001-of-00000.parquet"], "do not belong together"),
    ],
)
def test_names_say_how_many_files_there_are(names: list[str], said: str | None) -> None:
    if said is None:
        see_all_are_there("steps", names)
        return
    with pytest.raises(SettingsError, match=said):
        see_all_are_there("steps", names)


def test_limits_count_all_files_of_a_table(parted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = sorted(parted.glob("*.parquet"))
    rows = [pyarrow.parquet.read_metadata(path).num_rows for path in table_files(parted, "decisions")]
    cases = (
        ({"MOST_ROWS": received.MOST_ROWS | {"decisions": sum(rows) - 1}}, "MB that the page opens"),
        ({"MOST_BYTES": sum(path.stat().st_size for path in paths) - 1}, "MB that the page opens"),
        ({"MOST_FILES": len(paths) - 1}, "more than"),
        ({"MOST_FILES": len(paths), "MOST_ROWS": received.MOST_ROWS | {"decisions": sum(rows)}}, None),
    )
    packed_in = [tmp_path / "one.zip", tmp_path / "two.zip"]
    for number, path in enumerate(packed_in):
        with zipfile.ZipFile(path, "w") as archive:
            for member in paths[number::2]:
                archive.write(member, member.name)
    for number, (limits, said) in enumerate(cases):
        for form, given in enumerate((paths, packed_in)):
            into = tmp_path / f"into-{number}-{form}"
            into.mkdir()
            with monkeypatch.context() as patch:
                for name, value in limits.items():
                    patch.setattr(received, name, value)
                if said is None:
                    take_files(given, into)
                    continue
                with pytest.raises(SettingsError, match=said):
                    take_files(given, into)


def test_two_files_of_one_name_and_a_damaged_one_among_good_ones(parted: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    steps = table_files(parted, "steps")
    twice = tmp_path / "other" / steps[0].name
    twice.write_bytes(steps[0].read_bytes())
    into = [tmp_path / "into-0", tmp_path / "into-1"]
    for folder in into:
        folder.mkdir()
    with pytest.raises(SettingsError, match="have the same name"):
        take_files([*steps, twice], into[0])
    last = table_files(parted, "decisions")[-1]
    rows = pyarrow.parquet.read_table(last)
    place = rows.schema.get_field_index("rank")
    huge = pyarrow.array([10**6] * rows.num_rows, "int32")
    spoiled = tmp_path / last.name
    pyarrow.parquet.write_table(rows.set_column(place, rows.schema.field(place), huge), spoiled)
    take_files([*steps, *table_files(parted, "decisions")[:-1], spoiled], into[1])
    with pytest.raises(SettingsError, match="The table decisions has a number out of range in the column rank"):
        look_through(into[1])


def test_rows_of_the_report_are_those_of_the_folder(whole: Path, parted: Path) -> None:
    found = [[tally for rows in read_rows(folder) for tally in tallies(rows)] for folder in (whole, parted)]
    assert found[0] == found[1]
    assert json.loads((parted / "comparison.json").read_bytes()) == json.loads((whole / "comparison.json").read_bytes())
