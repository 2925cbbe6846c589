"""Who listens: the sessions, and the events that a program has begun, whose answers somebody is there to receive.

A page keeps one stream open while its tab is open, and another one while it waits for an answer; a program opens one
for the event that it has begun. Whoever has none will not hear what is computed, and is the first to make room.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs

from specviz.app.server.clients import client_of

_STREAM = re.compile(r"/gradio_api/(?:heartbeat|call(?:/v2)?/[^/]+)/([^/]+)/?")
_ANSWERS = "/gradio_api/queue/data"


def stream_name(scope: Mapping[str, Any]) -> str | None:
    """The session, or the event of a program, whose answers a request of ASGI waits for; None for any other request."""
    if scope["method"] != "GET":
        return None
    if scope["path"] == _ANSWERS:
        return parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [None])[0]
    found = _STREAM.fullmatch(scope["path"])
    return found[1] if found else None


class Streams:
    """The open streams by the name of a session or an event."""

    def __init__(self) -> None:
        self._open: dict[str, dict[int, Mapping[str, Any]]] = {}
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def opened(self, name: str, scope: Mapping[str, Any]) -> Iterator[None]:
        """While a stream of this name is open, for a request of this scope."""
        with self._lock:
            self._open.setdefault(name, {})[id(scope)] = scope
        try:
            yield
        finally:
            with self._lock:
                del self._open[name][id(scope)]
                if not self._open[name]:
                    del self._open[name]

    def is_open(self, name: str) -> bool:
        """Whether anybody listens."""
        return name in self._open

    def first_to_go(self, held: Sequence[tuple[str, int]], addresses_count: bool) -> int:
        """Which of the things that sessions hold makes room for another one: the oldest one of a session that nobody
        listens to, else the oldest one of the client that holds most.

        Args:
            held: the session and the size of each thing, the oldest first; the last one is what room is made for, and
                stays.
            addresses_count: see :func:`~specviz.app.server.clients.client_of`.

        Returns:
            The position in ``held``.
        """
        with self._lock:
            scopes = {name: next(iter(self._open[name].values())) for name, _ in held if name in self._open}
        for position, (name, _) in enumerate(held[:-1]):
            if name not in scopes:
                return position
        clients = [client_of(scopes.get(name, {}), name, addresses_count) for name, _ in held]
        holders = [client.address or client.session for client in clients]
        sizes: Counter[str | None] = Counter()
        for holder, (_, size) in zip(holders, held, strict=True):
            sizes[holder] += size
        return holders.index(max(holders[:-1], key=sizes.__getitem__))


STREAMS = Streams()
"""Of this process."""
