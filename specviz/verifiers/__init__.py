"""Verifiers: who accepts what. A verifier is one file and one line in :data:`VERIFIERS`, here or in a user's module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from specviz.errors import SettingsError, shown
from specviz.options import parse_options
from specviz.trace.schema import Choice
from specviz.user_code import import_named
from specviz.verifiers.base import (
    ALL_PROPOSALS,
    Context,
    End,
    Judgement,
    Luck,
    Residuals,
    Ruling,
    StepLuck,
    Verifier,
    Walk,
    default_options,
    draft_edge_probs,
    edge_probs,
    label_of,
    verifier_errors,
    verify,
)
from specviz.verifiers.coupling import COUPLING
from specviz.verifiers.eta import ETA
from specviz.verifiers.greedy import GREEDY
from specviz.verifiers.lenience import LENIENCE
from specviz.verifiers.longest_path import LONGEST_PATH
from specviz.verifiers.naive import NAIVE
from specviz.verifiers.rejection import REJECTION
from specviz.verifiers.relaxed import RELAXED
from specviz.verifiers.traversal import TRAVERSAL

STANDARD = (REJECTION, ETA, LONGEST_PATH, TRAVERSAL, NAIVE, GREEDY)
"""What ``bench`` measures with, so that its figures stay comparable when verifiers are added."""
BUILT_IN = (*STANDARD, COUPLING, LENIENCE, RELAXED)
VERIFIERS: dict[str, Verifier] = {verifier.name: verifier for verifier in BUILT_IN}


def find_verifier(name: str, known: Mapping[str, Verifier] | None = None) -> Verifier:
    """The verifier of this name.

    Args:
        known: verifiers by name; None for the registered ones.

    Raises:
        SettingsError: if there is none.
    """
    known = VERIFIERS if known is None else known  # looked up now: a user's own may have joined
    if name not in known:
        raise SettingsError(f"There is no verifier {shown(name)}; choose from {', '.join(known)}.")
    return known[name]


def resolve_verifier(choice: Choice, known: Mapping[str, Verifier] | None = None) -> tuple[Verifier, Any]:
    """The verifier of a choice, and its options, validated.

    Args:
        known: as for :func:`find_verifier`.

    Raises:
        SettingsError: for an unknown verifier or an unfit option.
    """
    verifier = find_verifier(choice.name, known)
    return verifier, parse_options(verifier.Options, "verifier", choice)


def load_verifier(spec: str) -> Verifier:
    """Import ``my_module:my_verifier`` and register it, so that it is everywhere ours are.

    The module is looked up as Python does, the current folder first.

    Raises:
        SettingsError: if it cannot be imported, is no :class:`Verifier`, or takes the name of another one.
    """
    module_name, _, attribute = spec.partition(":")
    if not module_name or not attribute:
        raise SettingsError(f"The verifier {spec!r} is not of the form my_module:my_verifier.")
    found = import_named(spec, "verifier")
    if not isinstance(found, Verifier):
        raise SettingsError(f"{spec!r} is a {type(found).__name__}, not a specviz.verifiers.Verifier.")
    if VERIFIERS.get(found.name, found) is not found:
        raise SettingsError(f"A verifier named {found.name!r} exists already; give yours another name.")
    VERIFIERS[found.name] = found
    return found


def named_verifiers(given: str | Sequence[str | Verifier]) -> tuple[list[str], dict[str, Verifier]]:
    """Verifiers given by name, as one text with commas, or as they are: their names, and all verifiers by name.

    Raises:
        SettingsError: if none is given, or one has the name of another.
    """
    listed = given.split(",") if isinstance(given, str) else given
    known = dict(VERIFIERS)
    names = []
    for one in listed:
        name = one.name if isinstance(one, Verifier) else one.strip()
        if isinstance(one, Verifier) and known.setdefault(name, one) is not one:
            raise SettingsError(f"A verifier named {shown(name)} exists already; give yours another name.")
        names += [name] if name else []
    if not names:
        raise SettingsError("No verifier is chosen; name at least one.")
    return names, known


__all__ = [
    "ALL_PROPOSALS",
    "BUILT_IN",
    "STANDARD",
    "VERIFIERS",
    "Context",
    "End",
    "Judgement",
    "Luck",
    "Residuals",
    "Ruling",
    "StepLuck",
    "Verifier",
    "Walk",
    "default_options",
    "draft_edge_probs",
    "edge_probs",
    "find_verifier",
    "label_of",
    "load_verifier",
    "named_verifiers",
    "resolve_verifier",
    "verifier_errors",
    "verify",
]
