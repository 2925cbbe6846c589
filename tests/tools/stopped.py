"""What a test stops with SIGTERM: :func:`serve_slowly` and :func:`never_end`, each in its own process."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from specviz.app.page import build_page
from specviz.app.server import serve
from specviz.app.server.session_registry import Sessions
from specviz.app.server.share_store import ShareStore
from specviz.engine.session import Session
from tests import pairs
from tests.sample_traces import sample_trace


def serve_slowly(folder: Path, port: int) -> None:
    """Serve small random models; the second step waits for the file ``go`` and says with ``inside`` that it does."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is kept are the lines of the standard error
    step = Session.step

    def slow(session: Session) -> Any:
        if len(session.steps) == 1:
            (folder / "inside").touch()
            while not (folder / "go").exists():
                time.sleep(0.02)
        done = step(session)
        (folder / f"step-{len(session.steps)}").touch()
        return done

    Session.step = slow  # type: ignore[method-assign]
    sessions, share_store = Sessions(lambda *_, **__: pairs.make_pair()), ShareStore(folder / "held")
    page = build_page(sessions, sample_trace(steps=2), share_store=share_store)
    serve.serve(page, sessions, share_store, server_name="127.0.0.1", server_port=port, _frontend=False)


def never_end() -> None:
    """A server whose step does not end when SIGTERM comes."""
    sessions, share_store = Sessions(), SimpleNamespace(close=int)
    page = SimpleNamespace(close=lambda verbose: None, turns=SimpleNamespace(end=int, waiting=0))
    serve.launch_page = lambda *_, **__: (None, "nowhere", None)
    serve.STEP_SECONDS = 0.1
    threading.Thread(target=sessions.backend.lock.do, args=(time.sleep, 600), daemon=True).start()
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
    serve.serve(page, sessions, share_store)  # type: ignore[arg-type]
