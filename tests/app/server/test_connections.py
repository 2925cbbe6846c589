"""Connections below HTTP: how many there may be, and how long each may keep the server waiting."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import gradio.http_server
import pytest

from specviz.app.server import connections
from specviz.app.server.limits import Limits
from specviz.app.server.metrics import COUNTS

LARGE = 8_000_000


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Takes a request whole and answers it with what it has heard; ``/large`` with far more than a socket holds."""
    if scope["type"] != "http":
        return
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    body = b"x" * LARGE if scope["path"] == "/large" else b"%d" % size
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": body})


@contextlib.contextmanager
def served(limits: Limits) -> Iterator[int]:
    """The port of a server that is made as Gradio makes its own."""
    connections.listen_carefully(limits)
    config = gradio.http_server.uvicorn.Config(app=application, host="127.0.0.1", port=0, log_level="warning")  # type: ignore[attr-defined]
    server = gradio.http_server.Server(config=config)
    server.run_in_thread()
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.force_exit = True
        server.close()


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times that a test can wait for."""
    for name, seconds in (("HEADER", 0.3), ("BODY", 0.3), ("ANSWER", 0.3)):
        monkeypatch.setattr(connections, f"{name}_SECONDS", seconds)


def opened(port: int, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(source, 0))


def answer(connection: socket.socket) -> bytes:
    """All that comes until the other end closes."""
    found = bytearray()
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            found += part
    return bytes(found)


GET = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"


def asked(port: int, source: str = "127.0.0.1") -> bytes:
    with opened(port, source) as connection:
        connection.sendall(GET)
        return answer(connection)


def until(holds: Callable[[], bool]) -> None:
    """Wait for something that is about to hold."""
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.01)


def test_an_address_that_has_its_share_is_told_so_and_others_are_answered() -> None:
    refused = COUNTS["connections"]
    with served(Limits(public=True, connections=8)) as port, contextlib.ExitStack() as idle:
        held = [idle.enter_context(opened(port, "127.0.0.2")) for _ in range(4)]
        with opened(port, "127.0.0.2") as fifth:
            said = answer(fifth)
        assert said.startswith(b"HTTP/1.1 503 ")
        assert b"You have all the connections that one visitor can have (4)" in said
        assert asked(port).startswith(b"HTTP/1.1 200 "), "an honest visitor is answered beside them"
        assert COUNTS["connections"] == refused + 1

        held[0].close()
        until(lambda: asked(port, "127.0.0.2").startswith(b"HTTP/1.1 200 "))


def test_where_addresses_count_for_nothing_only_the_total_holds_and_a_named_proxy_has_no_share() -> None:
    for limits in (
        Limits(public=True, connections=4, addresses_count=False),
        Limits(public=True, connections=4, proxies=("127.0.0.0/8",)),
    ):
        with served(limits) as port, contextlib.ExitStack() as idle:
            for _ in range(4):
                idle.enter_context(opened(port))
            with opened(port) as fifth:
                assert b"All the connections that this page has (4) are in use" in answer(fifth)


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"", b""),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX-Slow: ", b"HTTP/1.1 408 "),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nabc", b""),
        (GET.replace(b"Connection: close\r\n", b"") + b"GET /second HTTP/1.1\r\n", b"HTTP/1.1 200 "),
    ],
)
def test_what_does_not_come_in_time_is_not_waited_for(sent: bytes, said: bytes) -> None:
    with served(Limits()) as port, opened(port) as connection:
        connection.sendall(sent)
        assert answer(connection).startswith(said)


def trickle(connection: socket.socket) -> None:
    for _ in range(2_000):
        connection.sendall(b"x")
        time.sleep(0.01)


@pytest.mark.usefixtures("soon")
def test_a_head_or_a_body_that_trickles_is_not_waited_for_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "BODY_RATE", 1_000_000)
    for start in (b"GET / HTTP/1.1\r\nX: ", b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10000\r\n\r\n"):
        with served(Limits()) as port, opened(port) as connection:
            connection.sendall(start)
            with pytest.raises(ConnectionError):
                trickle(connection)


@pytest.mark.usefixtures("soon")
def test_a_body_that_keeps_coming_may_take_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "BODY_RATE", 10)
    with served(Limits()) as port, opened(port) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 200\r\n\r\n")
        for _ in range(20):
            connection.sendall(b"x" * 10)
            time.sleep(0.05)
        assert answer(connection).endswith(b"200")


@pytest.mark.usefixtures("soon")
def test_an_answer_that_nobody_reads_is_dropped_and_one_that_is_read_arrives() -> None:
    slow = COUNTS["slow"]
    with served(Limits()) as port, opened(port) as reader, opened(port) as sleeper:
        for connection in (reader, sleeper):
            connection.sendall(GET.replace(b"/ ", b"/large ", 1))
        assert len(answer(reader)) > LARGE
        until(lambda: COUNTS["slow"] == slow + 1)
        assert len(answer(sleeper)) < LARGE


def test_the_process_asks_for_the_files_it_needs_and_takes_fewer_connections_if_it_gets_fewer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "open_files", lambda wanted: min(wanted, 612))
    assert connections.Connections(1_000, Limits())._pool.total == 100
    monkeypatch.setattr(connections, "open_files", lambda wanted: wanted)
    assert connections.Connections(1_000, Limits())._pool.total == 1_000


def test_the_limit_of_open_files_is_raised_as_far_as_the_system_lets_it() -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    hard = 4096 if before[1] == resource.RLIM_INFINITY else before[1]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, hard), before[1]))
        assert connections.open_files(300) == min(300, hard)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(300, hard)
        assert connections.open_files(200) == min(300, hard), "it is never lowered"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_body_in_chunks_is_refused_before_they_are_looked_at() -> None:
    refused = COUNTS["refused"]
    head = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    with served(Limits()) as port, opened(port) as connection:
        connection.sendall(head + 100 * b"1\r\na\r\n" + b"0\r\n\r\n")
        said = answer(connection)
        assert said.startswith(b"HTTP/1.1 411 ")
        assert b"send it with its length" in said
        assert COUNTS["refused"] == refused + 1
        assert asked(port).startswith(b"HTTP/1.1 200 ")
        with opened(port) as other:
            other.sendall(b"POST / HTTP/1.1\r\nHost: h\r\nnonsense\r\n\r\n")
            assert answer(other).startswith(b"HTTP/1.1 400 ")
