"""Draft trees: how they grow. A builder is one file and one line in :data:`BUILDERS`."""

from specviz.drafting.base import Builder, Draft, Limits, build_tree
from specviz.drafting.dynamic import DYNAMIC
from specviz.drafting.lookup import PROMPT_LOOKUP
from specviz.drafting.sequoia import SEQUOIA
from specviz.drafting.static import EXPLICIT, K_CONFIG

BUILT_IN_BUILDERS = (K_CONFIG, EXPLICIT, DYNAMIC, SEQUOIA, PROMPT_LOOKUP)
BUILDERS: dict[str, Builder] = {builder.name: builder for builder in BUILT_IN_BUILDERS}

__all__ = ["BUILDERS", "BUILT_IN_BUILDERS", "Builder", "Draft", "Limits", "build_tree"]
