"""Streams at the end of the server, and tabs that are closed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.exceptions import HTTPException

from specviz.app.server import ending
from specviz.app.server.ending import Ending, OpenPages, ended_in_order


async def endless(scope: Any, receive: Any, send: Any) -> None:
    """A stream as Gradio's: it never ends by itself, and says a last word when it is cancelled."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    try:
        while True:
            await send({"type": "http.response.body", "body": b"beat", "more_body": True})
            await asyncio.sleep(0.001)
    except asyncio.CancelledError:
        await send({"type": "http.response.body", "body": b"last", "more_body": True})
        raise


def test_a_stream_is_complete_after_the_server_has_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "GRACE_SECONDS", 0.05)

    async def stopped() -> list[dict[str, Any]]:
        sent: list[dict[str, Any]] = []
        end = Ending()

        async def send(message: Any) -> None:
            sent.append(message)

        stream = asyncio.ensure_future(ended_in_order(endless, end, {}, None, send))  # type: ignore[arg-type]
        await asyncio.sleep(0.02)
        await asyncio.get_running_loop().run_in_executor(None, end.begin)
        await asyncio.wait_for(stream, timeout=30)
        late: list[dict[str, Any]] = []

        async def send_late(message: Any) -> None:
            late.append(message)

        await asyncio.wait_for(ended_in_order(endless, end, {}, None, send_late), timeout=30)  # type: ignore[arg-type]
        assert late[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
        return sent

    *_, last, end = asyncio.run(stopped())
    assert last["body"] == b"last"
    assert end == {"type": "http.response.body", "body": b"", "more_body": False}


def test_what_a_stream_raises_is_raised_and_one_that_ends_by_itself_is_left_alone() -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError("of the application")

    sent: list[Any] = []

    async def short(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.body", "body": b"all"})

    async def send(message: Any) -> None:
        sent.append(message)

    async def both() -> None:
        await ended_in_order(short, Ending(), {}, None, send)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="of the application"):
            await ended_in_order(broken, Ending(), {}, None, send)  # type: ignore[arg-type]

    asyncio.run(both())
    assert sent == [{"type": "http.response.body", "body": b"all"}]


def test_an_answer_that_tells_of_an_error_is_complete() -> None:
    async def unknown(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"not found", "more_body": True})
        raise RuntimeError("response already started") from HTTPException(404)  # as Starlette does

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(ended_in_order(unknown, Ending(), {}, None, send))  # type: ignore[arg-type]
    assert sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


def test_a_page_is_closed_once_it_has_been_without_a_stream_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "RETURN_SECONDS", 0.05)
    closed: list[str] = []
    pages = OpenPages(closed.append)

    async def streams() -> None:
        pages.opened("a")
        pages.opened("a")  # a browser that opens the stream again before the old one is found dead
        pages.opened("b")
        pages.opened("c")
        for session in ("a", "b", "c"):
            pages.ended(session)
        pages.opened("c")  # and one that opens it again after it has broken
        await asyncio.sleep(0.2)

    asyncio.run(streams())
    pages._thread.shutdown()
    assert closed == ["b"]
    assert pages._streams == {"a": 1, "c": 1}
