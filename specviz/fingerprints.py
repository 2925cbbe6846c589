"""Fingerprints of cache slots: one hash per slot, of the bits of its keys and values in all layers.

A slot that is moved keeps its fingerprint, so a move that should have happened and did not shows as another fingerprint
than expected. Equal bits give equal fingerprints in every run, whichever devices the layers are on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

_ELEMENTS = 1 << 22
"""Most elements that are copied at a time; it bounds the working memory."""
_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int32}
"""Bytes of a number -> what its bits are read as."""


class Fingerprints:
    """Keeps the weights of one cache's shape from call to call."""

    def __init__(self) -> None:
        self._weights: dict[tuple[object, ...], dict[torch.device, torch.Tensor]] = {}

    def sums(self, keys: Sequence[torch.Tensor], values: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """What :func:`texts` makes fingerprints of: one tensor [slots] for each device, on it.

        Args:
            keys, values: of every layer [heads, slots, size], the same slots of each.
        """
        sums: dict[torch.device, torch.Tensor] = {}
        # Keys and values are hashed apart because a model may give them different sizes.
        for seed, tensors in enumerate((keys, values)):
            for like in _alike(tensors):
                self._add(sums, seed, [tensors[layer] for layer in like])
        return list(sums.values())

    def _add(self, sums: dict[torch.device, torch.Tensor], seed: int, tensors: Sequence[torch.Tensor]) -> None:
        """Layers of one shape and number format."""
        integer = _INTEGERS[tensors[0].element_size()]
        heads, slots, size = tensors[0].shape
        size *= max(1, tensors[0].element_size() // 4)  # of 64 bits both halves
        weights = self._weights_of(seed, (len(tensors), heads, 1, size), tensors)
        at_once = max(1, _ELEMENTS // max(1, heads * slots * size))
        # Only layers on one device can be stacked. Integer sums do not depend on how the layers are grouped.
        for device, layers in by_device(tensors).items():
            for first in range(0, len(layers), at_once):
                columns = [tensors[layer] for layer in layers[first : first + at_once]]
                bits = torch.stack(columns).contiguous().view(integer).to(torch.int32)
                part = (bits * weights[device][first : first + at_once]).sum(dim=(0, 1, 3))
                sums[device] = sums[device] + part if device in sums else part

    def _weights_of(
        self, seed: int, shape: tuple[int, ...], tensors: Sequence[torch.Tensor]
    ) -> dict[torch.device, torch.Tensor]:
        """Device -> [its layers, heads, 1, head size]: odd numbers from a fixed seed."""
        key = (seed, shape, tuple(tensor.device for tensor in tensors))
        if key not in self._weights:
            generator = torch.Generator().manual_seed(0x5EED + seed)
            weights = torch.randint(-(2**31), 2**31, shape, generator=generator).to(torch.int32) | 1
            self._weights[key] = {
                device: weights[layers].to(device, non_blocking=True) for device, layers in by_device(tensors).items()
            }
        return self._weights[key]


def texts(sums: Sequence[torch.Tensor] | Sequence[npt.NDArray[np.int64]]) -> tuple[str, ...]:
    """Fingerprints as a trace has them, of sums on the CPU."""
    total = np.sum([np.asarray(some) for some in sums], axis=0)
    return tuple(f"{value & 0xFFFFFFFFFFFF:012x}" for value in total.tolist())


def by_device(tensors: Sequence[torch.Tensor]) -> dict[torch.device, list[int]]:
    """Device -> indices of the tensors on it, in order."""
    found: dict[torch.device, list[int]] = {}
    for index, tensor in enumerate(tensors):
        found.setdefault(tensor.device, []).append(index)
    return found


def _alike(tensors: Sequence[torch.Tensor]) -> list[list[int]]:
    """Indices of tensors of one shape and number format."""
    found: dict[tuple[object, ...], list[int]] = {}
    for index, tensor in enumerate(tensors):
        found.setdefault((tensor.shape, tensor.dtype), []).append(index)
    return list(found.values())
