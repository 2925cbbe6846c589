"""``specviz record`` on the command line."""

from __future__ import annotations

import argparse
import contextlib
import inspect
import os
import sys
from pathlib import Path
from typing import Any

from specviz.arguments import Commands
from specviz.check_cli import add_user_verifiers, load_user_verifiers
from specviz.display import say
from specviz.engine.record import record as record_run
from specviz.errors import RecordingInterrupted, SettingsError, SpecvizError, shown
from specviz.models.cli import add_prompt_end, print_progress
from specviz.models.pair_spec import add_arguments as add_pair_arguments
from specviz.sampling_cli import add_ends, add_processor_arguments, add_sampling_arguments
from specviz.trace.breakpoints import SHORT, Hit, last_hits, parse_short
from specviz.trace.schema import Option, Step
from specviz.trace.settings import parse_pairs
from specviz.tree_cli import add_tree_arguments

RECORD_DEFAULTS = {
    name: one.default for name, one in inspect.signature(record_run).parameters.items() if name != "prompt"
}
"""Of the command, too: the function's signature is where they stand."""


def add_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    """``record``."""
    record = commands.add_parser("record", help="run a speculative decode and save its trace")
    record.add_argument("--prompt", required=True, help="text to continue, or the user's message with --chat")
    record.add_argument("--chat", action="store_true", help="wrap the prompt in the target's chat template")
    add_prompt_end(record)
    add_tree_arguments(record)
    _add_sampling(record)
    add_pair_arguments(record)
    add_user_verifiers(record)
    verifiers = RECORD_DEFAULTS["verifiers"]
    record.add_argument("--verifiers", default=verifiers, help=f"comma-separated (default {verifiers})")
    record.add_argument(
        "--verifier-option", action="append", default=[], metavar="NAME.OPTION=VALUE", help="e.g. eta.epsilon=0.2"
    )
    record.add_argument("--driver", help="the verifier whose verdict is committed (default: the first)")
    record.add_argument("--seed", type=int, default=RECORD_DEFAULTS["seed"])
    record.add_argument("--max-new-tokens", type=int, default=RECORD_DEFAULTS["max_new_tokens"])
    add_ends(record)
    record.add_argument("--audit", action="store_true", help="compare both caches with a recompute after every step")
    record.add_argument(
        "--record-optimum",
        action="store_true",
        help="also record the most that a lossless rule can accept at each node, and what each rule can expect; slower",
    )
    record.add_argument(
        "--until",
        action="append",
        default=[],
        metavar="BREAKPOINT",
        help="stop after the first step in which " + "; ".join(f"{name}: {what}" for name, what in SHORT.items()),
    )
    record.add_argument("-o", "--output", default="trace.json.gz", help="file to write (default trace.json.gz)")
    record.set_defaults(run=run)


def _add_sampling(parser: argparse.ArgumentParser) -> None:
    default = RECORD_DEFAULTS
    parser.add_argument("--temperature", type=float, default=default["temperature"], help="of the target; 0 is greedy")
    add_sampling_arguments(parser)
    parser.add_argument("--draft-top-k", type=int, default=default["draft_top_k"])
    parser.add_argument("--draft-top-p", type=float, default=default["draft_top_p"])
    add_processor_arguments(parser)


def record_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """What the options of ``record`` are as keyword arguments of the function."""
    given = {name: getattr(options, name) for name in RECORD_DEFAULTS if hasattr(options, name)}
    verifier_options: dict[str, dict[str, Option]] = {}
    for name, value in parse_pairs(options.verifier_option, "verifier").items():
        verifier, dot, option = name.partition(".")
        if not dot:
            raise SettingsError(f"The verifier option {shown(name)} is not of the form verifier.option=value.")
        verifier_options.setdefault(verifier, {})[option] = value
    return given | {
        "builder_options": parse_pairs(options.builder_option, "builder"),
        "verifier_options": verifier_options,
    }


def run(options: argparse.Namespace) -> int:
    """Record and save, also what a run that broke off or was stopped has recorded.

    Raises:
        SpecvizError: for what no run can have, or what broke the run off; its trace is saved then.
    """
    from tqdm import tqdm

    from specviz.trace.io import save_trace
    from specviz.trace.summary import summary

    load_user_verifiers(options)
    output = Path(options.output)
    if not output.parent.is_dir():
        raise SettingsError(f"There is no folder {str(output.parent)!r} to save the trace in; create it first.")
    if output.is_dir() or not os.access(output.parent, os.W_OK):
        raise SettingsError(f"The trace cannot be saved to {str(output)!r}; name a file in a folder you can write to.")
    until = parse_short(options.until)
    failure: SpecvizError | None = None
    reached: list[Hit] = []
    with contextlib.ExitStack() as stack:
        bars: list[Any] = []

        def on_step(step: Step) -> None:
            if not bars:  # not before: loading the models has messages of its own
                bars.append(tqdm(total=options.max_new_tokens, unit=" tokens", file=sys.stderr, leave=False))
                stack.callback(bars[0].close)
            bars[0].update(len(step.committed))

        try:
            trace = record_run(options.prompt, **record_arguments(options), progress=print_progress(), on_step=on_step)
            reached = last_hits(trace, until)
        except RecordingInterrupted as stopped:
            trace = stopped.trace
            say("\nstopped; saving what was recorded", file=sys.stderr)
        except SpecvizError as error:
            if error.trace is None:
                raise
            trace, failure = error.trace, error
    save_trace(trace, output)
    say(summary(trace))
    for hit in reached:
        say(f"\nstopped at step {hit.position + 1}: {hit.reason}")
    say(f"\nsaved {output} ({output.stat().st_size / 1e3:.0f} kB, {len(trace.steps)} steps)")
    if failure is not None:
        raise failure
    return 0
