"""A page that follows a recording, and steps the loop of another process that writes it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from specviz.app.follow import Follower
from tests.browser import Watched
from tests.paths import ROOT
from tests.tools.gated_loop import FIRST

pytestmark = pytest.mark.browser


def said(seen: Watched, text: str) -> None:
    """Wait until the command bar says it."""
    seen.page.wait_for_function(
        "text => document.querySelector('.specviz-state [role=status]').textContent.trim() === text", arg=text
    )


def test_a_loop_is_stepped_run_to_a_breakpoint_and_let_go_with_the_page(served, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    follower = Follower(path)
    follower.start()
    seen = served(follower=follower)
    page = seen.page
    said(seen, "Following run.jsonl · waiting for its first line")
    command = [sys.executable, "-m", "tests.tools.gated_loop", str(path), "40"]
    loop = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        said(seen, "Waiting after step 1 · run.jsonl")
        seen.wait_for_step(1, 1)
        assert page.is_visible("#stop")
        for number in (2, 3, 4):
            page.click("#step")
            seen.wait_for_step(number, number)
            said(seen, f"Waiting after step {number} · run.jsonl")
        page.keyboard.press("Home")
        seen.wait_for_step(1, 4)
        page.click("#step")
        seen.wait_for_step(1, 5)  # a reader who went back stays there
        page.keyboard.press("End")

        seen.menu("breakpoints")
        page.fill("label:has-text('Token id appears') textarea", str(FIRST + 8))
        page.click("#run")
        page.wait_for_selector(".sv-notice:not([hidden])")
        assert page.inner_text(".sv-notice span") == f"Breakpoint at step 9: Token {FIRST + 8} was committed."
        said(seen, "Waiting after step 9 · run.jsonl")
        assert loop.poll() is None
        page.close()
        printed, _ = loop.communicate(timeout=60)
    finally:
        loop.kill()
    assert printed.split() == [*map(str, range(1, 41)), "done"]
    assert path.read_bytes().count(b'"step"') == 40
