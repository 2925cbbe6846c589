"""The cache panel: the KV caches of a step before and after the update, and every slot that is not what it should be.

Nothing is repaired or assumed here: fingerprints, positions and visible slots were read from the tensors during the run
and are compared with what the driver's path, the recorded moves and the tree demand.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Literal, NamedTuple

from specviz.figures.audit import audit_columns, audit_faults
from specviz.figures.cache_types import Cache, Left, Settled, States
from specviz.figures.head_slots import HeadSlots, draft_of, head_slots, state_read, token_place
from specviz.figures.mask import Row, mask_columns, mask_faults, mask_rows
from specviz.figures.text import shorten, token_label, token_of
from specviz.trace.schema import CacheChange, Slot, Step, TokenText, Trace

SLOT_COLUMNS = 6
SETTLED_SHOWN = 3
"""Slots from before the step that are drawn one by one."""
LOOK_BACK = 256
"""Steps that are searched for the one that wrote such a slot, which is nearly always one of the last three."""


class LeftSlot(NamedTuple):
    """A slot that the update left. ``due`` and ``held`` are places among the slots written in the step, or None.

    Attributes:
        due: what it should hold.
        good: whether it holds that.
        held: what it does hold, by fingerprint.
    """

    slot: int
    due: int | None
    fingerprint: str
    good: bool
    held: int | None


def cache_columns(
    step: Step,
    change: CacheChange,
    settled: Settled,
    tolerance: float,
    lag_before: int = 0,
    rules: HeadSlots | None = None,
    states: States | None = None,
) -> Cache:
    """One model's strip. What became of a slot is told by its fingerprint and not by the recorded moves: it is lost
    where the run does not say that it dropped it.

    ``lag_before`` is what the step before had for :func:`lag`; ``settled`` is of :func:`settled_slots`, ``states`` of
    :func:`states_read`, for a head, whose ``rules`` are those of :func:`~specviz.figures.head_slots.head_slots`.
    """
    texts = step.text_of()
    after = after_rows(step, change, rules)
    known = change.fingerprints_after is not None and change.fingerprints_before is not None
    dropped = set(change.dropped or ())
    slot_of = {left.held: left.slot for left in after if left.held is not None}
    to = [slot_of.get(index) for index in range(len(change.appended))]
    labels = [token_label(token_of(s.token, texts)) for s in change.appended]
    if states is not None and rules is not None and rules.kind == "states":
        # No token is in such a slot: it is called after the place in the text that its state is of.
        labels = [text or label for text, label in zip(states["text"], labels, strict=True)]
    rows = mask_rows(step, change, rules)
    found = _faults(step, change, after, labels, rows, lag_before, rules)
    return {
        "kind": "tokens" if rules is None else rules.kind,
        "states": states,
        "before": change.length_before,
        "length": change.length_after,
        "slot": [s.slot for s in change.appended],
        "label": [shorten(label, SLOT_COLUMNS) for label in labels],
        "text": labels,
        "position": [s.position for s in change.appended],
        "node": [s.node for s in change.appended],
        "role": "".join(s.role[0] for s in change.appended),
        "state": "".join(_state(s, t, dropped) if known else "u" for s, t in zip(change.appended, to, strict=True)),
        "to": to,
        "moves": None
        if change.moves is None
        else {"slot": [a for a, _ in change.moves], "to": [b for _, b in change.moves]},
        "prints": None if change.fingerprints_before is None else list(change.fingerprints_before),
        "after": _left_columns(after) if known else None,
        "settled": settled,
        "mask": mask_columns(step, change, rows, rules),
        "audit": audit_columns(change.audit, tolerance),
        "lacks": _lacks(change, rows),
        "faults": [*(sentence for sentence, _ in found), *audit_faults(change.audit, tolerance)],
        "fresh": sum(fresh for _, fresh in found),
    }


def _left_columns(after: list[LeftSlot]) -> Left:
    return {
        "slot": [left.slot for left in after],
        "due": [left.due for left in after],
        "print": [left.fingerprint for left in after],
        "good": [int(left.good) for left in after],
        "held": [left.held for left in after],
    }


def _lacks(change: CacheChange, rows: list[Row]) -> list[str]:
    """What was not recorded of a cache, in words."""
    unknown = {
        "the lengths": change.length_before is None or change.length_after is None,
        "which slots were written": not change.appended and change.dropped is None,
        "slot numbers": any(slot.slot is None for slot in change.appended),
        "positions": any(row.position is None for row in rows),
        "the mask": any(row.sees is None for row in rows),
        "fingerprints": change.fingerprints_before is None or change.fingerprints_after is None,
    }
    return [what for what, lacking in unknown.items() if lacking]


def settled_slots(trace: Trace, position: int, model: Literal["target", "draft"]) -> Settled:
    """The last few slots from before a step: what they hold, as far as it was observed.

    Slots that were prefilled, or written very long ago, were not looked into: they are taken to hold the text.
    """
    step = trace.steps[position]
    change: CacheChange | None = getattr(step.caches, model)
    rules = rules_of(trace, position, model)
    length, context = (change.length_before if change else None) or 0, step.context
    slots = range(max(0, length - SETTLED_SHOWN), min(length, context))
    found = [_settled(trace, position, model, slot, token_place(slot, rules)) for slot in slots]
    return {"text": [text for text, _ in found], "step": [step for _, step in found]}


def rules_of(trace: Trace, position: int, model: Literal["target", "draft"]) -> HeadSlots | None:
    """The rules of a head's cache, for the draft of a step that is one."""
    draft = draft_of(trace, position) if model == "draft" else None
    return head_slots(trace.steps[position], draft.head) if draft else None


def states_read(trace: Trace, position: int) -> States | None:
    """What the draft's written slots hold beside their tokens, for a head."""
    step, rules = trace.steps[position], rules_of(trace, position, "draft")
    change: CacheChange | None = step.caches.draft
    if rules is None or change is None:
        return None
    found = [state_read(slot, step, rules) for slot in change.appended]
    text_end = step.context - 1
    return {
        "of": "".join(source[0] for source, _ in found),
        "at": [at for _, at in found],
        "text": [
            token_label(_text_at(trace, at)) if source == "target" and at is not None and 0 <= at <= text_end else None
            for source, at in found
        ],
    }


def _settled(
    trace: Trace, position: int, model: Literal["target", "draft"], slot: int, place: int
) -> tuple[str | None, int | None]:
    """What a slot holds, and the step that left something else there than the text has at its place."""
    due = _text_at(trace, place)
    oldest = max(0, position - LOOK_BACK)
    while position > oldest and not trace.steps[position].prefilled:
        position -= 1
        step = trace.steps[position]
        change: CacheChange | None = getattr(step.caches, model)
        if change is None or change.length_before is None or change.length_after is None:
            break
        if change.length_before <= slot < change.length_after and change.fingerprints_after is not None:
            rules = rules_of(trace, position, model)
            left = after_rows(step, change, rules)[slot - change.length_before]
            if left.held is None:
                return None, position
            if rules is not None and rules.kind == "states" and change.appended[left.held].role == "context":
                # Its token is not part of it.
                return token_label(due), None if left.good else position
            token = change.appended[left.held].token
            held = token_label(token_of(token, step.text_of()))
            return held, None if left.good and token == due.id else position
    return token_label(due), None


def _text_at(trace: Trace, place: int) -> TokenText:
    """The token at a place of the text, the prompt included."""
    if place < len(trace.prompt_tokens):
        return token_of(trace.prompt_tokens[place], trace.prompt_text_of)
    step = trace.steps[bisect_right(trace.steps, place, key=lambda step: step.context) - 1]
    return token_of(step.committed[place - step.context], step.text_of())


def kept_rows(step: Step, change: CacheChange, rules: HeadSlots | None = None) -> list[int]:
    """The written slots that must be left, in the order of the text: what was fed late, and the committed nodes.

    From the driver's path, and not from the recorded moves: those are part of what is looked into. Of a head what was
    drafted is never left, for it was computed from the head's own states; of one that steps the root is.
    """
    row_of = {s.node: index for index, s in enumerate(change.appended) if s.node is not None}
    late = [index for index, s in enumerate(change.appended) if s.role == "context"]
    nodes = [0, *step.verdicts[step.driver].path][: len(step.committed)]
    if rules is not None:
        nodes = [0] if rules.keeps_root else []
    return late + [row_of[node] for node in nodes if node in row_of]


def after_rows(step: Step, change: CacheChange, rules: HeadSlots | None = None) -> list[LeftSlot]:
    """What the update left, by fingerprint; empty where those were not recorded."""
    if change.fingerprints_before is None or change.fingerprints_after is None or change.length_before is None:
        return []
    wanted = dict(enumerate(kept_rows(step, change, rules)))
    written = {print_: index for index, print_ in reversed(list(enumerate(change.fingerprints_before)))}
    after = []
    for offset, fingerprint in enumerate(change.fingerprints_after):
        due = wanted.get(offset)
        good = due is not None and change.fingerprints_before[due] == fingerprint
        held = due if good else written.get(fingerprint)
        after.append(LeftSlot(change.length_before + offset, due, fingerprint, good, held))
    return after


def _state(slot: Slot, to: int | None, dropped: set[int]) -> str:
    if to is None:
        return "d" if slot.slot in dropped else "l"
    return "k" if to == slot.slot else "m"


def lag(step: Step, change: CacheChange, rules: HeadSlots | None = None) -> int:
    """By how many tokens the cache is behind the text when the root is run; 0 for a model that ran nothing."""
    late = sum(s.role == "context" for s in change.appended)
    ran = any(s.node == 0 for s in change.appended)  # without a draft tree the draft runs nothing and may lag behind
    return _root_slot(step, rules) - change.length_before - late if ran and change.length_before is not None else 0


def _root_slot(step: Step, rules: HeadSlots | None) -> int:
    return step.context - 1 if rules is None else rules.root


def _faults(
    step: Step,
    change: CacheChange,
    after: list[LeftSlot],
    labels: list[str],
    rows: list[Row],
    lag_before: int,
    rules: HeadSlots | None,
) -> list[tuple[str, bool]]:
    """What does not fit, and whether it arose in this step: a cache that is behind stays so, and shifts positions."""
    behind = lag(step, change, rules)
    found = [(sentence, True) for sentence in _slot_faults(step, change, after, labels, rules)]
    if behind:
        wanted, what = _root_slot(step, rules), "tokens" if rules is None else rules.kind
        held = wanted - behind
        found.append((f"Before the root the cache holds {held} {what}; the text has {wanted}.", behind != lag_before))
    misplaced = [
        (row.due, row.position)
        for row in rows
        if row.due is not None and row.position is not None and row.due != row.position
    ]
    shifted = bool(behind and misplaced) and all(due == position + behind for due, position in misplaced)
    # The sentence about positions is the first.
    return found + [(sentence, i > 0 or not shifted) for i, sentence in enumerate(mask_faults(change, rows))]


def _slot_faults(
    step: Step, change: CacheChange, after: list[LeftSlot], labels: list[str], rules: HeadSlots | None
) -> list[str]:
    """What the update left, against what the driver's path demands."""

    def name(index: int) -> str:
        slot = change.appended[index]
        told = f"“{shorten(labels[index], 24)}”"
        return told if slot.node is None else f"node {slot.node} {told}"

    found = []
    wrong = [left for left in after if not left.good]
    for slot, due, _, _, held in wrong[:4]:
        there = "what it holds was not written in this step" if held is None else f"{name(held)} is"
        should = "nothing" if due is None else name(due)
        found.append(f"Slot {slot} does not hold what was kept for it: {should} should be there, {there}.")
    if len(wrong) > 4:
        found.append(f"{len(wrong) - 4} more slots do not hold what was kept for them.")
    kept, dropped = len(kept_rows(step, change, rules)), change.dropped
    if change.length_after is None or change.length_before is None or (dropped is None and not change.appended):
        return found
    grown = change.length_after - change.length_before
    if grown != kept:
        found.append(f"{kept} slots were to be kept, but the cache grew by {grown}.")
    elif wrong and dropped is not None and len(change.appended) - len(dropped) != kept:
        # How it came to be wrong. A cache that was only cut to its length may be right all the same.
        written = len(change.appended)
        found.append(
            f"{kept} of {written} slots were to be kept, so {written - kept} had to be dropped; {len(dropped)} were."
        )
    return found
