"""Longest path, a lossy verifier, beside traversal, a lossless one: a step in which it accepts the longer path."""

from __future__ import annotations

from typing import Any

from specviz.lessons.lesson import (
    Facts,
    FilledLesson,
    Lesson,
    by_outcome,
    card,
    decision_facts,
    fill_templates,
    first_step,
    mean_accepted,
    reasons,
)
from specviz.trace.schema import Step, Trace


def fill(trace: Trace) -> FilledLesson:
    """Finds a step where longest path accepts more than traversal; asks for the last node of the path."""

    def longer(step: Step) -> Any:
        paths = {name: step.verdicts[name].path for name in ("longest_path", "traversal")}
        end = paths["longest_path"][-1:]
        far = len(paths["longest_path"]) > len(paths["traversal"]) > 0
        return end[0] if far and end[0] in by_outcome(step, "longest_path", "accepted") else None

    step, node = first_step(trace, longer)
    path = step.verdicts["longest_path"].path
    missed = by_outcome(step, "longest_path", "rejected")

    def why(wrong: int) -> tuple[str, Facts] | None:
        if wrong in path:
            return "It lies on the path, but the path goes on below it.", {}
        if wrong in missed:
            return "The coin of its edge, {it_u}, missed its accept zone, which ends at {it_t}.", decision_facts(
                "it", missed[wrong]
            )
        return None

    return fill_templates(
        step,
        "longest_path",
        {
            "flipped": len(step.verdicts["longest_path"].decisions),
            "length": len(path),
            "exact": len(step.verdicts["traversal"].path),
            "longest": mean_accepted(trace, "longest_path"),
            "traversal": mean_accepted(trace, "traversal"),
            "rejection": mean_accepted(trace, "rejection"),
            "node": card(node),
        },
        paragraphs=[
            "Why stop at the first branch that works? **Longest path** flips a coin for every edge, here {flipped} of "
            "them, and takes the deepest path on which all coins fell well. On this run: {longest} tokens a step, "
            "rejection {rejection}.",
            "But choosing the longest among several is a choice that the target never made: tokens that happen to "
            "lie on long branches win. The output is not distributed as the target’s. **It is lossy.**",
            "**Traversal** also looks for depth first: it decides from the leaves up, but it carries the residual "
            "along, and so it stays exact.",
        ],
        aside="Traversal accepts {traversal} tokens a step on these trees. In expectation it is never shorter than "
        "rejection; in one run it may be.",
        question="Select the node in which the longest path ends.",
        nodes=[node],
        hint="Follow the path of longest_path to its last card before the bonus token.",
        solved="{node} ends a path of {length} tokens. Traversal, with the same coins, accepted {exact} here.",
        wrong=reasons(step, [node], why),
        otherwise="The longest path does not go through it.",
    )


LESSON = Lesson("longest", "Longest path, and the honest one", "traces/default-4-2-2", fill)
