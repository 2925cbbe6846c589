"""Serve the page: ``python app.py``."""

from __future__ import annotations

import sys

import specviz.app.server.zerogpu_entry  # noqa: F401  first of all that imports torch or gradio
from specviz.app.cli import main

if __name__ == "__main__":
    sys.exit(main())
