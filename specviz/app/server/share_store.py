"""Traces that the server holds for a while, so that a link can open them again.

A shared trace is a file under a name that cannot be guessed. What is too old goes, and where there is too much the
oldest one of whoever has most; a restart loses none.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from specviz.app.server.clients import Client
from specviz.app.server.limits import LEAST_BYTES, LINK_BYTES, LINK_SECONDS, Limits
from specviz.app.server.tempdir import upload_folder, writing
from specviz.errors import ModelError, TraceError
from specviz.models.download_cache import cache_root
from specviz.trace.io import dump_trace, packed, read_trace, write_file
from specviz.trace.schema import Trace

SAVE_SECONDS = 3600.0
"""A save that has not ended by then was killed."""
MOST_BYTES = 64 * 1024 * 1024
"""Largest trace, unpacked, that is held or opened by a link."""
_NAME = re.compile(r"h-[A-Za-z0-9_-]{16}")
_ENDING = ".json.gz"

log = logging.getLogger(__name__)
T = TypeVar("T")


class ShareStore:
    """The traces that links open, as files of a folder.

    Args:
        folder: where the files go; by default ``held`` in the cache folder, or a temporary one if that is read-only.
        seconds: how long a trace is held after it was last opened.
        most_bytes: how much is held in all.
        limits: how much of it may be one client's.
    """

    def __init__(
        self,
        folder: Path | None = None,
        seconds: float = LINK_SECONDS,
        most_bytes: int = LINK_BYTES,
        limits: Limits | None = None,
    ):
        self._folder = folder
        self.seconds = seconds
        self._most_bytes = most_bytes
        self._shares = (limits or Limits()).pool("bytes of links", most_bytes)
        self._owners: dict[str, tuple[Client, int]] = {}
        """Of each file that was saved since the start: whose it is, and the bytes that count as its client's."""
        self._lock = threading.Lock()

    def save(self, trace: Trace, client: Client | None = None) -> str:
        """Keep a trace and return its name.

        Args:
            client: whose it is.

        Raises:
            TraceError: if the trace is larger than :data:`MOST_BYTES`.
            BusyError: if the client has its share, or the file cannot be written.
        """
        name = f"h-{secrets.token_urlsafe(12)}"
        if len(dump_trace(trace)) > MOST_BYTES:
            raise TraceError(
                f"This run is larger than the {MOST_BYTES // 1024**2} MB that a link can open; save it as a trace file."
            )
        data, client = packed(trace), client or Client()
        size = max(len(data), LEAST_BYTES)
        with self._lock, writing("The run"):
            home = self._home()
            self._tidy(size)
            self._shares.take(client, size)
            try:
                write_file(home / f"{name}{_ENDING}", data)
            except BaseException:
                self._shares.give_back(client, size)
                raise
            self._owners[f"{name}{_ENDING}"] = (client, size)
        return name

    def load(self, name: str) -> Trace:
        """A trace that was saved; see :meth:`read`."""
        return self.read(name, lambda path, most_bytes: read_trace(path, max_bytes=most_bytes))

    def read(self, name: str, reader: Callable[[Path, int], T]) -> T:
        """What ``reader(path, most_bytes)`` makes of a trace that was saved.

        Raises:
            TraceError: if it is not, or not any more.
        """
        path = self._home() / f"{name}{_ENDING}"
        try:
            if _NAME.fullmatch(name) and not self._is_old(path):
                found = reader(path, MOST_BYTES)
                with contextlib.suppress(OSError):  # tidied away meanwhile: touch() would leave an empty file
                    os.utime(path)
                return found
        except FileNotFoundError:
            pass
        except OSError as error:  # whose words name a folder of this machine
            log.warning("a run that is held cannot be read", exc_info=error)
            raise TraceError("The server cannot read this run now; try again later.") from None
        days = self.seconds / 86400
        raise TraceError(
            f"This link is unknown here or has expired: runs are held for {days:g} days after they were last opened. "
            "Ask for the trace file and open it under Runs."
        )

    def close(self) -> None:
        """Wait until the save that is under way is on the disk."""
        with self._lock:
            pass

    def _home(self) -> Path:
        if self._folder is None:
            self._folder = _writable()
        return self._folder

    def _is_old(self, path: Path) -> bool:
        return time.time() - path.stat().st_mtime > self.seconds

    def _tidy(self, more: int) -> None:
        """Remove what is too old, halves of killed saves, and what must go so that there is room for so much more."""
        for half in self._home().glob(".h-*"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - half.stat().st_mtime > SAVE_SECONDS:
                    half.unlink()
        found = []
        for path in self._home().glob(f"h-*{_ENDING}"):
            with contextlib.suppress(FileNotFoundError):  # another process tidies, too
                found.append((path.stat().st_mtime, max(path.stat().st_size, LEAST_BYTES), path))
        for name in self._owners.keys() - {path.name for _, _, path in found}:
            self._forget(name)
        kept = []
        for age, size, path in sorted(found):
            if time.time() - age > self.seconds:
                path.unlink(missing_ok=True)
                self._forget(path.name)
            else:
                kept.append((size, path))
        total, sizes = sum(size for size, _ in kept), Counter[str]()
        for size, path in kept:
            sizes[self._holder(path)] += size
        while kept and total + more > self._most_bytes:
            most = max(sizes.values())
            goes = next(one for one in kept if sizes[self._holder(one[1])] == most)
            kept.remove(goes)
            total -= goes[0]
            sizes[self._holder(goes[1])] -= goes[0]
            goes[1].unlink(missing_ok=True)
            self._forget(goes[1].name)

    def _holder(self, path: Path) -> str:
        """Whose a file is; one from before the start, or of nobody who is known, is its own."""
        client, _ = self._owners.get(path.name, (Client(), 0))
        return client.address or client.session or path.name

    def _forget(self, name: str) -> None:
        if name in self._owners:
            self._shares.give_back(*self._owners.pop(name))


def _writable() -> Path:
    try:
        folder = cache_root() / "held"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, ModelError):
        log.warning("the cache folder cannot be written to: links last until the server stops")
        return Path(tempfile.mkdtemp(prefix="specviz-held-", dir=upload_folder()))
