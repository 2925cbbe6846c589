"""What a lesson is, and what all lessons need: a step that shows it, and its numbers put into its sentences.

A template, which is a sentence with named gaps, holds no number of its own: every number that a learner reads was
looked up in the recorded run, and so were the answer to the question and the reasons why other answers are wrong. So a
lesson cannot contradict its run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Any, Literal

from specviz.digits import digits
from specviz.errors import TraceError
from specviz.trace.schema import Decision, Step, Trace

FORMULAS = ("min(1, p ÷ q)", "between 0 and 1")
"""The only digits that a template may hold."""


@dataclass(frozen=True)
class Piece:
    """A piece of a sentence.

    Attributes:
        text: what is read; nothing for ``card``, where the page puts number and token of the node.
        kind: ``value`` is a recorded number of ``node``, ``card`` the node itself; ``q`` and ``p`` are samples of the
            bars of draft and target.
        node: the node whose card it lights, and which lights it.
    """

    text: str
    kind: Literal["plain", "strong", "value", "card", "q", "p"] = "plain"
    node: int | None = None


Sentence = tuple[Piece, ...]
Facts = Mapping[str, Any]
BARS: Facts = {"q_bar": Piece("", "q"), "p_bar": Piece("", "p")}


@dataclass(frozen=True)
class FilledLesson:
    """A lesson with the numbers of its run filled in, as the page shows it.

    Attributes:
        step: index of the step in which the answer lies.
        start: index of the step that is shown first. Where it is another one than ``step``, finding the step is a part
            of the question, and nothing in text or marks may say where something is wrong before it is answered.
        verifier: name of the verifier whose marks in the tree matter.
        dock: whether the KV cache is needed below the tree.
        paragraphs: the explanation.
        aside: what else the run shows, or nothing.
        question: what the learner is asked; answered by selecting one of ``nodes`` in the tree.
        nodes: the tree nodes that are right answers.
        hint: where to look.
        solved: what is said after a right answer.
        wrong: step and node -> why it is no answer.
        otherwise: why a node that is not in ``wrong`` is no answer.
    """

    step: int
    start: int
    verifier: str
    dock: bool
    paragraphs: tuple[Sentence, ...]
    aside: Sentence
    question: str
    nodes: frozenset[int]
    hint: str
    solved: Sentence
    wrong: Mapping[tuple[int, int], Sentence]
    otherwise: str

    @property
    def asks_step(self) -> bool:
        """Whether the step has to be found, too."""
        return self.start != self.step


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
    facts: Facts,
    *,
    paragraphs: list[str],
    question: str,
    nodes: Iterable[int],
    hint: str,
    solved: str,
    wrong: Mapping[tuple[int, int], Sentence],
    otherwise: str,
    aside: str = "",
    start: int | None = None,
    dock: bool = False,
) -> FilledLesson:
    """Put ``facts`` into the gaps of the templates; see :class:`FilledLesson`."""
    for template in (question, hint):
        _refuse_numbers(template)
    return FilledLesson(
        step=step.index,
        start=step.index if start is None else start,
        verifier=verifier,
        dock=dock,
        paragraphs=tuple(fill_sentence(text, facts) for text in paragraphs),
        aside=fill_sentence(aside, facts),
        question=question,
        nodes=frozenset(nodes),
        hint=hint,
        solved=fill_sentence(solved, facts),
        wrong=wrong,
        otherwise=text_of(fill_sentence(otherwise, facts)),
    )


def fill_sentence(template: str, facts: Facts) -> Sentence:
    """The sentence of a template: ``{name}`` is the fact of that name, ``**words**`` stand out."""
    _refuse_numbers(template)
    pieces: list[Piece] = []
    for literal, name, _, _ in Formatter().parse(template):
        for place, text in enumerate(literal.split("**")):
            if text:
                pieces.append(Piece(text, "strong" if place % 2 else "plain"))
        if name:
            fact = facts[name]
            pieces.append(fact if isinstance(fact, Piece) else Piece(str(fact)))
    return tuple(pieces)


def text_of(sentence: Sentence) -> str:
    """The sentence as a person reads it aloud."""
    return "".join(f"node {one.node}" if one.kind == "card" else one.text for one in sentence)


def _refuse_numbers(template: str) -> None:
    own = template
    for formula in FORMULAS:
        own = own.replace(formula, "")
    assert not any(character.isdigit() for character in own), f"a number of its own: {template}"


def first_step(trace: Trace, find: Callable[[Step], Any]) -> tuple[Step, Any]:
    """The first step for which ``find`` returns something, and what it returned.

    Raises:
        TraceError: if there is none.
    """
    for step in trace.steps:
        if (found := find(step)) is not None:
            return step, found
    raise TraceError("This run has no step that shows what the lesson is about; restore the runs of this version.")


def card(node: int) -> Piece:
    """A node of the step's tree, by number and token."""
    return Piece("", "card", node)


def value(node: int, number: float | None) -> Piece:
    """A recorded number of a node."""
    return Piece(str(number) if isinstance(number, int) else digits(number), "value", node)


def decision_facts(name: str, decision: Decision) -> dict[str, Piece]:
    """A decision as facts: the node ``<name>``, and ``<name>_p``, ``_q``, ``_t`` (threshold), ``_u`` (coin)."""
    node = decision.node
    return {
        name: card(node),
        f"{name}_p": value(node, decision.p),
        f"{name}_q": value(node, decision.q),
        f"{name}_t": value(node, decision.threshold),
        f"{name}_u": value(node, decision.uniform),
    }


def plain_facts(facts: Mapping[str, Piece]) -> dict[str, str]:
    """The same numbers without their node: where a lit card would be the answer."""
    return {name: one.text for name, one in facts.items()}


def by_outcome(step: Step, verifier: str, outcome: str) -> dict[int, Decision]:
    """Node -> the verifier's decision about it, of the nodes that it decided with this outcome."""
    return {d.node: d for d in step.verdicts[verifier].decisions if d.outcome == outcome}


def reasons(
    step: Step, nodes: Iterable[int], why: Callable[[int], tuple[str, Facts] | None]
) -> dict[tuple[int, int], Sentence]:
    """Why nodes of a step are no answers to a lesson, but for ``nodes``, which are.

    Args:
        step: what the lesson is about.
        nodes: the right answers.
        why: template and facts for a node; None where there is nothing to say of this one.
    """
    right = set(nodes)
    found = {node: why(node) for node in range(1, len(step.tree.nodes)) if node not in right}
    return {(step.index, node): fill_sentence(*told) for node, told in found.items() if told is not None}


def mean_accepted(trace: Trace, verifier: str) -> str:
    """Accepted draft tokens a step, over the run."""
    return mean([len(step.verdicts[verifier].path) for step in trace.steps])


def mean(values: Sequence[int]) -> str:
    """With two digits, as lessons print it."""
    return f"{sum(values) / len(values):.2f}"
