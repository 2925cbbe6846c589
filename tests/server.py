"""A real server on a free port with a small pair, and visitors that speak to it as browsers do."""

from __future__ import annotations

import contextlib
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from specviz.app.page import build_page, launch_page
from specviz.app.server.limits import Limits
from specviz.app.server.serve import health_of
from specviz.app.server.session_registry import Sessions
from specviz.app.server.share_store import ShareStore
from specviz.trace.schema import Trace
from tests import pairs

SETTINGS = {"chat": False, "max_new_tokens": 200}
"""What every visitor sets in the form: the small models know no chat, and no run is to end by itself."""


def web_client(url: str, timeout: float | None, address: str | None = None) -> httpx.Client:
    """For a server without TLS: to read the certificates takes more CPU than most of what is asked.

    Args:
        address: of this machine, that the server is to see; by default the one that the system chooses.
    """
    transport = httpx.HTTPTransport(verify=False, local_address=address)
    return httpx.Client(base_url=url.rstrip("/"), timeout=timeout, transport=transport)


def launch_quietly(page: Any, *health: Any, **options: Any) -> str:
    """Serve a page on this machine, in a thread; its address.

    Without Gradio's own look whether it can be reached, which gives up after seconds on a busy machine, and without
    certificates, as in :func:`web_client`.
    """
    quietly = {"prevent_thread_lock": True, "quiet": True, "server_name": "127.0.0.1"}
    _, url, _ = launch_page(page, *health, **quietly, _frontend=False, ssl_verify=False, **options)
    return str(url).rstrip("/")


def answers(url: str) -> bool:
    """Whether a server is there and well."""
    try:
        with web_client(url, timeout=5) as web:
            return web.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False


@dataclass
class Server:
    """One that runs. ``web`` asks it as a stranger would; ``page`` is Gradio's object."""

    url: str
    page: Any
    sessions: Sessions
    share_store: ShareStore
    web: httpx.Client
    visitors: list[Visitor] = field(default_factory=list)

    def visitor(self) -> Visitor:
        """Somebody who opened the page; gone at the latest when the server is."""
        self.visitors.append(Visitor(self.url, self.page))
        return self.visitors[-1]


@contextlib.contextmanager
def serving(
    folder: Path,
    load_pair: Callable[..., Any] | None = None,
    trace: Trace | None = None,
    limits: Limits | None = None,
) -> Iterator[Server]:
    """Serve the page on small random models, or what ``load_pair`` gives."""
    sessions = Sessions(load_pair or (lambda *_, **__: pairs.make_pair()), limits)
    share_store = ShareStore(folder / "held")
    page = build_page(sessions, trace, share_store=share_store)
    url = launch_quietly(page, health_of(sessions))
    with web_client(url, timeout=60) as web:
        running = Server(url, page, sessions, share_store, web)
        try:
            yield running
        finally:
            for visitor in running.visitors:
                visitor.leave()
            page.close(verbose=False)


class Visitor:
    """An open tab: a session of its own, kept alive by a connection that stays open.

    Args:
        page: Gradio's object, from which a visitor knows what a browser reads in the page's configuration.
        address: of this machine, that the server is to see.
    """

    def __init__(self, url: str, page: Any, address: str | None = None):
        self.url, self.page = url, page
        self.session = secrets.token_hex(8)
        self.heard: list[str] = []
        """Everything the server has told this visitor."""
        self._web = web_client(url, 120, address)
        self._beat = web_client(url, None, address)
        self._alive = self._beat.stream("GET", f"/gradio_api/heartbeat/{self.session}")
        self._alive.__enter__()

    def leave(self) -> None:
        """Close the tab."""
        self._alive.__exit__(None, None, None)
        self._beat.close()
        self._web.close()

    def press(self, handler: str, event: Any = None, query: dict[str, str] | None = None, **values: Any) -> list[Any]:
        """Have the function of this name answer, the form as it was opened but for ``values``; its last outputs."""
        number, fn = self._function(handler)
        if fn.queue:
            return self.wait(self.begin(handler, event, query, **values))
        answer = self._web.post("/gradio_api/run/predict", json=self._asked(number, fn, event, values), params=query)
        assert answer.status_code == 200, answer.text
        self.heard.append(answer.text)
        return answer.json()["data"]

    def begin(self, handler: str, event: Any = None, query: dict[str, str] | None = None, **values: Any) -> str:
        """The same without waiting: the id to wait with."""
        number, fn = self._function(handler)
        answer = self._web.post("/gradio_api/queue/join", json=self._asked(number, fn, event, values), params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()["event_id"]

    def wait(self, event_id: str) -> list[Any]:
        """The last outputs of what was begun."""
        with self._web.stream("GET", "/gradio_api/queue/data", params={"session_hash": self.session}) as stream:
            for line in stream.iter_lines():
                self.heard.append(line)
                message = json.loads(line.removeprefix("data:")) if line.startswith("data:") else {}
                if message.get("msg") == "process_completed" and message["event_id"] == event_id:
                    assert message["success"], message
                    return message["output"]["data"]
        raise AssertionError("the server ended the conversation")

    def step(self, **values: Any) -> dict[str, Any]:
        """Press Step; the block with the new frame."""
        return json.loads(self.press("on_step", **values)[0])

    def saved(self) -> str:
        """Save the run as a trace file; its path on the server."""
        return self.press("on_save_trace")[0]["path"]

    def _function(self, handler: str) -> tuple[int, Any]:
        return next((i, fn) for i, fn in self.page.fns.items() if getattr(fn.fn, "__name__", "") == handler)

    def _asked(self, number: int, fn: Any, event: Any, values: dict[str, Any]) -> dict[str, Any]:
        data = [self._value(block, SETTINGS | values) for block in fn.inputs]
        return {"data": data, "fn_index": number, "session_hash": self.session, "event_data": event}

    def _value(self, block: Any, values: dict[str, Any]) -> Any:
        if block.stateful:
            return None
        form = self._function("on_step")[1].fn.__self__.form.components
        label = str(getattr(block, "label", "")).lower().replace(" ", "_")
        name = next((name for name, one in form.items() if one is block), label)
        return values.get(name, getattr(block, "value", None))


def until(true: Callable[[], Any], seconds: float = 60.0) -> None:
    """Wait for something that another thread or process does."""
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit, "it did not happen"
        time.sleep(0.02)


class Gate:
    """Holds a step until a test lets it go on: ``Session.step`` is wrapped by :meth:`around`."""

    def __init__(self) -> None:
        self.inside, self._open = threading.Semaphore(0), threading.Semaphore(0)

    def around(self, step: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def held(session: Any) -> Any:
            self.inside.release()
            assert self._open.acquire(timeout=120)
            return step(session)

        return held

    def wait(self) -> None:
        """Until a step is in the middle of it."""
        assert self.inside.acquire(timeout=120)

    def let(self, steps: int = 1) -> None:
        for _ in range(steps):
            self._open.release()
