"""What a lesson is, and what all lessons need: a step that shows it, and its numbers put into its sentences.

A template, which is a sentence with named gaps, holds no number of its own: every number that a learner reads was
looked up in the recorded run, and so was the answer to the question. So a lesson cannot contradict its run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from specviz.digits import digits
from specviz.errors import TraceError
from specviz.trace.schema import Decision, Step, Trace

FORMULAS = ("min(1, p/q)", "between 0 and 1")
"""The only digits that a template may hold."""


@dataclass(frozen=True)
class FilledLesson:
    """A lesson with the numbers of its run filled in, as the page shows it.

    Attributes:
        step: index of the step that it is about, and in which the answer lies.
        verifier: name of the verifier whose marks in the tree matter.
        paragraphs: the explanation.
        question: what the learner is asked; answered by selecting one of ``nodes`` in the tree.
        nodes: the tree nodes that are right answers.
        hint: where to look.
        solved: what is said after a right answer.
    """

    step: int
    verifier: str
    paragraphs: tuple[str, ...]
    question: str
    nodes: frozenset[int]
    hint: str
    solved: str


@dataclass(frozen=True)
class Lesson:
    """One lesson.

    Attributes:
        name: in addresses (``#lesson=...``), and the name of the lesson's file.
        title: as the list of lessons shows it.
        run: path of the recorded run below ``assets``, without ``.json.gz``.
        fill: finds a step of that run that shows what the lesson is about, and fills in its numbers. Raises
            :class:`~specviz.errors.TraceError` for a run without such a step.
    """

    name: str
    title: str
    run: str
    fill: Callable[[Trace], FilledLesson]


def fill_templates(
    step: Step,
    verifier: str,
    facts: dict[str, Any],
    paragraphs: list[str],
    question: str,
    nodes: list[int],
    hint: str,
    solved: str,
) -> FilledLesson:
    """Put ``facts`` into the gaps of ``paragraphs`` and ``solved``; see :class:`FilledLesson`."""
    for template in (*paragraphs, question, hint, solved):
        own = template
        for formula in FORMULAS:
            own = own.replace(formula, "")
        assert not any(character.isdigit() for character in own), f"a number of its own: {template}"
    return FilledLesson(
        step.index,
        verifier,
        tuple(text.format(**facts) for text in paragraphs),
        question,
        frozenset(nodes),
        hint,
        solved.format(**facts),
    )


def first_step(trace: Trace, find: Callable[[Step], Any]) -> tuple[Step, Any]:
    """The first step for which ``find`` returns something, and what it returned.

    Raises:
        TraceError: if there is none.
    """
    for step in trace.steps:
        if (found := find(step)) is not None:
            return step, found
    raise TraceError("This run has no step that shows what the lesson is about; restore the runs of this version.")


def decision_facts(name: str, decision: Decision) -> dict[str, Any]:
    """The numbers of a verifier's decision as facts ``<name>_node``, and ``_p``, ``_q``, ``_t`` (threshold), ``_u``."""
    return {
        f"{name}_node": decision.node,
        f"{name}_p": digits(decision.p),
        f"{name}_q": digits(decision.q),
        f"{name}_t": digits(decision.threshold),
        f"{name}_u": digits(decision.uniform),
    }


def by_outcome(step: Step, verifier: str, outcome: str) -> dict[int, Decision]:
    """Node -> the verifier's decision about it, of the nodes that it decided with this outcome."""
    return {d.node: d for d in step.verdicts[verifier].decisions if d.outcome == outcome}


def mean_accepted(trace: Trace, verifier: str) -> str:
    """Accepted draft tokens a step, over the run."""
    return mean([len(step.verdicts[verifier].path) for step in trace.steps])


def mean(values: Sequence[int]) -> str:
    """With two digits, as lessons print it."""
    return f"{sum(values) / len(values):.2f}"
