"""Fingerprints of another engine's KV cache, before and after a block of its own code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from specviz.recorder.arrays import WrongCall, snapshot
from specviz.recorder.raw_step import CacheReading

Layers = list[tuple[Any, Any]]
"""Of each layer its keys and values."""


@dataclass(frozen=True)
class Reading:
    """One look at a cache: how many slots it has, and the fingerprints of those from ``start`` on."""

    start: int
    length: int
    fingerprints: Callable[[], tuple[str, ...]]
    ready: bool


class CacheReader:
    """Looks at the caches of one recorder; keeps what fingerprints of them need from step to step."""

    def __init__(self) -> None:
        self._of_shape: Any = None

    def read(self, cache: Any, start: int, row: int) -> Reading:
        """Args:
            cache: see :meth:`specviz.recorder.recorder.StepRecord.cache`.
            start: the first slot that is looked at.
            row: of the batch.

        Raises:
            WrongCall: for what has no keys and values [batch, heads, slots, size].
        """
        keys, values, length = _slots(cache, row)
        if not keys or length <= start:
            return Reading(start, length, tuple, True)
        from specviz.fingerprints import Fingerprints, texts  # tensors are there, so torch is

        if self._of_shape is None:
            self._of_shape = Fingerprints()
        sums = self._of_shape.sums(*([tensor[:, start:length] for tensor in some] for some in (keys, values)))
        taken = [snapshot(total) for total in sums]
        return Reading(start, length, lambda: texts([one.get() for one in taken]), all(one.ready for one in taken))


def change(before: Reading, after: Reading) -> CacheReading:
    """What was read, as the checks take it."""
    return CacheReading(before.start, before.length, after.length, before.fingerprints(), after.fingerprints())


def moves(reading: CacheReading) -> tuple[tuple[tuple[int, int], ...], tuple[int, ...]]:
    """(from slot, to slot) of slots that changed place, and the slots whose content is nowhere any more.

    Found by fingerprints alone. Of equal ones (siblings with one token) the one that stayed where it was, else the
    first, counts as the one that was moved.
    """
    where: dict[str, list[int]] = {}
    for offset, fingerprint in enumerate(reading.before):
        where.setdefault(fingerprint, []).append(offset)
    stayed = {i for i, pair in enumerate(zip(reading.before, reading.after, strict=False)) if pair[0] == pair[1]}
    moved: list[tuple[int, int]] = []
    kept = set(stayed)
    for to, fingerprint in enumerate(reading.after):
        found = where.get(fingerprint, [])
        if to not in stayed and found:
            # Of a slot that was copied, and not cut off where it was, all copies come from there.
            source = next((offset for offset in found if offset not in kept), found[0])
            kept.add(source)
            moved.append((reading.start + source, reading.start + to))
    dropped = (reading.start + offset for offset in range(len(reading.before)) if offset not in kept)
    return tuple(moved), tuple(dropped)


def _slots(cache: Any, row: int) -> tuple[list[Any], list[Any], int]:
    """Keys and values [heads, slots, size] of every layer, and how many slots are in use."""
    used: int | None = None
    if callable(getattr(cache, "get_seq_length", None)):
        used = int(cache.get_seq_length())
    layers = [(_of_row(keys, row), _of_row(values, row)) for keys, values in _layers(cache)]
    if not layers:
        return [], [], 0
    lengths = [keys.shape[1] for keys, _ in layers]
    # A layer with a sliding window has other slots than the rest, of which nothing is said by their number.
    full = [layer for layer, length in zip(layers, lengths, strict=True) if length == max(lengths)]
    length = max(lengths) if used is None else min(used, max(lengths))
    return [keys for keys, _ in full], [values for _, values in full], length


def _layers(cache: Any) -> Layers:
    if hasattr(cache, "layers"):
        found = [(layer.keys, layer.values) for layer in cache.layers if getattr(layer, "keys", None) is not None]
    elif hasattr(cache, "key_cache"):
        found = [*zip(cache.key_cache, cache.value_cache, strict=True)]
    elif callable(cache):
        return _layers(cache())
    elif isinstance(cache, Sequence):
        found = [(layer[0], layer[1]) for layer in cache]
    else:
        raise WrongCall(f"a {type(cache).__name__} has no layers with keys and values; give a function that lists them")
    return [(_tensor(keys), _tensor(values)) for keys, values in found]


def _tensor(values: Any) -> Any:
    if hasattr(values, "detach"):
        return values.detach()
    import torch

    return torch.as_tensor(values)


def _of_row(tensor: Any, row: int) -> Any:
    if tensor.dim() == 4 and row < tensor.shape[0]:
        return tensor[row]
    if tensor.dim() == 3 and row == 0:
        return tensor
    raise WrongCall(
        f"keys and values of shape {list(tensor.shape)} are not [batch, heads, slots, size] with a row {row}"
    )
