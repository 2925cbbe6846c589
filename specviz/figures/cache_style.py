"""Styles of the panels about the caches (mask, audit), as empty Plotly figures.

:mod:`specviz.figures.figure_style` says what a colour role is.
"""

from __future__ import annotations

import plotly.graph_objects as go

from specviz.figures.audit import DECADES
from specviz.figures.figure_style import area_trace, empty_figure, line_trace


def mask() -> go.Figure:
    """One model's mask: rows are written slots, columns what they may look at, positions at the right."""
    return empty_figure(
        [
            area_trace("grid", "card-faint", "line-faint", 0.6),
            line_trace("rule", "line-faint", 0.6),
            area_trace("row", "rail"),
            area_trace("cell.seen", "cell", "none"),
            area_trace("cell.unknown", "none", "line", 1.0, "1px,2px"),
            area_trace("cell.leak", "bad", "bad", 1.0),
            area_trace("cell.missing", "bad-fill", "bad", 1.6, "2px,2px"),
        ]
    )


def audit() -> go.Figure:
    """Both models' heat maps: layers downwards, slots to the right, keys and values apart."""
    return empty_figure(
        [
            *(area_trace(f"heat.{i}", f"heat{i}", "none") for i in range(len(DECADES) + 1)),
            area_trace("beyond", "none", "bad", 2.0),
            line_trace("tolerance", "bad", 2.0),
        ]
    )
