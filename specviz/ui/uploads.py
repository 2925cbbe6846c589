"""Files that visitors send, from their arrival until they have been read."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from gradio.utils import get_upload_folder

HALF_SECONDS = 3600.0
"""An upload to which nothing was added for so long has been broken off."""

HELD_BYTES = 2 * 1024 * 1024 * 1024
"""Of all that visitors have sent and that still lies here; more is refused until some was read or has aged."""

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


def are_too_many() -> bool:
    """Whether what was sent takes the room that it may."""
    return held_bytes() >= HELD_BYTES


def held_bytes() -> int:
    """Of files that were sent and lie here still."""
    size = 0
    for path in Path(get_upload_folder()).glob("*/*"):
        if path.parent.name.startswith("specviz-"):  # saved here, for a visitor
            continue
        with contextlib.suppress(OSError):
            size += path.stat().st_size
    return size


def remove_halves() -> None:
    """Remove what is left of uploads that were broken off: Gradio forgets them where it has put them together."""
    for half in Path(get_upload_folder()).glob("tmp*"):
        with contextlib.suppress(OSError):
            if half.is_file() and time.time() - half.stat().st_mtime > HALF_SECONDS:
                half.unlink()


def _key(path: str) -> str:
    return str(Path(path).resolve())
