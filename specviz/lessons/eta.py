"""Eta, a lossy verifier: a step in which it accepts a token that rejection sampling rejects, and what that costs."""

from __future__ import annotations

from typing import Any

from specviz.lessons.lesson import (
    FilledLesson,
    Lesson,
    by_outcome,
    decision_facts,
    fill_templates,
    first_step,
    mean_accepted,
)
from specviz.trace.schema import Step, Trace


def fill(trace: Trace) -> FilledLesson:
    """Finds a node that eta accepted and rejection rejected; asks for any of the step."""

    def apart(step: Step) -> Any:
        kept = by_outcome(step, "eta", "accepted")
        lost = by_outcome(step, "rejection", "rejected")
        both = sorted(set(kept) & set(lost) & set(step.verdicts["eta"].path))
        return [(kept[node], lost[node]) for node in both] or None

    step, pairs = first_step(trace, apart)
    kept, lost = pairs[0]
    return fill_templates(
        step,
        "eta",
        {
            **decision_facts("kept", kept),
            **decision_facts("lost", lost),
            "epsilon": step.verdicts["eta"].options["epsilon"],
            "delta": step.verdicts["eta"].options["delta"],
            "eta": mean_accepted(trace, "eta"),
            "rejection": mean_accepted(trace, "rejection"),
        },
        [
            "Eta flips no coin. It accepts a token if the target finds it likely enough: p must exceed min(epsilon, "
            "delta · exp(−entropy)). Where the target is unsure, less is enough. Here epsilon is {epsilon} and delta"
            " is {delta}.",
            "At one node of this step the limit is {kept_t} and p is {kept_p}: accepted, always. Rejection has "
            "another opinion: the draft had given the token q = {lost_q}, far more often than the target would, so "
            "it stays only with probability {lost_t}; the coin was {lost_u}.",
            "On the trees of this run eta accepts {eta} tokens a step and rejection {rejection}. The price: such "
            "tokens appear more often than the target would write them, others never. Eta is lossy, and no run shows"
            " that by itself; the table under Verifiers does.",
        ],
        "Select a node that eta accepted and rejection rejected.",
        [one.node for one, _ in pairs],
        "Press Compare: every card then carries one mark per verifier. Look for ● of eta beside ✕ of rejection.",
        "Node {kept_node}: eta accepted it because {kept_p} is above {kept_t}; rejection's coin {lost_u} was not below "
        "{lost_t}.",
    )


LESSON = Lesson("eta", "Eta, and what it costs", "traces/default-4-2-2", fill)
