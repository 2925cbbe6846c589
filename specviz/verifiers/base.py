"""What every verifier is made of: a judge, a walk, and the values between them.

*judge* is a pure function of the tree and both models' rows: it gives EVERY node its threshold, reached or not.
*walk* is a pure function of thresholds and luck: it gives decisions, path and where the bonus token comes from.
"""

from __future__ import annotations

import math
import os
import traceback
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

import torch

from specviz import sampling
from specviz.dice import Dice, Draw, Key
from specviz.errors import SettingsError, SpecvizError, VerifierError, shown
from specviz.options import Options, parse_options
from specviz.trace.schema import LONGEST_NAME, BonusKind, Choice, Comparison, Outcome, Promise, Proposal
from specviz.transfers import Reads, upload
from specviz.tree import Shape, TokenTree

RECORDED_RESIDUAL = 10
"""Entries of a residual that are kept."""
ALL_PROPOSALS: tuple[Proposal, ...] = ("without_replacement", "with_replacement", "top_k")


@dataclass(frozen=True)
class Residuals:
    """What is left of the target rows of m nodes' parents when these nodes are rejected.

    Attributes:
        mass: [m], sum of ``max(p - q, 0)`` before it is scaled back to 1.
        ids, probs: [m, k], the top entries after scaling.
    """

    mass: torch.Tensor
    ids: torch.Tensor
    probs: torch.Tensor

    @classmethod
    def of(cls, mass: torch.Tensor, rows: torch.Tensor) -> Residuals:
        """Of scaled rows [m, V], which may change afterwards."""
        probs, ids = sampling.top_k(rows, min(RECORDED_RESIDUAL, rows.shape[-1]))
        return cls(mass, ids, probs)

    @classmethod
    def cat(cls, some: Sequence[Residuals]) -> Residuals:
        """All of them, in this order."""
        return cls(*(torch.cat([getattr(one, field.name) for one in some]) for field in fields(cls)))

    def at(self, rows: Sequence[int]) -> Residuals:
        """Some of them, in this order."""
        index = upload(list(rows), self.mass.device, torch.long)
        return Residuals(self.mass[index], self.ids[index], self.probs[index])


@dataclass(frozen=True)
class End:
    """Where a walk stops, and so where its bonus token comes from.

    Attributes:
        node: the last accepted node (0: the root).
        source: the distribution at that node.
        rejected: children of ``node`` that were rejected before, in order.
        drawn: the bonus token, where the walk itself has drawn it (naive).
    """

    node: int
    source: BonusKind
    rejected: tuple[int, ...] = ()
    drawn: Draw | None = None


@dataclass(frozen=True)
class Ruling:
    """One decision of a walk; thresholds, p and q of the node are in the judgement."""

    node: int
    outcome: Outcome
    reason: str
    uniform: float | None = None
    expected: int | None = None


@dataclass(frozen=True)
class Walk:
    """What the luck made of a judgement."""

    rulings: tuple[Ruling, ...]
    path: tuple[int, ...]
    end: End


@dataclass(frozen=True)
class Judgement:
    """A judged tree of n nodes. Tensors may live on the device; :meth:`on_host` brings the small ones over.

    Attributes:
        thresholds: [n], what is compared for each node; the root's entry means nothing and is recorded as 1.
        p, q: [n], the probabilities as the rule used them; NaN where it used none.
        distribution: End -> the normalized row [V] the bonus token is drawn from, on the device.
        residuals: nodes, siblings in draw order -> what rejecting each of them leaves, on the device; for rules that
            have residuals.
        expected: [n], the token each node's token is compared with, for rules that compare tokens.
    """

    thresholds: torch.Tensor
    p: torch.Tensor
    q: torch.Tensor
    distribution: Callable[[End], torch.Tensor]
    residuals: Callable[[Sequence[int]], Residuals] | None = None
    expected: torch.Tensor | None = None

    def on_host(self) -> Judgement:
        """The same judgement with its small tensors on the CPU."""
        return self.ask(Reads())()

    def ask(self, reads: Reads) -> Callable[[], Judgement]:
        """:meth:`on_host`, to be read with whatever else is asked for."""
        asked = reads.ask(self.thresholds, self.p, self.q, *([] if self.expected is None else [self.expected]))

        def on_host() -> Judgement:
            thresholds, p, q, *expected = asked()
            return replace(self, thresholds=thresholds, p=p, q=q, expected=expected[0] if expected else None)

        return on_host


class Luck(Protocol):
    """Luck of one step, as a walk asks for it."""

    def accept(self, node: int, threshold: float) -> tuple[bool, float | None]: ...

    def draw(self, node: int, weights: torch.Tensor) -> Draw: ...


@dataclass(frozen=True)
class StepLuck:
    """A dice, bound to one step. Every verifier meets the same coin at a node and the same draw for a bonus there."""

    dice: Dice
    step: int

    def accept(self, node: int, threshold: float) -> tuple[bool, float | None]:
        return self.dice.accept(Key(self.step, node, "accept"), threshold)

    def draw(self, node: int, weights: torch.Tensor) -> Draw:
        return self.dice.draw([Key(self.step, node, "bonus")], weights[None])[0]


@dataclass(frozen=True)
class Context:
    """What a walk may look at besides the thresholds."""

    shape: Shape
    tokens: Sequence[int]
    thresholds: Sequence[float]
    p: Sequence[float]
    expected: Sequence[int]
    """Empty for rules that compare no tokens."""
    distribution: Callable[[End], torch.Tensor]
    options: Any


@dataclass(frozen=True)
class Verifier:
    """A registered verifier. Raises SettingsError for a name that cannot be shown.

    Attributes:
        name: how it is called on the command line, in traces and on the page; of characters that show.
        summary: one line for people.
        judge: (tree, target rows [n, V], options) -> Judgement. Computes in the dtype of the rows.
        walk: (context, luck) -> Walk.
        comparison: which two recorded things every decision compares.
        rule: the rule in symbols.
        lossless: what it promises: the proposals for which its output is distributed exactly as target samples, or,
            where that depends on the options, a function (proposal, options) -> bool. A promise is no proof: see
            :mod:`specviz.verifiers.proof_table`.
        is_greedy: whether its output is greedy decoding instead.
        Options: its options, with defaults.
        plain: whether p and q of its decisions are the rows' own, whatever was decided before. A trace then tells them
            for every node.
        decides_by_node: whether it accepts a child of a node it reaches with a probability that can be told from that
            node alone, and bounded. Not where coins further down decide which nodes are reached, as in longest_path.
    """

    name: str
    summary: str
    judge: Callable[[TokenTree, torch.Tensor, Any], Judgement]
    walk: Callable[[Context, Luck], Walk]
    comparison: Comparison
    rule: str
    lossless: Collection[Proposal] | Callable[[Proposal, Any], bool] = ()
    is_greedy: bool = False
    Options: type[Options] = Options
    plain: bool = False
    decides_by_node: bool = False

    def __post_init__(self) -> None:
        if not (0 < len(self.name) <= LONGEST_NAME and self.name.isprintable()):
            raise SettingsError(
                f"A verifier cannot be named {shown(self.name)}; give it at most {LONGEST_NAME} characters that show."
            )

    def promise(self, proposal: Proposal, options: Any) -> Promise:
        """What this verifier promises about its output on trees of this proposal, with these options.

        Raises:
            TypeError: if ``lossless`` is a function that answers something else than True or False.
        """
        if self.is_greedy:
            return "greedy decoding"
        if not callable(self.lossless):
            return "yes" if proposal in self.lossless else "no"
        answer = self.lossless(proposal, options)
        if not isinstance(answer, bool):
            raise TypeError(f"lossless(proposal, options) must answer True or False, not {answer!r:.60}")
        return "yes" if answer else "no"


def default_options(verifier: Verifier) -> Options:
    """Raises SettingsError where an option of the verifier has no default."""
    return parse_options(verifier.Options, "verifier", Choice(name=verifier.name))


def label_of(verifier: Verifier, options: Options) -> str:
    """The verifier with those of its options that are not the defaults, as the command line takes them."""
    defaults = {name: info.default for name, info in verifier.Options.model_fields.items()}
    others = [f"{name}={value}" for name, value in options if value != defaults[name]]
    return verifier.name + (":" + ",".join(others) if others else "")


def context_of(tree: TokenTree, judgement: Judgement, options: Any) -> Context:
    """What a walk may look at, of a judgement on the host."""
    thresholds: list[float] = judgement.thresholds.tolist()
    return Context(
        shape=tree.shape,
        tokens=tree.tokens,
        thresholds=[1.0, *thresholds[1:]],
        p=judgement.p.tolist(),
        expected=[] if judgement.expected is None else judgement.expected.tolist(),
        distribution=judgement.distribution,
        options=options,
    )


def edge_probs(tree: TokenTree, target: torch.Tensor) -> torch.Tensor:
    """[n], the target probability of every node's token in its parent's row; NaN for the root."""
    parents, tokens, _ = tree.edges.to(target.device, non_blocking=True)
    return with_root(target[parents, tokens], math.nan)


def ratio(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """``p / q``, finite: a drawn token has q > 0, but it may be as small as a denormal number."""
    return p / q.clamp(min=torch.finfo(q.dtype).tiny)


def draft_edge_probs(tree: TokenTree, like: torch.Tensor) -> torch.Tensor:
    """[n], the draft probability of every node as it was proposed first, 1 for a point mass; NaN for the root."""
    if tree.q_is_point_mass or len(tree) == 1:
        return with_root(torch.ones(len(tree), dtype=like.dtype, device=like.device), math.nan)
    _, tokens, rows = tree.edges
    return with_root(tree.rows[rows, tokens].to(like.dtype), math.nan)


def with_root(of_nodes: torch.Tensor, value: float) -> torch.Tensor:
    """The same tensor [n], the root's entry set to ``value``."""
    of_nodes[:1].fill_(value)  # of_nodes[0] = value would wait for a GPU
    return of_nodes


def of_parents(tree: TokenTree, of_inner: torch.Tensor) -> torch.Tensor:
    """[n], of every node the entry of its parent; 1 at the root.

    Args:
        of_inner: one entry for each node with children, in the order of ``tree.shape.inner``; one at least.
    """
    place = {node: i for i, node in enumerate(tree.shape.inner)}
    rows = upload([0, *(place[parent] for parent in tree.shape.parents[1:])], of_inner.device)
    return with_root(of_inner.index_select(0, rows), 1.0)


def draw_bonus(luck: Luck, end: End, row: torch.Tensor) -> Draw:
    """The bonus token of a walk that ends there, from the row [V] there; drawn now unless the walk drew it."""
    if end.drawn is not None:
        return end.drawn
    if end.source == "argmax":
        return Draw(int(row.argmax()), None)
    return luck.draw(end.node, row)


@contextmanager
def verifier_errors(verifier: Verifier) -> Iterator[None]:
    """Turn what goes wrong in a verifier's own code, or with the verdict it gave, into one sentence that says where.

    Raises:
        VerifierError: from the original exception, which keeps its traceback.
    """
    try:
        yield
    except SpecvizError:
        raise
    except Exception as error:
        if isinstance(error, (MemoryError, RuntimeError)) and "memory" in str(error).lower():
            raise  # the machine's fault, not the verifier's
        frame = traceback.extract_tb(error.__traceback__)[-1]
        what = " ".join(str(error).split())[:200]
        raise VerifierError(
            f"The verifier {verifier.name} failed at {os.path.basename(frame.filename)}:{frame.lineno} "
            f"({type(error).__name__}: {what}); mend it or leave it out."
        ) from error


def verify(
    verifier: Verifier, tree: TokenTree, target: torch.Tensor, options: Any, luck: Luck
) -> tuple[Judgement, Walk, Draw, torch.Tensor]:
    """Judge, walk and draw the bonus: the whole of one verification.

    Args:
        target: [n, V], the processed target row at every node.

    Raises:
        ValueError: for a path that does not lead down from the root to the node where the bonus token is drawn.

    Returns:
        The judgement on the host but for the rows its functions reach, the walk, the bonus token, and the row [V] that
        it was drawn from.
    """
    judgement = verifier.judge(tree, target, options).on_host()
    walk, row = walk_judged(verifier, judgement, tree, options, luck)
    return judgement, walk, draw_bonus(luck, walk.end, row), row


def walk_judged(
    verifier: Verifier, judgement: Judgement, tree: TokenTree, options: Any, luck: Luck
) -> tuple[Walk, torch.Tensor]:
    """The walk over a judgement on the host, and the row [V] that its bonus token is drawn from.

    Raises:
        ValueError: as :func:`verify`.
    """
    walk = verifier.walk(context_of(tree, judgement, options), luck)
    if walk.path != tree.shape.path(walk.end.node):
        raise ValueError(f"its path {list(walk.path)} is not the way from the root to node {walk.end.node}, its end")
    return walk, judgement.distribution(walk.end)
