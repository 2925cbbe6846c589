"""Speculative sampling on a chain: where the accept-or-reject test of one drafted token after another first fails."""

from __future__ import annotations

from typing import Any

from specviz.lessons.lesson import (
    BARS,
    Facts,
    FilledLesson,
    Lesson,
    by_outcome,
    decision_facts,
    fill_templates,
    first_step,
    mean_accepted,
    reasons,
)
from specviz.trace.schema import Step, Trace


def fill(trace: Trace) -> FilledLesson:
    """Finds a step with an accepted and a rejected token; asks for the rejected one."""

    def broken(step: Step) -> Any:
        decisions = step.verdicts["rejection"].decisions
        kept = [d for d in decisions if d.outcome == "accepted"]
        lost = [d for d in decisions if d.outcome == "rejected"]
        return (kept[0], lost[0]) if kept and lost else None

    step, (kept, lost) = first_step(trace, broken)
    accepted = by_outcome(step, "rejection", "accepted")

    def why(node: int) -> tuple[str, Facts] | None:
        if node not in accepted:
            return None
        return "Its coin {it_u} is below its threshold {it_t}, so it stayed.", decision_facts("it", accepted[node])

    return fill_templates(
        step,
        "rejection",
        {
            **BARS,
            "drafted": len(step.tree.nodes) - 1,
            **decision_facts("kept", kept),
            **decision_facts("lost", lost),
            "steps": len(trace.steps),
            "mean": mean_accepted(trace, "rejection"),
        },
        paragraphs=[
            "The small **draft** wrote a chain of {drafted} tokens. The large **target** then scored all of them in "
            "one forward.",
            "{q_bar} q, the draft’s probability {p_bar} p, the target’s",
            "A drafted token stays with probability **min(1, p ÷ q)**. A coin between 0 and 1 decides: inside the "
            "accept zone it stays.",
            "{kept} has p = {kept_p} and q = {kept_q}. p ÷ q is its threshold, {kept_t}. Its coin was {kept_u}: below "
            "that, so it stayed.",
            "The first token whose coin misses goes, and **so does everything after it**. The target then adds one "
            "token of its own.",
        ],
        aside="Over the {steps} steps of this run the chain kept {mean} drafted tokens a step. The text is distributed "
        "as if the target had written it alone.",
        question="At which node did this chain break?",
        nodes=[lost.node],
        hint="Look for the first card that rejection marked with ✕.",
        solved="{lost} has p = {lost_p} and q = {lost_q}: an accept zone up to {lost_t}. Its coin {lost_u} missed it.",
        wrong=reasons(step, [lost.node], why),
        otherwise="It was never judged: it follows a token that had already gone.",
    )


LESSON = Lesson("chain", "Speculative sampling on a chain", "traces/chain-of-4", fill)
