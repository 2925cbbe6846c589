"""Where the files of visitors lie while the server runs: in one folder that goes with it, however it ends."""

from __future__ import annotations

import atexit
import contextlib
import errno
import logging
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout
from gradio.utils import get_upload_folder

from specviz.errors import BusyError

log = logging.getLogger(__name__)
PREFIX = "specviz-of-"
FULL = (errno.ENOSPC, errno.EDQUOT)
"""What the system says of a full disk, or of a user's full share of it."""


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


@contextlib.contextmanager
def writing(what: str) -> Iterator[None]:
    """While a file is written on the server for a visitor.

    Args:
        what: is written, as the beginning of a sentence.

    Raises:
        BusyError: instead of any error of the system's, without its words, which name folders of this machine.
    """
    try:
        yield
    except OSError as error:
        log.warning("a file of a visitor cannot be written", exc_info=error)
        why = "the server's disk is full" if error.errno in FULL else "the server cannot write files now"
        raise BusyError(f"{what} could not be saved: {why}; try again later.") from None


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
