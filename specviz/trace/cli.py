"""``specviz diff`` on the command line."""

from __future__ import annotations

import argparse

from specviz.arguments import Commands
from specviz.display import say


def add_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    """``diff``."""
    diff = commands.add_parser("diff", help="where two runs part, and what that means: rounding, luck or a fault")
    diff.add_argument("a", help="a trace file")
    diff.add_argument("b", help="another one")
    diff.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Compare the two traces and print what is found."""
    from specviz.figures.diff import format_comparison
    from specviz.trace.diff import compare
    from specviz.trace.io import load_trace

    say(format_comparison(compare(load_trace(options.a), load_trace(options.b), (options.a, options.b))))
    return 0
