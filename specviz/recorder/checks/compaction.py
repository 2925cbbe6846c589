"""After a step the cache holds the root and the accepted nodes, in the order of the text: told by fingerprints."""

from __future__ import annotations

from collections.abc import Mapping

from specviz.recorder.checks.results import agreed, lacked
from specviz.recorder.checks.rows import View
from specviz.recorder.raw_step import CacheReading
from specviz.trace.checks import Check

COMPACTION = "compaction"


def compaction(
    view: View, cache: CacheReading | None, slots: Mapping[int, int] | None, name: str = COMPACTION
) -> Check:
    """Each slot from the start of the tree on holds what was computed for the token of the text that it is for.

    A fingerprint is a hash of a slot's keys and values, so a slot that was only moved keeps it. The target's cache may
    be cut where the text was; a draft's may be shorter still, as many are fed again what they lack.
    """
    if cache is None:
        return lacked(name, "the cache")
    written = cache.length_before - cache.start
    if slots is None and written != len(view):
        return lacked(name, f"the slot of each node: {written} slots were written for {len(view)} nodes")
    where = slots if slots is not None else {node: cache.start + node for node in range(len(view))}
    kept = [node for node in view.walk if node in where]
    late = max(0, min(where.values(), default=cache.start) - cache.start)  # committed tokens that were fed first
    wrong: list[tuple[int | None, str]] = []
    before: dict[str, int] = {}
    for node, slot in where.items():
        if 0 <= slot - cache.start < len(cache.before):
            before.setdefault(cache.before[slot - cache.start], node)
    for place, fingerprint in enumerate(cache.after):
        slot = cache.start + place
        if place < min(late, len(cache.before)):
            if cache.before[place] != fingerprint:
                wrong.append((None, f"Slot {slot}, of a token of the text, was written over"))
            continue
        if place - late >= len(kept):
            wrong.append((None, f"Slot {slot} was kept after the {len(kept)} slots of the root and the accepted path"))
            continue
        node = kept[place - late]
        at = where[node] - cache.start
        if not 0 <= at < len(cache.before):
            return lacked(name, f"the slot of node {node} among those that were read")
        if cache.before[at] != fingerprint:
            there = before.get(fingerprint)
            holds = "something that was not written in this step" if there is None else view.named(there)
            wrong.append((node, f"Slot {slot} should hold {view.named(node)}, but holds {holds}"))
    due = len(kept) if len(view.step.committed) >= len(view.emitted) else min(len(kept), len(view.step.committed))
    left = max(0, len(cache.after) - late)
    if name == COMPACTION and left < due:
        wrong.append((kept[left], f"The cache holds {left} slots of this step's nodes; {due} were to be kept"))
    return agreed(name, max(late + len(kept), len(cache.after), 1), wrong)
