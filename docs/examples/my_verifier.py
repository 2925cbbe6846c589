"""Lenient speculative sampling (Leviathan et al. 2023, arXiv 2211.17192, appendix A.5), on trees.

Rejection, but a draft token passes as if the draft had found it less likely. More tokens a step, and no longer the
target's distribution: it promises to be lossless at lenience 1 only.
"""

from dataclasses import replace

from pydantic import Field

from specviz.options import Options
from specviz.verifiers import VERIFIERS, Verifier
from specviz.verifiers.walks import walk_down


class LenientOptions(Options):
    lenience: float = Field(0.5, gt=0, le=1, description="Accept with p / (lenience q); 1 is exact")


def judge(tree, target, options):
    """Thresholds of rejection, divided by the lenience; the residual stays as it was."""
    exact = VERIFIERS["rejection"].judge(tree, target, options)
    return replace(exact, thresholds=exact.thresholds / options.lenience)


def lossless(_proposal, options):
    """At lenience 1 it is rejection, on every proposal."""
    return options.lenience == 1


LENIENT = Verifier(
    name="lenient",
    summary="rejection sampling that forgives the draft",
    judge=judge,
    walk=walk_down,
    comparison="uniform < threshold",
    rule="u < p / (lenience q)",
    lossless=lossless,
    Options=LenientOptions,
)
