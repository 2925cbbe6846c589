"""One step of another engine as its recorder holds it while the rows are there: what the online checks read."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from specviz.recorder.processors import Stated
from specviz.trace.schema import Proposal, Sampling

Rows = npt.NDArray[np.floating]
"""[m, V], float32 or float64."""
Flags = npt.NDArray[np.bool_]

BONUS = -1
"""In place of a node: the bonus token's coin."""


@dataclass(frozen=True)
class CacheReading:
    """What was read from one KV cache around one block of the engine's own code.

    Attributes:
        start: the first slot that was looked at, as the engine said it: slots before it are the committed context.
        length_before, length_after: how many slots the cache had when the block began and when it ended.
        before: one fingerprint for each slot from ``start`` to ``length_before``, in that order, when the block began.
        after: the same up to ``length_after``, when it ended; empty where the cache was cut below ``start``.
    """

    start: int
    length_before: int
    length_after: int
    before: tuple[str, ...]
    after: tuple[str, ...]


@dataclass
class RawStep:
    """What one step of another engine said, with whole rows. None, or empty: it did not say.

    Attributes:
        index: of the step among those of its request, from 0 on.
        context: committed tokens before this step, the root included.
        text: those tokens: the prompt and all that was committed; the last one is the root of a sound engine.
        tokens, parents: of the nodes, parents first; node 0 is the root, whose parent is -1.
        proposal: how siblings were proposed.
        q, q_logits: [m, V], the draft's rows, processed and as logits.
        q_nodes: the node of each of them.
        vocabulary: [V of the draft], the target's id of each column of the draft's rows; None where they are the same.
        p, p_logits, p_nodes: the same of the target.
        p_made, q_made: nodes whose processed rows the recorder made of the logits; all others the engine gave.
        target_sampling, draft_sampling: what makes processed rows of logits. Where the engine gave logits alone, ``p``
            and ``q`` were made with them; where they are None, too, there is no ``p``.
        processors: what changes logits by the text before that, as the engine says.
        rule: that the engine says it verifies by, e.g. one of specviz's verifiers.
        lossless: whether it says that its tokens are distributed as target samples.
        accepted: nodes below the root, downwards.
        bonus: the token after them.
        no_nodes: (``accepted``, ``coins`` or ``thresholds``, number) of numbers there that no node of the tree has.
        wrong_calls: what of it could not be recorded as it was said, a sentence each; without what other checks tell.
        committed: what was appended to the text.
        derived: whether that was not said, but made of the accepted nodes and the bonus.
        guessed: whether an earlier step's was, of accepted nodes that do not hang together: then nobody knows the text.
        coins: node -> the uniform number of its decision, in the order of the decisions; :data:`BONUS` -> the bonus'.
        thresholds: node -> what the engine compared that coin with.
        bonus_row: [V], what the bonus was drawn from.
        positions, draft_positions: the position of each node (of each row of ``p_nodes``, of ``q_nodes``).
        mask, draft_mask: [n, L], True where the row of a node may see a slot; the last n columns are the nodes' own.
        slots, draft_slots: node -> its slot in the cache.
        caches: ``target`` or ``draft`` -> what was read from it.
        dtype: the number format of the target's rows as the engine gave them, e.g. ``bfloat16``.
        draft_dtype: of the draft's.
        logits_dtype, draft_logits_dtype: of the logits, where they were given.
    """

    index: int
    context: int
    tokens: list[int]
    parents: list[int]
    text: list[int] = field(default_factory=list)
    proposal: Proposal | None = None
    q: Rows | None = None
    q_logits: Rows | None = None
    q_nodes: list[int] = field(default_factory=list)
    vocabulary: npt.NDArray[np.int64] | None = None
    p: Rows | None = None
    p_logits: Rows | None = None
    p_nodes: list[int] = field(default_factory=list)
    p_made: list[int] = field(default_factory=list)
    q_made: list[int] = field(default_factory=list)
    target_sampling: Sampling | None = None
    draft_sampling: Sampling | None = None
    processors: Stated | None = None
    rule: str | None = None
    lossless: bool | None = None
    accepted: list[int] = field(default_factory=list)
    bonus: int | None = None
    no_nodes: list[tuple[str, int]] = field(default_factory=list)
    wrong_calls: list[str] = field(default_factory=list)
    committed: list[int] = field(default_factory=list)
    derived: bool = False
    guessed: bool = False
    coins: dict[int, float] = field(default_factory=dict)
    thresholds: dict[int, float] = field(default_factory=dict)
    bonus_row: Rows | None = None
    positions: list[int] | None = None
    draft_positions: list[int] | None = None
    mask: Flags | None = None
    draft_mask: Flags | None = None
    slots: dict[int, int] | None = None
    draft_slots: dict[int, int] | None = None
    caches: dict[str, CacheReading] = field(default_factory=dict)
    dtype: str | None = None
    draft_dtype: str | None = None
    logits_dtype: str | None = None
    draft_logits_dtype: str | None = None
