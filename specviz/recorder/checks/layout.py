"""Where the rows of a tree stand and what they see: positions by depth, masks by ancestry."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from specviz.recorder.checks.results import TEXT_LACKS, agreed, lacked
from specviz.recorder.checks.rows import View
from specviz.recorder.raw_step import Flags
from specviz.trace.checks import Check

POSITIONS = "positions"
MASK = "mask"


def positions(view: View, said: Sequence[int] | None, nodes: Sequence[int], name: str = POSITIONS) -> Check:
    """The position of a node is that of the root, ``context - 1``, plus its depth."""
    if said is None:
        return lacked(name, "positions")
    if view.step.guessed:
        return lacked(name, TEXT_LACKS)
    nodes = nodes or range(len(view))
    if len(said) != len(nodes):
        return lacked(name, f"a position for each of {len(nodes)} nodes: there are {len(said)}")
    first = view.step.context - 1
    wrong: list[tuple[int | None, str]] = [
        (node, f"{view.named(node).capitalize()} has position {position}, not {first + view.depths[node]}")
        for node, position in zip(nodes, said, strict=True)
        if position != first + view.depths[node]
    ]
    return agreed(name, len(said), wrong)


@dataclass(frozen=True)
class Seen:
    """What the row of one node may look at.

    Attributes:
        tree: slots of this step's nodes, and perhaps others.
        before: how many slots of the text before the tree.
    """

    tree: Collection[int]
    before: int


def mask(
    view: View, said: Flags | None, nodes: Sequence[int], slots: Mapping[int, int] | None, name: str = MASK
) -> Check:
    """A node's row sees the text before the tree, its ancestors and itself, and nothing else of the tree.

    Of the columns that are no node's, each row must see as many as the text has tokens before the root; columns that no
    row sees are padding.
    """
    read = seen_by(view, said, nodes, slots)
    if isinstance(read, str):
        return lacked(name, read)
    seen, where = read
    return ancestry(view, seen, nodes or range(len(view)), where, name)


def seen_by(
    view: View, said: Flags | None, nodes: Sequence[int], slots: Mapping[int, int] | None
) -> tuple[list[Seen], Mapping[int, int]] | str:
    """What each row of a mask [n, L] may look at, and the slots of the nodes; or what that lacks."""
    if said is None:
        return "the attention mask"
    if view.step.guessed:
        return TEXT_LACKS
    nodes = nodes or range(len(view))
    rows, columns = said.shape
    if rows != len(nodes):
        return f"a row of the mask for each of {len(nodes)} nodes: there are {rows}"
    where = slots if slots is not None else {node: columns - rows + row for row, node in enumerate(nodes)}
    if missing := [node for node in nodes if node not in where]:
        return f"the slot of node {missing[0]}"
    if max(where.values()) >= columns:
        return f"columns up to slot {max(where.values())}: the mask has {columns}"
    own = sorted(where.values())
    others = np.ones(columns, dtype=np.bool_)
    others[own] = False
    before = said[:, others].sum(-1).tolist()
    tree = [{own[place] for place in np.flatnonzero(row).tolist()} for row in said[:, own]]
    return [Seen(*one) for one in zip(tree, before, strict=True)], where


def laid_out(view: View, positions: Sequence[int] | None, nodes: Sequence[int], seen: Sequence[Seen]) -> View:
    """The step as long as the engine's own text is, by the positions and the mask of all its rows.

    Where both are off by the same amount, the engine's text has another length than what it said that it committed:
    one fault, of the text (:func:`specviz.recorder.checks.text.root`), and none of positions and mask.
    """
    nodes = nodes or range(len(view))
    if not positions or len(positions) != len(nodes) or len(seen) != len(nodes):
        return view
    roots = {position - view.depths[node] for node, position in zip(nodes, positions, strict=True)}
    before = {row.before for row in seen}
    length = min(before) + 1
    if roots != before or len(roots) > 1:
        return view
    return longer(view, length - view.step.context)


def longer(view: View, by: int) -> View:
    """The step after a text of so many tokens more."""
    return View(replace(view.step, context=view.step.context + by)) if by else view


def ancestry(
    view: View, seen: Sequence[Seen], nodes: Sequence[int], slots: Mapping[int, int], name: str = MASK
) -> Check:
    """The same of what is kept of a mask, for each of ``nodes``."""
    node_at = {slot: node for node, slot in slots.items()}
    due_of = [0] * len(view)
    for node, parent in enumerate(view.step.parents):
        due_of[node] = (due_of[parent] if node else 0) + (node in slots)
    wrong: list[tuple[int | None, str]] = []
    for node, row in zip(nodes, seen, strict=True):
        tree = node_at.keys() & row.tree
        # A line is followed only where as much is seen: the work stays within the size of what was recorded.
        if len(tree) == due_of[node]:
            due = {slots[other] for other in view.line(node) if other in slots}
            leaked, hidden = tree - due, due - tree
            if not leaked and not hidden and row.before == view.step.context - 1:
                continue
        wrong.append((node, "" if wrong else _unlike(view, node, row, tree, slots, node_at)))
    return agreed(name, len(nodes), wrong)


def _unlike(
    view: View, node: int, row: Seen, tree: set[int], slots: Mapping[int, int], node_at: Mapping[int, int]
) -> str:
    due = {slots[other] for other in view.line(node) if other in slots}
    who = view.named(node).capitalize()
    if leaked := sorted(tree - due):
        return f"{who} sees {view.named(node_at[leaked[0]])}, which is no ancestor of it"
    if hidden := sorted(due - tree):
        return f"{who} does not see {view.named(node_at[hidden[0]])}, an ancestor of it or itself"
    return f"{who} sees {row.before} of {view.step.context - 1} tokens before the root"
