"""Runs that make room for those of others: whose go first, and that their page is told and starts nothing by itself."""

from __future__ import annotations

import json
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

from specviz.app.blocks import Page
from specviz.app.page_state import LOST, PageState, Run
from specviz.app.server import page_states
from specviz.app.server.limits import Limits
from specviz.app.server.metrics import COUNTS
from specviz.app.server.page_states import PageStates
from specviz.app.server.session_registry import Live, Sessions, Ticket
from specviz.app.server.streams import STREAMS
from specviz.app.server.visitors import MOST_PAGES, Visitors
from specviz.models.pair_spec import ModelChoice
from tests import pairs, server


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    with server.serving(folder, limits=Limits(public=True, visitors=3)) as running:
        yield running


def states(running: server.Server) -> PageStates:
    found = running.page.app.state_holder
    assert isinstance(found, PageStates)
    return found


def cheap_posts(running: server.Server, count: int) -> None:
    """Somebody's who opens no page: each makes a state on the server, of another session."""
    for one in range(count):
        body = nothing_new(running, f"made up {one}")
        assert running.web.post("/gradio_api/run/predict", json=body).status_code == 200


def nothing_new(running: server.Server, session: str) -> dict:
    number = next(i for i, fn in running.page.fns.items() if fn.api_name == "stop")
    return {"data": [], "fn_index": number, "session_hash": session}


def said(text: str) -> str:
    return json.loads(text)["notice"]["text"]


def test_cheap_posts_of_made_up_sessions_leave_the_runs_of_an_open_page(served):
    visitor = served.visitor()
    run = visitor.step(prompt="mine")["run"]["id"]
    cheap_posts(served, 9)
    assert len(states(served).session_data) == 3
    assert visitor.step(prompt="mine")["run"] == {**visitor_run(visitor), "id": run, "steps": 2}
    visitor.leave()
    served.visitors.remove(visitor)


def visitor_run(visitor: server.Visitor) -> dict:
    """What the page was last told of its run."""
    told = [json.loads(line.removeprefix("data:")) for line in visitor.heard if "process_completed" in line]
    return json.loads(told[-1]["output"]["data"][0])["run"]


@pytest.mark.parametrize("how", ["room", "hours"])
def test_a_page_whose_runs_are_gone_is_told_at_its_next_click_and_starts_none(served, how):
    away = server.Visitor(served.url, served.page)
    run = away.step(prompt="mine")["run"]["id"]
    away.leave()  # it sleeps
    session = states(served).session_data[away.session]
    if how == "room":
        cheap_posts(served, 4)
        assert away.session not in states(served).session_data
    else:
        server.until(lambda: session.is_closed)
        session.STATE_TTL_WHEN_CLOSED = -1
        states(served).delete_all_expired_state()
    back = served.visitor()
    back.session = away.session
    with back._web.stream("GET", f"/gradio_api/heartbeat/{back.session}"):
        runs = COUNTS["runs"]
        for handler in ("on_hold", "on_open_run", "on_fork", "on_what_if", "on_frames_wanted"):
            answer = back.press(handler, {"run": run, "step": 0, "steps": [0]})
            assert said(answer[0] if isinstance(answer, list) else answer) == LOST, handler
        assert said(back.press("on_next_hit", parting=True)[0]) == LOST
        assert said(back.press("on_step", prompt="mine")[0]) == LOST
        assert COUNTS["runs"] == runs
        assert back.step(prompt="mine")["run"]["id"] != run
        assert COUNTS["runs"] == runs + 1
    served.visitors.remove(back)


def test_a_new_page_is_told_nothing_of_the_kind(served):
    cheap_posts(served, 4)
    assert "run" in served.visitor().step(prompt="first")
    assert not PageState().lost


def test_a_made_up_session_costs_no_configuration_of_all_components(served):
    cheap_posts(served, 1)
    assert len(states(served).session_data["made up 0"].config_values) < 5 < len(served.page.blocks)


def test_pages_make_room_for_the_bytes_of_runs_and_whoever_holds_most_gives(monkeypatch):
    """Files of noise that 100 pages have opened were ten gigabytes."""

    def keeps(session: str, megabytes: int, is_shared: bool = False) -> PageState:
        stored = SimpleNamespace(id=session, held_bytes=megabytes * 1024 * 1024, is_shared=is_shared)
        state = PageState(runs=(Run(stored, session, ModelChoice()),))
        held[session].state_data[0] = state
        return state

    monkeypatch.setattr(page_states, "KEPT_BYTES", 16 * 1024 * 1024)
    held = PageStates(addresses_count=True)
    held.set_blocks(Page(Limits(public=True), analytics_enabled=False))
    with ExitStack() as there:
        listening(there, "honest", "looks")
        listening(there, "a", "b", "c", host="192.0.2.2")
        keeps("honest", 4)
        keeps("looks", 99, is_shared=True)
        assert held["looks"]
        keeps("gone", 3)
        for session in ("a", "b"):
            keeps(session, 4)
        assert list(held.session_data) == ["honest", "looks", "gone", "a", "b"]
        keeps("c", 4)
        assert held["c"]
        assert list(held.session_data) == ["honest", "looks", "a", "b", "c"], "nobody has this one open"
        keeps("c", 8)
        assert held["honest"]
        assert list(held.session_data) == ["looks", "b", "c", "honest"], "the oldest of the address that holds most"
        keeps("honest", 99)
        assert held["honest"]
        assert list(held.session_data) == ["looks", "honest"], "whoever has nothing makes no room"


# --------------------------------------------------------------------------------- live runs, and what pages have


class Caches:
    """Takes the place of a session."""

    end_reason = None

    def __init__(self, megabytes: int):
        self.held_bytes = megabytes * 1024 * 1024


def listening(there: ExitStack, *pages: str, host: str = "192.0.2.1") -> None:
    for page in pages:
        there.enter_context(STREAMS.opened(page, {"client": (host, 1)}))


def test_caches_of_a_page_that_nobody_has_open_make_room_first_then_those_of_the_client_with_most() -> None:
    settings = pairs.make_settings()

    def add(page: str, megabytes: int = 1) -> Ticket:
        return sessions.add(Live(Caches(megabytes), ModelChoice(), "prompt", settings, page))

    sessions = Sessions(limits=Limits(live_runs=4, live_mb=100))
    with ExitStack() as there:
        listening(there, "honest")
        listening(there, "a", "b", host="192.0.2.2")
        tickets = {page: add(page) for page in ("honest", "gone", "a", "b")}
        add("c")
        left = [page for page, ticket in tickets.items() if ticket.key in sessions._live]
        assert left == ["honest", "a", "b"]
        listening(there, "c", host="192.0.2.2")
        tickets["d"] = add("d")
        left = [page for page, ticket in tickets.items() if ticket.key in sessions._live]
        assert left == ["honest", "b", "d"]
        listening(there, "d", host="192.0.2.3")
        add("d", 98)
        assert tickets["honest"].key in sessions._live, "the client that has most gives, however old it is"


def test_what_an_open_page_has_is_not_given_back_for_pages_that_nobody_has_open() -> None:
    visitors, gone = Visitors(Sessions()), []
    with ExitStack() as there:
        listening(there, "honest")
        for page in ["honest", *(f"made up {number}" for number in range(MOST_PAGES + 1))]:
            visitors.register(page, "file", lambda page=page: gone.append(page))
    assert gone == ["made up 0", "made up 1"]
