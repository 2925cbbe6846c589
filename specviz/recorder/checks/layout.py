"""Where the rows of a tree stand and what they see: positions by depth, masks by ancestry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from specviz.recorder.checks.results import agreed, lacked
from specviz.recorder.checks.rows import View
from specviz.recorder.raw_step import Flags
from specviz.trace.checks import Check

POSITIONS = "positions"
MASK = "mask"


def positions(view: View, said: Sequence[int] | None, nodes: Sequence[int], name: str = POSITIONS) -> Check:
    """The position of a node is that of the root, ``context - 1``, plus its depth."""
    if said is None:
        return lacked(name, "positions")
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


def mask(
    view: View, said: Flags | None, nodes: Sequence[int], slots: Mapping[int, int] | None, name: str = MASK
) -> Check:
    """A node's row sees the text before the tree, its ancestors and itself, and nothing else of the tree.

    Of the columns that are no node's, each row must see as many as the text has tokens before the root; columns that no
    row sees are padding.
    """
    if said is None:
        return lacked(name, "the attention mask")
    nodes = nodes or range(len(view))
    rows, columns = said.shape
    if rows != len(nodes):
        return lacked(name, f"a row of the mask for each of {len(nodes)} nodes: there are {rows}")
    where = slots if slots is not None else {node: columns - rows + row for row, node in enumerate(nodes)}
    if missing := [node for node in nodes if node not in where]:
        return lacked(name, f"the slot of node {missing[0]}")
    if max(where.values()) >= columns:
        return lacked(name, f"columns up to slot {max(where.values())}: the mask has {columns}")
    node_at = {slot: node for node, slot in where.items()}
    others = np.ones(columns, dtype=np.bool_)
    others[list(node_at)] = False
    before = said[:, others].sum(-1)
    wrong: list[tuple[int | None, str]] = []
    for row, node in enumerate(nodes):
        line = view.line(node)
        due = {where[other] for other in line if other in where}
        seen = {slot for slot in node_at if said[row, slot]}
        if leaked := sorted(seen - due):
            other = view.named(node_at[leaked[0]])
            wrong.append((node, f"{view.named(node).capitalize()} sees {other}, which is no ancestor of it"))
        elif hidden := sorted(due - seen):
            other = view.named(node_at[hidden[0]])
            wrong.append((node, f"{view.named(node).capitalize()} does not see {other}, an ancestor of it or itself"))
        elif before[row] != view.step.context - 1:
            wrong.append(
                (
                    node,
                    f"{view.named(node).capitalize()} sees {before[row]} of {view.step.context - 1} tokens before the "
                    "root",
                )
            )
    return agreed(name, rows, wrong)
