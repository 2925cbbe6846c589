"""How often a step may wait for the card, and how much it may tell it to do, outside of the models' forwards.

A step cannot do without a wait a draft level (its tokens are needed for the next one), and one each for all judgements,
for the bonus tokens and for what is recorded. A budget is met or undercut; whoever needs fewer waits lowers it here.
"""

from __future__ import annotations

from dataclasses import dataclass

from specviz.trace.schema import Choice


@dataclass(frozen=True)
class Budget:
    """Of one step.

    Attributes:
        tree: what is drafted.
        waits: beyond one for each draft forward.
        launches: at most; what torch takes apart into how many operations differs a little between its versions, so
            these have a tenth to spare.
    """

    tree: Choice
    waits: int
    launches: int


def k_config(tree: str) -> Choice:
    return Choice(name="k_config", options={"tree": tree})


def dynamic(rule: str, total: int) -> Choice:
    return Choice(name="dynamic", options={"rule": rule, "total": total, "top_k": 8, "depth": 8})


TREES = {
    "28 nodes": k_config("4,2,2"),
    "255 nodes": k_config("3,4,4,4"),
    "1023 nodes": k_config("3,4,4,4,4"),
    "eagle2": dynamic("eagle2", 60),
    "best first": dynamic("best_first", 60),
    "prompt lookup": Choice(name="prompt_lookup", options={"ngram": 1, "depth": 8}),
}

STEP = {
    "28 nodes": Budget(TREES["28 nodes"], waits=3, launches=587),
    "255 nodes": Budget(TREES["255 nodes"], waits=3, launches=800),
    "1023 nodes": Budget(TREES["1023 nodes"], waits=3, launches=945),
    "eagle2": Budget(TREES["eagle2"], waits=3, launches=1036),
    "best first": Budget(TREES["best first"], waits=3, launches=1012),
    "prompt lookup": Budget(TREES["prompt lookup"], waits=3, launches=245),
}
"""A step with all six verifiers."""

WHAT_IF = {"28 nodes": 5, "255 nodes": 5}
"""Waits of a what-if question that the models answer, beyond one a level."""
DIVERGENCE = 1
"""Waits of a comparison's divergence in one step, on 28 nodes with six verifiers."""
AUDIT = 1
"""Waits of the audit of both caches after one step."""
