"""The slot cache: a preallocated KV cache for tree verification that plugs into transformers as a ``Cache``.

A slot is one column of every layer's keys and values. The first ``num_committed`` slots are *committed*: each holds one
token of the text, in order. During a step, forwards append further slots, one for every row they run, in the order in
which they run them. :meth:`SlotCache.compact` then moves the slots of accepted nodes down behind the committed ones,
commits them and drops the rest. The keys and values of a node depend only on its ancestors and its depth, so a moved
slot holds what a recompute would have put there. No tensor is ever concatenated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

from specviz.fingerprints import Fingerprints, by_device, texts
from specviz.transfers import Reads, upload


class SlotLayer(CacheLayerMixin):
    """One layer: ``keys`` and ``values`` [1, heads, capacity, head size], of which ``length`` slots are in use."""

    is_sliding = False
    is_compileable = False
    is_croppable = False

    def __init__(self, capacity: int):
        super().__init__()
        self.capacity = capacity
        self.length = 0
        self.keys: torch.Tensor
        self.values: torch.Tensor

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Allocate once the model has shown its number of heads, head size, dtype and device."""
        self.keys = _empty(key_states, self.capacity)
        self.values = _empty(value_states, self.capacity)
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_args: Any, **_kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the new columns behind the used ones and return views of all used slots."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start, self.length = self.length, self.length + key_states.shape[-2]
        assert self.length <= self.capacity, "SlotCache.reserve was not called"
        self.keys[:, :, start : self.length] = key_states
        self.values[:, :, start : self.length] = value_states
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.length + query_length, 0

    def get_seq_length(self) -> int:
        return self.length

    def get_max_length(self) -> int:
        return -1

    @torch.inference_mode()
    def grow(self, capacity: int) -> None:
        """Move to a larger allocation."""
        self.capacity = capacity
        if self.is_initialized:
            used = self.length
            for name in ("keys", "values"):
                old = getattr(self, name)
                new = _empty(old, capacity)
                new[:, :, :used] = old[:, :, :used]
                setattr(self, name, new)


@dataclass(frozen=True)
class Written:
    """A row that a forward appended, as it was passed to the model."""

    token: int
    position: int
    sees: tuple[int, ...]
    """Offsets (slots counted from ``num_committed``) that the mask let this row see, itself included."""
    sees_before: int
    """Settled slots that the mask let this row see."""


@dataclass(frozen=True)
class Compaction:
    """What :meth:`SlotCache.compact` did: slots that changed place, and slots that were dropped."""

    moves: tuple[tuple[int, int], ...]
    dropped: tuple[int, ...]


@dataclass
class _Appended:
    """What is known of the slots appended since the last commit, one entry a slot."""

    depths: list[int] = field(default_factory=list)
    lines: list[tuple[int, ...]] = field(default_factory=list)
    """Offsets of a slot's ancestors and itself."""
    written: list[Written] = field(default_factory=list)


class SlotCache(Cache):
    """Slots of all layers of one model, batch size 1. A model without layers of its own (Medusa) has no slots.

    Attributes:
        num_committed: number of committed slots.
    """

    def __init__(self, layers: int, capacity: int = 256):
        self.slot_layers = [SlotLayer(capacity) for _ in range(layers)]
        super().__init__(layers=list(self.slot_layers))
        self.num_committed = 0
        self._appended = _Appended()
        self._fingerprints = Fingerprints()

    # -------------------------------------------------------------------------------------------------- size

    @property
    def length(self) -> int:
        """Slots in use, committed or not."""
        return self.slot_layers[0].length if self.slot_layers else self.num_committed

    @property
    def capacity(self) -> int:
        return self.slot_layers[0].capacity if self.slot_layers else 0

    @property
    def allocated(self) -> int:
        """Bytes of keys and values, used slots or not."""
        made = [layer for layer in self.slot_layers if layer.is_initialized]
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in made)

    def reserve(self, slots: int) -> None:
        """Make room for ``slots`` more. Capacity at least doubles, so growing costs O(1) a slot in the long run."""
        needed = self.length + slots
        if self.slot_layers and needed > self.capacity:
            for layer in self.slot_layers:
                layer.grow(max(needed, 2 * layer.capacity))

    # ------------------------------------------------------------------------------------------------ append

    def allocate(self, parents: Sequence[int]) -> tuple[list[int], list[tuple[int, ...]]]:
        """Give rows that are about to be appended their positions and lines of descent.

        Args:
            parents: for each row the offset of its parent among the slots of this step, or -1 where it follows the
                committed slots directly. A parent may be one of the rows themselves if it comes earlier.

        Returns:
            The position of each row (``num_committed`` + its depth), and the offsets of its ancestors and itself.
        """
        appended, first = self._appended, len(self._appended.depths)
        for i, parent in enumerate(parents):
            assert parent < first + i
            appended.depths.append(0 if parent < 0 else appended.depths[parent] + 1)
            appended.lines.append((*(appended.lines[parent] if parent >= 0 else ()), first + i))
        return [self.num_committed + depth for depth in appended.depths[first:]], appended.lines[first:]

    def log(self, written: Sequence[Written]) -> None:
        """Log what was passed to the model for the rows just appended."""
        self._appended.written += written
        assert len(self._appended.written) == len(self._appended.depths) == self.length - self.num_committed

    @property
    def written(self) -> tuple[Written, ...]:
        """The rows appended since the last commit, in slot order from ``num_committed``."""
        return tuple(self._appended.written)

    # ------------------------------------------------------------------------------------------------ commit

    @torch.inference_mode()
    def compact(self, offsets: Sequence[int]) -> Compaction:
        """Commit the appended slots at ``offsets`` and drop the others, in time proportional to the committed ones.

        Args:
            offsets: ascending, counted from ``num_committed``.
        """
        assert list(offsets) == sorted(set(offsets))
        base = self.num_committed
        moves = [(base + old, base + new) for new, old in enumerate(offsets) if old != new]
        if moves:
            sources = [source for source, _ in moves]
            start, stop = moves[0][1], moves[-1][1] + 1
            index = {
                device: upload(sources, device) for device in by_device([layer.keys for layer in self.slot_layers])
            }
            for layer in self.slot_layers:
                index_here = index[layer.keys.device]
                layer.keys[:, :, start:stop] = layer.keys.index_select(2, index_here)
                layer.values[:, :, start:stop] = layer.values.index_select(2, index_here)
        kept = set(offsets)
        dropped = tuple(base + i for i in range(self.length - base) if i not in kept)
        self._commit_up_to(base + len(offsets))
        return Compaction(tuple(moves), dropped)

    def commit(self) -> None:
        """Commit every appended slot where it is, after a prefill."""
        self._commit_up_to(self.length)

    def roll_back(self) -> None:
        """Drop every appended slot."""
        self._commit_up_to(self.num_committed)

    def _commit_up_to(self, length: int) -> None:
        for layer in self.slot_layers:
            layer.length = length
        self.num_committed = length
        self._appended = _Appended()

    # --------------------------------------------------------------------------------------------- observing

    @contextmanager
    def writing_again(self, length: int) -> Iterator[None]:
        """Let forwards inside the block overwrite the slots from ``length`` on; after it all slots are in use again."""
        used = self.length
        try:
            for layer in self.slot_layers:
                layer.length = length
            yield
        finally:
            for layer in self.slot_layers:
                layer.length = used

    def first_not_finite(self, stop: int) -> tuple[int, int] | None:
        """(layer, slot): the first layer with NaN or infinity in a slot before ``stop``, and its first such slot."""
        for number, layer in enumerate(self.slot_layers):
            if not layer.is_initialized:
                continue
            fine = layer.keys[0, :, :stop].isfinite().all(-1).all(0) & layer.values[0, :, :stop].isfinite().all(-1).all(
                0
            )
            if not bool(fine.all()):
                return number, int((~fine).nonzero()[0])
        return None

    def fingerprints(self, start: int, stop: int) -> tuple[str, ...]:
        """See :meth:`ask_fingerprints`."""
        return self.ask_fingerprints(start, stop, Reads())()

    def ask_fingerprints(self, start: int, stop: int, reads: Reads) -> Callable[[], tuple[str, ...]]:
        """One hash per slot of [start, stop), see :mod:`specviz.fingerprints`."""
        if start >= stop:
            return tuple
        keys, values = (
            [getattr(layer, name)[0, :, start:stop] for layer in self.slot_layers] for name in ("keys", "values")
        )
        asked = reads.ask(*self._fingerprints.sums(keys, values))
        return lambda: texts(asked())


def _empty(like: torch.Tensor, capacity: int) -> torch.Tensor:
    """Zeros [1, heads, capacity, head size]. With uninitialised memory a stale read would differ from run to run."""
    _, heads, _, size = like.shape
    return torch.zeros(1, heads, capacity, size, dtype=like.dtype, device=like.device)
