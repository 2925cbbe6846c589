"""What the page answers with is bounded by bytes, whatever the run is and whatever is asked for."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from specviz.app import answers, run_handlers
from specviz.app.answers import LargeAnswers
from specviz.app.handlers import Actions
from specviz.app.proofs import Proofs
from specviz.app.server.limits import LARGE_RUN_BYTES, Limits
from specviz.app.server.session_registry import Sessions
from specviz.app.server.share_store import ShareStore
from specviz.app.server.trace_store import StoredTrace
from specviz.errors import BusyError, SettingsError
from specviz.figures import block, dump_block, fitting_block, standalone_page
from specviz.figures.diff import MOST_CHARACTERS, comparison_value
from specviz.figures.export import save_page, write_page
from specviz.trace.breakpoints import first_hit, hits, parse_short
from specviz.trace.diff import compare
from specviz.trace.io import dump_trace, parse_trace
from specviz.trace.schema import Trace
from tests.sample_traces import sample_trace
from tests.saved_pages import block_in

REQUEST: Any = SimpleNamespace(session_hash="page", request=SimpleNamespace(scope={"client": ("127.0.0.1", 1)}))


@pytest.fixture(scope="module")
def trace() -> Trace:
    return sample_trace(steps=4)


def test_a_position_is_given_once_however_often_it_is_asked_for(trace: Trace) -> None:
    given = json.loads(run_handlers.wanted_block(trace, trace.id, [0] * 24 + [True, -1, "1", None, 2]))
    assert [frame["step"] for frame in given["frames"]] == [0, 2]
    assert given["left"] == []


def test_what_does_not_fit_is_left_to_be_asked_for(trace: Trace) -> None:
    whole = block(trace, range(4))
    sizes = [len(dump_block(frame).encode()) for frame in whole["frames"]]
    room = sizes[3] + sizes[1]
    given = json.loads(fitting_block(trace, [3, 1, 0], room, 10**6, go=3))
    assert [frame["step"] for frame in given["frames"]] == [3, 1]
    assert given["left"] == [0]
    assert (given["run"], given["go"]) == (json.loads(json.dumps(whole["run"])), 3)
    alone = json.loads(fitting_block(trace, [2, 1], 1, 10**6))
    assert [frame["step"] for frame in alone["frames"]] == [2], "one at least, or nothing would ever come"


def test_a_frame_that_is_too_large_alone_is_a_sentence_in_its_place(trace: Trace) -> None:
    largest = 20_000  # the head of a run has 10 kB
    given = json.loads(fitting_block(trace, range(4), 10**6, largest))
    assert min(len(dump_block(frame)) for frame in block(trace, range(4))["frames"]) > largest
    assert given["frames"] == given["left"] == []
    assert [one["step"] for one in given["refused"]] == [0, 1, 2, 3]
    assert "more than the 0.02 MB" in given["refused"][0]["text"]


def test_an_answer_over_the_limit_is_one_sentence(trace: Trace, monkeypatch: pytest.MonkeyPatch) -> None:
    value = {"x": "ü" * 600}
    monkeypatch.setattr(answers, "ANSWER_BYTES", 1_000)
    with pytest.raises(SettingsError, match=r"more than the 0\.001 MB"):
        answers.bounded(value)
    monkeypatch.setattr(answers, "ANSWER_BYTES", 1_300)
    assert json.loads(answers.bounded(value)) == value
    stored = StoredTrace(trace)
    said = json.loads(asyncio.run(run_handlers.wanted_frames(LargeAnswers(Limits()), REQUEST, stored, [0])))
    assert "record it with fewer verifiers" in said["notice"]["text"]


def test_long_texts_are_compared_by_their_beginnings(trace: Trace) -> None:
    value = json.loads(dump_trace(trace))
    for token in (token for step in value["steps"] for token in step["tokens"]):
        token["text"] = "x" * 1_000
    long = parse_trace(json.dumps(value).encode())
    whole = long.model_copy(update={"steps": long.steps * 100})
    found = comparison_value(compare(whole, whole, ("A", "B")))
    shown = sum(map(len, found["texts"][0]["text"]))
    assert MOST_CHARACTERS - 2_000 < shown <= MOST_CHARACTERS
    assert any("their beginnings are shown" in line for line in found["said"])
    assert not any("beginnings" in line for line in comparison_value(compare(trace, trace, ("A", "B")))["said"])


def test_of_answers_about_large_runs_one_is_made_at_a_time_and_a_client_has_a_share() -> None:
    large, at_work, together = LargeAnswers(Limits(public=True)), 0, threading.Barrier(3)

    def alone() -> str:
        nonlocal at_work
        at_work += 1
        time.sleep(0.01)
        at_work -= 1
        return "together" if at_work else "alone"

    async def ask(count: int, size: int, work: Callable[[], Any]) -> list[Any]:
        asking = (large.make(REQUEST, size, work) for _ in range(count))  # type: ignore[arg-type]
        return await asyncio.gather(*asking, return_exceptions=True)

    found = asyncio.run(ask(10, LARGE_RUN_BYTES + 1, alone))
    assert [one for one in found if isinstance(one, str)] == ["alone"] * 8, "an eighth of 64"
    assert sum(isinstance(one, BusyError) for one in found) == 2
    places = asyncio.run(ask(3, LARGE_RUN_BYTES, lambda: together.wait(30)))
    assert sorted(places) == [0, 1, 2], "small ones do not wait for each other"


def test_clients_take_turns_at_large_answers_and_whoever_left_has_none() -> None:
    large, order = LargeAnswers(Limits(public=True)), []

    def of(session: str, address: str) -> Any:
        return SimpleNamespace(session_hash=session, request=SimpleNamespace(scope={"client": (address, 1)}))

    async def ask() -> None:
        clients = [*[("a", "192.0.2.1")] * 4, *[("b", "192.0.2.1")] * 2, ("honest", "192.0.2.2")]
        asked = [
            asyncio.create_task(large.make(of(*client), LARGE_RUN_BYTES + 1, order.append, client[0]))
            for client in clients
        ]
        await asyncio.sleep(0)  # the first is at work, the others wait
        asked[1].cancel()
        await asyncio.gather(*asked, return_exceptions=True)

    asyncio.run(ask())
    assert order == ["a", "honest", "b", "a", "b", "a"]
    assert large._pool.held == 0
    assert not large._at_work


def test_whatever_goes_over_a_whole_run_waits_for_its_turn(tmp_path: Path) -> None:
    class Busy(LargeAnswers):
        async def make(self, _: Any, size: int, *__: Any) -> Any:
            raise BusyError(f"busy with {size}")

    actions = Actions(Sessions(), ShareStore(tmp_path), Proofs(), sample_trace(steps=4))
    actions.large_answers = Busy(Limits())
    run = actions.start.runs[0]
    asked: Any = SimpleNamespace(_data={"run": run.id, "step": 0, "steps": [0]})
    stops = [component.value for component in actions.stops.components.values()]
    hold, _ = asyncio.run(actions.on_hold(None, asked, REQUEST))
    what_if = asyncio.run(actions.on_what_if(None, asked, REQUEST))
    hit = asyncio.run(actions.on_next_hit("0", None, REQUEST, *stops))
    for text in (hold, what_if, hit):
        assert json.loads(text)["notice"]["text"] == f"busy with {run.stored.size}"
    assert not list(tmp_path.iterdir())


def test_the_next_hit_begins_anew_after_the_last_one(trace: Trace) -> None:
    until = parse_short(["parting"])
    last = max(i for i in range(len(trace.steps)) if hits(trace, i, until))
    first = first_hit(trace, 0, until)
    assert first is not None
    again = json.loads(run_handlers.next_hit(trace, last + 1, until))
    assert again["look"]["step"] == first.position
    assert f"no step after step {last + 1} hits one" in again["notice"]["text"]
    none = json.loads(run_handlers.next_hit(trace, 1, parse_short(["text=nowhere in it"])))
    assert none["notice"]["text"] == "No step hits a breakpoint."


def test_a_viewer_that_has_its_share_is_told_to_ask_again(trace: Trace) -> None:
    class Busy(LargeAnswers):
        async def make(self, *_: Any) -> Any:
            raise BusyError("busy")

    said = asyncio.run(run_handlers.wanted_frames(Busy(Limits()), REQUEST, StoredTrace(trace), [2, 2, 1]))
    assert json.loads(said) == {"fills": True, "left": [2, 1]}


def test_a_saved_page_is_written_frame_by_frame_and_bounded(trace: Trace, tmp_path: Path) -> None:
    path = tmp_path / "run.html"
    save_page(trace, path, go=1)
    page = path.read_text(encoding="utf-8")
    assert page == standalone_page(trace, go=1)
    assert block_in(page) == json.loads(json.dumps({**block(trace, range(4), go=1), "refused": []}))
    with pytest.raises(SettingsError, match="is larger than"):
        write_page(trace, path, most_bytes=len(page) // 2)
    assert not path.exists(), "half a page is none"
