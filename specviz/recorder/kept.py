"""A step of a trace as the online checks read one: what a file keeps of it, without rows."""

from __future__ import annotations

from specviz.recorder.checks import kept_checks
from specviz.recorder.checks.layout import MASK, Seen, ancestry, laid_out, longer
from specviz.recorder.checks.rows import View
from specviz.recorder.raw_step import CacheReading, RawStep
from specviz.trace.checks import Check
from specviz.trace.schema import CacheChange, HeadInfo, Slot, Step


def checks_of(step: Step, text: list[int], head: HeadInfo | None = None) -> list[Check]:
    """The checks that need no rows. The work stays within the size of the step, whatever numbers a file holds.

    Args:
        text: committed before the step, the root last.
        head: of a draft that is one.
    """
    fewer, moved = _pairs(head)
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
        draft_positions=_positions(drafted),
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
    found = kept_checks(view, _nodes(fed), _nodes(drafted), seen, fewer, moved)
    for name, rows, kept, slots, about in (
        (MASK, fed, seen, raw.slots, laid),
        (f"draft_{MASK}", drafted, _seen(drafted, draft), raw.draft_slots, longer(laid, -fewer)),
    ):
        if slots is not None and len(kept) == len(rows):
            found = [check for check in found if check.name != name]
            found.append(ancestry(about, kept, _nodes(rows), slots, name))
    return found


def _pairs(head: HeadInfo | None) -> tuple[int, int]:
    """How many slots fewer than tokens lie before the root in a draft head's cache, and by how much its positions are
    moved. A pair of a state and the token after it has one slot, so the root's is that of the token before it; DFlash's
    blocks follow the states of the whole text."""
    if head is None or head.format == "hidden_state" or not (head.kind == "step" or head.format == "p_eagle"):
        return 0, 0
    offset = head.options.get("position_offset")
    return 1, (offset if isinstance(offset, int) else 0) - 1


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
