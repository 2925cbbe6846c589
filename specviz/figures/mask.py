"""The attention mask and the positions that were passed to a model, against the ones that ancestry demands.

A row is a slot written in this step, a column a slot it might look at. Demanded: the settled slots, the committed
tokens fed late, the row's ancestors and itself, and the position its token will have in the text; of a block that is
drafted at once, its other rows. Both sides are carried without loss: the demanded line as a parent pointer, the
observed one as its differences from that line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from specviz.figures.cache_types import Mask, Runs
from specviz.figures.head_slots import HeadSlots
from specviz.trace.schema import CacheChange, Step

MOST_RUNS = 5000
"""Runs of wrong cells that are carried for one model; a mask with more is wrong almost everywhere."""


@dataclass(frozen=True)
class Row:
    """One written slot: what was observed and what is demanded. Indices count the slots written in this step.

    ``due`` and ``demanded`` are None where the tree does not tell (a row that was run and then pruned), ``position``
    and ``sees`` where they were not recorded.
    """

    index: int
    position: int | None
    due: int | None
    sees: frozenset[int] | None
    demanded: frozenset[int] | None
    up: int | None
    """The row before it in its line of descent; -1 where it follows the settled slots."""
    outside: bool
    """Whether it saw a slot that does not exist yet or any more."""

    @property
    def leaks(self) -> frozenset[int]:
        return frozenset() if self.demanded is None or self.sees is None else self.sees - self.demanded

    @property
    def missing(self) -> frozenset[int]:
        return frozenset() if self.demanded is None or self.sees is None else self.demanded - self.sees


def mask_rows(step: Step, change: CacheChange, rules: HeadSlots | None = None) -> list[Row]:
    """Every slot written in this step, in slot order; with the rules of a head's cache, if it is one."""
    index_of = {slot.slot: index for index, slot in enumerate(change.appended)}
    node_row = {slot.node: index for index, slot in enumerate(change.appended) if slot.node is not None}
    rows: list[Row] = []
    late = -1  # the last committed token that was fed late, so far
    root, offset = _root(step, rules)
    block = block_rows(change, rules)
    for index, slot in enumerate(change.appended):
        up: int | None = None
        place: int | None = None
        if slot.role == "context":
            up, place, late = late, slot.slot, index
        elif index in block:
            up, place = (late if index == block[0] else index - 1), root + block.index(index)
        elif slot.node is not None:
            up = node_row.get(step.tree.nodes[slot.node].parent, late)
            place = root + step.tree.nodes[slot.node].depth
        due = None if place is None or offset is None else place + offset
        line = None if up is None else frozenset((index, *_line(rows, up)))
        if line is not None and index in block and rules and not rules.causal:
            line |= frozenset(block)
        seen = None if slot.sees is None else frozenset(index_of[other] for other in slot.sees if other in index_of)
        outside = slot.sees is not None and seen is not None and len(seen) < len(slot.sees)
        rows.append(Row(index, slot.position, due, seen, line, up, outside))
    return rows


def _line(rows: list[Row], up: int) -> frozenset[int]:
    return (rows[up].demanded or frozenset()) if 0 <= up < len(rows) else frozenset()


def block_rows(change: CacheChange, rules: HeadSlots | None) -> list[int]:
    """The written slots that are a block's: the root's and those of masked places."""
    return [i for i, slot in enumerate(change.appended) if slot.role != "context"] if rules and rules.block else []


def _root(step: Step, rules: HeadSlots | None) -> tuple[int, int | None]:
    """The root's slot, and what is added to a slot's number for its position."""
    return (step.context - 1, 0) if rules is None else (rules.root, rules.offset)


def mask_columns(step: Step, change: CacheChange, rows: list[Row], rules: HeadSlots | None = None) -> Mask | None:
    """What the picture is expanded from; null where nothing of it was recorded."""
    root, offset = _root(step, rules)
    if rows and all(row.sees is None and row.position is None for row in rows):
        return None
    leaks, missing, unknown = (Runs(row=[], first=[], last=[]) for _ in range(3))
    left, cut = MOST_RUNS, None
    for row in rows:
        told = [
            (leaks, list(_runs(row.leaks))),
            (missing, list(_runs(row.missing))),
            (unknown, list(_runs(row.sees)) if row.demanded is None and row.sees is not None else []),
        ]
        left -= sum(len(runs) for _, runs in told)
        if left < 0:
            cut = row.index
            break
        for columns, runs in told:
            if runs:
                columns["row"].append(row.index)
                columns["first"].append([first for first, _ in runs])
                columns["last"].append([last for _, last in runs])
    others = [row.index for row in rows if _sees_other_before(change, row)]
    misplaced = [(row.index, row.due) for row in rows if row.due is not None and _is_misplaced(row)]
    return {
        "up": [row.up for row in rows],
        "block": block_rows(change, rules) if rules and not rules.causal else [],
        "root": None if offset is None else root + offset,
        "silent": [row.index for row in rows if row.sees is None],
        "leaks": leaks,
        "missing": missing,
        "unknown": unknown,
        "earlier": {"row": others, "seen": [change.appended[index].sees_before or 0 for index in others]},
        "due": {"row": [index for index, _ in misplaced], "position": [due for _, due in misplaced]},
        "wrong": sum(
            bool(r.leaks or r.missing or r.outside) or _is_misplaced(r) or _sees_other_before(change, r) for r in rows
        ),
        "cut": cut,
    }


def _is_misplaced(row: Row) -> bool:
    return row.due is not None and row.position is not None and row.due != row.position


def _sees_other_before(change: CacheChange, row: Row) -> bool:
    seen = change.appended[row.index].sees_before
    return seen is not None and change.length_before is not None and seen != change.length_before


def mask_faults(change: CacheChange, rows: list[Row]) -> list[str]:
    """One sentence for each kind of thing that is wrong, with the first example."""
    found: list[str] = []
    slots = change.appended

    def name(index: int) -> str:
        slot = slots[index]
        return f"slot {slot.slot}" + ("" if slot.node is None else f" (node {slot.node})")

    def tell(wrong: list[Row], what: str, example: str) -> None:
        found.append(f"{what} {len(wrong)} of {len(rows)} written slots; the first: {name(wrong[0].index)} {example}.")

    if wrong := [row for row in rows if _is_misplaced(row)]:
        tell(wrong, "The position is not length + depth in", f"has position {wrong[0].position}, not {wrong[0].due}")
    if wrong := [row for row in rows if row.leaks]:
        other = name(min(wrong[0].leaks))
        tell(wrong, "A slot that is no ancestor is seen by", f"sees {other}")
    if wrong := [row for row in rows if row.missing]:
        other = name(min(wrong[0].missing))
        tell(wrong, "An ancestor is not seen by", f"does not see {other}")
    if wrong := [row for row in rows if row.outside]:
        tell(wrong, "A slot that was not written in this step is seen by", "sees one")
    if wrong := [row for row in rows if _sees_other_before(change, row)]:
        seen = slots[wrong[0].index].sees_before
        tell(wrong, "Other than all settled slots are seen by", f"sees {seen} of {change.length_before}")
    return found


def _runs(columns: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Maximal runs of neighbouring numbers, as (first, last)."""
    first = last = -2
    for column in sorted(columns):
        if column != last + 1:
            if last >= 0:
                yield first, last
            first = column
        last = column
    if last >= 0:
        yield first, last
