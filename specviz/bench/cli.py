"""``bench`` on the command line."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from specviz.errors import SettingsError
from specviz.models.pair_spec import ModelChoice


def add_arguments(parser: argparse.ArgumentParser, count: Callable[[str], int]) -> None:
    """The options of ``bench`` besides the models; ``count`` reads a whole number from 1 on."""
    parser.add_argument("--only", default="a,b,c,d,e", help="parts, comma-separated (default all: a,b,c,d,e)")
    parser.add_argument("--steps", type=count, default=12, help="measured steps per tree or context (default 12)")
    parser.add_argument("--repeats", type=count, default=3, help="runs of each prompt in part b (default 3)")
    parser.add_argument("--prompts", type=count, default=4, help="prompts in part b (default 4)")
    parser.add_argument("--max-new-tokens", type=count, default=64, help="tokens of a run in part b (default 64)")
    parser.add_argument("--json", metavar="FILE", help="also write every figure to this file")


def run(options: argparse.Namespace, load_pair: Callable[[argparse.Namespace], Any]) -> int:
    """Measure, print tables, write the file.

    Raises:
        SettingsError: for a part there is not or a file that cannot be written, before a model is loaded.
    """
    from specviz.bench.bench import Sizes, bench, format_report, parse_parts

    parts = parse_parts(options.only)
    output = None if options.json is None else Path(options.json)
    if output is not None and (output.is_dir() or not os.access(output.parent, os.W_OK)):
        raise SettingsError(f"No figures can be saved to {str(output)!r}; name a file in a folder you can write to.")
    sizes = Sizes(options.steps, options.repeats, options.prompts, options.max_new_tokens)
    report = bench(
        load_pair(options), ModelChoice.of(options), parts, sizes, partial(print, file=sys.stderr, flush=True)
    )
    print(format_report(report))
    if output is not None:
        output.write_text(json.dumps(report.as_json(), indent=1) + "\n", encoding="utf-8")
        print(f"\nsaved {output}")
    return 0
