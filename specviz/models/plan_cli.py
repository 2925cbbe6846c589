"""``python -m specviz plan``: what a pair needs, and whether it fits."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from specviz.errors import SettingsError
from specviz.trace.schema import Choice

if TYPE_CHECKING:  # at run time it would import torch, even for --help
    from specviz.models.download_cache import ProgressCallback


def run(options: argparse.Namespace, choice: Choice, progress: ProgressCallback) -> int:
    """Print the plan. Returns 0, or 1 if the pair does not fit.

    Args:
        choice: the tree builder; its tree takes memory too.

    Raises:
        SettingsError: for a builder that there is not.
    """
    import torch

    from specviz.drafting import BUILDERS
    from specviz.models.devices import choose_device, parse_memory
    from specviz.models.planning import plan_pair
    from specviz.options import parse_options

    size = None if options.device_memory is None else parse_memory(options.device_memory)
    builder = BUILDERS.get(choice.name)
    if builder is None:
        raise SettingsError(f"There is no tree builder {choice.name!r}; choose from {', '.join(BUILDERS)}.")
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
        nodes=builder.max_nodes(parse_options(builder.Options, "builder", choice)),
        device_memory=size,
        progress=progress,
    )
    print(plan.text())
    return 1 if plan.fits is False else 0
