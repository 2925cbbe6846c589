"""Where the files that come with specviz are: recorded runs, lessons, faults, the draft's layers, prompts, viewer."""

from __future__ import annotations

from pathlib import Path

_INSTALLED = Path(__file__).parent / "_assets"
IS_INSTALLED = _INSTALLED.is_dir()
ASSETS = _INSTALLED if IS_INSTALLED else Path(__file__).resolve().parents[1] / "assets"
"""An installed package carries them inside; in a checkout they lie beside the package."""

LARGEST_COMPARISON = "comparison/paired"
"""The one folder of the assets that pyproject.toml leaves out of the package, for its size."""
