"""Luck as an argument.

Nothing in specviz calls a global random function. Whoever needs luck asks a :class:`Dice` under a :class:`Key` that
says what the luck is for. The seeded dice computes its answer from the key alone, so a run replays on any device, all
verifiers of a step meet the same coins, and changing one coin leaves every other as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch

from specviz.transfers import read, upload

Purpose = Literal["draft", "accept", "bonus"]
Words = npt.NDArray[np.uint64]
_BLOCK = 128
"""Entries of a row that are added up together before a draw looks at single ones."""
_ROWS_AT_ONCE = 16
"""Rows whose float64 copies exist at one time: few stay in the processor's caches."""
_PURPOSES: dict[Purpose, int] = {"draft": 0, "accept": 1, "bonus": 2}
_MANY = 64
"""From so many keys on their uniforms are computed side by side."""
_ROUNDS = 10
_FACTORS = 0xD2E7470EE14C6C93, 0xCA5A826395121157
_KEY_STEPS = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B
_64_BITS = (1 << 64) - 1


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


class Scanned(NamedTuple):
    """Draws [m] on a device.

    Attributes:
        tokens: their indices.
        weights: what is there. A parallel sum may err by an ulp and meet an entry of weight 0: the draw then belongs to
            another token, and :meth:`SeededDice.draw` says which.
        points: what the cumulated weights first exceed there; 0 for a row without any weight, which has no token.
    """

    tokens: torch.Tensor
    weights: torch.Tensor
    points: torch.Tensor


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
        return open_uniform(_philox(_counter(key), self.seed))

    def uniforms(self, keys: Sequence[Key]) -> list[float]:
        """The float64s that belong to ``keys``."""
        if len(keys) < _MANY:
            return [self.uniform(key) for key in keys]
        return [open_uniform(bits) for bits in _philox_of_many([_counter(key) for key in keys], self.seed)]

    def accept(self, key: Key, threshold: float) -> Coin:
        """Strictly less: a coin never passes threshold 0 and always passes threshold 1."""
        uniform = self.uniform(key)
        return Coin(uniform < threshold, uniform)

    def draw(self, keys: Sequence[Key], weights: torch.Tensor) -> list[Draw]:
        """Inverse CDF, in float64, in the order of the vocabulary."""
        uniforms = self.uniforms(keys)
        return [Draw(i, u) for i, u in zip(inverse_cdf(uniforms, weights), uniforms, strict=True)]

    def scan(self, keys: Sequence[Key], weights: torch.Tensor) -> Scanned:
        """The tokens of :meth:`draw`, found on the device of ``weights`` [m, V], which nobody waits for.

        One cumulative sum and a search: few operations, where the CPU adds up blocks first. The last digits of a sum
        differ between the two, and so would a token whose coin falls between them.
        """
        sums = weights.cumsum(-1, dtype=torch.float64)
        points = upload(self.uniforms(keys), weights.device, torch.float64)[:, None] * sums[:, -1:]
        tokens = torch.searchsorted(sums, points, right=True).clamp_(max=weights.shape[-1] - 1)
        return Scanned(tokens[:, 0], weights.gather(-1, tokens)[:, 0], points[:, 0])


def open_uniform(bits: int) -> float:
    """64 random bits -> a float64 in the open interval (0, 1)."""
    # 52 bits and a half: with 53 the largest value would round to 1.0, and then even threshold 1 could fail.
    return ((bits >> 12) + 0.5) * 2.0**-52


def _counter(key: Key) -> tuple[int, int, int, int]:
    # numpy counts once before its first number, and the coins of recorded traces are those of numpy's generator.
    return key.i + 1, _PURPOSES[key.purpose], key.node, key.step


def _philox(counter: tuple[int, int, int, int], seed: int) -> int:
    """The first 64 bits of Philox4x64-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").

    ``numpy.random.Philox(key=seed, counter=...)`` gives the same after four times as long.
    """
    a, b, c, d = counter
    k, m = seed & _64_BITS, seed >> 64
    for _ in range(_ROUNDS):
        left, right = _FACTORS[0] * a, _FACTORS[1] * c
        a, b, c, d = (right >> 64) ^ b ^ k, right & _64_BITS, (left >> 64) ^ d ^ m, left & _64_BITS
        k, m = (k + _KEY_STEPS[0]) & _64_BITS, (m + _KEY_STEPS[1]) & _64_BITS
    return a


def _philox_of_many(counters: Sequence[tuple[int, int, int, int]], seed: int) -> list[int]:
    """:func:`_philox` of each counter."""
    a, b, c, d = np.array(counters, dtype=np.uint64).T
    k, m = seed & _64_BITS, seed >> 64
    for _ in range(_ROUNDS):
        (left, left_low), (right, right_low) = _product(a, _FACTORS[0]), _product(c, _FACTORS[1])
        a, b, c, d = right ^ b ^ np.uint64(k), right_low, left ^ d ^ np.uint64(m), left_low
        k, m = (k + _KEY_STEPS[0]) & _64_BITS, (m + _KEY_STEPS[1]) & _64_BITS
    found: list[int] = a.tolist()
    return found


def _product(x: Words, factor: int) -> tuple[Words, Words]:
    """The upper and the lower 64 bits of ``x * factor``, put together from products of 32 bits."""
    half, mask = np.uint64(32), np.uint64(0xFFFFFFFF)
    x_high, x_low, high, low = x >> half, x & mask, np.uint64(factor >> 32), np.uint64(factor & 0xFFFFFFFF)
    one, other = x_low * high, x_high * low
    carry = ((x_low * low) >> half) + (one & mask) + (other & mask)
    return x_high * high + (one >> half) + (other >> half) + (carry >> half), x * np.uint64(factor)


def inverse_cdf(uniforms: Sequence[float], weights: torch.Tensor) -> list[int]:
    """The index at which the cumulated ``weights`` [m, V] first exceed ``uniform * total``, row by row.

    First the block of the vocabulary in which that happens, then the place inside: a sum is cheaper than a cumulation.
    """
    if weights.device.type == "mps":  # has no float64
        weights = weights.cpu()
    length = weights.shape[-1]
    at_once = _ROWS_AT_ONCE if weights.device.type == "cpu" else len(weights)
    blocks = torch.cat([_block_sums(part) for part in weights.split(at_once)]).cumsum(-1)
    total = blocks[:, -1:]
    points = upload(uniforms, weights.device, torch.float64)[:, None] * total
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
    tokens, there = read(found[:, 0], weights.gather(-1, found)[:, 0])
    drawn = zip(tokens.tolist(), there.tolist(), strict=True)
    return [i if weight else _next_positive(weights[row], i) for row, (i, weight) in enumerate(drawn)]


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
