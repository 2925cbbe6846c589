"""How sure figures over the steps of a run are, and whether two verifiers of it differ by more than noise.

A step is what was drawn. New tokens a step are a ratio of sums over steps, and a difference between two verifiers is
one of the steps' own differences, so both have the interval of :func:`~specviz.trace.calibration.ratio_interval`:
Student's t on the linearized variance. A bootstrap over steps would want a thousand resamples of every figure at every
step of a live run, and covers no more (``python -m tests.tools.coverage``). Shares near 0 and 1, where t fails, have
Wilson's interval; where a step counts several times, for as many decisions as would be worth the same if they were
independent.

All of them are of this prompt and this run: steps that resemble their neighbours are worth fewer than they count.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from specviz.trace.calibration import LEAST_STEPS, Interval, ratio_interval, wilson_of
from specviz.trace.metrics import new_tokens_at, node_acceptance
from specviz.trace.schema import Step, Trace


class Against(NamedTuple):
    """One verifier beside another over the steps that both judged.

    Attributes:
        verifier, other: the difference is ``verifier`` less ``other``.
        steps: that both judged.
        parted: of those, in how many they emitted another number of tokens.
        value: mean difference of new tokens a step.
        interval: its 95 % interval; None for too few steps.
    """

    verifier: str
    other: str
    steps: int
    parted: int
    value: float
    interval: Interval | None

    @property
    def noise(self) -> bool | None:
        """Whether no difference is as well within the interval; None where there is none."""
        return None if self.interval is None else self.interval[0] <= 0 <= self.interval[1]


def efficiency_interval(lengths: Sequence[int]) -> Interval | None:
    """95 % interval of block efficiency, from the new tokens of every step; None for too few."""
    return ratio_interval([(length, 1) for length in lengths])


def gap_interval(steps: Sequence[Step], verifier: str) -> Interval | None:
    """95 % interval of what the optimum is above the rule's own expectation, a node that its walk reached; None for too
    few steps, and where neither was recorded."""
    by_step = [at for step in steps if (at := node_acceptance([step], verifier)) is not None]
    return ratio_interval([(at.optimum - at.expected, at.nodes) for at in by_step])


def share_interval(by_step: Sequence[tuple[int, int]]) -> Interval | None:
    """95 % interval of a share of which every step has (accepted, of); None for fewer steps than it takes.

    Wilson's, for n divided by how much the spread over steps exceeds that of independent decisions (Kish's design
    effect, at least 1).
    """
    known = [(accepted, of) for accepted, of in by_step if of]
    m, n = len(known), sum(of for _, of in known)
    if m < LEAST_STEPS:
        return None
    share = sum(accepted for accepted, _ in known) / n
    spread = sum((accepted - share * of) ** 2 for accepted, of in known) * m / (m - 1)
    effect = max(1.0, spread / (n * share * (1 - share))) if 0 < share < 1 else 1.0
    return wilson_of(share, n / effect)


def ranks_by_step(steps: Sequence[Step], verifier: str) -> list[list[tuple[int, int]]]:
    """For draw rank 0, 1, ... and every step: (accepted, decisions taken). Ranks that a step lacks are left out."""
    found: list[list[tuple[int, int]]] = []
    for step in steps:
        own: dict[int, tuple[int, int]] = {}
        for decision in step.verdicts[verifier].decisions:
            rank = step.tree.nodes[decision.node].rank
            accepted, taken = own.get(rank, (0, 0))
            own[rank] = (accepted + (decision.outcome == "accepted"), taken + 1)
        for rank, counts in own.items():
            while len(found) <= rank:
                found.append([])
            found[rank].append(counts)
    return found


def against(trace: Trace, verifier: str, other: str) -> Against | None:
    """Paired over the steps that both judged: the same trees, the same luck. None for no such step."""
    both = [at for at, step in enumerate(trace.steps) if verifier in step.verdicts and other in step.verdicts]
    if not both:
        return None
    apart = [new_tokens_at(trace, at, verifier) - new_tokens_at(trace, at, other) for at in both]
    interval = ratio_interval([(one, 1) for one in apart])
    return Against(verifier, other, len(both), sum(map(bool, apart)), sum(apart) / len(both), interval)
