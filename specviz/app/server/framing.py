"""Which pages may show this one in a frame: an operator's setting, because who frames a page can lay something over it
and have a visitor click where they see something else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from specviz.errors import SettingsError, shown

FRAMES = "SPECVIZ_FRAMES"
HUB = "https://huggingface.co"
"""A Space is shown in a frame of the hub's."""
_ORIGIN = re.compile(r"https?://(\*\.)?[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:\d{1,5})?")


def read_frames(environment: Mapping[str, str], option: str | None = None) -> tuple[str, ...]:
    """The origins whose pages may frame this one beside its own; without a setting none, on a Space the hub.

    Args:
        option: what the command line says, which counts more than ``SPECVIZ_FRAMES``: origins with commas between them.

    Raises:
        SettingsError: naming the first that is no origin.
    """
    text = environment.get(FRAMES, "") if option is None else option
    given = [name.strip().lower().removesuffix("/") for name in text.split(",") if name.strip()]
    for name in given:
        if not _ORIGIN.fullmatch(name):
            raise SettingsError(
                f"{shown(name)} is no page that may show this one in a frame; give origins such as "
                "https://example.org or https://*.example.org, with commas between them."
            )
    return tuple(dict.fromkeys([*([HUB] if environment.get("SPACE_ID") else []), *given]))


def frame_ancestors(frames: Iterable[str]) -> str:
    """The part of a Content-Security-Policy that says so."""
    return " ".join(["frame-ancestors", "'self'", *frames])
