"""What a page keeps: runs and their forks, held traces, and the proofs beside the verifiers' names."""

from __future__ import annotations

import errno
import os
import time
from dataclasses import replace

import pytest

from specviz.app import page_state as desks
from specviz.app.page_state import PageState, Run, describe, models_of
from specviz.app.proofs import Proofs, in_use
from specviz.app.server.clients import Client
from specviz.app.server.limits import LEAST_BYTES, Limits
from specviz.app.server.session_registry import Ticket
from specviz.app.server.share_store import ShareStore
from specviz.app.server.trace_store import StoredTrace
from specviz.errors import BusyError, TraceError
from specviz.models.pair_spec import ModelChoice
from specviz.trace.io import read_trace
from specviz.trace.schema import Choice, ForkedFrom, Trace, options_key
from specviz.verifiers import VERIFIERS
from specviz.verifiers.eta import ETA
from tests.sample_traces import HOSTILE, sample_trace


def trace_of(id: str, parent: str | None = None, **fields: object) -> Trace:
    fork = ForkedFrom(trace=parent, step=1) if parent else None
    return sample_trace(steps=2).model_copy(update={"id": id, "forked_from": fork, **fields})


def run_of(id: str, parent: str | None = None) -> Run:
    return Run(StoredTrace(trace_of(id, parent)), f"title of {id}", ModelChoice())


# -------------------------------------------------------------------------------------------------------- desk


def test_forks_stand_below_what_they_were_forked_from():
    desk = PageState()
    for id, parent in [("a", None), ("b", None), ("a1", "a"), ("a2", "a"), ("a11", "a1"), ("lost", "gone")]:
        desk = desk.show(run_of(id, parent))
    assert [id for _, id in desk.lines()] == ["a", "a1", "a11", "a2", "b", "lost"]
    indents = [label.index("title") for label, _ in desk.lines()]
    assert indents[0] == indents[4] == indents[5] == 0
    assert 0 < indents[1] == indents[3] < indents[2]
    assert desk.shown == "lost"


def test_a_run_that_moved_takes_its_own_place():
    desk = PageState().show(run_of("a")).show(run_of("b"))
    longer = Run(StoredTrace(trace_of("a", steps=sample_trace(steps=5).steps)), "title of a", ModelChoice())
    moved = desk.show(longer, filled=True)
    assert [len(run.trace.steps) for run in moved.runs] == [5, 2]
    assert (moved.shown, moved.filled, moved.count) == ("a", "a", 2)
    assert len(desk.find("a").trace.steps) == 2, "a desk is a value"


def test_a_run_that_goes_on_leaves_in_sight_what_was_opened_since():
    began = PageState().show(run_of("live"), filled=True)
    model, ticket = ModelChoice(), Ticket("key", ModelChoice())
    moved = began.after_step(trace_of("live", steps=sample_trace(steps=5).steps), model, ticket)
    assert moved.after(began) is moved
    lesson = began.show(run_of("lesson"), filled=True)
    kept = moved.after(lesson)
    assert ([run.id for run in kept.runs], kept.shown, kept.filled) == (["live", "lesson"], "lesson", "lesson")
    assert kept.find("live").stored.steps == 5
    assert moved.after(kept).shown == "lesson", "and so do the steps after it"
    back = kept.show(kept.find("live"), filled=True)
    assert moved.after(back).shown == "live"


def test_the_oldest_run_makes_room_but_never_the_one_in_sight(monkeypatch):
    monkeypatch.setattr(desks, "RUNS_KEPT", 3)
    desk = PageState()
    for id in "abc":
        desk = desk.show(run_of(id))
    desk = replace(desk, shown="a").show(run_of("d"))
    assert [run.trace.id for run in desk.runs] == ["a", "c", "d"]


def test_a_loop_of_forks_is_no_endless_list():
    """Traces are files that anyone can write."""
    desk = PageState().show(run_of("a", "a")).show(run_of("b", "c")).show(run_of("c", "b"))
    assert [id for _, id in desk.lines()] == ["a", "b", "c"]
    assert [id for _, id in PageState().show(run_of("b", "c")).show(run_of("c", "b")).lines()] == ["b", "c"]


def test_a_prompt_is_one_harmless_line():
    for token in HOSTILE:
        line = describe(Run(StoredTrace(trace_of("a", prompt=f"{token}\n\u202eevil")), "x", ModelChoice()))
        assert "\n" not in line
        assert "\u202e" not in line


def test_the_default_pair_is_known_by_its_names():
    from specviz.app import run_handlers

    assert models_of(run_handlers.open_recorded("chain-of-4")) == ModelChoice()
    assert models_of(sample_trace()).target == sample_trace().models.target.id


# -------------------------------------------------------------------------------------------------------- held


def test_a_held_trace_comes_back_after_a_restart(tmp_path):
    trace = sample_trace(steps=2)
    name = ShareStore(tmp_path).save(trace)
    assert ShareStore(tmp_path).load(name) == trace


def test_a_run_that_no_link_could_open_is_not_held(tmp_path, monkeypatch):
    monkeypatch.setattr("specviz.app.server.share_store.MOST_BYTES", 1000)
    with pytest.raises(TraceError, match="save it as a trace file"):
        ShareStore(tmp_path).save(sample_trace())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name", ["", "h-", "../../etc/passwd", "h-" + "a" * 16, "h-../../aaaaaaaaaa", "h-%2e%2e%2faaaaaaa"]
)
def test_a_name_that_is_not_held_is_one_sentence(tmp_path, name):
    (tmp_path / "secret.json.gz").write_bytes(b"x")
    with pytest.raises(TraceError, match="unknown here or has expired") as caught:
        ShareStore(tmp_path).load(name)
    assert "\n" not in str(caught.value)


def test_what_is_too_old_goes(tmp_path):
    share_store = ShareStore(tmp_path, seconds=60)
    old = share_store.save(sample_trace(steps=1))
    path = tmp_path / f"{old}.json.gz"
    os.utime(path, (time.time() - 61, time.time() - 61))
    with pytest.raises(TraceError, match="expired"):
        share_store.load(old)
    share_store.save(sample_trace(steps=1))
    assert not path.exists()


def test_a_trace_that_is_tidied_away_while_it_is_opened_has_expired(tmp_path, monkeypatch):
    share_store = ShareStore(tmp_path)
    name = share_store.save(sample_trace(steps=1))

    def too_late(path, **options):
        path.unlink()
        return read_trace(path, **options)

    monkeypatch.setattr("specviz.app.server.share_store.read_trace", too_late)
    with pytest.raises(TraceError, match="unknown here or has expired") as caught:
        share_store.load(name)
    assert str(tmp_path) not in str(caught.value)


def test_opening_keeps_a_trace_from_growing_old(tmp_path):
    share_store = ShareStore(tmp_path, seconds=60)
    name = share_store.save(sample_trace(steps=1))
    path = tmp_path / f"{name}.json.gz"
    os.utime(path, (time.time() - 50, time.time() - 50))
    share_store.load(name)
    assert time.time() - path.stat().st_mtime < 10


def held(tmp_path, *names: str) -> list[bool]:
    return [(tmp_path / f"{name}.json.gz").exists() for name in names]


def saved_ago(share_store, seconds: float, client: Client | None = None) -> str:
    """The name of a small run that was saved so long ago."""
    name = share_store.save(sample_trace(steps=1, seed=1), client)
    os.utime(share_store._home() / f"{name}.json.gz", (time.time() - seconds,) * 2)
    return name


def test_the_oldest_goes_when_there_is_too_much(tmp_path):
    names = [saved_ago(ShareStore(tmp_path, most_bytes=2 * LEAST_BYTES), 100 - i) for i in range(4)]
    assert held(tmp_path, *names) == [False, False, True, True], "also where a restart has forgotten whose they are"


def test_the_links_of_one_visitor_never_remove_anothers(tmp_path):
    honest, other = Client("192.0.2.1", "a"), Client("192.0.2.2")
    share_store = ShareStore(tmp_path, most_bytes=16 * LEAST_BYTES, limits=Limits(public=True))
    mine = saved_ago(share_store, 1000, honest)
    theirs = [saved_ago(share_store, 900 - i, Client("192.0.2.2", f"{i}")) for i in range(8)]
    with pytest.raises(BusyError, match="all the bytes of links that one visitor can have"):
        share_store.save(sample_trace(steps=1), Client("192.0.2.2", "z"))
    assert all(held(tmp_path, mine, *theirs))

    # With all of it used, whoever has most makes room.
    more = [saved_ago(share_store, 800 - i, Client("192.0.2.3", f"{i}")) for i in range(7)]
    new = saved_ago(share_store, 0, honest)
    assert held(tmp_path, mine, new, *theirs, *more) == [True, True, False, *[True] * 14]
    assert share_store._shares.held_by(other) == 7 * LEAST_BYTES, "what went counts no more"


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", "/somewhere/private")


def test_on_a_full_disk_a_link_is_one_sentence_and_nothing_half_stays(tmp_path, monkeypatch):
    share_store = ShareStore(tmp_path)
    monkeypatch.setattr("specviz.trace.io.os.replace", full)
    with pytest.raises(BusyError) as caught:
        share_store.save(sample_trace(steps=1), Client("192.0.2.1"))
    assert str(caught.value) == "The run could not be saved: the server's disk is full; try again later."
    assert not list(tmp_path.iterdir())
    assert share_store._shares.held == 0


def test_a_link_that_cannot_be_read_names_no_folder(tmp_path, monkeypatch):
    share_store = ShareStore(tmp_path)
    name = share_store.save(sample_trace(steps=1))
    monkeypatch.setattr("specviz.app.server.share_store.read_trace", full)
    with pytest.raises(TraceError, match="cannot read this run now") as caught:
        share_store.load(name)
    assert "private" not in str(caught.value)


def test_a_cache_folder_that_cannot_be_written_to_still_holds(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("SPECVIZ_CACHE", str(blocked))
    share_store = ShareStore()
    assert share_store.load(share_store.save(sample_trace(steps=1))).steps


# ------------------------------------------------------------------------------------------------------ proofs


@pytest.fixture
def registered(monkeypatch):
    """Register verifiers for one test."""
    known = dict(VERIFIERS)

    def register(*verifiers):
        VERIFIERS.clear()
        VERIFIERS.update({verifier.name: verifier for verifier in verifiers})

    yield register
    VERIFIERS.clear()
    VERIFIERS.update(known)


@pytest.mark.usefixtures("proved_on_few_trees")
def test_proofs_come_one_after_the_other_and_stay(registered):
    registered(VERIFIERS["naive"])
    proofs = Proofs()
    tables = list(proofs.rows())
    assert "…" in tables[0][0]
    name, rule, *cells, smallest = tables[-1][0]
    assert (name, rule, smallest) == ("naive", VERIFIERS["naive"].rule, "none")
    assert all(cell.startswith("✓ lossless (TV ") for cell in cells)
    assert proofs.badge(Choice(name="naive")) == "✓ lossless"
    assert list(proofs.rows()) == [tables[-1]], "nothing is computed twice"


@pytest.mark.usefixtures("proved_on_few_trees")
def test_a_stale_residual_is_called_lossy_with_its_smallest_tree(registered):
    from tests.faults import stale_residual_verifier

    registered(stale_residual_verifier())
    proofs = Proofs()
    *_, table = proofs.rows()
    name, _, *cells, smallest = table[0]
    assert any(cell.startswith("✕ not lossless as promised") for cell in cells)
    assert "TV" in smallest
    assert proofs.badge(Choice(name=name)).startswith("✕ NOT LOSSLESS as promised, TV ")


@pytest.mark.usefixtures("proved_on_few_trees")
def test_a_verifier_that_fails_is_said_to(registered):
    def broken(*_: object) -> None:
        raise ZeroDivisionError("division by zero")

    registered(replace(VERIFIERS["naive"], name="mine", judge=broken), VERIFIERS["naive"])
    proofs = Proofs()
    *_, table = proofs.rows()
    assert table[0][2] == "failed"
    assert "ZeroDivisionError" in table[0][-1]
    assert proofs.badge(Choice(name="mine")) == "check failed"
    assert proofs.badge(Choice(name="naive")) == "✓ lossless"


def test_options_in_use_are_checked_beside_the_defaults(registered, monkeypatch):
    registered(VERIFIERS["eta"], VERIFIERS["naive"])
    trace = sample_trace(steps=1, verifiers=("eta",))
    used = Choice(name="eta", options={"epsilon": 0.3, "delta": 0.3, "select": "longest"})
    unfit = [Choice(name="eta", options={"epsilon": 7.0}), Choice(name="gone")]
    settings = trace.settings.model_copy(update={"verifiers": (used, *unfit)})
    asked = in_use([Choice(name="eta", options={"epsilon": 0.09})], trace.model_copy(update={"settings": settings}))
    assert [choice.options.get("epsilon") for choice in asked] == [0.09, 0.3]
    monkeypatch.setattr("specviz.app.proofs.ALL_PROPOSALS", ("top_k",))
    proofs = Proofs()
    *_, table = proofs.rows(asked)
    assert [row[0] for row in table] == ["eta", "eta:epsilon=0.3", "naive"], "0.09 is the default"
    texts = proofs.texts()
    assert set(texts["eta"]) == {options_key(dict(ETA.Options())), options_key(used.options)}
    assert proofs.badge(Choice(name="eta")).endswith(", with its defaults")
    assert proofs.badge(used).startswith("lossy, TV up to 0.")
    assert proofs.badge(used).endswith(", with epsilon=0.3")
    assert proofs.badge(Choice(name="eta", options={"epsilon": 0.2})) == "", "nobody has looked"


def test_no_more_options_are_checked_than_there_is_room_for(registered, monkeypatch):
    registered(VERIFIERS["eta"])
    monkeypatch.setattr("specviz.app.proofs.MOST_WAITING", 3)
    monkeypatch.setattr("specviz.app.proofs.MOST_KEPT", 1)
    monkeypatch.setattr("specviz.app.proofs.ALL_PROPOSALS", ("top_k",))
    proofs = Proofs()
    asked = [Choice(name="eta", options={"epsilon": epsilon}) for epsilon in (0.1, 0.2, 0.3)]
    *_, table = proofs.rows(asked)
    shown = {row[0]: row[2] for row in table}
    assert list(shown) == ["eta", "eta:epsilon=0.1", "eta:epsilon=0.2", "eta:epsilon=0.3"]
    assert shown["eta"] == shown["eta:epsilon=0.2"] == "lossy, TV 0.98"
    assert shown["eta:epsilon=0.1"] == shown["eta:epsilon=0.3"] == "…", "one was forgotten, one had no place to wait"
    assert len(proofs.texts()["eta"]) == 2
