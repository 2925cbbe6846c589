"""Charts of several panels below each other: their headings and legend, and what is drawn into them."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from specviz.compare.report.charts import (
    LEGEND_GAP,
    MEASURES,
    PALETTES,
    Look,
    SummaryRow,
    Theme,
    base_layout,
    label,
    legend_height,
    point_data,
    value_text,
    whiskers,
)


def head_panel(figure: go.Figure, name: str, panel: int) -> None:
    """Write the name of the tree, and of its draft, over its panel."""
    place = {"x": 0, "xref": "x domain", "xanchor": "left", "y": 1.02, "yref": "y domain", "yanchor": "bottom"}
    figure.add_annotation(**place, text=f"<b>{label(name, 44)}</b>", showarrow=False, row=panel, col=1)


def lay_out(figure: go.Figure, panels: int, shown: dict[str, None], theme: Theme, title: str) -> None:
    """Room for ``panels`` pixels of panels below a legend of the names ``shown``."""
    legend = legend_height(shown)
    layout = base_layout(theme, panels + legend + 80, title)
    layout["margin"]["t"] = legend + LEGEND_GAP
    figure.update_layout(**layout)


def place_line(name: str, rows: Sequence[SummaryRow], look: Look, legend: bool) -> go.Scatter:
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


def tradeoff_point(pair: tuple[SummaryRow, SummaryRow], look: Look, legend: bool) -> go.Scatter:
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


def sweeps(points: Sequence[tuple[SummaryRow, SummaryRow]], seen: dict[str, Look]) -> list[go.Scatter]:
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


def baseline(figure: go.Figure, row: SummaryRow, panel: int, theme: Theme) -> None:
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
