"""Find the bug: a run recorded without the moving of cache entries, and the step in which that shows first."""

from __future__ import annotations

from typing import Any

from specviz.digits import digits
from specviz.errors import TraceError
from specviz.lessons.lesson import FilledLesson, Lesson, fill_templates, first_step
from specviz.trace.schema import Step, Trace, text_of_tokens


def fill(trace: Trace) -> FilledLesson:
    """Finds the first step in which an accepted node lost its cache entry; asks for any such node."""

    def lost(step: Step) -> Any:
        change = step.caches.target
        slots = {slot.node: place for place, slot in enumerate(change.appended)}
        wrong = []
        for place, node in enumerate(step.verdicts[step.driver].path, start=1):
            if change.fingerprints_after[place] != change.fingerprints_before[slots[node]]:
                wrong.append((node, place))
        return wrong or None

    step, wrong = first_step(trace, lost)
    change = step.caches.target
    node, place = wrong[0]
    where = change.length_before + place
    stranger = next(
        slot.node
        for slot, mark in zip(change.appended, change.fingerprints_before, strict=True)
        if mark == change.fingerprints_after[place]
    )
    return fill_templates(
        step,
        step.driver,
        {
            "text": _written_text(trace),
            "step": trace.steps.index(step) + 1,
            "node": node,
            "where": where,
            "stranger": stranger,
            "count": len(wrong),
            "audit": digits(_worst_audit(step)),
        },
        [
            "This run was recorded with one line of the cache update taken out. It wrote: “{text}” Nothing in the text "
            "says that something is wrong.",
            "Accepted nodes must keep the keys and values that they got in the forward. A fingerprint of every entry"
            " was taken before the update and after it, so an entry that is not what it should be can be seen.",
            "Step {step} is the first in which an accepted node lost its entry; lost in it: {count}. Compared with a"
            " fresh recompute, the cache is off by up to {audit} of its size.",
        ],
        "Which accepted node lost its key and value? Select it in the tree.",
        [one for one, _ in wrong],
        "The red line under the summary leads to the slot; the slot says which node should be there.",
        "Node {node} should be in slot {where}, but the entry of node {stranger} is still there: the cache was cut "
        "to the right length and nothing was moved.",
    )


def _written_text(trace: Trace) -> str:
    texts = [step.text_of()[token] for step in trace.steps for token in step.committed]
    return " ".join(text_of_tokens(texts).split())


def _worst_audit(step: Step) -> float:
    """The largest relative difference between an entry of the target's cache and its recompute."""
    audit = step.caches.target.audit
    if audit is None:
        raise TraceError("The lesson's run has no audit; restore the runs of this version.")
    return max(value for rows in (audit.keys, audit.values) for row in rows for value in row)


LESSON = Lesson("bug", "Find the bug", "lessons/find-the-bug", fill)
