"""What all charts of a comparison share: colours of both themes, measures, labels, and the forest chart.

A chart is a pure function of a comparison's summary (plain rows, see docs/comparison.md) and a theme. It computes no
statistic. Charts have no fixed width: they are laid out for 390 pixels and grow with their place.
"""

from __future__ import annotations

import html
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import plotly
import plotly.graph_objects as go

from specviz.compare.statistics import AXES
from specviz.figures.text import one_line
from specviz.verifier_styles import SLOTS, slots_of

PLOTLY_SCRIPT = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
"""What draws the charts in a browser, as the installed Plotly brings it."""
Theme = Literal["light", "dark"]
SummaryRow = Mapping[str, Any]
"""A row of one of the summary's tables."""

PALETTES: dict[str, dict[str, str]] = {
    "light": {
        "ink": "#16191d",
        "muted": "#57606a",
        "line": "#8a939c",
        "grid": "#e3e7eb",
    },
    "dark": {
        "ink": "#eceff3",
        "muted": "#a3adb8",
        "line": "#77818c",
        "grid": "#2b323a",
    },
}
"""The viewer's colours but for those of verifiers, which are in :mod:`specviz.verifier_styles`."""

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star", "hexagon", "x", "triangle-down", "pentagon")
TARGET_ALONE = "sampling"
"""Label of ordinary sampling from the target, which is no verifier."""

MEASURES: dict[str, str] = {
    "accepted_length": "accepted draft tokens a step",
    "block_efficiency": "new tokens a target forward",
    "nodes_per_step": "drafted nodes a step",
    "nll_per_token": "NLL a token at temperature 1, nats",
    "nll_sampled_per_token": "NLL a token as sampled, nats",
    "first_tv": "total variation to the target, given the tree",
    "first_kl": "KL divergence to the target, given the tree, nats",
    "first_tv_bound": "total variation to rejection on the same tree",
    "first_excess": "surprise above the target's entropy, nats",
    "accepted_at_nodes": "accepted at the nodes reached",
    "expected_at_nodes": "expected at the nodes reached",
    "optimum_at_nodes": "optimum at the nodes reached",
    "distinct_1": "different tokens / tokens",
    "distinct_2": "different pairs of tokens / pairs",
    "rouge_l": "ROUGE-L F1 against the reference",
    "chrf": "chrF against the reference",
}
"""Measure -> the axis title it is shown with."""

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_ROW = 30
_TALL_ROW = 42
"""Where texts have two lines."""
_HEADING = 32
_TOP, _BOTTOM = 40, 52
LEGEND_GAP = 30
"""Pixels between legend and plot; charts carry it for the script that draws them."""
_LABEL_COLUMNS = 26
_LABEL_OF_PLACE = 20
_NARROW = 350


@dataclass(frozen=True)
class Look:
    """How a verifier is drawn: never colour alone, and markers with a ring of ink, because some colours are pale."""

    colour: str
    symbol: str
    dash: str
    ring: str

    def marker(self, size: float, **more: Any) -> dict[str, Any]:
        """A marker as Plotly draws it."""
        ring = {"color": self.ring, "width": 0.8}
        return {"symbol": self.symbol, "color": self.colour, "size": size, "line": ring} | more


def figure_json(figure: go.Figure) -> dict[str, Any]:
    """A figure as plain JSON values, without Plotly's own template."""
    plain: dict[str, Any] = figure.to_plotly_json()
    plain["layout"].pop("template", None)
    return plain


def looks(rows: Iterable[SummaryRow], theme: Theme) -> dict[str, Look]:
    """Label -> look. Labels of one rule (a sweep) share its colour and differ in symbol."""
    rule_of = {str(row["verifier"]): str(row.get("rule") or row["verifier"]) for row in rows}
    rules = [rule for rule in dict.fromkeys(rule_of.values()) if rule != TARGET_ALONE]
    slots, palette = slots_of(rules), PALETTES[theme]
    found: dict[str, Look] = {}
    seen: dict[str, int] = {}
    for label, rule in rule_of.items():
        if rule == TARGET_ALONE:
            found[label] = Look(palette["muted"], "line-ns-open", "1px,2px", palette["ink"])
            continue
        slot, style = slots[rule], SLOTS[slots[rule]]
        place = seen[rule] = seen.get(rule, -1) + 1
        symbol = SYMBOLS[(slot + place) % len(SYMBOLS)]
        found[label] = Look(getattr(style, theme), symbol, style.dash, palette["ink"])
    return found


def label(text: Any, columns: int = _LABEL_COLUMNS) -> str:
    """A short text for a picture. Plotly reads a subset of HTML, so what a user typed is escaped."""
    return html.escape(one_line(str(text), columns), quote=False)


def folded(text: str, columns: int = 30) -> str:
    """In lines of so many characters, where words allow it."""
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) > columns:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "<br>".join(lines)


def legend_height(names: Collection[str]) -> int:
    """Pixels that a legend takes on the narrowest page: columns as wide as the longest text, as many as fit."""
    widest = 46 + 7 * max((min(len(name), _LABEL_COLUMNS) for name in names), default=0)
    return math.ceil(len(names) / max(1, _NARROW // widest)) * 29


def base_layout(theme: Theme, height: int, title: str) -> dict[str, Any]:
    """Fonts, colours and margins of every chart."""
    colours = PALETTES[theme]
    return {
        "height": height,
        "autosize": True,
        "margin": {"l": 8, "r": 12, "t": _TOP, "b": _BOTTOM, "pad": 2},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": FONT, "size": 12, "color": colours["ink"]},
        "hoverlabel": {"align": "left"},
        "showlegend": True,
        "legend": {
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "xref": "container",
            "y": 1,
            "yanchor": "top",
            "yref": "container",
            "maxheight": 1.0,
        },
        "meta": {"title": title, "theme": theme, "legendGap": LEGEND_GAP},
    }


def axis(theme: Theme, **more: Any) -> dict[str, Any]:
    """An axis with a light grid and a fixed range, so that scrolling on a phone does not drag it."""
    colours = PALETTES[theme]
    return {
        "gridcolor": colours["grid"],
        "zerolinecolor": colours["line"],
        "linecolor": colours["line"],
        "tickcolor": colours["line"],
        "fixedrange": True,
        "automargin": True,
    } | more


def bars(row: SummaryRow) -> tuple[float, float]:
    """How far the interval reaches (below, above) the value."""
    return row["value"] - row["low"], row["high"] - row["value"]


def whiskers(rows: Sequence[SummaryRow], thickness: float = 1.4) -> dict[str, Any]:
    """Intervals as Plotly draws them."""
    reach = [bars(row) for row in rows]
    return {
        "type": "data",
        "symmetric": False,
        "arrayminus": [below for below, _ in reach],
        "array": [above for _, above in reach],
        "thickness": thickness,
        "width": 3,
    }


def point_data(row: SummaryRow) -> list[Any]:
    """What a click needs to find the rows behind a point: mode, tree, temperature, verifier, kind; then the labels of
    the draft and of the processors, as far as there are any."""
    labels = [row.get(axis) for axis in AXES]
    while labels and labels[-1] is None:
        labels.pop()
    return [row["mode"], row["tree"], row["temperature"], row.get("verifier", row.get("a")), row.get("kind"), *labels]


def labels_of(row: SummaryRow, *without: str) -> list[str]:
    """The labels of the draft and of the processors, where they have some."""
    return [str(row[axis]) for axis in AXES if row.get(axis) is not None and axis not in without]


def place_of(row: SummaryRow) -> str:
    """Where verifiers were measured: the tree, whose it is where drafts have labels, and the processors where sets of
    them are compared."""
    return " · ".join([*labels_of(row), str(row["tree"])])


def value_text(row: SummaryRow, digits: int = 3) -> str:
    """A value with its interval, for hovering."""
    return (
        f"{row['value']:.{digits}f} [{row['low']:.{digits}f}, {row['high']:.{digits}f}]<br>"
        f"{row['prompts']} prompts, {label(place_of(row), 60)}, T {row['temperature']:g}"
    )


def place_text(row: SummaryRow) -> str:
    """The same where there is little room: labels are cut rather than the tree."""
    return " · ".join([*(one_line(label, _LABEL_OF_PLACE) for label in labels_of(row)), str(row["tree"])])


@dataclass(frozen=True)
class Line:
    """One line of a forest chart: points that share a text (of one or two lines), told apart by their series."""

    text: str
    points: tuple[tuple[str, SummaryRow], ...]
    look: Look


def forest(
    groups: Sequence[tuple[str, Sequence[Line]]], *, theme: Theme, title: str, x_title: str, zero: bool = False
) -> go.Figure:
    """Points with their intervals, line by line under headings.

    Args:
        groups: (heading, lines), from the top down; a heading may be empty.
        zero: whether the line x = 0 is what points are measured against.
    """
    colours = PALETTES[theme]
    series = list(dict.fromkeys(name for _, lines in groups for one in lines for name, _ in one.points))
    tall = any("\n" in one.text for _, lines in groups for one in lines)
    row_height, columns = (_TALL_ROW, 28) if tall else (_ROW, 34)
    traces: list[go.Scatter] = []
    headings: list[dict[str, Any]] = []
    ticks: list[tuple[float, str]] = []
    y = 0.0
    for heading, lines in groups:
        if heading:
            y -= _HEADING / row_height
            headings.append({"text": f"<b>{label(heading, columns)}</b>", "y": y + 0.15, "yanchor": "middle"})
        for one in lines:
            y -= 1
            ticks.append((y, "<br>".join(label(part) for part in one.text.split("\n"))))
            for name, row in one.points:
                traces.append(_point(one, name, row, y + _offset(series.index(name), len(series)), series, x_title))
    for index, name in enumerate(series if len(series) > 1 else ()):
        marker = {"symbol": SYMBOLS[index], "color": colours["muted"], "size": 8}
        traces.append(go.Scatter(x=[None], y=[None], mode="markers", name=label(name), legendgroup=name, marker=marker))
    height = round(-y * row_height) + _TOP + _BOTTOM + 28
    ticked = {
        "tickmode": "array",
        "tickvals": [at for at, _ in ticks],
        "ticktext": [text for _, text in ticks],
        "range": [y - 0.6, 0.2],
    }
    layout = base_layout(theme, height, title) | {
        "xaxis": axis(theme, title={"text": folded(x_title, 36)}, zeroline=zero, zerolinewidth=1.5),
        "yaxis": axis(theme, zeroline=False, **ticked),
        "annotations": [{"x": 0, "xref": "paper", "xanchor": "left", "showarrow": False} | it for it in headings],
    }
    return go.Figure(traces, layout)


def _offset(index: int, count: int) -> float:
    return 0.0 if count == 1 else 0.4 * (0.5 - index / (count - 1))


def _point(line: Line, name: str, row: SummaryRow, y: float, series: Sequence[str], x_title: str) -> go.Scatter:
    return go.Scatter(
        x=[row["value"]],
        y=[y],
        mode="markers",
        name=label(name),
        legendgroup=name,
        showlegend=False,
        error_x=whiskers([row]) | {"color": line.look.colour},
        marker=line.look.marker(8, symbol=SYMBOLS[series.index(name)]),
        customdata=[point_data(row)],
        hovertemplate=f"<b>{label(' '.join(line.text.split()), 60)}</b><br>{value_text(row)}"
        f"<br>{x_title}<extra></extra>",
    )
