"""Charts of a comparison: how long verifiers accept, where, how they differ, and what it costs in quality.

Every function takes rows of the summary (``summary.json`` of a comparison's folder, see docs/comparison.md) and returns
a Plotly figure; ``figure.layout.meta["title"]`` says in words what it shows. A chart without rows is empty and says so.
Points carry ``customdata`` [mode, tree, temperature, verifier, kind], then the draft and the processors where these
have labels, for going from a point to its steps. A tree is then named together with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from specviz.compare.report.charts import (
    MEASURES,
    TARGET_ALONE,
    Line,
    Look,
    SummaryRow,
    Theme,
    axis,
    base_layout,
    folded,
    forest,
    labels_of,
    looks,
    place_of,
    place_text,
)
from specviz.compare.report.panels import baseline, head_panel, lay_out, place_line, sweeps, tradeoff_point
from specviz.compare.statistics import AT_NODES, AT_NODES_TITLE, MANY, Axis
from specviz.trace.metrics import FORMULAS

_ONE: dict[Axis, str] = {"draft": "draft", "processors": "set of processors"}
By = Literal["depth", "rank"]
PLACES: tuple[By, ...] = ("depth", "rank")
_PANEL = 190
_MODES = {"paired": "on the same trees", "free": "each on its own text"}
_MODES_OF_LABELS = {"paired": "the driver's text", "free": "each verifier's own text"}


def lengths_figure(
    estimates: Iterable[SummaryRow],
    *,
    measure: str = "accepted_length",
    mode: str = "paired",
    theme: Theme = "light",
) -> go.Figure:
    """One measure for every verifier, a heading a tree, a symbol a temperature; all kinds of prompts together.

    Args:
        estimates: rows with ``mode, tree, temperature, verifier, kind, measure, value, low, high, prompts``.
        measure: a key of :data:`~specviz.compare.report.charts.MEASURES`.
    """
    rows = _picked(estimates, measure, mode, kind=None)
    title = f"{_capital(MEASURES[measure])} by tree and verifier, {_MODES[mode]}"
    return _lines(rows, _place, _verifier, theme, title, MEASURES[measure])


def trees_figure(
    estimates: Iterable[SummaryRow],
    *,
    measure: str = "block_efficiency",
    mode: str = "paired",
    theme: Theme = "light",
) -> go.Figure:
    """The same the other way round: a heading a verifier, a line a tree, so that trees are compared."""
    rows = [row for row in _picked(estimates, measure, mode, kind=None) if row["verifier"] != TARGET_ALONE]
    title = f"{_capital(MEASURES[measure])} by verifier and tree, {_MODES[mode]}"
    return _lines(rows, _verifier, lambda row: _below(labels_of(row), row["tree"]), theme, title, MEASURES[measure])


def labels_figure(
    estimates: Iterable[SummaryRow],
    *,
    axis: Axis = "draft",
    measure: str = "block_efficiency",
    mode: str = "paired",
    theme: Theme = "light",
) -> go.Figure:
    """One measure draft by draft, or set of processors by set: a heading a verifier and tree, a line a label, a symbol
    a temperature."""
    rows = [
        row
        for row in _picked(estimates, measure, mode, kind=None)
        if row.get(axis) is not None and row["verifier"] != TARGET_ALONE
    ]
    title = f"{_capital(MEASURES[measure])} by {_ONE[axis]}, {_MODES_OF_LABELS[mode]}"
    return _lines(rows, _verifier_and_tree(axis), lambda row: str(row[axis]), theme, title, MEASURES[measure])


def kinds_figure(
    estimates: Iterable[SummaryRow],
    *,
    tree: str,
    measure: str = "block_efficiency",
    mode: str = "paired",
    theme: Theme = "light",
) -> go.Figure:
    """One measure on one tree, a heading a kind of prompt, a line a verifier (under its labels), a symbol a
    temperature."""
    rows = [row for row in _picked(estimates, measure, mode) if row["tree"] == tree and row["kind"] is not None]
    title = f"{_capital(MEASURES[measure])} by kind of prompt, tree {tree}, {_MODES[mode]}"
    return _lines(
        rows,
        lambda row: str(row["kind"]),
        lambda row: _below(labels_of(row), row["verifier"]),
        theme,
        title,
        MEASURES[measure],
    )


def at_nodes_figure(
    estimates: Iterable[SummaryRow], *, temperature: float, mode: str = "paired", theme: Theme = "light"
) -> go.Figure:
    """What each rule accepted at the nodes that it reached, could expect there, and the optimum: a heading a tree, a
    line a verifier, a symbol a figure.

    Args:
        estimates: as of :func:`lengths_figure`, see :func:`at_nodes_rows`.
    """
    rows = [row for row in at_nodes_rows(estimates, mode) if row["temperature"] == temperature]
    title = f"{AT_NODES_TITLE}, at temperature {temperature:g}, {_MODES[mode]}"
    figure = _lines(
        rows, _place, _verifier, theme, title, "acceptance at a node reached", series=lambda row: str(row["what"])
    )
    figure.layout.meta |= {"how": f"At the nodes reached: {FORMULAS['optimum']}."}
    return figure


def at_nodes_rows(estimates: Iterable[SummaryRow], mode: str) -> list[SummaryRow]:
    """The rows of all kinds of prompts of :data:`~specviz.compare.statistics.AT_NODES`; ``what`` is accepted, expected
    or optimum."""
    return [
        dict(row) | {"what": row["measure"].removesuffix("_at_nodes")}
        for row in estimates
        if row["measure"] in AT_NODES and row["mode"] == mode and row["kind"] is None and row["prompts"]
    ]


def places_figure(
    places: Iterable[SummaryRow],
    *,
    by: By = "depth",
    temperature: float,
    mode: str = "paired",
    theme: Theme = "light",
) -> go.Figure:
    """Acceptance by depth, or by sibling rank: a panel a tree, a line a verifier.

    Args:
        places: rows with ``mode, tree, temperature, verifier, by, place, value, low, high, prompts``.
    """
    rows = [row for row in places if (row["by"], row["mode"], row["temperature"]) == (by, mode, temperature)]
    what = "depth" if by == "depth" else "sibling rank"
    title = f"Acceptance by {what} at temperature {temperature:g}, {_MODES[mode]}"
    if empty := _or_empty(rows, theme, title):
        return empty
    panels, seen = _parted_by(rows, place_of), looks(rows, theme)
    figure = make_subplots(rows=len(panels), cols=1, vertical_spacing=min(0.25, 46 / (_PANEL * len(panels))))
    shown: dict[str, None] = {}
    for panel, of_place in enumerate(panels.values(), start=1):
        for name, own in _parted_by(of_place, _verifier).items():
            own = sorted(own, key=lambda row: row["place"])
            figure.add_trace(place_line(name, own, seen[name], name not in shown), row=panel, col=1)
            shown[name] = None
        head_panel(figure, place_text(of_place[0]), panel)
    lay_out(figure, _PANEL * len(panels), shown, theme, title)
    figure.update_xaxes(**axis(theme, dtick=1, zeroline=False))
    figure.update_xaxes(title={"text": what if by == "depth" else f"{what}, from 0"}, row=len(panels), col=1)
    figure.update_yaxes(**axis(theme, range=[0, 1.02], dtick=0.25, zeroline=False))
    return figure


def differences_figure(
    differences: Iterable[SummaryRow],
    *,
    measure: str = "accepted_length",
    mode: str = "paired",
    theme: Theme = "light",
) -> go.Figure:
    """Paired differences with their intervals: a heading a tree, a line a pair of verifiers, a symbol a temperature.

    Args:
        differences: rows with ``mode, tree, temperature, measure, a, b, value, low, high, prompts, p, holm``.
    """
    rows = _tested(differences, measure, mode)
    # A pair is drawn in one colour, its clearest: a's.
    seen = looks([{"verifier": name} for row in rows for name in (row["a"], row["b"])], theme)
    title = f"Differences in {MEASURES[measure]}, {_MODES[mode]}"
    return _lines(rows, _place, _pair, theme, title, f"difference in {MEASURES[measure]}", seen, "a", zero=True)


def label_differences_figure(
    differences: Iterable[SummaryRow],
    *,
    axis: Axis = "draft",
    measure: str = "block_efficiency",
    mode: str = "paired",
    theme: Theme = "light",
) -> go.Figure:
    """The same between drafts, or sets of processors: a heading a verifier and tree, a line a pair of them.

    Args:
        differences: rows of ``draft_differences`` or ``processors_differences``; a point leads to the runs of ``a``.
    """
    rows = [dict(row) | {axis: row["a"]} for row in _tested(differences, measure, mode)]
    title = f"Differences between {MANY[axis]} in {MEASURES[measure]}, {_MODES_OF_LABELS[mode]}"
    x_title = f"difference in {MEASURES[measure]}"
    return _lines(rows, _verifier_and_tree(axis), _pair, theme, title, x_title, zero=True)


def tradeoff_figure(
    estimates: Iterable[SummaryRow],
    *,
    x: str = "accepted_length",
    y: str = "nll_per_token",
    mode: str = "free",
    temperature: float,
    theme: Theme = "light",
) -> go.Figure:
    """Accepted length against quality: a panel a tree, a point a verifier; a line joins options of one rule (a sweep).

    Ordinary sampling from the target, where it was run, is a horizontal line with its interval as a band.
    """
    rows = [row for row in estimates if row["temperature"] == temperature]
    quality = {(place_of(row), row["verifier"]): row for row in _picked(rows, y, mode, kind=None)}
    across = {(place_of(row), row["verifier"]): row for row in _picked(rows, x, mode, kind=None)}
    points = [(across[key], row) for key, row in quality.items() if key in across and key[1] != TARGET_ALONE]
    title = f"{_capital(MEASURES[y])} against {MEASURES[x]} at temperature {temperature:g}"
    if empty := _or_empty(points, theme, title):
        return empty
    seen = looks([row for _, row in points], theme)
    places = list(dict.fromkeys(place_of(row) for _, row in points))
    panel_height = _PANEL + 70
    figure = make_subplots(rows=len(places), cols=1, vertical_spacing=min(0.25, 60 / (panel_height * len(places))))
    shown: dict[str, None] = {}
    alone = [row for (_, name), row in quality.items() if name == TARGET_ALONE]
    for panel, place in enumerate(places, start=1):
        own = [pair for pair in points if place_of(pair[1]) == place]
        for trace in sweeps(own, seen):
            figure.add_trace(trace, row=panel, col=1)
        for pair in own:
            name = pair[1]["verifier"]
            figure.add_trace(tradeoff_point(pair, seen[name], name not in shown), row=panel, col=1)
            shown[name] = None
        for base in [row for row in alone if row.get("processors") == own[0][1].get("processors")][:1]:
            baseline(figure, base, panel, theme)
        head_panel(figure, place_text(own[0][1]), panel)
    lay_out(figure, panel_height * len(places), shown, theme, title)
    figure.update_xaxes(**axis(theme, zeroline=False))
    figure.update_xaxes(title={"text": MEASURES[x]}, row=len(places), col=1)
    figure.update_yaxes(**axis(theme, zeroline=False))
    figure.update_yaxes(title={"text": folded(MEASURES[y])})
    return figure


# -------------------------------------------------------------------------------------------------------- pieces


def _picked(estimates: Iterable[SummaryRow], measure: str, mode: str, **fields: Any) -> list[SummaryRow]:
    """Rows of one measure and mode that have a value."""
    return [
        row
        for row in estimates
        if row["measure"] == measure
        and row["mode"] == mode
        and row["prompts"]
        and all(row[name] == value for name, value in fields.items())
    ]


def _tested(differences: Iterable[SummaryRow], measure: str, mode: str) -> list[SummaryRow]:
    return [row for row in differences if (row["measure"], row["mode"]) == (measure, mode) and row["prompts"]]


def _lines(
    rows: Sequence[SummaryRow],
    heading: Callable[[SummaryRow], Any],
    text: Callable[[SummaryRow], str],
    theme: Theme,
    title: str,
    x_title: str,
    seen: Mapping[str, Look] | None = None,
    verifier: str = "verifier",
    *,
    series: Callable[[SummaryRow], str] = lambda row: f"T {row['temperature']:g}",
    zero: bool = False,
) -> go.Figure:
    """A forest chart of rows.

    Args:
        heading: row -> what rows under one heading share; of a tuple the last one is what is shown.
        text: row -> what rows on one line share, and its text.
        seen: how verifiers look; None: as these rows have them.
        verifier: the field of a row that says in whose look it is drawn.
        series: row -> the name of its symbol.
    """
    if empty := _or_empty(rows, theme, title):
        return empty
    known = looks(rows, theme) if seen is None else seen
    groups = [
        (
            key[-1] if isinstance(key, tuple) else key,
            [
                Line(of_line, tuple((series(row), row) for row in own), known[own[0][verifier]])
                for of_line, own in _parted_by(some, text).items()
            ],
        )
        for key, some in _parted_by(rows, heading).items()
    ]
    return forest(groups, theme=theme, title=title, x_title=x_title, zero=zero)


def _place(row: SummaryRow) -> tuple[str, str]:
    return place_of(row), place_text(row)


def _verifier(row: SummaryRow) -> str:
    return str(row["verifier"])


def _verifier_and_tree(axis: Axis) -> Callable[[SummaryRow], str]:
    """A heading where the labels of an axis are told apart: all else that runs differ in, but for the temperature."""
    return lambda row: " · ".join([row["verifier"], *labels_of(row, axis), row["tree"]])


def _pair(row: SummaryRow) -> str:
    return f"{row['a']}\n− {row['b']}"


def _below(labels: Sequence[str], name: str) -> str:
    """In two lines, where there are labels."""
    return f"{' · '.join(labels)}\n{name}" if labels else name


def _parted_by(rows: Iterable[SummaryRow], by: Callable[[SummaryRow], Any]) -> dict[Any, list[SummaryRow]]:
    parts: dict[Any, list[SummaryRow]] = {}
    for row in rows:
        parts.setdefault(by(row), []).append(row)
    return parts


def _or_empty(rows: Sequence[Any], theme: Theme, title: str) -> go.Figure | None:
    """A figure that says that there is nothing, where there is nothing."""
    if rows:
        return None
    figure = go.Figure(layout=base_layout(theme, 90, title))
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    figure.add_annotation(
        x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False, text="Nothing was measured for this chart."
    )
    return figure


def _capital(text: str) -> str:
    return text if any(letter.isupper() for letter in text.split()[0]) else text[:1].upper() + text[1:]
