"""Logits -> the distribution that is sampled from, verified against and shown.

The order is temperature, top-k, top-p, eta cutoff. All of them keep the order of the tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from specviz.trace.schema import Sampling
from specviz.transfers import upload

_NUCLEUS_GUESS = 256
"""Most nuclei are smaller than this, so the vocabulary is sorted in full only when one is not."""
_ROWS_AT_ONCE = 4
"""So few rows stay in a processor's caches from one operation to the next."""
_BLOCK = 128
"""Entries of a row whose largest one :func:`top_k` looks at first."""


def process(
    logits: torch.Tensor, sampling: Sampling, after: Callable[[torch.Tensor], torch.Tensor] | None = None
) -> torch.Tensor:
    """Turn logits [n, V] into probabilities [n, V] in the same dtype; rows sum to 1.

    Args:
        after: what is made of the probabilities between top-p and the eta cutoff, where they are no single token.
    """
    if sampling.temperature == 0:
        return torch.zeros_like(logits).scatter_(-1, logits.argmax(-1, keepdim=True), 1.0)
    if sampling.temperature != 1:
        # Shifted first: at a tiny temperature logits / temperature would overflow, and the softmax with it.
        temperature = max(sampling.temperature, torch.finfo(logits.dtype).tiny)
        logits = (logits - logits.amax(-1, keepdim=True)) / temperature
    probs = torch.softmax(logits, dim=-1)
    if 0 < sampling.top_k < probs.shape[-1]:
        probs = _keep_top_k(probs, sampling.top_k)
    if sampling.top_p < 1:
        probs = _keep_top_p(probs, sampling.top_p)
    if after is not None:
        probs = after(probs)
    if sampling.eta_cutoff > 0:
        probs = eta_cutoff(probs, sampling.eta_cutoff)
    return probs


def entropy(probs: torch.Tensor) -> torch.Tensor:
    """Shannon entropy in nats of probabilities [..., V] -> [...]."""
    if probs.dim() > 1 and probs.device.type == "cpu":
        # Fresh memory for all rows would cost more than the logarithms.
        memory = torch.empty_like(probs[:_ROWS_AT_ONCE])
        return torch.cat([_entropy(some, memory[: len(some)]) for some in probs.split(_ROWS_AT_ONCE)])
    return _entropy(probs, torch.empty_like(probs))


def _entropy(probs: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
    # torch.special.entr is one kernel, but on the CPU three times as slow as these.
    return torch.clamp(probs, min=torch.finfo(probs.dtype).tiny, out=memory).log_().mul_(probs).sum(-1).neg_()


def argmax(values: torch.Tensor) -> torch.Tensor:
    """The first index of the largest entry of every row [n, V] -> [n]: ``values.argmax(-1)``, on the CPU faster."""
    length = values.shape[-1]
    if values.device.type != "cpu" or length % _BLOCK:
        return values.argmax(-1)
    blocks = values.unflatten(-1, (-1, _BLOCK))
    best = blocks.amax(-1).argmax(-1)
    return best * _BLOCK + blocks[torch.arange(len(values)), best].argmax(-1)


def top_k(values: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The k largest entries of every row [..., V] and their indices, both [..., k], in falling order.

    ``torch.topk`` reads a long row four times as slowly on the CPU as the largest entries of its blocks are found, and
    the k largest of all lie in the k blocks with the largest maxima. Of equal entries any one may be taken.
    """
    length = values.shape[-1]
    whole = length // _BLOCK * _BLOCK
    if values.device.type != "cpu" or length < 4 * k * _BLOCK:
        top = values.topk(k, dim=-1)
        return top.values, top.indices
    blocks = values[..., :whole].unflatten(-1, (-1, _BLOCK))
    best = blocks.amax(-1).topk(k, dim=-1).indices
    columns = (best[..., None] * _BLOCK + torch.arange(_BLOCK)).flatten(-2)
    if whole < length:
        rest = torch.arange(whole, length).expand(*columns.shape[:-1], length - whole)
        columns = torch.cat((columns, rest), dim=-1)
    top = values.gather(-1, columns).topk(k, dim=-1)
    return top.values, columns.gather(-1, top.indices)


def take_rows(values: torch.Tensor, rows: Sequence[int]) -> torch.Tensor:
    """A copy of these rows of ``values`` [n, V] -> [m, V]."""
    # values[rows] is the same, four times as slow on the CPU.
    return values.index_select(0, upload(rows, values.device, torch.long))


def eta_cutoff(probs: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Eta sampling (Hewitt et al. 2022, eq. 7): drop p < min(eps, sqrt(eps) exp(-H)), keep the best, renormalize.

    Not the eta *verifier*, which is typical acceptance (Medusa).
    """
    eta = torch.clamp(epsilon**0.5 * torch.exp(-entropy(probs)), max=epsilon)
    return keep_and_renormalize(probs, probs >= eta[..., None])


def keep_and_renormalize(probs: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
    """Zero what is not kept and rescale to 1; the most likely token is always kept."""
    best = torch.zeros_like(keep).scatter_(-1, probs.argmax(-1, keepdim=True), True)
    kept = torch.where(keep | best, probs, torch.zeros((), dtype=probs.dtype, device=probs.device))
    return kept / kept.sum(-1, keepdim=True)


def _keep_top_k(probs: torch.Tensor, k: int) -> torch.Tensor:
    top, ids = top_k(probs, k)
    kept = torch.zeros_like(probs).scatter_(-1, ids, top)
    return kept / kept.sum(-1, keepdim=True)


def _keep_top_p(probs: torch.Tensor, top_p: float) -> torch.Tensor:
    """Keep the smallest set of most likely tokens whose mass reaches ``top_p``."""
    count = min(_NUCLEUS_GUESS, probs.shape[-1])
    top, ids = probs.topk(count, dim=-1)
    if count < probs.shape[-1] and bool((top.sum(-1) < top_p).any()):
        top, ids = probs.sort(dim=-1, descending=True)
    before = top.cumsum(-1) - top
    top = torch.where(before < top_p, top, torch.zeros_like(top))
    kept = torch.zeros_like(probs).scatter_(-1, ids, top)
    return kept / kept.sum(-1, keepdim=True)
