"""Rows of one step by node, the tree around them, and what is added up over their entries. numpy and float64."""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from specviz.recorder.raw_step import RawStep, Rows

Array = npt.NDArray[np.float64]


class Surprise(NamedTuple):
    """What a row p says of one of its tokens x before it is drawn, and of x itself.

    Attributes:
        score: ``-log p(x) - H(p)``, in nats: 0 in the mean where x is drawn from p. Infinite where p(x) = 0.
        variance: ``Var(log p)`` under p, in square nats.
    """

    score: float
    variance: float


def surprise(row: npt.NDArray[Any], token: int) -> Surprise:
    """Of a row [V], which is scaled to 1 first: whoever draws from it does so, too."""
    values = row.astype(np.float64, copy=False)
    kept = values[values > 0]
    total = float(kept.sum())
    if not total > 0:
        return Surprise(float("nan"), 0.0)
    kept = kept / total
    logs = np.log(kept)
    mean = float(kept @ logs)
    variance = max(0.0, float(kept @ np.square(logs - mean)))
    p = float(values[token]) / total if 0 <= token < len(values) else 0.0
    return Surprise(-float(np.log(p)) + mean if p > 0 else float("inf"), variance)


class View:
    """A step with its tree and rows found by node.

    Attributes:
        children: of each node, in the order of their numbers, which is the order they were drawn in.
        depths: of each node; the root's is 0.
        walk: the root and the accepted nodes.
        emitted: tokens of the accepted nodes, then the bonus if there is one.
        judged: the step as the claimed rule judges it, once that was asked for; see :mod:`.rule`, which needs torch.
    """

    def __init__(self, step: RawStep):
        self.step = step
        self.children: list[list[int]] = [[] for _ in step.tokens]
        self.depths = [0] * len(step.tokens)
        for node, parent in enumerate(step.parents[1:], start=1):
            self.children[parent].append(node)
            self.depths[node] = self.depths[parent] + 1
        self.walk = [0, *step.accepted]
        self.emitted = [step.tokens[node] for node in step.accepted] + ([] if step.bonus is None else [step.bonus])
        self.judged: object = None
        self._p_row = {node: row for row, node in enumerate(step.p_nodes)} if step.p is not None else {}
        self._q_row = {node: row for row, node in enumerate(step.q_nodes)} if step.q is not None else {}

    def __len__(self) -> int:
        return len(self.step.tokens)

    def p(self, node: int) -> Rows | None:
        """The target's processed row [V] at a node."""
        row = self._p_row.get(node)
        return None if row is None or self.step.p is None else self.step.p[row]

    def q(self, node: int) -> Rows | None:
        """The draft's processed row at a node, by its own columns."""
        row = self._q_row.get(node)
        return None if row is None or self.step.q is None else self.step.q[row]

    def column(self, token: int) -> int:
        """The draft's column of a token of the target; -1 where it has none."""
        if self.step.vocabulary is None:
            return token
        return self._columns.get(token, -1)

    @cached_property
    def _columns(self) -> dict[int, int]:
        assert self.step.vocabulary is not None
        return {int(token): column for column, token in enumerate(self.step.vocabulary)}

    def line(self, node: int) -> list[int]:
        """The root, and the nodes from below it down to ``node``."""
        found = [node]
        while node > 0:
            node = self.step.parents[node]
            found.append(node)
        return found[::-1]

    def named(self, node: int) -> str:
        """As a sentence names a node."""
        return f"node {node} (token {self.step.tokens[node]})" if node else "the root"


def widened(row: npt.NDArray[Any], vocabulary: npt.NDArray[np.int64] | None, width: int) -> Array:
    """A draft's row [V of the draft] by the target's ids, [width]: 0 where the draft has no such token."""
    found = np.zeros(width)
    if vocabulary is None:
        common = min(width, len(row))
        found[:common] = row[:common]
    else:
        inside = vocabulary < width
        found[vocabulary[inside]] = row[inside]
    return found
