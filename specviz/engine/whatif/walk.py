"""The walk of the verifier that a question asks about, with nodes that are forced to be accepted or rejected."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from specviz.engine.whatif.luck import QuestionLuck
from specviz.errors import SettingsError
from specviz.trace.whatif_question import FORCED, Question
from specviz.verifiers import Context, Ruling, Verifier, Walk, resolve_verifier


def asked_verifier(question: Question) -> tuple[Verifier, Any]:
    verifier, options = resolve_verifier(question.verifier)
    if question.coins and verifier.comparison != "uniform < threshold":
        raise SettingsError(f"{verifier.name} flips no coin at a node; force the node, or change the bonus coin.")
    return verifier, options


def walk_with_forced(verifier: Verifier, context: Context, luck: QuestionLuck, question: Question) -> Walk:
    """The verifier's walk, with the numbers or tokens that its rule compares replaced at forced nodes.

    The new ones let the rule decide as it is forced to.
    """
    thresholds, expected, tokens = list(context.thresholds), list(context.expected), list(context.tokens)
    for node, accepted in question.forced.items():
        if verifier.comparison == "p > threshold":
            thresholds[node] = -1.0 if accepted else 2.0  # p lies between
        elif verifier.comparison == "token = argmax":
            expected[node] = context.tokens[node] if accepted else -1
        elif verifier.comparison == "token = drawn":
            # The luck forces the draw. Of several children with the drawn token, only the forced one may match it.
            for child in _earlier_twins(context, node) if accepted else (node,):
                if not question.forced.get(child):
                    tokens[child] = -1
    walk = verifier.walk(replace(context, thresholds=thresholds, expected=expected, tokens=tokens), luck)
    rulings = tuple(_with_forced_reason(ruling, question, context) for ruling in walk.rulings)
    return replace(walk, rulings=rulings)


def _earlier_twins(context: Context, node: int) -> list[int]:
    """Earlier siblings with the same token, which there are when siblings are drawn with replacement."""
    siblings = context.shape.children[context.shape.parents[node]]
    return [child for child in siblings if child < node and context.tokens[child] == context.tokens[node]]


def _with_forced_reason(ruling: Ruling, question: Question, context: Context) -> Ruling:
    """The ruling; if it was forced, its reason says so and names no numbers, because they decided nothing."""
    twin = ruling.outcome == "rejected" and ruling.expected == context.tokens[ruling.node]  # forced past it
    if ruling.node not in question.forced and not twin:
        return ruling
    expected = context.expected[ruling.node] if context.expected else ruling.expected
    return replace(ruling, reason=FORCED, expected=expected)
