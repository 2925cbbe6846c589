"""The figures that the Compare tab offers, each with the rows of a summary that it draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import plotly.graph_objects as go

from specviz.compare.report import figures
from specviz.compare.report.charts import Theme
from specviz.compare.statistics import AT_NODES, AT_NODES_TITLE, MANY, Axis
from specviz.compare.summary import differences_table
from specviz.trace.metrics import FORMULAS

_BARS = "Bars are 95 % intervals over prompts."


@dataclass(frozen=True)
class Picture:
    """One of the figures that can be chosen.

    Attributes:
        draw: (rows, mode, theme) -> figure; rows are of ``table`` and have been filtered.
        pick: field of a row -> its value, or several of them, that the figure draws.
        by_kind: whether the kind of prompt can be selection.
        axis: whether it compares drafts, or sets of processors; there is nothing to draw where they have no labels.
    """

    title: str
    how: str
    table: str
    draw: Callable[[list[Mapping[str, Any]], str, Theme], go.Figure]
    pick: Mapping[str, Any] = field(default_factory=dict)
    by_kind: bool = False
    axis: Axis | None = None


def _lengths(measure: str) -> Callable[[list[Mapping[str, Any]], str, Theme], go.Figure]:
    return lambda rows, mode, theme: figures.lengths_figure(rows, measure=measure, mode=mode, theme=theme)


def _of_measure(title: str, measure: str, how: str) -> Picture:
    return Picture(title, f"{how} {_BARS}", "estimates", _lengths(measure), {"measure": measure}, by_kind=True)


def _place(by: Any, what: str) -> Picture:
    def draw(rows: list[Mapping[str, Any]], mode: str, theme: Theme) -> go.Figure:
        return figures.places_figure(
            rows, by=by, temperature=rows[0]["temperature"] if rows else 1.0, mode=mode, theme=theme
        )

    how = f"Of the nodes at a {what} that a verifier could accept, the share it accepted; all kinds of prompts. {_BARS}"
    return Picture(f"Acceptance by {what}", how, "places", draw, {"by": by})


def _kinds(rows: list[Mapping[str, Any]], mode: str, theme: Theme) -> go.Figure:
    tree = rows[0]["tree"] if rows else ""
    return figures.kinds_figure(rows, tree=tree, measure="accepted_length", mode=mode, theme=theme)


def _apart(rows: list[Mapping[str, Any]], mode: str, theme: Theme) -> go.Figure:
    return figures.differences_figure(rows, mode=mode, theme=theme)


def _at_nodes(rows: list[Mapping[str, Any]], mode: str, theme: Theme) -> go.Figure:
    return figures.at_nodes_figure(rows, temperature=rows[0]["temperature"] if rows else 1.0, mode=mode, theme=theme)


def _by_label(axis: Axis, title: str, told: str) -> Picture:
    def draw(rows: list[Mapping[str, Any]], mode: str, theme: Theme) -> go.Figure:
        return figures.labels_figure(rows, axis=axis, mode=mode, theme=theme)

    how = (
        f"New tokens a forward of the target, a heading a verifier and tree, so that {told} can be told apart. {_BARS}"
    )
    return Picture(title, how, "estimates", draw, {"measure": "block_efficiency"}, by_kind=True, axis=axis)


def _apart_by_label(axis: Axis, title: str, first: str) -> Picture:
    def draw(rows: list[Mapping[str, Any]], mode: str, theme: Theme) -> go.Figure:
        return figures.label_differences_figure(rows, axis=axis, mode=mode, theme=theme)

    how = (
        f"{first} gains more tokens a forward on the same prompts with the same luck. An interval that stays clear of "
        "zero is a difference that the choice of prompts does not explain."
    )
    return Picture(title, how, differences_table(axis), draw, {"measure": "block_efficiency"})


PICTURES: dict[str, Picture] = {
    "accepted_length": _of_measure(
        "Accepted length", "accepted_length", "Further right is better: more drafted tokens kept in a step."
    ),
    "block_efficiency": _of_measure(
        "Block efficiency",
        "block_efficiency",
        "Tokens gained by one forward of the target, its own bonus token included; plain decoding is 1.",
    ),
    "kinds": Picture(
        "By kind of prompt",
        f"Accepted draft tokens a step on one tree, kind by kind: where drafts are easy, points lie far right. {_BARS}",
        "estimates",
        _kinds,
        {"measure": "accepted_length"},
    ),
    "trees": Picture(
        "By tree",
        f"Block efficiency again, a heading a verifier, so that trees can be told apart. {_BARS}",
        "estimates",
        lambda rows, mode, theme: figures.trees_figure(rows, mode=mode, theme=theme),
        {"measure": "block_efficiency"},
        by_kind=True,
    ),
    "drafts": _by_label("draft", "By draft", MANY["draft"]),
    "draft_differences": _apart_by_label("draft", "Drafts, paired differences", "Right of zero the first draft"),
    "processors": _by_label("processors", "By set of processors", MANY["processors"]),
    "processors_differences": _apart_by_label(
        "processors", "Sets of processors, paired differences", "Right of zero the first set"
    ),
    "depth": _place("depth", "depth"),
    "rank": _place("rank", "sibling rank"),
    "differences": Picture(
        "Paired differences",
        "Right of zero the first verifier keeps more. An interval that stays clear of zero is a difference that the "
        "choice of prompts does not explain; p and Holm's correction stand in the table.",
        "differences",
        _apart,
        {"measure": "accepted_length"},
    ),
    "at_nodes": Picture(
        AT_NODES_TITLE,
        f"At the nodes reached: {FORMULAS['optimum']}. {_BARS}",
        "estimates",
        _at_nodes,
        {"measure": tuple(AT_NODES)},
        by_kind=True,
    ),
    "nll_per_token": _of_measure(
        "Quality: likelihood",
        "nll_per_token",
        "How surprising the target finds what a verifier wrote on its own; ordinary sampling has the right value, and "
        "less is not better.",
    ),
    "first_tv_bound": _of_measure(
        "Distance to the target",
        "first_tv_bound",
        "How far the first token of a step is from what a lossless verifier would emit; 0 is lossless.",
    ),
    "first_excess": _of_measure(
        "Preference for likely tokens",
        "first_excess",
        "0 for a lossless verifier in the mean; left of zero, likely tokens are preferred.",
    ),
    "distinct_2": _of_measure(
        "Variety", "distinct_2", "Different pairs of words in a text; compare texts of equal lengths."
    ),
    "rouge_l": _of_measure("ROUGE-L", "rouge_l", "Overlap with a good answer, where the prompt has one."),
    "chrf": _of_measure("chrF", "chrf", "The same by characters, also for translations."),
}
ONE_TEMPERATURE, ONE_TREE = ("depth", "rank", "at_nodes"), ("kinds",)
"""Figures that are drawn of one temperature, and of one tree."""
