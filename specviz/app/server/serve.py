"""Serving the page until somebody stops the server: health, and an end that loses nothing."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import sys
import threading
import time
from types import SimpleNamespace
from typing import Any

import gradio.queueing
import gradio.routes

from specviz import __version__
from specviz.app.blocks import Page
from specviz.app.server import logs
from specviz.app.server.launch import launch_page
from specviz.app.server.metrics import COUNTS, RUNNING
from specviz.app.server.middleware import Health
from specviz.app.server.session_registry import Sessions
from specviz.app.server.share_store import ShareStore

STEP_SECONDS = 120.0
"""How long a server that is stopped waits for the step that is under way."""
ANSWER_SECONDS = 2.0
"""How long it then waits until the pages have their last answers."""
MOVING_SECONDS = 300.0
"""Work that makes no progress for so long is called stuck: a step of the largest models on a CPU takes a minute."""

M_ARENA_MAX = -8
"""Of glibc's ``malloc.h``."""

log = logging.getLogger(__name__)


def health_of(sessions: Sessions) -> Health:
    """What ``/healthz`` says: 200, or 503 once the server stops. Nothing in it comes from a visitor."""

    def health() -> tuple[int, dict[str, Any]]:
        lock = sessions.backend.lock
        still = lock.seconds_still
        work = {"busy": still is not None, "seconds_still": None if still is None else round(still, 1)}
        work["moving"] = still is None or still < MOVING_SECONDS
        said = {
            "status": "stopping" if lock.closed else "ok",
            "version": __version__,
            "uptime_seconds": round(COUNTS.seconds),
            "loaded_pairs": sessions.backend.loaded_pairs,
            "model_work": work,
        }
        return (503 if lock.closed else 200), said

    return health


def serve(page: Page, sessions: Sessions, share_store: ShareStore, **options: Any) -> None:
    """Serve until SIGTERM or an interrupt; then finish the step and the save under way, tell the pages, and return.

    A second signal ends the process as if there were no such care.
    """
    asked = threading.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def ask(*_: Any) -> None:
        asked.set()
        for known, handler in before.items():
            signal.signal(known, handler)

    share_heaps()
    logs.set_up()
    log_gradios_tracebacks()
    for number in before:
        signal.signal(number, ask)
    _, url, _ = launch_page(page, health_of(sessions), prevent_thread_lock=True, **options)
    logs.adopt()
    logs.event(log, "started", version=__version__, url=url)
    while not asked.wait(timeout=1):
        pass
    try:
        finished = stop(page, sessions, share_store)
    except KeyboardInterrupt:  # the second signal
        finished = False
    if not finished:
        os._exit(0)  # at its ordinary end Python would wait for the thread of the models, for however long it takes


def stop(page: Page, sessions: Sessions, share_store: ShareStore) -> bool:
    """Begin nothing new, finish what is under way, and close the server. Whether the step under way came to its end."""
    logs.event(log, "stopping", running=COUNTS[RUNNING])
    page.turns.end()
    finished = sessions.backend.lock.close(STEP_SECONDS)
    share_store.close()
    until = time.monotonic() + ANSWER_SECONDS
    while (COUNTS[RUNNING] or page.turns.waiting) and time.monotonic() < until:
        time.sleep(0.05)
    page.close(verbose=False)
    logs.event(log, "stopped", finished=finished, steps=COUNTS["steps"], tokens=COUNTS["tokens"])
    return finished


def share_heaps() -> None:
    """Have all threads take memory from two heaps of the C library, and not from up to eight a core.

    Gradio answers each event in another thread, and a heap keeps what it was given for its next one. Measured with 50
    sessions, while forwards still ran in those threads: 2.1 GB that stay, and without it 3.5 GB that rise by 100 MB a
    minute.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL(None).mallopt(M_ARENA_MAX, 2)


def log_gradios_tracebacks() -> None:
    """Gradio prints the tracebacks of calls that fail, whose last lines quote what a visitor has sent; log them."""
    logged = SimpleNamespace(print_exc=lambda: log.warning("a call failed in Gradio", exc_info=True))
    gradio.queueing.traceback = gradio.routes.traceback = logged
