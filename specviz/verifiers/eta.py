"""Typical acceptance (Medusa, arXiv 2401.10774, section 2.3.1), with an entropy-dependent threshold. Lossy."""

from __future__ import annotations

from functools import partial
from typing import Literal

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


class EtaOptions(Options):
    epsilon: float = Field(0.09, gt=0, lt=1, description="Largest threshold")
    delta: float = Field(0.3, gt=0, description="Threshold per exp(-entropy)")
    select: Literal["longest", "first"] = Field("longest", description="Which path of passing edges is taken")


def eta_of(target: torch.Tensor, options: EtaOptions) -> torch.Tensor:
    """``min(epsilon, delta * exp(-H))`` of every row [n, V] -> [n]; H in nats."""
    return torch.clamp(options.delta * torch.exp(-sampling.entropy(target)), max=options.epsilon)


def judge(tree: TokenTree, target: torch.Tensor, options: EtaOptions) -> Judgement:
    """Threshold of a child: eta of its parent's row, which p must exceed."""
    inner = tree.shape.inner or (0,)
    eta = eta_of(sampling.take_rows(target, inner), options)
    thresholds = of_parents(tree, eta)

    def distribution(end: End) -> torch.Tensor:
        row = target[end.node]
        return sampling.keep_and_renormalize(row, row > eta_of(row[None], options))

    return Judgement(thresholds, edge_probs(tree, target), draft_edge_probs(tree, target), distribution)


def walk(context: Context, luck: Luck) -> Walk:
    """No coins: the longest path of passing edges, or the first."""
    first = context.options.select == "first"
    return walk_deepest(context, partial(exceeds, context, name="eta"), "truncated", first=first)


ETA = Verifier(
    name="eta",
    summary="typical acceptance: the target must find the token likely enough for its entropy",
    judge=judge,
    walk=walk,
    comparison="p > threshold",
    rule="p > min(epsilon, delta exp(-H))",
    Options=EtaOptions,
    plain=True,
    decides_by_node=True,
)
