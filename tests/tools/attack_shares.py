"""Attacks on what all visitors share: queue, uploads, pages, links, saved files, addresses (items 3 and 10)."""

from __future__ import annotations

import gzip
from collections.abc import Callable

from tests.tools import attack_traces as traces
from tests.tools.attack_attacker import ADDRESS, PROXY, PUBLIC, Attacker, Case, forged, run_id
from tests.tools.attack_verdicts import SAVED_MB, size_of

MOST_QUEUED = PUBLIC.pool("queue", PUBLIC.queue).most["address"]
QUEUED = MOST_QUEUED + 17
LINKS, SAVERS, MADE_UP, ANNOUNCED = 44, 14, 120, 25
"""A page keeps its last four saved files, so it takes a dozen of them to pass the share of an address."""


def queued_runs(attacker: Attacker) -> None:
    """More made-up visitors than one address has places press Run, and none of them listens."""
    _queue(attacker, lambda _: {})


def forged_headers(attacker: Attacker) -> None:
    """The same, with another address in ``X-Forwarded-For`` each time."""
    _queue(attacker, _forwarded)


def behind_a_proxy(attacker: Attacker) -> None:
    """The same through a proxy that is trusted: the attacker's own address counts, whatever it writes before it."""
    _queue(attacker, lambda i: {"X-Forwarded-For": f"203.0.113.{i}, 198.51.100.7"}, PROXY)
    tab = attacker.tab(PROXY)
    number, fn = tab._function("on_run")
    body = tab._asked(number, fn, None, {"steps_a_run": 1})
    headers = {"X-Forwarded-For": "192.0.2.50"}
    with attacker.web(PROXY) as web:
        answer = attacker.post(web, "/gradio_api/queue/join", "another visitor: ", json=body, headers=headers)
    if answer is None or answer.status_code != 200:
        attacker.fault("another visitor behind the same proxy was refused")
    tab.leave()


def _forwarded(number: int) -> dict[str, str]:
    address = f"203.0.113.{number}"
    return {
        "X-Forwarded-For": address,
        "X-Real-IP": address,
        "Forwarded": f"for={address}",
        "CF-Connecting-IP": address,
    }


def _queue(attacker: Attacker, headers: Callable[[int], dict[str, str]], address: str = ADDRESS) -> None:
    tab = attacker.tab(address)
    number, fn = tab._function("on_run")
    taken = 0
    with attacker.web(address) as web:
        for i in range(QUEUED):
            values = {"steps_a_run": 200, "seed": i, "max_new_tokens": 1000}
            body = tab._asked(number, fn, None, values) | {"session_hash": forged(i)}
            sent = {"json": body, "headers": headers(i)}
            answer = attacker.post(web, "/gradio_api/queue/join", "queue: ", **sent)
            taken += answer is not None and answer.status_code == 200
    if taken > MOST_QUEUED:
        attacker.fault(f"{taken} of {QUEUED} runs of one address were queued, its share is {MOST_QUEUED}")
    attacker.wait(attacker.seconds)
    tab.leave()


def announced_uploads(attacker: Attacker) -> None:
    """25 connections announce more than may lie on the server together, send the first bytes, and wait."""
    held = []
    for i in range(ANNOUNCED):
        size = 512 << 20 if i < 4 else 15_000_000
        head = (
            f"POST /gradio_api/upload HTTP/1.1\r\nHost: {attacker.host}\r\nContent-Length: {size}\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
            'Content-Disposition: form-data; name="files"; filename="a.json"\r\n\r\n{'
        )
        with attacker.noting():
            held.append(attacker.connect())
            held[-1].sendall(head.encode())
    attacker.wait(attacker.seconds)
    for one in held:
        one.setblocking(False)
        try:
            attacker.note("announced: " + one.recv(100).decode("latin-1").partition("\r\n")[0])
        except BlockingIOError:
            attacker.note("announced: the server waits for the rest")
        except OSError:
            attacker.note("announced: closed by the server")
        one.close()


def cheap_posts(attacker: Attacker) -> None:
    """Made-up sessions press New run, each once: the server keeps a page for each."""
    tab = attacker.tab()
    number, fn = tab._function("on_new")

    def post(thread: int) -> None:
        with attacker.web() as web:
            for i in range(MADE_UP):
                if i >= MADE_UP // 4 and attacker.over:
                    break
                body = tab._asked(number, fn, None, {}) | {"session_hash": forged(MADE_UP * thread + i)}
                attacker.post(web, "/gradio_api/run/predict", "post: ", json=body)

    attacker.many(4, post)
    tab.leave()


def kept_runs(attacker: Attacker) -> None:
    """Pages of four addresses open one file after the other, up to 15 MB each, which their pages keep."""
    files = [gzip.decompress(file) for file in (traces.noisy("noisy", 3), traces.many_tokens("noisy"))]

    def open_files(number: int) -> None:
        address = f"127.0.0.{2 + number % 4}"
        tab = attacker.tab(address, timeout=60)
        with attacker.web(address, timeout=60) as web:
            count = 0
            while not attacker.over:
                count += 1
                name = f"{number}-{count}"
                file = files[count % 2].replace(b'"noisy"', f'"{name}"'.encode(), 1)
                path = attacker.upload(web, f"{name}.json", file)
                if path:
                    attacker.open_file(tab, path)
        tab.leave()

    attacker.many(8, open_files)


def links(attacker: Attacker) -> None:
    """One visitor asks for links of 44 runs of 11 MB each."""
    tab = attacker.tab(timeout=60)
    file = traces.noisy("noisy", 1)
    with attacker.web(timeout=60) as web:
        path = attacker.upload(web, "noisy.json.gz", file)
    run = run_id(attacker.open_file(tab, path)) if path else None
    for _ in range(LINKS if run else 0):
        if attacker.over:
            break
        attacker.press(tab, "on_hold", "link: ", {"run": run})
    tab.leave()


def saved_files(attacker: Attacker) -> None:
    """Visitors of one address save traces, until that address has more than its share of the disk."""
    file = traces.noisy("saved", 2)

    def save(number: int) -> None:
        tab = attacker.tab(timeout=60)
        run = None
        with attacker.web(timeout=60) as web:
            while run is None and not attacker.over:  # few of an address are opened at once
                path = attacker.upload(web, f"saved{number}.json.gz", file)
                run = run_id(attacker.open_file(tab, path)) if path else None
                attacker.wait(0 if run else 0.5)
        if run:
            while not attacker.over:
                attacker.press(tab, "on_save_trace", "save: ")
                if size_of(attacker.tmp)[0] > 1.2 * SAVED_MB:  # enough to see: nobody's disk need be filled
                    attacker.fault(f"one address has saved more than {SAVED_MB:,.0f} MB")
                    break
        tab.leave()

    attacker.many(SAVERS, save)


CASES = [
    Case(3, "queued runs", f"{QUEUED} made-up visitors press Run and nobody listens", queued_runs),
    Case(3, "announced uploads", "25 connections announce 2.4 GB and wait", announced_uploads, 1.5),
    Case(3, "cheap posts", "480 made-up sessions press New run once", cheap_posts, 1.5, away=True),
    Case(3, "kept runs", "eight pages of four addresses keep files of up to 15 MB", kept_runs, 4),
    Case(3, "links", "one visitor asks for 44 links of 11 MB", links, 4),
    Case(3, "saved files", f"{SAVERS} visitors of one address save files of 11 MB", saved_files, 6),
    Case(10, "forged headers", "queued runs, each with another X-Forwarded-For", forged_headers),
    Case(10, "behind a proxy", "queued runs through a trusted proxy", behind_a_proxy, server="proxied"),
]
