"""What is kept of whole rows: entropies, Var(log p), log-sum-exp, the top entries. numpy only."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from specviz.recorder.arrays import Array
from specviz.trace.schema import Row, Sampling, TopK

TOP = 10
"""Entries of a row that are kept, as specviz's own engine keeps them."""
_NUCLEUS_GUESS = 256
"""Most nuclei are smaller than this, so a row is sorted in full only when one is not."""
_BLOCK = 128
"""Entries of a row whose largest one :func:`top` looks at first."""


def process(logits: Array, sampling: Sampling) -> Array:
    """Turn logits [n, V] into probabilities [n, V], as :func:`specviz.sampling.process` does with tensors."""
    best = logits.max(-1, keepdims=True)
    if sampling.temperature == 0:
        greedy = np.zeros_like(logits)
        greedy[np.arange(len(logits)), logits.argmax(-1)] = 1
        return greedy
    # Shifted first: at a tiny temperature logits / temperature would overflow, and the softmax with it.
    probs = logits - best
    if sampling.temperature != 1:
        with np.errstate(over="ignore"):  # to -inf, which is what a temperature near 0 means
            probs /= max(sampling.temperature, float(np.finfo(logits.dtype).tiny))
    np.exp(probs, out=probs)
    probs /= probs.sum(-1, keepdims=True)
    for i, row in enumerate(probs):
        if 0 < sampling.top_k < row.size:
            probs[i] = _kept(row, top(row, sampling.top_k))
        if sampling.top_p < 1:
            probs[i] = _kept(probs[i], _nucleus(probs[i], sampling.top_p))
        if sampling.eta_cutoff > 0:
            entropy = moments(probs[i])[0]
            least = min(sampling.eta_cutoff, math.sqrt(sampling.eta_cutoff) * math.exp(-entropy))
            keep = np.flatnonzero(probs[i] >= least)
            probs[i] = _kept(probs[i], keep if keep.size else probs[i].argmax()[None])
    return probs


def _kept(row: Array, ids: Array) -> Array:
    kept = np.zeros_like(row)
    kept[ids] = row[ids]
    kept /= kept.sum()
    return kept


def _nucleus(row: Array, top_p: float) -> Array:
    """The smallest set of most likely tokens whose mass reaches ``top_p``."""
    ids = top(row, min(_NUCLEUS_GUESS, row.size))
    if ids.size < row.size and row[ids].sum() < top_p:
        ids = np.argsort(-row, kind="stable")
    before = np.cumsum(row[ids]) - row[ids]
    return ids[before < top_p]


def top(row: Array, k: int) -> npt.NDArray[np.intp]:
    """Indices of the k largest entries of a row [V], in falling order; of equal entries any may be taken."""
    k = min(k, row.size)
    whole = row.size // _BLOCK * _BLOCK
    candidates: npt.NDArray[np.intp] | None = None
    if row.size >= 4 * k * _BLOCK:
        # The k largest lie in the k blocks with the largest maxima: a long row is read once.
        maxima = row[:whole].reshape(-1, _BLOCK).max(-1)
        blocks = np.argpartition(maxima, -k)[-k:]
        columns = (blocks[:, None] * _BLOCK + np.arange(_BLOCK)).ravel()
        candidates = np.concatenate((columns, np.arange(whole, row.size)))
    values = row if candidates is None else row[candidates]
    best = np.argpartition(values, -k)[-k:] if k < values.size else np.arange(values.size)
    best = best[np.argsort(-values[best], kind="stable")]
    return best if candidates is None else candidates[best]


def moments(row: Array, memory: Array | None = None) -> tuple[float, float]:
    """Entropy of a row [V], in nats, and the variance of log p under it, in square nats.

    Args:
        memory: [V], overwritten: fresh memory for each row would cost more than the logarithms.
    """
    logs = np.maximum(row, np.finfo(row.dtype).tiny, out=memory)
    np.log(logs, out=logs)
    entropy = -float(np.dot(row, logs))
    logs += row.dtype.type(entropy)  # centred: the variance is no difference of two large numbers then
    np.multiply(logs, logs, out=logs)
    return abs(entropy), abs(float(np.dot(row, logs)))


def log_sum_exp(row: Array, memory: Array | None = None) -> float:
    """Of logits [V]; -inf where all are."""
    best = row.max()
    if not np.isfinite(best):
        return float(best)
    shifted = np.subtract(row, best, out=memory)
    np.exp(shifted, out=shifted)
    return float(best) + math.log(float(shifted.sum()))


def summaries(probs: Array | None, logits: Array | None, vocabulary: Array | None = None) -> list[Row]:
    """Record n rows [n, V] of one model; either may be None.

    Args:
        vocabulary: [V], the target's id of each column; None: the column itself.
    """
    given = probs if probs is not None else logits
    assert given is not None
    memory = np.empty_like(given[0]) if len(given) else None
    return [
        _summary(None if probs is None else probs[i], None if logits is None else logits[i], vocabulary, memory)
        for i in range(len(given))
    ]


def _summary(p: Array | None, z: Array | None, vocabulary: Array | None, memory: Array | None) -> Row:
    fits = memory if z is None or p is None or z.dtype == p.dtype else None
    entropy, variance = (None, None) if p is None else moments(p, fits)
    processed = None if p is None else top_of(p, vocabulary)
    if z is None:
        return Row(entropy=entropy, raw=None, processed=processed, variance=variance)
    total = log_sum_exp(z, fits)
    ids = top(z, TOP)
    raw = _top(ids, np.exp(z[ids] - total), vocabulary)
    return Row(
        entropy=entropy,
        raw=raw,
        processed=processed,
        top_logit=_finite(_short(float(z[ids[0]]))),
        log_sum_exp=_finite(total),
        variance=variance,
    )


def top_of(row: Array, vocabulary: Array | None = None) -> TopK:
    """The largest entries of probabilities [V]."""
    ids = top(row, TOP)
    return _top(ids, row[ids], vocabulary)


def _top(ids: Array, probs: Array, vocabulary: Array | None) -> TopK:
    """The entries of positive probability."""
    kept = probs > 0
    named: list[int] = (ids if vocabulary is None else vocabulary[ids])[kept].tolist()
    return TopK(ids=tuple(named), probs=tuple(_short_probability(p) for p in probs[kept].tolist()))


def rank(row: Array, column: int) -> int:
    """How many entries of a row [V] are larger than the one of this column."""
    return int(np.count_nonzero(row > row[column]))


def columns_of(tokens: Sequence[int], vocabulary: Array | None, width: int) -> list[int | None]:
    """The column of each token in rows of ``width`` columns; None where they have none for it."""
    if vocabulary is None:
        return [token if 0 <= token < width else None for token in tokens]
    order = np.argsort(vocabulary, kind="stable")
    places = np.searchsorted(vocabulary, tokens, sorter=order)
    found = [int(order[place]) if place < len(order) else -1 for place in places]
    return [
        column if column >= 0 and vocabulary[column] == t else None for column, t in zip(found, tokens, strict=True)
    ]


def _finite(x: float) -> float | None:
    return x if math.isfinite(x) else None


def _short(x: float) -> float:
    """Rounded to six digits, for rows that are shown; numbers that decisions compare are recorded in full."""
    return float(f"{x:.6g}")


def _short_probability(p: float) -> float:
    """A probability below 1 does not become 1."""
    short = min(_short(p), 1.0)
    return 0.999999 if short == 1 > p else short
