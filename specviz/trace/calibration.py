"""How well a draft's numbers fit what became of them: q by depth, its confidence, what it cannot propose.

Everything is counted over the steps of a trace, from what was recorded of them, by whatever engine. Nodes of one step
resemble each other, so an interval takes steps as the things that were drawn; of few steps none is given.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

from specviz.trace.schema import Step

LEAST_STEPS = 10
"""An interval over fewer steps would say more about its formula than about the draft."""
Z = 1.959964
"""Quantile of the normal distribution, for 95 %."""
Interval = tuple[float, float]
T = TypeVar("T")


class DepthSums(NamedTuple):
    """One step's tokens at one depth of which both probabilities were recorded: how many, and their sums."""

    drafted: int
    q: float
    p: float


class Calibration(NamedTuple):
    """The drafted tokens at one depth.

    Attributes:
        steps: that drafted some there with both probabilities recorded.
        drafted: how many those are.
        q: mean of what the draft gave them; None for none of them.
        p: mean of what the target gives them: the share of places at which it would have taken just this token.
        off: 95 % interval of p - q; None for too few steps.
        accepted: steps whose driver accepted a node there.
        reached: steps that could have: their path came to a node above it that has children.
        share: 95 % interval of accepted / reached (Wilson); None for too few steps.
    """

    steps: int
    drafted: int
    q: float | None
    p: float | None
    off: Interval | None
    accepted: int
    reached: int
    share: Interval | None


class Confidence(NamedTuple):
    """What a draft head said of nodes at one depth whose children the driver judged, and how many of those it took.

    Attributes:
        nodes: with a recorded confidence.
        said: its mean; None for no such node.
        share: 95 % interval of accepted / nodes (Wilson); None for too few steps.
    """

    nodes: int
    said: float | None
    accepted: int
    share: Interval | None


class Outside(NamedTuple):
    """What the target gives to tokens that the draft cannot propose, over the nodes that drivers reached.

    Attributes:
        nodes: that have children and of which it was recorded.
        steps: that they are of.
        p: the mean; 1 - p is then the most that any lossless rule can accept there on average.
        interval: 95 %; None for too few steps.
        accepted: of those nodes, how many had a child accepted by the driver.
    """

    nodes: int
    steps: int
    p: float
    interval: Interval | None
    accepted: int


def depth_sums(step: Step) -> list[DepthSums]:
    """Of depth 1, 2, ...: what :class:`Calibration` adds up."""
    deepest = max(node.depth for node in step.tree.nodes)
    drafted, q, p = [0] * (deepest + 1), [0.0] * (deepest + 1), [0.0] * (deepest + 1)
    for node in step.tree.nodes:
        depth, of_draft, of_target = node.depth, node.draft_prob, node.target_prob
        if depth and of_draft is not None and of_target is not None:
            drafted[depth] += 1
            q[depth] += of_draft
            p[depth] += of_target
    return [DepthSums(*one) for one in zip(drafted, q, p, strict=True)][1:]


def reached_nodes(step: Step) -> list[tuple[int, bool]]:
    """Nodes with children that the driver's path came to, and whether it went on to one of them."""
    path, parents = step.verdicts[step.driver].path, {node.parent for node in step.tree.nodes}
    return [(node, depth < len(path)) for depth, node in enumerate((0, *path)) if node in parents]


def calibration_by_depth(steps: Iterable[Step]) -> list[Calibration]:
    """Of depth 1, 2, ...; empty where nothing was drafted."""
    sums: list[list[DepthSums]] = []
    taken: list[list[bool]] = []
    for step in steps:
        for depth, one in enumerate(depth_sums(step)):
            _at(sums, depth).extend([one] if one.drafted else [])
        for node, accepted in reached_nodes(step):
            _at(taken, step.tree.nodes[node].depth).append(accepted)
    return [_calibration(one, outcomes) for one, outcomes in zip(sums, _padded(taken, len(sums)), strict=True)]


def _calibration(sums: Sequence[DepthSums], outcomes: Sequence[bool]) -> Calibration:
    drafted = sum(one.drafted for one in sums)
    return Calibration(
        steps=len(sums),
        drafted=drafted,
        q=sum(one.q for one in sums) / drafted if drafted else None,
        p=sum(one.p for one in sums) / drafted if drafted else None,
        off=ratio_interval([(one.p - one.q, one.drafted) for one in sums]),
        accepted=sum(outcomes),
        reached=len(outcomes),
        share=wilson(sum(outcomes), len(outcomes)),
    )


def confidence_by_depth(steps: Iterable[Step]) -> list[Confidence]:
    """Of nodes at depth 0, 1, ...; empty where no confidence was recorded."""
    found: list[list[tuple[float, bool]]] = []
    for step in steps:
        for node, accepted in reached_nodes(step):
            row = step.tree.nodes[node].draft
            if row is not None and row.confidence is not None:
                _at(found, step.tree.nodes[node].depth).append((row.confidence, accepted))
    return [
        Confidence(
            nodes=len(pairs),
            said=sum(said for said, _ in pairs) / len(pairs) if pairs else None,
            accepted=sum(accepted for _, accepted in pairs),
            share=wilson(sum(accepted for _, accepted in pairs), len(pairs)),
        )
        for pairs in found
    ]


def outside_vocabulary(steps: Iterable[Step]) -> Outside | None:
    """None where it was recorded of no such node."""
    by_step: list[tuple[float, int]] = []
    accepted = 0
    for step in steps:
        known = [(step.tree.nodes[node].p_outside, went_on) for node, went_on in reached_nodes(step)]
        values = [(p, went_on) for p, went_on in known if p is not None]
        if values:
            by_step.append((sum(p for p, _ in values), len(values)))
            accepted += sum(went_on for _, went_on in values)
    nodes = sum(n for _, n in by_step)
    if not nodes:
        return None
    mean = sum(p for p, _ in by_step) / nodes
    return Outside(nodes, len(by_step), mean, ratio_interval(by_step), accepted)


def ratio_interval(by_step: Sequence[tuple[float, int]]) -> Interval | None:
    """95 % interval of a ratio of sums over steps, by its linearized variance (Cochran, Sampling Techniques, 6.4) and
    Student's t, whose quantile is taken from its expansion (Abramowitz and Stegun 26.7.5); None for too few steps.

    Args:
        by_step: (numerator, denominator > 0) of every step.
    """
    m = len(by_step)
    if m < LEAST_STEPS:
        return None
    bottom = sum(n for _, n in by_step)
    ratio = sum(value for value, _ in by_step) / bottom
    spread = sum((value - ratio * n) ** 2 for value, n in by_step)
    half = student(m - 1) * math.sqrt(spread * m / (m - 1)) / bottom
    return ratio - half, ratio + half


def student(freedom: int) -> float:
    """The 97.5 % quantile of Student's t, within 0.001 from 9 degrees of freedom on."""
    second = (5 * Z**5 + 16 * Z**3 + 3 * Z) / (96 * freedom**2)
    third = (3 * Z**7 + 19 * Z**5 + 17 * Z**3 - 15 * Z) / (384 * freedom**3)
    return Z + (Z**3 + Z) / (4 * freedom) + second + third


def wilson(successes: int, of: int) -> Interval | None:
    """Wilson's 95 % interval of a share; None for too few."""
    if of < LEAST_STEPS:
        return None
    share, weight = successes / of, Z * Z / of
    middle = (share + weight / 2) / (1 + weight)
    half = Z * math.sqrt(share * (1 - share) / of + weight / (4 * of)) / (1 + weight)
    return max(0.0, middle - half), min(1.0, middle + half)


def _at(lists: list[list[T]], place: int) -> list[T]:
    while len(lists) <= place:
        lists.append([])
    return lists[place]


def _padded(lists: list[list[T]], length: int) -> list[list[T]]:
    return [*lists, *([] for _ in range(length - len(lists)))]
