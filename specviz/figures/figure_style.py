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


def verifier_looks(names: Sequence[str]) -> list[Looks]:
    """Colour role and dash of every verifier; see :mod:`specviz.verifier_styles`."""
    return [{"name": name, "role": f"v{slot}", "dash": SLOTS[slot].dash} for name, slot in slots_of(names).items()]


def verifier_css() -> str:
    """The colours of all verifiers as CSS variables of the viewer, ``--sv-v0`` and on, for both themes."""
    light, dark = (
        "".join(f" --sv-v{slot}: {getattr(style, theme)};" for slot, style in enumerate(SLOTS))
        for theme in ("light", "dark")
    )
    return (
        f'.specviz, .specviz [data-theme="light"] {{{light} }}\n'
        f'.dark .specviz, [data-theme="dark"] .specviz, .specviz [data-theme="dark"] {{{dark} }}\n'
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
