"""Files that visitors send, from the first byte that arrives until they have been read.

What has arrived counts as its sender's, in running totals: no folder is ever looked through. A file gets a folder of
its own, under a name that cannot be guessed, and that folder has one owner.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import gradio.route_utils
import gradio.routes
from gradio.utils import get_upload_folder
from starlette.formparsers import MultiPartException

from specviz.app.server.clients import Client
from specviz.app.server.limits import FILE_BYTES, UNREAD_BYTES, UNREAD_SECONDS, UPLOADS_AT_ONCE, Limits
from specviz.app.server.pools import Pool

FOLLOWED = 256
"""Uploads whose progress a page can ask for; Gradio by itself forgets none of them."""
MOST_ID = 64
"""Characters of the name that a page gives to an upload; Gradio's has a dozen."""


@dataclass(frozen=True)
class _Unread:
    """A file that nobody has opened yet: whose it is, how much of the pool it takes, and since when."""

    client: Client
    pool: Pool
    size: int
    since: float

    def give_back(self) -> None:
        self.pool.give_back(self.client, self.size)


_unread: OrderedDict[str, _Unread] = OrderedDict()
_followed: OrderedDict[str, None] = OrderedDict()
_lock = threading.Lock()
_current: ContextVar[Upload | None] = ContextVar("upload", default=None)


class Uploads:
    """How many requests of one page's visitors send files at once, and how much of what they sent was not read yet."""

    def __init__(self, limits: Limits):
        self.limits = limits
        self.at_once = limits.pool("uploads at once", UPLOADS_AT_ONCE)
        self.unread = limits.pool("bytes of files that wait to be opened", UNREAD_BYTES)

    @contextlib.contextmanager
    def receiving(self, client: Client) -> Iterator[Upload]:
        """Receive one request. What is not kept in the end is removed and counts as nobody's.

        Raises:
            BusyError: if too many come in already; see :class:`~specviz.app.server.pools.Pool`.
        """
        with self.at_once.lent(client):
            upload = Upload(client, self.unread, self.limits.upload_files)
            token = _current.set(upload)
            try:
                yield upload
            finally:
                _current.reset(token)
                upload.close()


class Upload:
    """One request that sends files."""

    def __init__(self, client: Client, pool: Pool, most_files: int):
        self.client, self.most_files = client, most_files
        self._pool = pool
        self._taken = 0
        self._halves: list[IO[bytes]] = []

    def take(self, size: int) -> None:
        """Count so many bytes that have arrived.

        Raises:
            BusyError: if that is more than its sender can have, or than there is.
        """
        self._pool.take(self.client, size)
        self._taken += size

    def begin(self, half: IO[bytes]) -> None:
        """Note a file of which more comes, open under a name of its own."""
        self._halves.append(half)
        self.take(FILE_BYTES)

    def keep(self, paths: Iterable[str]) -> None:
        """These files are whole; they count as their sender's until :func:`forget_upload`."""
        for path in paths:
            size = Path(path).stat().st_size + FILE_BYTES
            self._taken -= size
            with _lock:
                _unread[_key(path)] = _Unread(self.client, self._pool, size, time.monotonic())

    def close(self) -> None:
        """Give back and remove what was not kept."""
        self._pool.give_back(self.client, self._taken)
        self._taken = 0
        for half in self._halves:
            with contextlib.suppress(OSError):  # what it has not written yet may not fit on the disk
                half.close()  # else the disk would have it until Python collects it
            Path(half.name).unlink(missing_ok=True)  # a whole one has another name by now


class _Parser(gradio.route_utils.GradioMultiPartParser):
    """Gradio's parser of forms, with as many files as the page's limits say, and no other fields."""

    def __init__(self, *given: Any, **named: Any):
        self._upload = _current.get()
        if self._upload is not None:
            named["max_files"] = self._upload.most_files
        super().__init__(*given, **named)

    def on_headers_finished(self) -> None:
        upload = self._upload
        if upload is not None and self._current_files == upload.most_files:
            most = upload.most_files
            raise MultiPartException(f"Send {'one file' if most == 1 else f'at most {most} files'} in one request.")
        super().on_headers_finished()
        if upload is None:
            return
        file = self._current_part.file
        if file is None:
            raise MultiPartException("An upload is made of files only; give each a file name.")
        # Gradio names the folder by this sum. With what nobody knows in it no two files share one.
        file.sha.update(secrets.token_bytes(16))
        upload.begin(file.file)


def bound_gradios_parser() -> None:
    """Have Gradio's route for uploads use a parser that knows of :class:`Upload`."""
    gradio.route_utils.GradioMultiPartParser = _Parser


def remember_progress(upload_id: str) -> None:
    """Note an upload whose progress a page asks for, or may ask for; the one noted longest ago is forgotten."""
    _followed[upload_id] = None
    _followed.move_to_end(upload_id)
    while len(_followed) > FOLLOWED:
        oldest, _ = _followed.popitem(last=False)
        gradio.routes.file_upload_statuses.stop_tracking(oldest)
        gradio.routes.file_upload_statuses._signals.pop(oldest, None)


def end_progress(upload_id: str) -> None:
    """Tell those who ask for its progress that an upload has ended, however that came."""
    if upload_id in gradio.routes.file_upload_statuses._statuses:
        gradio.routes.file_upload_statuses.set_done(upload_id)


def forget_upload(path: str | None) -> None:
    """Remove a file that has been read, with its folder. A path that leads anywhere else is left alone."""
    if not path or Path(get_upload_folder()).resolve() not in Path(path).resolve().parents:
        return
    with _lock:
        unread = _unread.pop(_key(path), None)
    _remove(path)
    if unread is not None:
        unread.give_back()


def remove_unread(seconds: float = UNREAD_SECONDS) -> None:
    """Remove the files that nobody has opened for so long, and the empty ones that Gradio leaves of each it opens.

    It looks through a folder, so it is for a thread of its own.
    """
    while True:
        with _lock:
            path, unread = next(iter(_unread.items()), (None, None))
            if path is None or unread is None or time.monotonic() - unread.since <= seconds:
                break
            del _unread[path]
        _remove(path)
        unread.give_back()
    for half in Path(get_upload_folder()).glob("tmp*"):
        with contextlib.suppress(OSError):
            if half.is_file() and time.time() - half.stat().st_mtime > seconds:
                half.unlink()


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):  # it has gone, or something else lies in its folder
        Path(path).unlink(missing_ok=True)
        Path(path).parent.rmdir()


def _key(path: str) -> str:
    return str(Path(path).resolve())
