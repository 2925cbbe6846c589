"""Who listens, and who makes room for others first."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import Any

import pytest

from specviz.app.server.ending import Ending
from specviz.app.server.limits import Limits
from specviz.app.server.middleware import Guard
from specviz.app.server.streams import STREAMS, Streams, stream_name


def request(path: str, query: str = "", method: str = "GET", host: str = "192.0.2.1") -> dict[str, Any]:
    asked = {"type": "http", "path": path, "query_string": query.encode(), "method": method, "headers": []}
    return asked | {"client": (host, 1234)}


@pytest.mark.parametrize(
    ("path", "query", "method", "name"),
    [
        ("/gradio_api/heartbeat/abc", "", "GET", "abc"),
        ("/gradio_api/queue/data", "session_hash=a%20b", "GET", "a b"),
        ("/gradio_api/call/step/e1", "", "GET", "e1"),
        ("/gradio_api/call/v2/step/e1", "", "GET", "e1"),
        ("/gradio_api/call/step", "", "POST", None),
        ("/gradio_api/queue/data", "", "GET", None),
        ("/gradio_api/queue/join", "", "POST", None),
        ("/", "", "GET", None),
    ],
)
def test_a_stream_has_the_name_of_a_session_or_of_an_event(
    path: str, query: str, method: str, name: str | None
) -> None:
    assert stream_name(request(path, query, method)) == name


def test_a_stream_is_open_while_it_is_answered_and_not_after_an_error() -> None:
    seen: list[bool] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        seen.append(STREAMS.is_open("of this test"))
        raise ConnectionResetError

    guard = Guard(application, lambda: (200, {}), Limits(), Ending(), lambda _: None)
    with pytest.raises(ConnectionResetError):
        asyncio.run(guard(request("/gradio_api/heartbeat/of this test"), None, None))  # type: ignore[arg-type]
    assert seen == [True]
    assert not STREAMS.is_open("of this test")


def test_two_streams_of_one_name_are_two() -> None:
    streams = Streams()
    with streams.opened("a", request("/")):
        with streams.opened("a", request("/")):
            pass
        assert streams.is_open("a")
    assert not streams.is_open("a")
    assert not streams._open, "names that strangers have made up would stay"


def test_whoever_is_not_there_makes_room_first_then_the_client_that_holds_most() -> None:
    streams = Streams()
    with ExitStack() as there:
        for name, host in (("a", "192.0.2.1"), ("b", "192.0.2.2"), ("c", "192.0.2.2"), ("d", "192.0.2.3")):
            there.enter_context(streams.opened(name, request("/", host=host)))
        assert streams.first_to_go([("a", 1), ("gone", 1), ("b", 1), ("too", 1)], addresses_count=True) == 1
        held = [("a", 1), ("b", 1), ("c", 1), ("d", 1), ("comes", 1)]
        assert streams.first_to_go(held, addresses_count=True) == 1, "two sessions of one address"
        assert streams.first_to_go(held, addresses_count=False) == 0, "the oldest, where only sessions are known"
        assert streams.first_to_go([*held, ("d", 5)], addresses_count=True) == 4, "nobody listens for what came last"
        assert streams.first_to_go([*held[:4], ("d", 5)], addresses_count=True) == 3, "by size, and what comes counts"
