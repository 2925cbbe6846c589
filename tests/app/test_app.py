"""``python app.py``, as the README says it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from specviz.trace.io import load_trace
from tests.paths import ROOT


def test_the_app_serves_the_page_it_was_told_to_open(tmp_path: Path) -> None:
    (tmp_path / "mine_for_app.py").write_text(
        "from dataclasses import replace\n"
        "from specviz.verifiers import VERIFIERS\n"
        "mine = replace(VERIFIERS['naive'], name='mine_on_the_page')\n"
    )
    trace = ROOT / "assets" / "traces" / "chain-of-4.json.gz"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, str(ROOT / "app.py"), "--port", str(port), "--trace", str(trace)]
    app = subprocess.Popen([*command, "--verifier", "mine_for_app:mine"], cwd=tmp_path, stdout=subprocess.PIPE)
    try:
        config = _get(f"http://127.0.0.1:{port}/config", app)
    finally:
        app.terminate()
        app.wait(timeout=30)
    assert "mine_on_the_page" in config
    boxes = {one["props"].get("elem_id"): one["props"].get("value") for one in json.loads(config)["components"]}
    assert boxes["prompt"] == load_trace(trace).prompt


def _get(url: str, app: subprocess.Popen) -> str:
    """The page's text, as soon as the app answers."""
    for _ in range(600):
        assert app.poll() is None, "the app ended"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.read().decode()
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
    raise AssertionError("the app does not answer")


def test_a_broken_trace_verifier_comparison_or_limit_is_one_sentence(tmp_path: Path) -> None:
    for option, value in (
        ("--trace", str(tmp_path / "none.json")),
        ("--verifier", "nothing"),
        ("--comparison", "."),
        ("--limit", "nodes=few"),
    ):
        command = [sys.executable, str(ROOT / "app.py"), option, value]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == 2
        assert len(done.stderr.strip().splitlines()) == 1
