"""The user's cache folder, and building a folder in it once: complete or not there at all."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from specviz.errors import ModelError

ProgressCallback = Callable[[str, float | None], None]
"""``progress(message, fraction)``; the fraction is in [0, 1], or None while it is unknown."""

VARIABLE = "SPECVIZ_CACHE"
TEMPORARY = ".building-"
LOCK = ".lock"
LOCK_SECONDS = 1800.0
"""How long to wait for another process that is building."""

log = logging.getLogger(__name__)


def silent(message: str, fraction: float | None) -> None:
    """A :data:`ProgressCallback` that shows nothing."""


def cache_root() -> Path:
    """The folder that specviz keeps models in; it need not exist yet.

    ``SPECVIZ_CACHE``, else ``specviz`` under ``XDG_CACHE_HOME``, else under ``.cache`` in the home folder.

    Raises:
        ModelError: if the user has no home folder.
    """
    if named := os.environ.get(VARIABLE):
        return Path(named).expanduser().absolute()
    # The XDG rules say that a relative path there is to be ignored.
    if os.path.isabs(xdg := os.environ.get("XDG_CACHE_HOME", "")):
        return Path(xdg) / "specviz"
    try:
        return Path.home() / ".cache" / "specviz"
    except RuntimeError:
        raise ModelError(f"You have no home folder to keep models in; set {VARIABLE} to a folder of yours.") from None


def built_once(
    name: str,
    build: Callable[[Path, ProgressCallback], None],
    *,
    needs: tuple[str, ...],
    free_bytes: int,
    progress: ProgressCallback = silent,
) -> Path:
    """The folder ``name`` in the cache, built if it is not there.

    ``build(folder, progress)`` fills a temporary sibling, which is renamed at the very end: whatever is killed, a
    folder with the final name is complete. One process builds, others wait for it; what a killed one left is removed.

    Args:
        name: carries everything the contents depend on (a version, a hash), because a folder is never rebuilt.
        needs: files without which the folder counts as damaged, and is built again.
        free_bytes: disk space that building takes.

    Raises:
        ModelError: if no folder can be written, the disk is full, or somebody else builds for too long.
    """
    if _is_complete(cache_root() / name, needs):
        return cache_root() / name  # also when it came with a read-only image
    root = _writable_root()
    with _locked(root, progress):
        folder = root / name
        if _is_complete(folder, needs):
            return folder
        for stale in root.glob(f"{TEMPORARY}*"):  # left by a process that does not hold the lock any more
            shutil.rmtree(stale, ignore_errors=True)
        _check_space(root, free_bytes)
        temporary = root / f"{TEMPORARY}{secrets.token_hex(6)}"
        temporary.mkdir()
        try:
            build(temporary, progress)
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(temporary, folder)
        except OSError as error:
            raise ModelError(
                f"The model folder {str(folder)!r} cannot be written ({error.strerror or error}); free some space "
                f"or set {VARIABLE} to another folder."
            ) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return folder


def _is_complete(folder: Path, needs: tuple[str, ...]) -> bool:
    return all((folder / file).is_file() for file in needs)


def _writable_root() -> Path:
    """The cache folder, or, where the home folder is read-only, one of the user's own in the temporary folder."""
    root = cache_root()
    if _is_writable(root):
        return root
    fallback = Path(tempfile.gettempdir()) / f"specviz-{os.getuid() if hasattr(os, 'getuid') else 'cache'}"
    if not os.environ.get(VARIABLE) and _is_writable(fallback, private=True):
        log.warning("%s is not writable, models are kept in %s", root, fallback)
        return fallback
    raise ModelError(f"Models cannot be kept in {str(root)!r}; set {VARIABLE} to a folder you can write to.")


def _is_writable(folder: Path, *, private: bool = False) -> bool:
    """Whether a file can be made in ``folder``, tried out because access rights alone do not tell.

    ``private``: only if nobody else owns it, since anybody may make folders in the temporary folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700 if private else 0o777)
        if private and (folder.is_symlink() or (hasattr(os, "getuid") and folder.stat().st_uid != os.getuid())):
            return False
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _check_space(root: Path, free_bytes: int) -> None:
    if shutil.disk_usage(root).free < free_bytes:
        raise ModelError(
            f"{str(root)!r} has less than {free_bytes / 1e9:.1f} GB of free space; free some or set {VARIABLE} to a "
            "folder on another disk."
        )


@contextmanager
def _locked(root: Path, progress: ProgressCallback) -> Iterator[None]:
    lock = FileLock(root / LOCK)
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            lock.acquire(timeout=1)
            break
        except Timeout:
            progress("Waiting for another specviz that prepares the model", None)
            if time.monotonic() > deadline:
                raise ModelError(
                    f"Another specviz has been preparing models in {str(root)!r} for {LOCK_SECONDS / 60:.0f} minutes; "
                    f"end it, or set {VARIABLE} to another folder."
                ) from None
    try:
        yield
    finally:
        lock.release()
