"""These tests need packages that the others do not: they are collected only where they are asked for."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return None if config.getoption("-m") == "oracles" else True
