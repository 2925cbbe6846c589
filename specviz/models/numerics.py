"""How far two rows of logits, or two caches, are apart: differences relative to the size of the numbers compared.

A cache and a recompute of it differ by rounding, and rounding is relative to the numbers that were added up. A few
entries that are larger than all others by orders of magnitude must not set the measure for those.
"""

from __future__ import annotations

import math

import torch

FILLER = 69.0
"""An entry so far below its row's largest logit has a probability under 1e-30 at temperature 1. It rules a token out,
one that is suppressed or pads the vocabulary; by -inf, by -1e4 or by the format's smallest number is the same."""
STANDS_OUT = 16.0
"""A feature or a slot whose largest value is so many times that of the middle one is measured by itself. Of the default
pair none is above 9.1; biases of keys and attention sinks reach hundreds in others."""
_SMALLEST = 1e-30


def logit_difference(got: torch.Tensor, expected: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    """The largest difference of two rows of logits [..., V], relative to the largest absolute value in ``expected``.

    Fillers count neither for the difference nor for the measure where both rows have one; see :data:`FILLER`. What is
    left beside them may be a single entry next to 0, which says nothing of the rounding in it: such a row is measured
    by 1 at least.

    Args:
        temperature: that the logits are divided by later; above 1 fewer entries are fillers.

    Returns:
        [], not read from its device. Infinity where the rows cannot be compared: one of them has NaN, +inf or nothing
        but -inf, or an entry is -inf in one of them and no filler in the other.
    """
    best, due = got.amax(-1, keepdim=True), expected.amax(-1, keepdim=True)
    # The maximum is NaN or infinite exactly when no distribution can be made of a row.
    comparable = best.isfinite().all() & due.isfinite().all()
    reach = FILLER * max(1.0, temperature)
    measured = expected > due - reach
    compared = measured | (got > best - reach)
    difference = torch.where(compared, (got - expected).abs(), 0.0).amax(-1)
    size = torch.where(measured, expected.abs(), 0.0).amax(-1)
    least = torch.where(measured.all(-1), _SMALLEST, 1.0)
    return torch.where(comparable, (difference / torch.maximum(size, least)).max(), math.inf)


def size_of(states: torch.Tensor) -> torch.Tensor:
    """What differences in one layer's keys or values [heads, n, size] are relative to, for every entry.

    The layer's largest absolute value; but a feature or a slot that stands out is left out of that and measured by
    its own largest value: see :data:`STANDS_OUT`.

    Returns:
        [heads, n, size], float32, positive. What is not finite is as if it were 0.
    """
    sizes = states.abs().float()
    sizes = torch.where(sizes.isfinite(), sizes, 0.0)
    slots = sizes.amax(dim=(0, 2))
    sinks = slots > STANDS_OUT * slots.median()
    features = torch.where(sinks[:, None], 0.0, sizes).amax(1)
    far = features > STANDS_OUT * features.median()
    ordinary = torch.where(far, 0.0, features).max()
    by_feature = torch.where(far, features, ordinary)[:, None]
    by_slot = torch.where(sinks, slots, 0.0)[:, None]
    return torch.maximum(by_feature, by_slot).clamp(min=_SMALLEST)


def slot_differences(got: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    """[n]: the largest difference in every slot of keys or values, relative to :func:`size_of`.

    Infinity where there is NaN, or an infinity that the other side has not.

    Args:
        got: [heads, n, size].
        expected: the same, with n slots or more.
    """
    slots = got.shape[1]
    sizes, expected = size_of(expected)[:, :slots], expected[:, :slots]
    difference = (expected - got).abs().float() / sizes
    difference = torch.where(expected == got, 0.0, difference)  # also for infinities, whose difference is NaN
    return difference.nan_to_num(nan=math.inf, posinf=math.inf).amax(dim=(0, 2))
