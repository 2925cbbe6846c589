"""Files that visitors send, from their arrival until they have been read."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from gradio.utils import get_upload_folder

HALF_SECONDS = 3600.0
"""An upload to which nothing was added for so long has been broken off."""

HELD_BYTES = 2 * 1024 * 1024 * 1024
"""Bytes of files that were sent and not read yet; at this size another is refused until some were read or removed."""

_coming = 0
_unread: Counter[str] = Counter()
_lock = threading.Lock()


def arrived(paths: Iterable[str]) -> None:
    """Remember that files were sent. Gradio names a file by what is in it: two visitors who send the same have one."""
    with _lock:
        for path in [path for path in _unread if not Path(path).exists()]:  # Gradio has removed it
            del _unread[path]
        _unread.update(_key(path) for path in paths)


def forget_upload(path: str | None) -> None:
    """Remove a file that has been read, unless somebody else has sent the same and it was not read for them yet.

    A path that leads anywhere else is left alone.
    """
    if not path or Path(get_upload_folder()).resolve() not in Path(path).resolve().parents:
        return
    with _lock:
        _unread[_key(path)] -= 1
        if _unread[_key(path)] <= 0:
            del _unread[_key(path)]
            Path(path).unlink(missing_ok=True)


@contextlib.contextmanager
def room_for(size: int) -> Iterator[bool]:
    """Whether there is room for so many bytes more, which is kept while they come in."""
    global _coming
    with _lock:
        there_is = held_bytes() + _coming + size <= HELD_BYTES
        _coming += size if there_is else 0
    try:
        yield there_is
    finally:
        with _lock:
            _coming -= size if there_is else 0


def held_bytes() -> int:
    """Bytes of files that were sent and not read yet, parts of broken-off ones among them."""
    size = 0
    folder = Path(get_upload_folder())
    for path in (*folder.glob("tmp*"), *folder.glob("*/*")):
        if path.parent.name.startswith("specviz-"):  # saved here, for a visitor
            continue
        with contextlib.suppress(OSError):
            size += path.stat().st_size if path.is_file() else 0
    return size


def remove_halves() -> None:
    """Remove the parts of uploads that were broken off: Gradio does not remove what it has not put together."""
    for half in Path(get_upload_folder()).glob("tmp*"):
        with contextlib.suppress(OSError):
            if half.is_file() and time.time() - half.stat().st_mtime > HALF_SECONDS:
                half.unlink()


def _key(path: str) -> str:
    return str(Path(path).resolve())
