"""What of a request is looked at before anything parses it: its headers, how its body comes in, and what JSON it is.

All of it happens on the event loop, which every visitor shares, so its cost is a small part of what it takes to send
the request. Parsing is not: a megabyte of ``[]`` keeps Python's and Pydantic's parsers at work for seconds.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope

from specviz.app.server.limits import (
    ADDRESS_BYTES,
    BODY_BYTES_A_SECOND,
    BODY_SECONDS,
    HEADERS,
    HEADERS_BYTES,
    JSON_DEPTH,
    JSON_VALUES,
    SESSION_CHARACTERS,
)

_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_CROWDED = "This request holds more values than the page's form; send what docs/api.md lists."


class RefusedError(Exception):
    """A request is not taken.

    Args:
        status: of the answer.
        said: to whoever sent it, in one sentence.
    """

    def __init__(self, status: int, said: str):
        super().__init__(said)
        self.status, self.said = status, said


def check_head(scope: Scope) -> None:
    """Check the size of a request's address and headers.

    Raises:
        RefusedError: if it is too large.
    """
    if len(scope.get("raw_path") or scope["path"].encode()) + len(scope["query_string"]) > ADDRESS_BYTES:
        raise RefusedError(414, f"This address is longer than {ADDRESS_BYTES >> 10} kB; open a shorter one.")
    headers = scope["headers"]
    if len(headers) > HEADERS or sum(len(name) + len(value) for name, value in headers) > HEADERS_BYTES:
        raise RefusedError(
            431,
            f"This request has more than {HEADERS} headers or {HEADERS_BYTES >> 10} kB of them; clear the cookies of "
            "this page, or send fewer.",
        )


class Arriving:
    """Receives a body in place of ``receive`` and ends one that is too large or comes too slowly.

    Args:
        most: bytes that it may have.
        count: called with the size of each piece before that is passed on; what it raises ends the request.
    """

    def __init__(self, receive: Receive, most: int, count: Callable[[int], None] | None = None):
        self._receive, self._most, self._count = receive, most, count
        self._began, self._taken, self._whole = time.monotonic(), 0, False

    async def __call__(self) -> Message:
        """The next message.

        Raises:
            RefusedError: if the body is too large or too slow.
        """
        if self._whole:  # what comes after it is that somebody has left, whenever that is
            return await self._receive()
        left = self._began + BODY_SECONDS + self._taken / BODY_BYTES_A_SECOND - time.monotonic()
        try:
            message = await asyncio.wait_for(self._receive(), min(left, BODY_SECONDS))
        except asyncio.TimeoutError:
            raise RefusedError(408, "This request came too slowly; send it again over a better connection.") from None
        size = len(message.get("body", b""))
        self._taken += size
        self._whole = not message.get("more_body")
        if self._taken > self._most:
            raise too_large(self._most)
        if self._count is not None:
            self._count(size)
        return message


def too_large(most: int) -> RefusedError:
    """What is said of a body that has more bytes than that."""
    size = f"{most >> 20:,} MB" if most >= 1 << 20 else f"{most >> 10:,} kB"
    return RefusedError(413, f"This request is larger than {size}; send less at once.")


async def read_json(receive: Receive, most: int) -> bytes:
    """The body of a request that sends no file, once it is known to cost little to parse.

    Raises:
        RefusedError: see :func:`check_json`; or if it has more than ``most`` bytes or comes too slowly.
        ClientDisconnect: if whoever sent it has left.
    """
    body, arriving = bytearray(), Arriving(receive, most)
    while True:
        message = await arriving()
        if message["type"] != "http.request":
            raise ClientDisconnect
        body += message.get("body", b"")
        if not message.get("more_body"):
            check_json(bytes(body))
            return bytes(body)


def check_json(body: bytes) -> None:
    """Check that JSON has no more values than a form, is not deep, names no file on another machine, which Gradio would
    go and fetch, and no session at length, which would be kept in many places.

    What is no JSON is left to Gradio, which refuses it.

    Raises:
        RefusedError: otherwise.
    """
    if b"\0" in body:  # JSON in UTF-16, in which a quote is not always one
        raise RefusedError(400, "This request is not JSON in UTF-8; send it so.")
    unescaped = body.replace(rb"\\", b"").replace(rb"\"", b"")
    if unescaped.count(b'"') > 2 * JSON_VALUES:
        raise RefusedError(413, _CROWDED)
    around = b"".join(unescaped.split(b'"')[::2])  # without the texts, which may hold any number of brackets
    if sum(around.count(one) for one in (b"[", b"{", b",", b":")) > JSON_VALUES:
        raise RefusedError(413, _CROWDED)
    depth = 0
    for bracket in around.translate(None, _NO_BRACKETS)[: 2 * JSON_VALUES]:
        depth += 1 if bracket in b"[{" else -1
        if depth > JSON_DEPTH:
            raise RefusedError(413, _CROWDED)
    value = _parsed(body)
    if any(_is_address(path) for path in _paths(value)):
        raise RefusedError(400, "Files are sent and not fetched; upload the file itself.")
    session = value.get("session_hash") if isinstance(value, dict) else None
    if isinstance(session, str) and len(session) > SESSION_CHARACTERS:
        raise RefusedError(400, f"A session hash has at most {SESSION_CHARACTERS} characters; choose a shorter one.")


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None  # Gradio refuses it


def again(body: bytes, receive: Receive) -> Receive:
    """Gives a body that was read once more, and then what else comes."""
    left = [body]

    async def give() -> Message:
        return {"type": "http.request", "body": left.pop()} if left else await receive()

    return give


def _paths(value: Any) -> Iterator[Any]:
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            yield one.get("path")
            left += one.values()
        elif isinstance(one, list):
            left += one


def _is_address(path: Any) -> bool:
    return isinstance(path, str) and path.strip().lower().startswith(("http:", "https:"))
