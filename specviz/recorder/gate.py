"""The gate: a recording engine waits after each step until a page lets it go on. Two processes and a folder of files.

``Recorder("run.jsonl", gate=True)`` makes the folder ``run.jsonl.gate-`` and 32 random hexadecimal digits, which only
its owner may enter. In it are

    ``engine``  ``{"specviz_gate": 1, "recording": ID}``, locked by the engine
    ``page``    empty, locked by the server whose page holds the gate
    ``order``   ``{"past": N}``: the engine may go on after step N of the recording; or ``{"stop": true}``

The locks are the kernel's: they end with the process that holds one, however it ends, so neither side waits for one
that is gone. A step is numbered as it stands in the file, from 1 on, over all requests and with those that failed.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import stat
import sys
import time
import warnings
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from specviz.errors import RecorderWarning, SettingsError

if sys.platform != "win32":
    import fcntl

BEHIND = ".gate-"
"""Behind the recording's name, before the random digits."""
FIRST_SECONDS = 60.0
"""How long an engine waits for a page that was never there; after that it runs on until one comes."""
TELL_SECONDS = 1.0
"""After so many of them it says so."""
LOOK_SECONDS = 0.01
MOST_BYTES = 1_000
"""Of a file that is read here."""
ALL = 2**53
"""In the place of a step's number: the engine need not wait at all."""


class EngineGate:
    """The engine's side.

    Args:
        recording: beside which the folder is made.
        id: of the recording, in its header.

    Attributes:
        stopped: whether the page asked for the end.

    Raises:
        SettingsError: where there can be none.
    """

    def __init__(self, recording: Path, id: str):
        self.recording, self.stopped = recording, False
        self._met = False
        """Whether a page was there, or is not waited for any more."""
        if sys.platform == "win32":
            raise SettingsError("gate= needs file locks that this system has not; leave it out, or use Linux or macOS.")
        try:
            recording.parent.mkdir(parents=True, exist_ok=True)
            _forget_ended(recording)
            self.folder = Path(f"{recording}{BEHIND}{secrets.token_hex(16)}")
            self.folder.mkdir(mode=0o700)
            self._page = os.open(self.folder / "page", os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
            self._engine = os.open(self.folder / "engine", os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
            fcntl.flock(self._engine, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.write(self._engine, json.dumps({"specviz_gate": 1, "recording": id}).encode())
        except OSError as error:
            raise SettingsError(
                f"No gate can be made beside the recording ({error.strerror}); record to a folder of your own."
            ) from None
        self.close = weakref.finalize(self, _remove, self.folder, (self._page, self._engine), os.getpid())

    def wait(self, step: int) -> bool:
        """Wait until the page lets the engine go on after a step, or no page is there. Whether it is to end."""
        began, told = time.monotonic(), False
        while not self.stopped:
            order = _read(self.folder / "order")
            self.stopped, past = order.get("stop") is True, order.get("past")
            held = _is_locked(self._page)
            self._met = self._met or held
            if self.stopped or (type(past) is int and past >= step):
                break
            waited = time.monotonic() - began
            if not held and (self._met or waited > FIRST_SECONDS):
                self._met = True
                break
            if not self._met and not told and waited > TELL_SECONDS:
                told = True
                command = f"python -m specviz app --follow {self.recording}"
                warnings.warn(
                    f"specviz: waiting up to {FIRST_SECONDS:g} s for the page that steps this loop: {command}; "
                    "this is said once.",
                    RecorderWarning,
                    stacklevel=4,
                )
            time.sleep(LOOK_SECONDS)
        return self.stopped


class PageGate:
    """The page's side, of a gate that :func:`find_gate` found."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._engine = os.open(folder / "engine", os.O_RDONLY | os.O_NOFOLLOW)
        self._page: int | None = None
        self._closed = weakref.finalize(self, os.close, self._engine)

    @property
    def is_held(self) -> bool:
        return self._page is not None

    def engine_lives(self) -> bool:
        return _is_locked(self._engine)

    def hold(self) -> bool:
        """Take hold, so that the engine waits. False where another server has it."""
        if self._page is None:
            try:
                page = os.open(self.folder / "page", os.O_RDWR | os.O_NOFOLLOW)
            except OSError:
                return False
            if not _locked(page):
                os.close(page)
                return False
            self._page = page
        return True

    def let_go(self) -> None:
        """The engine runs on."""
        if self._page is not None:
            os.close(self._page)
            self._page = None

    def order(self, **said: Any) -> None:
        """Write ``past=N`` or ``stop=True``. An engine that has ended reads nothing any more."""
        new = self.folder / f"order-{secrets.token_hex(8)}"
        with contextlib.suppress(FileNotFoundError):
            handle = os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(json.dumps(said).encode())
            os.replace(new, self.folder / "order")

    def close(self) -> None:
        self.let_go()
        self._closed()


def find_gate(recording: Path, id: str) -> PageGate | None:
    """The gate of the engine that writes this recording now, if it has one."""
    for folder in _gates(recording):
        said = _read(folder / "engine")
        if said.get("specviz_gate") == 1 and said.get("recording") == id:
            with contextlib.suppress(OSError):
                gate = PageGate(folder)
                if gate.engine_lives():
                    return gate
                gate.close()
    return None


def _gates(recording: Path) -> Iterator[Path]:
    """Folders of gates beside a recording which nobody but their owner, who runs this process, may enter."""
    start = f"{recording.name}{BEHIND}"
    with contextlib.suppress(OSError), os.scandir(recording.parent) as entries:
        for entry in entries:
            if entry.name.startswith(start):
                found = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077:
                    yield Path(entry.path)


def _forget_ended(recording: Path) -> None:
    """Remove the folders of engines that were killed."""
    for folder in [*_gates(recording)]:
        with contextlib.suppress(OSError):
            engine = os.open(folder / "engine", os.O_RDONLY | os.O_NOFOLLOW)
            ended = not _is_locked(engine)
            os.close(engine)
            if ended:
                shutil.rmtree(folder, ignore_errors=True)


def _remove(folder: Path, handles: tuple[int, ...], pid: int) -> None:
    if os.getpid() != pid:  # a fork of the engine's process has its own end
        return
    shutil.rmtree(folder, ignore_errors=True)
    for handle in handles:
        os.close(handle)


def _read(path: Path) -> dict[str, Any]:
    """A small file's JSON object; empty where there is none."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        with os.fdopen(handle, "rb") as file:
            said = json.loads(file.read(MOST_BYTES))
        if isinstance(said, dict):
            return said
    return {}


def _locked(handle: int) -> bool:
    """Lock a file. The other side's looking at it lasts microseconds, so a few tries tell that from its being held."""
    for _ in range(10):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError:
            time.sleep(0.002)
    return False


def _is_locked(handle: int) -> bool:
    """Whether another process has locked a file."""
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    fcntl.flock(handle, fcntl.LOCK_UN)
    return False
