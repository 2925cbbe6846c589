"""The Compare tab: files of strangers, figures, from a row back to its step, small comparisons; once in Chromium."""

from __future__ import annotations

import itertools
import json
import tempfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pyarrow
import pyarrow.parquet
import pytest

from specviz.app.compare.pictures import PICTURES
from specviz.app.compare.quick_run import QuickRun, run_small, small_job
from specviz.app.compare.replay_step import replay
from specviz.app.compare.store import PACKED_NAME, ComparisonStore, packed
from specviz.app.compare.view import Opened, Selection, board, choices, settled
from specviz.app.page import build_page
from specviz.app.page_state import PageState, Run
from specviz.app.server.clients import Client
from specviz.app.server.limits import Limits
from specviz.app.server.readers import Readers
from specviz.app.server.session_registry import Sessions
from specviz.app.server.share_store import ShareStore
from specviz.app.server.streams import STREAMS
from specviz.app.server.trace_store import StoredTrace
from specviz.compare import received
from specviz.compare.jobs import Job, open_folder, write_unit
from specviz.compare.named import parse_tree, parse_verifiers
from specviz.compare.prompts import Prompt
from specviz.compare.read import find_comparisons, output_of, runs_of, steps_of
from specviz.compare.received import look_through, take_files
from specviz.compare.run_unit import pack, run_unit
from specviz.compare.spec import Comparison
from specviz.compare.statistics import Group, tallies
from specviz.compare.summary import dump, summarize
from specviz.compare.tables import merge, read_rows
from specviz.errors import SettingsError
from specviz.models.pair_spec import ModelChoice
from tests.app.test_page_axe import serious
from tests.browser import DRAWN, Watched
from tests.generators import finish
from tests.pairs import make_pair
from tests.sample_traces import sample_trace
from tests.server import launch_quietly

READERS = Readers(Limits())
HOSTILE = "<img src=x onerror=alert(1)>"
PAIRED = Group("paired", "2,2", 1.0)
FILES = ("comparison.json", "steps.parquet", "decisions.parquet", "outputs.parquet")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A finished comparison of the tests' pair: a sweep, two trees, two prompts, one of them free."""
    verifiers = [one for text in ("rejection", "eta:epsilon=0.05/0.4", "naive") for one in parse_verifiers(text)]
    comparison = Comparison(
        trees=(parse_tree("2,2"), parse_tree("odd=[0],[1],[0,0]")),
        verifiers=tuple(verifiers),
        driver="rejection",
        free=1,
        max_new_tokens=8,
    )
    prompts = (Prompt("a", "chat", "the sea"), Prompt(HOSTILE, "story", f"a hen {HOSTILE}"))
    job = Job(comparison, prompts, ModelChoice())
    made = tmp_path_factory.mktemp("made")
    open_folder(made, job)
    for unit in job.units():
        write_unit(made, unit.index, pack(run_unit(make_pair(), comparison, unit)))
    merge(made, job)
    return made


@pytest.fixture
def sessions() -> Sessions:
    return Sessions(lambda **_: make_pair())


def shelf_of(folder: Path) -> ComparisonStore:
    return ComparisonStore(shipped=Path("nowhere"), more=[folder])


# ---------------------------------------------------------------------------------------------------- opening


def test_a_zip_and_loose_files_say_what_the_folder_says(folder, tmp_path) -> None:
    found = [tally for rows in read_rows(folder) for tally in tallies(rows)]
    path = tmp_path / "mine.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in FILES:
            archive.write(folder / name, f"../../{name}")
        archive.writestr("../../evil.sh", "echo")
        archive.writestr("summary.json", json.dumps({"estimates": HOSTILE}))
    before = sorted(tmp_path.rglob("*"))
    for paths in ([path], [folder / name for name in FILES]):
        shelf = ComparisonStore(shipped=Path("nowhere"))
        opened = shelf.get(finish(shelf.add_files([str(one) for one in paths], READERS, Client())))
        values = {(r["tree"], r["verifier"], r["measure"]): r["value"] for r in opened.summary["estimates"]}
        expected = json.loads(dump(summarize(found)))["estimates"]
        assert values == {(r["tree"], r["verifier"], r["measure"]): r["value"] for r in expected}
        assert {one.name for one in opened.folder.iterdir()} == set(FILES)
        assert "2 kinds" in opened.about
    assert sorted(tmp_path.rglob("*")) == before


def test_what_ships_is_found_and_nothing_is_no_fault(folder, tmp_path) -> None:
    assert find_comparisons(tmp_path / "missing") == []
    assert find_comparisons(tmp_path) == []
    assert find_comparisons(folder) == [folder]
    assert folder in find_comparisons(folder.parent)
    assert ComparisonStore(shipped=tmp_path).names() == []
    shelf = shelf_of(folder)
    ((_, key),) = shelf.names()
    assert shelf.open_listed(key).folder == folder
    with pytest.raises(SettingsError, match="no such comparison"):
        shelf.open_listed("../../etc")


def spoil(folder: Path, into: Path, column: str, value, table: str = "steps") -> Path:
    rows = pyarrow.parquet.read_table(folder / f"{table}.parquet")
    values = rows[column].to_pylist()
    values[3] = value
    place = rows.schema.get_field_index(column)
    pyarrow.parquet.write_table(
        rows.set_column(place, rows.schema.field(column), pyarrow.array(values, rows.schema.field(column).type)),
        into / f"{table}.parquet",
    )
    return into / f"{table}.parquet"


@pytest.mark.parametrize(
    ("table", "column", "value", "said"),
    [
        ("steps", "accepted", 2_000_000_000, "out of range"),
        ("steps", "accepted", -1, "out of range"),
        ("steps", "temperature", float("nan"), "out of range"),
        ("steps", "verifier", None, "no value"),
        ("steps", "verifier", "v" * 1000, "a text of 1,000 bytes"),
        ("steps", "mode", "other", "neither paired nor free"),
        ("decisions", "rank", 1_000_000, "out of range"),
        ("outputs", "nll", float("inf"), "out of range"),
    ],
)
def test_rows_that_compare_would_not_write_are_one_sentence(folder, tmp_path, table, column, value, said) -> None:
    paths = [spoil(folder, tmp_path, column, value, table)]
    paths += [folder / "steps.parquet"] if table != "steps" else []
    into = tmp_path / "into"
    into.mkdir()
    take_files(paths, into)
    with pytest.raises(SettingsError, match=said) as caught:
        look_through(into)
    assert "\n" not in str(caught.value)


def test_files_that_are_none_are_one_sentence(folder, tmp_path, monkeypatch) -> None:
    (tmp_path / "cut.parquet").write_bytes((folder / "steps.parquet").read_bytes()[:900])
    (tmp_path / "no.zip").write_bytes(b"PK not a zip")
    pyarrow.parquet.write_table(pyarrow.table({"a": [1]}), tmp_path / "other.parquet")
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("steps.parquet", bytes(3_000_000))
    monkeypatch.setattr(received, "MOST_BYTES", 2_000_000)
    cases = {
        ("cut.parquet",): "damaged",
        ("no.zip",): "cannot be unpacked",
        ("other.parquet",): "columns",
        ("bomb.zip",): "MB that the page opens",
        (): "no steps among",
    }
    for number, (names, said) in enumerate(cases.items()):
        into = tmp_path / f"into-{number}"
        into.mkdir()
        with pytest.raises(SettingsError, match=said):
            take_files([tmp_path / name for name in names], into)
    monkeypatch.setitem(received.MOST_DIFFERENT, "verifier", 2)
    into = tmp_path / "many"
    into.mkdir()
    monkeypatch.setattr(received, "MOST_BYTES", 10**8)
    take_files([folder / "steps.parquet"], into)
    with pytest.raises(SettingsError, match="more than 2 different values of verifier"):
        look_through(into)


def test_brought_comparisons_make_room_and_their_files_go(folder, monkeypatch) -> None:
    monkeypatch.setattr("specviz.app.compare.store.MOST_KEPT", 1)
    shelf = ComparisonStore(shipped=Path("nowhere"))
    keys = [finish(shelf.add_files([str(folder / "steps.parquet")], READERS, Client())) for _ in range(2)]
    with pytest.raises(SettingsError, match="not open any more"):
        shelf.get(keys[0])
    assert shelf.get(keys[-1]).folder.is_dir()


def test_comparisons_of_one_client_do_not_push_out_those_of_others(monkeypatch) -> None:
    monkeypatch.setattr("specviz.app.compare.store.MOST_SMALL", 3)
    shelf, public = ComparisonStore(shipped=Path("nowhere")), Limits(public=True)

    def add(page: str) -> str:
        return shelf.add(Opened(page, "", {}), tempfile.TemporaryDirectory(), page, public)

    with STREAMS.opened("mine", {"client": ("192.0.2.1", 1)}), STREAMS.opened("b", {"client": ("192.0.2.2", 1)}):
        mine, left, *others = (add(page) for page in ("mine", "left", "b", "b", "b", "b"))
        assert shelf.get(mine).title == "mine"
        assert [key for key in (left, *others) if key in shelf._opened] == others[-2:]
    for key in (mine, *others):
        shelf.remove(key)
    assert not shelf._pages


# ---------------------------------------------------------------------------------------------------- figures


def opened_of(folder: Path) -> Opened:
    shelf = shelf_of(folder)
    return shelf.open_listed(shelf.names()[0][1])


def test_every_figure_has_its_sentence_and_the_numbers_it_draws(folder) -> None:
    opened = opened_of(folder)
    there = choices(opened.summary)
    assert {"accepted_length", "block_efficiency", "depth", "rank", "differences", "kinds"} <= set(there["figure"])
    for name in there["figure"]:
        section = json.loads(board(opened, settled(opened.summary, Selection(figure=name))))["sections"][0]
        assert section["title"] == PICTURES[name].title
        assert section["table"]["rows"], name
        assert section["figure"]["light"]["data"]
        assert section["figure"]["light"]["layout"]["meta"] != section["figure"]["dark"]["layout"]["meta"]


def test_choosers_leave_what_was_chosen(folder) -> None:
    opened = opened_of(folder)
    chosen = settled(opened.summary, Selection(tree="odd", kind="chat", verifiers=("naive", "strange")))
    assert chosen.verifiers == ("naive",)
    section = json.loads(board(opened, chosen))["sections"][0]
    assert [row["cells"][:3] for row in section["table"]["rows"]] == [["odd", "1", "naive"]]
    assert "kind chat" in section["how"]
    assert settled(opened.summary, Selection(figure="nothing", mode="x", tree="y")).figure in PICTURES


def test_runs_and_steps_are_the_rows_and_markup_stays_text(folder) -> None:
    opened = opened_of(folder)
    text = board(opened, settled(opened.summary, Selection(group=PAIRED, run=(HOSTILE, "rejection"))))
    assert "<" not in text
    _, runs, steps = json.loads(text)["sections"]
    sums = runs_of(folder, PAIRED)
    assert [row["point"][0] for row in runs["table"]["rows"]] == ["a", HOSTILE]
    one = next(it for it in sums if (it.prompt_id, it.verifier) == ("a", "naive"))
    assert f"{one.accepted / one.steps:.2f}" in runs["table"]["rows"][0]["cells"]
    rows = steps_of(folder, PAIRED, HOSTILE)
    assert len(steps["table"]["rows"]) == max(row["step"] for row in rows) + 1
    for theme in ("light", "dark"):
        for figure in (steps["figure"][theme], runs["figure"][theme]):
            drawn = [{**trace, "customdata": None} for trace in figure["data"]]
            assert "<img" not in json.dumps([drawn, figure["layout"]])


# ------------------------------------------------------------------------------------------------------ steps


@pytest.mark.parametrize(
    ("group", "verifier"),
    [
        (PAIRED, "rejection"),
        (Group("paired", "odd", 1.0), "rejection"),
        (Group("free", "2,2", 1.0), "eta:epsilon=0.4"),
        (Group("free", "no draft", 1.0), "sampling"),
    ],
)
def test_a_step_is_made_again_as_it_was_recorded(folder, sessions, group, verifier) -> None:
    last = max(row["step"] for row in steps_of(folder, group, "a", verifier))
    desk = PageState()
    *before, ((text, trace, ticket), inputs) = replay(sessions, "p", folder, group, ("a", verifier), last, desk)
    assert before
    block, look = json.loads(text)
    assert len(trace.steps) == last + 1
    assert block["go"] == look["look"]["step"] == last
    assert block["notice"]["text"] == f"Step {last + 1} was made again and is as it was recorded."
    output = output_of(folder, group, "a", verifier)
    assert list(trace.output_tokens()) == output["tokens"]
    assert sessions.get(ticket) is None, "it has come to its end, and its caches have gone"
    desk = desk.show(Run(StoredTrace(trace), "again", inputs[1], ticket))
    ((_, same, _), _), *rest = replay(sessions, "p", folder, group, ("a", verifier), 0, desk)
    assert same is trace
    assert not rest, "a run that is there needs no model"


def test_only_the_steps_that_are_asked_for_are_run_and_stop_is_heard(folder, sessions) -> None:
    *_, ((_, trace, ticket), inputs) = replay(sessions, "p", folder, PAIRED, ("a", "rejection"), 1, PageState())
    assert len(trace.steps) == 2
    desk = PageState().show(Run(StoredTrace(trace), "again", inputs[1], ticket))
    *_, ((_, more, _), _) = replay(sessions, "p", folder, PAIRED, ("a", "rejection"), 2, desk)
    assert (more.id, len(more.steps)) == (trace.id, 3)
    answers = []
    for answer in replay(sessions, "p", folder, PAIRED, ("a", "rejection"), 2, PageState()):
        answers.append(answer)
        sessions.ask_to_stop("p")
    assert "Stopped before" in answers[-1][0][0]
    *_, ((text, none, _), _) = replay(sessions, "p", folder, PAIRED, ("a", "rejection"), 99, PageState())
    assert none is None
    assert "no step 100" in text


def test_another_outcome_and_files_that_do_not_belong_together_are_told(folder, sessions, tmp_path) -> None:
    for name in FILES:
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    rows = pyarrow.parquet.read_table(folder / "steps.parquet")
    column = rows["bonus_token"].to_pylist()
    column[0] += 1
    place = rows.schema.get_field_index("bonus_token")
    changed = rows.set_column(place, rows.schema.field(place), pyarrow.array(column, "int32"))
    pyarrow.parquet.write_table(changed, tmp_path / "steps.parquet")
    *_, ((text, _, _), _) = replay(sessions, "p", tmp_path, PAIRED, ("a", "rejection"), 0, PageState())
    said = json.loads(text)[0]["notice"]
    assert said["kind"] == "error"
    assert "Step 1 is not as it was recorded: rejection accepted the same tokens" in said["text"]
    plan = json.loads((folder / "comparison.json").read_text())
    plan["comparison"]["seed"] = 7
    (tmp_path / "comparison.json").write_text(json.dumps(plan))
    *_, ((text, _, _), _) = replay(sessions, "p", tmp_path, PAIRED, ("a", "rejection"), 0, PageState())
    assert "different comparisons" in text
    (tmp_path / "comparison.json").unlink()
    *_, ((text, _, _), _) = replay(sessions, "p", tmp_path, PAIRED, ("a", "rejection"), 0, PageState())
    assert "Without comparison.json" in text


# -------------------------------------------------------------------------------------------------- small ones

VALUES = {"prompts": 2, "free": 0, "tokens": 4, "trees": ["2", "1,1"], "verifiers": ["rejection", "naive"]}
VALUES["temperatures"] = ["1.0"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"prompts": 1000}, "1 to 16 prompts"),
        ({"verifiers": []}, "verifiers, and not 0"),
        ({"free": 5}, "run free"),
        ({"temperatures": ["hot"]}, "must be numbers"),
        ({"trees": ["tall"]}, "no tree builder"),
        ({"prompts": 16, "tokens": 64, "trees": ["1", "2", "3", "4", "5", "6"], "free": 16}, "runs of 64 tokens"),
    ],
)
def test_a_comparison_that_is_not_small_is_one_sentence(changed, said) -> None:
    with pytest.raises(SettingsError, match=said):
        small_job(VALUES | changed, ModelChoice(), Limits())


def test_a_small_comparison_grows_and_can_be_opened_again(sessions, tmp_path) -> None:
    shelf = ComparisonStore(shipped=Path("nowhere"))
    told = list(run_small(sessions, "p", shelf, small_job(VALUES, ModelChoice(), Limits())))
    assert any("of 4" in one.text and "left" in one.text for one in told)
    assert any(isinstance(one, QuickRun) and one.key is None for one in told), "the first prompt can be looked at"
    assert told[-1].text == "All 4 runs are done."
    opened = shelf.get(told[-1].key)
    runs = runs_of(opened.folder, Group("paired", "2", 1.0))
    assert len(runs) == 4
    again = ComparisonStore(shipped=Path("nowhere"))
    path = tmp_path / PACKED_NAME
    packed(opened, path)
    brought = again.get(finish(again.add_files([str(path)], READERS, Client())))
    assert brought.summary["estimates"] == opened.summary["estimates"]
    *_, ((text, _, _), _) = replay(
        sessions, "p", brought.folder, Group("paired", "2", 1.0), (runs[0].prompt_id, "rejection"), 1, PageState()
    )
    assert "as it was recorded" in text


@pytest.mark.parametrize("free", [0, 2])
def test_a_stopped_one_keeps_whole_prompts(sessions, free) -> None:
    shelf = ComparisonStore(shipped=Path("nowhere"))
    job = small_job(VALUES | {"free": free}, ModelChoice(), Limits())
    for one in run_small(sessions, "p", shelf, job):
        if one.text.startswith(f"Run {len(job.units()) // 2 + 1} of"):
            sessions.ask_to_stop("p")
    assert "kept are the 1 prompts" in one.text
    assert len({row["prompt_id"] for rows in read_rows(shelf.get(one.key).folder) for row in rows.outputs}) == 1
    told = []
    for one in run_small(sessions, "p", shelf, job):
        sessions.ask_to_stop("p")
        told.append(one.text)
    assert "nothing to show" in told[-1]


def test_small_ones_stop_in_time(sessions, monkeypatch) -> None:
    sessions.limits = Limits(comparison_seconds=-1)
    *_, last = run_small(
        sessions, "p", ComparisonStore(shipped=Path("nowhere")), small_job(VALUES, ModelChoice(), Limits())
    )
    assert "nothing to show" in last.text


def test_a_small_comparison_ends_in_the_middle_of_a_long_judgement(monkeypatch) -> None:
    """The clock of judging runs fast, and Stop is pressed while the first step is run: it is the last that is begun."""
    sessions = Sessions(lambda **_: make_pair())
    ticks, asked = itertools.count(0, 6), iter([False])
    monkeypatch.setattr("specviz.interruption.time", SimpleNamespace(monotonic=lambda: next(ticks)))
    monkeypatch.setattr(sessions, "must_stop", lambda _page: next(asked, True))
    job = small_job(VALUES, ModelChoice(), Limits())
    *_, last = run_small(sessions, "p", ComparisonStore(shipped=Path("nowhere")), job)
    assert "nothing to show" in last.text
    assert next(ticks) == 12, "it was asked for at the first two verifiers"


# ------------------------------------------------------------------------------------------------- in Chromium


@pytest.mark.browser
@pytest.mark.parametrize(("size", "theme"), [((1280, 800), "light"), ((390, 844), "dark")])
def test_from_a_figure_to_a_step_by_keyboard(browser, folder, tmp_path, size, theme) -> None:
    page = build_page(
        Sessions(lambda **_: make_pair()), sample_trace(), ShareStore(tmp_path), comparison_store=shelf_of(folder)
    )
    url = launch_quietly(page)
    try:
        seen = Watched(browser, url, size=size)
        view = seen.page
        view.set_default_timeout(40_000)
        view.goto(f"{url}?__theme={theme}")
        view.wait_for_selector(DRAWN)
        seen.menu("compare")
        view.click("#board-open input")
        view.click("[role=option]")
        view.wait_for_selector("[data-section=figure] .main-svg")
        assert "Bars are 95 % intervals" in view.inner_text("[data-section=figure]")
        view.focus("[data-section=figure] summary")
        for section in ("figure", "runs", "steps"):
            place = f"[data-section={section}]"
            if section == "figure":
                view.keyboard.press("Enter")
            view.focus(f"{place} button[data-act=board-{section}] >> nth=1")
            if section == "steps":
                assert HOSTILE in view.inner_text(place)
                assert serious(view) == []
            view.keyboard.press("Enter")
            if section != "steps":
                view.wait_for_selector(f"[data-section={'runs' if section == 'figure' else 'steps'}] .main-svg")
        view.wait_for_function("document.querySelector('.sv-where').textContent === 'step 2 of 2'")
        view.wait_for_selector(".sv-root .sv-notice:has-text('is as it was recorded')")
        assert view.input_value("#prompt textarea") == f"a hen {HOSTILE}"
        assert view.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out"
        if theme == "light":
            seen.menu("compare")  # the step stands in the view
            view.click("#board-figure input")
            view.click("[role=option]:has-text('Acceptance by depth')")
            view.wait_for_selector("[data-section=figure] h4:has-text('Acceptance by depth')")
            view.click("#small button")
            view.fill("#small-tokens input", "3")
            view.click("#small-start")
            view.wait_for_selector(".sv-board .sv-notice:has-text('All 4 runs are done.')")
            with view.expect_download() as download:
                view.click("#board-zip")
            assert download.value.suggested_filename == "specviz-comparison.zip"
        seen.finish()
    finally:
        page.close()
