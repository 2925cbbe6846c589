"""The two ways down a tree that most rules share."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from specviz.digits import apart, digits
from specviz.trace.schema import BonusKind
from specviz.verifiers.base import Context, End, Luck, Ruling, Walk

Test = Callable[[int], Ruling]
"""Examines the edge into a node."""


def walk_down(context: Context, luck: Luck) -> Walk:
    """Try the children in draw order and go down to the first whose coin falls under its threshold.

    Where no child is accepted the bonus comes from the residual; at a leaf from the target itself.
    """
    rulings: list[Ruling] = []
    path: list[int] = []
    node = 0
    while True:
        rejected: list[int] = []
        for child in context.shape.children[node]:
            ruling = flip(context, luck, child)
            rulings.append(ruling)
            if ruling.outcome == "accepted":
                break
            rejected.append(child)
        else:
            source: BonusKind = "residual" if rejected else "target"
            return Walk(tuple(rulings), tuple(path), End(node, source, tuple(rejected)))
        path.append(child)
        node = child


def flip(context: Context, luck: Luck, node: int) -> Ruling:
    """Flip the node's coin against its threshold; strictly less passes."""
    threshold = context.thresholds[node]
    accepted, uniform = luck.accept(node, threshold)
    coin, against = ("coin", digits(threshold)) if uniform is None else apart(uniform, threshold)
    reason = f"{coin} {'<' if accepted else '>='} {against}"
    return Ruling(node, "accepted" if accepted else "rejected", reason, uniform)


def exceeds(context: Context, node: int, name: str = "") -> Ruling:
    """Whether p of the node's token exceeds its threshold, of this name."""
    p, threshold = context.p[node], context.thresholds[node]
    said, against = apart(p, threshold)
    passes, against = p > threshold, f"{name} {against}".lstrip()
    return Ruling(node, "accepted" if passes else "rejected", f"p {said} {'>' if passes else '<='} {against}")


def walk_deepest(context: Context, test: Test, source: BonusKind, first: bool = False) -> Walk:
    """Test every edge that passing edges lead to, then take the deepest path of passing edges.

    Ties go to the larger sum of log p, then to the earlier node. With ``first`` the first passing child is taken
    at every node instead, and later siblings are not examined.

    Paths of the same tokens (siblings drawn with replacement) are one text and have one score: their rows differ by
    rounding, which must not choose between them.
    """
    rulings: dict[int, Ruling] = {}
    score = {0: 0.0}
    same_text = {0: 0}
    first_of: dict[tuple[int, int], int] = {}
    open_nodes = [0]
    while open_nodes:
        node = open_nodes.pop(0)
        for child in context.shape.children[node]:
            rulings[child] = test(child)
            if rulings[child].outcome != "accepted":
                continue
            same_text[child] = first_of.setdefault((same_text[node], context.tokens[child]), child)
            p = context.p[same_text[child]]
            score[child] = score[node] + (math.log(p) if p > 0 else -math.inf)
            open_nodes.append(child)
            if first:
                break
    end = max(score, key=lambda node: (context.shape.depths[node], score[node], -node))
    path = context.shape.path(end)
    chosen = set(path)
    final = [
        replace(r, outcome="passed, not chosen") if r.outcome == "accepted" and r.node not in chosen else r
        for r in rulings.values()
    ]
    return Walk(tuple(final), path, End(end, source))
