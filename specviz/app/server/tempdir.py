"""Where the files of visitors lie while the server runs: in one folder that goes with it, however it ends."""

from __future__ import annotations

import atexit
import contextlib
import os
import secrets
import shutil
import tempfile
from pathlib import Path

from filelock import FileLock, Timeout
from gradio.utils import get_upload_folder

PREFIX = "specviz-of-"


def open_scratch() -> Path:
    """Make a folder of this process in Gradio's, and have Gradio use it from now on; call it before the page is built.

    Its lock is held as long as the process lives. Folders whose lock nobody holds were left by a process that was
    killed, and are removed.
    """
    above = upload_folder()
    for left in above.glob(f"{PREFIX}*/"):
        _remove_if_left(left)
    folder = above / f"{PREFIX}{secrets.token_hex(8)}"
    lock = _lock_of(folder)
    lock.acquire()  # before the folder is there: one that is not locked is left
    folder.mkdir(mode=0o700)
    atexit.register(_remove, folder, lock, os.getpid())
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    return folder


def hidden_folder(kind: str = "") -> tempfile.TemporaryDirectory[str]:
    """A folder for files of one visitor, under a name that cannot be guessed: Gradio serves what lies there."""
    return tempfile.TemporaryDirectory(prefix=f"specviz-{kind}{secrets.token_urlsafe(16)}-", dir=upload_folder())


def upload_folder() -> Path:
    """Gradio's folder for files, made if it is not there yet."""
    folder = Path(get_upload_folder())
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _lock_of(folder: Path) -> FileLock:
    return FileLock(f"{folder}.lock")


def _remove_if_left(folder: Path) -> None:
    lock = _lock_of(folder)
    with contextlib.suppress(Timeout, OSError):  # of a process that runs, or of another user
        lock.acquire(timeout=0)
        _remove(folder, lock, os.getpid())


def _remove(folder: Path, lock: FileLock, owner: int) -> None:
    if os.getpid() == owner:  # and not a fork of it
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)
