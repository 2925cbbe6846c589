"""The file of a recording, which one recorder writes at a time; what was in its place is never lost."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from pathlib import Path
from typing import BinaryIO

from specviz.errors import SettingsError
from specviz.trace.recording import MAGIC

if sys.platform != "win32":
    import fcntl
else:
    fcntl = None

ROWS = ".rows"
"""Behind the recording's name: the folder with its whole rows."""
LOCK = ".lock"
"""Behind the recording's name, where the system has no locks of its own: there while a recorder writes."""


class Claim:
    """An open, empty file, and the right to write it.

    A recording that is there already is renamed, with the folder of its rows: ``run.jsonl`` to ``run.1.jsonl``, or the
    next number that is free.

    Args:
        path: of the recording; its folder is made.

    Attributes:
        file: unbuffered, to read and write.

    Raises:
        SettingsError: for a file that is no recording, one that another recorder is writing, and one that cannot be
            written.
    """

    def __init__(self, path: Path):
        self._path = path
        self._beside: Path | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.file = self._claimed()
        except (OSError, ValueError) as error:
            self._let_go()
            raise cannot_write(path, error) from None
        except SettingsError:
            self._let_go()
            raise

    def close(self) -> None:
        """Close the file; another recorder may have it then."""
        if not self.file.closed and fcntl is not None:
            with contextlib.suppress(OSError):  # a process that was forked may still have it open, and the lock with it
                fcntl.flock(self.file, fcntl.LOCK_UN)
        self.file.close()
        self._let_go()

    def _let_go(self) -> None:
        if self._beside is not None:
            self._beside.unlink(missing_ok=True)
            self._beside = None

    def _claimed(self) -> BinaryIO:
        if fcntl is None:
            self._lock_beside()
        while True:
            file = self._opened()
            try:
                about = os.fstat(file.fileno())
                if not stat.S_ISREG(about.st_mode):
                    return file  # a device or a pipe: nothing is in it
                if fcntl is not None:
                    self._lock(file)
                    if not self._is_in_place(about):
                        file.close()  # renamed by another recorder meanwhile
                        continue
                if about.st_size == 0:
                    return file
                if not file.read(len(MAGIC)).startswith(MAGIC):
                    raise SettingsError(
                        f"The file {_shown(self._path)} is no recording of specviz, and is left as it is; choose "
                        "another name, or delete it."
                    )
                file.close()
                self._move_aside()
            except BaseException:
                file.close()
                raise

    def _opened(self) -> BinaryIO:
        """The file that is there, or a new one."""
        return os.fdopen(os.open(self._path, os.O_RDWR | os.O_CREAT | _BINARY, 0o666), "r+b", buffering=0)

    def _lock(self, file: BinaryIO) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SettingsError(
                f"Another recorder is writing {_shown(self._path)}; give each its own file, e.g. with the rank in its "
                "name, or close() the other one first."
            ) from None
        except OSError:  # a file system without locks
            if self._beside is None:
                self._lock_beside()

    def _lock_beside(self) -> None:
        beside = Path(f"{self._path}{LOCK}")
        try:
            os.close(os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            raise SettingsError(
                f"Another recorder is writing {_shown(self._path)}; give each its own file, e.g. with the rank in its "
                f"name. If none is, one was killed: delete {_shown(beside)}."
            ) from None
        self._beside = beside

    def _is_in_place(self, about: os.stat_result) -> bool:
        try:
            now = os.stat(self._path)
        except FileNotFoundError:
            return False
        return (now.st_dev, now.st_ino) == (about.st_dev, about.st_ino)

    def _move_aside(self) -> None:
        number = 1
        while True:
            free = self._path.with_name(f"{self._path.stem}.{number}{self._path.suffix}")
            if not free.exists():
                break
            number += 1
        os.rename(self._path, free)
        with contextlib.suppress(FileNotFoundError):
            os.rename(f"{self._path}{ROWS}", f"{free}{ROWS}")


def cannot_write(path: Path, error: BaseException) -> SettingsError:
    """The sentence for a file that cannot be written."""
    why = getattr(error, "strerror", None) or error
    return SettingsError(f"The recording cannot be written to {_shown(path)} ({why}); choose another file.")


def _shown(path: Path) -> str:
    return f"{str(path)!r:.300}"


_BINARY = getattr(os, "O_BINARY", 0)
