"""What every tree builder gets, gives and shares."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from specviz.dice import Dice, Key, Scanned, SeededDice
from specviz.options import Options
from specviz.sampling import take_rows
from specviz.trace.schema import Proposal
from specviz.transfers import Reads, upload
from specviz.tree import Growth


class Draft(Protocol):
    """The draft model as a builder sees it."""

    @property
    def committed(self) -> Sequence[int]:
        """The committed tokens, the root last."""
        ...

    @property
    def reads(self) -> Reads:
        """Where a builder reads what it has computed from rows: one read a level lets a GPU wait once a level."""
        ...

    def tabulate(self, shares: Sequence[Mapping[int, float]]) -> torch.Tensor:
        """Rows [len(shares), V] with these probabilities of tokens, for a builder that asks no model; rows sum to 1."""
        ...

    def expand(self, growth: Growth, nodes: list[int]) -> torch.Tensor:
        """Run ``nodes`` in one forward and return their processed rows [len(nodes), V]; rows sum to 1."""
        ...


@dataclass(frozen=True)
class Limits:
    """What a tree must respect whatever its options say."""

    max_depth: int
    """No node may lie deeper: the context ends there."""
    end_tokens: frozenset[int] = frozenset()
    """A node that carries one of these is never expanded."""


@dataclass(frozen=True)
class BuilderWork:
    """What growing one tree takes at most, the nodes that are pruned in the end among it.

    Attributes:
        forwards: of the draft.
        rows: nodes that are expanded, the root among them. For each of them a row [V] is held until the tree is done.
        nodes: that are grown before pruning, the root not counted.
    """

    forwards: int
    rows: int
    nodes: int


@dataclass(frozen=True)
class Builder:
    """A registered tree builder.

    ``grow`` adds nodes to a growth that holds the root, and returns the ids to keep (None: all of them)."""

    name: str
    summary: str
    Options: type[Options]
    grow: Callable[[Growth, Draft, Any, Dice, int, Limits], list[int] | None]
    proposal: Callable[[Any], Proposal]
    max_nodes: Callable[[Any], int]
    """Largest number of nodes, the root not counted, that these options can produce; SettingsError if none can."""
    runs_draft: bool = True
    """Whether trees come from the draft model. Otherwise it is never run, and its cache stays empty."""
    most_work: Callable[[Any], BuilderWork] | None = None
    """What these options can take at most. A builder that prunes must say it; None for one that keeps all it grows."""

    def work(self, options: Any) -> BuilderWork:
        """What growing one tree with these options takes at most.

        Raises:
            SettingsError: if no tree can be grown with them.
        """
        if self.most_work is not None:
            return self.most_work(options)
        nodes = self.max_nodes(options)
        rows = nodes + 1  # each node is expanded once at most
        return BuilderWork(rows if self.runs_draft else 0, rows, nodes)


def build_tree(
    builder: Builder, options: Options, draft: Draft, root: int, dice: Dice, step: int, limits: Limits
) -> tuple[Growth, list[int] | None]:
    """Grow a tree from the root token; see :meth:`specviz.tree.Growth.freeze` for the last step."""
    growth = Growth.from_root(root)
    keep = builder.grow(growth, draft, options, dice, step, limits)
    return growth, keep


def propose(
    rows: torch.Tensor,
    counts: Sequence[int],
    parents: Sequence[int],
    proposal: Proposal,
    dice: Dice,
    step: int,
    reads: Reads | None = None,
) -> list[list[int]]:
    """Propose up to ``counts[i]`` sibling tokens from each row of ``rows`` [m, V], in draw order.

    Without replacement means one after another from what is left, so fewer come out where the support is smaller.
    Siblings must never be re-sorted, merged or dropped afterwards: the verifiers' proofs rest on the draw order.
    """
    reads = Reads() if reads is None else reads
    if proposal == "top_k":
        k = min(max(counts), rows.shape[-1])
        top, ids = reads.now(*rows.topk(k, dim=-1))
        found = zip(ids.tolist(), top.tolist(), counts, strict=True)
        return [[t for t, p in zip(i[:n], q[:n], strict=True) if p > 0] for i, q, n in found]
    if rows.device.type == "cuda" and any(counts) and isinstance(dice, SeededDice):
        drawn = _propose_on_device(rows, counts, parents, proposal, dice, step, reads)
        if drawn is not None:
            return drawn
    tokens: list[list[int]] = [[] for _ in counts]
    left = rows.clone() if proposal == "without_replacement" else rows
    for rank in range(max(counts)):
        open_rows = [i for i, count in enumerate(counts) if count > rank]
        if proposal == "without_replacement" and rank > 0:
            alive = (left.sum(-1) > 0).tolist()
            open_rows = [i for i in open_rows if alive[i]]
        if not open_rows:
            break
        weights = left if len(open_rows) == len(counts) else take_rows(left, open_rows)
        draws = dice.draw([Key(step, parents[i], "draft", rank) for i in open_rows], weights)
        for i, draw in zip(open_rows, draws, strict=True):
            tokens[i].append(draw.token)
        if proposal == "without_replacement":
            left[open_rows, [draw.token for draw in draws]] = 0.0
    return tokens


def _propose_on_device(
    rows: torch.Tensor,
    counts: Sequence[int],
    parents: Sequence[int],
    proposal: Proposal,
    dice: SeededDice,
    step: int,
    reads: Reads,
) -> list[list[int]] | None:
    """As :func:`propose` draws, read once when all siblings are drawn.

    None where a draw has met an entry of weight 0: which one is meant then has to be looked at on the host.
    """
    # The rows with most siblings first: those that are still drawn from are then the first ones.
    order = sorted(range(len(counts)), key=lambda i: -counts[i])
    left = rows.index_select(0, upload(order, rows.device))
    ranks = [[i for i in order if counts[i] > rank] for rank in range(max(counts))]
    drawn: list[torch.Tensor] = []
    for rank, some in enumerate(ranks):
        found = dice.scan([Key(step, parents[i], "draft", rank) for i in some], left[: len(some)])
        if proposal == "without_replacement":
            left[: len(some)].scatter_(-1, found.tokens[:, None], 0.0)
        drawn += found
    on_host = iter(reads.now(*drawn))
    tokens: list[list[int]] = [[] for _ in counts]
    for some in ranks:
        columns = (next(on_host).tolist() for _ in Scanned._fields)
        for i, token, weight, point in zip(some, *columns, strict=True):
            if weight:
                tokens[i].append(token)
            elif point:
                return None
    return tokens
