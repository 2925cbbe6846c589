"""Statistics over the rows of a comparison: estimates with bootstrap intervals, and tests of differences.

Every estimate is a ratio of sums over steps, such as accepted tokens / steps. Steps of one prompt resemble each other,
so the bootstrap resamples whole prompts, and the tests exchange verifiers on whole prompts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal, NamedTuple, get_args

import numpy as np

from specviz.compare.rows import DIVERGENCES, Row, Rows

DRAWS = 2_000
"""Resamples of the bootstrap."""
SWAPS = 10_000
"""Random exchanges of an exchange test."""
SIGNIFICANT = 0.05
_SEED = 20_240_229

Counts = tuple[tuple[int, int], ...]
"""For place 0, 1, ...: (accepted, could have been)."""


class Group(NamedTuple):
    """Runs that are compared with each other: they differ in the verifier alone."""

    mode: str
    tree: str
    temperature: float
    draft: str | None = None
    """Label; None where the comparison has one draft without a label, and where the target is alone."""
    processors: str | None = None
    """Label of the set; None where sets of processors are not compared."""

    def labelled(self, axis: Axis, label: str) -> Group:
        """With another label."""
        return self._replace(draft=label) if axis == "draft" else self._replace(processors=label)


Axis = Literal["draft", "processors"]
AXES: tuple[Axis, ...] = get_args(Axis)
"""Fields of a :class:`Group` with labels of what has runs of its own; their columns are called ``draft_label``, ..."""
MANY: dict[Axis, str] = {"draft": "drafts", "processors": "sets of processors"}


@dataclass(frozen=True)
class Tally:
    """One verifier on one prompt: sums over its steps.

    Attributes:
        by_depth: see ``acceptance_by_depth`` of :data:`specviz.trace.metrics.FORMULAS`; place 0 is depth 1.
        by_rank: see ``acceptance_by_rank``.
        tokens, nll: of the output, where it was this verifier's own (free runs).
        nodes: drafted in all steps.
        quality: measure -> (numerator, denominator), for those of :data:`QUALITY` that the rows have.
    """

    group: Group
    verifier: str
    prompt_id: str
    kind: str
    steps: int
    accepted: int
    new_tokens: int
    by_depth: Counts
    by_rank: Counts
    tokens: int = 0
    nll: float | None = None
    nodes: int = 0
    quality: Mapping[str, tuple[float, float]] = field(default_factory=dict)


def tallies(rows: Rows) -> list[Tally]:
    """Sums of every verifier and run, in the order of the rows."""
    steps: dict[tuple[Group, str, str], list[Row]] = {}
    for row in rows.steps:
        steps.setdefault(_key(row), []).append(row)
    ranks: dict[tuple[Group, str, str], tuple[Counter[int], Counter[int]]] = {}
    for row in rows.decisions:
        accepted, taken = ranks.setdefault(_key(row), (Counter(), Counter()))
        taken[row["rank"]] += 1
        accepted[row["rank"]] += row["outcome"] == "accepted"
    outputs = {_key(row): row for row in rows.outputs if row["mode"] == "free"}
    found = []
    for key, own in steps.items():
        group, verifier, prompt_id = key
        output = outputs.get(key)
        found.append(
            Tally(
                group,
                verifier,
                prompt_id,
                own[0]["kind"],
                steps=len(own),
                accepted=sum(row["accepted"] for row in own),
                new_tokens=sum(row["new_tokens"] for row in own),
                by_depth=_by_depth(own),
                by_rank=_counts(*ranks.get(key, (Counter(), Counter()))),
                tokens=len(output["tokens"]) if output else 0,
                nll=output["nll"] if output else None,
                nodes=sum(row["nodes"] for row in own),
                quality=_quality(own, output),
            )
        )
    return found


def _quality(steps: Sequence[Row], output: Row | None) -> dict[str, tuple[float, float]]:
    found: dict[str, tuple[float, float]] = {}
    for name in DIVERGENCES:
        values = [row[name] for row in steps if row[name] is not None]
        found[name] = (sum(values), len(values))
    told = [row for row in steps if row.get("nodes_reached") is not None]
    reached = sum(row["nodes_reached"] for row in told)
    for name in ("accepted", "expected", "optimum"):
        found[f"{name}_at_nodes"] = (sum(row[name] for row in told), reached)
    if output is not None:
        tokens = len(output["tokens"])
        weights = {"nll_sampled": 1, "distinct_1": tokens, "distinct_2": tokens - 1, "rouge_l": 1, "chrf": 1}
        for name, weight in weights.items():
            if output[name] is not None:
                found[name] = (output[name] * weight, tokens if name == "nll_sampled" else weight)
    return found


def _key(row: Row) -> tuple[Group, str, str]:
    labels = {axis: row.get(f"{axis}_label") for axis in AXES}
    group = Group(row["mode"], row["tree"], row["temperature"], **labels)
    return group, row["verifier"], row["prompt_id"]


def _by_depth(steps: Sequence[Row]) -> Counts:
    accepted: Counter[int] = Counter()
    could: Counter[int] = Counter()
    for row in steps:
        for place in range(row["accepted"] + row["end_has_children"]):
            could[place] += 1
            accepted[place] += place < row["accepted"]
    return _counts(accepted, could)


def _counts(accepted: Counter[int], could: Counter[int]) -> Counts:
    return tuple((accepted[place], could[place]) for place in range(max(could, default=-1) + 1))


def added(counts: Iterable[Counts]) -> Counts:
    """The sum of several counts, place by place."""
    accepted: Counter[int] = Counter()
    could: Counter[int] = Counter()
    for one in counts:
        for place, (a, c) in enumerate(one):
            accepted[place] += a
            could[place] += c
    return _counts(accepted, could)


# ------------------------------------------------------------------------------------------------------ figures

Measure = Callable[[Tally], tuple[float, float]]
"""Tally -> (numerator, denominator)."""


def accepted_length(tally: Tally) -> tuple[float, float]:
    """Accepted draft tokens a step."""
    return tally.accepted, tally.steps


def block_efficiency(tally: Tally) -> tuple[float, float]:
    """New tokens a target forward, bonus included."""
    return tally.new_tokens, tally.steps


def nll_per_token(tally: Tally) -> tuple[float, float]:
    """Negative log-likelihood of the output under the target at temperature 1, nats a token."""
    return (0.0, 0.0) if tally.nll is None else (tally.nll, tally.tokens)


def nodes_per_step(tally: Tally) -> tuple[float, float]:
    """Drafted nodes a step, the root not counted."""
    return tally.nodes, tally.steps


def _of_quality(name: str, meaning: str) -> Measure:
    def measure(tally: Tally) -> tuple[float, float]:
        return tally.quality.get(name, (0.0, 0.0))

    measure.__doc__ = meaning
    return measure


LENGTHS: dict[str, Measure] = {
    "accepted_length": accepted_length,
    "block_efficiency": block_efficiency,
    "nodes_per_step": nodes_per_step,
}
"""Measures that ordinary sampling, which drafts nothing, has no part in."""
QUALITY: dict[str, Measure] = {
    "nll_sampled_per_token": _of_quality("nll_sampled", "As nll_per_token, under the distribution sampled from."),
    "nll_per_token": nll_per_token,
    "distinct_1": _of_quality("distinct_1", "Different tokens of an output / its tokens."),
    "distinct_2": _of_quality("distinct_2", "Different pairs of neighbouring tokens of an output / its pairs."),
    "rouge_l": _of_quality("rouge_l", "Mean ROUGE-L F1 of the outputs that have a reference."),
    "chrf": _of_quality("chrf", "Mean chrF of the outputs that have a reference."),
}
"""Measures of outputs: free runs only."""
DIVERGENCE: dict[str, Measure] = {name: _of_quality(name, f"Mean of {name} over the steps.") for name in DIVERGENCES}
"""Measures of steps against the target, see :mod:`specviz.compare.divergence`."""
AT_NODES: dict[str, Measure] = {
    f"{name}_at_nodes": _of_quality(f"{name}_at_nodes", f"Mean of {name} over the nodes reached, see FORMULAS.")
    for name in ("accepted", "expected", "optimum")
}
AT_NODES_TITLE = "At the nodes reached, of rules that decide node by node"
"""Where the optimum was recorded; see ``optimum`` of :data:`specviz.trace.metrics.FORMULAS`."""
MEASURES: dict[str, Measure] = LENGTHS | QUALITY | DIVERGENCE | AT_NODES


@dataclass(frozen=True)
class Estimate:
    """A ratio of sums with its 95 % bootstrap interval over prompts; NaN where there is nothing to divide by."""

    value: float
    low: float
    high: float
    prompts: int


def estimate(tallies: Iterable[Tally], measure: Measure) -> Estimate:
    """The measure over all steps of the tallies. Percentile bootstrap; the same prompts give the same interval."""
    sums = _sums(tallies, measure)
    values = list(sums.values())
    if not values or sum(bottom for _, bottom in values) == 0:
        return Estimate(np.nan, np.nan, np.nan, 0)
    pairs = np.array(values)
    n = len(pairs)
    top, bottom = (_weights(n) @ pairs).T
    low, high = np.quantile(top / bottom, [0.025, 0.975])
    total = pairs.sum(0)
    return Estimate(float(total[0] / total[1]), float(low), float(high), n)


@lru_cache(maxsize=16)
def _weights(n: int) -> np.ndarray:
    """[DRAWS, n]: how often each of n prompts is drawn. The same for every figure, and made once."""
    return np.random.default_rng(_SEED).multinomial(n, [1 / n] * n, size=DRAWS).astype(float)


@lru_cache(maxsize=8)
def _coins(n: int) -> np.ndarray:
    """[SWAPS, n] of 0 and 1."""
    return np.random.default_rng(_SEED + 1).integers(0, 2, size=(SWAPS, n)).astype(float)


def _sums(tallies: Iterable[Tally], measure: Measure) -> dict[str, tuple[float, float]]:
    """Prompt -> (numerator, denominator), of prompts that have something to divide by."""
    sums: dict[str, tuple[float, float]] = {}
    for tally in tallies:
        top, bottom = measure(tally)
        if bottom:
            before = sums.get(tally.prompt_id, (0.0, 0.0))
            sums[tally.prompt_id] = (before[0] + top, before[1] + bottom)
    return sums


@dataclass(frozen=True)
class Difference:
    """Verifier ``a`` less verifier ``b``, over the prompts that both have.

    Attributes:
        p: of a two-sided exchange test: how often the difference is at least as large when a coin decides for every
            prompt which verifier is called which. Under the hypothesis that they are alike these are equally likely.
        adjusted: p after Holm's correction for all tests of one table.
    """

    group: Group
    a: str
    b: str
    value: float
    low: float
    high: float
    prompts: int
    p: float
    adjusted: float

    @property
    def noise(self) -> bool:
        """Whether it may be none: p is 0.05 or more after the correction, or not known."""
        return not self.adjusted < SIGNIFICANT


def differences(tallies: Sequence[Tally], measure: Measure, base: str | None = None) -> list[Difference]:
    """All pairs of verifiers (or all against ``base``) within every group."""
    found = []
    for group, verifiers in by_group(tallies).items():
        names = list(verifiers)
        for j, b in enumerate(names):
            for a in names[:j] if base is None else names:
                if base is None or (b == base and a != base):
                    found.append(_difference(group, a, b, *(_sums(verifiers[v], measure) for v in (a, b))))
    return _holm(found)


def from_base(tallies: Sequence[Tally], measure: Measure, base: str) -> list[Difference]:
    """Every verifier less ``base``, which ran without a tree: it is set beside every tree and draft, of its mode,
    temperature and processors."""
    groups = dict.fromkeys(tally.group for tally in tallies if tally.verifier != base)
    beside = [
        replace(tally, group=group)
        for tally in tallies
        if tally.verifier == base
        for group in groups
        if _for_base(group) == _for_base(tally.group)
    ]
    return differences([*(tally for tally in tallies if tally.verifier != base), *beside], measure, base)


def _for_base(group: Group) -> tuple[str, float, str | None]:
    return group.mode, group.temperature, group.processors


def between_trees(tallies: Sequence[Tally], measure: Measure, trees: Sequence[str]) -> list[Difference]:
    """All pairs of these trees for every verifier: ``a`` and ``b`` are trees here, and ``group.tree`` the verifier."""
    turned = [
        replace(tally, group=tally.group._replace(tree=tally.verifier), verifier=tally.group.tree)
        for tally in tallies
        if tally.group.tree in trees
    ]
    return differences(turned, measure)


def between_labels(tallies: Sequence[Tally], measure: Measure, axis: Axis) -> list[Difference]:
    """All pairs of drafts, or of sets of processors, for every verifier and tree: ``a`` and ``b`` are their labels
    here, and the verifier stands in that field of ``group``.

    Both ran on the same prompts with the same luck, each its own way.
    """
    turned = [
        replace(tally, group=tally.group.labelled(axis, tally.verifier), verifier=label)
        for tally in tallies
        if (label := getattr(tally.group, axis)) is not None
    ]
    return differences(turned, measure)


def by_group(tallies: Iterable[Tally]) -> dict[Group, dict[str, list[Tally]]]:
    """Group -> verifier -> tallies, in the order of the rows."""
    groups: dict[Group, dict[str, list[Tally]]] = {}
    for tally in tallies:
        groups.setdefault(tally.group, {}).setdefault(tally.verifier, []).append(tally)
    return groups


def _difference(
    group: Group, a: str, b: str, ours: dict[str, tuple[float, float]], theirs: dict[str, tuple[float, float]]
) -> Difference:
    both = [prompt for prompt in ours if prompt in theirs]
    if not both:
        return Difference(group, a, b, np.nan, np.nan, np.nan, 0, np.nan, np.nan)
    n = len(both)
    pairs = np.array([[*ours[prompt], *theirs[prompt]] for prompt in both])  # [n, 4]: top and bottom of a, then of b
    drawn = _less(_weights(n) @ pairs)
    low, high = np.quantile(drawn, [0.025, 0.975])
    value = float(_less(pairs.sum(0)))
    swapped = _coins(n) @ (pairs[:, [2, 3, 0, 1]] - pairs) + pairs.sum(0)
    # What rounding makes of an equal difference counts as equal.
    p = (1 + int((np.abs(_less(swapped)) >= abs(value) - 1e-12).sum())) / (SWAPS + 1)
    return Difference(group, a, b, value, float(low), float(high), n, p, p)


def _less(sums: np.ndarray) -> np.ndarray:
    """[..., 4] -> [...]: ratio of a less ratio of b."""
    difference: np.ndarray = sums[..., 0] / sums[..., 1] - sums[..., 2] / sums[..., 3]
    return difference


def _holm(found: list[Difference]) -> list[Difference]:
    order = sorted((i for i in range(len(found)) if found[i].prompts), key=lambda i: found[i].p)
    largest = 0.0
    for place, i in enumerate(order):
        largest = max(largest, min(1.0, found[i].p * (len(order) - place)))
        found[i] = replace(found[i], adjusted=largest)
    return found
