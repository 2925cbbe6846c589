"""The groups of tests on the pretended CUDA card. It changes torch for good, so each has a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import forks
from tests.card import build
from tests.card.__main__ import GROUPS, run
from tests.paths import ROOT


@pytest.fixture(scope="module")
def library() -> Path:
    """The compiled card; without it the tests are skipped, and fail in CI for want of a compiler."""
    try:
        return build.library()
    except build.Unavailable as reason:
        message = f"No pretended card: {reason}."
        pytest.fail(message) if os.environ.get("CI") == "true" and build.lacks_compiler() else pytest.skip(message)


@pytest.mark.parametrize("group", GROUPS)
def test_on_the_pretended_card(group: str, library: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with forks.process(run, [group], folder=ROOT, log=log) as process:
        process.join()
    if process.exitcode:
        pytest.fail(f"{group} on the pretended card:\n{log.read_text()}", pytrace=False)
    assert " passed" in log.read_text()


@pytest.mark.parametrize("seed", ["1", "3"])
def test_a_spread_target_does_not_hang_on_the_hash_seed(seed: str, library: Path) -> None:
    """Which card is asked first hangs on the order of a set: loading failed with the first seed, not with the other."""
    command = [sys.executable, "-m", "tests.card", "cards", "-k", "spread"]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
