"""``specviz bench`` and ``specviz greedy`` on the command line."""

from __future__ import annotations

import argparse
import json
import os
import sys
from functools import partial
from pathlib import Path

from specviz.arguments import Commands, positive
from specviz.display import say
from specviz.errors import SettingsError, shown
from specviz.models.cli import load_pair
from specviz.models.pair_spec import ModelChoice, pair_names
from specviz.models.pair_spec import add_arguments as add_pair_arguments


def add_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    """``greedy`` and ``bench``."""
    greedy = commands.add_parser("greedy", help="compare with transformers' own greedy decoding, token for token")
    add_pair_arguments(greedy)
    greedy.add_argument("--prompts", type=positive, default=20, help="how many prompts (default 20)")
    greedy.add_argument("--max-new-tokens", type=positive, default=32)
    greedy.set_defaults(run=run_greedy)

    parser = commands.add_parser("bench", help="measure speed, memory and trace size; see docs/bench.md")
    add_pair_arguments(parser)
    parser.add_argument(
        "--only",
        default="a,b,c,d,e",
        help="parts, comma-separated (default a,b,c,d,e; f takes longest, g is about recorders, h the optimum)",
    )
    parser.add_argument("--steps", type=positive, default=12, help="measured steps per tree or context (default 12)")
    parser.add_argument("--repeats", type=positive, default=3, help="runs of each prompt in part b (default 3)")
    parser.add_argument("--prompts", type=positive, default=4, help="prompts in part b (default 4)")
    parser.add_argument("--max-new-tokens", type=positive, default=64, help="tokens of a run in part b (default 64)")
    parser.add_argument("--json", metavar="PATH", help="also write every figure to this file; with --piece a folder")
    parser.add_argument(
        "--piece",
        metavar="NAMES",
        help="instead of parts, measure random models of real shapes piece by piece, on a card: all, or names, "
        "comma-separated",
    )
    parser.add_argument("--size", default="7b", help="of those models: 7b (default), or tiny, to try it without a card")
    parser.set_defaults(run=run_bench)


def run_greedy(options: argparse.Namespace) -> int:
    """Compare and print. Returns 0, or 1 if tokens differ."""
    from specviz.bench.greedy import compare_with_generate, tell

    return 0 if tell(compare_with_generate(load_pair(options), options.prompts, options.max_new_tokens)) else 1


def run_bench(options: argparse.Namespace) -> int:
    """Measure, print tables, write the file.

    Raises:
        SettingsError: for a part there is not or a file that cannot be written, before a model is loaded.
    """
    if options.piece is not None:
        return _run_pieces(options)
    from specviz.bench.bench import Sizes, bench, format_report, parse_parts

    parts = parse_parts(options.only)
    output = None if options.json is None else Path(options.json)
    if output is not None and (output.is_dir() or not os.access(output.parent, os.W_OK)):
        raise SettingsError(f"No figures can be saved to {str(output)!r}; name a file in a folder you can write to.")
    sizes = Sizes(options.steps, options.repeats, options.prompts, options.max_new_tokens)
    report = bench(
        load_pair(options), ModelChoice.of(options), parts, sizes, partial(print, file=sys.stderr, flush=True)
    )
    say(format_report(report))
    if output is not None:
        output.write_text(json.dumps(report.as_json(), indent=1) + "\n", encoding="utf-8")
        say(f"\nsaved {output}")
    return 0


def _run_pieces(options: argparse.Namespace) -> int:
    """Measure pieces on random models. Returns 0, or 1 if one of them failed.

    Raises:
        SettingsError: for what cannot be measured, before a model is made.
    """
    from specviz.bench.pieces import parse_pieces, run_pieces
    from specviz.models.random_models import SIZES

    names = parse_pieces(options.piece)
    if options.size not in SIZES:
        raise SettingsError(f"There is no size {shown(options.size)}; choose from {', '.join(SIZES)}.")
    if (options.target, options.draft) != pair_names(None, None, None):
        raise SettingsError("Pieces measure random models of their own; leave out --preset, --target and --draft.")
    if options.json is None:
        raise SettingsError("Every piece is written to a file of its own; name a folder for them with --json.")
    good = run_pieces(
        names,
        Path(options.json),
        options.size,
        options.device,
        options.dtype,
        options.steps,
        partial(say, flush=True),
    )
    return 0 if good else 1
