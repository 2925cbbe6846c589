"""Speculative sampling on a chain: where the accept-or-reject test of one drafted token after another first fails."""

from __future__ import annotations

from typing import Any

from specviz.lessons.lesson import FilledLesson, Lesson, decision_facts, fill_templates, first_step, mean_accepted
from specviz.trace.schema import Step, Trace


def fill(trace: Trace) -> FilledLesson:
    """Finds a step with an accepted and a rejected token; asks for the rejected one."""

    def broken(step: Step) -> Any:
        decisions = step.verdicts["rejection"].decisions
        kept = [d for d in decisions if d.outcome == "accepted"]
        lost = [d for d in decisions if d.outcome == "rejected"]
        return (kept[0], lost[0]) if kept and lost else None

    step, (kept, lost) = first_step(trace, broken)
    facts = {
        "drafted": len(step.tree.nodes) - 1,
        **decision_facts("kept", kept),
        **decision_facts("lost", lost),
        "steps": len(trace.steps),
        "mean": mean_accepted(trace, "rejection"),
    }
    return fill_templates(
        step,
        "rejection",
        facts,
        [
            "The small draft model wrote a chain of {drafted} tokens. The large target model then scored all of them"
            " in one forward. A drafted token stays with probability min(1, p/q), where q is what the draft gave it "
            "and p what the target gives it. A coin between 0 and 1 decides.",
            "Node {kept_node} has p = {kept_p} and q = {kept_q}, so its threshold is {kept_t}. Its coin is {kept_u}:"
            " below, so the token stays. The first token whose coin is not below its threshold goes, and so does "
            "everything after it, because it was written to follow that token. The target then adds one token of its"
            " own.",
            "Over the {steps} steps of this run the chain kept {mean} drafted tokens a step. The text is distributed"
            " as if the target had written it alone.",
        ],
        "At which node did this chain break? Select it in the tree.",
        [lost.node],
        "Look for the first card that rejection marked with ✕.",
        "Node {lost_node}: p = {lost_p} and q = {lost_q} make the threshold {lost_t}; the coin {lost_u} is not below.",
    )


LESSON = Lesson("chain", "Speculative sampling on a chain", "traces/chain-of-4", fill)
