"""The figures that the Compare tab offers, each with the rows of a summary that it draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import plotly.graph_objects as go

from specviz.compare.report import figures
from specviz.compare.report.charts import Theme

_BARS = "Bars are 95 % intervals over prompts."


@dataclass(frozen=True)
class Picture:
    """One of the figures that can be chosen.

    Attributes:
        draw: (rows, mode, theme) -> figure; rows are of ``table`` and have been filtered.
        by_kind: whether the kind of prompt can be selection.
        by_draft: whether it compares drafts, so that there is nothing to draw where they have no labels.
    """

    title: str
    how: str
    table: str
    draw: Callable[[list[Mapping[str, Any]], str, Theme], go.Figure]
    pick: Mapping[str, Any] = field(default_factory=dict)
    by_kind: bool = False
    by_draft: bool = False


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
    "drafts": Picture(
        "By draft",
        f"New tokens a forward of the target, a heading a verifier and tree, so that drafts can be told apart. {_BARS}",
        "estimates",
        lambda rows, mode, theme: figures.drafts_figure(rows, mode=mode, theme=theme),
        {"measure": "block_efficiency"},
        by_kind=True,
        by_draft=True,
    ),
    "draft_differences": Picture(
        "Drafts, paired differences",
        "Right of zero the first draft gains more tokens a forward on the same prompts with the same luck. An interval "
        "that stays clear of zero is a difference that the choice of prompts does not explain.",
        "draft_differences",
        lambda rows, mode, theme: figures.draft_differences_figure(rows, mode=mode, theme=theme),
        {"measure": "block_efficiency"},
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
ONE_TEMPERATURE, ONE_TREE = ("depth", "rank"), ("kinds",)
"""Figures that are drawn of one temperature, and of one tree."""
