"""What one step takes at most, known before it runs: how much is fed and judged, and how many bytes that needs.

A tree is limited by the nodes that are left of it, but a builder may run many more and prune them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from specviz.drafting import BuilderWork, resolve_builder
from specviz.options import option_kind
from specviz.trace.schema import Choice


@dataclass(frozen=True)
class StepWork:
    """One step, at most.

    Attributes:
        tree: of growing the tree.
        nodes: of the finished tree, the root not counted.
        verifiers: that judge it.
    """

    tree: BuilderWork
    nodes: int
    verifiers: int = 1

    @property
    def fed(self) -> int:
        """Tokens that are fed: to the draft those that are expanded, to the target the finished tree."""
        return (self.tree.rows if self.tree.forwards else 0) + self.nodes + 1

    @property
    def judged(self) -> int:
        """Nodes that are judged, once for every verifier."""
        return self.verifiers * (self.nodes + 1)


def step_work(choice: Choice, verifiers: int = 1) -> StepWork:
    """The work of a step whose tree this builder grows.

    Raises:
        SettingsError: for a builder that there is not, or options that it cannot have.
    """
    builder, options = resolve_builder(choice)
    return StepWork(builder.work(options), builder.max_nodes(options), verifiers)


def option_to_lower(choice: Choice, size: Callable[[StepWork], int]) -> str:
    """The whole number among a builder's options that lowers ``size`` most when it is halved; "" if none does."""
    builder, options = resolve_builder(choice)
    best, least = "", size(step_work(choice))
    for name, info in builder.Options.model_fields.items():
        if option_kind(info) != "whole":
            continue
        halved = options.model_copy(update={name: max(1, getattr(options, name) // 2)})
        lower = size(StepWork(builder.work(halved), builder.max_nodes(halved)))
        if lower < least:
            best, least = name, lower
    return best
