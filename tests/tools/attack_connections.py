"""Attacks by connections, by their end, and by the lines that they leave in the log (items 4 and 9)."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from tests.tools.attack_attacker import PUBLIC, Attacker, Case

IDLE, SLOW, HEARTBEATS, STREAMS = 1_100, 300, 800, 6
SHARE = PUBLIC.pool("connections", PUBLIC.connections).most["address"]
"""Connections of one address."""
LONG = "A" * 120_000


@contextmanager
def _held(attacker: Attacker, count: int, addresses: int = 1) -> Iterator[list[socket.socket]]:
    held: list[socket.socket] = []
    try:
        for i in range(count):
            if attacker.over:
                break
            with attacker.noting():
                held.append(attacker.connect(f"127.0.0.{2 + i % addresses}"))
        yield held
    finally:
        for one in held:
            one.close()


def idle_connections(attacker: Attacker) -> None:
    """1,100 connections say nothing, to a server that began with 1,024 open files."""
    with _held(attacker, IDLE) as held:
        attacker.note(f"connections that were taken at first: {'all' if len(held) == IDLE else 'not all'}")
        attacker.wait(attacker.seconds)
        closed = sum(_is_closed(one) for one in held)
        attacker.answered["connections closed by the server"] = closed
        if len(held) - closed > SHARE:
            attacker.fault(f"one address has more than {SHARE} connections")


def slow_headers(attacker: Attacker) -> None:
    """300 connections send a byte of a header each second."""
    _slowly(attacker, b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")


def slow_bodies(attacker: Attacker) -> None:
    """300 connections announce a body and send a byte of it each second."""
    head = b"POST /gradio_api/run/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    _slowly(attacker, head + b"Content-Length: 90000\r\n\r\n")  # of more it is said at once that it is too much


def _slowly(attacker: Attacker, first: bytes) -> None:
    with _held(attacker, SLOW) as held:
        closed = 0
        for one in held:
            with attacker.noting():
                one.sendall(first)
        while not attacker.over:
            for one in list(held):
                try:
                    one.sendall(b" ")
                except OSError:
                    closed += 1
                    held.remove(one)
            attacker.wait(1)
        told = [_told(one) for one in held]
        for first_line in filter(None, told):
            attacker.note(first_line)
        attacker.answered["connections closed by the server"] = closed + told.count("")
        if waited := told.count(None):
            attacker.fault(f"{waited} of {SLOW} requests that come byte by byte were still waited for")


def heartbeats(attacker: Attacker) -> None:
    """800 pages of eight addresses are open and close at once, and again."""
    while not attacker.over:
        with _held(attacker, HEARTBEATS, addresses=8) as held:
            for i, one in enumerate(held):
                with attacker.noting():
                    one.sendall(f"GET /gradio_api/heartbeat/beat{i} HTTP/1.1\r\nHost: {attacker.host}\r\n\r\n".encode())
            attacker.wait(3)
            for one in held[::20]:
                one.setblocking(False)
                with attacker.noting():
                    attacker.note("heartbeat: " + one.recv(60).decode("latin-1").partition("\r\n")[0])
        attacker.wait(attacker.seconds / 2)
        return


def equal_errors(attacker: Attacker) -> None:
    """Requests that end in an error, as many as can be sent: what does each leave in the log?"""

    def ask(number: int) -> None:
        with attacker.web() as web:
            while not attacker.over:
                attacker.post(web, "/gradio_api/upload", "", content=b"no form")
                attacker.post(web, "/gradio_api/run/predict", "", json={"fn_index": 99_999, "data": []})
                attacker.post(web, "/gradio_api/queue/join", "", json={"fn_index": 0, "data": [], "session_hash": "x"})
                with attacker.noting(), attacker.connect() as one:
                    one.sendall(b"\x16\x03\x01 no HTTP\r\n\r\n")
                    attacker.note("no HTTP: " + one.recv(60).decode("latin-1").partition("\r\n")[0])

    attacker.many(4, ask)


def long_addresses(attacker: Attacker) -> None:
    """Addresses and headers of 120 kB, of every kind that there is."""
    paths = (
        f"/?trace={LONG}",
        f"/{LONG}",
        f"/gradio_api/heartbeat/{LONG}",
        f"/gradio_api/file={LONG}",
        f"/gradio_api/file={'/'.join([LONG[:200]] * 300)}",
        f"/gradio_api/queue/data?session_hash={LONG}",
        f"/gradio_api/upload_progress?upload_id={LONG}",
        f"/gradio_api/call/step/{LONG}",
        f"/assets/{LONG}",
        f"/static/{LONG}",
    )
    while not attacker.over:
        for path in paths:
            for long in (path, path[:20_000]):
                with attacker.noting():
                    _get(attacker, long)
        with attacker.web() as web, attacker.noting():
            attacker.heard(web.get("/healthz", headers={"X-Long": LONG}), "header: ")
        attacker.wait(1)


def _get(attacker: Attacker, path: str) -> None:
    """httpx takes no address that long."""
    kind = f"{len(path) // 1000} kB {path[:18]}: "
    with attacker.connect() as one:
        one.settimeout(5)
        one.sendall(f"GET {path} HTTP/1.1\r\nHost: {attacker.host}\r\nConnection: close\r\n\r\n".encode())
        said = one.recv(200).decode("latin-1").partition("\r\n")[0]
    attacker.note(kind + said)
    if " 50" in said[:13]:
        attacker.fault(f"an address of {kind}{said}")


def stopping(attacker: Attacker) -> None:
    """Six pages wait for a step when the server is told to stop: each must be told, and no connection just ends."""
    tabs = [attacker.tab(f"127.0.0.{2 + i}", timeout=100) for i in range(STREAMS)]
    ends: dict[int, str] = {}
    begun = threading.Barrier(STREAMS + 1)

    def press(number: int) -> None:
        tab = tabs[number]
        event = tab.begin("on_run", steps_a_run=50, seed=number, max_new_tokens=400)
        begun.wait()
        try:
            tab.wait(event)
            ends[number] = "answered"
        except httpx.HTTPError as error:
            ends[number] = f"broken ({type(error).__name__})"
        except AssertionError as error:
            ends[number] = "told" if "conversation" not in str(error) else "broken (the end of the stream)"

    threads = [threading.Thread(target=press, args=(i,), daemon=True) for i in range(STREAMS)]
    for thread in threads:
        thread.start()
    begun.wait(timeout=30)
    time.sleep(2)
    os.kill(attacker.pid, signal.SIGTERM)
    for thread in threads:
        thread.join(60)
    for i in range(STREAMS):
        attacker.note(f"SIGTERM: {ends.get(i, 'nothing was heard for a minute')}")
    broken = [end for end in ends.values() if end.startswith("broken")]
    if broken or len(ends) < STREAMS:
        attacker.fault(
            f"SIGTERM broke {len(broken) + STREAMS - len(ends)} of {STREAMS} streams: {'; '.join(broken[:1])}"
        )


def _told(one: socket.socket) -> str | None:
    """The first line that a connection was told, "" if it was closed without one; None if it is still waited for."""
    one.setblocking(False)
    try:
        return one.recv(200).decode("latin-1").partition("\r\n")[0]
    except BlockingIOError:
        return None
    except OSError:
        return ""


def _is_closed(one: socket.socket) -> bool:
    one.setblocking(False)
    try:
        while one.recv(4096):  # what it was told before
            continue
        return True
    except BlockingIOError:
        return False
    except OSError:
        return True


CASES = [
    Case(4, "idle connections", "1,100 connections say nothing", idle_connections, 1.5),
    Case(4, "slow headers", "300 connections send a byte of a header a second", slow_headers, 4),
    Case(4, "slow bodies", "300 connections send a byte of a body a second", slow_bodies, 4),
    Case(4, "heartbeats", "800 open pages of eight addresses close at once", heartbeats, 2),
    Case(4, "equal errors", "requests that end in an error, as many as can be sent", equal_errors),
    Case(9, "long addresses", "addresses and headers of 120 kB", long_addresses),
    Case(9, "stopping", "SIGTERM while six pages wait for a step", stopping, honest=False),
]
