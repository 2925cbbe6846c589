"""Between the network and Gradio: what every answer carries, which addresses there are, and how much may be sent.

Gradio has routes that this page never uses: some fetch what a stranger names, convert videos, or write a session to
disk. Only those of :data:`OPEN` are answered. A request is refused with one sentence.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from specviz.app.server.forwarded import ForwardedNotice
from specviz.app.server.limits import Limits
from specviz.app.server.metrics import COUNTS, PAGES
from specviz.app.server.streams import STREAMS, stream_name
from specviz.app.server.uploads import arrived, remove_halves, room_for
from specviz.figures.export import VIEWER_FOLDER
from specviz.figures.outcomes import outcomes_script

Health = Callable[[], tuple[int, dict[str, Any]]]
"""The status and the words of ``/healthz``."""

OPEN = re.compile(
    r"/|/config/?|/theme\.css|/favicon\.ico|/robots\.txt|/manifest\.json|/(assets|static)/.+"
    r"|/gradio_api/(info/?|openapi\.json|app_id/?|login_check/?|startup-events|theme\.css|heartbeat/[^/]+"
    r"|queue/(join|data|status)|(call|run|api)/.+|cancel|reset/?|upload|upload_progress|file=(?!\w*:).+)"
)
UPLOAD = "/gradio_api/upload"
JSON_BYTES = 1024 * 1024
"""Largest request that is not an upload; the page's own are a few kilobytes."""
UPLOADS_BYTES = 512 * 1024 * 1024
"""Largest upload, all its files together; each of them has a limit of its own."""

FRAMES = "frame-ancestors 'self' https://huggingface.co"
"""A Space is shown in a frame of the hub's; nobody else may frame the page."""
NOTHING = f"default-src 'none'; {FRAMES}"
"""The policy of everything that is no page."""
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    # An address can name a held run: it is told to nobody else.
    "Referrer-Policy": "same-origin",
}
_FIRST = ((VIEWER_FOLDER / "gradio_raf_patch.js").read_bytes(), outcomes_script().encode())
FIRST_SCRIPT = b"<script>%b\n%b</script>" % _FIRST
"""It must come before Gradio's own scripts and the viewer's. What is given to ``launch(head=...)`` comes after
Gradio's, and Gradio puts scripts without an address into the page only when it runs, where the policy forbids them."""


def page_policy(html: bytes) -> str:
    """The Content-Security-Policy of the page: its own files, and exactly the scripts that stand in it.

    ``'unsafe-eval'`` is Gradio's: it makes functions of the scripts that components bring. Markup that gets into the
    page cannot run: it has no hash, and attributes like ``onerror`` never have one.
    """
    hashes = " ".join(f"'sha256-{_hash(script)}'" for script in _inline_scripts(html))
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src 'self' 'unsafe-eval' {hashes}".rstrip(),
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "font-src 'self' data:",
            "connect-src 'self'",
            "manifest-src 'self'",
            "base-uri 'self'",
            "form-action 'self'",
            FRAMES,
        ]
    )


def _inline_scripts(html: bytes) -> Iterator[bytes]:
    """What stands in script elements. The page is a megabyte: a regular expression over it takes longer than Gradio."""
    at = 0
    while (start := html.find(b"<script", at)) >= 0:
        opened = html.find(b">", start) + 1
        at = html.find(b"</script>", opened)
        if not opened or at < 0:
            return
        if not _HAS_SOURCE.search(html[start:opened]):
            yield html[opened:at]


_HAS_SOURCE = re.compile(rb"\ssrc=")


def guarded(health: Health, limits: Limits) -> dict[str, Any]:
    """What ``launch(app_kwargs=...)`` needs to put the guard before Gradio."""
    return {"middleware": [Middleware(Guard, health=health, limits=limits)], "lifespan": _headers_everywhere}


@contextlib.asynccontextmanager
async def _headers_everywhere(app: FastAPI) -> AsyncIterator[None]:
    """Gradio puts its own middleware around ours; what answers there needs the headers, too."""
    inner = app.middleware_stack
    assert inner is not None, "the application is built before it starts"
    app.middleware_stack = with_headers(inner)
    yield


def with_headers(app: ASGIApp) -> ASGIApp:
    """An application whose every answer has :data:`HEADERS` and a policy."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        async def add(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers.setdefault("Content-Security-Policy", NOTHING)
            await send(message)

        await app(scope, receive, add if scope["type"] == "http" else send)

    return answer


class Guard:
    """The middleware next to Gradio, where answers are not compressed yet."""

    def __init__(self, app: ASGIApp, health: Health, limits: Limits):
        self.app, self.health = app, health
        self._notice = ForwardedNotice(limits)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        self._notice.look_at(scope)
        path, method = scope["path"], scope["method"]
        if path == "/healthz":
            status, said = self.health()
            await JSONResponse(said, status)(scope, receive, send)
        elif path == "/counters":
            await PlainTextResponse(COUNTS.text())(scope, receive, send)
        elif not OPEN.fullmatch(path):
            await _refuse(404, "There is nothing at this address.", scope, receive, send)
        elif path == "/" and method == "GET":
            await self.app(scope, receive, _Page(send))
        elif (name := stream_name(scope)) is not None:
            is_page = path.startswith("/gradio_api/heartbeat/")
            COUNTS.add(PAGES, int(is_page))
            try:
                with STREAMS.opened(name, scope):
                    await self.app(scope, receive, send)
            finally:
                COUNTS.add(PAGES, -int(is_page))
        elif method == "POST":
            await self._post(path, scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _post(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 503:
                COUNTS.add("busy")
            await send(message)

        if path == UPLOAD:
            length = dict(scope["headers"]).get(b"content-length", b"%d" % UPLOADS_BYTES)
            if not length.isdigit() or int(length) > UPLOADS_BYTES:
                await _refuse(413, f"Send at most {UPLOADS_BYTES >> 20} MB at once.", scope, receive, send)
                return
            remove_halves()
            with room_for(int(length)) as there_is:
                if there_is:
                    await self.app(scope, _at_most(int(length), receive), _Uploaded(send))
                else:
                    said = "The server holds all the files that it can; try again later."
                    await _refuse(507, said, scope, receive, send)
            return
        body = await _read(receive)
        if body is None:
            await _refuse(413, f"This request is larger than {JSON_BYTES >> 20} MB.", scope, receive, send)
        elif names_an_address(body):
            await _refuse(400, "Files are sent and not fetched; upload the file itself.", scope, receive, send)
        else:
            await self.app(scope, _again(body, receive), watched)


class _Page:
    """Holds the page back until all of it is there, since its policy comes before it; puts :data:`FIRST_SCRIPT` in."""

    def __init__(self, send: Send):
        self._send = send
        self._start: Message | None = None
        self._body = bytearray()

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            return
        self._body += message.get("body", b"")
        if message.get("more_body"):
            return
        assert self._start is not None, "an answer starts before its body"
        html = bytes(self._body).replace(b"<head>", b"<head>" + FIRST_SCRIPT, 1)
        headers = MutableHeaders(scope=self._start)
        headers["Content-Security-Policy"] = page_policy(html)
        headers["Content-Length"] = str(len(html))
        await self._send(self._start)
        await self._send({"type": "http.response.body", "body": html})


class _Uploaded:
    """Counts what was taken in, and remembers where, before whoever sent it is told."""

    def __init__(self, send: Send):
        self._send = send
        self._taken = False
        self._body = bytearray()

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._taken = message["status"] == 200
        elif self._taken:
            self._body += message.get("body", b"")
            if not message.get("more_body"):
                COUNTS.add("uploads")
                arrived(json.loads(self._body))
        await self._send(message)


def names_an_address(body: bytes) -> bool:
    """Whether a request asks for a file on another machine: Gradio would go and fetch it."""
    try:
        value = json.loads(body)
    except ValueError:
        return False  # Gradio refuses it
    except RecursionError:
        return True
    return any(_is_address(path) for path in _paths(value))


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


async def _read(receive: Receive) -> bytes | None:
    """The body of a request; None if it is too large."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return bytes(body)
        body += message.get("body", b"")
        if len(body) > JSON_BYTES:
            return None
        if not message.get("more_body"):
            return bytes(body)


def _again(body: bytes, receive: Receive) -> Receive:
    """Gives a body that was read once more, and then what else comes."""
    left = [body]

    async def give() -> Message:
        return {"type": "http.request", "body": left.pop()} if left else await receive()

    return give


def _at_most(count: int, receive: Receive) -> Receive:
    """Hangs up on whoever sends more bytes than they said they would, or did not say."""
    taken = 0

    async def give() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        return message if taken <= count else {"type": "http.disconnect"}

    return give


async def _refuse(status: int, said: str, scope: Scope, receive: Receive, send: Send) -> None:
    COUNTS.add("refused")
    await JSONResponse({"detail": said}, status)(scope, receive, send)


def _hash(script: bytes) -> str:
    """Of a script as a browser reads it: line ends are one character there."""
    read = script.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return base64.b64encode(hashlib.sha256(read).digest()).decode()
