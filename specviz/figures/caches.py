"""The KV caches of a step, before and after the update, with what does not fit together marked.

Nothing is repaired or assumed here: fingerprints, positions and visible slots were read from the tensors during the run
and are compared with what the recorded moves and the tree demand.
"""

from __future__ import annotations

from typing import Any

from specviz.figures.text import escape_label, shorten, token_label
from specviz.trace import CacheChange, Slot, Step, TokenText

SLOT_COLUMNS = 5


def cache_columns(step: Step, change: CacheChange) -> dict[str, Any]:
    """One model's strip. Arrays run over the slots written in this step, ``after`` over the slots that are left.

    state   one letter a slot: ``k`` kept where it was, ``m`` moved, ``d`` dropped
    to      the slot it was kept in, or null
    prints  fingerprint after the forward
    after   [slot, index of the written slot it should hold or null, fingerprint, 1 if the fingerprints agree]
    faults  sentences about what does not fit; empty in a sound step
    """
    texts = step.text_of()
    moved = dict(change.moves)
    dropped = set(change.dropped)
    to = [None if s.slot in dropped else moved.get(s.slot, s.slot) for s in change.appended]
    labels = [token_label(texts.get(s.token) or TokenText(id=s.token, text=f"#{s.token}")) for s in change.appended]
    source = {slot: index for index, slot in enumerate(to) if slot is not None}
    after = []
    for offset, fingerprint in enumerate(change.fingerprints_after):
        slot = change.length_before + offset
        index = source.get(slot)
        good = index is not None and change.fingerprints_before[index] == fingerprint
        after.append([slot, index, fingerprint, int(good)])
    return {
        "before": change.length_before,
        "length": change.length_after,
        "slot": [s.slot for s in change.appended],
        "label": [escape_label(shorten(label, SLOT_COLUMNS)) for label in labels],
        "text": labels,
        "position": [s.position for s in change.appended],
        "node": [s.node for s in change.appended],
        "role": "".join(s.role[0] for s in change.appended),
        "state": "".join(
            "d" if t is None else "k" if t == s.slot else "m" for s, t in zip(change.appended, to, strict=True)
        ),
        "to": to,
        "prints": list(change.fingerprints_before),
        "after": after,
        "faults": _faults(step, change, after),
        "audit": change.audit.worst() if change.audit else None,
    }


def _faults(step: Step, change: CacheChange, after: list[list[Any]]) -> list[str]:
    found = [
        f"Slot {slot} does not hold what was kept for it"
        + ("." if index is None else f": slot {change.appended[index].slot} had another fingerprint.")
        for slot, index, _, good in after
        if not good
    ]
    kept = len(change.appended) - len(change.dropped)
    if change.length_after != change.length_before + kept:
        found.append(f"{kept} slots were kept, but the cache grew by {change.length_after - change.length_before}.")
    nodes = {s.node: s for s in change.appended if s.node is not None}
    for slot in nodes.values():
        found += _row_faults(step, change, slot, nodes)
    return found if len(found) <= 8 else [*found[:8], f"… and {len(found) - 8} more."]


def _row_faults(step: Step, change: CacheChange, slot: Slot, nodes: dict[int, Slot]) -> list[str]:
    """Position against depth, and what the row saw against its ancestors."""
    assert slot.node is not None
    found = []
    expected = step.context - 1 + step.tree.nodes[slot.node].depth
    if slot.position != expected:
        found.append(f"Node {slot.node} has position {slot.position}; its depth demands {expected}.")
    ancestors = {nodes[a].slot for a in (0, *step.tree.path(slot.node)) if a in nodes}
    context = {s.slot for s in change.appended if s.role == "context"}
    extra, missing = set(slot.sees) - ancestors - context, ancestors - set(slot.sees)
    if extra:
        found.append(f"Node {slot.node} sees slot {min(extra)}, which is no ancestor.")
    if missing:
        found.append(f"Node {slot.node} does not see its ancestor in slot {min(missing)}.")
    if slot.sees_before != change.length_before:
        found.append(f"Node {slot.node} sees {slot.sees_before} of {change.length_before} earlier slots.")
    return found
