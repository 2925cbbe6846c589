"""The luck of a recorded step, with the coins and draws that a question changes."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from specviz.dice import Draw, Key, SeededDice, inverse_cdf
from specviz.errors import SettingsError
from specviz.trace.schema import Bonus, Trace
from specviz.trace.whatif_question import Question
from specviz.tree import Shape


class QuestionLuck:
    """The luck of a recorded step, with the changes of a question.

    A number that the question does not set is the recorded one, and where none was recorded the one of the seed.

    Args:
        tokens, shape: of the tree.
        comparison: the asked verifier's, see :class:`specviz.verifiers.Verifier`.
    """

    def __init__(
        self, trace: Trace, position: int, question: Question, tokens: Sequence[int], shape: Shape, comparison: str
    ):
        step = trace.steps[position]
        self._index, self._question = step.index, question
        settings = trace.settings_of(position)
        self._dice = None if settings is None else SeededDice(settings.seed)  # another engine's luck has no seed here
        self._coins = {
            decision.node: decision.uniform
            for verdict in step.verdicts.values()
            for decision in verdict.decisions
            if decision.comparison == "uniform < threshold" and decision.uniform is not None
        }
        self._draws = {
            verdict.bonus.node: verdict.bonus.uniform
            for verdict in step.verdicts.values()
            if verdict.bonus is not None and verdict.bonus.uniform is not None
        }
        if self._dice is not None:
            # A run that another version recorded, or that was edited, may have other numbers than its seed gives.
            keys = {Key(self._index, node, "accept"): uniform for node, uniform in self._coins.items()}
            keys |= {Key(self._index, node, "bonus"): uniform for node, uniform in self._draws.items()}
            self._seed_holds = all(self._dice.uniform(key) == uniform for key, uniform in keys.items())
        self._tokens, self._children, self._comparison = tokens, shape.children, comparison

    def coin(self, node: int) -> float:
        """The uniform number that decides about a node."""
        if node in self._question.coins:
            return self._question.coins[node]
        if node in self._coins:
            return self._coins[node]
        return self._from_seed(Key(self._index, node, "accept"))

    def bonus_coin(self, node: int) -> float:
        """The uniform number of a draw at a node."""
        if self._question.bonus_uniform is not None:
            return self._question.bonus_uniform
        if node in self._draws:
            return self._draws[node]
        return self._from_seed(Key(self._index, node, "bonus"))

    def has_coin_of(self, bonus: Bonus) -> bool:
        """Whether a recorded bonus token was drawn with the number that this luck has at its node."""
        if bonus.uniform is None:  # not recorded, but the same unless the question sets another
            return self._question.bonus_uniform is None
        return bonus.uniform == self.bonus_coin(bonus.node)

    def accept(self, node: int, threshold: float) -> tuple[bool, float | None]:
        if node in self._question.forced:
            return self._question.forced[node], None
        uniform = self.coin(node)
        return uniform < threshold, uniform

    def draw(self, node: int, weights: torch.Tensor) -> Draw:
        if (forced := self.forced_draw(node)) is not None:
            return forced
        uniform = self.bonus_coin(node)
        token = inverse_cdf([uniform], weights[None])[0]
        banned = self.banned(node)
        if token in banned:  # a draw of any other token stays as it was
            weights = weights.clone()
            weights[banned] = 0
            if not float(weights.sum()) > 0:
                raise SettingsError(f"Node {node} leaves nothing to draw when its children are all rejected.")
            token = inverse_cdf([uniform], weights[None])[0]
        return Draw(token, uniform)

    def forced_draw(self, node: int) -> Draw | None:
        """The token of a child that is forced to be accepted, for rules that follow a drawn token; else None."""
        if self._comparison != "token = drawn":
            return None
        forced = [child for child in self._children[node] if self._question.forced.get(child)]
        return Draw(self._tokens[forced[0]], None) if forced else None

    def banned(self, node: int) -> list[int]:
        """Tokens that must not be drawn, for rules that follow a drawn token: all children with them are forced to be
        rejected."""
        if self._comparison != "token = drawn":
            return []
        out = {self._tokens[child] for child in self._children[node] if self._question.forced.get(child) is False}
        return sorted(
            out
            - {self._tokens[child] for child in self._children[node] if self._question.forced.get(child) is not False}
        )

    def _from_seed(self, key: Key) -> float:
        if self._dice is None:
            raise SettingsError(f"The coin of node {key.node} was not recorded; set it.")
        if not self._seed_holds:
            raise SettingsError(
                f"The luck of this step is not that of its seed, so nobody knows the coin of node {key.node}; set it."
            )
        return self._dice.uniform(key)
