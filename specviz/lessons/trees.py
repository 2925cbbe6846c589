"""Why a tree is drafted instead of a chain: a step in which a sibling saves what a chain would have lost."""

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
    mean,
    mean_accepted,
    reasons,
)
from specviz.trace.schema import Step, Trace


def fill(trace: Trace) -> FilledLesson:
    """Finds a step whose accepted path starts at a later sibling; asks for that sibling."""

    def beside(step: Step) -> Any:
        path = step.verdicts["rejection"].path
        found = [node for node in path if step.tree.nodes[node].rank > 0]
        return found[0] if found and path.index(found[0]) == 0 and len(path) > 1 else None

    step, node = first_step(trace, beside)
    path = step.verdicts["rejection"].path
    saved = sum(any(one.tree.nodes[n].rank > 0 for n in one.verdicts["rejection"].path) for one in trace.steps)
    alone = mean([_first_siblings(one, one.verdicts["rejection"].path) for one in trace.steps])
    rejected = by_outcome(step, "rejection", "rejected")

    def why(wrong: int) -> tuple[str, Facts] | None:
        if wrong in path:
            return "It was accepted, but {parent} before it already left the first siblings.", {"parent": card(node)}
        if wrong in rejected:
            return "Its coin {it_u} missed its accept zone, which ends at {it_t}: it was rejected.", decision_facts(
                "it", rejected[wrong]
            )
        return None

    return fill_templates(
        step,
        "rejection",
        {
            "nodes": len(step.tree.nodes) - 1,
            "first": sum(one.parent == 0 for one in step.tree.nodes),
            "mean": mean_accepted(trace, "rejection"),
            "alone": alone,
            "saved": saved,
            "steps": len(trace.steps),
            "node": card(node),
            "rank": step.tree.nodes[node].rank + 1,
            "length": len(path),
        },
        paragraphs=[
            "A chain is lost at its first rejected token. A **tree** has more than one try at every place: this one "
            "holds {nodes} drafted tokens, {first} of them directly below the root.",
            "The target still scores all of them in one forward, because each token sees only its own ancestors.",
            "**Siblings are tried in order.** If the first is rejected, the second gets its chance, and the branch "
            "below it with it.",
        ],
        aside="In {saved} of the {steps} steps of this run the accepted path leaves the first siblings. They alone "
        "would have given {alone} tokens a step; the tree gave {mean}.",
        question="Which is the first accepted node that the chain of first siblings would not have had?",
        nodes=[node],
        hint="Follow rejection’s path from the root: which siblings were tried before it could go on?",
        solved="{node} is sibling number {rank}. With it came an accepted path of {length} tokens; the chain would "
        "have ended at once.",
        wrong=reasons(step, [node], why),
        otherwise="Rejection did not accept it.",
    )


def _first_siblings(step: Step, path: tuple[int, ...]) -> int:
    """Nodes of the path before it first goes on at a later sibling: what a chain of first siblings would have kept."""
    return next((place for place, node in enumerate(path) if step.tree.nodes[node].rank > 0), len(path))


LESSON = Lesson("trees", "Why trees", "traces/default-4-2-2", fill)
