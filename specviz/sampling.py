"""Logits -> the distribution that is sampled from, verified against and shown.

The order is temperature, top-k, top-p, eta cutoff. All of them keep the order of the tokens.
"""

from __future__ import annotations

import torch

from specviz.trace import Sampling

_NUCLEUS_GUESS = 256
"""Most nuclei are smaller than this, so the vocabulary is sorted in full only when one is not."""


def process(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Turn logits [n, V] into probabilities [n, V] in the same dtype; rows sum to 1."""
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
    if sampling.eta_cutoff > 0:
        probs = eta_cutoff(probs, sampling.eta_cutoff)
    return probs


def entropy(probs: torch.Tensor) -> torch.Tensor:
    """Shannon entropy in nats of probabilities [..., V] -> [...]."""
    return torch.special.entr(probs).sum(-1)


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
    top, ids = probs.topk(k, dim=-1)
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
