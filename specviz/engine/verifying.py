"""Every verifier on one tree, with the same rows and the same luck."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from specviz.dice import Draw, Key, SeededDice
from specviz.engine.step_values import Scores, Verified
from specviz.options import Options
from specviz.transfers import Reads
from specviz.tree import TokenTree
from specviz.verifiers import Judgement, StepLuck, Verifier, naive, proof_table, verifier_errors
from specviz.verifiers.base import End, draw_bonus, walk_judged

Chosen = Sequence[tuple[Verifier, Options]]


@dataclass(frozen=True)
class _TargetDraws(StepLuck):
    """Luck with the draws from the target's own rows, made for all nodes at once: a walk that draws waits for none."""

    drawn: Sequence[Draw] = ()

    def draw(self, node: int, weights: torch.Tensor) -> Draw:  # noqa: ARG002
        return self.drawn[node]


def ask_target_draws(chosen: Chosen, scores: Scores, luck: StepLuck, reads: Reads) -> Callable[[], StepLuck]:
    """The luck of walks that draw from the target's own rows, to be called once the judgements are read.

    On the CPU it is ``luck`` itself, which draws at the few nodes that a walk reaches.
    """
    on_device = scores.probs.device.type != "cpu" and isinstance(luck.dice, SeededDice)
    if not on_device or all(verifier.walk is not naive.walk for verifier, _ in chosen):
        return lambda: luck
    keys = [Key(luck.step, node, "bonus") for node in range(len(scores.probs))]
    draws = _ask_draws(luck, keys, scores.probs, reads)
    return lambda: _TargetDraws(luck.dice, luck.step, draws())


def judge_all(chosen: Chosen, tree: TokenTree, scores: Scores, reads: Reads) -> list[Judgement]:
    """Every verifier's judgement, on the host. They are read at once, with whatever was put off before.

    Raises:
        LogitsError: if that is of NaN rows, whatever the verifiers made of them.
        VerifierError: of the first verifier that fails.
    """
    asked: list[Callable[[], Judgement]] = []
    try:
        for verifier, options in chosen:
            with verifier_errors(verifier):
                asked.append(verifier.judge(*_own_copy(verifier, tree, scores.probs), options).ask(reads))
    finally:
        reads.finish()
    judgements = []
    for (verifier, _), judgement in zip(chosen, asked, strict=True):
        with verifier_errors(verifier):
            judgements.append(judgement())
    return judgements


def walk_all(
    chosen: Chosen,
    judgements: Sequence[Judgement],
    tree: TokenTree,
    luck: StepLuck,
    target_draws: StepLuck,
    reads: Reads,
    built_by: proof_table.Tree,
) -> dict[str, Verified]:
    """Every verifier's walk and bonus token, by its name. All bonus tokens are read at once.

    Args:
        target_draws: see :func:`ask_target_draws`.
    """
    asked = []
    for (verifier, options), judgement in zip(chosen, judgements, strict=True):
        with verifier_errors(verifier):
            own_luck = target_draws if verifier.walk is naive.walk else luck
            walk, row = walk_judged(verifier, judgement, tree, options, own_luck)
            asked.append((walk, row, _ask_bonus(luck, walk.end, row, reads)))
    reads.finish()  # here, where what goes wrong on the device is no verifier's fault
    results: dict[str, Verified] = {}
    for (verifier, options), judgement, (walk, row, bonus) in zip(chosen, judgements, asked, strict=True):
        with verifier_errors(verifier):
            lossless = proof_table.says(verifier, options, tree.proposal, built_by)
            results[verifier.name] = Verified(verifier, options, judgement, walk, bonus(), row, lossless)
    return results


def _ask_bonus(luck: StepLuck, end: End, row: torch.Tensor, reads: Reads) -> Callable[[], Draw]:
    """The bonus token of a walk, as :func:`specviz.verifiers.base.draw_bonus`, to be read with the others."""
    if end.drawn is None and row.device.type != "cpu":
        if end.source == "argmax":
            best = reads.ask(row.argmax())
            return lambda: Draw(int(best()[0]), None)
        if isinstance(luck.dice, SeededDice):
            draws = _ask_draws(luck, [Key(luck.step, end.node, "bonus")], row[None], reads)
            return lambda: draws()[0]
    drawn = draw_bonus(luck, end, row)
    return lambda: drawn


def _ask_draws(luck: StepLuck, keys: Sequence[Key], rows: torch.Tensor, reads: Reads) -> Callable[[], list[Draw]]:
    """One draw from each of the rows [m, V]."""
    dice = luck.dice
    assert isinstance(dice, SeededDice)
    asked = reads.ask(dice.places(keys, rows))

    def draws() -> list[Draw]:
        found = [Draw(token, u) for token, u in zip(asked()[0].tolist(), dice.uniforms(keys), strict=True)]
        # A draw that met an entry of weight 0 is made again on the host, which looks for the next one.
        return [dice.draw([keys[i]], rows[i : i + 1])[0] if draw.token < 0 else draw for i, draw in enumerate(found)]

    return draws


def _own_copy(verifier: Verifier, tree: TokenTree, probs: torch.Tensor) -> tuple[TokenTree, torch.Tensor]:
    """The tree and rows for one verifier. A user's verifier gets copies, because it may write into them."""
    if verifier.judge.__module__.startswith("specviz."):
        return tree, probs
    return replace(tree, rows=tree.rows.clone()), probs.clone()
