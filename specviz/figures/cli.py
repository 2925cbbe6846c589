"""``specviz export`` on the command line."""

from __future__ import annotations

import argparse
from pathlib import Path

from specviz.arguments import Commands
from specviz.display import say


def add_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    """``export``."""
    export = commands.add_parser("export", help="write a trace as one HTML file that opens without a server or network")
    export.add_argument("trace", help="a trace file, .json or .json.gz, or a recording, .jsonl")
    export.add_argument("-o", "--output", help="file to write (default: the trace's name with .html)")
    export.add_argument("--step", type=int, default=1, help="the step that is shown first, from 1 on (default: 1)")
    export.add_argument("--alone", action="store_true", help="write that step only, for a slide or another page")
    export.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write the file."""
    from specviz.figures.export import save_page
    from specviz.trace.io import load_trace

    trace = load_trace(options.trace)
    name = options.trace.removesuffix(".gz").removesuffix(".json")
    output = Path(options.output or f"{name}.html")
    save_page(trace, output, go=options.step - 1, alone=options.alone)
    said = f"step {options.step} of {len(trace.steps)}" if options.alone else f"{len(trace.steps)} steps"
    say(f"saved {output} ({output.stat().st_size / 1e6:.1f} MB, {said})")
    return 0
