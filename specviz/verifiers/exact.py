"""Proof by enumeration: the exact law of what a verifier emits, on vocabularies of three or four tokens.

:class:`EnumeratingDice` answers every question in every way it can be answered, so that nothing is sampled: summed over
all trees a builder can draw and all coins a verifier can flip, the emitted tokens have a law that is known to rounding.
Whoever emits before the full depth is continued with the target itself; a lossless verifier then reproduces the
target's joint, and the total-variation distance between the two says by how much another one does not.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import torch

from specviz.dice import Coin, Dice, Draw, Key
from specviz.drafting import Builder, Limits, build_tree
from specviz.errors import NumericsError
from specviz.processing import Processing
from specviz.trace.schema import Sampling
from specviz.transfers import Reads
from specviz.tree import Growth, TokenTree
from specviz.verifiers import End, StepLuck, Verifier
from specviz.verifiers.base import context_of, draw_bonus

T = TypeVar("T")
Law = dict[tuple[int, ...], float]
"""Emitted tokens -> probability."""


# -------------------------------------------------------------------------------------------------------- futures


class EnumeratingDice:
    """A dice that follows a script of answers, and takes the first possible one where the script ends.

    It remembers in which interval the uniform number of every key must lie. A verifier that asks for one coin twice
    thus meets the same coin, as it does with the seeded dice, and not two independent ones.
    """

    def __init__(self, script: Sequence[int] = (), known: Mapping[Key, tuple[float, float]] | None = None):
        self.probability = 1.0
        self.known = dict(known or {})
        self._script = script
        self._forks: list[tuple[int, int]] = []  # (answer taken, number of answers)

    def accept(self, key: Key, threshold: float) -> Coin:
        """Both answers, unless one of them has probability 0 (a NaN threshold is never passed)."""
        low, high = self.known.get(key, (0.0, 1.0))
        if threshold >= high:
            return Coin(True, None)
        if not threshold > low:
            return Coin(False, None)
        share = (threshold - low) / (high - low)
        answers = [(1, share, low, threshold), (0, 1 - share, threshold, high)]
        return Coin(bool(self._fork(key, answers)), None)

    def draw(self, keys: Sequence[Key], weights: torch.Tensor) -> list[Draw]:
        """Every index of positive weight, row by row."""
        rows = weights.tolist()
        return [Draw(self._draw(key, row), None) for key, row in zip(keys, rows, strict=True)]

    def next_script(self) -> list[int] | None:
        """The script of the next future in order; None after the last one."""
        for i in range(len(self._forks) - 1, -1, -1):
            taken, count = self._forks[i]
            if taken + 1 < count:
                return [answer for answer, _ in self._forks[:i]] + [taken + 1]
        return None

    def _draw(self, key: Key, row: list[float]) -> int:
        total = sum(row)
        if not 0 < total < math.inf or min(row) < 0:
            raise NumericsError(f"Nothing can be drawn from the weights {row}; return finite ones with a positive sum.")
        known = self.known.get(key)
        low, high = known or (0.0, 1.0)
        answers = []
        below = 0.0
        for index, weight in enumerate(row):
            above = below + weight / total
            start, end = max(below, low), min(above, high)
            share = weight / total if known is None else (end - start) / (high - low)
            if share > 0 and weight > 0:
                answers.append((index, share, start, end))
            below = above
        return self._fork(key, answers)

    def _fork(self, key: Key, answers: list[tuple[int, float, float, float]]) -> int:
        taken = 0
        if len(answers) > 1:
            position = len(self._forks)
            taken = self._script[position] if position < len(self._script) else 0
            self._forks.append((taken, len(answers)))
        answer, share, low, high = answers[taken]
        self.probability *= share
        self.known[key] = (low, high)
        return answer


def futures(
    run: Callable[[EnumeratingDice], T], known: Mapping[Key, tuple[float, float]] | None = None
) -> Iterator[tuple[EnumeratingDice, T]]:
    """Run something once for every way its luck can fall; probabilities of the dice sum to 1."""
    script: list[int] | None = []
    while script is not None:
        dice = EnumeratingDice(script, known)
        result = run(dice)
        yield dice, result
        script = dice.next_script()


# ----------------------------------------------------------------------------------------------------- toy models


@dataclass(frozen=True, eq=False)
class Toy:
    """Target and draft as tables over every path of at most ``depth`` tokens below the root.

    Attributes:
        target, draft: [contexts, V], rows sum to 1. The path that extends context c by token x is ``c V + 1 + x``;
            the root is context 0, and each level is one block in lexicographic order.
        scored: [contexts, V], the rows that verifiers are given in place of the target's; None for the target's own.
    """

    name: str
    target: torch.Tensor
    draft: torch.Tensor
    depth: int
    scored: torch.Tensor | None = None

    @property
    def vocabulary(self) -> int:
        return int(self.target.shape[-1])

    def context(self, tokens: Iterable[int]) -> int:
        """The context that a path from the root leads to."""
        context = 0
        for token in tokens:
            context = context * self.vocabulary + 1 + token
        return context

    @property
    def committed(self) -> Sequence[int]:
        """The root alone."""
        return (0,)

    @property
    def reads(self) -> Reads:
        """See :attr:`specviz.drafting.base.Draft.reads`; nothing is put off."""
        return Reads()

    def tabulate(self, shares: Sequence[Mapping[int, float]]) -> torch.Tensor:
        """See :meth:`specviz.drafting.base.Draft.tabulate`."""
        return torch.tensor([[row.get(x, 0.0) for x in range(self.vocabulary)] for row in shares]).to(self.draft)

    def expand(self, growth: Growth, nodes: list[int]) -> torch.Tensor:
        """The draft, as a builder sees it."""
        contexts = _contexts(self.vocabulary, growth.parents, growth.tokens)
        return self.draft[[contexts[node] for node in nodes]]

    def score(self, tree: TokenTree) -> torch.Tensor:
        """[n, V], the row at every node that verifiers are given."""
        rows = self.target if self.scored is None else self.scored
        return rows[_contexts(self.vocabulary, tree.shape.parents, tree.tokens)]


def processed(pair: Toy, processing: Processing) -> Toy:
    """The pair under processors: its target is what they make of each row by the whole text before it, which is the
    root and the path; verifiers are given that, or in the frozen mode what they make of it by the root alone."""
    paths: list[tuple[int, ...]] = []
    for level in range(pair.depth + 1):
        paths += itertools.product(range(pair.vocabulary), repeat=level)
    logits = pair.target.log()
    rows = processing.rows(logits, pair.committed, paths, Sampling())
    if processing.mode == "exact":
        return replace(pair, target=rows)
    return replace(pair, target=processing.other.rows(logits, pair.committed, paths, Sampling()), scored=rows)


def _contexts(vocabulary: int, parents: Sequence[int], tokens: Sequence[int]) -> list[int]:
    contexts = [0]
    for parent, token in zip(parents[1:], tokens[1:], strict=True):
        contexts.append(contexts[parent] * vocabulary + 1 + token)
    return contexts


def toy(seed: int, vocabulary: int = 3, depth: int = 3, *, zeros: bool = False) -> Toy:
    """A random pair that disagrees moderately; a deeper one continues a shallower one of the same seed.

    With ``zeros``, target rows lack a token in two contexts of three, and draft rows lack one in two of three others:
    the draft proposes what the target forbids, and cannot propose all that the target allows.
    """
    luck = np.random.default_rng(seed)
    contexts = level_start(vocabulary, depth + 1)
    logits = luck.standard_normal((contexts, 2, vocabulary))
    target, draft = logits[:, 0] * 1.2, logits[:, 0] + logits[:, 1]
    if zeros:
        for context in range(contexts):
            if context % 3 != 1:
                target[context, (context + 1) % vocabulary] = -np.inf
            if context % 3 != 2:
                draft[context, context % vocabulary] = -np.inf
    name = f"V={vocabulary}{' with zeros' if zeros else ''}, seed {seed}"
    p, q = (torch.softmax(torch.from_numpy(x.copy()), dim=-1) for x in (target, draft))
    return Toy(name, p, q, depth)


def level_start(vocabulary: int, level: int) -> int:
    """The first context of a level: how many paths are shorter."""
    return int((vocabulary**level - 1) // (vocabulary - 1))


# ------------------------------------------------------------------------------------------------------- emission


def draw_trees(
    builder: Builder, options: Any, pair: Toy, end_tokens: frozenset[int] = frozenset(), most: int | None = None
) -> list[Grown]:
    """Every tree the builder can draw; the first ``most`` of them, where that is given."""
    proposal = builder.proposal(options)
    limits = Limits(pair.depth, end_tokens)

    def grow(dice: Dice) -> TokenTree:
        growth, keep = build_tree(builder, options, pair, 0, dice, 0, limits)
        return replace(growth.freeze(proposal, keep)[0], committed=tuple(pair.committed))

    return [Grown(dice.probability, tree, pair.score(tree)) for dice, tree in islice(futures(grow), most)]


@dataclass(frozen=True, eq=False)
class Grown:
    """A tree with the probability that it is drawn and the target's rows [n, V]."""

    probability: float
    tree: TokenTree
    target: torch.Tensor


def law_of(verifier: Verifier, options: Any, tree: TokenTree, target: torch.Tensor) -> Law:
    """What the verifier emits on one tree (accepted tokens, then the bonus) -> probability. Judges once."""
    judgement = verifier.judge(tree, target, options)
    rows: dict[tuple[Any, ...], torch.Tensor] = {}

    def distribution(end: End) -> torch.Tensor:
        key = (end.node, end.source, end.rejected)
        if key not in rows:
            rows[key] = judgement.distribution(end)
        return rows[key]

    context = context_of(tree, replace(judgement, distribution=distribution), options)
    law: Law = {}
    for dice, walk in futures(lambda dice: verifier.walk(context, StepLuck(dice, 0))):
        accepted = tuple(tree.tokens[node] for node in walk.path)
        # The bonus is enumerated by itself, so that a walk is not repeated for every token it may be followed by.
        row = distribution(walk.end)
        for after, bonus in futures(partial(_bonus, walk.end, row), dice.known):
            tokens = (*accepted, bonus.token)
            law[tokens] = law.get(tokens, 0.0) + dice.probability * after.probability
    return law


def _bonus(end: End, row: torch.Tensor, dice: Dice) -> Draw:
    return draw_bonus(StepLuck(dice, 0), end, row)


@dataclass(frozen=True, eq=False)
class Emitted:
    """The law of the first ``length`` tokens under a verifier, and under what it is measured against.

    Attributes:
        law, reference: [V ** length] in lexicographic order, each sums to 1. The reference is the target's joint, or
            for greedy verifiers the one sequence that greedy decoding gives.
        tokens_per_step: mean number of tokens emitted by one step, the bonus included.
    """

    law: np.ndarray
    reference: np.ndarray
    length: int
    tokens_per_step: float

    @cached_property
    def distance(self) -> float:
        """Total variation, ``sum |law - reference| / 2``."""
        return float(np.abs(self.law - self.reference).sum() / 2)

    def worst_sequence(self) -> tuple[tuple[int, ...], float, float]:
        """The sequence that is off the most, with its probability as emitted and as it should be."""
        worst = int(np.abs(self.law - self.reference).argmax())
        vocabulary = round(len(self.law) ** (1 / self.length))
        tokens = tuple(int(x) for x in np.unravel_index(worst, (vocabulary,) * self.length))
        return tokens, float(self.law[worst]), float(self.reference[worst])


def emitted(verifier: Verifier, options: Any, trees: Sequence[Grown], pair: Toy) -> Emitted:
    """Sum over ``trees`` and all luck, extended to the full depth D + 1 with the target."""
    length = 1 + max(max(grown.tree.shape.depths) for grown in trees)
    rows = pair.target.numpy()
    if verifier.is_greedy:
        rows = np.eye(pair.vocabulary)[rows.argmax(-1)]
    mass = np.zeros(level_start(pair.vocabulary, length + 1))
    tokens_per_step = 0.0
    with torch.inference_mode():
        for grown in trees:
            # Trees are shared by all verifiers, and one that is written by hand may work in place.
            tree = replace(grown.tree, rows=grown.tree.rows.clone())
            for tokens, probability in law_of(verifier, options, tree, grown.target.clone()).items():
                mass[pair.context(tokens)] += grown.probability * probability
                tokens_per_step += grown.probability * probability * len(tokens)
    start = np.zeros_like(mass)
    start[0] = 1.0
    return Emitted(_extend(mass, rows, length), _extend(start, rows, length), length, tokens_per_step)


def _extend(mass: np.ndarray, rows: np.ndarray, length: int) -> np.ndarray:
    """Continue the emitted prefixes (``mass`` by context) with ``rows`` until all are ``length`` tokens long."""
    vocabulary = rows.shape[-1]
    flow = mass[:1]
    for level in range(length):
        start, end, after = (level_start(vocabulary, level + i) for i in range(3))
        flow = (flow[:, None] * rows[start:end]).reshape(-1) + mass[end:after]
    return flow
