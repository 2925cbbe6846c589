"""What a verifier made of the tree of a step: every decision, the accepted path and the bonus token."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from specviz.errors import TraceError, shown
from specviz.trace.draft_tree import TopK
from specviz.trace.values import (
    MOST_DECISIONS,
    MOST_NODES,
    BonusKind,
    Coin,
    Comparison,
    Count,
    Lossless,
    Many,
    Name,
    Options,
    Outcome,
    Probability,
    ProcessorMode,
    Text,
    TokenString,
    Value,
    is_none,
)


class Residual(Value):
    """What is left of the target after a rejection, ``max(p - q, 0)``: its mass, and its top entries scaled to 1."""

    mass: Annotated[float, Field(ge=0.0)]
    top: TopK


class Decision(Value):
    """One decision of a verifier about one node."""

    node: Count
    rule: Name
    """The rule in words and symbols, e.g. ``u < p/q``."""
    comparison: Comparison | None
    """Which two recorded numbers (or tokens) were compared; null where another engine did not say."""
    threshold: float | None
    """As the engine used it; null where not recorded."""
    p: float | None
    """Target probability as the rule used it (after earlier siblings were rejected)."""
    q: float | None
    """Draft probability as the rule used it (point mass 1 for top-k; renormalized without replacement)."""
    uniform: Coin | None
    """The coin of this decision; null for rules without one, and where not recorded."""
    expected: Count | None = None
    """The drawn or argmax token this node's token was compared with."""
    outcome: Outcome
    reason: Text | None
    """In a sentence; null of another engine's decisions."""
    residual: Residual | None = None


class Bonus(Value):
    """The token after the accepted path, and where it was drawn from."""

    token: Count
    text: TokenString | None
    node: Count
    """The node at whose target row (or residual) it was drawn."""
    source: BonusKind | None
    """Null where not recorded."""
    uniform: Coin | None
    distribution: TopK | None
    """What it was drawn from; null where not recorded."""
    draft_rank: Count | None = None
    """How many tokens are more likely than this one in the draft's processed row at ``node``: would one child more have
    met it? Null where the draft has no row there, and where not recorded."""


class OtherMode(Value):
    """What a verifier makes of the same tree with the same luck where processors work in the other mode."""

    path: Annotated[Many[Count], Field(max_length=MOST_NODES)]
    bonus: Count | None
    """The token; null where it is not known how another engine draws there."""
    nodes: Annotated[Many[Count], Field(max_length=MOST_NODES)]
    """Those of which something else becomes: accepted, rejected, passed, or not examined."""
    mode: Annotated[ProcessorMode | None, Field(exclude_if=is_none)] = None
    """Which mode it is, where that is the one that another engine says it has, and its rows are not of it; null, and
    left out of files, where it is the other one."""


class Verdict(Value):
    """What one verifier made of the tree."""

    verifier: Name
    options: Options
    lossless: Lossless
    """Whether tokens emitted by this verifier, with these options and on this kind of proposal, are distributed as
    target samples: ``yes`` and ``greedy decoding`` are promised and proved by enumeration, ``no`` was shown by it,
    ``unknown`` is said of another engine's rule, and ``not proved`` of everything else. What was known when the step
    was recorded."""
    thresholds: Annotated[Many[float | None], Field(max_length=MOST_NODES)]
    """One per node, reached or not; the root's is 1. Null where another engine did not say."""
    decisions: Annotated[Many[Decision], Field(max_length=MOST_DECISIONS)]
    """In the order they were taken."""
    path: Annotated[Many[Count], Field(max_length=MOST_NODES)]
    """Accepted nodes below the root, downwards."""
    bonus: Bonus | None
    """Null where the step emitted none (Medusa), or the engine did not say."""
    expected_acceptance: Annotated[Many[Probability | None], Field(max_length=MOST_NODES)] | None = None
    """One per node: with which probability this rule accepts one of its children, given the drawn siblings; null
    without children. The whole is null where it was not computed."""

    other_mode: Annotated[OtherMode | None, Field(exclude_if=is_none)] = None
    """Where the other mode of the processors (exact or frozen) decides otherwise; null, and left out of files, where
    it does not, and where there are none."""

    @property
    def end(self) -> int:
        """The node at which the walk ended: where the bonus token was drawn, or else the last accepted one."""
        if self.bonus is not None:
            return self.bonus.node
        return self.path[-1] if self.path else 0

    def known_bonus(self) -> Bonus:
        """The bonus token, as every verdict of specviz's own engine has one.

        Raises:
            TraceError: where none was recorded.
        """
        if self.bonus is None:
            raise TraceError(f"No bonus token of {shown(self.verifier)} was recorded in this step.")
        return self.bonus
