"""Streams that end in order when the server stops, and pages whose last stream has ended.

Gradio's streams look every ten seconds whether the server still runs, and the server is gone after five: whoever
listened would find the answer broken off in the middle of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

RETURN_SECONDS = 1.0
"""How long a page may be without its stream: browsers open it anew when it breaks, and no run ends for that."""
GRACE_SECONDS = 1.0
"""How long a stream has for its last answers once the server stops, before it is ended."""


class Ending:
    """Whether the server of a page stops; from any thread."""

    def __init__(self) -> None:
        self._begun = False
        self._waiting: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Let every stream end."""
        with self._lock:
            self._begun = True
            for event, loop in self._waiting.items():
                with contextlib.suppress(RuntimeError):  # the loop is closed already
                    loop.call_soon_threadsafe(event.set)

    async def begun(self) -> None:
        """Wait until the server stops."""
        event = asyncio.Event()
        with self._lock:
            self._waiting[event] = asyncio.get_running_loop()
            if self._begun:
                event.set()
        try:
            await event.wait()
        finally:
            with self._lock:
                del self._waiting[event]


async def ended_in_order(app: ASGIApp, ending: Ending, scope: Scope, receive: Receive, send: Send) -> None:
    """Have ``app`` answer with a stream; if the server stops meanwhile, end the answer as one that is complete."""
    is_open = False

    async def watched(message: Message) -> None:
        nonlocal is_open
        is_open = message["type"] == "http.response.start" or bool(message.get("more_body"))
        await send(message)

    answer = asyncio.ensure_future(app(scope, receive, watched))
    stop = asyncio.ensure_future(ending.begun())
    try:
        await asyncio.wait({answer, stop}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            await asyncio.wait({answer}, timeout=GRACE_SECONDS)
        if answer.done():
            # Gradio tells of a session that there is not, and then raises in the middle of its answer, which Starlette
            # calls an error of its own.
            error = answer.exception()
            if not (is_open and error is not None and isinstance(error.__cause__, HTTPException)):
                answer.result()
                return
        else:
            answer.cancel()
            await asyncio.wait({answer}, timeout=GRACE_SECONDS)
        if is_open:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
    finally:
        for task in (answer, stop):
            task.cancel()


class OpenPages:
    """The pages whose tab is open, by the stream that each keeps open; tells when the last one of a page has ended.

    Gradio would tell, too, by an event of its own for each: it makes a state for the session that has left, and 800
    tabs that are closed at once keep it busy for half a minute.

    Args:
        closed: called with a session that has left, in a thread, one after the other.
    """

    def __init__(self, closed: Callable[[str], object]):
        self._closed = closed
        self._streams: Counter[str] = Counter()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="closed pages")

    def opened(self, session: str) -> None:
        self._streams[session] += 1

    def ended(self, session: str) -> None:
        self._streams[session] -= 1
        if self._streams[session] <= 0:
            del self._streams[session]
            asyncio.get_running_loop().call_later(RETURN_SECONDS, self._close, session)

    def _close(self, session: str) -> None:
        if session not in self._streams:
            with contextlib.suppress(RuntimeError):  # the process ends
                self._thread.submit(self._closed, session)
