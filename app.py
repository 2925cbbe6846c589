"""Serve the page: ``python app.py``."""

from __future__ import annotations

import argparse
import os
import sys

from specviz.app.server import zerogpu_entry  # first of all that imports torch or gradio
from specviz.errors import SpecvizError


def main() -> int:
    parser = argparse.ArgumentParser(description="Serve the specviz page.")
    # Inside a container the platform says where to listen.
    parser.add_argument("--host", default=os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"))
    parser.add_argument("--port", type=int, default=None, help="default: the first free one from 7860")
    parser.add_argument("--trace", help="open on this trace file instead of a run that comes with specviz")
    parser.add_argument(
        "--comparison", action="append", default=[], metavar="FOLDER", help="offer this folder of compare, too"
    )
    parser.add_argument(
        "--verifier", action="append", default=[], metavar="MODULE:NAME", help="add a verifier of your own"
    )
    parser.add_argument(
        "--public",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="strangers use it: presets only, lower limits; default: whether it runs on a Space",
    )
    parser.add_argument(
        "--limit", action="append", default=[], metavar="NAME=NUMBER", help="what a visitor may ask for: docs/limits.md"
    )
    arguments = parser.parse_args()
    from specviz.app.compare.tab import find_shelf
    from specviz.app.page import build_page
    from specviz.app.server.limits import read_limits
    from specviz.app.server.serve import serve
    from specviz.app.server.session_registry import Sessions
    from specviz.app.server.share_store import Held
    from specviz.app.server.tempdir import open_scratch
    from specviz.trace.io import load_trace
    from specviz.verifiers import load_verifier

    try:
        limits = read_limits(os.environ, arguments.limit, arguments.public)
        for spec in arguments.verifier:
            load_verifier(spec)  # before the page is built: it makes its form from the registry
        trace = load_trace(arguments.trace) if arguments.trace else None
        shelf = find_shelf(arguments.comparison)
    except SpecvizError as error:
        print(error, file=sys.stderr)
        return 2
    open_scratch()
    sessions, held = Sessions(limits=limits, lend=zerogpu_entry.find_lend()), Held()
    page = build_page(sessions, trace, held, shelf=shelf)
    serve(page, sessions, held, server_name=arguments.host, server_port=arguments.port)
    return 0


if __name__ == "__main__":
    sys.exit(main())
