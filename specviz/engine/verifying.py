"""Every verifier on one tree, with the same rows and the same luck."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from specviz.dice import Draw, Key, SeededDice
from specviz.engine.step_values import Scores, Verified
from specviz.interruption import end_if_asked
from specviz.options import Options
from specviz.transfers import Reads
from specviz.tree import TokenTree
from specviz.verifiers import Judgement, StepLuck, Verifier, Walk, naive, proof_table, verifier_errors
from specviz.verifiers.base import draw_bonus, walk_judged

Chosen = Sequence[tuple[Verifier, Options]]


@dataclass(frozen=True)
class _TargetDraws(StepLuck):
    """Luck with the draws from the target's own rows, made for all nodes at once: a walk that draws waits for none."""

    drawn: Sequence[Draw] = ()

    def draw(self, node: int, weights: torch.Tensor) -> Draw:  # noqa: ARG002
        return self.drawn[node]


def ask_target_draws(chosen: Chosen, scores: Scores, luck: StepLuck, reads: Reads) -> Callable[[], StepLuck]:
    """The luck of walks that draw from the target's own rows, to be called once the judgements are read.

    Off CUDA it is ``luck`` itself, which draws at the few nodes that a walk reaches.
    """
    if not _draws_on_device(luck, scores.probs) or all(verifier.walk is not naive.walk for verifier, _ in chosen):
        return lambda: luck
    keys = [Key(luck.step, node, "bonus") for node in range(len(scores.probs))]
    draws = _ask_draws(luck, keys, scores.probs, reads)
    return lambda: _TargetDraws(luck.dice, luck.step, draws())


def judge_all(chosen: Chosen, tree: TokenTree, scores: Scores, reads: Reads) -> list[Judgement]:
    """Every verifier's judgement, on the host. They are read at once, with whatever was put off before.

    Raises:
        LogitsError: if that is of NaN rows, whatever the verifiers made of them.
        VerifierError: of the first verifier that fails.
        StepEndedError: between two verifiers, if the step must end.
    """
    asked: list[Callable[[], Judgement]] = []
    try:
        for verifier, options in chosen:
            end_if_asked()
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
    walked = []
    for (verifier, options), judgement in zip(chosen, judgements, strict=True):
        with verifier_errors(verifier):
            own_luck = target_draws if verifier.walk is naive.walk else luck
            walked.append(walk_judged(verifier, judgement, tree, options, own_luck))
    bonuses = _ask_bonuses(luck, walked, reads)
    reads.finish()  # here, where what goes wrong on the device is no verifier's fault
    results: dict[str, Verified] = {}
    for (verifier, options), judgement, (walk, row), bonus in zip(chosen, judgements, walked, bonuses, strict=True):
        with verifier_errors(verifier):
            lossless = proof_table.says(verifier, options, tree.proposal, built_by)
            results[verifier.name] = Verified(verifier, options, judgement, walk, bonus(), row, lossless)
    return results


def _ask_bonuses(luck: StepLuck, walked: Sequence[tuple[Walk, torch.Tensor]], reads: Reads) -> list[Callable[[], Draw]]:
    """The bonus token of every walk from its row [V], as :func:`specviz.verifiers.base.draw_bonus`.

    On CUDA all of one kind are drawn side by side, and read with whatever else is asked for.
    """
    bonuses: list[Callable[[], Draw]] = [partial(draw_bonus, luck, walk.end, row) for walk, row in walked]
    alike: dict[tuple[Any, ...], list[int]] = {}
    for i, (walk, row) in enumerate(walked):
        if walk.end.drawn is None and _draws_on_device(luck, row):
            alike.setdefault((walk.end.source == "argmax", row.shape, row.dtype, row.device), []).append(i)
    for (is_argmax, *_), places in alike.items():
        rows = torch.stack([walked[i][1] for i in places])
        if is_argmax:
            draws = _ask_argmax(rows, reads)
        else:
            draws = _ask_draws(luck, [Key(luck.step, walked[i][0].end.node, "bonus") for i in places], rows, reads)
        for j, i in enumerate(places):
            bonuses[i] = partial(_one_of, draws, j)
    return bonuses


def _one_of(draws: Callable[[], list[Draw]], i: int) -> Draw:
    return draws()[i]


def _draws_on_device(luck: StepLuck, rows: torch.Tensor) -> bool:
    return rows.device.type == "cuda" and isinstance(luck.dice, SeededDice)


def _ask_argmax(rows: torch.Tensor, reads: Reads) -> Callable[[], list[Draw]]:
    asked = reads.ask(rows.argmax(-1))
    return lambda: [Draw(token, None) for token in asked()[0].tolist()]


def _ask_draws(luck: StepLuck, keys: Sequence[Key], rows: torch.Tensor, reads: Reads) -> Callable[[], list[Draw]]:
    """One draw from each of the rows [m, V]."""
    dice = luck.dice
    assert isinstance(dice, SeededDice)
    found = dice.scan(keys, rows)
    asked = reads.ask(found.tokens, found.weights)

    def draws() -> list[Draw]:
        columns = zip(*(column.tolist() for column in asked()), dice.uniforms(keys), strict=True)
        return [
            Draw(token, u) if weight else dice.draw([keys[i]], rows[i : i + 1])[0]
            for i, (token, weight, u) in enumerate(columns)
        ]

    return draws


def _own_copy(verifier: Verifier, tree: TokenTree, probs: torch.Tensor) -> tuple[TokenTree, torch.Tensor]:
    """The tree and rows for one verifier. A user's verifier gets copies, because it may write into them."""
    if verifier.judge.__module__.startswith("specviz."):
        return tree, probs
    return replace(tree, rows=tree.rows.clone()), probs.clone()
