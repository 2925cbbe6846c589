"""What the phases of a step hand on to the next: live tensors and objects, before they are recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch

from specviz.dice import Draw
from specviz.errors import NumericsError
from specviz.models.kv_cache import Compaction, SlotCache, Written
from specviz.options import Options
from specviz.trace.schema import Lossless, OtherMode
from specviz.verifiers import Judgement, Verifier, Walk

StepPart = Literal["prefill", "draft", "score", "verify", "commit", "record", "audit"]


@dataclass(frozen=True)
class StepProgress:
    """What a step is doing.

    Attributes:
        part: of the step.
        number: which level is drafted, from 1; how many rows the target scores, or verifiers judge; the tokens of a
            prefill; else 0.
        of: how many levels the draft model is asked for at most; else 0.
    """

    part: StepPart
    number: int = 0
    of: int = 0


@dataclass(frozen=True)
class ProcessedRows:
    """What processors did to the target's rows at the n nodes of a tree.

    Attributes:
        moved, apart: [n], see :class:`specviz.trace.schema.Processed`.
        others: [n, V], the rows in the other mode.
        stuck: nodes after whose text processors leave no token, with what is to be raised if it is committed; their
            rows are those without processors.
    """

    moved: torch.Tensor
    apart: torch.Tensor
    others: torch.Tensor
    stuck: Mapping[int, NumericsError]


@dataclass(frozen=True)
class Scores:
    """What the target says at the n nodes of a tree."""

    logits: torch.Tensor
    """[n, V], as the model returned them."""
    probs: torch.Tensor
    """[n, V], processed: the rows that verifiers compare with."""
    processed: ProcessedRows | None = None
    """Of a run with processors."""


@dataclass(frozen=True)
class Verified:
    """One verifier's work on one tree."""

    verifier: Verifier
    options: Options
    judgement: Judgement
    """On the host, except for the rows that its functions reach."""
    walk: Walk
    bonus: Draw
    row: torch.Tensor
    """[V], what the bonus token was drawn from."""
    lossless: Lossless = "not proved"
    """See :func:`specviz.verifiers.proof_table.says`."""
    other_mode: OtherMode | None = None
    """See :attr:`specviz.trace.schema.Verdict.other_mode`."""


@dataclass(frozen=True)
class Change:
    """What a step did to one cache."""

    cache: SlotCache
    """As the step leaves it."""
    num_committed: int
    """Committed slots before the step."""
    written: tuple[Written, ...]
    """The rows that the step appended, in slot order."""
    node_of: Mapping[int, int]
    """Offset of an appended slot -> tree node; slots of pruned nodes and of committed tokens are missing."""
    num_catch_up: int
    """How many of the appended slots, the first ones, are committed tokens that the cache did not have yet."""
    fingerprints: Callable[[], tuple[str, ...]]
    """Of the appended slots, computed after the forwards and before the compaction."""
    compaction: Compaction
    masks: range = range(0)
    """Offsets of the appended slots of masked places of a block."""


@dataclass(frozen=True)
class Commit:
    """What a step added to the text, and what became of both caches."""

    tokens: tuple[int, ...]
    target: Change
    draft: Change
