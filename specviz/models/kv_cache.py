"""The slot cache: a preallocated KV cache for tree verification that plugs into transformers as a ``Cache``.

A slot is one column of every layer's keys and values. Slots below ``base`` are *settled*: one committed token each, in
order. During a step forwards append further slots, one a row, in whatever order the rows were run;
:meth:`SlotCache.keep` then gathers the ones worth keeping down to ``base`` and settles them. The keys and values of a
node depend on its ancestors and its depth alone, so a gathered slot is what a recompute would have put there. Nothing
is ever concatenated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

_FINGERPRINT_ELEMENTS = 1 << 22
"""Bounds the working memory of a fingerprint."""


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
    """Offsets (slots counted from ``base``) that the mask let this row see, itself included."""
    sees_before: int
    """Settled slots that the mask let this row see."""


@dataclass(frozen=True)
class Kept:
    """What :meth:`SlotCache.keep` did: slots that changed place, and slots that were dropped."""

    moves: tuple[tuple[int, int], ...]
    dropped: tuple[int, ...]


@dataclass
class _Steps:
    """Book-keeping of the slots appended since the last ``keep``."""

    depths: list[int] = field(default_factory=list)
    lines: list[tuple[int, ...]] = field(default_factory=list)
    written: list[Written] = field(default_factory=list)


class SlotCache(Cache):
    """Slots of all layers of one model, batch size 1.

    Attributes:
        base: number of settled slots.
    """

    def __init__(self, layers: int, capacity: int = 256):
        self.slot_layers = [SlotLayer(capacity) for _ in range(layers)]
        super().__init__(layers=list(self.slot_layers))
        self.base = 0
        self._steps = _Steps()
        self._weights: dict[str, dict[torch.device, torch.Tensor]] = {}

    # -------------------------------------------------------------------------------------------------- size

    @property
    def length(self) -> int:
        """Slots in use, settled or not."""
        return self.slot_layers[0].length

    @property
    def capacity(self) -> int:
        return self.slot_layers[0].capacity

    @property
    def allocated(self) -> int:
        """Bytes of keys and values, used slots or not."""
        made = [layer for layer in self.slot_layers if layer.is_initialized]
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in made)

    def reserve(self, slots: int) -> None:
        """Make room for ``slots`` more; at least doubles, so that growing costs O(1) a slot in the long run."""
        needed = self.length + slots
        if needed > self.capacity:
            for layer in self.slot_layers:
                layer.grow(max(needed, 2 * layer.capacity))

    # ------------------------------------------------------------------------------------------------ append

    def plan(self, parents: Sequence[int]) -> tuple[list[int], list[tuple[int, ...]]]:
        """Positions and lines of descent for rows that are about to be appended.

        Args:
            parents: for each row the offset of its parent among the slots of this step, or -1 where it follows the
                settled slots directly. A parent may be one of the rows themselves if it comes earlier.

        Returns:
            The position of each row (``base`` + its depth), and the offsets of its ancestors and itself.
        """
        steps, first = self._steps, len(self._steps.depths)
        for i, parent in enumerate(parents):
            assert parent < first + i
            steps.depths.append(0 if parent < 0 else steps.depths[parent] + 1)
            steps.lines.append((*(steps.lines[parent] if parent >= 0 else ()), first + i))
        return [self.base + depth for depth in steps.depths[first:]], steps.lines[first:]

    def note(self, written: Sequence[Written]) -> None:
        """Remember what was passed to the model for the rows just appended."""
        self._steps.written += written
        assert len(self._steps.written) == len(self._steps.depths) == self.length - self.base

    @property
    def written(self) -> tuple[Written, ...]:
        """The slots appended since the last ``keep``, in slot order from ``base``."""
        return tuple(self._steps.written)

    # -------------------------------------------------------------------------------------------------- keep

    @torch.inference_mode()
    def keep(self, offsets: Sequence[int]) -> Kept:
        """Settle the appended slots at ``offsets`` (ascending, counted from ``base``) and drop the others. O(kept)."""
        assert list(offsets) == sorted(set(offsets))
        moves = [(self.base + old, self.base + new) for new, old in enumerate(offsets) if old != new]
        if moves:
            sources = [source for source, _ in moves]
            start, stop = moves[0][1], moves[-1][1] + 1
            for layer in self.slot_layers:
                index = torch.tensor(sources, device=layer.keys.device)
                layer.keys[:, :, start:stop] = layer.keys.index_select(2, index)
                layer.values[:, :, start:stop] = layer.values.index_select(2, index)
        kept = set(offsets)
        dropped = tuple(self.base + i for i in range(self.length - self.base) if i not in kept)
        self._settle(self.base + len(offsets))
        return Kept(tuple(moves), dropped)

    def settle(self) -> None:
        """Settle every appended slot as it is (prefill)."""
        self._settle(self.length)

    def roll_back(self) -> None:
        """Forget every appended slot."""
        self._settle(self.base)

    def _settle(self, length: int) -> None:
        for layer in self.slot_layers:
            layer.length = length
        self.base = length
        self._steps = _Steps()

    # --------------------------------------------------------------------------------------------- observing

    @contextmanager
    def writing_again(self, length: int) -> Iterator[None]:
        """Inside, a forward may write the slots from ``length`` on once more; after it all of them are in use again."""
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
        """One hash per slot of [start, stop), of the bits of its keys and values in all layers.

        A slot that was moved keeps its fingerprint; one that was not moved when it should have been does not have the
        one it should have.
        """
        if start >= stop:
            return ()
        total = torch.zeros(stop - start, dtype=torch.int64)
        # Keys and values apart: a model may give them different sizes.
        for name in ("keys", "values"):
            tensors = [getattr(layer, name) for layer in self.slot_layers]
            weights = self._fingerprint_weights(name, tensors)
            elements = tensors[0][0, :, 0].numel() * (stop - start)
            at_once = max(1, _FINGERPRINT_ELEMENTS // elements)
            integer = torch.int32 if tensors[0].element_size() == 4 else torch.int16
            # Only layers on one device can be stacked. Sums of whole numbers do not depend on the grouping.
            for device, layers in _by_device(tensors).items():
                for first in range(0, len(layers), at_once):
                    columns = [tensors[layer][0, :, start:stop] for layer in layers[first : first + at_once]]
                    bits = torch.stack(columns).contiguous().view(integer).to(torch.int32)
                    total += (bits * weights[device][first : first + at_once]).sum(dim=(0, 1, 3)).cpu()
        return tuple(f"{value & 0xFFFFFFFFFFFF:012x}" for value in total.tolist())

    def _fingerprint_weights(self, name: str, tensors: Sequence[torch.Tensor]) -> dict[torch.device, torch.Tensor]:
        """Device -> [its layers, heads, 1, head size], odd and fixed, so that equal bits give equal fingerprints in any
        run, however the layers are spread."""
        if name not in self._weights:
            generator = torch.Generator().manual_seed(0x5EED + (name == "values"))
            shape = (len(self.slot_layers), tensors[0].shape[1], 1, tensors[0].shape[3])
            weights = torch.randint(-(2**31), 2**31, shape, generator=generator).to(torch.int32) | 1
            self._weights[name] = {device: weights[layers].to(device) for device, layers in _by_device(tensors).items()}
        return self._weights[name]


def _by_device(tensors: Sequence[torch.Tensor]) -> dict[torch.device, list[int]]:
    """Device -> indices of the tensors on it, in order."""
    found: dict[torch.device, list[int]] = {}
    for index, tensor in enumerate(tensors):
        found.setdefault(tensor.device, []).append(index)
    return found


def _empty(like: torch.Tensor, capacity: int) -> torch.Tensor:
    """Zeros [1, heads, capacity, head size]: never garbage, so that a stale read shows the same way every time."""
    _, heads, _, size = like.shape
    return torch.zeros(1, heads, capacity, size, dtype=like.dtype, device=like.device)
