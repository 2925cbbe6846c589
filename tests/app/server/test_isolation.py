"""Visitors share models and nothing else: runs, files, answers and links of one are never another's."""

from __future__ import annotations

import json
import tempfile
import uuid
from pathlib import Path
from urllib.parse import quote

import pytest

from specviz.app import opening
from specviz.app.compare.tab import CompareTab
from specviz.app.compare.view import Opened
from specviz.app.server.clients import Client
from specviz.app.server.limits import Limits
from specviz.app.server.readers import Readers
from specviz.app.server.uploads import forget_upload
from specviz.compare.report.charts import PLOTLY_SCRIPT
from specviz.errors import SettingsError, TraceError
from tests import server
from tests.sample_traces import sample_trace


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """(server, A, B): both have run two steps on one loaded pair, in turns."""
    with server.serving(tmp_path_factory.mktemp("served"), trace=sample_trace(steps=2)) as running:
        a, b = running.visitor(), running.visitor()
        for _ in range(2):
            a.run = a.step(prompt="alpha has a secret", seed=1)["run"]["id"]
            b.run = b.step(prompt="beta has another", seed=2)["run"]["id"]
        yield running, a, b


def test_both_ran_on_one_pair_and_heard_of_their_own_run_only(two):
    running, a, b = two
    assert running.web.get("/healthz").json()["loaded_pairs"] == 1
    assert a.run != b.run
    for one, other, word in ((a, b, "beta"), (b, a, "alpha")):
        heard = "\n".join(one.heard)
        assert one.run in heard
        assert other.run not in heard
        assert word not in heard


def test_the_runs_list_has_ones_own(two):
    _, a, b = two
    listed = json.dumps(b.press("on_list_runs"))
    assert b.run in listed
    assert a.run not in listed
    assert "alpha" not in listed


def test_knowing_anothers_run_gives_nothing(two):
    """Its id stands in every file and picture that somebody has published."""
    _, a, b = two
    for handler, event in [
        ("on_frames_wanted", {"run": a.run, "steps": [0, 1]}),
        ("on_hold", {"run": a.run}),
        ("on_open_run", {"run": a.run, "step": 0}),
        ("on_fork", {"run": a.run, "step": 0}),
        ("on_what_if", {"run": a.run, "step": 0, "id": 1}),
        ("on_what_if_models", {"run": a.run, "step": 0, "id": 1}),
    ]:
        answer = json.dumps(b.press(handler, event))
        assert "alpha" not in answer, handler
        assert "frames" not in answer, handler


def test_public_answers_name_nobody(two):
    running, a, b = two
    answers = [running.web.get(path).text for path in ("/", "/config", "/gradio_api/info", "/healthz", "/counters")]
    answers.append(running.web.get("/gradio_api/queue/status").text)
    for answer in answers:
        for one in (a.run, a.session, "alpha", b.run, b.session, "beta"):
            assert one not in answer


# --------------------------------------------------------------------------------------------------------- files


def file_of(running, path) -> int:
    return running.web.get(f"/gradio_api/file={quote(str(path))}").status_code


def test_a_saved_file_is_found_by_whoever_has_its_address_and_by_no_guess(two):
    running, a, b = two
    path = Path(a.saved())
    assert file_of(running, path) == 200
    folder = path.parent
    assert len(folder.name) > len("specviz-") + 20, "nobody guesses it"
    elsewhere = folder.parent / "x" / ".." / path.name
    for guess in (folder, folder.parent, folder.parent / path.name, elsewhere, "/etc/passwd"):
        assert file_of(running, guess) == 403
    for guess in (f"{folder}/../..", f"{folder.parent}/*/{path.name}"):
        assert file_of(running, guess) == 403
    others = Path(b.saved())
    assert others.parent != folder
    assert a.run not in others.name


def test_no_copy_of_a_saved_file_stays_in_the_cache(two):
    _, a, _ = two
    path = Path(a.saved())
    found = list(path.parents[1].rglob(path.name))
    assert path in found
    assert all(one.parent.name.startswith("specviz-") for one in found)


def test_an_upload_is_gone_once_it_is_read(two, tmp_path):
    running, _, b = two
    from specviz.trace.io import save_trace

    save_trace(sample_trace(steps=1), tmp_path / "mine.json")
    with (tmp_path / "mine.json").open("rb") as file:
        (path,) = running.web.post("/gradio_api/upload", files={"files": file}).json()
    assert Path(path).is_file()
    opened = b.press("on_upload", open_a_trace_file={"path": path, "meta": {"_type": "gradio.FileData"}})
    assert '"frames"' in opened[0]
    assert not Path(path).exists()
    assert file_of(running, path) == 403


def test_a_file_that_two_have_sent_is_each_ones_own(two, tmp_path):
    running, _, _ = two
    visitors = running.visitor(), running.visitor()
    from specviz.trace.io import save_trace

    save_trace(sample_trace(steps=1), tmp_path / "ours.json")
    sent = {"files": ("ours.json", (tmp_path / "ours.json").read_bytes())}
    paths = [running.web.post("/gradio_api/upload", files=sent).json()[0] for _ in range(2)]
    assert paths[0] != paths[1]
    for visitor, path in zip(visitors, paths, strict=True):
        opened = visitor.press("on_upload", open_a_trace_file={"path": path, "meta": {"_type": "gradio.FileData"}})
        assert '"frames"' in opened[0]
        assert not Path(path).exists()


@pytest.mark.parametrize("name", ["gone.json", "x" * 5000, "a\0b", ""])
def test_an_upload_that_is_not_there_is_told_without_naming_a_folder(tmp_path, name):
    with pytest.raises(TraceError) as caught:
        opening.uploaded(Readers(Limits()), f"{tmp_path}/{name}", 1000, Client())
    assert str(caught.value) == "The file is not here any more; send it again."


def test_only_what_was_uploaded_is_ever_removed(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "cache"))
    inside = tmp_path / "cache" / "hash" / "a.json"
    link = tmp_path / "cache" / "hash" / "link.json"
    outside = tmp_path / "a.json"
    inside.parent.mkdir(parents=True)
    inside.write_text("x")
    outside.write_text("x")
    link.symlink_to(outside)
    for path in (outside, link, PLOTLY_SCRIPT, inside.parent / ".." / ".." / "a.json"):
        forget_upload(str(path))
        assert Path(path).exists()
    forget_upload(str(inside))
    assert not inside.exists()
    forget_upload(str(inside))
    forget_upload(None)


# ---------------------------------------------------------------------------------------- session hashes, event ids


def test_a_session_that_is_guessed_is_a_new_one(two):
    running, _, _ = two
    guess = server.Visitor(running.url, running.page)
    listed = json.dumps(guess.press("on_list_runs"))
    guess.leave()
    assert "alpha" not in listed
    assert "beta" not in listed


def test_an_event_that_is_guessed_answers_nothing_and_stops_nothing(two, monkeypatch):
    from specviz.engine.session import Session

    running, a, b = two
    gate = server.Gate()
    monkeypatch.setattr(Session, "step", gate.around(Session.step))
    event = a.begin("on_run", prompt="alpha has a secret", seed=1, steps_a_run=3)
    gate.wait()
    number = next(i for i, fn in running.page.fns.items() if getattr(fn.fn, "__name__", "") == "on_run")
    for session in (b.session, "nobody"):
        body = {"session_hash": session, "fn_index": number, "event_id": uuid.uuid4().hex}
        running.web.post("/gradio_api/cancel", json=body)
    b.press("on_stop")
    gate.let(3)
    last = json.loads(a.wait(event)[0])
    assert last["run"]["steps"] == 5, "neither another's Stop nor a guessed cancellation ended it"


# --------------------------------------------------------------------------------------------------------- links


def test_a_link_opens_its_run_for_whoever_has_it_and_no_other_name_does(two):
    running, a, b = two
    block = json.loads(a.press("on_hold", {"run": a.run})[0])
    name = block["link"]["name"]
    opened = b.press("on_load", query={"trace": name})
    assert a.run in opened[0]
    for guess in ("h-" + "a" * 16, a.run, name[:-1], f"../held/{name}"):
        said = running.visitor().press("on_load", query={"trace": guess})[0]
        assert "unknown here or has expired" in said
        assert "alpha" not in said


def test_a_comparison_is_known_by_a_name_that_cannot_be_guessed(two):
    running, _, _ = two
    owners = (getattr(fn.fn, "__self__", None) for fn in running.page.fns.values())
    shelf = next(owner for owner in owners if isinstance(owner, CompareTab)).store
    key = shelf.add(Opened("mine", "", {}), tempfile.TemporaryDirectory())
    assert len(key) >= 16
    assert key not in dict(shelf.names()).values()
    with pytest.raises(SettingsError, match="no such comparison"):
        shelf.open_listed(key[:-1])
    shelf.remove(key)
    with pytest.raises(SettingsError, match="not open any more"):
        shelf.get(key)
