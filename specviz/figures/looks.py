"""How things look, as Plotly traces without data: styles, dashes and colour *roles*.

A role (``ink``, ``edge``, ``v0`` ...) is mapped to a colour by the viewer script, from the page's CSS variables, so one
frame serves the light and the dark page. Roles sit in each trace's ``meta``, because Plotly refuses them as colours.
The script copies these traces and fills in the coordinates it expands from a frame's columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from specviz.figures import layout

_KNOWN = ("rejection", "eta", "longest_path", "traversal", "naive", "greedy")
"""Verifiers with a colour of their own, the same in every run. Others take the slots that are left."""
_DASHES = ("solid", "6px,4px", "2px,3px", "9px,3px,2px,3px", "12px,4px", "4px,2px,1px,2px,1px,2px", "1px,2px")
SLOTS = len(_DASHES)

EDGE_WIDTHS = (0.8, 1.6, 3.2, 6.0)
EDGE_STEPS = (0.02, 0.1, 0.35)
"""Target probabilities from which an edge is drawn in the next width."""
RIBBON_WIDTH = 3.0
CARD_LOOKS = ("unexamined", "passed", "rejected", "accepted")


def verifier_looks(names: Sequence[str]) -> list[dict[str, Any]]:
    """Colour role and dash of every verifier: known ones keep theirs, others take free slots in order."""
    free = [slot for slot in range(SLOTS) if slot >= len(_KNOWN) or _KNOWN[slot] not in names]
    looks = []
    for name in names:
        slot = _KNOWN.index(name) if name in _KNOWN else (free.pop(-1) if free else 0)
        looks.append({"name": name, "role": f"v{slot}", "dash": _DASHES[slot]})
    return looks


def edge_class(target_prob: float | None) -> int:
    """Index into :data:`EDGE_WIDTHS`."""
    return sum((target_prob or 0.0) >= step for step in EDGE_STEPS)


def tree_figure(names: Sequence[str]) -> go.Figure:
    """The empty figure of a draft tree with these verifiers; traces in drawing order."""
    verifiers = verifier_looks(names)
    traces = [_line(f"edge.{i}", "edge", width) for i, width in enumerate(EDGE_WIDTHS)]
    traces.append(_line("edge.stub", "edge", 1.0, "2px,3px"))
    traces += [_line(f"path.{v['name']}", v["role"], RIBBON_WIDTH, v["dash"]) for v in verifiers]
    traces += [
        _area("card.unexamined", "card-faint", "line-faint", 1.0, "2px,2px"),
        _area("card.passed", "card", "line", 1.0),
        _area("card.rejected", "card", "line", 1.0),
        _area("card.accepted", "card-strong", "ink", 1.8),
        _area("card.stub", "card-faint", "line", 1.0, "4px,3px"),
    ]
    traces += [_area(f"bonus.{v['name']}", "card-strong", v["role"], 2.0, v["dash"]) for v in verifiers]
    traces += [
        _area("bar.rail", "rail"),
        _area("bar.draft", "draft"),
        _area("bar.target", "target"),
        _area("selected", "none", "focus", 2.6),
        _marks("pip"),
        _marks("cross"),
        _marks("parting"),
        _text("token", "mono", 12),
        _text("digits", "sans", 10.5, "middle left"),
        _text("bonus.token", "mono", 12),
        _text("bonus.note", "sans", 10.5, "middle left"),
        _text("title", "sans", 11),
    ]
    return _figure(traces)


def cache_figure() -> go.Figure:
    """The empty figure of the two cache strips."""
    return _figure(
        [
            _line("move", "move", 1.6),
            _line("stay", "edge", 1.2),
            _area("slot.dropped", "card-faint", "line-faint", 1.0, "2px,2px"),
            _area("slot.kept", "card-strong", "ink", 1.6),
            _area("slot.moved", "card-strong", "move", 1.8),
            _area("slot.before", "card", "line", 1.0),
            _area("slot.wrong", "bad-fill", "bad", 2.6),
            _area("selected", "none", "focus", 2.6),
            _text("number", "sans", 9.5),
            _text("token", "mono", 11),
            _text("where", "sans", 9.5),
            _text("title", "sans", 11),
        ]
    )


def geometry() -> dict[str, float]:
    """The measures that the viewer script expands columns with."""
    return {
        "cardWidth": layout.CARD_WIDTH,
        "cardHeight": layout.CARD_HEIGHT,
        "column": layout.COLUMN,
        "row": layout.ROW,
        "extraRow": layout.EXTRA_ROW,
        "top": layout.TOP,
        "left": layout.LEFT,
        "bonusWidth": layout.BONUS_WIDTH,
    }


def figure_json(figure: go.Figure) -> dict[str, Any]:
    """A figure as plain JSON values, without Plotly's own template."""
    plain: dict[str, Any] = figure.to_plotly_json()
    plain["layout"].pop("template", None)
    return plain


def _figure(traces: list[go.Scatter]) -> go.Figure:
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


def _line(name: str, role: str, width: float, dash: str = "solid") -> go.Scatter:
    line = {"width": width, "dash": dash}
    return go.Scatter(name=name, mode="lines", line=line, hoverinfo="skip", meta={"line": role})


def _area(name: str, fill: str, outline: str = "none", width: float = 0.0, dash: str = "solid") -> go.Scatter:
    return go.Scatter(
        name=name,
        mode="lines",
        fill="toself",
        line={"width": width, "dash": dash},
        hoverinfo="skip",
        meta={"line": outline, "fill": fill},
    )


def _marks(name: str) -> go.Scatter:
    return go.Scatter(name=name, mode="markers", marker={"size": 7}, hoverinfo="skip", meta={"marker": True})


def _text(name: str, family: str, size: float, position: str = "middle right") -> go.Scatter:
    return go.Scatter(
        name=name,
        mode="text",
        textposition=position,
        textfont={"size": size},
        hoverinfo="skip",
        meta={"font": family},
    )
