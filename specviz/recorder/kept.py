"""A step of a trace as the online checks read one: what a file keeps of it, without rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from specviz.recorder.raw_step import CacheReading, Flags, RawStep
from specviz.trace.schema import CacheChange, Step


@dataclass(frozen=True)
class _Fed:
    """What was passed to one model for the nodes of a step; None where it was not recorded."""

    nodes: list[int]
    positions: list[int] | None
    mask: Flags | None
    slots: dict[int, int] | None
    cache: CacheReading | None


def raw_step(step: Step, text: list[int]) -> tuple[RawStep, list[int], list[int]]:
    """The step, the nodes that the target ran, and those that the draft ran.

    Args:
        text: committed before the step, the root last.
    """
    nodes, driver = step.tree.nodes, step.verdicts[step.driver]
    raw = RawStep(
        index=step.index,
        context=step.context,
        tokens=[node.token for node in nodes],
        parents=[node.parent for node in nodes],
        text=text,
        proposal=step.tree.proposal,
        accepted=list(driver.path),
        bonus=None if driver.bonus is None else driver.bonus.token,
        committed=list(step.committed),
    )
    target, draft = _fed(step.caches.target), _fed(step.caches.draft)
    if target.nodes:
        raw.positions, raw.mask, raw.slots = target.positions, target.mask, target.slots
    if draft.nodes:
        raw.draft_positions, raw.draft_mask, raw.draft_slots = draft.positions, draft.mask, draft.slots
    raw.caches = {
        name: fed.cache for name, fed in (("target", target), ("draft", draft)) if fed.nodes and fed.cache is not None
    }
    return raw, target.nodes, draft.nodes


def _fed(change: CacheChange | None) -> _Fed:
    rows = [] if change is None else [slot for slot in change.appended if slot.node is not None]
    nodes = [row.node for row in rows if row.node is not None]
    places = [row.position for row in rows if row.position is not None]
    slots = {row.node: row.slot for row in rows if row.node is not None and row.slot is not None}
    positions = places if len(places) == len(rows) else None
    if change is None or len(slots) != len(rows):
        return _Fed(nodes, positions, None, None, None)
    return _Fed(nodes, positions, _mask(change), slots, _reading(change))


def _mask(change: CacheChange) -> Flags | None:
    """[rows of nodes, slots]; the text before the tree is its first slots."""
    rows = [slot for slot in change.appended if slot.node is not None]
    # Of a mask only what was written is kept: the rest was seen, as many slots as are counted.
    width = 1 + max((slot.slot or 0 for slot in change.appended), default=0)
    width = max(width, *(row.sees_before or 0 for row in rows), 0) if rows else width
    found = np.zeros((len(rows), width), dtype=np.bool_)
    for place, row in enumerate(rows):
        if row.sees is None or row.sees_before is None or max(row.sees, default=0) >= width:
            return None
        found[place, : row.sees_before] = True
        found[place, list(row.sees)] = True
    return found


def _reading(change: CacheChange) -> CacheReading | None:
    before, after = change.fingerprints_before, change.fingerprints_after
    if before is None or after is None or change.length_before is None or change.length_after is None:
        return None
    return CacheReading(
        start=change.length_before,
        length_before=change.length_before + len(before),
        length_after=change.length_after,
        before=before,
        after=after,
    )
