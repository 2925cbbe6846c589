"""``specviz advise``: what shape of tree would pay, from runs of any engine, and what it does on held-out prompts.

Above compare and the trace, of which it uses both; nothing heavy is imported for ``--help``.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from specviz.arguments import Commands
from specviz.display import say
from specviz.errors import SettingsError
from specviz.models.pair_spec import add_arguments as add_pair_arguments

if TYPE_CHECKING:
    from specviz.trace.advice import Advice
    from specviz.trace.forward_times import ForwardTimes
    from specviz.trace.schema import Trace


def add_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    """``advise``."""
    parser = commands.add_parser("advise", help="which tree would pay, from the acceptance in recorded runs")
    add = parser.add_argument
    add("runs", nargs="+", metavar="RUN", help="traces or recordings (.jsonl) of one pair of models, of any engine")
    add("--budget", nargs="+", type=int, default=[], metavar="N", help="nodes of the tree (default: several)")
    add("--depth", type=int, default=8, help="levels of the tree at most (default 8)")
    add("--times", nargs="+", default=[], metavar="FILE", help="forward times by width: of bench --json, or other runs")
    add(
        "--held-out",
        metavar="PROMPTS",
        help="run today's tree and the advised one on these prompts, as --prompts of compare",
    )
    add("--prompts", type=int, default=8, metavar="N", help="how many of them (default 8)")
    add("--max-new-tokens", type=int, default=48, help="of each of those runs (default 48)")
    add_pair_arguments(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print ranks, advice and, where asked for, what held-out prompts show.

    Raises:
        SpecvizError: for a file that cannot be read, too few decisions, or a run that cannot be repeated.
    """
    from specviz.trace.advice import advise
    from specviz.trace.advice_report import advice_report, rank_report

    if options.held_out and not (options.prompts > 1 and options.max_new_tokens > 0):
        raise SettingsError("--held-out takes at least two --prompts and one of --max-new-tokens.")
    traces = [trace for path in options.runs for trace in _runs(path)]
    say("\n".join(rank_report([step for trace in traces for step in trace.steps])), end="\n\n")
    found = advise(traces, options.budget, options.depth, [_times(path) for path in options.times])
    say("\n".join(advice_report(found)))
    if options.held_out:
        say("")
        _held_out(options, traces[-1], found)
    return 0


def _runs(path: str) -> list[Trace]:
    """The run of a file, or all requests of a recording."""
    from specviz.trace.io import load_trace
    from specviz.trace.recording import read_recordings

    trace = load_trace(path)
    return [trace] if trace.request is None else list(read_recordings(path).values())


def _times(path: str) -> ForwardTimes:
    from specviz.trace.forward_times import times_of_bench, times_of_run
    from specviz.trace.recording import file_bytes

    data = file_bytes(path)
    try:
        report: Any = json.loads(data)
    except (ValueError, RecursionError):
        report = None
    if isinstance(report, dict) and "schema_version" not in report:
        return times_of_bench(report)
    return times_of_run(_runs(path))


def _held_out(options: argparse.Namespace, trace: Trace, found: Advice) -> None:
    from specviz.compare.held_out import held_out, held_out_report
    from specviz.compare.prompts import load_prompts, spread
    from specviz.models.cli import print_progress
    from specviz.models.pair_spec import ModelChoice

    trace.own_settings()  # what cannot be repeated is refused before models are loaded
    prompts = spread(load_prompts(options.held_out), options.prompts)
    pair = ModelChoice.of(options).load(print_progress())
    told = partial(say, file=sys.stderr, flush=True)
    say("\n".join(held_out_report(held_out(pair, trace, found, prompts, options.max_new_tokens, told))))
