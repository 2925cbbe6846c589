"""The page on the command line: ``python app.py``, ``python -m specviz app`` and ``specviz app`` are one program."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from specviz.arguments import Commands
from specviz.check_cli import add_user_verifiers, load_user_verifiers
from specviz.display import say
from specviz.errors import SettingsError, SpecvizError
from specviz.models.pair_spec import add_loading_arguments


def add_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    """``app``."""
    parser = commands.add_parser("app", help="serve the page")
    add_arguments(parser)
    parser.set_defaults(run=run)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``app``."""
    # Inside a container the platform says where to listen.
    parser.add_argument("--host", default=os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"))
    parser.add_argument("--port", type=int, default=None, help="default: the first free one from 7860")
    parser.add_argument("--trace", help="open on this trace file instead of a run that comes with specviz")
    parser.add_argument(
        "--follow",
        metavar="RECORDING",
        help="show this recording (.jsonl) while it is written, and step its loop: docs/recorder.md",
    )
    parser.add_argument(
        "--comparison", action="append", default=[], metavar="FOLDER", help="offer this folder of compare, too"
    )
    add_user_verifiers(parser)
    parser.add_argument(
        "--public",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="strangers use it: presets only, lower limits; default: whether it runs on a Space",
    )
    parser.add_argument(
        "--limit", action="append", default=[], metavar="NAME=NUMBER", help="what a visitor may ask for: docs/limits.md"
    )
    parser.add_argument(
        "--proxies",
        metavar="ADDRESSES",
        help="addresses or networks, with commas, of the proxies before this page, which say who a visitor is: "
        "docs/operating.md",
    )
    parser.add_argument(
        "--frames",
        metavar="ORIGINS",
        help="origins, with commas, whose pages may show this page in a frame, such as https://example.org; default: "
        "none, and on a Space the hub: docs/operating.md",
    )
    # What the form begins with; on a public page nobody can choose another.
    add_loading_arguments(parser, given=False)


def run(options: argparse.Namespace) -> int:
    """Serve the page until somebody stops it.

    Raises:
        SpecvizError: for a limit, verifier, trace or comparison that cannot be used, before anything is served.
    """
    import specviz.app.server.zerogpu_entry as zerogpu_entry  # first of all that imports torch or gradio
    from specviz.app.compare.tab import find_comparison_store
    from specviz.app.follow import Follower
    from specviz.app.page import build_page
    from specviz.app.server.limits import read_limits
    from specviz.app.server.serve import serve
    from specviz.app.server.session_registry import Sessions
    from specviz.app.server.share_store import ShareStore
    from specviz.app.server.tempdir import open_scratch
    from specviz.trace.io import load_trace

    limits = read_limits(os.environ, options.limit, options.public, options.proxies, vars(options), options.frames)
    load_user_verifiers(options)  # before the page is built: it makes its form from the registry
    if options.follow and options.trace:
        raise SettingsError("A page opens on a trace or follows a recording; give one of --trace and --follow.")
    if options.follow and limits.public:
        raise SettingsError(
            "A public page follows no recording and steps no loop; leave out --follow, or serve a page of your own "
            "with --no-public."
        )
    trace = load_trace(options.trace) if options.trace else None
    follower = Follower(Path(options.follow)) if options.follow else None
    comparison_store = find_comparison_store(options.comparison)
    open_scratch()
    sessions, share_store = Sessions(backend=zerogpu_entry.find_backend(limits)), ShareStore(limits=limits)
    page = build_page(sessions, trace, share_store, comparison_store=comparison_store, follower=follower)
    if follower is not None:
        follower.start()
    serve(page, sessions, share_store, server_name=options.host, server_port=options.port)
    return 0


def main() -> int:
    """``python app.py``: the page alone, with the options of the process."""
    parser = argparse.ArgumentParser(description="Serve the specviz page.")
    add_arguments(parser)
    options = parser.parse_args()
    try:
        return run(options)
    except SpecvizError as error:
        say(error, file=sys.stderr)
        return 2
