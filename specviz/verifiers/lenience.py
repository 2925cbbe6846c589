"""Lenience: rejection sampling that compares with a smaller q (Leviathan et al. 2023, arXiv 2211.17192, A.5).

q is multiplied by a number below 1 "before comparing", and nowhere else: what a rejection leaves is that of
:mod:`specviz.verifiers.rejection`. More tokens are accepted, and what comes out is no target sample any more; but after
a single child no token comes out with more than p / lenience. On a tree every sibling is treated so in turn. Lossy;
lossless at a lenience of 1, where it is that rule. At temperature 0 it changes nothing, as the paper notes.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from pydantic import Field

from specviz.options import Options
from specviz.tree import TokenTree
from specviz.verifiers.base import Judgement, Verifier, ratio, with_root
from specviz.verifiers.rejection import REJECTION
from specviz.verifiers.walks import walk_down


class LenienceOptions(Options):
    lenience: float = Field(0.5, gt=0, le=1, description="What q is multiplied by; 1 is rejection sampling")


def judge(tree: TokenTree, target: torch.Tensor, options: LenienceOptions) -> Judgement:
    """Threshold of child c with token x: ``p[x] / (lenience q[x])``, p and q being what its elder siblings left."""
    strict = REJECTION.judge(tree, target, options)
    return replace(strict, thresholds=with_root(ratio(strict.p, options.lenience * strict.q), 1.0))


LENIENCE = Verifier(
    name="lenience",
    summary="rejection sampling that compares with less than q: accepts more, no token above p / lenience",
    judge=judge,
    walk=walk_down,
    comparison="uniform < threshold",
    rule="u < p/(lenience q)",
    lossless=lambda proposal, options: bool(options.lenience == 1),  # noqa: ARG005
    Options=LenienceOptions,
    decides_by_node=True,
)
