"""Where the nodes of a draft tree stand: a tidy tree, left to right, every parent centred over its children.

Coordinates are CSS pixels at scale 1, y downwards. All verifiers share them. Bonus tokens, and the stubs that stand for
folded nodes, take rows of their own below the children of the node they hang on: a row belongs to one subtree in every
column, so no edge can cross a card, however early a path ended.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import networkx as nx

from specviz.trace.schema import Step

CARD_WIDTH = 158
CARD_HEIGHT = 31
COLUMN = 194
"""Distance from one depth to the next."""
ROW = 34
"""Height of a leaf's row. The default tree of 28 nodes must stand on a laptop's screen as a whole."""
EXTRA_ROW = 20
"""Height of the row of a bonus token or a stub."""
BONUS_HEIGHT = 18
TOP = 22
"""Room for the column titles."""
LEFT = 6
BONUS_WIDTH = 190
FOLD_ABOVE = 64
"""In trees with more nodes, parts that no verifier accepted are folded at first."""


@dataclass(frozen=True)
class Layout:
    """Positions of one step's tree.

    x, y:     centre of every node's card, [n]; y is None for a folded node
    bonus:    verifier -> (node it hangs on, y of its card)
    stubs:    parent -> y of the stub that stands for its folded children
    columns:  number of columns of cards, the root's included
    """

    x: list[int]
    y: list[float | None]
    bonus: dict[str, tuple[int, float]]
    stubs: dict[int, float]
    columns: int
    width: int
    height: int


def tree_graph(parents: Iterable[int]) -> nx.DiGraph:
    """The tree as a graph; ``parents[0] = -1``, and children are in draw order."""
    graph: nx.DiGraph = nx.DiGraph()
    for node, parent in enumerate(parents):
        graph.add_node(node)
        if parent >= 0:
            graph.add_edge(parent, node)
    return graph


def folded_nodes(step: Step) -> set[int]:
    """Nodes that are folded at first: in a large tree, all but the accepted paths and the children along them."""
    if len(step.tree.nodes) <= FOLD_ABOVE:
        return set()
    on_path = {0}.union(*(verdict.path for verdict in step.verdicts.values()))
    return {node.id for node in step.tree.nodes[1:] if node.id not in on_path and node.parent not in on_path}


def tidy_layout(step: Step, folded: Collection[int] = ()) -> Layout:
    """Lay out one step's tree with the nodes in ``folded`` hidden (a folded node hides all below it).

    Law: a node stands midway between its first and its last visible child; leaves follow in draw order, none overlap.
    """
    graph = tree_graph(node.parent for node in step.tree.nodes)
    hidden = set(folded)
    for node in nx.topological_sort(graph):
        if any(parent in hidden for parent in graph.predecessors(node)):
            hidden.add(node)
    bonuses: dict[int, list[str]] = {}
    for name, verdict in step.verdicts.items():
        bonuses.setdefault(verdict.bonus.node, []).append(name)

    y: list[float | None] = [None] * len(step.tree.nodes)
    bonus: dict[str, tuple[int, float]] = {}
    stubs: dict[int, float] = {}
    cursor = float(TOP)
    for node in nx.dfs_postorder_nodes(graph, 0):  # postorder: leaves come in draw order, parents after their children
        if node in hidden:
            continue
        children = [child for child in graph.successors(node) if child not in hidden]
        has_stub = len(children) < graph.out_degree(node)
        extra = bonuses.get(node, [])
        extra_height = EXTRA_ROW * (len(extra) + has_stub)
        if children:
            y[node] = _middle(y[children[0]], y[children[-1]])
            top = cursor
            cursor += extra_height
        else:
            height = max(ROW, extra_height)
            y[node] = cursor + height / 2
            top = cursor + (height - extra_height) / 2
            cursor += height
        if has_stub:
            stubs[node] = top + EXTRA_ROW / 2
            top += EXTRA_ROW
        for i, name in enumerate(extra):
            bonus[name] = (node, top + EXTRA_ROW * (i + 0.5))
    depths = [node.depth for node in step.tree.nodes]
    shown = [depth for node, depth in enumerate(depths) if node not in hidden]
    columns = 1 + max(*shown, *(depths[node] + 1 for node in stubs), 0)
    return Layout(
        x=[LEFT + CARD_WIDTH // 2 + COLUMN * depth for depth in depths],
        y=y,
        bonus=bonus,
        stubs=stubs,
        columns=columns,
        width=LEFT + COLUMN * columns + BONUS_WIDTH + LEFT,
        height=int(cursor) + 6,
    )


def _middle(first: float | None, last: float | None) -> float:
    assert first is not None, "children come before their parent"
    assert last is not None
    return (first + last) / 2
