"""``specviz lm-eval``: lm-eval's own command line, with specviz among its models.

lm-eval looks for models in itself only, so a package from outside has to be imported before its command line runs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from specviz.arguments import Commands
from specviz.errors import SettingsError

NAME = "lm-eval"


def add_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    """``lm-eval``, which reads its own options."""
    parser = commands.add_parser(
        NAME, help="lm-eval's command line with the model specviz; see docs/lm-eval.md", add_help=False
    )
    parser.set_defaults(run=lambda options: run(options.rest))


def run(arguments: Sequence[str]) -> int:
    """Register the model and hand over.

    Args:
        arguments: lm-eval's own, e.g. ``--model specviz --model_args verifier=eta --tasks gsm8k``.

    Raises:
        SettingsError: if lm-eval is not installed.
    """
    try:
        from lm_eval.__main__ import cli_evaluate
    except ImportError:
        raise SettingsError("This needs the package lm-eval; install it with: pip install lm-eval.") from None
    from specviz.compare import lm_eval_model

    assert lm_eval_model.SpeculativeLM is not None
    before = sys.argv
    sys.argv = [NAME, *(arguments or ["--help"])]
    try:
        cli_evaluate()
    finally:
        sys.argv = before
    return 0
