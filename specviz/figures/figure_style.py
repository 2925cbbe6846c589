"""How things look, as Plotly traces without data: styles, dashes and colour *roles*.

A role (``ink``, ``edge``, ``v0`` ...) is mapped to a colour by the viewer script, from the page's CSS variables, so one
frame serves the light and the dark page. Roles sit in each trace's ``meta``, because Plotly refuses them as colours.
The script copies these traces and fills in the coordinates it expands from a frame's columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from specviz.figures.block_types import Looks, PlotlyFigure
from specviz.verifier_styles import SLOTS, slots_of

EDGE_WIDTHS = (0.8, 1.6, 3.2, 6.0)
EDGE_STEPS = (0.02, 0.1, 0.35)
"""Target probabilities from which an edge is drawn in the next width."""
RIBBON_WIDTH = 2.8
BAR_WIDTH = 4.0


def verifier_looks(names: Sequence[str]) -> list[Looks]:
    """Colour role and dash of every verifier; see :mod:`specviz.verifier_styles`."""
    return [{"name": name, "role": f"v{slot}", "dash": SLOTS[slot].dash} for name, slot in slots_of(names).items()]


def verifier_css() -> str:
    """The colours of all verifiers as CSS variables of the viewer, ``--sv-v0`` and on, for both themes."""
    light, dark = (
        "".join(f" --sv-v{slot}: {getattr(style, theme)};" for slot, style in enumerate(SLOTS))
        for theme in ("light", "dark")
    )
    return f'.specviz {{{light} }}\n.dark .specviz, [data-theme="dark"] .specviz {{{dark} }}\n'


def edge_class(target_prob: float | None) -> int:
    """Index into :data:`EDGE_WIDTHS`."""
    return sum((target_prob or 0.0) >= step for step in EDGE_STEPS)


def tree_figure(names: Sequence[str]) -> go.Figure:
    """The empty figure of a draft tree with these verifiers; traces in drawing order.

    Few traces with few points, because each trace costs Plotly about a millisecond a move, and a marker or a label half
    of one: a bar is a stroke, a bonus token's frame goes with the ribbon that leads to it, and the page lays labels and
    state marks over the picture as elements of its own.
    """
    return empty_figure(
        [
            *(line_trace(f"edge.{i}", "edge", width) for i, width in enumerate(EDGE_WIDTHS)),
            line_trace("edge.stub", "edge", 1.0, "2px,3px"),
            area_trace("card.unexamined", "card-faint", "line-faint", 1.0, "2px,2px"),
            area_trace("card.passed", "card", "line", 1.0),
            area_trace("card.rejected", "card", "line", 1.0),
            area_trace("card.accepted", "card-strong", "ink", 1.8),
            area_trace("card.stub", "card-faint", "line", 1.0, "4px,3px"),
            *(line_trace(f"path.{v['name']}", v["role"], RIBBON_WIDTH, v["dash"]) for v in verifier_looks(names)),
            line_trace("bar.rail", "rail", BAR_WIDTH),
            line_trace("bar.draft", "draft", BAR_WIDTH),
            line_trace("bar.target", "target", BAR_WIDTH),
        ]
    )


def figure_json(figure: go.Figure) -> PlotlyFigure:
    """A figure as plain JSON values, without Plotly's own template."""
    plain: PlotlyFigure = figure.to_plotly_json()
    plain["layout"].pop("template", None)
    return plain


def empty_figure(traces: list[go.Scatter]) -> go.Figure:
    """These traces on bare axes in CSS pixels, without a background."""
    axis = {"visible": False, "fixedrange": True}
    return go.Figure(
        data=traces,
        layout={
            "xaxis": axis,
            "yaxis": axis,
            "margin": {"l": 0, "r": 0, "t": 0, "b": 0, "pad": 0},
            "showlegend": False,
            "hovermode": False,
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
        },
    )


def line_trace(name: str, role: str, width: float, dash: str = "solid") -> go.Scatter:
    """Lines in one colour role; gaps part them."""
    line = {"width": width, "dash": dash}
    return go.Scatter(name=name, mode="lines", line=line, hoverinfo="skip", meta={"line": role})


def area_trace(name: str, fill: str, outline: str = "none", width: float = 0.0, dash: str = "solid") -> go.Scatter:
    """Filled shapes with an outline, in colour roles."""
    return go.Scatter(
        name=name,
        mode="lines",
        fill="toself",
        line={"width": width, "dash": dash},
        hoverinfo="skip",
        meta={"line": outline, "fill": fill},
    )
