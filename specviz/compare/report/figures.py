"""Charts of a comparison: how long verifiers accept, where, how they differ, and what it costs in quality.

Every function takes rows of the summary (``summary.json`` of a comparison's folder, see docs/comparison.md) and returns
a Plotly figure; ``figure.layout.meta["title"]`` says in words what it shows. A chart without rows is empty and says so.
Points carry ``customdata`` [mode, tree, temperature, verifier, kind], and the draft where drafts have labels, for going
from a point to its steps. A tree is then named together with its draft.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from specviz.compare.report.charts import (
    LEGEND_GAP,
    MEASURES,
    PALETTES,
    TARGET_ALONE,
    Line,
    Look,
    SummaryRow,
    Theme,
    axis,
    base_layout,
    folded,
    forest,
    label,
    legend_height,
    looks,
    place_of,
    place_text,
    point_data,
    value_text,
    whiskers,
)

By = Literal["depth", "rank"]
PLACES: tuple[By, ...] = ("depth", "rank")
_PANEL = 190
_MODES = {"paired": "on the same trees", "free": "each on its own text"}
_MODES_OF_DRAFTS = {"paired": "the driver's text", "free": "each verifier's own text"}


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
    seen = looks(rows, theme)
    groups = [
        (
            place_text(of_place[0]),
            [
                Line(name, _by_temperature(of_verifier), seen[name])
                for name, of_verifier in _parted(of_place, "verifier").items()
            ],
        )
        for of_place in _by_place(rows).values()
    ]
    title = f"{_capital(MEASURES[measure])} by tree and verifier, {_MODES[mode]}"
    return _or_empty(rows, theme, title) or forest(groups, theme=theme, title=title, x_title=MEASURES[measure])


def trees_figure(
    estimates: Iterable[SummaryRow],
    *,
    measure: str = "block_efficiency",
    mode: str = "paired",
    theme: Theme = "light",
) -> go.Figure:
    """The same the other way round: a heading a verifier, a line a tree, so that trees are compared."""
    rows = _picked(estimates, measure, mode, kind=None)
    seen = looks(rows, theme)
    groups = [
        (
            name,
            [
                Line(_in_lines(some[0].get("draft"), tree), _by_temperature(some), seen[name])
                for tree, some in ((it[0]["tree"], it) for it in _by_place(own).values())
            ],
        )
        for name, own in _parted(rows, "verifier").items()
        if name != TARGET_ALONE
    ]
    title = f"{_capital(MEASURES[measure])} by verifier and tree, {_MODES[mode]}"
    return _or_empty(rows, theme, title) or forest(groups, theme=theme, title=title, x_title=MEASURES[measure])


def drafts_figure(
    estimates: Iterable[SummaryRow],
    *,
    measure: str = "block_efficiency",
    mode: str = "paired",
    theme: Theme = "light",
) -> go.Figure:
    """One measure draft by draft: a heading a verifier and tree, a line a draft, a symbol a temperature."""
    rows = [row for row in _picked(estimates, measure, mode, kind=None) if row.get("draft") is not None]
    seen = looks(rows, theme)
    groups = [
        (
            heading,
            [
                Line(draft, _by_temperature(own), seen[own[0]["verifier"]])
                for draft, own in _parted(some, "draft").items()
            ],
        )
        for heading, some in _by_verifier_and_tree(rows).items()
    ]
    title = f"{_capital(MEASURES[measure])} by draft, {_MODES_OF_DRAFTS[mode]}"
    return _or_empty(rows, theme, title) or forest(groups, theme=theme, title=title, x_title=MEASURES[measure])


def kinds_figure(
    estimates: Iterable[SummaryRow],
    *,
    tree: str,
    measure: str = "block_efficiency",
    mode: str = "paired",
    theme: Theme = "light",
) -> go.Figure:
    """One measure on one tree, a heading a kind of prompt, a line a verifier (and draft), a symbol a temperature."""
    rows = [row for row in _picked(estimates, measure, mode) if row["tree"] == tree and row["kind"] is not None]
    seen = looks(rows, theme)
    groups = [
        (
            kind,
            [
                Line(_in_lines(draft, name), _by_temperature(some), seen[name])
                for (draft, name), some in _parted_by(own, lambda row: (row.get("draft"), row["verifier"])).items()
            ],
        )
        for kind, own in _parted(rows, "kind").items()
    ]
    title = f"{_capital(MEASURES[measure])} by kind of prompt, tree {tree}, {_MODES[mode]}"
    return _or_empty(rows, theme, title) or forest(groups, theme=theme, title=title, x_title=MEASURES[measure])


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
    panels, seen = _by_place(rows), looks(rows, theme)
    figure = make_subplots(rows=len(panels), cols=1, vertical_spacing=min(0.25, 46 / (_PANEL * len(panels))))
    shown: dict[str, None] = {}
    for panel, of_place in enumerate(panels.values(), start=1):
        for name, own in _parted(of_place, "verifier").items():
            own = sorted(own, key=lambda row: row["place"])
            figure.add_trace(_place_line(name, own, seen[name], name not in shown), row=panel, col=1)
            shown[name] = None
        _head(figure, place_text(of_place[0]), panel)
    _lay_out(figure, _PANEL * len(panels), shown, theme, title)
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
    rows = [row for row in differences if (row["measure"], row["mode"]) == (measure, mode) and row["prompts"]]
    # A pair is drawn in one colour, its clearest: a's.
    seen = looks([{"verifier": name} for row in rows for name in (row["a"], row["b"])], theme)
    groups = [
        (
            place_text(some[0]),
            [Line(text, _by_temperature(own), seen[own[0]["a"]]) for text, own in _by_pair(some).items()],
        )
        for some in _by_place(rows).values()
    ]
    title = f"Differences in {MEASURES[measure]}, {_MODES[mode]}"
    x_title = f"difference in {MEASURES[measure]}"
    return _or_empty(rows, theme, title) or forest(groups, theme=theme, title=title, x_title=x_title, zero=True)


def draft_differences_figure(
    differences: Iterable[SummaryRow],
    *,
    measure: str = "block_efficiency",
    mode: str = "paired",
    theme: Theme = "light",
) -> go.Figure:
    """The same between drafts: a heading a verifier and tree, a line a pair of drafts.

    Args:
        differences: rows of ``draft_differences``; a point leads to the runs of ``a``.
    """
    rows = [
        dict(row) | {"draft": row["a"]}
        for row in differences
        if (row["measure"], row["mode"]) == (measure, mode) and row["prompts"]
    ]
    seen = looks(rows, theme)
    groups = [
        (heading, [Line(text, _by_temperature(own), seen[own[0]["verifier"]]) for text, own in _by_pair(some).items()])
        for heading, some in _by_verifier_and_tree(rows).items()
    ]
    title = f"Differences between drafts in {MEASURES[measure]}, {_MODES_OF_DRAFTS[mode]}"
    x_title = f"difference in {MEASURES[measure]}"
    return _or_empty(rows, theme, title) or forest(groups, theme=theme, title=title, x_title=x_title, zero=True)


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
        for trace in _sweeps(own, seen):
            figure.add_trace(trace, row=panel, col=1)
        for pair in own:
            name = pair[1]["verifier"]
            figure.add_trace(_tradeoff_point(pair, seen[name], name not in shown), row=panel, col=1)
            shown[name] = None
        for base in alone[:1]:
            _baseline(figure, base, panel, theme)
        _head(figure, place_text(own[0][1]), panel)
    _lay_out(figure, panel_height * len(places), shown, theme, title)
    figure.update_xaxes(**axis(theme, zeroline=False))
    figure.update_xaxes(title={"text": MEASURES[x]}, row=len(places), col=1)
    figure.update_yaxes(**axis(theme, zeroline=False))
    figure.update_yaxes(title={"text": folded(MEASURES[y])})
    return figure


# -------------------------------------------------------------------------------------------------------- pieces


def _head(figure: go.Figure, name: str, panel: int) -> None:
    """Write the name of the tree, and of its draft, over its panel."""
    place = {"x": 0, "xref": "x domain", "xanchor": "left", "y": 1.02, "yref": "y domain", "yanchor": "bottom"}
    figure.add_annotation(**place, text=f"<b>{label(name, 44)}</b>", showarrow=False, row=panel, col=1)


def _lay_out(figure: go.Figure, panels: int, shown: dict[str, None], theme: Theme, title: str) -> None:
    """Room for ``panels`` pixels of panels below a legend of the names ``shown``."""
    legend = legend_height(shown)
    layout = base_layout(theme, panels + legend + 80, title)
    layout["margin"]["t"] = legend + LEGEND_GAP
    figure.update_layout(**layout)


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


def _parted(rows: Iterable[SummaryRow], by: str) -> dict[Any, list[SummaryRow]]:
    return _parted_by(rows, lambda row: row[by])


def _in_lines(draft: str | None, name: str) -> str:
    return name if draft is None else f"{draft}\n{name}"


def _by_place(rows: Iterable[SummaryRow]) -> dict[Any, list[SummaryRow]]:
    return _parted_by(rows, place_of)


def _by_verifier_and_tree(rows: Iterable[SummaryRow]) -> dict[Any, list[SummaryRow]]:
    return _parted_by(rows, lambda row: f"{row['verifier']} · {row['tree']}")


def _by_pair(rows: Iterable[SummaryRow]) -> dict[Any, list[SummaryRow]]:
    return _parted_by(rows, lambda row: f"{row['a']}\n− {row['b']}")


def _parted_by(rows: Iterable[SummaryRow], by: Callable[[SummaryRow], Any]) -> dict[Any, list[SummaryRow]]:
    parts: dict[Any, list[SummaryRow]] = {}
    for row in rows:
        parts.setdefault(by(row), []).append(row)
    return parts


def _by_temperature(rows: Iterable[SummaryRow]) -> tuple[tuple[str, SummaryRow], ...]:
    return tuple((f"T {row['temperature']:g}", row) for row in rows)


def _place_line(name: str, rows: Sequence[SummaryRow], look: Look, legend: bool) -> go.Scatter:
    return go.Scatter(
        x=[row["place"] for row in rows],
        y=[row["value"] for row in rows],
        mode="lines+markers",
        name=label(name),
        legendgroup=name,
        showlegend=legend,
        line={"color": look.colour, "dash": look.dash, "width": 1.8},
        marker=look.marker(7),
        error_y=whiskers(rows, 1.0) | {"color": look.colour},
        customdata=[point_data(row) for row in rows],
        text=[value_text(row) for row in rows],
        hovertemplate=f"<b>{label(name, 60)}</b>, %{{x}}<br>%{{text}}<extra></extra>",
    )


def _tradeoff_point(pair: tuple[SummaryRow, SummaryRow], look: Look, legend: bool) -> go.Scatter:
    across, up = pair
    name = up["verifier"]
    return go.Scatter(
        x=[across["value"]],
        y=[up["value"]],
        mode="markers",
        name=label(name),
        legendgroup=name,
        showlegend=legend,
        marker=look.marker(10),
        error_x=whiskers([across], 1.0) | {"color": look.colour},
        error_y=whiskers([up], 1.0) | {"color": look.colour},
        customdata=[point_data(up)],
        hovertemplate=f"<b>{label(name, 60)}</b><br>{MEASURES[up['measure']]}: {value_text(up)}<br>"
        f"{MEASURES[across['measure']]}: {across['value']:.3f}<extra></extra>",
    )


def _sweeps(points: Sequence[tuple[SummaryRow, SummaryRow]], seen: dict[str, Look]) -> list[go.Scatter]:
    """A faint line through all points of a rule that takes part several times, from short to long."""
    rules: dict[str, list[tuple[SummaryRow, SummaryRow]]] = {}
    for pair in points:
        rules.setdefault(str(pair[1].get("rule") or pair[1]["verifier"]), []).append(pair)
    found = []
    for own in rules.values():
        if len(own) < 2:
            continue
        own.sort(key=lambda pair: pair[0]["value"])
        line = {"color": seen[own[0][1]["verifier"]].colour, "width": 1, "dash": "dot"}
        x, y = [across["value"] for across, _ in own], [up["value"] for _, up in own]
        found.append(go.Scatter(x=x, y=y, mode="lines", line=line, hoverinfo="skip", showlegend=False))
    return found


def _baseline(figure: go.Figure, row: SummaryRow, panel: int, theme: Theme) -> None:
    colours = PALETTES[theme]
    figure.add_hrect(
        y0=row["low"], y1=row["high"], fillcolor=colours["muted"], opacity=0.15, line_width=0, row=panel, col=1
    )
    figure.add_hline(y=row["value"], line={"color": colours["muted"], "dash": "dash", "width": 1.2}, row=panel, col=1)
    figure.add_annotation(
        x=1,
        xref="x domain",
        xanchor="right",
        y=row["value"],
        yanchor="bottom",
        text="ordinary sampling",
        showarrow=False,
        font={"color": colours["muted"], "size": 11},
        row=panel,
        col=1,
    )


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
