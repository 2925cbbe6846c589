"""Processors as people type them: ``repetition_penalty:penalty=1.2; min_p:min_p=0.05``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from specviz.errors import SettingsError, shown
from specviz.trace.schema import MOST_PROCESSORS, Choice, ProcessorMode, Processors
from specviz.trace.settings import build_choice, parse_pairs

_SPEC = re.compile(r"(?P<name>[\w.]+(?::[A-Za-z_]\w*(?=:|$))?)(?::(?P<options>.*))?", re.DOTALL)


def parse_processors(
    text: str | Sequence[str | Choice], mode: ProcessorMode = "exact", *, draft: bool = False
) -> Processors | None:
    """Processors from one text with ``;`` between them, or from several; None for none.

    Each is ``name:option=value,option=value``; the name is one of specviz's, or ``module:Class``. Lists within a value
    have spaces between their entries: ``suppress_tokens:tokens=5 17``.

    Raises:
        SettingsError: for what is not of that form, and for more than 16.
    """
    parts = text.split(";") if isinstance(text, str) else text
    chosen = tuple(
        part if isinstance(part, Choice) else _choice(part.strip())
        for part in parts
        if isinstance(part, Choice) or part.strip()
    )
    if len(chosen) > MOST_PROCESSORS:
        raise SettingsError(f"There are {len(chosen)} processors and a run takes {MOST_PROCESSORS}; leave some out.")
    if mode not in ("exact", "frozen"):
        raise SettingsError(f"The mode of processors is exact or frozen, not {shown(mode)}.")
    return Processors(chosen=chosen, mode=mode, draft=draft) if chosen else None


def _choice(text: str) -> Choice:
    found = _SPEC.fullmatch(text)
    if not found:
        raise SettingsError(
            f"The processor {shown(text)} is not of the form name:option=value,option=value; "
            "an example is repetition_penalty:penalty=1.2."
        )
    options = [pair for pair in (found["options"] or "").split(",") if pair.strip()]
    try:
        pairs = parse_pairs(options, "processor")
    except SettingsError as error:
        raise SettingsError(
            f"{str(error).removesuffix('.')}; examples are repetition_penalty:penalty=1.2 and, for a list, which has "
            "spaces between its entries, suppress_tokens:tokens=5 17."
        ) from None
    return build_choice(found["name"], pairs)


def written(chosen: Iterable[Choice]) -> str:
    """The text that :func:`parse_processors` reads them from."""
    return "; ".join(
        one.name + (":" + ",".join(f"{name}={value}" for name, value in one.options.items()) if one.options else "")
        for one in chosen
    )
