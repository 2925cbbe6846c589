"""The files that pages save: each lies where its page can fetch it, until newer ones or other pages need the room."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from specviz.app.server.clients import Client
from specviz.app.server.limits import LEAST_BYTES, SAVED_BYTES, Limits
from specviz.app.server.streams import STREAMS
from specviz.app.server.tempdir import hidden_folder, writing
from specviz.errors import BusyError

FILES_KEPT = 4
"""Of one page: a browser has fetched the one before long before the fifth is there."""


class SavedFiles:
    """The files of all pages.

    Args:
        limits: how much of :data:`~specviz.app.server.limits.SAVED_BYTES` may be one client's.
    """

    def __init__(self, limits: Limits, total: int = SAVED_BYTES):
        self._pool = limits.pool("bytes of saved files", total)
        self._files: dict[str, OrderedDict[TemporaryDirectory[str], tuple[Client, int]]] = {}
        self._lock = threading.Lock()

    @property
    def held(self) -> int:
        """Bytes of all of them."""
        return self._pool.held

    def write(self, page: str, client: Client, name: str, write: Callable[[Path], None]) -> Path:
        """Write a file that only who knows its path can fetch; the page's oldest ones go where its share asks for that,
        then those of pages that nobody has open.

        Args:
            name: of the file.
            write: writes it to a path.

        Raises:
            BusyError: if it cannot be written, or there is no room; nothing of it is left then.
        """
        with writing("The file"):
            home = hidden_folder()
            try:
                path = Path(home.name) / name
                write(path)
                size = max(path.stat().st_size, LEAST_BYTES)
                self._take(page, client, size)
            except BaseException:
                home.cleanup()
                raise
        with self._lock:
            self._files.setdefault(page, OrderedDict())[home] = (client, size)
        return path

    def _take(self, page: str, client: Client, size: int) -> None:
        while len(self._files.get(page, ())) >= FILES_KEPT:
            self._drop_oldest(page)
        while True:
            try:
                self._pool.take(client, size)
            except BusyError:
                if not (self._drop_oldest(page) or self._drop_left(client, size)):
                    raise
            else:
                return

    def _drop_left(self, client: Client, size: int) -> bool:
        """Drop a file of a page that nobody has open: of the same address, or of any where the total is reached."""
        is_full = self._pool.held + size > self._pool.total
        with self._lock:
            firsts = {page: next(iter(files.values()))[0] for page, files in self._files.items()}
        for page, owner in firsts.items():
            own = owner.address is not None and owner.address == client.address
            if (is_full or own) and not STREAMS.is_open(page):
                return self._drop_oldest(page)
        return False

    def _drop_oldest(self, page: str) -> bool:
        """Whether there was one."""
        with self._lock:
            files = self._files.get(page)
            if not files:
                return False
            home, (client, size) = files.popitem(last=False)
            if not files:
                del self._files[page]
        self._pool.give_back(client, size)
        home.cleanup()
        return True

    def drop(self, page: str) -> None:
        """Remove all files of a page."""
        while self._drop_oldest(page):
            pass
