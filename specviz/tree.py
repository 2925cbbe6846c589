"""The draft tree while it is alive: shape on the host, draft rows on the model's device."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from functools import cached_property

import torch

from specviz.errors import SettingsError
from specviz.trace.schema import Proposal
from specviz.transfers import upload

MAX_NODES = 1024
"""Largest number of drafted nodes (the root not counted) in one tree."""


@dataclass(frozen=True)
class Shape:
    """A tree as parent pointers in topological order; ``parents[0]`` is -1. Siblings stand in draw order."""

    parents: tuple[int, ...]

    def __post_init__(self) -> None:
        assert self.parents[:1] == (-1,)
        assert all(0 <= parent < i for i, parent in enumerate(self.parents[1:], start=1))

    def __len__(self) -> int:
        return len(self.parents)

    @cached_property
    def children(self) -> tuple[tuple[int, ...], ...]:
        """Children of every node in draw order."""
        children: list[list[int]] = [[] for _ in self.parents]
        for node, parent in enumerate(self.parents[1:], start=1):
            children[parent].append(node)
        return tuple(tuple(c) for c in children)

    @cached_property
    def depths(self) -> tuple[int, ...]:
        """Edges between every node and the root."""
        depths = [0]
        for parent in self.parents[1:]:
            depths.append(depths[parent] + 1)
        return tuple(depths)

    @cached_property
    def ranks(self) -> tuple[int, ...]:
        """Draw order of every node among its siblings; 0 for the root."""
        ranks = [0] * len(self.parents)
        for siblings in self.children:
            for rank, node in enumerate(siblings):
                ranks[node] = rank
        return tuple(ranks)

    @cached_property
    def inner(self) -> tuple[int, ...]:
        """The nodes that have children."""
        return tuple(node for node, children in enumerate(self.children) if children)

    @cached_property
    def levels(self) -> tuple[tuple[int, ...], ...]:
        """:attr:`inner` by depth."""
        depths = range(max(self.depths))
        return tuple(tuple(node for node in self.inner if self.depths[node] == depth) for depth in depths)

    def path(self, node: int) -> tuple[int, ...]:
        """Nodes from below the root down to ``node``; empty for the root."""
        path = []
        while node > 0:
            path.append(node)
            node = self.parents[node]
        return tuple(reversed(path))


@dataclass(frozen=True, eq=False)
class TokenTree:
    """A finished draft tree.

    Attributes:
        shape: n nodes, the root (the last committed token) first.
        tokens: token id of every node.
        rows: [m, V], the processed draft distributions that siblings were proposed from; rows sum to 1.
        row_of: node -> its row, for the nodes the draft ran (expanded). A node with children always has one.
        proposal: how siblings were proposed.
        committed: the text that the tree continues, up to and with the root; empty where that is not told.
    """

    shape: Shape
    tokens: tuple[int, ...]
    rows: torch.Tensor
    row_of: dict[int, int]
    proposal: Proposal
    committed: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        assert len(self.tokens) == len(self.shape)
        assert all(node in self.row_of for node in self.shape.inner)

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def edges(self) -> torch.Tensor:
        """[3, n] on the device of the rows: every node's parent, its own token, the row it was proposed from.

        Of the root the first two are 0, so that they index something; of a tree without edges all are.
        """
        parents = [0, *self.shape.parents[1:]]
        rows = [self.row_of.get(parent, 0) for parent in parents]
        return upload([parents, [0, *self.tokens[1:]], rows], self.rows.device)

    def path_tokens(self, node: int) -> tuple[int, ...]:
        """The tokens from below the root down to ``node``; after :attr:`committed` they are the text there."""
        return tuple(self.tokens[other] for other in self.shape.path(node))

    @property
    def q_is_point_mass(self) -> bool:
        """Top-k siblings are chosen, not sampled: each is proposed with probability one."""
        return self.proposal == "top_k"


@dataclass
class Growth:
    """A tree while a builder grows it."""

    tokens: list[int]
    parents: list[int] = field(default_factory=lambda: [-1])
    depths: list[int] = field(default_factory=lambda: [0])
    rows: list[torch.Tensor] = field(default_factory=list)
    row_of: dict[int, int] = field(default_factory=dict)
    """node -> its row, in the order in which the draft ran the nodes."""

    @classmethod
    def from_root(cls, token: int) -> Growth:
        return cls([token])

    def add(self, parent: int, token: int) -> int:
        """Append a node and return its id."""
        self.tokens.append(token)
        self.parents.append(parent)
        self.depths.append(self.depths[parent] + 1)
        return len(self.tokens) - 1

    def add_rows(self, nodes: list[int], rows: torch.Tensor) -> None:
        """Store the draft rows [len(nodes), V] of nodes that were just expanded."""
        assert rows.shape[0] == len(nodes)
        for node in nodes:
            self.row_of[node] = len(self.row_of)
        self.rows.append(rows)

    def take_back(self, nodes: int, calls: int) -> None:
        """Forget all but the first ``nodes`` nodes and what the first ``calls`` calls of :meth:`add_rows` stored."""
        for values in (self.tokens, self.parents, self.depths):
            del values[nodes:]
        del self.rows[calls:]
        self.row_of = dict(itertools.islice(self.row_of.items(), sum(map(len, self.rows))))

    def freeze(self, proposal: Proposal, keep: list[int] | None = None) -> tuple[TokenTree, dict[int, int]]:
        """The finished tree, of all nodes or of the ascending ids in ``keep``, and growing id -> final id.

        Rows of expanded nodes that were not kept are left out.
        """
        kept = list(range(len(self.tokens))) if keep is None else keep
        if len(kept) - 1 > MAX_NODES:
            raise SettingsError(f"The tree has {len(kept) - 1} nodes; choose one of at most {MAX_NODES}.")
        final = {old: new for new, old in enumerate(kept)}
        parents = tuple(-1 if old == 0 else final[self.parents[old]] for old in kept)
        old_rows = [row for node, row in self.row_of.items() if node in final]
        row_of = {final[node]: i for i, node in enumerate(node for node in self.row_of if node in final)}
        rows = torch.cat(self.rows) if self.rows else torch.empty(0, 0)
        if len(old_rows) != rows.shape[0]:
            rows = rows.index_select(0, upload(old_rows, rows.device, torch.long))
        return TokenTree(Shape(parents), tuple(self.tokens[old] for old in kept), rows, row_of, proposal), final
