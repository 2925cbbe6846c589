"""What a step did to a cache -> the frozen values of a trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from specviz.engine.step_values import Change
from specviz.trace.schema import CacheChange, Slot
from specviz.transfers import Reads


def record_change(change: Change, reads: Reads) -> Callable[[], CacheChange]:
    """What a step did to one cache, to be called once everything of the step has been asked for."""
    after = change.cache.ask_fingerprints(change.num_committed, change.cache.num_committed, reads)
    return lambda: _cache_change(change, after())


def _cache_change(change: Change, fingerprints_after: tuple[str, ...]) -> CacheChange:
    base = change.num_committed
    slots = tuple(
        Slot(
            slot=base + offset,
            token=row.token,
            position=row.position,
            role=_role(change, offset),
            node=change.node_of.get(offset),
            sees=tuple(base + other for other in row.sees),
            sees_before=row.sees_before,
        )
        for offset, row in enumerate(change.written)
    )
    return CacheChange(
        length_before=base,
        appended=slots,
        moves=change.compaction.moves,
        dropped=change.compaction.dropped,
        length_after=change.cache.num_committed,
        fingerprints_before=change.fingerprints(),
        fingerprints_after=fingerprints_after,
    )


def _role(change: Change, offset: int) -> Literal["context", "node", "pruned", "mask"]:
    if offset in change.masks:
        return "mask"
    if offset < change.num_catch_up:
        return "context"
    return "node" if offset in change.node_of else "pruned"
