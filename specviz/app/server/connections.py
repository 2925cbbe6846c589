"""Connections below HTTP: how many there are, how many of them one address has, and how long each may keep us waiting.

uvicorn waits without an end for a request that has begun, or was never begun, and for a reader who does not read. Each
such connection holds one of the files that a process may have open; with none left, nobody is answered any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from functools import partial
from types import SimpleNamespace
from typing import Any

import gradio.http_server
import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from specviz.app.server.clients import Client, client_of
from specviz.app.server.limits import BODY_BYTES_A_SECOND as READ_RATE
from specviz.app.server.limits import BODY_SECONDS as READ_SECONDS
from specviz.app.server.limits import Limits
from specviz.app.server.metrics import COUNTS
from specviz.app.server.pools import Pool
from specviz.errors import BusyError

OTHER_FILES = 512
"""Files that are no connections: those of models and traces, pipes, Gradio's own."""
HEADER_SECONDS = 20.0
"""How long a connection may wait until the head of its request is there."""
BODY_SECONDS = 2 * READ_SECONDS
BODY_RATE = READ_RATE
"""The body of a request may take so many seconds, and one more for each so many bytes that have come. Whoever takes it
in ends it sooner, with a sentence; this is for a body that nobody takes in."""
ANSWER_SECONDS = 60.0
ANSWER_RATE = 1024
"""Of an answer that a socket does not hold, so many bytes a second are to be read, looked at after so many seconds."""
KEEP_SECONDS = 15
"""How long a connection stays after an answer, for the next request of its page."""
HEAD_BYTES = 32 * 1024
"""Largest head of a request: its address and its headers."""


def listen_carefully(limits: Limits) -> None:
    """Have Gradio's next server take these connections only; Gradio makes it with no option of uvicorn's."""
    connections = Connections(limits.connections, limits)
    config = partial(
        uvicorn.Config,
        http=partial(GuardedProtocol, connections),  # type: ignore[arg-type]  # it is called, and nothing else
        ws="none",
        timeout_keep_alive=KEEP_SECONDS,
        h11_max_incomplete_event_size=HEAD_BYTES,
    )
    gradio.http_server.uvicorn = SimpleNamespace(Config=config)


class Connections:
    """The connections of a server.

    Args:
        total: how many there may be; fewer where the process cannot open so many files.
        limits: which proxies are believed: they connect for everybody, so that no share is theirs.
    """

    def __init__(self, total: int, limits: Limits):
        total = min(total, max(16, open_files(total + OTHER_FILES) - OTHER_FILES))
        self._pool: Pool = limits.pool("connections", total)
        self._limits = limits

    def take(self, transport: asyncio.BaseTransport) -> Client:
        """Count a new connection.

        Raises:
            BusyError: if its address has its share, or all are in use.
        """
        peer = transport.get_extra_info("peername")
        host = str(peer[0]) if isinstance(peer, tuple) and peer else ""
        client = client_of({"client": (host, 0)}, None, self._limits.addresses_count)
        if self._limits.is_proxy(host):
            client = Client()
        self._pool.take(client)
        return client

    def give_back(self, client: Client) -> None:
        self._pool.give_back(client)


class _Announced(h11.Connection):
    """Takes bodies whose length is announced, as browsers and Gradio's clients send them.

    In a body that comes in chunks each chunk is an event, and may hold one byte: a megabyte of these keeps the server,
    and with it everybody, for more than a second.
    """

    is_in_chunks = False

    def next_event(self) -> Any:
        event = super().next_event()
        if isinstance(event, h11.Request) and any(name == b"transfer-encoding" for name, _ in event.headers):
            self.is_in_chunks = True
            raise h11.RemoteProtocolError("a body in chunks", error_status_hint=411)
        return event


class GuardedProtocol(H11Protocol):
    """uvicorn's protocol, with a place among the :class:`Connections` and an end to each kind of waiting."""

    conn: _Announced

    def __init__(self, connections: Connections, *given: Any, **named: Any):
        super().__init__(*given, **named)
        self.conn = _Announced(h11.SERVER, HEAD_BYTES)
        self._connections = connections
        self._counted: Client | None = None
        self._waiting: asyncio.TimerHandle | None = None
        self._kind = ""
        self._begun = False
        self._until = 0.0
        self._reader: asyncio.TimerHandle | None = None
        self._unread = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection, or say that there is no place and close it."""
        super().connection_made(transport)
        try:
            self._counted = self._connections.take(transport)
        except BusyError as error:
            COUNTS.add("connections")
            transport.write(_refusal(503, str(error)))
            transport.close()
            return
        self._wait_for_more()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._counted is not None:
            self._connections.give_back(self._counted)
            self._counted = None
        for timer in (self._waiting, self._reader):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._counted is None or self.transport.is_closing():
            return
        self._begun = True
        super().data_received(data)
        if self._kind == "body":
            self._until += len(data) / BODY_RATE
        self._wait_for_more()

    def send_400_response(self, msg: str) -> None:
        """As uvicorn's, but whoever sends a body in chunks is told what to do instead."""
        if not self.conn.is_in_chunks:
            super().send_400_response(msg)
            return
        COUNTS.add("refused")
        self.transport.write(_refusal(411, "This request comes in chunks; send it with its length (Content-Length)."))
        self.transport.close()

    def on_response_complete(self) -> None:
        self._begun = False
        super().on_response_complete()
        if not self.transport.is_closing():
            self._wait_for_more()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._wait_for_reader()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._reader is not None:
            self._reader.cancel()
            self._reader = None

    def _wait_for_reader(self) -> None:
        self._unread = self.transport.get_write_buffer_size()
        self._reader = self.loop.call_later(ANSWER_SECONDS, self._check_reader)

    def _check_reader(self) -> None:
        if self._unread - self.transport.get_write_buffer_size() < ANSWER_RATE * ANSWER_SECONDS:
            COUNTS.add("slow")
            self._hang_up()
        else:
            self._wait_for_reader()

    def _wait_for_more(self) -> None:
        """Set the time until which what is being waited for has to be there, when that is something new."""
        kind = {h11.IDLE: "head", h11.SEND_BODY: "body"}.get(self.conn.their_state, "")
        if kind == self._kind:
            return
        self._kind = kind
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
        if kind:
            self._until = self.loop.time() + (HEADER_SECONDS if kind == "head" else BODY_SECONDS)
            self._waiting = self.loop.call_at(self._until, self._check)

    def _check(self) -> None:
        if self.flow.read_paused:  # it is we who do not take what is sent
            self._until = self.loop.time() + BODY_SECONDS
        if self.loop.time() < self._until:
            self._waiting = self.loop.call_at(self._until, self._check)
            return
        COUNTS.add("slow")
        if self._kind == "head" and not self.transport.is_closing():
            if self._begun:  # browsers open connections that they may need; those are closed without a word
                self.transport.write(_refusal(408, "The request did not come in time; send it again."))
            self.transport.close()
        else:
            self._hang_up()

    def _hang_up(self) -> None:
        # close() would wait until what is left has been read.
        self.transport.abort()


def open_files(wanted: int) -> int:
    """How many files this process may open, after it has asked the system for so many."""
    if sys.platform == "win32":
        return wanted  # there is no such limit
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return wanted if soft == resource.RLIM_INFINITY else soft


def _refusal(status: int, said: str) -> bytes:
    body = json.dumps({"detail": said}).encode()
    reason = {408: "Request Timeout", 411: "Length Required", 503: "Service Unavailable"}[status]
    head = f"HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Connection: close\r\n\r\n".encode() + body
