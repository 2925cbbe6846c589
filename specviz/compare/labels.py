"""What the labels of a comparison stand for.

The rows of a comparison name drafts, sets of processors, trees and verifiers by label only; charts and tables also need
to know what is behind a label, and how many nodes a tree can have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from specviz.compare.spec import Comparison
from specviz.drafting import resolve_builder
from specviz.verifiers import resolve_verifier


@dataclass(frozen=True)
class Labels:
    """The verifiers, options and node budgets behind the labels of one comparison.

    Attributes:
        rules: label of a verifier -> the verifier it is.
        options: label of a verifier -> all its options, defaults too.
        budgets: label of a tree -> how many nodes it can have, the root not counted.
        drafts: label of a draft -> what it was loaded by; empty where there is one without a label.
        processors: label of a set of processors -> these, as they are typed; empty where sets are not compared.
    """

    rules: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    budgets: Mapping[str, int] = field(default_factory=dict)
    drafts: Mapping[str, str] = field(default_factory=dict)
    processors: Mapping[str, str] = field(default_factory=dict)

    def rule(self, label: str) -> str:
        """Name of the verifier behind a label; a label that is not known is taken for a verifier's name."""
        return self.rules.get(label, label)

    def sweeps(self) -> dict[str, list[str]]:
        """Verifiers that take part more than once -> their labels, in order."""
        found: dict[str, list[str]] = {}
        for label, rule in self.rules.items():
            found.setdefault(rule, []).append(label)
        return {rule: labels for rule, labels in found.items() if len(labels) > 1}

    def varied(self, labels: list[str]) -> list[str]:
        """Options in which these labels differ."""
        names = dict.fromkeys(name for label in labels for name in self.options[label])
        return [name for name in names if len({str(self.options[label].get(name)) for label in labels}) > 1]

    def equal_budgets(self) -> dict[int, list[str]]:
        """Number of nodes -> trees that can have as many, where these are two or more."""
        found: dict[int, list[str]] = {}
        for label, nodes in self.budgets.items():
            found.setdefault(nodes, []).append(label)
        return {nodes: trees for nodes, trees in found.items() if len(trees) > 1}


def labels_of(comparison: Comparison) -> Labels:
    """The labels of a comparison that was checked."""
    budgets = {}
    for tree in comparison.trees:
        builder, options = resolve_builder(tree.choice)
        budgets[tree.label] = builder.max_nodes(options)
    rules = {one.label: one.choice.name for one in comparison.verifiers}
    return Labels(
        rules,
        {one.label: resolve_verifier(one.choice)[1].model_dump() for one in comparison.verifiers},
        budgets,
        {one.label: one.draft for one in comparison.drafts},
        {one.label: one.written() for one in comparison.processor_sets},
    )
