"""After a step the cache holds the root and the accepted nodes, in the order of the text: told by fingerprints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from specviz.recorder.checks.results import agreed, lacked
from specviz.recorder.checks.rows import View
from specviz.recorder.raw_step import CacheReading
from specviz.trace.checks import Check

COMPACTION = "compaction"


def compaction(
    view: View,
    cache: CacheReading | None,
    nodes: Sequence[int],
    slots: Mapping[int, int] | None,
    name: str = COMPACTION,
) -> Check:
    """Each slot that was written in this step holds what was computed for the token of the text that it is for.

    A fingerprint is a hash of a slot's keys and values, so a slot that was only moved keeps it. Tokens that were fed
    late come before the nodes. The target's cache may be cut where the text was; a draft's may be shorter still, as
    many are fed again what they lack.

    Args:
        nodes: that the model ran, in order; empty: all.
        slots: of these nodes; None: one after the other, the last ones that were written.
    """
    if cache is None:
        return lacked(name, "the cache")
    nodes = nodes or range(len(view))
    written = cache.length_before - cache.start
    if slots is None:
        if written < len(nodes):
            return lacked(name, f"the slot of each node: {written} slots were written for {len(nodes)} nodes")
        slots = {node: cache.length_before - len(nodes) + place for place, node in enumerate(nodes)}
    at = {node: slot - cache.start for node, slot in slots.items()}
    kept = [node for node in view.walk if node in at]
    if any(not 0 <= at[node] < len(cache.before) for node in kept):
        return lacked(name, "the slots of the accepted nodes among those that were read")
    # What each slot is for: (node, or None for a token that was fed late; where it was written).
    late = min(max(0, min(at.values(), default=0)), len(cache.before))
    due: list[tuple[int | None, int]] = [(None, place) for place in range(late)] + [(node, at[node]) for node in kept]
    holder = {
        fingerprint: node for node, place in reversed(at.items()) for fingerprint in cache.before[place : place + 1]
    }

    def named(node: int | None) -> str:
        return "the token that was fed late" if node is None else view.named(node)

    wrong: list[tuple[int | None, str]] = []
    for place, fingerprint in enumerate(cache.after):
        slot = cache.start + place
        if place >= len(due):
            wrong.append((None, f"Slot {slot} was kept after the {len(due)} slots of the root and the accepted path"))
        elif cache.before[due[place][1]] != fingerprint:
            node, there = due[place][0], holder.get(fingerprint)
            holds = "something that was not written in this step" if there is None else view.named(there)
            wrong.append((node, f"Slot {slot} should hold {named(node)}, but holds {holds}"))
    cut = len(view.emitted) - len(view.step.committed)
    if name == COMPACTION and len(cache.after) < len(due) - max(0, cut):
        node = due[len(cache.after)][0]
        wrong.append((node, f"The cache kept {len(cache.after)} slots of this step; {len(due)} were to be kept"))
    return agreed(name, max(len(due), len(cache.after), 1), wrong)
