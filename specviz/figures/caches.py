"""The KV caches of a step, before and after the update, with what does not fit together marked.

Nothing is repaired or assumed here: fingerprints, positions and visible slots were read from the tensors during the run
and are compared with what the driver's path, the recorded moves and the tree demand.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

from specviz.figures.audits import audit_columns, audit_faults
from specviz.figures.masks import mask_columns, mask_faults, mask_rows
from specviz.figures.text import shorten, token_label
from specviz.trace.schema import CacheChange, Slot, Step, TokenText, Trace

SLOT_COLUMNS = 6
SETTLED_SHOWN = 3
"""Slots from before the step that are drawn one by one."""


def cache_columns(step: Step, change: CacheChange, settled: list[str], tolerance: float) -> dict[str, Any]:
    """One model's strip. Arrays run over the slots written in this step, ``after`` over the slots that are left.

    state    one letter a slot, as the run recorded it: ``k`` kept where it was, ``m`` moved, ``d`` dropped,
             ``l`` cut off (not dropped, but beyond the length that is left)
    to       the slot it was kept in, or null
    prints   fingerprint after the forward
    after    [slot, written slot it should hold or null, fingerprint, 1 if it holds that one, written slot it does hold]
    settled  tokens of the last few slots from before the step
    faults   sentences about what does not fit; empty in a sound step
    """
    texts = step.text_of()
    moved = dict(change.moves)
    dropped = set(change.dropped)
    to = [
        None if s.slot in dropped else t if (t := moved.get(s.slot, s.slot)) < change.length_after else None
        for s in change.appended
    ]
    labels = [token_label(texts.get(s.token) or TokenText(id=s.token, text=f"#{s.token}")) for s in change.appended]
    after = _after(step, change)
    rows = mask_rows(step, change)
    return {
        "before": change.length_before,
        "length": change.length_after,
        "slot": [s.slot for s in change.appended],
        "label": [shorten(label, SLOT_COLUMNS) for label in labels],
        "text": labels,
        "position": [s.position for s in change.appended],
        "node": [s.node for s in change.appended],
        "role": "".join(s.role[0] for s in change.appended),
        "state": "".join(_state(s, t, dropped) for s, t in zip(change.appended, to, strict=True)),
        "to": to,
        "prints": list(change.fingerprints_before),
        "after": after,
        "settled": settled,
        "mask": mask_columns(change, rows),
        "audit": audit_columns(change.audit, tolerance),
        "faults": [
            *_slot_faults(step, change, after, labels),
            *mask_faults(change, rows),
            *audit_faults(change.audit, tolerance),
        ],
    }


def settled_labels(trace: Trace, position: int, length: int) -> list[str]:
    """Tokens of the last few of the ``length`` slots that were settled before a step: slots follow the text."""
    written = trace.steps[position].context
    return [token_label(_text_at(trace, i)) for i in range(max(0, length - SETTLED_SHOWN), min(length, written))]


def _text_at(trace: Trace, place: int) -> TokenText:
    """The token at a place of the text, the prompt included."""
    if place < len(trace.prompt_tokens):
        token = trace.prompt_tokens[place]
        known = trace.prompt_text_of.get(token)
    else:
        step = trace.steps[bisect_right(trace.steps, place, key=lambda step: step.context) - 1]
        token = step.committed[place - step.context]
        known = step.text_of().get(token)
    return known or TokenText(id=token, text=f"#{token}")


def kept_rows(step: Step, change: CacheChange) -> list[int]:
    """The written slots that must be left, in the order of the text: what was fed late, and the committed nodes.

    From the driver's path, and not from the recorded moves: those are part of what is looked into.
    """
    row_of = {s.node: index for index, s in enumerate(change.appended) if s.node is not None}
    late = [index for index, s in enumerate(change.appended) if s.role == "context"]
    nodes = [0, *step.verdicts[step.driver].path][: len(step.committed)]
    return late + [row_of[node] for node in nodes if node in row_of]


def _after(step: Step, change: CacheChange) -> list[list[Any]]:
    wanted = dict(enumerate(kept_rows(step, change)))
    written = {print_: index for index, print_ in reversed(list(enumerate(change.fingerprints_before)))}
    after = []
    for offset, fingerprint in enumerate(change.fingerprints_after):
        due = wanted.get(offset)
        good = due is not None and change.fingerprints_before[due] == fingerprint
        held = due if good else written.get(fingerprint)
        after.append([change.length_before + offset, due, fingerprint, int(good), held])
    return after


def _state(slot: Slot, to: int | None, dropped: set[int]) -> str:
    if to is None:
        return "d" if slot.slot in dropped else "l"
    return "k" if to == slot.slot else "m"


def _slot_faults(step: Step, change: CacheChange, after: list[list[Any]], labels: list[str]) -> list[str]:
    """What the update left, against what the driver's path demands."""

    def name(index: int) -> str:
        slot = change.appended[index]
        told = f"“{shorten(labels[index], 24)}”"
        return told if slot.node is None else f"node {slot.node} {told}"

    found = []
    wrong = [row for row in after if not row[3]]
    for slot, due, _, _, held in wrong[:4]:
        there = "what it holds was not written in this step" if held is None else f"{name(held)} is"
        should = "nothing" if due is None else name(due)
        found.append(f"Slot {slot} does not hold what was kept for it: {should} should be there, {there}.")
    if len(wrong) > 4:
        found.append(f"{len(wrong) - 4} more slots do not hold what was kept for them.")
    late = sum(s.role == "context" for s in change.appended)
    ran = any(s.node == 0 for s in change.appended)  # without a draft tree the draft runs nothing and may lag behind
    if ran and change.length_before + late != step.context - 1:
        found.append(
            f"Before the root the cache holds {change.length_before + late} tokens; the text has {step.context - 1}."
        )
    kept = len(kept_rows(step, change))
    if change.length_after != change.length_before + kept:
        grown = change.length_after - change.length_before
        found.append(f"{kept} slots were to be kept, but the cache grew by {grown}.")
    elif len(change.appended) - len(change.dropped) != kept:
        found.append(f"{kept} of {len(change.appended)} slots were to be kept, but {len(change.dropped)} were dropped.")
    return found
