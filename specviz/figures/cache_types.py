"""The columns of the panels about the caches: slots, masks, audits. See :mod:`specviz.figures.frame_types`."""

from __future__ import annotations

from typing import Literal

from typing_extensions import TypedDict


class Moves(TypedDict):
    """Columns over the moves that the update recorded: from which slot, to which."""

    slot: list[int]
    to: list[int]


class Left(TypedDict):
    """Columns over the slots that the update left.

    due    place of the written slot it should hold, or null
    print  its fingerprint
    good   1 if it holds that one
    held   place of the written slot it does hold, or null"""

    slot: list[int]
    due: list[int | None]
    print: list[str]
    good: list[int]
    held: list[int | None]


class Settled(TypedDict):
    """Columns over the last slots from before the step.

    text   null where that step did not write what the slot holds
    step   of the step that left something else there than the text has, or null"""

    text: list[str | None]
    step: list[int | None]


class Runs(TypedDict):
    """Columns over rows of the mask: where runs of neighbouring cells in it begin and end."""

    row: list[int]
    first: list[list[int]]
    last: list[list[int]]


class Seen(TypedDict):
    """Rows that do not see exactly the settled slots, and how many of them each sees."""

    row: list[int]
    seen: list[int]


class Due(TypedDict):
    """Rows whose position is not the demanded one, and the position that is."""

    row: list[int]
    position: list[int]


class Mask(TypedDict):
    """The mask against the one that ancestry demands.

    up       the row before each row in its line of descent, -1 for none, null where the tree does not tell
    block    rows of a block that is drafted at once, in which each sees all of them besides its line
    root     the position at which the root is due; null where that is not known
    silent   rows of which it was not recorded what they see
    leaks    columns that a row sees and must not
    missing  columns that it must see and does not
    unknown  columns that a pruned row saw
    wrong    how many rows have a leak, something missing or a position that is not due
    cut      the first row whose runs are not carried any more, or null"""

    up: list[int | None]
    block: list[int]
    root: int | None
    silent: list[int]
    leaks: Runs
    missing: Runs
    unknown: Runs
    earlier: Seen
    due: Due
    wrong: int
    cut: int | None


class Audit(TypedDict):
    """Relative differences from a recompute.

    keys, values  [layer][column]; the first column stands for all earlier slots
    first         slot of the second column
    shades        of keys and of values: one digit a cell, layers parted by ``/``
    wrong         how many cells lie beyond the tolerance"""

    first: int
    keys: list[list[float]]
    values: list[list[float]]
    shades: list[str]
    wrong: int
    logits: float | None
    worst: float


class States(TypedDict):
    """Columns over the written slots of a draft head: which state stands in each beside its token.

    of    ``t``: the target's, ``o``: the head's own, ``m``: none, a place of a block
    at    place in the text of the target's state; node of the head's own
    text  the token at that place; null where there is none"""

    of: str
    at: list[int | None]
    text: list[str | None]


class Cache(TypedDict):
    """One model's cache. Columns run over the slots written in this step, but those of ``after`` and ``settled``.

    kind     what a slot of the text holds: a token's keys and values; of a draft head those of a pair of a state of the
             target and the token after it, or of a state alone; ``none`` for a head that has none
    states   of a draft head; else null
    before, length  slots before the step and after the update
    role     ``c``: fed late, ``n``: of the tree, ``p``: run and then pruned, ``m``: a masked place of a block
    state    ``k`` kept where it was, ``m`` moved, ``d`` dropped, ``l`` lost, ``u`` not recorded
    to       the slot that holds it after the update, or null
    moves    what the run says it moved; ``state`` and ``to`` are by fingerprint
    prints   fingerprint after the forward
    after    null where the fingerprints after the update were not recorded
    mask     null where neither the mask nor the positions were recorded
    lacks    what was not recorded, in words; empty for a cache of which everything is known
    faults   sentences about what does not fit
    fresh    how many of them arose in this step"""

    kind: Literal["tokens", "pairs", "states", "none"]
    states: States | None
    before: int | None
    length: int | None
    slot: list[int | None]
    label: list[str]
    text: list[str]
    position: list[int | None]
    node: list[int | None]
    role: str
    state: str
    to: list[int | None]
    moves: Moves | None
    prints: list[str] | None
    after: Left | None
    settled: Settled
    mask: Mask | None
    audit: Audit | None
    lacks: list[str]
    faults: list[str]
    fresh: int


class Caches(TypedDict):
    """Null for a cache of which nothing was recorded."""

    target: Cache | None
    draft: Cache | None
