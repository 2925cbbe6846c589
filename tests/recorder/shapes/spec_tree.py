"""A tree with the names and buffers of Sequoia's ``SpecTree``. Written for these tests."""

from __future__ import annotations

from typing import Any

import torch

from tests.recorder.shapes import toy

SUCCESSORS = [[1, 2, 3], [4, 5], [6], [], [], [], []]
DEPTHS = torch.tensor([0, 1, 1, 1, 2, 2, 2])
LONGEST = 120


class SpecTree:
    """``early``: the bonus is written before the accepted tokens move up, and may stand in the place of one of them."""

    def __init__(self, prefix: list[int], temperature: float, early: bool = False):
        self.early = early
        self.temperature = temperature
        self.Successors = SUCCESSORS
        self.tokens = torch.zeros(LONGEST, dtype=torch.long)
        self.tokens[: len(prefix)] = torch.tensor(prefix)
        self.r = torch.rand(LONGEST)
        self.draft_logits = torch.zeros(LONGEST, toy.VOCABULARY)
        self.ground_truth_len = self.num_nodes = len(prefix)
        self._prepare()

    def _prepare(self) -> None:
        length = self.ground_truth_len
        self.position_ids = torch.arange(LONGEST)
        self.position_ids[length - 1 : length + 6] = DEPTHS + length - 1
        least = torch.finfo(torch.float32).min
        self.attn_mask = torch.full((LONGEST, LONGEST), least).triu(1)
        self.attn_mask[length - 1 : length + 6, length - 1 :] = least
        for node in range(7):
            above: int | None = node
            while above is not None:
                self.attn_mask[node + length - 1, above + length - 1] = 0
                above = next((parent for parent, children in enumerate(SUCCESSORS) if above in children), None)

    def _path(self, node: int) -> list[int]:
        if node == 0:
            return [int(token) for token in self.tokens[: self.ground_truth_len]]
        above = next(parent for parent, children in enumerate(SUCCESSORS) if node in children)
        return [*self._path(above), int(self.tokens[node + self.ground_truth_len - 1])]

    def construct_grow_map(self) -> None:
        for node, children in enumerate(SUCCESSORS):
            self.draft_logits[node] = toy.row("draft", self._path(node))
            if children:
                q = (self.draft_logits[node] / self.temperature).softmax(-1)
                first = self.ground_truth_len - 1 + children[0]
                self.tokens[first : first + len(children)] = torch.multinomial(q, len(children))
        self.num_nodes += 6

    def accept_step(self, parent_id: int) -> Any:
        node = parent_id - (self.ground_truth_len - 1)
        p, logits = self.target_logits[node], self.draft_logits[node]
        for child in SUCCESSORS[node]:
            place = child + self.ground_truth_len - 1
            token = self.tokens[place]
            q = (logits / self.temperature).softmax(-1)
            if p[token] > self.r[place] * q[token]:
                return place, None
            p = (p - q).clamp(min=0)
            p = p / p.sum()
            logits[token] = torch.finfo(torch.float32).min
        return -1, p

    def verify(self) -> Any:
        length = self.ground_truth_len
        logits = torch.stack([toy.row("target", self._path(node)) for node in range(7)])
        self.target_logits = (logits / self.temperature).softmax(-1)
        kept, ended = [length - 1], False
        while not ended:
            place, left = self.accept_step(parent_id=kept[-1])
            if place == -1:
                break
            kept.append(place)
            ended = int(self.tokens[place]) == 0
        end = length - 1 + len(kept)
        bonus = None if ended else torch.multinomial(left, 1)[0]
        if bonus is not None and self.early:
            self.tokens[end] = bonus
        self.tokens[length - 1 : end] = self.tokens[kept]
        if bonus is not None:
            self.tokens[end] = bonus
            end += 1
        self.ground_truth_len = self.num_nodes = end
        self._prepare()
        return self.tokens[:end], end - 1, end - 1, ended


def generate(tree: SpecTree, steps: int) -> list[int]:
    for _ in range(steps):
        tree.construct_grow_map()
        tokens, *_, ended = tree.verify()
        if ended:
            break
    return [int(token) for token in tokens]
