"""Check the bonus token: was it drawn from the distribution that its recorded source names?

A bonus from ``target`` must come from the target's row at the end of the accepted path; one from ``residual`` must come
from the residual that the last rejection there left. Both were recorded, so a stale one shows.
"""

from __future__ import annotations

from specviz.trace.schema import Step, TopK, Verdict
from specviz.trace.target_ranks import WHOLE

_SLACK = 1e-4
"""Tolerance: recorded probabilities have six digits, and one row computed in two ways differs by rounding."""


def bonus_fault(step: Step, verdict: Verdict) -> str | None:
    """One sentence where the recorded distribution is not what its source says; None if it fits or cannot be told."""
    bonus = verdict.bonus
    drawn = bonus.distribution if bonus else None
    if bonus is None or drawn is None:
        return None
    node = step.tree.nodes[bonus.node]
    row = node.target.processed if node.target else None
    if bonus.token not in drawn.ids and sum(drawn.probs) > WHOLE:
        return "The bonus token has no probability in the distribution it was drawn from."
    if bonus.source == "target" and row is not None and not same_distribution(drawn, row):
        return f"This is not the target's distribution at node {node.id}."
    if bonus.source == "residual":
        rejected = [
            decision
            for decision in verdict.decisions
            if decision.residual is not None and step.tree.nodes[decision.node].parent == node.id
        ]
        residual = rejected[-1].residual if rejected else None
        if residual is not None and not same_distribution(drawn, residual.top):
            last = rejected[-1].node
            return f"This is not the residual that was left after the last rejected sibling, node {last}: it is stale."
    return None


def same_distribution(one: TopK, other: TopK) -> bool:
    """Whether two lists can be the top of one distribution. They may be cut at different lengths."""
    return _inside(one, other) and _inside(other, one)


def _inside(one: TopK, other: TopK) -> bool:
    known = dict(zip(other.ids, other.probs, strict=True))
    # What the other list does not name is at most as likely as the last one it does name.
    least = 0.0 if not other.probs or sum(other.probs) > WHOLE else min(other.probs)
    return all(
        abs(p - known[token]) <= _SLACK + 1e-3 * p if token in known else p <= least + _SLACK
        for token, p in zip(one.ids, one.probs, strict=True)
    )
