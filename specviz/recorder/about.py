"""What a recorder is told of an engine before its first step, as values of a trace."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from specviz.errors import SettingsError, shown
from specviz.trace.schema import LONGEST_NAME, LONGEST_STOP, MOST_STOPS, ModelInfo, Sampling, cut
from specviz.verifier_styles import STYLES


def sampling_of(said: Sampling | Mapping[str, Any] | float | None) -> Sampling | None:
    if said is None or isinstance(said, Sampling):
        return said
    fields = dict(said) if isinstance(said, Mapping) else {"temperature": said}
    if isinstance(fields.get("temperature"), int):
        fields["temperature"] = float(fields["temperature"])
    try:
        return Sampling(**fields)
    except (TypeError, ValidationError):
        names = ", ".join(Sampling.model_fields)
        raise SettingsError(
            f"The sampling {shown(said)} is none; give a temperature, or a mapping with {names}."
        ) from None


def stops_of(said: str | Sequence[str]) -> tuple[str, ...]:
    """Stop strings.

    Raises:
        SettingsError: for more or longer ones than a run has.
    """
    found = (said,) if isinstance(said, str) else tuple(said)
    if recordable_stops(found) != found:
        raise SettingsError(
            f"Stop strings are up to {MOST_STOPS} texts of 1 to {LONGEST_STOP} characters, not {shown(found)}."
        )
    return found


def recordable_stops(said: Iterable[str]) -> tuple[str, ...]:
    """The same stop strings; none where there are more or longer ones than a run has: some of them would say that there
    are no others."""
    found = tuple(said)
    fits = len(found) <= MOST_STOPS and all(isinstance(one, str) and 0 < len(one) <= LONGEST_STOP for one in found)
    return found if fits else ()


def meant_rule(rule: object) -> str | None:
    """A sentence about a rule that is almost called as one of specviz's; None for others, which engines may have."""
    name, colon, options = str(rule or "").partition(":")
    close = difflib.get_close_matches(name.lower(), STYLES, 1, 0.8)
    if name in STYLES or not close:
        return None
    meant = shown(close[0] + colon + options)
    return f"there is no rule {shown(name)}, so nothing is judged by it; if {close[0]} is meant, say {meant}"


def model_info(model: Any) -> ModelInfo | None:
    """A name, or what a module tells of itself."""
    if model is None or isinstance(model, ModelInfo):
        return model
    if isinstance(model, (str, os.PathLike)):
        return ModelInfo(id=cut(os.fspath(model)) or "a model")
    config, parameters = getattr(model, "config", None), [*getattr(model, "parameters", list)()]
    name = getattr(config, "_name_or_path", "") or type(model).__name__

    def count(field: str) -> int | None:
        found = getattr(config, field, None)
        return found if type(found) is int and found >= 0 else None

    return ModelInfo(
        id=cut(os.path.basename(os.path.normpath(str(name))) if os.path.isabs(str(name)) else str(name)),
        architecture=cut(type(model).__name__, LONGEST_NAME),
        parameters=sum(parameter.numel() for parameter in parameters) if parameters else None,
        layers=count("num_hidden_layers"),
        vocabulary=count("vocab_size"),
        dtype=str(parameters[0].dtype).removeprefix("torch.") if parameters else None,
        device=str(parameters[0].device) if parameters else None,
    )
