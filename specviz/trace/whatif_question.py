"""A what-if question about a recorded step (another coin, a forced decision, another verifier), and its answer.

:mod:`specviz.engine.whatif` answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from specviz.errors import SettingsError, plain, shown
from specviz.trace.schema import Bonus, Choice, Decision, Option, Step, Verdict
from specviz.trace.settings import build_choice

MOST_CHANGES = 2048
FORCED = "forced by hand"
"""Reason of a decision that a question forces."""


@dataclass(frozen=True)
class Question:
    """What is to be different. Without any change it asks for the verdict as it was recorded.

    Attributes:
        verifier: who judges, with its options.
        coins: node -> uniform in (0, 1) instead of the node's own.
        forced: node -> whether it is accepted, whatever the numbers say.
        bonus_uniform: uniform in (0, 1) of the bonus draw, wherever the walk ends.
    """

    verifier: Choice
    coins: Mapping[int, float] = field(default_factory=dict)
    forced: Mapping[int, bool] = field(default_factory=dict)
    bonus_uniform: float | None = None


@dataclass(frozen=True)
class Alternative:
    """What would have come out.

    Attributes:
        thresholds: one per node.
        decisions: in the order they would have been taken. A residual is left out where it is not known.
        bonus: None where only the target's row could tell.
        by: whether the trace alone answered, or the models scored the tree again.
        needs: why the trace alone does not say all of it; None if it does.
        difference: by models, the largest difference between a drafted token's probability as recorded and as scored
            again.
        caveat: by models, what is not known of them, or not equal, as sentences; None where they are those recorded.
    """

    verifier: str
    options: Mapping[str, Option]
    thresholds: tuple[float, ...]
    decisions: tuple[Decision, ...]
    path: tuple[int, ...]
    bonus: Bonus | None
    by: Literal["trace", "models"]
    needs: str | None = None
    difference: float | None = None
    caveat: str | None = None


def compared_with(step: Step, question: Question) -> Verdict:
    """The recorded verdict that the answer stands beside: the same verifier's, or else the driver's."""
    return step.verdicts.get(question.verifier.name) or step.verdicts[step.driver]


def parse_question(wanted: Any, step: Step) -> Question:
    """A question from a page's JSON: ``verifier``, ``options``, ``coins``, ``forced`` (by node, as text) and ``bonus``.

    Raises:
        SettingsError: naming what is wrong.
    """
    if not isinstance(wanted, Mapping):
        raise SettingsError("A what-if question is an object with a verifier and changes.")
    name = wanted.get("verifier")
    options = wanted.get("options") or {}
    if not isinstance(name, str) or not name or not isinstance(options, Mapping) or len(options) > 100:
        raise SettingsError("A what-if question names one verifier and its options.")
    if any(not isinstance(value, (bool, int, float, str, type(None))) for value in options.values()):
        raise SettingsError(f"An option of {plain(name)} is no number, text or yes/no.")
    coins = {
        node: _uniform(value, f"The coin of node {node}") for node, value in _by_node(wanted.get("coins"), step).items()
    }
    forced = _by_node(wanted.get("forced"), step)
    for node, value in forced.items():
        if not isinstance(value, bool):
            raise SettingsError(f"Node {node} is forced to be accepted (true) or rejected (false), not {value!r:.40}.")
    bonus = wanted.get("bonus")
    return Question(
        build_choice(name[:200], {str(key): value for key, value in options.items()}),
        coins,
        forced,
        None if bonus is None else _uniform(bonus, "The bonus coin"),
    )


def _by_node(given: Any, step: Step) -> dict[int, Any]:
    if given is None:
        return {}
    if not isinstance(given, Mapping) or len(given) > MOST_CHANGES:
        raise SettingsError(f"Changes are given by node, at most {MOST_CHANGES} of them.")
    found = {}
    for key, value in given.items():
        text = str(key)
        node = int(text) if text.isascii() and text.isdigit() and len(text) < 8 else -1
        if not 0 < node < len(step.tree.nodes):
            raise SettingsError(
                f"There is no drafted node {shown(text)} in this tree; nodes go from 1 to {len(step.tree.nodes) - 1}."
            )
        found[node] = value
    return found


def _uniform(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1:
        raise SettingsError(f"{what} is {value!r:.40}; give a number between 0 and 1, both excluded.")
    return float(value)
