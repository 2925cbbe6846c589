"""Traces that the server holds for a while, so that a link can open them again.

A shared trace is a file under a name that cannot be guessed. What is too old, or too much, goes; a restart loses none.
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
from pathlib import Path

from specviz.app.server.limits import LINK_SECONDS
from specviz.app.server.tempdir import upload_folder
from specviz.errors import ModelError, TraceError
from specviz.models.download_cache import cache_root
from specviz.trace.io import dump_trace, load_trace, save_trace
from specviz.trace.schema import Trace

HELD_BYTES = 500_000_000
SAVE_SECONDS = 3600.0
"""A save that has not ended by then was killed."""
MOST_BYTES = 64 * 1024 * 1024
"""Largest trace, unpacked, that is held or opened by a link."""
_NAME = re.compile(r"h-[A-Za-z0-9_-]{16}")
_ENDING = ".json.gz"

log = logging.getLogger(__name__)


class ShareStore:
    """The traces that links open, as files of a folder.

    Args:
        folder: where the files go; by default ``held`` in the cache folder, or a temporary one if that is read-only.
        seconds: how long a trace is held after it was last opened.
        most_bytes: how much is held in all; the oldest go first.
    """

    def __init__(self, folder: Path | None = None, seconds: float = LINK_SECONDS, most_bytes: int = HELD_BYTES):
        self._folder = folder
        self.seconds = seconds
        self._most_bytes = most_bytes
        self._lock = threading.Lock()

    def save(self, trace: Trace) -> str:
        """Keep a trace and return its name.

        Raises:
            TraceError: if no folder can be written, or the trace is larger than :data:`MOST_BYTES`.
        """
        name = f"h-{secrets.token_urlsafe(12)}"
        if len(dump_trace(trace)) > MOST_BYTES:
            raise TraceError(
                f"This run is larger than the {MOST_BYTES // 1024**2} MB that a link can open; save it as a trace file."
            )
        with self._lock:
            save_trace(trace, self._home() / f"{name}{_ENDING}")
            self._tidy(keep=name)
        return name

    def load(self, name: str) -> Trace:
        """A trace that was saved.

        Raises:
            TraceError: if it is not, or not any more.
        """
        path = self._home() / f"{name}{_ENDING}"
        try:
            if _NAME.fullmatch(name) and not self._is_old(path):
                trace = load_trace(path, max_bytes=MOST_BYTES)
                with contextlib.suppress(OSError):  # tidied away meanwhile: touch() would leave an empty file
                    os.utime(path)
                return trace
        except OSError:  # it is not there
            pass
        except TraceError:
            if path.exists():
                raise
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

    def _tidy(self, keep: str) -> None:
        """Remove what is too old, then the oldest until what is left is not too much, and halves of killed saves."""
        for half in self._home().glob(".h-*"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - half.stat().st_mtime > SAVE_SECONDS:
                    half.unlink()
        found = []
        for path in self._home().glob(f"h-*{_ENDING}"):
            with contextlib.suppress(FileNotFoundError):  # another process tidies, too
                found.append((path.stat().st_mtime, path.stat().st_size, path))
        total = sum(size for _, size, _ in found)
        for age, size, path in sorted(found):
            if path.name == f"{keep}{_ENDING}" or (total <= self._most_bytes and time.time() - age <= self.seconds):
                continue
            total -= size
            path.unlink(missing_ok=True)


def _writable() -> Path:
    try:
        folder = cache_root() / "held"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, ModelError):
        log.warning("the cache folder cannot be written to: links last until the server stops")
        return Path(tempfile.mkdtemp(prefix="specviz-held-", dir=upload_folder()))
