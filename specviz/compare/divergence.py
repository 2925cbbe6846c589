"""How far a verifier is from the target, step by step: the law of a step's first token against the target's row.

Let T be the tree that a step happened to draw, p the target's processed row at its root, and L(x|T) the probability
that the step's first emitted token is x, over the verifier's own luck (its coins and the bonus draw). L(.|T) is
computed here exactly. What one would like to know is how far the verifier's law, the mean of L(.|T) over the trees the
draft could have drawn, is from p. Only one of these trees is at hand, so:

- Where siblings are the top-k the tree follows from the context, L(.|T) is the law itself, and ``first_tv`` and
  ``first_kl`` are exact.
- Where siblings are drawn, L(.|T) depends on the draw, and differs from p for a lossless verifier too. Then
  ``first_tv`` and ``first_kl`` are upper bounds in the mean, and loose ones. ``first_tv_bound`` is another: the
  distance of L(.|T) to what rejection does with the same tree, whose mean over trees is p. The smaller mean counts.
- ``first_excess`` is linear in L, so its mean over steps estimates that of the law without bias: 0 for a lossless
  verifier, negative for one that prefers what the target finds likely.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from specviz import sampling
from specviz.engine.step_values import Verified
from specviz.options import Options
from specviz.transfers import Reads
from specviz.tree import TokenTree
from specviz.verifiers import StepLuck, longest_path, naive
from specviz.verifiers.base import Context, End, Judgement, Verifier, context_of, verifier_errors
from specviz.verifiers.exact import EnumeratingDice
from specviz.verifiers.rejection import REJECTION

MOST_FUTURES = 4096
"""Ways a walk's coins can fall that are summed over; of a rule with more, the columns are null."""
LONGEST_PATH_NODES = 256
"""Nodes up to which longest_path's sum is taken, whose time grows with their square; its columns are null beyond."""


@dataclass(frozen=True)
class Divergence:
    """Of one verifier in one step; see the module. None where it cannot be computed, or is infinite."""

    first_tv: float | None
    first_kl: float | None
    first_tv_bound: float | None
    first_excess: float | None


NONE = Divergence(None, None, None, None)


@dataclass
class Divergences:
    """A watcher of a session (:attr:`specviz.engine.session.Session.watch`): found[step][verifier]."""

    found: list[dict[str, Divergence]] = field(default_factory=list)

    def __call__(self, tree: TokenTree, target: torch.Tensor, verified: Mapping[str, Verified]) -> None:
        reads = Reads()
        asked_row = reads.ask(target[0])
        judged = next((one.judgement for one in verified.values() if one.verifier.judge is REJECTION.judge), None)
        asked_lossless = ask_first_token_law(REJECTION, Options(), tree, target, reads, judged)
        asked = {}
        for name, one in verified.items():
            with verifier_errors(one.verifier):  # a user's own may fail on luck that the run itself did not meet
                asked[name] = ask_first_token_law(one.verifier, one.options, tree, target, reads, one.judgement)
        row, lossless = asked_row()[0].double(), asked_lossless()
        step = {}
        for name, one in verified.items():
            with verifier_errors(one.verifier):
                step[name] = _divergence(one, asked[name](), row, lossless)
        self.found.append(step)


def _divergence(
    one: Verified, law: torch.Tensor | None, row: torch.Tensor, lossless: torch.Tensor | None
) -> Divergence:
    if law is None:
        return NONE
    if one.lossless == "yes":
        bound: float | None = 0.0  # proved, not measured: only the mean over all trees is p
    else:
        bound = None if lossless is None else distance(law, lossless)
    surprise = -row.clamp(min=torch.finfo(row.dtype).tiny).log()
    possible = not bool((law > 0)[row == 0].any())
    excess = float((law * surprise).sum() - sampling.entropy(row)) if possible else None
    return Divergence(distance(law, row), kl(law, row) if possible else None, bound, excess)


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """Total variation of two rows [V], ``sum |a - b| / 2``."""
    return min(1.0, float((a - b).abs().sum() / 2))


def kl(a: torch.Tensor, b: torch.Tensor) -> float:
    """``sum a log(a / b)`` of two rows [V] in nats; b must be positive where a is."""
    some = a > 0
    return max(0.0, float((a[some] * (a[some] / b[some]).log()).sum()))


def ask_first_token_law(
    verifier: Verifier,
    options: Any,
    tree: TokenTree,
    target: torch.Tensor,
    reads: Reads,
    judgement: Judgement | None = None,
) -> Callable[[], torch.Tensor | None]:
    """L(.|T): the law of the first token a verifier emits on this tree, over its luck.

    Args:
        target: [n, V], the processed target rows.
        reads: takes what has to be read.
        judgement: the verifier's, if it is there already; otherwise it is read here.

    Returns:
        The law, to be called once everything has been asked for: [V] in float64 on the CPU, sums to 1; None where the
        rule's luck falls in too many ways.
    """
    if verifier.walk is naive.walk:
        asked = reads.ask(target[0])
        return lambda: asked()[0].double()
    if judgement is None:
        judgement = verifier.judge(tree, target, options)
    judgement = judgement.on_host()
    context = context_of(tree, judgement, options)
    ends = _ends_of_longest_path(context) if verifier.walk is longest_path.walk else _ends(verifier, context)
    if ends is None:
        return lambda: None
    asked = reads.ask(*(judgement.distribution(end) for child, end in ends if not child and end is not None))

    def law() -> torch.Tensor:
        found = torch.zeros(target.shape[-1], dtype=torch.float64)
        rows = iter(asked())
        for (child, end), probability in ends.items():
            if child:
                found[tree.tokens[child]] += probability
            elif end is not None:
                row = next(rows).double()
                if end.source == "argmax":
                    found[row.argmax()] += probability
                else:
                    found += probability * row / row.sum()
        return found

    return law


_Ends = dict[tuple[int, End | None], float]
"""(child of the root that the path goes through, or 0 and where the bonus comes from) -> probability."""


class _CoinsOnly(EnumeratingDice):
    """Refuses to enumerate draws over a vocabulary."""

    def draw(self, keys: Any, weights: torch.Tensor) -> Any:  # noqa: ARG002
        raise _TooManyFutures


class _TooManyFutures(Exception):
    pass


def _ends(verifier: Verifier, context: Context) -> _Ends | None:
    """Sums over all coins of a walk."""
    found: _Ends = {}
    script: list[int] | None = []
    count = 0
    try:
        while script is not None:
            count += 1
            if count > MOST_FUTURES:
                return None
            dice = _CoinsOnly(script)
            walk = verifier.walk(context, StepLuck(dice, 0))
            key = (walk.path[0], None) if walk.path else (0, walk.end)
            found[key] = found.get(key, 0.0) + dice.probability
            script = dice.next_script()
    except _TooManyFutures:
        return None
    return found


def _ends_of_longest_path(context: Context) -> _Ends | None:
    """In closed form: the coins of 28 edges fall in too many ways, but they are independent.

    A path ends at v if the edges down to v pass and no node that would be taken before v is reached.
    """
    shape, n = context.shape, len(context.tokens)
    if n > LONGEST_PATH_NODES:
        return None
    passes = [min(1.0, max(0.0, threshold)) for threshold in context.thresholds]
    score = [0.0] * n
    for node in range(1, n):
        p = context.p[node]
        score[node] = score[shape.parents[node]] + (math.log(p) if p > 0 else -math.inf)
    found: _Ends = {}
    better: set[int] = set()
    for end in sorted(range(n), key=lambda v: (shape.depths[v], score[v], -v), reverse=True):
        path = shape.path(end)
        probability = math.prod(passes[node] for node in path) * _none_reached(context, better, set(path), passes)
        key: tuple[int, End | None] = (path[0], None) if path else (0, End(0, "target"))
        found[key] = found.get(key, 0.0) + probability
        better.add(end)
    return found


def _none_reached(context: Context, better: set[int], path: set[int], passes: list[float]) -> float:
    """The probability that no node of ``better`` is reached, given that the edges of ``path`` pass."""
    children = context.shape.children
    clear = [1.0] * len(passes)  # none is reached at or below a node that is reached itself
    for node in range(len(passes) - 1, -1, -1):
        if node in better:
            clear[node] = 0.0
            continue
        for child in children[node]:
            clear[node] *= clear[child] if child in path else 1 - passes[child] * (1 - clear[child])
    return clear[0]
