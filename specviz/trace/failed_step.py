"""A step that an error ended, and where numbers went wrong in it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from specviz.trace.draft_tree import PartialNode, TokenText, check_tree
from specviz.trace.values import MOST_NODES, Count, Many, Name, Nodes, Proposal, Text, Value


class Nonfinite(Value):
    """Logits of which no distribution can be made, and where that began."""

    model: Literal["target", "draft"]
    found: Literal["NaN", "infinity", "-infinity for every token"]
    """In the logits."""
    nodes: Nodes
    """Whose logits were so."""
    module: Text | None
    """The first part of the model, as it is called there, with NaN or infinity in its output; null where a repeated
    forward had none."""
    layer: Count | None
    """The layer that part belongs to, the first one 0; null for a part outside the layers."""
    first_nodes: Nodes
    """Nodes at which that part's output was so."""
    first_tokens: Many[Count]
    """The same for tokens of the text, by their place in it, the first one 0."""

    def marks(self) -> dict[int, str]:
        """Node -> what is wrong with its logits, and whether it began there."""
        wrong = dict.fromkeys(self.nodes, f"{self.found} ({self.model})")
        return wrong | {node: f"{wrong.get(node, 'NaN or infinity')}, began here" for node in self.first_nodes}


class FailedStep(Value):
    """A step that an error ended, as far as it got. Nothing of it became text, and it has no verdicts."""

    index: Count
    context: Annotated[int, Field(ge=1)]
    """Committed tokens before this step, the root included."""
    builder: Name | None
    proposal: Proposal | None
    nodes: Annotated[Many[PartialNode], Field(min_length=1, max_length=MOST_NODES)]
    """The tree as far as it was grown; ``target`` only where the target's forward was fine."""
    tokens: Many[TokenText]
    """Text of every token id this step mentions."""
    message: Text
    nonfinite: Nonfinite | None = None

    @model_validator(mode="after")
    def _consistent(self) -> FailedStep:
        check_tree(self.nodes)
        if self.nonfinite and max((*self.nonfinite.nodes, *self.nonfinite.first_nodes), default=0) >= len(self.nodes):
            raise ValueError("the failed step names a node outside its tree")
        return self
