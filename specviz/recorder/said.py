"""What an engine said inside one step, as it was given."""

from __future__ import annotations

from dataclasses import dataclass, field

from specviz.recorder.arrays import Snapshot
from specviz.recorder.cache_reading import Reading
from specviz.trace.schema import Proposal


@dataclass
class RowsCall:
    """One call of ``draft`` or ``target``: rows of some nodes, and what was passed to the model for them."""

    probs: Snapshot | None
    logits: Snapshot | None
    nodes: Snapshot | None
    positions: Snapshot | None
    mask: Snapshot | None
    slots: dict[int, int] | Snapshot | None


@dataclass
class VerifyCall:
    accepted: Snapshot | None
    bonus: Snapshot | None
    committed: Snapshot | None
    coins: dict[int, float] | Snapshot | None
    thresholds: dict[int, float] | Snapshot | None
    bonus_row: Snapshot | None


@dataclass
class Said:
    """All that was said inside one step, as it was given."""

    has_tree: bool = False
    """Whether there is one, be it one that cannot be read."""
    tokens: Snapshot | None = None
    parents: Snapshot | None = None
    draft: list[RowsCall] = field(default_factory=list)
    target: list[RowsCall] = field(default_factory=list)
    proposal: Proposal | None = None
    vocabulary: Snapshot | None = None
    verify: VerifyCall | None = None
    caches: dict[str, tuple[Reading, Reading]] = field(default_factory=dict)

    def ready(self) -> bool:
        """Whether all of it is on the host."""
        calls = [call for call in (*self.draft, *self.target, self.verify) if call is not None]
        values = [
            self.tokens,
            self.parents,
            self.vocabulary,
            *(value for call in calls for value in vars(call).values()),
        ]
        readings = [reading for pair in self.caches.values() for reading in pair]
        return all(value.ready for value in (*values, *readings) if isinstance(value, (Snapshot, Reading)))
