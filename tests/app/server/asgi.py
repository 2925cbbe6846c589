"""Requests to an ASGI application, without a server or a network between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp, Message


@dataclass
class Answer:
    status: int | None = None
    """None where nothing was answered."""
    body: bytearray = field(default_factory=bytearray)

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Request:
    """A request whose body comes in the pieces given; then nothing more comes, or its sender leaves."""

    path: str
    pieces: Iterable[bytes] = ()
    method: str = "POST"
    query: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    address: str = "127.0.0.1"
    whole: bool = True
    leaves: bool = False
    taken: int = 0
    """How many pieces were taken."""

    async def to(self, app: ASGIApp) -> Answer:
        """The answer of an application."""
        answer = Answer()
        pieces = list(self.pieces) or [b""]

        async def receive() -> Message:
            if self.taken < len(pieces):
                self.taken += 1
                more = self.taken < len(pieces) or not self.whole
                return {"type": "http.request", "body": pieces[self.taken - 1], "more_body": more}
            if not self.leaves:
                await asyncio.Event().wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
            else:
                answer.body += message.get("body", b"")

        await app(self._scope(), receive, send)
        return answer

    def _scope(self) -> dict[str, Any]:
        headers = [(name.lower().encode(), value.encode()) for name, value in self.headers.items()]
        return {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": self.method,
            "scheme": "http",
            "path": self.path,
            "raw_path": self.path.encode(),
            "root_path": "",
            "query_string": self.query,
            "headers": [(b"host", b"t"), *headers],
            "client": (self.address, 1),
            "server": ("t", 80),
        }
