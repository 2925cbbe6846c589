"""Draft trees: how they grow. A builder is one file and one line in :data:`BUILDERS`."""

from typing import Any

from specviz.drafting.base import Builder, BuilderWork, Draft, Limits, build_tree
from specviz.drafting.dynamic import DYNAMIC
from specviz.drafting.lookup import PROMPT_LOOKUP
from specviz.drafting.sequoia import SEQUOIA
from specviz.drafting.static import EXPLICIT, K_CONFIG
from specviz.errors import SettingsError, shown
from specviz.options import parse_options
from specviz.trace.schema import Choice

BUILT_IN_BUILDERS = (K_CONFIG, EXPLICIT, DYNAMIC, SEQUOIA, PROMPT_LOOKUP)
BUILDERS: dict[str, Builder] = {builder.name: builder for builder in BUILT_IN_BUILDERS}


def find_builder(name: str) -> Builder:
    """The registered builder of this name.

    Raises:
        SettingsError: if there is none.
    """
    if name not in BUILDERS:
        raise SettingsError(f"There is no tree builder {shown(name)}; choose from {', '.join(BUILDERS)}.")
    return BUILDERS[name]


def resolve_builder(choice: Choice) -> tuple[Builder, Any]:
    """The builder of a choice, and its options, validated.

    Raises:
        SettingsError: for an unknown builder or an unfit option.
    """
    builder = find_builder(choice.name)
    return builder, parse_options(builder.Options, "builder", choice)


__all__ = [
    "BUILDERS",
    "BUILT_IN_BUILDERS",
    "Builder",
    "BuilderWork",
    "Draft",
    "Limits",
    "build_tree",
    "find_builder",
    "resolve_builder",
]
