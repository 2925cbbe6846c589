"""Rows of one step by node, the tree around them, and what is added up over their entries."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from specviz.recorder.raw_step import RawStep, Rows


class Surprise(NamedTuple):
    """What a row p says of one of its tokens x before it is drawn, and of x itself.

    Attributes:
        score: ``-log p(x) - H(p)``, in nats: 0 in the mean where x is drawn from p. Infinite where p(x) = 0.
        variance: ``Var(log p)`` under p, in square nats.
    """

    score: float
    variance: float


def surprise(row: Rows, token: int) -> Surprise:
    """Of a row [V], which is scaled to 1: whoever draws from it does so, too. Computed in the row's own format."""
    total = float(row.sum(dtype=np.float64))
    if not 0 < total < float("inf"):
        return Surprise(float("nan"), 0.0)
    logs = np.maximum(row, np.finfo(row.dtype).tiny)
    np.log(logs, out=logs)
    mean = float(np.dot(row, logs)) / total
    logs -= row.dtype.type(mean)  # centred: the variance is no difference of two large numbers then
    np.square(logs, out=logs)
    variance = max(0.0, float(np.dot(row, logs)) / total)
    p = float(row[token]) if 0 <= token < len(row) else 0.0
    return Surprise(mean - float(np.log(p)) if p > 0 else float("inf"), variance)


class View:
    """A step with its tree and rows found by node.

    Attributes:
        children: of each node, in the order of their numbers, which is the order they were drawn in.
        depths: of each node; the root's is 0.
        walk: the root and the accepted nodes.
        hangs_together: whether it is a path of the tree; else nothing can be said of what it ends in.
        emitted: tokens of the accepted nodes, then the bonus if there is one.
        judged: the step as the claimed rule judges it, once that was asked for; see :mod:`.rule`, which needs torch.
        reread: the rows of ``target`` and ``draft`` as processors make them, likewise; see :mod:`.processors`.
    """

    def __init__(self, step: RawStep):
        self.step = step
        self.children: list[list[int]] = [[] for _ in step.tokens]
        self.depths = [0] * len(step.tokens)
        for node, parent in enumerate(step.parents[1:], start=1):
            self.children[parent].append(node)
            self.depths[node] = self.depths[parent] + 1
        self.walk = [0, *step.accepted]
        steps = zip(self.walk, step.accepted, strict=False)
        missing = any(what == "accepted" for what, _ in step.no_nodes)
        self.hangs_together = not missing and all(step.parents[node] == above for above, node in steps)
        self.emitted = [step.tokens[node] for node in step.accepted] + ([] if step.bonus is None else [step.bonus])
        self.judged: object = None
        self.reread: dict[str, object] = {}
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


def missing_rows(step: RawStep, who: str) -> str:
    """What a step without processed rows of the target or the draft lacks."""
    draft = who == "draft"
    if (step.q_logits if draft else step.p_logits) is None:
        return f"the {who}'s rows"
    return f"the {who}'s rows: there are its logits, so say {'draft_' if draft else ''}sampling= to the recorder"


def widened(rows: Rows, vocabulary: npt.NDArray[np.int64] | None, width: int) -> Rows:
    """A draft's rows [m, V of the draft] by the target's ids, [m, width]: 0 where the draft has no such token."""
    if vocabulary is None and rows.shape[-1] == width:
        return rows
    found = np.zeros((len(rows), width), dtype=rows.dtype)
    if vocabulary is None:
        common = min(width, rows.shape[-1])
        found[:, :common] = rows[:, :common]
    else:
        inside = vocabulary < width
        found[:, vocabulary[inside]] = rows[:, inside]
    return found
