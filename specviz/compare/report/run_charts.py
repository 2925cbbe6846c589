"""Charts of single runs: one point a prompt for the runs behind an estimate, one point a step for one run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from specviz.compare.report.charts import PALETTES, Theme, axis, base_layout, label, looks

_LANE = 44
_SPREAD = 0.34


def runs_figure(points: Iterable[Mapping[str, Any]], *, theme: Theme = "light") -> go.Figure:
    """Every prompt's accepted length, a lane a verifier, the mean over steps as a line across it.

    Args:
        points: ``verifier, rule, prompt_id, kind, steps, accepted`` each. ``customdata`` is [prompt, verifier].
    """
    rows = list(points)
    seen = looks(rows, theme)
    lanes = list(seen)
    traces, ticks = [], []
    for lane, name in enumerate(lanes):
        own = [row for row in rows if row["verifier"] == name]
        # Beside each other rather than on top, always in the same place.
        spread = [(_SPREAD * (2 * ((i * 0.618) % 1) - 1)) for i in range(len(own))]
        traces.append(
            go.Scatter(
                x=[row["accepted"] / row["steps"] for row in own],
                y=[-lane + offset for offset in spread],
                mode="markers",
                name=label(name),
                showlegend=False,
                marker=seen[name].marker(8, opacity=0.75),
                customdata=[[row["prompt_id"], name] for row in own],
                text=[f"{label(row['prompt_id'], 40)} ({label(row['kind'])}), {row['steps']} steps" for row in own],
                hovertemplate=f"<b>{label(name, 60)}</b> %{{x:.2f}}<br>%{{text}}<extra></extra>",
            )
        )
        mean = sum(row["accepted"] for row in own) / max(1, sum(row["steps"] for row in own))
        line = {"color": PALETTES[theme]["ink"], "width": 1.5}
        traces.append(
            go.Scatter(
                x=[mean, mean],
                y=[-lane - 0.42, -lane + 0.42],
                mode="lines",
                line=line,
                hoverinfo="skip",
                showlegend=False,
            )
        )
        ticks.append(label(name))
    layout = base_layout(theme, _LANE * len(lanes) + 84, "Accepted draft tokens a step, a point a prompt")
    layout["margin"]["t"] = 8
    layout |= {
        "xaxis": axis(theme, title={"text": "accepted draft tokens a step"}, zeroline=False, rangemode="tozero"),
        "yaxis": axis(
            theme,
            tickmode="array",
            tickvals=[-lane for lane in range(len(lanes))],
            ticktext=ticks,
            zeroline=False,
            range=[0.6 - len(lanes), 0.6],
        ),
    }
    return go.Figure(traces, layout)


def steps_figure(rows: Sequence[Mapping[str, Any]], *, theme: Theme = "light") -> go.Figure:
    """Accepted tokens of every step of a run, a line a verifier.

    Args:
        rows: ``verifier, rule, step, accepted`` each. ``customdata`` is [step].
    """
    seen = looks(rows, theme)
    traces = []
    for place, (name, look) in enumerate(seen.items()):
        own = [row for row in rows if row["verifier"] == name]
        # A little beside each other: equal counts would hide all lines but one.
        beside = 0.05 * (place - (len(seen) - 1) / 2)
        traces.append(
            go.Scatter(
                x=[row["step"] + 1 for row in own],
                y=[row["accepted"] + beside for row in own],
                mode="lines+markers",
                name=label(name),
                line={"color": look.colour, "dash": look.dash, "width": 1.6},
                marker=look.marker(8),
                customdata=[[row["step"]] for row in own],
                text=[f"step {row['step'] + 1}: {row['accepted']} accepted" for row in own],
                hovertemplate=f"<b>{label(name, 60)}</b> %{{text}}<extra></extra>",
            )
        )
    layout = base_layout(theme, 240 + 16 * len(seen), "Accepted draft tokens, step by step")
    layout["margin"]["t"] = 8
    layout |= {
        # Not fixed to the container as other charts have it: this one makes room for as many lines as it needs.
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "xaxis": axis(theme, title={"text": "step"}, dtick=1 if len(rows) < 26 * max(1, len(seen)) else 5),
        "yaxis": axis(theme, title={"text": "accepted"}, zeroline=False, rangemode="tozero", dtick=1),
    }
    return go.Figure(traces, layout)
