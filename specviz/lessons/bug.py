"""Find the bug: a run recorded without the moving of cache entries, and the step in which that shows first."""

from __future__ import annotations

from specviz.digits import digits
from specviz.errors import TraceError
from specviz.lessons.lesson import (
    FilledLesson,
    Lesson,
    Sentence,
    card,
    fill_sentence,
    fill_templates,
    first_step,
    value,
)
from specviz.trace.schema import Step, Trace, text_of_tokens


def fill(trace: Trace) -> FilledLesson:
    """Finds the first step in which an accepted node lost its entry; asks for step and node, and names neither."""
    step, lost = first_step(trace, lambda one: _lost(one) or None)
    change = step.caches.whole("target")
    node, where = next(iter(lost.items()))
    stranger = next(
        slot.node
        for slot, mark in zip(change.appended, change.fingerprints_before, strict=True)
        if slot.node is not None and mark == change.fingerprints_after[where - change.length_before]
    )
    return fill_templates(
        step,
        step.driver,
        {
            "text": _written_text(trace),
            "steps": len(trace.steps),
            "node": card(node),
            "where": value(node, where),
            "stranger": card(stranger),
            "step": trace.steps.index(step) + 1,
            "audit": digits(_worst_audit(step)),
        },
        paragraphs=[
            "This run was recorded with **one line of the cache update taken out**. In {steps} steps it wrote: "
            "“{text}” Nothing in the text says that something is wrong.",
            "Accepted nodes must keep the keys and values that they got in the forward. After every update the new "
            "slots must hold the **last token and the accepted path**, in this order.",
            "What does not fit is marked nowhere here. Walk through the steps with ← and →, and look at the cache "
            "below the tree.",
        ],
        question="In which step did an accepted node first lose its entry? Go there and select this node.",
        nodes=lost,
        hint="Only steps that keep drafted tokens can lose one. There, compare the framed slots below the tree with "
        "the path above them.",
        solved="{node} should be in slot {where}, but the entry of {stranger} is still there: the cache was cut to the "
        "right length and nothing was moved. Step {step} is the first such one; against a recompute the cache is off "
        "by up to {audit} of its size. The marks are back: **Why?** tells the rest.",
        wrong=_wrong(trace, step, lost),
        otherwise="It was not accepted in this step, so its entry had to go.",
        start=trace.steps[0].index,
        dock=True,
    )


def _lost(step: Step) -> dict[int, int]:
    """Accepted node that lost its entry in the target's cache -> the slot that should hold it."""
    change = step.caches.whole("target")
    slots = {slot.node: place for place, slot in enumerate(change.appended)}
    path = step.verdicts[step.driver].path
    return {
        node: change.length_before + place
        for place, node in enumerate(path, start=1)
        if place < len(change.fingerprints_after)
        and change.fingerprints_after[place] != change.fingerprints_before[slots[node]]
    }


def _wrong(trace: Trace, first: Step, right: dict[int, int]) -> dict[tuple[int, int], Sentence]:
    """What to say of every other accepted node of the run."""
    said = {}
    for step in trace.steps:
        lost = _lost(step)
        for place, node in enumerate(step.verdicts[step.driver].path, start=1):
            if step is first and node in right:
                continue
            change = step.caches.whole("target")
            if node in lost:
                template = "It did lose its entry, but it was not the first to."
            elif place < len(change.fingerprints_after):
                template = "Slot {where} holds its entry after the update, as it must."
            else:
                template = "The text ends before it, so its entry was not to be kept."
            where = change.length_before + place
            said[step.index, node] = fill_sentence(template, {"where": value(node, where)})
    return said


def _written_text(trace: Trace) -> str:
    texts = [step.text_of()[token] for step in trace.steps for token in step.committed]
    return " ".join(text_of_tokens(texts).split())


def _worst_audit(step: Step) -> float:
    """The largest relative difference between an entry of the target's cache and its recompute."""
    audit = step.caches.whole("target").audit
    if audit is None:
        raise TraceError("The lesson's run has no audit; restore the runs of this version.")
    return max(number for rows in (audit.keys, audit.values) for row in rows for number in row)


LESSON = Lesson("bug", "Find the bug", "lessons/find-the-bug", fill)
