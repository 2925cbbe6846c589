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

import pytest

from specviz.app.cli import main
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


@pytest.mark.parametrize(
    ("option", "value"),
    [("--trace", "none.json"), ("--verifier", "nothing"), ("--comparison", "."), ("--limit", "nodes=few")],
)
def test_a_broken_trace_verifier_comparison_or_limit_is_one_sentence(
    option: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["app.py", option, value])
    assert main() == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_the_app_ends_with_the_status_of_what_was_wrong(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "app.py"), "--limit", "nodes=few"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
