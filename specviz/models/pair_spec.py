"""Which pair of models to load and how, as a plain value: from a form or a command line, and to other processes."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from specviz.models.choices import DEVICES, DTYPES, QUANTIZATIONS

if TYPE_CHECKING:  # at run time it would import torch
    from specviz.models.language_model import LanguageModel
    from specviz.models.loading import Pair


def pair_names(preset: str | None, target: str | None, draft: str | None) -> tuple[str, str]:
    """Names of target and draft: as given, else the preset's, else the default pair's.

    Raises:
        SettingsError: for a preset that there is not.
    """
    names = ("default", "default")
    if preset is not None:
        from specviz.models.presets import find_preset

        names = find_preset(preset).names
    return target or names[0], draft or names[1]


@dataclass(frozen=True)
class ModelChoice:
    """What :func:`specviz.models.loading.load_pair` takes, as typed."""

    target: str = "default"
    draft: str = "default"
    device: str = "auto"
    dtype: str = "auto"
    target_quantization: str = "none"
    draft_quantization: str = "none"
    allow_renamed_tokens: bool = False
    head_reads: str = ""
    """Of a draft head, in place of what its files say: which of the target's hidden states it reads, as ``2,14,25``."""
    head_options: str = ""
    """Of a draft head likewise: options of its format, as ``norm_output=false,position_offset=1``."""

    @classmethod
    def of(cls, options: Any) -> ModelChoice:
        """From an object that has the fields as attributes, such as the options of a command line."""
        given = {field.name: getattr(options, field.name) for field in fields(cls)}
        return cls(**given | {"head_options": ",".join(options.head_options)})

    def load(
        self, progress: Callable[[str, float | None], None] | None = None, loaded_target: LanguageModel | None = None
    ) -> Pair:
        """The pair; see :func:`~specviz.models.loading.load_pair` for the target and for what it may raise."""
        from specviz.models.loading import load_pair

        return load_pair(**asdict(self), progress=progress, loaded_target=loaded_target)


def add_arguments(parser: argparse.ArgumentParser, several_drafts: bool = False) -> None:
    """The options that :meth:`ModelChoice.of` reads, and ``--preset``.

    Args:
        several_drafts: whether ``--draft`` may be given several times: ``drafts`` is their list then, and ``draft`` is
            the preset's or the default.
    """
    parser.add_argument("--preset", metavar="NAME", help="a pair that works together; 'python -m specviz models' lists")
    parser.add_argument("--target", help="default, a model folder, or a hub id (id@revision); instead of the preset's")
    if several_drafts:
        parser.add_argument(
            "--draft",
            dest="drafts",
            action="append",
            metavar="[LABEL=]DRAFT",
            help="as --target; given again, one more draft to compare",
        )
        parser.set_defaults(draft=None)
    else:
        parser.add_argument("--draft", help="as --target")
    add_loading_arguments(parser)
    parser.add_argument(
        "--head-reads",
        default="",
        metavar="LAYERS",
        help="of a draft head: which of the target's hidden states it reads, such as 2,14,25, instead of what it says",
    )
    parser.add_argument(
        "--head-option",
        dest="head_options",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="of a draft head: an option of its format, such as norm_output=false; may be repeated",
    )
    parser.add_argument(
        "--allow-renamed-tokens",
        action="store_true",
        help="take a draft whose tokenizer names added tokens otherwise; it misreads them and may be accepted less",
    )


def add_loading_arguments(parser: argparse.ArgumentParser, given: bool = True) -> None:
    """Those of them that say how models are loaded.

    Args:
        given: whether each has a value where the command line says nothing; else it is None.
    """
    parser.add_argument("--device", default="auto" if given else None, choices=DEVICES)
    parser.add_argument("--dtype", default="auto" if given else None, choices=DTYPES)
    for model in ("target", "draft"):
        parser.add_argument(
            f"--{model}-quantization",
            default="none" if given else None,
            choices=QUANTIZATIONS,
            help="weights in 8 or 4 bit through bitsandbytes, on CUDA and CPU (default none)",
        )
