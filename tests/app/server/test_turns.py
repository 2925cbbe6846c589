"""The queue: shares, turns, and clicks that nobody waits for."""

from __future__ import annotations

import asyncio
import json
import time
from types import SimpleNamespace
from typing import Any

import gradio as gr
import httpx
import pytest
from gradio.queueing import EventQueue

from specviz.app.blocks import MODEL_WORK, Page
from specviz.app.server import turns
from specviz.app.server.limits import WAITING_FILES, Limits
from specviz.app.server.metrics import COUNTS
from specviz.app.server.streams import STREAMS
from specviz.engine.session import Session
from tests import server

SHARES = Limits(public=True, queue=16)
"""Of which a session has two and an address eight."""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    with server.serving(folder, limits=SHARES) as running:
        yield running


@pytest.fixture
def stranger(served):
    """Another address of this machine."""
    transport = httpx.HTTPTransport(local_address="127.0.0.2")
    with httpx.Client(base_url=served.url, transport=transport, timeout=60) as web:
        yield web


def click(visitor: server.Visitor, session: str) -> dict[str, Any]:
    number, step = visitor._function("on_step")
    return visitor._asked(number, step, None, {}) | {"session_hash": session}


def nothing_left(queue: Any) -> bool:
    """Of the events, and of what is counted of clients."""
    waiting = [event for line in queue.event_queue_per_concurrency_id.values() for event in line.queue]
    return not waiting and not any(queue.active_jobs) and not queue.event_ids_to_events


def test_clicks_of_made_up_visitors_take_a_share_and_are_dropped_and_no_header_changes_that(
    served, stranger, gate, monkeypatch
):
    honest, works = served.visitor(), served.visitor()
    working = works.begin("on_step")
    gate.wait()
    answers = []
    for number in range(33):
        forged = {"X-Forwarded-For": f"198.51.100.{number}", "Forwarded": f"for=198.51.100.{number}"}
        made_up = click(honest, f"made up {number}")
        answers.append(stranger.post("/gradio_api/queue/join", json=made_up, headers=forged))
    assert [answer.status_code for answer in answers] == [200] * 8 + [503] * 25
    assert "all the places among the clicks that wait for the models that one visitor can have (8)" in answers[-1].text
    monkeypatch.setattr(turns, "LISTEN_SECONDS", 0.0)
    runs = COUNTS["runs"]
    clicked = honest.begin("on_step")
    gate.let(2)
    assert "run" in json.loads(honest.wait(clicked)[0])
    assert "run" in json.loads(works.wait(working)[0])
    server.until(lambda: nothing_left(served.page._queue))
    assert COUNTS["runs"] == runs + 2
    late = stranger.get("/gradio_api/queue/data", params={"session_hash": "made up 0"})
    assert turns.UNHEARD in late.text


def test_one_session_has_a_share_of_its_own(served, gate):
    visitor = served.visitor()
    _, last = visitor.begin("on_step"), visitor.begin("on_step")
    answer = served.web.post("/gradio_api/queue/join", json=click(visitor, visitor.session))
    assert answer.status_code == 503
    assert "one visitor can have (2)" in answer.text
    gate.let(2)
    visitor.wait(last)
    server.until(lambda: nothing_left(served.page._queue))


def test_a_program_that_asks_for_its_answer_later_gets_it_and_nothing_runs_before(served):
    started = COUNTS["runs"]
    visitor = served.visitor()
    number, fn = visitor._function("on_step")
    data = visitor._asked(number, fn, None, {"prompt": "by hand"})["data"]
    inputs = [value for value, block in zip(data, fn.inputs, strict=True) if not block.stateful]
    event = served.web.post("/gradio_api/call/step", json={"data": inputs}).json()["event_id"]
    visitor.step()  # all others go before it
    assert COUNTS["runs"] == started + 1
    answer = served.web.get(f"/gradio_api/call/step/{event}").text
    assert "event: complete" in answer
    assert "by hand" in answer
    server.until(lambda: nothing_left(served.page._queue))


@pytest.mark.parametrize("how", ["cancelled while it waits", "left", "failed"])
def test_however_an_event_ends_its_place_is_free(served, gate, monkeypatch, how):
    if how == "failed":
        monkeypatch.setattr(Session, "step", lambda _: 1 / 0)
    visitor = served.visitor()
    event = visitor.begin("on_step")
    if how == "failed":
        visitor.wait(event)
    else:
        gate.wait()
    if how == "cancelled while it waits":
        cancelled = {"session_hash": visitor.session, "fn_index": -1, "event_id": visitor.begin("on_step")}
        assert visitor._web.post("/gradio_api/cancel", json=cancelled).status_code == 200
    if how == "left":
        visitor.leave()
        served.visitors.remove(visitor)
    gate.let(1)
    server.until(lambda: nothing_left(served.page._queue), seconds=10)


def test_answers_that_nobody_reads_take_a_share_and_then_no_click_of_their_page_begins(served, monkeypatch):
    monkeypatch.setattr(turns, "ANSWERS_WAITING", 24_000_000)  # a session has three
    away, library = served.visitor(), served.visitor()
    opened = away.press("on_open", open_a_recorded_run="default-4-2-2")
    run = json.loads(opened[0])[0]["run"]["id"]
    waiting = served.page._queue.pending_messages_per_session
    handler, size = "on_open_run", len(opened[0])
    fits = 3_000_000 // size
    asked = [away.begin(handler, {"run": run, "step": 0})]
    server.until(lambda: nothing_left(served.page._queue))
    for _ in range(fits + 1):
        asked.append(away.begin(handler, {"run": run, "step": 0}))
        server.until(lambda: nothing_left(served.page._queue) or waiting[away.session].are_full)
    asked.append(away.begin(handler, {"run": run, "step": 0}))
    assert fits * size < waiting[away.session].size < 3_000_000
    assert "run" in library.step(), "another page is answered"
    monkeypatch.setattr(turns, "LISTEN_SECONDS", 0.0)
    server.until(lambda: nothing_left(served.page._queue))
    with served.web.stream("GET", "/gradio_api/queue/data", params={"session_hash": away.session}) as stream:
        said = [json.loads(line.removeprefix("data:")) for line in stream.iter_lines() if line.startswith("data:")]
    ends = {one["event_id"]: one for one in said if one["msg"] == "process_completed"}
    assert [ends[event]["success"] for event in asked] == [True] * fits + [False] * (len(asked) - fits)
    assert turns.UNHEARD in str(ends[asked[-1]]["output"])
    monkeypatch.undo()
    assert waiting[away.session].size == 0
    assert "run" in away.step(), "it has read them, and goes on"


# ------------------------------------------------------------------------------------------------- without a server


@pytest.fixture
def page() -> Page:
    return Page(SHARES, analytics_enabled=False)


def event_of(session: str, address: str, sent: float | None = None) -> Any:
    scope = {"client": (address, 1234)}
    return SimpleNamespace(
        _id=f"event of {session}",
        session_hash=session,
        request=SimpleNamespace(scope=scope),
        concurrency_id=MODEL_WORK,
        enqueue_time=time.monotonic() if sent is None else sent,
        fn=SimpleNamespace(batch=False),
        alive=True,
    )


def line_of(page: Page, events: list[Any]) -> EventQueue:
    line = EventQueue(MODEL_WORK, 1)
    line.queue = events
    page._queue.event_queue_per_concurrency_id[MODEL_WORK] = line
    return line


def test_addresses_take_turns_and_among_them_sessions(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(STREAMS, "is_open", lambda _: True)
    many = [event_of(session, "127.0.0.2") for session in ("a", "a", "b", "c")]
    line = line_of(page, many)
    begun = [page._queue.get_events()]
    line.queue += [event_of("honest", "127.0.0.1"), event_of("other", "127.0.0.3")]
    begun += [page._queue.get_events() for _ in range(5)]
    sessions = [found[0][0].session_hash for found in begun if found]
    assert sessions == ["a", "honest", "other", "b", "c", "a"]
    assert page._queue.get_events() is None


def test_turns_in_another_line_do_not_count(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """A visitor who looked at runs while their step waited had no turn as long as somebody else only stepped."""
    monkeypatch.setattr(STREAMS, "is_open", lambda _: True)
    line = line_of(page, [event_of("a", "127.0.0.2"), event_of("b", "127.0.0.2")])
    page._queue.event_queue_per_concurrency_id["files"] = files = EventQueue("files", None)
    assert page._queue.get_events()[0][0].session_hash == "a"
    line.queue.append(event_of("honest", "127.0.0.1"))
    line.current_concurrency = 1
    for _ in range(3):
        files.queue.append(event_of("looks", "127.0.0.1"))
        files.queue[0].concurrency_id = "files"
        assert page._queue.get_events()[0][0].session_hash == "looks"
    line.current_concurrency = 0
    assert page._queue.get_events()[0][0].session_hash == "honest"


def test_of_one_address_so_many_files_are_begun_that_none_is_refused_and_the_others_wait_without_a_thread(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(STREAMS, "is_open", lambda _: True)
    line = line_of(page, [event_of(f"{number}", "127.0.0.2") for number in range(30)])
    line.concurrency_limit = None
    line.queue += [event_of("honest", "127.0.0.1") for _ in range(3)]
    jobs: list[Any] = []
    page._queue.active_jobs = jobs
    while found := page._queue.get_events():
        jobs.append(found[0])
    begun = [event.session_hash for job in jobs for event in job]
    assert len(begun) == WAITING_FILES // 2 + WAITING_FILES // 8, "half of an address, an eighth of a session"
    assert begun.count("honest") == WAITING_FILES // 8
    del jobs[0]
    found = page._queue.get_events()
    assert found is not None
    assert found[0][0].session_hash not in begun


def test_an_event_waits_for_its_listener_and_not_for_ever(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: set[str] = set()
    monkeypatch.setattr(STREAMS, "is_open", heard.__contains__)
    long_ago = time.monotonic() - turns.LISTEN_SECONDS - 1
    first, forgotten, second = event_of("a", "127.0.0.2"), event_of("b", "127.0.0.2", long_ago), event_of("c", "::1")
    line = line_of(page, [first, forgotten, second])
    heard.add("c")
    assert page._queue.get_events() == ([second], False, MODEL_WORK)
    assert line.queue == [first]
    assert page._queue.get_events() is None
    heard.add("event of a")
    assert page._queue.get_events() == ([first], False, MODEL_WORK)


def test_whoever_waits_when_the_server_stops_is_told_while_a_step_is_finished(page: Page) -> None:
    queue = page._queue
    line = line_of(page, [event_of("a", "127.0.0.2"), event_of("b", "127.0.0.3")])
    line.current_concurrency = 1
    queue.pending_messages_per_session["a"] = turns.AsyncQueue()
    told = queue.pending_messages_per_session["a"]
    page.turns.end()
    assert page.turns.waiting == 2
    assert queue.get_events() is None
    assert page.turns.waiting == 0
    message = told.get_nowait()
    assert not message.success
    assert message.output["error"] == turns.STOPPING
    body = SimpleNamespace(fn_index=None, session_hash="next")
    assert asyncio.run(queue.push(body, event_of("next", "::1").request, None)) == (False, turns.STOPPING, "queue_full")


def test_an_event_whose_end_was_cut_short_is_forgotten(page: Page) -> None:
    """Gradio forgets it after its places are free, and does not where it is cancelled a second time in between."""
    queue = page._queue
    queue.event_ids_to_events = {"gone": event_of("gone", "127.0.0.2"), "here": event_of("here", "127.0.0.2")}
    queue.event_ids_to_events["here"]._id = "here"
    line_of(page, [queue.event_ids_to_events["here"]])
    body = SimpleNamespace(fn_index=None, session_hash="next")
    assert asyncio.run(queue.push(body, event_of("next", "::1").request, None))[2] == "error"
    assert list(queue.event_ids_to_events) == ["here"]


def test_a_run_that_nobody_hears_any_more_ends_between_two_steps(page: Page) -> None:
    page._queue.event_ids_to_events["1"] = event_of("gone", "127.0.0.2")
    with pytest.raises(gr.Error, match="Nobody listened"):
        asyncio.run(page.process_api(event_id="1"))


def test_a_session_that_is_listened_for_is_told_whoever_comes(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradio's own cache of messages forgets the oldest, and the queue of everybody then ends with a KeyError."""
    monkeypatch.setattr(STREAMS, "is_open", {"honest"}.__contains__)
    messages = page._queue.pending_messages_per_session
    messages.max_size = 3
    for number in range(9):
        for session in ("honest", f"made up {number}"):
            messages.setdefault(session, turns.AsyncQueue())
            page._queue.pending_event_ids_session[session] = {session}
    assert list(messages) == ["honest", "made up 7", "made up 8"]
    assert set(page._queue.pending_event_ids_session) == set(messages)
    page._queue.send_message(event_of("made up 0", "127.0.0.2"), SimpleNamespace())
    assert "made up 0" not in messages
