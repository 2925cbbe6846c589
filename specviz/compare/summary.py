"""The statistics of a comparison as plain rows, computed once for the report, the charts and the page.

Some tables, each a list of flat dicts of strings and numbers; see "summary.json" in docs/comparison.md.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specviz.compare.rows import SAMPLING, Row
from specviz.compare.statistics import (
    AXES,
    MEASURES,
    QUALITY,
    Axis,
    Counts,
    Difference,
    Estimate,
    Group,
    Tally,
    between_labels,
    between_trees,
    by_group,
    differences,
    estimate,
    from_base,
)
from specviz.errors import SettingsError

if TYPE_CHECKING:  # at run time it would import torch
    from specviz.compare.labels import Labels

SUMMARY = "summary.json"
FORMAT = 1
DIFFERENCES = ("accepted_length", "block_efficiency")
"""Measures whose differences between verifiers, and between trees of as many nodes, are tested."""
FROM_SAMPLING = ("nll_sampled_per_token", "nll_per_token", "distinct_1", "distinct_2", "rouge_l", "chrf")
"""Measures whose differences from ordinary sampling are tested."""

Summary = dict[str, Any]


def summarize(tallies: Sequence[Tally], labels: Labels | None = None) -> Summary:
    """All tables of the summary, from the tallies of all runs.

    Args:
        labels: what the labels stand for; without it nothing is known of rules, options and node budgets.

    Returns:
        ``format``, and the rows of ``verifiers``, ``trees``, ``estimates``, ``places``, ``differences`` and
        ``tree_differences``; where drafts have labels also of ``drafts`` and ``draft_differences``, and every row names
        its ``draft``; likewise ``processors`` and ``processors_differences`` where sets of them are compared.
    """
    verifying = [tally for tally in tallies if tally.verifier != SAMPLING]
    rules, options = (labels.rules, labels.options) if labels else ({}, {})
    return {
        "format": FORMAT,
        "verifiers": [{"label": it, "rule": rules[it], "options": dict(options[it])} for it in rules],
        "trees": [{"label": it, "nodes": nodes} for it, nodes in (labels.budgets if labels else {}).items()],
        "estimates": list(_estimates(tallies, rules)),
        "places": list(_places(verifying, rules)),
        "differences": list(_differences(tallies, verifying)),
        "tree_differences": list(_tree_differences(verifying, labels)),
        **_labelled(verifying, "draft", "drafts", labels.drafts if labels else {}),
        **_labelled(verifying, "processors", "processors", labels.processors if labels else {}),
    }


def _labelled(verifying: Sequence[Tally], axis: Axis, table: str, known: Mapping[str, str]) -> Summary:
    """What there is where drafts, or sets of processors, have labels: what these stand for, and tested differences."""
    if all(getattr(tally.group, axis) is None for tally in verifying):
        return {}
    return {
        table: [{"label": label, axis: what} for label, what in known.items()],
        differences_table(axis): list(_label_differences(verifying, axis)),
    }


def differences_table(axis: Axis) -> str:
    """The table of tested differences between what has these labels."""
    return f"{axis}_differences"


def _differences(tallies: Sequence[Tally], verifying: Sequence[Tally]) -> Iterator[Row]:
    for measure in DIFFERENCES:
        for mode in ("paired", "free"):
            own = [tally for tally in verifying if tally.group.mode == mode]
            yield from (_difference(measure, it) for it in differences(own, MEASURES[measure]))
    for measure in FROM_SAMPLING:
        free = [tally for tally in tallies if tally.group.mode == "free"]
        found = from_base(free, MEASURES[measure], SAMPLING)
        yield from (_difference(measure, it) for it in found if it.prompts)


def _tree_differences(tallies: Sequence[Tally], labels: Labels | None) -> Iterator[Row]:
    for nodes, trees in (labels.equal_budgets() if labels else {}).items():
        for measure in DIFFERENCES:
            for it in between_trees(tallies, MEASURES[measure], trees):
                row = _difference(measure, it)
                row["verifier"] = row.pop("tree")
                yield row | {"nodes": nodes}


def _label_differences(tallies: Sequence[Tally], axis: Axis) -> Iterator[Row]:
    for measure in DIFFERENCES:
        for mode in ("paired", "free"):
            own = [tally for tally in tallies if tally.group.mode == mode]
            for it in between_labels(own, MEASURES[measure], axis):
                row = _difference(measure, it)
                row["verifier"] = row.pop(axis)
                yield row


def _estimates(tallies: Sequence[Tally], rules: Mapping[str, str]) -> Iterator[Row]:
    kinds = list(dict.fromkeys(tally.kind for tally in tallies))
    for group, verifiers in by_group(tallies).items():
        for name, own in verifiers.items():
            for kind in (None, *kinds):
                some = own if kind is None else [tally for tally in own if tally.kind == kind]
                for measure, function in MEASURES.items():
                    if name == SAMPLING and measure not in QUALITY:
                        continue
                    it = estimate(some, function)
                    if it.prompts:
                        yield _key(group) | {
                            "verifier": name,
                            "rule": rules.get(name, name),
                            "kind": kind,
                            "measure": measure,
                            **_values(it),
                        }


def _places(tallies: Sequence[Tally], rules: Mapping[str, str]) -> Iterator[Row]:
    for group, verifiers in by_group(tallies).items():
        for name, own in verifiers.items():
            for by, first in (("depth", 1), ("rank", 0)):
                counts = [tally.by_depth if first else tally.by_rank for tally in own]
                for place in range(max(map(len, counts))):
                    it = estimate(own, _at(by, place))
                    if it.prompts:
                        yield _key(group) | {
                            "verifier": name,
                            "rule": rules.get(name, name),
                            "by": by,
                            "place": place + first,
                            **_values(it),
                        }


def _at(by: str, place: int) -> Any:
    def measure(tally: Tally) -> tuple[float, float]:
        counts: Counts = tally.by_depth if by == "depth" else tally.by_rank
        return counts[place] if place < len(counts) else (0, 0)

    return measure


def _difference(measure: str, it: Difference) -> Row:
    values = _values(Estimate(it.value, it.low, it.high, it.prompts))
    return _key(it.group) | {"measure": measure, "a": it.a, "b": it.b, **values, "p": it.p, "holm": it.adjusted}


def _key(group: Group) -> Row:
    key: Row = {"mode": group.mode, "tree": group.tree, "temperature": group.temperature}
    return key | {axis: label for axis in AXES if (label := getattr(group, axis)) is not None}


def _values(it: Estimate) -> Row:
    return {"value": it.value, "low": it.low, "high": it.high, "prompts": it.prompts}


# --------------------------------------------------------------------------------------------------- the file


def dump(summary: Summary) -> bytes:
    """As JSON, a row a line, six digits; what is not a number becomes null."""
    parts = []
    for name, value in summary.items():
        if isinstance(value, list):
            lines = ",\n".join(json.dumps(_finite(row), ensure_ascii=False) for row in value)
            parts.append(f"{json.dumps(name)}: [\n{lines}\n]")
        else:
            parts.append(f"{json.dumps(name)}: {json.dumps(value)}")
    return ("{\n" + ",\n".join(parts) + "\n}\n").encode("utf-8", "replace")


def _finite(row: Row) -> Row:
    return {name: _short(value) if isinstance(value, float) else value for name, value in row.items()}


def _short(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None


def load(folder: Path) -> Summary:
    """The summary of a finished comparison.

    Raises:
        SettingsError: if there is none, or another version's.
    """
    try:
        found = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        if found["format"] != FORMAT:
            raise KeyError("format")
    except (OSError, ValueError, KeyError, TypeError):
        raise SettingsError(
            f"There is no summary of this version in {str(folder)!r}; run its compare command again to make it."
        ) from None
    summary: Summary = found
    return summary
