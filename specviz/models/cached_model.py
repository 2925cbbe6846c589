"""What every model that runs with a slot cache has: rows that form a tree are appended, logged and checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from specviz.models.kv_cache import SlotCache, Written
from specviz.models.nonfinite import CACHED, Found, LogitsError, Origin, find_origin, kind_of
from specviz.models.stopwatch import Moment
from specviz.trace.schema import ModelInfo
from specviz.transfers import read

Later = Callable[[Sequence[torch.Tensor], Callable[[torch.Tensor], None]], None]
"""Takes a check of logits that may be made with the next read, see :meth:`specviz.transfers.Reads.later`."""


@dataclass(frozen=True)
class Output:
    """What a forward over n tokens gave.

    Attributes:
        logits: [rows, V], float32, of the rows that were asked for.
        states: [n, layers x hidden], the hidden states of the layers that were asked for, at every token; of a draft
            that reads its target what its head made, [rows, hidden]; else None.
    """

    logits: torch.Tensor
    states: torch.Tensor | None = None


@dataclass(frozen=True)
class Rows:
    """Rows that are about to be appended to a cache, as they are passed to the model."""

    tokens: list[int]
    positions: torch.Tensor
    """[1, n]"""
    mask: torch.Tensor
    """[1, 1, n, slots in use and n], additive."""


class CachedModel:
    """A model, or a head, with what is known about it.

    Attributes:
        info: what was loaded.
        vocabulary: the width of its logits.
        inputs: how many tokens it has embeddings for.
        layers: of its cache.
        max_positions: longest context its positions allow.
        device, dtype: of its weights.
        forwards: begin and end of every forward since the list was last emptied.
    """

    vocabulary: int
    inputs: int
    layers: int
    max_positions: int
    device: torch.device
    dtype: torch.dtype

    def __init__(self, info: ModelInfo):
        self.info = info
        self.forwards: list[tuple[Moment, Moment]] = []

    def new_cache(self, capacity: int) -> SlotCache:
        return SlotCache(self.layers, capacity)

    def known(self, tokens: Sequence[int]) -> list[int]:
        """Tokens as its embeddings know them.

        An id beyond them (padded vocabularies) is read as the last one: a draft that misreads a token drafts worse, and
        stays exact.
        """
        return [min(token, self.inputs - 1) for token in tokens]

    def origin_in_text(self, tokens: Sequence[int]) -> Origin | None:  # noqa: ARG002
        """Where NaN or infinity first appears in a plain forward over a text; None if it does not, or is not asked."""
        return None

    def _rows(self, cache: SlotCache, tokens: Sequence[int], parents: Sequence[int], offset: int = 0) -> Rows:
        """Room, positions and mask for n rows that form a tree; see :meth:`SlotCache.allocate`.

        Args:
            offset: added to the positions.
        """
        cache.reserve(len(tokens))
        positions, lines = cache.allocate(parents)
        mask = tree_mask(lines, cache.num_committed, cache.length + len(tokens), self.dtype)
        return Rows(list(tokens), torch.tensor([positions]) + offset, mask)

    def _check(
        self,
        cache: SlotCache,
        logits: torch.Tensor,
        rows: int,
        first: int,
        run_again: Callable[[], Any],
        later: Later | None,
        other_rows: bool = False,
    ) -> None:
        """Check logits of which distributions are to be made.

        Args:
            logits: of the last of the forward's rows.
            rows: of the forward.
            first: slots in use before it; its own are the last ones until the check is made.
            run_again: repeats the forward.
            later: without it the check is made here.
            other_rows: the parts of the model have other rows than the logits.

        Raises:
            LogitsError: for logits of which no distribution can be made.
        """

        def check(best: torch.Tensor) -> None:
            if (wrong := kind_of(best)) is None:
                return
            kind, bad = wrong
            found = Found(self.info.id, str(self.info.dtype), kind, tuple(rows - len(best) + row for row in bad))
            if (cached := cache.first_not_finite(first)) is not None:
                layer, slot = cached
                raise LogitsError(replace(found, origin=Origin(CACHED, layer, None), slot=slot))
            with cache.writing_again(first):
                origin = self._origin(run_again, -1 if other_rows else rows)
            raise LogitsError(replace(found, origin=origin))

        best = logits.amax(-1)
        if later is None:
            check(*read(best))
        else:
            later([best], check)

    def _modules(self) -> Mapping[str, torch.nn.Module]:
        """All that a forward calls, by name."""
        raise NotImplementedError

    def _origin(self, run: Callable[[], Any], rows: int) -> Origin | None:
        before = len(self.forwards)
        try:
            return find_origin({name: one for name, one in self._modules().items() if name}, run, rows, self.layers)
        finally:
            del self.forwards[before:]


def tree_mask(lines: Sequence[tuple[int, ...]], base: int, total: int, dtype: torch.dtype) -> torch.Tensor:
    """Additive mask [1, 1, n, total]: 0 where row i may look, the dtype's smallest number elsewhere.

    Args:
        lines: for each row, the offsets from ``base`` of its ancestors and itself.
        base: committed slots, which every row sees.
        total: slots in use once the rows are appended.
    """
    mask = torch.full((len(lines), total), torch.finfo(dtype).min, dtype=dtype)
    mask[:, :base] = 0
    rows = [i for i, line in enumerate(lines) for _ in line]
    columns = [base + offset for line in lines for offset in line]
    mask[rows, columns] = 0
    return mask[None, None]


def causal_mask(rows: int, base: int, dtype: torch.dtype) -> torch.Tensor:
    """Additive mask [1, 1, rows, base + rows] of plain context."""
    mask = torch.full((rows, base + rows), torch.finfo(dtype).min, dtype=dtype)
    return mask.triu(base + 1)[None, None]


def written(rows: Rows, base: int) -> list[Written]:
    """What was passed for each row, read back from the tensors that were passed.

    Args:
        base: committed slots.
    """
    visible = rows.mask[0, 0] == 0
    before = visible[:, :base].sum(-1).tolist()
    sees: list[list[int]] = [[] for _ in rows.tokens]
    for row, column in visible[:, base:].nonzero().tolist():
        sees[row].append(column)
    found = zip(rows.tokens, rows.positions[0].tolist(), sees, before, strict=True)
    return [Written(token, position, tuple(line), count) for token, position, line, count in found]
