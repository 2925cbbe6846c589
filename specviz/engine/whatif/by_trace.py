"""Answers from the recorded step alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from specviz.dice import Draw
from specviz.engine.whatif.luck import QuestionLuck
from specviz.engine.whatif.walk import asked_verifier, walk_with_forced
from specviz.trace.schema import Bonus, Choice, Decision, Node, Step, TopK, Trace, Verdict
from specviz.trace.whatif_question import FORCED, Alternative, Question
from specviz.tree import Shape
from specviz.verifiers import VERIFIERS, Context, End, Ruling, Verifier, Walk, resolve_verifier


class NeedsRows(Exception):
    """The trace does not hold what is asked for; the message says why, as a sentence for people."""


def from_trace(trace: Trace, position: int, question: Question) -> Alternative | str:
    """Answer from the recorded step alone, or say in one sentence why the models are needed.

    Raises:
        SettingsError: for a question without meaning, whoever answers it.
    """
    step = trace.steps[position]
    verifier, options = asked_verifier(question)
    recorded = step.verdicts.get(verifier.name)
    if recorded is None:
        return f"{verifier.name} did not judge this tree, so its thresholds are not in the trace."
    _, recorded_options = resolve_verifier(Choice(name=verifier.name, options=recorded.options))
    if dict(options) != dict(recorded_options):
        return f"Other options give {verifier.name} other thresholds, which are not in the trace."
    thresholds = [threshold for threshold in recorded.thresholds if threshold is not None]
    if len(thresholds) < len(recorded.thresholds):
        return f"Not every threshold of {verifier.name} was recorded in this step."
    luck = RecordedLuck(trace, position, question, recorded)
    try:
        context = _recorded_context(step, verifier, recorded, thresholds, options)
        walk = walk_with_forced(verifier, context, luck, question)
    except NeedsRows as reason:
        return str(reason)
    bonus, needs = _recorded_bonus(step, recorded, walk, luck)
    known = {decision.node: decision for decision in recorded.decisions}
    return Alternative(
        verifier=verifier.name,
        options=dict(options),
        thresholds=tuple(thresholds),
        decisions=tuple(_decision(step, verifier, recorded, ruling, known.get(ruling.node)) for ruling in walk.rulings),
        path=walk.path,
        bonus=bonus,
        by="trace",
        needs=needs,
    )


class RecordedLuck(QuestionLuck):
    """Luck where the rows are not known: only draws that were recorded are."""

    def __init__(self, trace: Trace, position: int, question: Question, recorded: Verdict):
        step = trace.steps[position]
        super().__init__(
            trace,
            position,
            question,
            [node.token for node in step.tree.nodes],
            Shape(tuple(node.parent for node in step.tree.nodes)),
            VERIFIERS[recorded.verifier].comparison,
        )
        self._step, self._recorded = step, recorded

    def draw(self, node: int, weights: torch.Tensor) -> Draw:  # noqa: ARG002 (a recorded draw needs no row)
        if (forced := self.forced_draw(node)) is not None:
            return forced
        drawn = _drawn_from_target(self._step, self._recorded).get(node)
        if drawn is None or drawn.uniform != self.bonus_coin(node) or drawn.token in self.banned(node):
            raise NeedsRows(
                f"Which token the target draws at node {node} takes its whole row, which is not in the trace."
            )
        return drawn


def _drawn_from_target(step: Step, recorded: Verdict) -> dict[int, Draw]:
    """Node -> what was drawn there from the target's own row, by this verifier or as another verifier's bonus token."""
    drawn: dict[int, Draw] = {}
    for verdict in step.verdicts.values():
        bonus = verdict.bonus
        if bonus is None:
            continue
        own_row = verdict is recorded or is_target_row(step, bonus)
        if bonus.source == "target" and bonus.uniform is not None and own_row:
            drawn[bonus.node] = Draw(bonus.token, bonus.uniform)
    for decision in recorded.decisions:
        if decision.expected is not None and decision.uniform is not None:
            drawn[step.tree.nodes[decision.node].parent] = Draw(decision.expected, decision.uniform)
    return drawn


def is_target_row(step: Step, bonus: Bonus) -> bool:
    """Whether a bonus was drawn from the target's unchanged row. The source a faulty verifier names may be wrong."""
    row = _target_row(step.tree.nodes[bonus.node])
    return row is not None and bonus.distribution == row


def _target_row(node: Node) -> TopK | None:
    """The target's processed row at a node, as far as it was recorded."""
    return node.target.processed if node.target else None


@dataclass(frozen=True)
class _RecordedProbs(Sequence[float]):
    """p of every node as the rule used it. Reading one that was not recorded raises :class:`NeedsRows`."""

    values: dict[int, float]
    size: int

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, node: Any) -> Any:
        if node not in self.values:
            raise NeedsRows(f"The probability that the rule would use at node {node} is not in the trace.")
        return self.values[node]


def _recorded_context(
    step: Step, verifier: Verifier, recorded: Verdict, thresholds: Sequence[float], options: Any
) -> Context:
    nodes = step.tree.nodes
    p = {decision.node: decision.p for decision in recorded.decisions if decision.p is not None}
    if verifier.plain:
        p |= {node.id: node.target_prob for node in nodes if node.target_prob is not None}

    def distribution(end: End) -> torch.Tensor:
        if verifier.comparison == "token = drawn":
            return torch.empty(0)  # RecordedLuck.draw does not read it
        raise NeedsRows(f"The rule looks at the target's row at node {end.node}, which is not in the trace.")

    return Context(
        shape=Shape(tuple(node.parent for node in nodes)),
        tokens=[node.token for node in nodes],
        thresholds=[1.0, *thresholds[1:]],
        p=_RecordedProbs(p, len(nodes)),
        expected=_expected(step, recorded) if verifier.comparison == "token = argmax" else [],
        distribution=distribution,
        options=options,
    )


def _expected(step: Step, recorded: Verdict) -> list[int]:
    """For every node the token that it is compared with, the same for all siblings; -1 where it is not known."""
    nodes = step.tree.nodes
    said = {nodes[d.node].parent: d.expected for d in recorded.decisions if d.expected is not None}
    said |= {node.parent: node.token for node in nodes[1:] if recorded.thresholds[node.id] == 1}
    best = {node.id: token for node in nodes if (token := _best(node)) is not None}
    return [0, *(said.get(node.parent, best.get(node.parent, -1)) for node in nodes[1:])]


def _best(node: Node) -> int | None:
    """The target's most likely token at a node; None where the recorded digits of the first two are equal."""
    top = _target_row(node)
    if top is None:
        return None
    tied = len(top.probs) > 1 and top.probs[0] == top.probs[1]
    return top.ids[0] if top.ids and not tied else None


def _recorded_bonus(step: Step, recorded: Verdict, walk: Walk, luck: QuestionLuck) -> tuple[Bonus | None, str | None]:
    """The bonus token of a walk, where the same draw was recorded; else why it is not known."""
    end = walk.end
    if end.drawn is not None and end.drawn.uniform is None and (known := step.text_of().get(end.drawn.token)):
        return Bonus(
            token=known.id,
            text=known.text,
            node=end.node,
            source=end.source,
            uniform=None,
            distribution=_target_row(step.tree.nodes[end.node]),
        ), None
    if end.source == "argmax":
        if recorded.bonus and (recorded.bonus.node, recorded.bonus.source) == (end.node, end.source):
            return recorded.bonus, None
        top, best = _target_row(step.tree.nodes[end.node]), _best(step.tree.nodes[end.node])
        if top is not None and best is not None and (known := step.text_of().get(best)) is not None:
            only = top.model_copy(update={"ids": top.ids[:1], "probs": (1.0,)})
            return (
                Bonus(token=known.id, text=known.text, node=end.node, source="argmax", uniform=None, distribution=only),
                None,
            )
    rejected = {d.node for d in recorded.decisions if d.outcome == "rejected"}
    children = {node.id for node in step.tree.nodes if node.parent == end.node}
    for verdict in step.verdicts.values():
        bonus = verdict.bonus
        if bonus is None:
            continue
        # All verifiers share the target's own row. A residual depends on the verifier and on what it rejected before.
        same_row = (
            end.source != "residual" or set(end.rejected) == rejected & children
            if verdict is recorded
            else end.source == "target" and is_target_row(step, bonus)
        )
        if (bonus.node, bonus.source) == (end.node, end.source) and same_row and luck.has_coin_of(bonus):
            return bonus, None
    what = "residual" if end.source == "residual" else "row"
    return (
        None,
        f"Which bonus token is drawn at node {end.node} takes the target's whole {what}, which is not in the trace.",
    )


def _decision(step: Step, verifier: Verifier, recorded: Verdict, ruling: Ruling, known: Decision | None) -> Decision:
    if known and (known.outcome, known.uniform) == (ruling.outcome, ruling.uniform) and ruling.reason != FORCED:
        return known  # its reason may say more than the walk's own
    node = step.tree.nodes[ruling.node]
    plain = verifier.plain
    q = 1.0 if step.tree.proposal == "top_k" else node.draft_prob
    return Decision(
        node=ruling.node,
        rule=verifier.rule,
        comparison=verifier.comparison,
        threshold=recorded.thresholds[ruling.node],
        p=known.p if known else node.target_prob if plain else None,
        q=known.q if known else q if plain else None,
        uniform=ruling.uniform,
        expected=None if ruling.expected is None or ruling.expected < 0 else ruling.expected,
        outcome=ruling.outcome,
        reason=ruling.reason,
        residual=known.residual if known and ruling.outcome == "rejected" else None,
    )
