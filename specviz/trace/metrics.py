"""Metrics over a trace, each with its formula: projects define acceptance and block efficiency differently."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from specviz.digits import digits
from specviz.trace.schema import INFINITE_DIFFERENCE, ModelInfo, Models, Step, Trace

FORMULAS = {
    "block_efficiency": "new tokens per target forward = (accepted + bonus) / steps; a bonus after an end of sequence "
    "is no token, and a cut at max_new_tokens or after a stop string is not counted",
    "acceptance_by_depth": "steps that accepted a node at depth d / steps that reached depth d - 1 and had children",
    "acceptance_by_rank": "accepted / decisions taken, over the r-th drawn sibling",
    "optimum": "over the nodes that its walk reached and that have children: mean of 1 where a child was accepted, of "
    "what the rule could expect given the drawn children, and of the largest acceptance that a lossless rule deciding "
    "node by node can have there; it bounds no accepted length",
    "overhead": "time outside the two models' forwards / time of the step, audit left out",
}


TOLERANCES = {"float64": 1e-10, "float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2}
"""Relative difference that rounding may leave in a cache, by number format; planted faults leave 0.01 to 1."""
QUANTIZED = 5e-2
"""The same for models that were quantized by other methods."""
INT8 = 0.2
"""The same for bitsandbytes int8, which rounds what goes into every product to 255 steps: a difference in the last
bit, from another number of rows in a forward, now and then tips an entry over to the next step, and 30 layers of
rounding make full size of it. Measured on the default target, 62 forwards of one or three rows against one forward of
all: 13 % of them differ at all, by up to 0.07 in keys, 0.14 in values and 0.11 in logits. Of real faults, positions
off by one leave 0.26 to 0.46 there and another token's slot more than 1. nf4 rounds weights only and is as exact as
its number format: 4e-6."""


def tolerances(models: Models) -> dict[str, float]:
    """Model -> from where on a difference in its audit is no rounding any more; without a model that was not recorded.

    A draft that reads the target's hidden states has their rounding besides its own.
    """
    found = {}
    if models.target is not None:
        found["target"] = tolerance_of(models.target)
    if models.draft is not None:
        own = tolerance_of(models.draft)
        found["draft"] = max(found.get("target", own), own) if models.draft.reads else own
    return found


def tolerance_of(model: ModelInfo) -> float:
    """The same for one model that reads nothing but tokens; the coarsest format's where its own was not recorded."""
    if model.quantization == "bitsandbytes int8":
        return INT8
    of_format = TOLERANCES.get((model.dtype or "").removeprefix("torch."), QUANTIZED)
    return of_format if model.quantization in (None, "bitsandbytes nf4") else QUANTIZED


def difference_text(difference: float) -> str:
    """A difference in an audit as a sentence names it."""
    return digits(difference, 2) if difference < INFINITE_DIFFERENCE else "no finite number (NaN or infinity)"


def same_steps(steps: Iterable[Step], verifiers: Iterable[str]) -> list[Step]:
    """The steps that all of these verifiers judged: only over those may their figures stand side by side."""
    names = list(verifiers)
    return [step for step in steps if all(name in step.verdicts for name in names)]


def accepted_lengths(steps: Iterable[Step], verifier: str) -> list[int]:
    """Accepted draft tokens of each step, the bonus not counted."""
    return [len(step.verdicts[verifier].path) for step in steps]


def emitted_length(step: Step, path: Sequence[int], end_tokens: Collection[int], least: int = 0) -> int:
    """New tokens of a step: an accepted path and the bonus, unless the path ended the text.

    An end-of-sequence node is never expanded, so it can only be the last of a path.

    Args:
        least: of the step's tokens, among which an end token ends nothing; see :meth:`Trace.least_in`.
    """
    ended = len(path) > least and step.tree.nodes[path[-1]].token in end_tokens
    return len(path) + (not ended)


def new_tokens(step: Step, verifier: str, end_tokens: Collection[int], least: int = 0) -> int:
    """The same of a verifier's path. What another engine committed without a bonus token that it told of is as much as
    it emitted: it may have drawn none."""
    verdict = step.verdicts[verifier]
    if verdict.bonus is None and verifier == step.driver:
        return len(step.committed)
    return emitted_length(step, verdict.path, end_tokens, least)


def new_tokens_at(trace: Trace, position: int, verifier: str) -> int:
    """The same in ``steps[position]`` of a run, whose settings say which end tokens end its text."""
    return new_tokens(trace.steps[position], verifier, trace.end_tokens, trace.least_in(position))


def emitted_lengths(trace: Trace, verifier: str) -> list[int]:
    """New tokens of each step, as :func:`new_tokens` counts them."""
    return [new_tokens_at(trace, position, verifier) for position in range(len(trace.steps))]


def block_efficiency(trace: Trace, verifier: str) -> float:
    """Mean new tokens per target forward, bonus included; NaN for no steps."""
    lengths = emitted_lengths(trace, verifier)
    return sum(lengths) / len(lengths) if lengths else float("nan")


def acceptance_by_depth(steps: Iterable[Step], verifier: str) -> list[tuple[int, int]]:
    """For depth 1, 2, ...: (steps that accepted a node there, steps that could have).

    A step counts at depth d if its path reached depth d - 1 and the node it reached has children.
    """
    accepted: Counter[int] = Counter()
    reached: Counter[int] = Counter()
    for step in steps:
        path = step.verdicts[verifier].path
        has_children = {node.parent for node in step.tree.nodes}
        for depth, node in enumerate((0, *path), start=1):
            if node in has_children:
                reached[depth] += 1
                accepted[depth] += depth <= len(path)
    return [(accepted[depth], reached[depth]) for depth in range(1, max(reached, default=0) + 1)]


def acceptance_by_rank(steps: Iterable[Step], verifier: str) -> list[tuple[int, int]]:
    """For draw rank 0, 1, ...: (accepted, decisions taken); empty where another engine's decisions were not recorded
    in some step, because those of the others would be no figure of the run."""
    accepted: Counter[int] = Counter()
    taken: Counter[int] = Counter()
    for step in steps:
        verdict = step.verdicts[verifier]
        if not verdict.decisions and len(step.tree.nodes) > 1:
            return []
        for decision in verdict.decisions:
            rank = step.tree.nodes[decision.node].rank
            taken[rank] += 1
            accepted[rank] += decision.outcome == "accepted"
    return [(accepted[rank], taken[rank]) for rank in range(max(taken, default=-1) + 1)]


@dataclass(frozen=True)
class NodeAcceptance:
    """Sums over the nodes with children that a rule's walks reached and whose optimum was recorded.

    Attributes:
        nodes: how many they are.
        accepted: at how many of them a child was accepted.
        expected: sum of what the rule could expect there, given the drawn children.
        optimum: sum of the optima.
    """

    nodes: int
    accepted: int
    expected: float
    optimum: float


def node_acceptance(steps: Iterable[Step], verifier: str) -> NodeAcceptance | None:
    """None where nothing was recorded, and for a rule that does not decide node by node."""
    nodes = accepted = 0
    expected = optimum = 0.0
    for step in steps:
        verdict = step.verdicts[verifier]
        if verdict.expected_acceptance is None:
            continue
        for depth, node in enumerate((0, *verdict.path)):
            best, own = step.tree.nodes[node].optimum, verdict.expected_acceptance[node]
            if best is not None and own is not None:
                nodes, accepted = nodes + 1, accepted + (depth < len(verdict.path))
                expected, optimum = expected + own, optimum + best
    return NodeAcceptance(nodes, accepted, expected, optimum) if nodes else None


def overhead(step: Step) -> float | None:
    """Share of the step's time spent outside the two models' forwards; the audit is a check, not a part of a step.

    None where that was not recorded: another engine has at most the time of the whole step beside its forwards'.
    """
    times = step.timings
    if times is None or times.draft is None or times.target is None:
        return None
    forwards, phases = times.draft + times.target, (times.build, times.verify, times.commit, times.record)
    whole = times.total if None in phases else forwards + sum(one for one in phases if one is not None)
    return 1 - forwards / whole if whole and whole >= forwards else None
