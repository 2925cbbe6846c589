"""What the slots of a draft head's own cache must hold, which is not what those of a language model must.

A head reads the target's state at a token and the token after it: pair j is the state at token j of the text and token
j + 1, and stands in slot j. DFlash and DSpark keep the states alone, one slot for every token before the root, and run
the root as the first row of a block. See :mod:`specviz.models.heads.head`, whose rules these are.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from specviz.trace.schema import HeadInfo, ModelInfo, Slot, Step, Trace

STATES_ALONE = ("dflash", "dspark")
"""Formats whose slots in the text hold no token."""
CAUSAL_BLOCKS = ("p_eagle",)
"""Formats of blocks whose rows see only what stands before them; in the others every row sees all of them."""


class HeadSlots(NamedTuple):
    """The rules of a head's cache in one step.

    Attributes:
        kind: what a slot of the text holds: a pair, a state alone; ``none`` for a head without keys and values.
        root: the slot of the root's row.
        offset: what is added to a slot's number to give the position at which it is run; None where not recorded.
        keeps_root: whether the root's slot stays after the step.
        block: whether all rows of the step but those of the text are one block.
        causal: of a block: whether a row sees only what stands before it.
    """

    kind: Literal["pairs", "states", "none"]
    root: int
    offset: int | None
    keeps_root: bool
    block: bool
    causal: bool


def head_slots(step: Step, head: HeadInfo | None) -> HeadSlots | None:
    """None for a draft whose slots hold tokens, as a language model's do; also with specviz's own head over it."""
    if head is None or head.format == "hidden_state":
        return None
    offset = head.options.get("position_offset", 0)
    states = head.format in STATES_ALONE
    return HeadSlots(
        kind="none" if not head.layers else "states" if states else "pairs",
        root=step.context - (1 if states else 2),
        offset=offset if isinstance(offset, int) else None,
        keeps_root=head.kind == "step",
        block=head.kind == "block",
        causal=head.format in CAUSAL_BLOCKS,
    )


def draft_of(trace: Trace, position: int) -> ModelInfo | None:
    """The draft that a step ran on."""
    return trace.models_of(position).draft


def token_place(slot: int, rules: HeadSlots | None) -> int:
    """The place in the text of the token that a settled slot is named after: a pair's token, or where its state is."""
    return slot + 1 if rules is not None and rules.kind == "pairs" else slot


def state_read(slot: Slot, step: Step, rules: HeadSlots) -> tuple[Literal["target", "own", "mask"], int | None]:
    """Where the state comes from that a written slot holds beside its token.

    Returns:
        ``target`` and the place in the text, or None where the slot's number was not recorded; ``own`` and the node at
        which the head gave it; ``mask`` for a place of a block, which reads no state.
    """
    if slot.role == "context":
        return "target", slot.slot
    if slot.node == 0 and rules.kind == "pairs":
        return "target", step.context - 2
    if rules.block:
        return "mask", None
    return "own", None if slot.node is None else step.tree.nodes[slot.node].parent
