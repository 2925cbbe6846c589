"""Processes that have torch, transformers and gradio imported when they start.

Importing them takes seconds of CPU each time. Here a server does it once for all tests of a process and forks; a test
whose point is the start itself runs ``python`` instead.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from unittest import mock

from tests.paths import ROOT

IMPORTED = (
    "specviz.app.page",
    "specviz.app.server.serve",
    "specviz.compare.jobs",
    "specviz.models.loading",
    "tests.pairs",
)
FORKING = multiprocessing.get_context("forkserver")
FORKING.set_forkserver_preload([*IMPORTED])


def ensure_running() -> None:
    """Start the server, unless it runs."""
    with mock.patch.dict(os.environ, PYTHONPATH=str(ROOT)):
        forkserver.ensure_running()


@contextlib.contextmanager
def process(
    work: Callable[..., Any], *arguments: Any, folder: Path, log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[BaseProcess]:
    """``work(*arguments)`` in a process, killed at the latest at the end.

    Args:
        work: a function of a module; what it returns is lost, ``sys.exit`` sets the exit code.
        folder: where it runs.
        log: what it writes to its standard output and error is appended there.
        environment: set in it beside this process's own; what was read while importing stays.
    """
    started = FORKING.Process(target=_run, args=(work, arguments, folder, log, {**os.environ, **(environment or {})}))
    ensure_running()
    started.start()
    try:
        yield started
    finally:
        started.kill()
        started.join()


def _run(work: Callable[..., Any], arguments: tuple[Any, ...], folder: Path, log: Path, environment: Any) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    with log.open("ab") as said:
        for stream in (1, 2):
            os.dup2(said.fileno(), stream)
    work(*arguments)
