"""What a step head is put through, here and in an independent implementation: two steps, a tree of three levels each.

First a full pass over a text, then three levels of a tree below it; then, as after a verdict, what was drafted is
dropped, the accepted tokens are fed with the target's states, and a second tree is grown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from specviz.dice import SeededDice
from specviz.drafting.base import Limits, build_tree
from specviz.drafting.dynamic import DYNAMIC
from specviz.models.heads.head import StepHead
from specviz.models.kv_cache import SlotCache
from specviz.transfers import Reads
from specviz.tree import Growth

TEXT = 7
"""Pairs of the first pass."""
ACCEPTED = 3
"""Pairs that the second step feeds."""
LEVELS = (((-1, 0), (-1, 1)), ((0, 0), (0, 1), (1, 0)), ((2, 0), (4, 0), (4, 1)))
"""Of each node its parent, a node of an earlier level (-1: the root), numbered through; and a number of its own."""


class Runs(Protocol):
    """An implementation with its cache."""

    def fuse(self, states: torch.Tensor) -> torch.Tensor: ...

    def run(self, carry: torch.Tensor, ids: torch.Tensor, places: Sequence[int], sees: torch.Tensor) -> torch.Tensor:
        """Outputs [n, H'] of n pairs, which are appended to the cache; ``sees`` [n, slots] says what each may see."""
        ...

    def recycle(self, own: torch.Tensor) -> torch.Tensor: ...

    def logits(self, own: torch.Tensor) -> torch.Tensor: ...

    def keep(self, slots: int) -> None:
        """Drop the slots from this one on."""
        ...


class Ours:
    """A head of specviz over its slot cache."""

    def __init__(self, head: StepHead):
        self.head, self.cache = head, SlotCache(head.layers, 64)

    def fuse(self, states: torch.Tensor) -> torch.Tensor:
        return self.head.fuse(states)

    def run(self, carry: torch.Tensor, ids: torch.Tensor, places: Sequence[int], sees: torch.Tensor) -> torch.Tensor:
        mask = torch.zeros(sees.shape).masked_fill(~sees, torch.finfo(torch.float32).min)[None, None]
        return self.head(carry, ids, torch.tensor(places) + self.head.position_offset, mask, self.cache)

    def recycle(self, own: torch.Tensor) -> torch.Tensor:
        return self.head.recycle(own)

    def logits(self, own: torch.Tensor) -> torch.Tensor:
        return self.head.logits(own)

    def keep(self, slots: int) -> None:
        for layer in self.cache.slot_layers:
            layer.length = slots


@dataclass(frozen=True)
class Inputs:
    """Of one scenario: states [10, k x H], tokens [10] of the text, tokens of the tree's nodes [2, 8]."""

    states: torch.Tensor
    tokens: torch.Tensor
    nodes: torch.Tensor


def inputs(width: int, vocabulary: int, seed: int) -> Inputs:
    random = torch.Generator().manual_seed(seed)
    pairs = TEXT + ACCEPTED
    return Inputs(
        torch.randn(pairs, width, generator=random),
        torch.randint(vocabulary, (pairs,), generator=random),
        torch.randint(vocabulary, (2, sum(map(len, LEVELS))), generator=random),
    )


@torch.no_grad()
def play(runs: Runs, given: Inputs) -> torch.Tensor:
    """Logits [26, Vd]: of the ten pairs of the text and of eight nodes in each of the two steps, in order of time."""
    found: list[torch.Tensor] = []
    committed = 0
    for step, count in enumerate((TEXT, ACCEPTED)):
        last = committed + count
        sees = torch.ones(count, last, dtype=torch.bool).tril(committed)
        places = range(committed, last)
        own = runs.run(runs.fuse(given.states[committed:last]), given.tokens[committed:last], places, sees)
        found.append(runs.logits(own))
        committed = last
        found += _tree(runs, own[-1], committed, given.nodes[step])
        runs.keep(committed)
    return torch.cat(found)


def _tree(runs: Runs, root: torch.Tensor, committed: int, tokens: torch.Tensor) -> list[torch.Tensor]:
    outputs: list[torch.Tensor] = []
    lines: list[list[int]] = []
    found: list[torch.Tensor] = []
    for level, nodes in enumerate(LEVELS):
        parents = [parent for parent, _ in nodes]
        first = len(lines)
        lines += [[*(lines[parent] if parent >= 0 else []), first + i] for i, parent in enumerate(parents)]
        sees = torch.zeros(len(nodes), committed + len(lines), dtype=torch.bool)
        sees[:, :committed] = True
        for row, line in zip(sees, lines[first:], strict=True):
            row[[committed + slot for slot in line]] = True
        carry = runs.recycle(torch.stack([outputs[parent] if parent >= 0 else root for parent in parents]))
        own = runs.run(carry, tokens[first : len(lines)], [committed + level] * len(nodes), sees)
        outputs += own
        found.append(runs.logits(own))
    return found


def furthest(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """The largest difference of two rows of logits, over the largest of the second: their scale."""
    difference: Any = (ours - theirs).abs().max() / theirs.abs().max()
    return float(difference)


class HeadDraft:
    """A step head as the draft of a tree builder, below a root that :meth:`feed` ran."""

    def __init__(self, head: StepHead, vocabulary: int):
        self.ours, self.vocabulary = Ours(head), vocabulary
        self.reads = Reads()
        self.committed: list[int] = []
        self._outputs: dict[int, torch.Tensor] = {}
        self._slots: dict[int, list[int]] = {}
        self._root: torch.Tensor | None = None

    def feed(self, states: torch.Tensor, tokens: torch.Tensor) -> None:
        """Run pairs of the text behind those that are there; what was drafted is dropped."""
        past, now = len(self.committed), len(self.committed) + len(tokens)
        self.ours.keep(past)
        self.committed += tokens.tolist()
        sees = torch.ones(len(tokens), now, dtype=torch.bool).tril(past)
        self._root = self.ours.run(self.ours.fuse(states), tokens, range(past, now), sees)[-1]

    def expand(self, growth: Growth, nodes: list[int]) -> torch.Tensor:
        base = len(self.committed)
        if nodes == [0]:
            assert self._root is not None
            self._outputs, self._slots = {0: self._root}, {0: []}
        else:
            first, parents = self.ours.cache.length, [growth.parents[node] for node in nodes]
            sees = torch.zeros(len(nodes), first + len(nodes), dtype=torch.bool)
            sees[:, :base] = True
            for row, (node, parent) in enumerate(zip(nodes, parents, strict=True)):
                self._slots[node] = [*self._slots[parent], first + row]
                sees[row, self._slots[node]] = True
            carry = self.ours.recycle(torch.stack([self._outputs[parent] for parent in parents]))
            ids = torch.tensor([growth.tokens[node] for node in nodes])
            own = self.ours.run(carry, ids, [base + growth.depths[node] - 1 for node in nodes], sees)
            self._outputs.update(zip(nodes, own, strict=True))
        logits = self.ours.logits(torch.stack([self._outputs[node] for node in nodes]))
        ids = self.ours.head.token_ids
        if ids is None:
            return logits.softmax(-1)
        return torch.zeros(len(nodes), self.vocabulary).index_copy_(1, ids, logits.softmax(-1))

    def tabulate(self, shares: Sequence[Mapping[int, float]]) -> torch.Tensor:
        raise NotImplementedError


TREE = {"top_k": 6, "depth": 5, "total": 22}
"""Options of the trees of EAGLE-2 that are compared."""


@torch.no_grad()
def eagle2_trees(head: StepHead, given: Inputs, vocabulary: int) -> list[list[list[int]]]:
    """The trees of two steps by specviz's builder, each as the sorted paths of tokens of its nodes."""
    draft, trees = HeadDraft(head, vocabulary), []
    for part in (slice(0, TEXT), slice(TEXT, TEXT + ACCEPTED)):
        draft.feed(given.states[part], given.tokens[part])
        options = DYNAMIC.Options(rule="eagle2", **TREE)
        growth, keep = build_tree(DYNAMIC, options, draft, draft.committed[-1], SeededDice(1), 0, Limits(100))
        paths: dict[int, list[int]] = {0: []}
        for node in range(1, len(growth.tokens)):
            paths[node] = [*paths[growth.parents[node]], growth.tokens[node]]
        trees.append(sorted(paths[node] for node in keep or paths if node))
    return trees
