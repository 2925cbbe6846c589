"""Settings -> the builder and the verifiers they name, with validated options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from specviz.drafting import Builder, resolve_builder
from specviz.errors import SettingsError
from specviz.models.processors import check_processors
from specviz.trace.schema import Settings
from specviz.tree import MAX_NODES
from specviz.verifiers import Verifier, resolve_verifier


@dataclass(frozen=True)
class ResolvedSettings:
    """The builder and the verifiers of settings, each with its validated options."""

    builder: Builder
    builder_options: Any
    verifiers: tuple[tuple[Verifier, Any], ...]


def resolve(settings: Settings, known: Mapping[str, Verifier] | None = None) -> ResolvedSettings:
    """Look up every name in the settings and validate every option.

    Args:
        known: verifiers by the name that the settings call them; None for the registered ones.

    Raises:
        SettingsError: for an unknown builder, verifier or processor, an unfit option, or a tree that is too large.
    """
    builder, options = resolve_builder(settings.builder)
    nodes = builder.max_nodes(options)
    if nodes > MAX_NODES:
        raise SettingsError(f"The tree can have {nodes} nodes; choose one of at most {MAX_NODES}.")
    if settings.draft.eta_cutoff:
        raise SettingsError("The eta cutoff belongs to the target; set the draft's to 0.")
    check_processors(settings.processors)
    verifiers = tuple(resolve_verifier(choice, known) for choice in settings.verifiers)
    return ResolvedSettings(builder, options, verifiers)
