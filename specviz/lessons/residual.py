"""The residual: a step in which a sibling of a rejected token is judged by what the target still lacks."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from specviz.digits import digits
from specviz.lessons.lesson import (
    Facts,
    FilledLesson,
    Lesson,
    decision_facts,
    fill_templates,
    first_step,
    reasons,
    value,
)
from specviz.trace.schema import Step, Trace


def fill(trace: Trace) -> FilledLesson:
    """Finds a sibling judged after a rejected one; asks for any such node of the step."""

    def judged_late(step: Step) -> Any:
        decisions = step.verdicts["rejection"].decisions
        for before, after in pairwise(decisions):
            siblings = step.tree.nodes[before.node].parent == step.tree.nodes[after.node].parent
            told = before.residual is not None and before.p is not None and after.p is not None
            if before.outcome == "rejected" and siblings and told and after.p and after.q:
                return before, after
        return None

    step, (before, after) = first_step(trace, judged_late)
    decisions = step.verdicts["rejection"].decisions
    answers = [
        late.node
        for place, late in enumerate(decisions)
        if any(
            early.outcome == "rejected" and step.tree.nodes[early.node].parent == step.tree.nodes[late.node].parent
            for early in decisions[:place]
        )
    ]
    judged = {one.node: one for one in decisions}

    def why(node: int) -> tuple[str, Facts] | None:
        if node not in judged:
            return None
        return (
            "No sibling was rejected before it, so it was judged by the target’s own p, {it_p}.",
            decision_facts("it", judged[node]),
        )

    return fill_templates(
        step,
        "rejection",
        {
            **decision_facts("before", before),
            **decision_facts("after", after),
            "mass": digits(before.residual.mass),
            "own": value(after.node, step.tree.nodes[after.node].target_prob),
        },
        paragraphs=[
            "When a token is rejected, the draft’s proposal has been used up at that place. What the target still "
            "lacks is the **residual**: wherever p is larger than q, the difference p − q, and zero elsewhere.",
            "{before} was rejected here: p = {before_p}, q = {before_q}, coin {before_u}. The residual it left has "
            "mass {mass}; divided by that it is a distribution again.",
            "**The next sibling is judged by it, not by p.** When no sibling is left, the bonus token is drawn from "
            "it.",
        ],
        aside="Whoever forgets this step, or uses the residual from before the last rejection, gets fluent text with a "
        "wrong distribution. The audit cannot see it, because the caches are right.",
        question="Select a node that rejection judged by a residual instead of the target’s own p.",
        nodes=answers,
        hint="It comes after a rejected sibling: select a card that rejection looked at after one that it marked with "
        "✕.",
        solved="{after}, for one: the target gives it {own}, but rejection judged it with p = {after_p}.",
        wrong=reasons(step, answers, why),
        otherwise="Rejection did not examine it.",
    )


LESSON = Lesson("residual", "The residual", "traces/default-4-2-2", fill)
