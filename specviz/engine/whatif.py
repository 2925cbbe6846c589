"""What if a coin, an acceptance, an option or the verifier had been another: answered from the trace, or by the models.

A verifier's walk is a pure function of thresholds and luck, and a trace holds both. So a changed coin or a forced node
is answered from the trace alone. Other options, or a verifier that was not recorded, need the rows: the models then
score the recorded tree again. Nothing is drafted again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from specviz.dice import Draw, Key, SeededDice, inverse_cdf
from specviz.drafting import BUILDERS
from specviz.engine.recording import Texts, record_verdict
from specviz.engine.runners import DraftRunner, TargetRunner
from specviz.engine.step_values import Verified
from specviz.errors import SettingsError
from specviz.models.loading import Pair
from specviz.options import parse_options
from specviz.sampling import process
from specviz.trace.identity import caveats, known_weights, refuse_other_models
from specviz.trace.schema import Bonus, Choice, Decision, Models, Node, Step, Trace, Verdict
from specviz.trace.whatif_question import FORCED, Alternative, Question
from specviz.tree import MAX_NODES, Growth, Shape, TokenTree
from specviz.verifiers import VERIFIERS, Context, End, Ruling, Verifier, Walk, blamed
from specviz.verifiers.base import context_of, draw_bonus

EXACT_ROUNDING, COARSE_ROUNDING = 0.01, 0.3
"""Of a probability, in float32 and in narrower or quantized formats. Measured: a shipped run of the default pair scored
again on another machine, 4e-6; a small pair with other random weights of the same shapes, 0.24."""


class NeedsRows(Exception):
    """The trace does not hold what is asked for; the message says why, as a sentence for people."""


def from_trace(trace: Trace, position: int, question: Question) -> Alternative | str:
    """Answer from the recorded step alone, or say in one sentence why the models are needed.

    Raises:
        SettingsError: for a question without meaning, whoever answers it.
    """
    step = trace.steps[position]
    verifier, options = _asked(question)
    recorded = step.verdicts.get(verifier.name)
    if recorded is None:
        return f"{verifier.name} did not judge this tree, so its thresholds are not in the trace."
    if dict(options) != dict(
        parse_options(verifier.Options, "verifier", Choice(name=verifier.name, options=recorded.options))
    ):
        return f"Other options give {verifier.name} other thresholds, which are not in the trace."
    luck = _TraceLuck(trace, position, question, recorded)
    try:
        walk = _walk(verifier, _recorded_context(step, verifier, recorded, options), luck, question)
    except NeedsRows as reason:
        return str(reason)
    bonus, needs = _recorded_bonus(step, recorded, walk, luck)
    known = {decision.node: decision for decision in recorded.decisions}
    return Alternative(
        verifier=verifier.name,
        options=dict(options),
        thresholds=recorded.thresholds,
        decisions=tuple(_decision(step, verifier, recorded, ruling, known.get(ruling.node)) for ruling in walk.rulings),
        path=walk.path,
        bonus=bonus,
        by="trace",
        needs=needs,
    )


def through_models(pair: Pair, trace: Trace, position: int, question: Question) -> Alternative:
    """Answer by scoring the recorded tree again, under the settings of its step.

    Raises:
        SettingsError: for a question without meaning, or a pair that did not record the run.
    """
    step, settings = trace.steps[position], trace.settings_of(position)
    verifier, options = _asked(question)
    recorded = trace.models_of(position)
    refuse_other_models(pair.models, recorded)
    tokens = [*trace.prompt_tokens, *(token for earlier in trace.steps[:position] for token in earlier.committed)]
    _fits(pair, step, tokens)
    with torch.inference_mode():
        target = TargetRunner(pair.target, pair.draft.head)
        target.prefill(tokens[:-1])
        tree = _drafted_again(pair, step, settings, tokens, target.states)
        probs = process(target.score(tree), settings.target)
        with blamed(verifier):
            judgement = verifier.judge(tree, probs, options).on_host()
        luck = _Luck(trace, position, question, tokens=tree.tokens, shape=tree.shape, comparison=verifier.comparison)
        with blamed(verifier):
            walk = _walk(verifier, context_of(tree, judgement, options), luck, question)
            row = judgement.distribution(walk.end)
            bonus = draw_bonus(luck, walk.end, row)
        texts = Texts(pair.token_text)
        verdict = record_verdict(Verified(verifier, options, judgement, walk, bonus, row), settings.record_top_k, texts)
        difference = _difference(step, tree, probs)
    limit = _rounding(pair.models, recorded)
    if difference > limit and not known_weights(pair.models, recorded):
        raise SettingsError(
            f"These models give a drafted token a probability {difference:.2g} away from the recorded one, where "
            f"rounding explains {limit:g}, so they are not those of this run, which does not say what weights it had; "
            "choose the ones that recorded it under Settings."
        )
    return Alternative(
        verifier=verifier.name,
        options=dict(options),
        thresholds=verdict.thresholds,
        decisions=verdict.decisions,
        path=verdict.path,
        bonus=verdict.bonus,
        by="models",
        difference=difference,
        caveat=caveats(pair.models, recorded),
    )


def _asked(question: Question) -> tuple[Verifier, Any]:
    if question.verifier.name not in VERIFIERS:
        raise SettingsError(
            f"There is no verifier {question.verifier.name!r} here; choose from {', '.join(VERIFIERS)}."
        )
    verifier = VERIFIERS[question.verifier.name]
    if question.coins and verifier.comparison != "uniform < threshold":
        raise SettingsError(f"{verifier.name} flips no coin at a node; force the node, or change the bonus coin.")
    return verifier, parse_options(verifier.Options, "verifier", question.verifier)


# ---------------------------------------------------------------------------------------------- luck and force


class _Luck:
    """The luck of a recorded step, with the changes of a question. Recorded numbers come before the seed's."""

    def __init__(
        self, trace: Trace, position: int, question: Question, *, tokens: Sequence[int], shape: Shape, comparison: str
    ):
        step = trace.steps[position]
        self._index, self._question = step.index, question
        self._dice = SeededDice(trace.settings_of(position).seed)
        self._coins = {
            decision.node: decision.uniform
            for verdict in step.verdicts.values()
            for decision in verdict.decisions
            if decision.comparison == "uniform < threshold" and decision.uniform is not None
        }
        self._draws = {
            verdict.bonus.node: verdict.bonus.uniform
            for verdict in step.verdicts.values()
            if verdict.bonus.uniform is not None
        }
        # A run that was recorded by another version, or edited, may have other luck than its seed says.
        self._seed_holds = all(
            self._dice.uniform(Key(self._index, node, "accept")) == uniform for node, uniform in self._coins.items()
        ) and all(self._dice.uniform(Key(self._index, node, "bonus")) == u for node, u in self._draws.items())
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
        if token in banned:  # a draw that the force has nothing to do with stays as it was
            weights = weights.clone()
            weights[banned] = 0
            if not float(weights.sum()) > 0:
                raise SettingsError(f"Node {node} leaves nothing to draw when its children are all rejected.")
            token = inverse_cdf([uniform], weights[None])[0]
        return Draw(token, uniform)

    def forced_draw(self, node: int) -> Draw | None:
        """For rules that follow a drawn token: the token of a child that is forced to be accepted."""
        if self._comparison != "token = drawn":
            return None
        forced = [child for child in self._children[node] if self._question.forced.get(child)]
        return Draw(self._tokens[forced[0]], None) if forced else None

    def banned(self, node: int) -> list[int]:
        """For rules that follow a drawn token: tokens that only children carry which are forced to be rejected."""
        if self._comparison != "token = drawn":
            return []
        out = {self._tokens[child] for child in self._children[node] if self._question.forced.get(child) is False}
        return sorted(
            out
            - {self._tokens[child] for child in self._children[node] if self._question.forced.get(child) is not False}
        )

    def _from_seed(self, key: Key) -> float:
        if not self._seed_holds:
            raise SettingsError(
                f"The luck of this step is not that of its seed, so nobody knows the coin of node {key.node}; set it."
            )
        return self._dice.uniform(key)


class _TraceLuck(_Luck):
    """Luck without rows: a draw is known where it was recorded."""

    def __init__(self, trace: Trace, position: int, question: Question, recorded: Verdict):
        step = trace.steps[position]
        super().__init__(
            trace,
            position,
            question,
            tokens=[node.token for node in step.tree.nodes],
            shape=Shape(tuple(node.parent for node in step.tree.nodes)),
            comparison=VERIFIERS[recorded.verifier].comparison,
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
    """node -> what was drawn there from the target's own row, by this verifier or as the bonus token of another."""
    drawn: dict[int, Draw] = {}
    for verdict in step.verdicts.values():
        bonus = verdict.bonus
        own_row = verdict is recorded or _is_targets_row(step, bonus)
        if bonus.source == "target" and bonus.uniform is not None and own_row:
            drawn[bonus.node] = Draw(bonus.token, bonus.uniform)
    for decision in recorded.decisions:
        if decision.expected is not None and decision.uniform is not None:
            drawn[step.tree.nodes[decision.node].parent] = Draw(decision.expected, decision.uniform)
    return drawn


def _is_targets_row(step: Step, bonus: Bonus) -> bool:
    """Whether a bonus was drawn from the target's row as it is; a faulty verifier may only say so."""
    return bonus.distribution == step.tree.nodes[bonus.node].target.processed


def _walk(verifier: Verifier, context: Context, luck: _Luck, question: Question) -> Walk:
    """The walk with forced nodes: where a rule compares numbers or tokens, it meets ones that force it."""
    thresholds, expected, tokens = list(context.thresholds), list(context.expected), list(context.tokens)
    for node, accepted in question.forced.items():
        if verifier.comparison == "p > threshold":
            thresholds[node] = -1.0 if accepted else 2.0  # p lies between
        elif verifier.comparison == "token = argmax":
            expected[node] = context.tokens[node] if accepted else -1
        elif verifier.comparison == "token = drawn":
            # The draw is forced by the luck; of children that carry its token, the forced one is to be followed.
            for child in _elder_twins(context, node) if accepted else (node,):
                if not question.forced.get(child):
                    tokens[child] = -1
    walk = verifier.walk(replace(context, thresholds=thresholds, expected=expected, tokens=tokens), luck)
    rulings = tuple(_said(ruling, question, context) for ruling in walk.rulings)
    return replace(walk, rulings=rulings)


def _elder_twins(context: Context, node: int) -> list[int]:
    """Elder siblings that carry the same token (drawn with replacement)."""
    siblings = context.shape.children[context.shape.parents[node]]
    return [child for child in siblings if child < node and context.tokens[child] == context.tokens[node]]


def _said(ruling: Ruling, question: Question, context: Context) -> Ruling:
    """Forced decisions say so, instead of naming numbers that decided nothing."""
    twin = ruling.outcome == "rejected" and ruling.expected == context.tokens[ruling.node]  # forced past it
    if ruling.node not in question.forced and not twin:
        return ruling
    expected = context.expected[ruling.node] if context.expected else ruling.expected
    return replace(ruling, reason=FORCED, expected=expected)


# --------------------------------------------------------------------------------------------- from the trace


@dataclass(frozen=True)
class _Known(Sequence[float]):
    """p of every node as the rule used it, as far as the trace tells."""

    values: dict[int, float]
    size: int

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, node: Any) -> Any:
        if node not in self.values:
            raise NeedsRows(f"The probability that the rule would use at node {node} is not in the trace.")
        return self.values[node]


def _recorded_context(step: Step, verifier: Verifier, recorded: Verdict, options: Any) -> Context:
    nodes = step.tree.nodes
    p = {decision.node: decision.p for decision in recorded.decisions if decision.p is not None}
    if verifier.plain:
        p |= {node.id: node.target_prob for node in nodes if node.target_prob is not None}

    def distribution(end: End) -> torch.Tensor:
        if verifier.comparison == "token = drawn":
            return torch.empty(0)  # goes to the luck, which knows recorded draws by their node
        raise NeedsRows(f"The rule looks at the target's row at node {end.node}, which is not in the trace.")

    return Context(
        shape=Shape(tuple(node.parent for node in nodes)),
        tokens=[node.token for node in nodes],
        thresholds=[1.0, *recorded.thresholds[1:]],
        p=_Known(p, len(nodes)),
        expected=_expected(step, recorded) if verifier.comparison == "token = argmax" else [],
        distribution=distribution,
        options=options,
    )


def _expected(step: Step, recorded: Verdict) -> list[int]:
    """For every node the token it is compared with; its siblings are compared with the same one."""
    nodes = step.tree.nodes
    said = {nodes[d.node].parent: d.expected for d in recorded.decisions if d.expected is not None}
    said |= {node.parent: node.token for node in nodes[1:] if recorded.thresholds[node.id] == 1}
    best = {node.id: token for node in nodes if (token := _best(node)) is not None}
    return [0, *(said.get(node.parent, best.get(node.parent, -1)) for node in nodes[1:])]


def _best(node: Node) -> int | None:
    """The target's most likely token at a node; None where the recorded digits do not tell."""
    top = node.target.processed
    tied = len(top.probs) > 1 and top.probs[0] == top.probs[1]
    return top.ids[0] if top.ids and not tied else None


def _recorded_bonus(step: Step, recorded: Verdict, walk: Walk, luck: _Luck) -> tuple[Bonus | None, str | None]:
    """The bonus token of a walk, where the same draw was recorded; else why it is not known."""
    end = walk.end
    if end.drawn is not None and end.drawn.uniform is None and (known := step.text_of().get(end.drawn.token)):
        top = step.tree.nodes[end.node].target.processed
        return Bonus(
            token=known.id, text=known.text, node=end.node, source=end.source, uniform=None, distribution=top
        ), None
    if end.source == "argmax":
        if (recorded.bonus.node, recorded.bonus.source) == (end.node, end.source):
            return recorded.bonus, None
        top, best = step.tree.nodes[end.node].target.processed, _best(step.tree.nodes[end.node])
        if best is not None and (known := step.text_of().get(best)) is not None:
            only = top.model_copy(update={"ids": top.ids[:1], "probs": (1.0,)})
            return (
                Bonus(token=known.id, text=known.text, node=end.node, source="argmax", uniform=None, distribution=only),
                None,
            )
    rejected = {d.node for d in recorded.decisions if d.outcome == "rejected"}
    children = {node.id for node in step.tree.nodes if node.parent == end.node}
    for verdict in step.verdicts.values():
        # The target's own row is one for all; a residual is one for each verifier and what it rejected before.
        same_row = (
            end.source != "residual" or set(end.rejected) == rejected & children
            if verdict is recorded
            else end.source == "target" and _is_targets_row(step, verdict.bonus)
        )
        bonus = verdict.bonus
        if (
            bonus.node == end.node
            and bonus.source == end.source
            and same_row
            and bonus.uniform == luck.bonus_coin(end.node)
        ):
            return bonus, None
    what = "residual" if end.source == "residual" else "row"
    return (
        None,
        f"Which bonus token is drawn at node {end.node} takes the target's whole {what}, which is not in the trace.",
    )


def _decision(step: Step, verifier: Verifier, recorded: Verdict, ruling: Ruling, known: Decision | None) -> Decision:
    if known and (known.outcome, known.uniform) == (ruling.outcome, ruling.uniform) and ruling.reason != FORCED:
        return known  # with what recording had to say besides the walk's own reason
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


# ------------------------------------------------------------------------------------------ through the models


def _fits(pair: Pair, step: Step, tokens: list[int]) -> None:
    """Refuse what these models never recorded, before it is run."""
    nodes = step.tree.nodes
    longest = len(tokens) + max(node.depth for node in nodes)
    if len(nodes) - 1 > MAX_NODES or longest > min(pair.target.max_positions, pair.draft.max_positions):
        raise SettingsError("The tree or the context of this step is larger than these models can have scored.")
    if max(*tokens, *(node.token for node in nodes)) >= pair.target.vocabulary:
        raise SettingsError(
            f"The step has a token that {pair.models.target.id} does not know; it was not recorded with it."
        )


def _drafted_again(pair: Pair, step: Step, settings: Any, tokens: list[int], states: torch.Tensor | None) -> TokenTree:
    """The recorded tree with the draft's rows, which the draft computes again for the nodes it had expanded.

    The rows of a builder that asks no model hold its children alone, and those were recorded.
    """
    nodes = step.tree.nodes
    growth = Growth.from_root(nodes[0].token)
    for node in nodes[1:]:
        growth.add(node.parent, node.token)
    draft = DraftRunner(pair.draft, pair.target.vocabulary, settings.draft)
    builder = BUILDERS.get(step.tree.builder)
    asks_model = builder is None or builder.runs_draft
    if asks_model:
        draft.prefill(tokens[:-1], states)
    draft.start_step(tokens)
    children = step.tree.children()
    for depth in range(max(node.depth for node in nodes) + 1):
        expanded = [node.id for node in nodes if node.depth == depth and node.draft is not None]
        if expanded and asks_model:
            growth.add_rows(expanded, draft.expand(growth, expanded))
        elif expanded:
            shares = [{nodes[c].token: nodes[c].draft_prob or 0.0 for c in children[node]} for node in expanded]
            growth.add_rows(expanded, draft.tabulate(shares))
    return growth.freeze(step.tree.proposal)[0]


def _rounding(loaded: Models, recorded: Models) -> float:
    """How far a probability may move when the same weights score the same tree again."""
    infos = (loaded.target, loaded.draft, recorded.target, recorded.draft)
    exact = all(one.dtype == "float32" and not one.quantization for one in infos)
    return EXACT_ROUNDING if exact else COARSE_ROUNDING


def _difference(step: Step, tree: TokenTree, probs: torch.Tensor) -> float:
    """The largest difference between a recorded and a computed probability, of either model, of a drafted token."""
    found = [0.0]
    for node, parent, token in zip(step.tree.nodes[1:], tree.shape.parents[1:], tree.tokens[1:], strict=True):
        found.append(abs(float(probs[parent, token]) - (node.target_prob or 0.0)))
        found.append(abs(float(tree.rows[tree.row_of[parent], token]) - (node.draft_prob or 0.0)))
    return max(found)


__all__ = ["Alternative", "Question", "from_trace", "through_models"]
