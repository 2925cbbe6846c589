"""Siblings as they were proposed: no token twice, and a top-k family in the order of the draft's row."""

from __future__ import annotations

import numpy as np

from specviz.recorder.checks.results import agreed, compared, lacked, tolerance_of_format
from specviz.recorder.checks.rows import View, missing_rows
from specviz.trace.checks import Check

SIBLINGS = "siblings"
TOP_K = "top_k_order"


def no_duplicates(view: View) -> Check:
    """Without replacement, and among the k most likely tokens, no token is there twice."""
    step = view.step
    if step.proposal is None:
        return lacked(SIBLINGS, "how siblings were proposed (proposal)")
    if step.proposal == "with_replacement":
        return lacked(SIBLINGS, "a proposal that rules out duplicates: with replacement they may come")
    wrong: list[tuple[int | None, str]] = []
    for siblings in view.children:
        first: dict[int, int] = {}
        for node in siblings:
            elder = first.setdefault(step.tokens[node], node)
            if elder != node:
                wrong.append((node, f"Node {node} has the token {step.tokens[node]} of its sibling, node {elder}"))
    if len(view) == 1:
        return lacked(SIBLINGS, "a tree with children")
    return agreed(SIBLINGS, len(view) - 1, wrong)


def top_k_order(view: View) -> Check:
    """The r-th child of a top-k family is the r-th most likely token of the draft's row; equal ones in any order."""
    step = view.step
    if step.proposal != "top_k":
        return lacked(TOP_K, "siblings that are the draft's most likely tokens (proposal top_k)")
    if step.q is None:
        return lacked(TOP_K, missing_rows(step, "draft"))
    differences: list[tuple[int | None, float]] = []
    for parent, siblings in enumerate(view.children):
        row = view.q(parent)
        if row is None or not siblings:
            continue
        largest = -np.sort(-np.partition(row, len(row) - min(len(siblings), len(row)))[-len(siblings) :])
        for rank, node in enumerate(siblings):
            column = view.column(step.tokens[node])
            q = float(row[column]) if 0 <= column < len(row) else 0.0
            due = float(largest[rank]) if rank < len(largest) else 0.0
            differences.append((node, abs(q - due)))
    return compared(
        TOP_K,
        differences,
        lambda node, worst: (
            f"{view.named(node or 0).capitalize()} is not the draft's most likely token of its rank: "
            f"their probabilities differ by {worst:.2g}."
        ),
        tolerance_of_format(step.draft_dtype),
    )
