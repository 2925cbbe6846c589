"""What a step did to the KV caches of both models, as read from their tensors."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from specviz.errors import TraceError
from specviz.trace.values import (
    MOST_NODES,
    MOST_SLOTS,
    Cells,
    Count,
    Fingerprint,
    Layers,
    Many,
    Slots,
    Value,
)


class Slot(Value):
    """One cache slot written during a step, as read from what was passed to the model."""

    slot: Count | None
    """Null, as everything else that may be, where not recorded."""
    token: Count
    position: Count | None
    role: Literal["context", "node", "pruned", "mask"]
    """``context``: a committed token fed late; ``node``: a tree node; ``pruned``: run, but not kept in the tree;
    ``mask``: a masked place of a block, whose token is a stand-in."""
    node: Count | None
    sees: Slots | None
    """Slots of this step that the attention mask let this row see, itself included."""
    sees_before: Count | None
    """How many slots from before this step the mask let this row see."""


class Audit(Value):
    """A cache against a fresh recompute: largest absolute difference, relative to the layer's largest value.

    A feature or a slot that stands out of its layer is measured by itself. 1e308: the difference is no finite number.
    """

    first_slot: Count
    """Slot of the first column; earlier slots are summed up in ``earlier_*``."""
    keys: Cells
    """[layer][slot], for slots written in this step and kept."""
    values: Cells
    earlier_keys: Layers
    """[layer], the largest over all earlier slots."""
    earlier_values: Layers
    logits: float | None
    """Next-token logits, relative to the largest absolute logit of those that do not just rule a token out; null where
    the context is full and has none."""

    @model_validator(mode="after")
    def _aligned(self) -> Audit:
        layers = {len(rows) for rows in (self.keys, self.values, self.earlier_keys, self.earlier_values)}
        if len(layers) != 1 or len({len(row) for row in (*self.keys, *self.values)}) > 1:
            raise ValueError("the audit's layers or slots differ in number")
        return self

    def worst(self) -> float:
        """The largest relative difference anywhere in keys, values and logits."""
        logits = () if self.logits is None else (self.logits,)
        rows = (*self.keys, *self.values, self.earlier_keys, self.earlier_values, logits)
        return max((x for row in rows for x in row), default=0.0)


class CacheChange(Value):
    """What one step did to one model's KV cache: changes, never the whole context. What was not recorded is null."""

    length_before: Count | None
    appended: Annotated[Many[Slot], Field(max_length=MOST_SLOTS)]
    moves: Annotated[Many[tuple[Count, Count]], Field(max_length=MOST_SLOTS)] | None
    """(from slot, to slot) of kept slots that changed place."""
    dropped: Slots | None
    length_after: Count | None
    fingerprints_before: Annotated[Many[Fingerprint], Field(max_length=MOST_SLOTS)] | None
    """One per appended slot, read from keys and values after the forward."""
    fingerprints_after: Annotated[Many[Fingerprint], Field(max_length=MOST_SLOTS)] | None
    """One per slot from ``length_before`` to ``length_after``, read after the update."""
    audit: Audit | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it has all that specviz's own engine records."""
        return None not in (
            self.length_before,
            self.moves,
            self.dropped,
            self.length_after,
            self.fingerprints_before,
            self.fingerprints_after,
        )

    @model_validator(mode="after")
    def _aligned(self) -> CacheChange:
        if self.fingerprints_before is not None and len(self.fingerprints_before) != len(self.appended):
            raise ValueError("fingerprints_before and appended differ in length")
        if self.fingerprints_after is not None and (
            self.length_before is None
            or self.length_after is None
            or len(self.fingerprints_after) != self.length_after - self.length_before
        ):
            raise ValueError("fingerprints_after does not cover the slots that were kept")
        nodes = [slot.node for slot in self.appended if slot.node is not None]
        if len(set(nodes)) != len(nodes):
            raise ValueError("a node was written to two slots")
        if sum(slot.role == "context" for slot in self.appended) > MOST_NODES:
            raise ValueError("more committed tokens were fed late than a tree has nodes")
        return self


class WholeCacheChange(CacheChange):
    """As specviz's own engine records it."""

    length_before: Count
    moves: Many[tuple[Count, Count]]
    dropped: Slots
    length_after: Count
    fingerprints_before: Many[Fingerprint]
    fingerprints_after: Many[Fingerprint]


class Caches(Value):
    """Null for a cache of which nothing was recorded."""

    target: CacheChange | None
    draft: CacheChange | None

    def whole(self, model: Literal["target", "draft"]) -> WholeCacheChange:
        """What a step did to a model's cache, of which nothing is missing.

        Raises:
            TraceError: where something was not recorded.
        """
        change: CacheChange | None = getattr(self, model)
        if change is None or not change.is_whole:
            raise TraceError(f"The {model}'s cache was not recorded in full; open a run that specviz recorded itself.")
        return WholeCacheChange.model_construct(**dict(change))
