"""Luck as an argument.

Nothing in specviz calls a global random function. Whoever needs luck asks a :class:`Dice` under a :class:`Key` that
says what the luck is for. The seeded dice computes its answer from the key alone, so a run replays on any device, all
verifiers of a step meet the same coins, and changing one coin leaves every other as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

import numpy as np
import torch

Purpose = Literal["draft", "accept", "bonus"]
_BLOCK = 128
"""Entries of a row that are added up together before a draw looks at single ones."""
_ROWS_AT_ONCE = 16
"""Rows whose float64 copies exist at one time: few stay in the processor's caches."""
_PURPOSES: dict[Purpose, int] = {"draft": 0, "accept": 1, "bonus": 2}


class Key(NamedTuple):
    """What a piece of luck is for: step of the run, node of its tree, purpose, and a running number."""

    step: int
    node: int
    purpose: Purpose
    i: int = 0


class Coin(NamedTuple):
    """A decided threshold; ``uniform`` is None where the dice enumerates instead of drawing."""

    accepted: bool
    uniform: float | None


class Draw(NamedTuple):
    """A drawn index into a row of weights; ``uniform`` as in :class:`Coin`."""

    token: int
    uniform: float | None


class Dice(Protocol):
    """The one seam for luck."""

    def accept(self, key: Key, threshold: float) -> Coin:
        """True with probability ``min(1, max(0, threshold))``; never at threshold 0."""
        ...

    def draw(self, keys: Sequence[Key], weights: torch.Tensor) -> list[Draw]:
        """One index per row of ``weights`` [m, V] (finite, >= 0, any positive sum), never one of weight 0."""
        ...


class SeededDice:
    """Counter-based luck: Philox keyed by the seed, counted by the key, in the open interval (0, 1)."""

    def __init__(self, seed: int):
        self.seed = seed

    def uniform(self, key: Key) -> float:
        """The float64 in (0, 1) that belongs to ``key``."""
        counter = np.array([key.i, _PURPOSES[key.purpose], key.node, key.step], dtype=np.uint64)
        return open_uniform(int(np.random.Philox(key=self.seed, counter=counter).random_raw()))

    def accept(self, key: Key, threshold: float) -> Coin:
        """Strictly less: a coin never passes threshold 0 and always passes threshold 1."""
        uniform = self.uniform(key)
        return Coin(uniform < threshold, uniform)

    def draw(self, keys: Sequence[Key], weights: torch.Tensor) -> list[Draw]:
        """Inverse CDF, in float64, in the order of the vocabulary."""
        uniforms = [self.uniform(key) for key in keys]
        return [Draw(i, u) for i, u in zip(inverse_cdf(uniforms, weights), uniforms, strict=True)]


def open_uniform(bits: int) -> float:
    """64 random bits -> a float64 in the open interval (0, 1)."""
    # 52 bits and a half: with 53 the largest value would round to 1.0, and then even threshold 1 could fail.
    return ((bits >> 12) + 0.5) * 2.0**-52


def inverse_cdf(uniforms: Sequence[float], weights: torch.Tensor) -> list[int]:
    """The index at which the cumulated ``weights`` [m, V] first exceed ``uniform * total``, row by row.

    First the block of the vocabulary in which that happens, then the place inside: a sum is cheaper than a cumulation.
    """
    if weights.device.type == "mps":  # has no float64
        weights = weights.cpu()
    length = weights.shape[-1]
    blocks = torch.cat([_block_sums(part) for part in weights.split(_ROWS_AT_ONCE)]).cumsum(-1)
    total = blocks[:, -1:]
    points = torch.tensor(uniforms, dtype=torch.float64, device=weights.device)[:, None] * total
    # The product may round up to the total itself, beyond which there is no index.
    points = torch.minimum(points, torch.nextafter(total, torch.zeros_like(total)))
    block = torch.searchsorted(blocks, points, right=True)
    before = torch.where(block > 0, blocks.gather(-1, (block - 1).clamp(min=0)), torch.zeros_like(total))
    columns = block * _BLOCK + torch.arange(_BLOCK, device=weights.device)
    inside = weights.gather(-1, columns.clamp(max=length - 1)).double().masked_fill_(columns >= length, 0.0)
    # Added up in another order, a block may end an ulp before the point; then its last index is meant.
    place = torch.searchsorted(inside.cumsum(-1).add_(before), points, right=True).clamp_(max=_BLOCK - 1)
    found = (block * _BLOCK + place).clamp_(max=length - 1)
    # Such a place, or a step of one ulp that a parallel scan (CUDA) may leave, can have the weight 0; the draw then
    # belongs to the next token.
    empty = (weights.gather(-1, found)[:, 0] == 0).tolist()
    indices = [int(i) for i in found[:, 0].tolist()]
    return [_next_positive(weights[row], i) if empty[row] else i for row, i in enumerate(indices)]


def _block_sums(weights: torch.Tensor) -> torch.Tensor:
    """[m, blocks], the weights [m, V] of every block of the vocabulary, in float64."""
    length = weights.shape[-1]
    whole = length // _BLOCK * _BLOCK
    sums = weights[:, :whole].unflatten(-1, (whole // _BLOCK, _BLOCK)).double().sum(-1)
    if whole == length:
        return sums
    return torch.cat((sums, weights[:, whole:].double().sum(-1, keepdim=True)), dim=-1)


def _next_positive(weights: torch.Tensor, start: int) -> int:
    """The first index from ``start`` on, and then from 0, that has a weight."""
    positive = weights.nonzero()[:, 0].tolist()
    return next((i for i in positive if i > start), positive[0])
