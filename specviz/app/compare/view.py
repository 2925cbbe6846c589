"""What the Compare tab shows of a comparison, as plain values: a figure and its table, its runs, their steps."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from specviz.app.answers import bounded
from specviz.app.compare.pictures import ONE_TEMPERATURE, ONE_TREE, PICTURES, Picture
from specviz.compare.read import RunSums, output_of, runs_of, steps_of
from specviz.compare.report.charts import Theme, figure_json, point_data
from specviz.compare.report.figures import at_nodes_rows
from specviz.compare.report.run_charts import runs_figure, steps_figure
from specviz.compare.rows import SAMPLING
from specviz.compare.statistics import AXES, Group
from specviz.compare.summary import differences_table
from specviz.errors import SettingsError
from specviz.figures.text import one_line

ALL = "all"
MOST_LINES = 400


@dataclass(frozen=True)
class Opened:
    """A comparison that is open on the server.

    Attributes:
        folder: with its Parquet files; None while it is being made.
        summary: see :mod:`specviz.compare.summary`.
    """

    title: str
    about: str
    summary: Mapping[str, Any]
    folder: Path | None = None


@dataclass(frozen=True)
class Selection:
    """What a visitor looks at. :data:`ALL`, and no verifiers, stand for all of them.

    Attributes:
        group: whose runs are listed.
        run: (prompt, verifier) whose steps are listed.
    """

    figure: str = "accepted_length"
    mode: str = "paired"
    tree: str = ALL
    temperature: str = ALL
    kind: str = ALL
    verifiers: tuple[str, ...] = ()
    draft: str = ALL
    processors: str = ALL
    group: Group | None = None
    run: tuple[str, str] | None = None


# ----------------------------------------------------------------------------------------------------- choosing


def choices(summary: Mapping[str, Any]) -> dict[str, list[Any]]:
    """What there is to choose from, by chooser."""
    estimates = summary["estimates"]

    def all_of(name: str, *others: Any) -> list[Any]:
        return [it for it in dict.fromkeys(row.get(name) for row in estimates) if it not in (None, *others)]

    drawn = [name for name, one in PICTURES.items() if _rows(summary, one)]
    return {
        "figure": drawn,
        "mode": all_of("mode"),
        "tree": all_of("tree", "no draft"),
        "temperature": [f"{it:g}" for it in all_of("temperature")],
        "kind": all_of("kind"),
        "verifiers": all_of("verifier"),
        "draft": all_of("draft"),
        "processors": all_of("processors"),
    }


def settled(summary: Mapping[str, Any], selection: Selection) -> Selection:
    """What can be shown of what was chosen: anything that is not there becomes the first, or all."""
    there = choices(summary)
    figure = selection.figure if selection.figure in there["figure"] else next(iter(there["figure"]), "accepted_length")
    modes = [mode for mode in there["mode"] if _rows(summary, PICTURES[figure], mode)] or there["mode"]
    mode = selection.mode if selection.mode in modes else next(iter(modes), "paired")
    tree = selection.tree if selection.tree in there["tree"] else ALL
    temperature = selection.temperature if selection.temperature in there["temperature"] else ALL
    if figure in ONE_TEMPERATURE and temperature == ALL:
        temperature = there["temperature"][-1]
    if figure in ONE_TREE and tree == ALL:
        tree = there["tree"][0]
    kind = selection.kind if selection.kind in there["kind"] and PICTURES[figure].by_kind else ALL
    verifiers = tuple(name for name in selection.verifiers if name in there["verifiers"])
    labels = {axis: label if (label := getattr(selection, axis)) in there[axis] else ALL for axis in AXES}
    return Selection(
        figure, mode, tree, temperature, kind, verifiers, **labels, group=selection.group, run=selection.run
    )


def _rows(summary: Mapping[str, Any], picture: Picture, mode: str | None = None) -> list[Mapping[str, Any]]:
    return [
        row
        for row in summary.get(picture.table, ())
        if row["value"] is not None
        and not (picture.axis and row.get(picture.axis) is None)
        and mode in (None, row["mode"])
        and all(row[name] in (value if isinstance(value, tuple) else (value,)) for name, value in picture.pick.items())
    ]


def filtered(summary: Mapping[str, Any], selection: Selection) -> list[Mapping[str, Any]]:
    """The rows of the chosen figure."""
    picture = PICTURES[selection.figure]
    rows = _rows(summary, picture, selection.mode)
    if selection.tree != ALL:
        rows = [row for row in rows if row["tree"] in (selection.tree, "no draft")]
    if selection.temperature != ALL:
        rows = [row for row in rows if f"{row['temperature']:g}" == selection.temperature]
    for axis in AXES:
        chosen = getattr(selection, axis)
        if picture.table == differences_table(axis):
            rows = [{**row, axis: row["a"]} for row in rows if chosen in (ALL, row["a"], row["b"])]
        elif chosen != ALL:
            rows = [row for row in rows if row.get(axis) in (chosen, None)]
    if selection.verifiers:
        names = ("verifier",) if picture.table != "differences" else ("a", "b")
        rows = [row for row in rows if all(row[name] in selection.verifiers for name in names)]
    if picture.table == "estimates" and selection.figure != "kinds":
        # These figures draw the rows without a kind, which are over all kinds. Where one kind is chosen, its rows are
        # passed without their kind instead.
        kind = None if selection.kind == ALL else selection.kind
        rows = [{**row, "kind": None} for row in rows if row["kind"] == kind]
    elif selection.figure == "kinds":
        rows = [row for row in rows if row["kind"] is not None]
    return at_nodes_rows(rows, selection.mode) if selection.figure == "at_nodes" else rows


# ------------------------------------------------------------------------------------------------------ sections


def board(opened: Opened, selection: Selection) -> str:
    """Everything the tab shows, as JSON; ``selection`` has been :func:`settled`."""
    sections = [_figure_section(opened.summary, selection)]
    if selection.group is not None and opened.folder is not None:
        sections.append(_runs_section(opened, selection, selection.group))
        if selection.run is not None:
            sections.append(_steps_section(opened, selection.group, *selection.run))
    return bounded({"title": _plain(opened.title, 80), "about": opened.about, "sections": sections})


def _figure_section(summary: Mapping[str, Any], selection: Selection) -> dict[str, Any]:
    picture, rows = PICTURES[selection.figure], filtered(summary, selection)
    of = "" if selection.kind == ALL else f" Prompts of the kind {_plain(selection.kind, 40)} only."
    names = (
        *(axis for axis in AXES if picture.table != differences_table(axis)),
        "tree",
        "temperature",
        "verifier",
        "what",
        "a",
        "b",
        "kind",
        "place",
        "value",
        "low",
        "high",
        "prompts",
        "p",
        "holm",
    )
    fields = [name for name in names if any(row.get(name) is not None for row in rows)]
    lines = [{"cells": [_cell(row.get(name)) for name in fields], "point": _point(row)} for row in rows[:MOST_LINES]]
    hint = " Choose a point, or a row of the table, to see the runs behind it."
    return {
        "id": "figure",
        "title": picture.title,
        "how": f"{picture.how}{of}{hint}",
        **_drawn(lambda theme: picture.draw(rows, selection.mode, theme)),
        "table": {"caption": "The numbers", "head": [_HEADS.get(name, name) for name in fields], "rows": lines},
    }


_HEADS = {"low": "from", "high": "to", "place": "at", "a": "first", "b": "less", "holm": "p, Holm"}


def _point(row: Mapping[str, Any]) -> list[Any]:
    return point_data(row)


def _runs_section(opened: Opened, selection: Selection, group: Group) -> dict[str, Any]:
    assert opened.folder is not None
    found = runs_of(opened.folder, group, None if selection.kind == ALL else selection.kind)
    if selection.verifiers:
        found = [one for one in found if one.verifier in selection.verifiers]
    shown = [one for one in found if one.steps]
    labelled = "".join(f"{_plain(label, 40)} on " for axis in AXES if (label := getattr(group, axis)) is not None)
    points = [vars(one) | {"rule": rule_of(opened.summary, one.verifier)} for one in shown if one.verifier != SAMPLING]
    verifiers = list(dict.fromkeys(one.verifier for one in shown))
    free = group.mode == "free"
    return {
        "id": "runs",
        "title": f"Runs: {labelled}{_plain(group.tree, 40)}, temperature {group.temperature:g}, "
        f"{'each verifier on its own text' if free else 'all verifiers on the same trees'}",
        "how": "A point is one prompt; the line is the mean over all steps. Choose a point or a row to see its steps.",
        **(_drawn(lambda theme: runs_figure(points, theme=theme)) if points else {}),
        "table": {
            "caption": "Runs, accepted tokens a step",
            "head": ["prompt", "kind", "steps", *(["verifier", "accepted"] if free else map(_short, verifiers))],
            "rows": _free_lines(shown) if free else _paired_lines(shown, verifiers),
        },
    }


def _free_lines(found: Iterable[RunSums]) -> list[dict[str, Any]]:
    return [
        {
            "cells": [
                _plain(one.prompt_id, 40),
                _plain(one.kind, 20),
                str(one.steps),
                _short(one.verifier),
                f"{one.accepted / one.steps:.2f}",
            ],
            "point": [one.prompt_id, one.verifier],
        }
        for one in list(found)[:MOST_LINES]
    ]


def _paired_lines(found: Iterable[RunSums], verifiers: Sequence[str]) -> list[dict[str, Any]]:
    by_prompt: dict[str, dict[str, RunSums]] = {}
    for one in found:
        by_prompt.setdefault(one.prompt_id, {})[one.verifier] = one
    lines = []
    for prompt, own in list(by_prompt.items())[:MOST_LINES]:
        any_one = next(iter(own.values()))
        lengths = [f"{own[name].accepted / own[name].steps:.2f}" if name in own else "" for name in verifiers]
        cells = [_plain(prompt, 40), _plain(any_one.kind, 20), str(any_one.steps), *lengths]
        lines.append({"cells": cells, "point": [prompt, any_one.verifier]})
    return lines


def _steps_section(opened: Opened, group: Group, prompt: str, verifier: str) -> dict[str, Any]:
    assert opened.folder is not None
    rows = steps_of(opened.folder, group, prompt, verifier)
    if not rows:
        raise SettingsError("This run has no steps; choose another.")
    output = output_of(opened.folder, group, prompt, verifier)
    verifiers = list(dict.fromkeys(row["verifier"] for row in rows))
    by_step: dict[int, dict[str, Any]] = {}
    for row in rows:
        by_step.setdefault(row["step"], {})[row["verifier"]] = row
    lines = []
    for step, own in list(by_step.items())[:MOST_LINES]:
        one = next(iter(own.values()))
        paths = {tuple(row["path"]) for row in own.values()}
        lengths = [str(own[name]["accepted"]) if name in own else "" for name in verifiers]
        cells = [f"step {step + 1}", str(one["context"]), str(one["nodes"]), *lengths, "part" if len(paths) > 1 else ""]
        lines.append({"cells": cells, "point": [step]})
    drawn = [row | {"rule": rule_of(opened.summary, row["verifier"])} for row in rows]
    return {
        "id": "steps",
        "title": f"Steps of {_plain(prompt, 40)}",
        "how": "Choose a step, here or in the figure: its run is made again up to there and opens in the viewer below.",
        "quotes": [[name, _plain(output[column], 600)] for name, column in (("prompt", "prompt"), ("output", "text"))]
        if output
        else [],
        **_drawn(lambda theme: steps_figure(drawn, theme=theme)),
        "table": {
            "caption": "Steps, accepted tokens",
            "head": ["step", "tokens before", "drafted", *map(_short, verifiers), "verifiers"],
            "rows": lines,
        },
    }


def rule_of(summary: Mapping[str, Any], label: str) -> str:
    """The verifier behind a label."""
    return next((row["rule"] for row in summary["verifiers"] if row["label"] == label), label)


def _drawn(draw: Callable[[Theme], go.Figure]) -> dict[str, Any]:
    themes: tuple[Theme, Theme] = ("light", "dark")
    found = {}
    for theme in themes:
        # Plotly's own encoder: figures hold arrays of numpy.
        found[theme] = json.loads(json.dumps(figure_json(draw(theme)), default=_listed))
    return {"figure": found}


def _listed(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else list(value)


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return f"{value:.4g}" if isinstance(value, float) else _plain(str(value), 60)


def _plain(text: Any, width: int) -> str:
    return one_line(str(text), width)


def _short(text: str) -> str:
    return _plain(text, 28)
