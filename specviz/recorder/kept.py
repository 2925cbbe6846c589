"""A step of a trace as the online checks read one: what a file keeps of it, without rows."""

from __future__ import annotations

from dataclasses import replace

from specviz.recorder.checks import kept_checks
from specviz.recorder.checks.compaction import COMPACTION, compaction
from specviz.recorder.checks.layout import MASK, POSITIONS, Seen, ancestry, laid_out, positions
from specviz.recorder.checks.rows import View
from specviz.recorder.raw_step import CacheReading, RawStep
from specviz.trace.checks import Check
from specviz.trace.head_slots import HeadSlots, head_slots
from specviz.trace.schema import CacheChange, HeadInfo, Slot, Step


def checks_of(step: Step, text: list[int], head: HeadInfo | None = None) -> list[Check]:
    """The checks that need no rows. The work stays within the size of the step, whatever numbers a file holds.

    Args:
        text: committed before the step, the root last.
        head: what the draft is, where it is a head of the target.
    """
    rules = head_slots(step, head)
    nodes, driver = step.tree.nodes, step.verdicts[step.driver]
    target, draft = step.caches.target, step.caches.draft
    fed, drafted = _rows(target), _rows(draft)
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
        positions=_positions(fed),
        draft_positions=None if rules else _positions(drafted),
        slots=_slots(fed),
        draft_slots=_slots(drafted),
    )
    for name, change, slots in (("target", target, raw.slots), ("draft", draft, raw.draft_slots)):
        reading = None if change is None or slots is None else _reading(change)
        if reading is not None:
            raw.caches[name] = reading
    view = View(raw)
    seen = _seen(fed, target)
    laid = laid_out(view, raw.positions, _nodes(fed), seen)
    # A head's own cache has other rules.
    of_draft = laid if rules is None else _shifted(laid, rules.root + 1 - step.context)
    reading = raw.caches.pop("draft", None) if rules else None
    found = kept_checks(view, _nodes(fed), _nodes(drafted), seen)
    for name, where, rows, kept, slots in (
        (MASK, laid, fed, seen, raw.slots),
        (f"draft_{MASK}", of_draft, drafted, _seen(drafted, draft), raw.draft_slots),
    ):
        if slots is not None and len(kept) == len(rows):
            found = [check for check in found if check.name != name]
            found.append(ancestry(where, kept, _nodes(rows), slots, name))
    if rules is not None:
        found += _of_head(of_draft, rules, drafted, reading, raw.draft_slots)
    return found


def _shifted(view: View, by: int) -> View:
    """The step with its root so many places further on."""
    return View(replace(view.step, context=view.step.context + by))


def _of_head(
    view: View, rules: HeadSlots, rows: list[Slot], reading: CacheReading | None, slots: dict[int, int] | None
) -> list[Check]:
    """Positions, and what stays: of what was drafted the root's slot alone, whatever was accepted."""
    found = []
    said = _positions(rows)
    if said is not None and rules.offset is not None:
        found.append(positions(_shifted(view, rules.offset), said, _nodes(rows), f"draft_{POSITIONS}"))
    if reading is not None and rules.keeps_root:
        root = View(replace(view.step, accepted=[]))
        found.append(compaction(root, reading, _nodes(rows), slots, f"draft_{COMPACTION}"))
    return found


def _seen(rows: list[Slot], change: CacheChange | None) -> list[Seen]:
    """What was kept of the mask of these rows; tokens that were fed late are text before the tree."""
    late = {slot.slot for slot in _late(change)}
    return [
        Seen(row.sees, row.sees_before + len(late.intersection(row.sees)))
        for row in rows
        if row.sees is not None and row.sees_before is not None
    ]


def _rows(change: CacheChange | None) -> list[Slot]:
    """Of the nodes of the tree, in the order in which they were fed."""
    return [] if change is None else [slot for slot in change.appended if slot.node is not None]


def _late(change: CacheChange | None) -> list[Slot]:
    return [] if change is None else [slot for slot in change.appended if slot.role == "context"]


def _nodes(rows: list[Slot]) -> list[int]:
    return [row.node for row in rows if row.node is not None]


def _positions(rows: list[Slot]) -> list[int] | None:
    found = [row.position for row in rows if row.position is not None]
    return found if found and len(found) == len(rows) else None


def _slots(rows: list[Slot]) -> dict[int, int] | None:
    found = {row.node: row.slot for row in rows if row.node is not None and row.slot is not None}
    return found if found and len(found) == len(rows) else None


def _reading(change: CacheChange) -> CacheReading | None:
    before, after = change.fingerprints_before, change.fingerprints_after
    if before is None or after is None or change.length_before is None or change.length_after is None:
        return None
    return CacheReading(change.length_before, change.length_before + len(before), change.length_after, before, after)
