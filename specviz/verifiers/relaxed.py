"""Relaxed acceptance: a token passes if it is among the target's n best and not far below the best. Lossy.

What TensorRT-LLM calls relaxed acceptance, for the thinking phase of DeepSeek-R1 with multi-token prediction. Its
mtpRelaxedAcceptanceKernel takes a drafted token that is among the ``relaxed_topk`` of the highest softmax probability
and not below the best one's less ``relaxed_delta``; after what passed comes the target's best token. The defaults here
are those of its examples with DeepSeek-R1, 10 and 0.6; its own are 1 and 0, which is greedy decoding. There the softmax
is of the logits as they are, here of what temperature, top-k and top-p leave, as everywhere.
"""

from __future__ import annotations

from functools import partial

import torch
from pydantic import Field

from specviz import sampling
from specviz.options import Options
from specviz.tree import TokenTree
from specviz.verifiers.base import (
    Context,
    End,
    Judgement,
    Luck,
    Verifier,
    Walk,
    draft_edge_probs,
    edge_probs,
    of_parents,
)
from specviz.verifiers.walks import exceeds, walk_deepest


class RelaxedOptions(Options):
    top_n: int = Field(10, ge=1, le=1000, description="How many of the target's best tokens may pass")
    margin: float = Field(0.6, ge=0, le=1, description="How far below the best one's probability")


def judge(tree: TokenTree, target: torch.Tensor, options: RelaxedOptions) -> Judgement:
    """Threshold of a child: the largest number below ``max(best - margin, p of the n-th best)`` of its parent's row, so
    that to exceed it is to reach that. Tokens as likely as the n-th pass with it, of which TensorRT-LLM takes the first
    ones; impossible ones never do."""
    inner = tree.shape.inner or (0,)
    top, _ = sampling.top_k(sampling.take_rows(target, inner), min(options.top_n, target.shape[-1]))
    bound = torch.maximum(top[:, 0] - options.margin, top[:, -1])
    below = torch.nextafter(bound, torch.full_like(bound, -1.0)).clamp(min=0.0)
    thresholds = of_parents(tree, below)

    def distribution(end: End) -> torch.Tensor:
        row = target[end.node]
        return torch.zeros_like(row).scatter_(0, sampling.argmax(row[None])[0], 1.0)

    return Judgement(thresholds, edge_probs(tree, target), draft_edge_probs(tree, target), distribution)


def walk(context: Context, luck: Luck) -> Walk:
    """No coins: the longest path of passing edges."""
    return walk_deepest(context, partial(exceeds, context), "argmax")


RELAXED = Verifier(
    name="relaxed",
    summary="relaxed acceptance: among the target's n best tokens, and within a margin of the best",
    judge=judge,
    walk=walk,
    comparison="p > threshold",
    rule="x in top n, p >= max p - margin",
    Options=RelaxedOptions,
    plain=True,
    decides_by_node=True,
)
