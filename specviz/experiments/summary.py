"""The statistics of a comparison as plain rows: what the report, the charts and the page show, made once.

Three tables, each a list of flat dicts of strings and numbers; see "summary.json" in docs/comparison.md.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from specviz.errors import SettingsError
from specviz.experiments.rows import Row
from specviz.experiments.statistics import (
    MEASURES,
    Counts,
    Difference,
    Estimate,
    Group,
    Tally,
    by_group,
    differences,
    estimate,
)

SUMMARY = "summary.json"
FORMAT = 1
DIFFERENCES = ("accepted_length", "block_efficiency")
"""Measures whose differences between verifiers are tested."""

Summary = dict[str, Any]


def summarize(tallies: Sequence[Tally], rules: Mapping[str, str] | None = None) -> Summary:
    """All tables.

    Args:
        rules: label of a verifier -> the verifier it is; labels are their own if it is not given.

    Returns:
        ``format``, and the rows of ``estimates``, ``places`` and ``differences``.
    """
    return {
        "format": FORMAT,
        "estimates": list(_estimates(tallies, rules or {})),
        "places": list(_places(tallies, rules or {})),
        "differences": [
            _difference(measure, it)
            for measure in DIFFERENCES
            for mode in ("paired", "free")
            for it in differences([tally for tally in tallies if tally.group.mode == mode], MEASURES[measure])
        ],
    }


def _estimates(tallies: Sequence[Tally], rules: Mapping[str, str]) -> Iterator[Row]:
    kinds = list(dict.fromkeys(tally.kind for tally in tallies))
    for group, verifiers in by_group(tallies).items():
        for name, own in verifiers.items():
            for kind in (None, *kinds):
                some = own if kind is None else [tally for tally in own if tally.kind == kind]
                for measure, function in MEASURES.items():
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
    return {"mode": group.mode, "tree": group.tree, "temperature": group.temperature}


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
