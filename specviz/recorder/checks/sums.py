"""Rows of probabilities add up to 1."""

from __future__ import annotations

from specviz.recorder.checks.results import compared, lacked
from specviz.recorder.checks.rows import View
from specviz.recorder.raw_step import Rows
from specviz.trace.checks import Check

SUMS = "sums"
TOLERANCE = 1e-2
"""How far from 1 rounding may leave a sum, whatever the number format: bfloat16 rounds an entry by up to 1 in 256,
float16 one below 6e-5 by more, and rows that come as float32 may have been rounded before. docs/audit.md has what was
measured."""


def sums_of(rows: Rows) -> Rows:
    """[n] of rows [n, V]. numpy adds pairwise: float32 is exact enough."""
    found: Rows = rows.sum(-1)
    return found


def sums(view: View) -> Check:
    """Each row that the target's and the draft's probabilities were said in.

    The row of the bonus may be weights: whoever draws from it scales it, and so do the checks of it.
    """
    step = view.step
    found = [
        (node, float(total), model)
        for model, rows, nodes in (("target", step.p, step.p_nodes), ("draft", step.q, step.q_nodes))
        if rows is not None
        for node, total in zip(nodes, sums_of(rows), strict=True)
    ]
    if not found:
        return lacked(SUMS, "rows of probabilities (probs)")
    node, total, model = max(found, key=lambda one: abs(one[1] - 1))
    return compared(
        SUMS,
        [(node, abs(total - 1)) for node, total, _ in found],
        lambda *_: f"The {model}'s row at {view.named(node)} adds up to {total:.4g}, not 1.",
        TOLERANCE,
    )
