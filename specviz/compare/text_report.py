"""A comparison's statistics as tables in plain text, for the terminal and ``report.txt``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from specviz.compare.rows import SAMPLING
from specviz.compare.statistics import (
    AT_NODES,
    AT_NODES_TITLE,
    AXES,
    DIVERGENCE,
    MANY,
    QUALITY,
    Counts,
    Difference,
    Estimate,
    Group,
    Measure,
    Tally,
    accepted_length,
    added,
    between_labels,
    between_trees,
    block_efficiency,
    by_group,
    differences,
    estimate,
    from_base,
    nodes_per_step,
)
from specviz.compare.summary import FROM_SAMPLING
from specviz.trace.metrics import FORMULAS

if TYPE_CHECKING:  # at run time it would import torch
    from specviz.compare.labels import Labels

NOTES = f"""\
block eff.: {FORMULAS["block_efficiency"]}
by depth: {FORMULAS["acceptance_by_depth"]}
by sibling rank: {FORMULAS["acceptance_by_rank"]}
NLL at T: negative log-likelihood under the distribution that was sampled from, nats a token; NLL at 1: at temperature 1
at the nodes reached: {FORMULAS["optimum"]}
TV, KL, bound, excess: of a step's first token against the target, see "Divergence" in docs/comparison.md
[ ]: 95 % bootstrap intervals over prompts; p: exchange test over prompts, Holm: corrected for all tests of its table
noise: a difference that may be none, as p is 0.05 or more after that correction"""
_TITLES = {
    "nll_sampled_per_token": "NLL at T",
    "nll_per_token": "NLL at 1",
    "distinct_1": "distinct-1",
    "distinct_2": "distinct-2",
    "rouge_l": "ROUGE-L",
    "chrf": "chrF",
    "first_tv": "TV",
    "first_kl": "KL",
    "first_tv_bound": "TV bound",
    "first_excess": "excess",
    "accepted_at_nodes": "accepted",
    "expected_at_nodes": "expected",
    "optimum_at_nodes": "optimum",
}
_SWEPT = ("nll_sampled_per_token", "nll_per_token", "distinct_2", "first_tv_bound", "first_excess")
_MODES = {"paired": "Paired: the same trees and luck for all verifiers", "free": "Free-running: each its own text"}


def format_report(tallies: Sequence[Tally], labels: Labels | None = None) -> str:
    """Tables of everything :mod:`specviz.compare.statistics` knows, for each mode that was run.

    Args:
        labels: what the labels stand for; without it there are no tables of sweeps and of trees with as many nodes.
    """
    lines = list(_lines(tallies, labels))
    return "\n".join([*lines, NOTES]) if lines else "No run has a step."


def _lines(tallies: Sequence[Tally], labels: Labels | None) -> Iterator[str]:
    for mode, title in _MODES.items():
        everyone = [tally for tally in tallies if tally.group.mode == mode]
        own = [tally for tally in everyone if tally.verifier != SAMPLING]
        if not own:
            continue
        yield from (title, "=" * len(title), "")
        yield from _lengths(own)
        yield from _differences("Differences in accepted length", differences(own, accepted_length))
        for what, function in (("accepted length", accepted_length), ("block efficiency", block_efficiency)):
            for axis, many in MANY.items():
                apart = between_labels(own, function, axis)
                yield from _differences(f"Differences in {what} between {many}", apart, many, **{axis: "verifier"})
        yield from _measures("Quality of the outputs", everyone, QUALITY)
        for measure in FROM_SAMPLING:
            found = from_base(everyone, QUALITY[measure], SAMPLING)
            yield from _differences(f"{_TITLES[measure]} less that of ordinary sampling", found)
        yield from _measures("Divergence from the target where they decided", own, DIVERGENCE)
        yield from _measures(AT_NODES_TITLE, own, AT_NODES)
        if labels is not None:
            for rule, names in labels.sweeps().items():
                yield from _sweep(rule, names, own, labels)
            for nodes, trees in labels.equal_budgets().items():
                yield from _budget(nodes, trees, own)
        yield from _kinds(own)
        yield from _places("acceptance by depth", own, 1)
        yield from _places("acceptance by sibling rank", own, 0)


def _lengths(tallies: Sequence[Tally]) -> Iterator[str]:
    rows = []
    places = _Places(tallies)
    for group, verifiers in by_group(tallies).items():
        for name, own in verifiers.items():
            accepted, efficiency = estimate(own, accepted_length), estimate(own, block_efficiency)
            steps = sum(tally.steps for tally in own)
            rows.append(
                [*places(group), name, str(accepted.prompts), str(steps), interval(accepted), interval(efficiency)]
            )
    yield from table([*places.head, "verifier", "prompts", "steps", "accepted", "block eff."], rows)


def _measures(title: str, tallies: Sequence[Tally], measures: Mapping[str, Measure]) -> Iterator[str]:
    """A column for each measure that any of them has."""
    found = [
        (group, name, {measure: estimate(own, function) for measure, function in measures.items()})
        for group, verifiers in by_group(tallies).items()
        for name, own in verifiers.items()
    ]
    columns = [measure for measure in measures if any(cells[measure].prompts for _, _, cells in found)]
    if columns:
        yield title
        places = _Places(tallies)
        rows = [[*places(group), name, *(interval(cells[it]) for it in columns)] for group, name, cells in found]
        yield from table([*places.head, "verifier", *(_TITLES[measure] for measure in columns)], rows)


def _sweep(rule: str, names: list[str], tallies: Sequence[Tally], labels: Labels) -> Iterator[str]:
    """One rule under several options: how long it accepts, and what that costs."""
    options = labels.varied(names)
    columns = {
        "accepted": accepted_length,
        "block eff.": block_efficiency,
        **{_TITLES[it]: measure for it, measure in (QUALITY | DIVERGENCE).items() if it in _SWEPT},
    }
    rows = []
    places = _Places(tallies)
    for group, verifiers in by_group(tallies).items():
        for name in names:
            cells = [interval(estimate(verifiers.get(name, []), measure)) for measure in columns.values()]
            rows.append([*places(group), *(str(labels.options[name][option]) for option in options), *cells])
    yield f"Sweep of {rule}"
    yield from table([*places.head, *options, *columns], rows)


def _budget(nodes: int, trees: list[str], tallies: Sequence[Tally]) -> Iterator[str]:
    """Trees that can have as many nodes, verifier by verifier."""
    rows = []
    places = _Places(tallies)
    for group, verifiers in by_group(tallies).items():
        for name, own in verifiers.items() if group.tree in trees else ():
            cells = [interval(estimate(own, it)) for it in (nodes_per_step, accepted_length, block_efficiency)]
            *drafted, tree, temperature = places(group)
            rows.append([*drafted, name, temperature, tree, *cells])
    *heads, tree, temperature = places.head
    rows.sort(key=lambda row: row[: len(heads) + 2])  # stable: trees stay in their order
    yield f"Trees of at most {nodes} nodes"
    yield from table([*heads, "verifier", temperature, tree, "nodes", "accepted", "block eff."], rows)
    yield from _differences(
        f"Differences in block efficiency between trees of at most {nodes} nodes",
        between_trees(tallies, block_efficiency, trees),
        "trees",
        tree="verifier",
    )


def _differences(title: str, found: Sequence[Difference], pair: str = "verifiers", **heads: str) -> Iterator[str]:
    """A row for each pair; ``heads`` are those of :class:`_Places`."""
    if not any(it.prompts for it in found):
        return
    yield title
    places = _Places(found, **heads)
    rows = [[*places(it.group), *difference_cells(it), "noise" if it.noise else ""] for it in found]
    yield from table([*places.head, pair, "difference", "p", "Holm", ""], rows)


def difference_cells(it: Difference) -> list[str]:
    """Who less whom, the difference with its interval, p, and p after Holm's correction."""
    value = interval(Estimate(it.value, it.low, it.high, it.prompts), sign="+")
    return [f"{it.a} - {it.b}", value, f"{it.p:.4f}", f"{it.adjusted:.4f}"]


def _kinds(tallies: Sequence[Tally]) -> Iterator[str]:
    yield "Block efficiency by kind of prompt"
    kinds = list(dict.fromkeys(tally.kind for tally in tallies))
    names = list(dict.fromkeys(tally.verifier for tally in tallies))
    rows = []
    places = _Places(tallies)
    for group, verifiers in by_group(tallies).items():
        for kind in kinds:
            cells = [
                interval(estimate([tally for tally in verifiers.get(name, []) if tally.kind == kind], block_efficiency))
                for name in names
            ]
            rows.append([*places(group), kind, *cells])
    yield from table([*places.head, "kind", *names], rows)


def _places(title: str, tallies: Sequence[Tally], first: int) -> Iterator[str]:
    yield title[0].upper() + title[1:]
    found: list[tuple[Group, str, Counts]] = []
    for group, verifiers in by_group(tallies).items():
        for name, own in verifiers.items():
            found.append((group, name, added(tally.by_depth if first else tally.by_rank for tally in own)))
    width = max((len(counts) for _, _, counts in found), default=0)
    places = _Places(tallies)
    rows = [
        [*places(group), name, *(f"{a / c:.3f}" if c else "-" for a, c in counts), *[""] * (width - len(counts))]
        for group, name, counts in found
    ]
    yield from table([*places.head, "verifier", *(str(place + first) for place in range(width))], rows)


class _Places:
    """The first columns of a table: draft and processors where these have labels, tree and temperature.

    Args:
        rows: all that the table has, each with a ``group``.
        heads: field of the group -> what its column is called, where it holds something else.
    """

    def __init__(self, rows: Sequence[Tally] | Sequence[Difference], **heads: str):
        self._axes = [axis for axis in AXES if any(getattr(row.group, axis) is not None for row in rows)]
        self.head = [*(heads.get(field, field) for field in (*self._axes, "tree")), "T"]

    def __call__(self, group: Group) -> list[str]:
        labels = [_short(getattr(group, axis) or "-") for axis in self._axes]
        return [*labels, _short(group.tree), f"{group.temperature:g}"]


def _short(label: str) -> str:
    return label if len(label) <= 28 else label[:27] + "…"


def interval(it: Estimate, sign: str = "") -> str:
    """``1.234 [1.100, 1.400]``, or a dash for no prompts."""
    if not it.prompts:
        return "-"
    value, low, high = (round(one, 3) + 0.0 for one in (it.value, it.low, it.high))  # no -0.000
    return f"{value:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Columns as wide as they must be, and an empty line."""
    rows = [head, *rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    yield ""
