"""``specviz plan`` and ``specviz models``, and the options and messages of all commands that load a pair."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, get_args

from specviz.arguments import Commands, positive
from specviz.display import say
from specviz.models.choices import PLANNED_CONTEXT
from specviz.models.pair_spec import ModelChoice, add_arguments, pair_names
from specviz.trace.schema import PromptEnd
from specviz.tree_cli import add_tree_arguments, chosen_tree

if TYPE_CHECKING:  # at run time it would import torch, even for --help
    from specviz.models.download_cache import ProgressCallback
    from specviz.models.loading import Pair


def add_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    """``plan`` and ``models``."""
    plan = commands.add_parser("plan", help="say what a pair needs and whether it fits, without loading it")
    add_arguments(plan)
    add_tree_arguments(plan)
    plan.add_argument(
        "--context",
        type=positive,
        default=PLANNED_CONTEXT,
        help=f"tokens of prompt and output (default {PLANNED_CONTEXT})",
    )
    plan.add_argument(
        "--device-memory", metavar="SIZE", help="of a card to plan for, e.g. 16GB (default: what is free)"
    )
    plan.set_defaults(run=run_plan)

    models = commands.add_parser("models", help="list the presets: pairs, licences, what they need")
    models.set_defaults(run=run_models)


def add_prompt_end(parser: argparse.ArgumentParser) -> None:
    """``--prompt-end-token``, for every command that takes prompts."""
    parser.add_argument(
        "--prompt-end-token",
        choices=get_args(PromptEnd),
        default="refuse",
        help="where a prompt outside a chat template ends in an end token: refuse it (default), drop the token, or "
        "begin after it",
    )


def fill_in_names(options: argparse.Namespace) -> None:
    """The names of target and draft, where a command has them: as given, the preset's, or the default pair."""
    if hasattr(options, "preset"):
        options.target, options.draft = pair_names(options.preset, options.target, options.draft)


def load_pair(options: argparse.Namespace) -> Pair:
    """The pair of the options; see :func:`~specviz.models.loading.load_pair` for what it may raise."""
    return ModelChoice.of(options).load(print_progress())


def print_progress() -> ProgressCallback:
    """Says every new message once."""
    said = ""

    def progress(message: str, _fraction: float | None) -> None:
        nonlocal said
        if message != said:
            say(message, file=sys.stderr, flush=True)
            said = message

    return progress


def run_plan(options: argparse.Namespace) -> int:
    """Print the plan. Returns 0, or 1 if the pair does not fit.

    Raises:
        SettingsError: for a builder that there is not.
    """
    import torch

    from specviz.drafting import resolve_builder
    from specviz.models.devices import choose_device, parse_memory
    from specviz.models.planning import plan_pair

    size = None if options.device_memory is None else parse_memory(options.device_memory)
    choice = chosen_tree(options)  # its tree takes memory too
    builder, builder_options = resolve_builder(choice)
    # The memory of a card was given: whether a card is in this machine does not matter.
    on_card = size is not None and options.device in ("auto", "cuda")
    plan = plan_pair(
        options.target,
        options.draft,
        device=torch.device("cuda") if on_card else choose_device(options.device),
        dtype=options.dtype,
        target_quantization=options.target_quantization,
        draft_quantization=options.draft_quantization,
        context=options.context,
        nodes=builder.max_nodes(builder_options),
        device_memory=size,
        progress=print_progress(),
    )
    say(plan.text())
    return 1 if plan.fits is False else 0


def run_models(_options: argparse.Namespace) -> int:
    """Print the presets."""
    from specviz.models.planning import presets_text

    say(presets_text())
    return 0
