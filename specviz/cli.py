"""``specviz``, or ``python -m specviz``: serve the page, record a run, export it, prove, compare, measure, plan."""

from __future__ import annotations

import argparse
import os
import select
import sys
from collections.abc import Sequence
from pathlib import Path

from specviz import advise_cli, check_cli
from specviz.app import cli as app_cli
from specviz.bench import cli as bench_cli
from specviz.compare import cli as compare_cli
from specviz.compare import lm_eval_cli
from specviz.display import say
from specviz.engine import cli as engine_cli
from specviz.errors import SpecvizError
from specviz.figures import cli as figures_cli
from specviz.models import cli as models_cli
from specviz.recorder import cli as recorder_cli
from specviz.trace import cli as trace_cli
from specviz.train import cli as train_cli

SUBJECTS = (
    app_cli,
    engine_cli,
    figures_cli,
    trace_cli,
    recorder_cli,
    check_cli,
    bench_cli,
    compare_cli,
    advise_cli,
    lm_eval_cli,
    train_cli,
    models_cli,
)
"""Each adds its commands, with their options and what they do, in the order in which ``--help`` lists them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit status: 0 fine, 1 a check failed, 2 an error the user can act on, 130 interrupted, 141 where whoever
        reads the output has stopped, as ``| head`` does.
    """
    options = parse(sys.argv[1:] if arguments is None else arguments)
    try:
        models_cli.fill_in_names(options)
        status = int(options.run(options))
        say("", end="", flush=True)
        return status
    except BrokenPipeError:
        if not _output_is_closed():
            raise
        return 141
    except SpecvizError as error:
        say(f"specviz: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        say("specviz: stopped", file=sys.stderr)
        return 130


def _output_is_closed() -> bool:
    """Whether nobody reads standard output any more. What is left of it goes nowhere then: Python would raise again as
    it ends."""
    output = sys.stdout.fileno()
    if hasattr(select, "poll"):
        ends = select.poll()
        ends.register(output, select.POLLERR)
        if not any(event & (select.POLLERR | select.POLLHUP) for _, event in ends.poll(0)):
            return False
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, output)
    os.close(nowhere)
    return True


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options of a command. What follows ``lm-eval`` is left for lm-eval to read."""
    own = arguments[:1] if arguments[:1] == [lm_eval_cli.NAME] else arguments
    options = _parser().parse_args(own)
    options.rest = arguments[len(own) :]
    return options


def _parser() -> argparse.ArgumentParser:
    name = "specviz" if Path(sys.argv[0]).stem == "specviz" else "python -m specviz"
    parser = argparse.ArgumentParser(prog=name, description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    for subject in SUBJECTS:
        subject.add_commands(commands)
    return parser
