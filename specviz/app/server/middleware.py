"""Between the network and Gradio: what every answer carries, which addresses there are, and how much may be sent.

Gradio has routes that this page never uses: some fetch what a stranger names, convert videos, or write a session to
disk. Only those of :data:`OPEN` are answered. A request is refused with one sentence.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import hashlib
import json
import logging
import os
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

import anyio
from fastapi import FastAPI
from starlette.datastructures import MutableHeaders, QueryParams
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from specviz.app.server.bodies import Arriving, RefusedError, again, check_head, read_json, too_large
from specviz.app.server.clients import client_of
from specviz.app.server.ending import Ending, OpenPages, ended_in_order
from specviz.app.server.forwarded import ForwardedNotice
from specviz.app.server.framing import frame_ancestors
from specviz.app.server.limits import Limits
from specviz.app.server.metrics import COUNTS, PAGES
from specviz.app.server.streams import STREAMS, stream_name
from specviz.app.server.uploads import (
    MOST_ID,
    Upload,
    Uploads,
    bound_gradios_parser,
    end_progress,
    remember_progress,
    remove_unread,
)
from specviz.errors import BusyError
from specviz.figures.export import VIEWER_FOLDER

log = logging.getLogger(__name__)
Health = Callable[[], tuple[int, dict[str, Any]]]
"""The status and the words of ``/healthz``."""

OPEN = re.compile(
    r"/|/config/?|/theme\.css|/favicon\.ico|/robots\.txt|/manifest\.json|/(assets|static)/.+"
    r"|/gradio_api/(info/?|openapi\.json|app_id/?|login_check/?|startup-events|theme\.css|heartbeat/[^/]+"
    r"|queue/(join|data|status)|(call|run|api)/.+|cancel|reset/?|upload|upload_progress|file=(?!\w*:).+)"
)
UPLOAD = "/gradio_api/upload"
UPLOADS = (UPLOAD, "/gradio_api/upload_progress")
DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE}
"""What the system says when it can write no more files, by whatever it has too little of."""
UNPACKED = ("/config", "/gradio_api/info")
"""Besides the page and answers to what was sent: large, and Gradio compresses what is named like a text file only."""
SWEEP_SECONDS = 60.0
"""How often files that nobody opens are looked for."""

NOTHING = "default-src 'none'"
"""The policy of everything that is no page, beside which pages may frame it."""
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    # An address can name a held run: it is told to nobody else.
    "Referrer-Policy": "same-origin",
}
FIRST_SCRIPT = b"<script>%b</script>" % (VIEWER_FOLDER / "gradio_raf_patch.js").read_bytes()
"""It must come before Gradio's own scripts. What is given to ``launch(head=...)`` comes after
Gradio's, and Gradio puts scripts without an address into the page only when it runs, where the policy forbids them."""


def page_policy(html: bytes, frames: Iterable[str] = ()) -> str:
    """The Content-Security-Policy of the page: its own files, and exactly the scripts that stand in it.

    ``'unsafe-eval'`` is Gradio's: it makes functions of the scripts that components bring. Markup that gets into the
    page cannot run: it has no hash, and attributes like ``onerror`` never have one.

    Args:
        frames: origins whose pages may show it in a frame.
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
            frame_ancestors(frames),
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


def guarded(
    health: Health,
    limits: Limits,
    ending: Ending | None = None,
    closed: Callable[[str], object] = lambda _: None,
    head: str = "",
) -> dict[str, Any]:
    """What ``launch(app_kwargs=...)`` needs to put the guard before Gradio."""
    bound_gradios_parser()
    guard = Middleware(Guard, health=health, limits=limits, ending=ending or Ending(), closed=closed, head=head)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        """Gradio puts its own middleware around ours; what answers there needs the headers and the bounds, too."""
        inner = app.middleware_stack
        assert inner is not None, "the application is built before it starts"
        app.middleware_stack = with_headers(with_bounds(inner), limits.frames)
        sweeping = asyncio.create_task(_sweep())
        try:
            yield
        finally:
            sweeping.cancel()

    return {"middleware": [guard], "lifespan": lifespan}


async def _sweep() -> None:
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        await anyio.to_thread.run_sync(remove_unread)


def with_bounds(app: ASGIApp) -> ASGIApp:
    """An application that answers no request whose address or headers are too large."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if scope["type"] == "http":
                check_head(scope)
        except RefusedError as refused:
            await _refuse(refused, scope, receive, send)
        else:
            await app(scope, receive, send)

    return answer


def with_headers(app: ASGIApp, frames: Iterable[str] = ()) -> ASGIApp:
    """An application whose every answer has :data:`HEADERS` and a policy. ``frames``: see :func:`page_policy`."""
    policy = f"{NOTHING}; {frame_ancestors(frames)}"

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        async def add(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers.setdefault("Content-Security-Policy", policy)
            await send(message)

        await app(scope, receive, add if scope["type"] == "http" else send)

    return answer


def compressed(app: ASGIApp) -> ASGIApp:
    """An application whose answers are compressed for who takes that, event streams excepted.

    Their size tells a stranger nothing (BREACH): each is compressed by itself, and another site cannot have a visitor's
    session answer, because there are no cookies, and only its own page knows what the session is called.
    """
    return GZipMiddleware(app, minimum_size=1000, compresslevel=6)


class Guard:
    """The middleware next to Gradio, where answers are not compressed yet.

    Args:
        ending: ends the streams when the server stops.
        closed: called with the session of a tab that was closed.
        head: tags that the page's head begins with, scripts with an address only.
    """

    def __init__(
        self,
        app: ASGIApp,
        health: Health,
        limits: Limits,
        ending: Ending,
        closed: Callable[[str], object],
        head: str = "",
    ):
        async def page(scope: Scope, receive: Receive, send: Send) -> None:
            await app(scope, receive, _Page(send, head.encode(), limits.frames))

        self.app, self.health, self.limits, self.ending = app, health, limits, ending
        self._answer_page, self._packed = compressed(page), compressed(app)
        self._pages = OpenPages(closed)
        self._notice = ForwardedNotice(limits)
        self.uploads = Uploads(limits)

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
            await _refuse(RefusedError(404, "There is nothing at this address."), scope, receive, send)
        elif path == "/" and method == "GET":
            await self._answer_page(scope, receive, send)
        elif (name := stream_name(scope)) is not None:
            await self._stream(name, path.startswith("/gradio_api/heartbeat/"), scope, receive, send)
        elif method == "POST" or path in UPLOADS:
            try:
                await self._take_in(path, scope, receive, send)
            except RefusedError as refused:
                await _refuse(refused, scope, receive, send)
            except ClientDisconnect:  # nobody is there to be told anything
                pass
        elif path.rstrip("/") in UNPACKED:
            await self._packed(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _stream(self, name: str, is_page: bool, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with a stream.

        Args:
            is_page: whether it is the one that a page keeps open as long as its tab is.
        """
        if is_page:
            COUNTS.add(PAGES)
            self._pages.opened(name)
        try:
            with STREAMS.opened(name, scope):
                await ended_in_order(self.app, self.ending, scope, receive, send)
        finally:
            if is_page:
                COUNTS.add(PAGES, -1)
                self._pages.ended(name)

    async def _take_in(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that sends something, or tells how a file comes in.

        Raises:
            RefusedError: if it is not taken; nothing was answered then.
        """
        if path in UPLOADS:
            upload_id = QueryParams(scope["query_string"]).get("upload_id", "")
            if len(upload_id) > MOST_ID:
                raise RefusedError(
                    400, f"The name of an upload has at most {MOST_ID} characters; choose a shorter one."
                )
            if upload_id:
                remember_progress(upload_id)
            if scope["method"] != "POST":
                await self.app(scope, receive, send)
                return
            try:
                await self._upload(scope, receive, send)
            finally:
                end_progress(upload_id)
            return

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 503:
                COUNTS.add("busy")
            await send(message)

        body = await read_json(receive, self.limits.request_bytes)
        await self._packed(scope, again(body, receive), watched)

    async def _upload(self, scope: Scope, receive: Receive, send: Send) -> None:
        most = self.limits.request_upload_bytes
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if not announced.isdigit() or int(announced) > most:
            raise too_large(most)
        client = client_of(scope, None, self.limits.addresses_count)
        try:
            with self.uploads.receiving(client) as upload:
                answer = _Uploaded(scope, upload, send)
                await self.app(scope, Arriving(receive, most, upload.take), answer)
        except BusyError as error:
            COUNTS.add("busy")
            raise RefusedError(503, str(error)) from None
        except OSError as error:
            if error.errno not in DISK_ERRORS:
                raise
            log.warning("an upload could not be written: %s", os.strerror(error.errno))
            said = f"The server cannot write the file ({os.strerror(error.errno)}); nothing of it was kept, try later."
            raise RefusedError(507, said) from None


class _Held(ABC):
    """Holds an answer back until all of it is there."""

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
        body = self.complete(self._start, bytes(self._body))
        await self._send(self._start)
        await self._send({"type": "http.response.body", "body": body})

    @abstractmethod
    def complete(self, start: Message, body: bytes) -> bytes:
        """The body that is sent for ``body``; ``start`` may be changed."""


class _Page(_Held):
    """The page, whose policy comes before it; puts :data:`FIRST_SCRIPT` and the viewer's tags in."""

    def __init__(self, send: Send, head: bytes, frames: Iterable[str]):
        super().__init__(send)
        self._head, self._frames = head, frames

    def complete(self, start: Message, body: bytes) -> bytes:
        html = body.replace(b"<head>", b"<head>" + FIRST_SCRIPT + self._head, 1)
        headers = MutableHeaders(scope=start)
        headers["Content-Security-Policy"] = page_policy(html, self._frames)
        headers["Content-Length"] = str(len(html))
        return html


class _Uploaded(_Held):
    """Whoever sent files is told of them once they are known as theirs, so that nobody is told of others."""

    def __init__(self, scope: Scope, upload: Upload, send: Send):
        super().__init__(send)
        self._scope, self._upload = scope, upload

    def complete(self, start: Message, body: bytes) -> bytes:
        if start["status"] == 200:
            paths = json.loads(body)
            self._upload.keep(paths)
            # Gradio remembers each file for ever, and looks for all of them once an hour.
            self._scope["app"].get_blocks().upload_file_set.difference_update(paths)
            COUNTS.add("uploads")
        return body


async def _refuse(refused: RefusedError, scope: Scope, receive: Receive, send: Send) -> None:
    COUNTS.add("refused")
    await JSONResponse({"detail": refused.said}, refused.status)(scope, receive, send)


def _hash(script: bytes) -> str:
    """Of a script as a browser reads it: line ends are one character there."""
    read = script.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return base64.b64encode(hashlib.sha256(read).digest()).decode()
