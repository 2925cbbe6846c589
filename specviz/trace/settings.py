"""Settings from what people type in a form or on a command line, with one sentence where it is wrong."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from specviz.errors import SettingsError, plain, shown
from specviz.trace.schema import Choice, Engine, Option, Sampling, Settings


def build_settings(**fields: Any) -> Settings:
    """Settings from keyword arguments.

    Raises:
        SettingsError: naming the first field that is wrong.
    """
    try:
        return Settings(**fields)
    except ValidationError as error:
        raise SettingsError(first_fault(error)) from None


def build_sampling(**fields: Any) -> Sampling:
    """Sampling parameters from keyword arguments. Raises SettingsError as :func:`build_settings` does."""
    try:
        return Sampling(**fields)
    except ValidationError as error:
        raise SettingsError(first_fault(error)) from None


def build_choice(name: str, options: Mapping[str, Option]) -> Choice:
    """A builder or verifier with its options. Raises SettingsError as :func:`build_settings` does."""
    numbers = [option for option, value in options.items() if isinstance(value, float) and not math.isfinite(value)]
    if numbers:
        raise SettingsError(f"The option {plain(numbers[0])} of {plain(name)} must be a finite number.")
    try:
        return Choice(name=name, options=dict(options))
    except ValidationError as error:
        raise SettingsError(first_fault(error)) from None


def draft_sampling(target: Sampling, temperature: float | None = None, **fields: Any) -> Sampling:
    """Sampling parameters of the draft. Raises SettingsError as :func:`build_settings` does.

    Args:
        temperature: None for the target's, or 1 where that is 0: at temperature 0 every tree would collapse into a
            chain.
        fields: others than the temperature.
    """
    return build_sampling(temperature=(target.temperature or 1.0) if temperature is None else temperature, **fields)


def parse_pairs(pairs: Iterable[str], what: str) -> dict[str, Option]:
    """``["depth=4", "rule=eagle2"]`` -> options; numbers and booleans are recognized."""
    options: dict[str, Option] = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign or not name:
            raise SettingsError(f"The {what} option {shown(pair)} is not of the form name=value.")
        options[name.strip()] = parse_option(value.strip())
    return options


def parse_option(text: str) -> Option:
    """The number, boolean or string that a text stands for."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def tree_choice(
    builder: str | None,
    tree: str | Sequence[int] | Sequence[Sequence[int]] | None,
    proposal: str | None,
    options: Mapping[str, Option],
) -> Choice:
    """The tree builder that somebody asks for by its name, by a tree alone, or by neither (``k_config``).

    Args:
        tree: children a level, ``"4,2,2"`` or ``(4, 2, 2)``, or paths, ``"[0],[1],[0,0]"`` or ``[[0], [1], [0, 0]]``.
        options: of the builder; tree and proposal come on top.
    """
    chosen = dict(options)
    if tree is not None:
        if not isinstance(tree, str):
            tree = ",".join(str(part) if isinstance(part, int) else str(list(part)) for part in tree)
        is_paths = tree.lstrip().startswith("[")
        builder = builder or ("explicit" if is_paths else "k_config")
        chosen["paths" if builder == "explicit" else "tree"] = tree
    if proposal is not None:
        chosen["proposal"] = proposal
    return build_choice(builder or "k_config", chosen)


def verifier_choices(names: Iterable[str], options: Mapping[str, Mapping[str, Option]]) -> tuple[Choice, ...]:
    """One choice a name, with the options given for it.

    Raises:
        SettingsError: for options of a verifier that was not chosen.
    """
    chosen = list(names)
    strangers = [name for name in options if name not in chosen]
    if strangers:
        known = shown(chosen, 200)
        raise SettingsError(f"Options are given for {shown(strangers[0])}, which is not among the verifiers {known}.")
    return tuple(build_choice(name, options.get(name, {})) for name in chosen)


def first_fault(error: ValidationError) -> str:
    """What is wrong with the first field that is, as one sentence."""
    first = error.errors(include_url=False)[0]
    where = " ".join(".".join(str(part)[:60] for part in first["loc"]).split())[:120]
    message = " ".join(first["msg"].removeprefix("Value error, ").split())[:200]
    if not where:
        return f"{message[:1].upper()}{message[1:]}."
    return f"The setting {where} cannot be {shown(first.get('input'))}: {message[:1].lower()}{message[1:]}."


def flat_settings(settings: Settings) -> dict[str, str]:
    """Every setting as a dotted name and its value in words, for tables and comparisons."""
    fields = settings.model_dump()
    verifiers = fields.pop("verifiers")
    builder = fields.pop("builder")
    _name_processors(fields)
    flat = _flat(fields)
    flat["verifiers"] = ", ".join(choice["name"] for choice in verifiers)
    flat |= _flat({"builder": {"name": builder["name"], **builder["options"]}})
    return flat | _flat({choice["name"]: choice["options"] for choice in verifiers})


def _name_processors(fields: dict[str, Any]) -> None:
    """Let processors stand by their names."""
    if processors := fields.pop("processors", None):
        chosen = processors.pop("chosen")
        fields["processors"] = {one["name"]: _words(one["options"]) for one in chosen} | processors


def _words(options: Mapping[str, Option]) -> str:
    return ", ".join(f"{name}={value}" for name, value in options.items()) or "on"


def flat_engine(engine: Engine) -> dict[str, str]:
    """What another engine said of itself, likewise; what it did not say is left out."""
    said = engine.model_dump(exclude={"name", "options"}, exclude_none=True)
    _name_processors(said)
    return _flat(said) | _flat(dict(engine.options))


def _flat(fields: Mapping[str, Any], within: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in fields.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{within}{name}.")
        else:
            flat[f"{within}{name}"] = f"{value:g}" if isinstance(value, float) else str(value)
    return flat
