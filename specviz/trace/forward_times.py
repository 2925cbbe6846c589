"""How long the models' forwards take by width: of the target, and of one level of the draft.

What was not measured is not guessed: between two measured widths a straight line is drawn, outside them nothing is
said.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

from specviz.errors import SettingsError
from specviz.trace.schema import Trace

LEAST_STEPS = 3
"""Steps of one width for their median to count."""


class Width(NamedTuple):
    """Forwards of one width: rows that the target was fed, the root among them; median seconds; forwards behind it."""

    rows: int
    seconds: float
    forwards: int


class ForwardTimes(NamedTuple):
    """Attributes:
    target: by rising width.
    draft: median seconds a level of the tree; of a head that drafts all levels at once, of that forward. None where
        none was measured.
    at_once: whether it is such a head.
    """

    target: tuple[Width, ...]
    draft: float | None
    at_once: bool = False

    def seconds(self, nodes: int, levels: int) -> float | None:
        """Of both models' forwards in a step; None outside what was measured."""
        target = self._of_target(nodes + 1)
        if target is None or self.draft is None:
            return None
        return target + self.draft * (min(levels, 1) if self.at_once else levels)

    def _of_target(self, rows: int) -> float | None:
        for low, high in zip(self.target, self.target[1:], strict=False):
            if low.rows <= rows <= high.rows:
                share = (rows - low.rows) / (high.rows - low.rows)
                return low.seconds + share * (high.seconds - low.seconds)
        return next((one.seconds for one in self.target if one.rows == rows), None)


def times_of_run(traces: Sequence[Trace]) -> ForwardTimes:
    """From the timings of steps that had nothing to prefill."""
    head = traces[0].models.draft.head if traces and traces[0].models.draft else None
    at_once = head is not None and head.kind == "block"
    widths: dict[int, list[float]] = {}
    levels: list[float] = []
    for step in (step for trace in traces for step in trace.steps):
        times, deepest = step.timings, max(node.depth for node in step.tree.nodes)
        if step.prefilled or times is None or times.target is None or times.draft is None:
            continue
        widths.setdefault(len(step.tree.nodes), []).append(times.target)
        if deepest:
            levels.append(times.draft if at_once else times.draft / deepest)
    return ForwardTimes(_widths(widths), median(levels) if len(levels) >= LEAST_STEPS else None, at_once)


def _widths(found: Mapping[int, Sequence[float]]) -> tuple[Width, ...]:
    enough = [(rows, own) for rows, own in sorted(found.items()) if len(own) >= LEAST_STEPS]
    return tuple(Width(rows, median(own), len(own)) for rows, own in enough)


def times_of_bench(report: Any) -> ForwardTimes:
    """From what ``python -m specviz bench --json`` wrote.

    Raises:
        SettingsError: for anything else.
    """
    try:
        found: dict[int, Width] = {}
        levels: list[float] = []
        for tree in report["steps"]:
            seconds, shape = tree["median_seconds"], tree["tree"]["options"].get("tree")
            rows = int(tree["nodes"]) + 1
            found[rows] = Width(rows, float(seconds["target"]), int(tree["steps"]))
            if isinstance(shape, str):
                levels.append(float(seconds["draft"]) / (shape.count(",") + 1))
        times = [*levels, *(width.seconds for width in found.values())]
        if not levels or min(found) < 1 or not all(0 <= time < math.inf for time in times):
            raise ValueError
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError):
        raise SettingsError(
            "The file has no times of trees; write it with: python -m specviz bench --json FILE"
        ) from None
    return ForwardTimes(tuple(found[rows] for rows in sorted(found)), median(levels))


def merged(times: Iterable[ForwardTimes]) -> ForwardTimes:
    """Several measurements as one; where two have a width, the one with more forwards."""
    known = list(times)
    widths: dict[int, Width] = {}
    for width in (width for one in known for width in one.target):
        if width.rows not in widths or widths[width.rows].forwards < width.forwards:
            widths[width.rows] = width
    draft = next((one.draft for one in known if one.draft is not None), None)
    return ForwardTimes(tuple(widths[rows] for rows in sorted(widths)), draft, any(one.at_once for one in known))
