"""What the layout of a draft tree begins from: the order of its nodes, and which are folded at first.

Where cards stand is one rule, in ``assets/viewer/tree/layout.js``: it depends on the folds that a reader opens.
"""

from __future__ import annotations

from collections.abc import Iterable

import networkx as nx

from specviz.trace.schema import Step

FOLD_ABOVE = 64
"""In trees with more nodes, parts that no verifier accepted are folded at first."""


def tree_graph(parents: Iterable[int]) -> nx.DiGraph:
    """The tree as a graph; ``parents[0] = -1``, and children are in draw order."""
    graph: nx.DiGraph = nx.DiGraph()
    for node, parent in enumerate(parents):
        graph.add_node(node)
        if parent >= 0:
            graph.add_edge(parent, node)
    return graph


def postorder(parents: Iterable[int]) -> list[int]:
    """All nodes, children in draw order and before their parent: leaves come as they stand below each other."""
    return list(nx.dfs_postorder_nodes(tree_graph(parents), 0))


def folded_nodes(step: Step) -> set[int]:
    """Nodes that are folded at first: in a large tree, all but the accepted paths and the children along them."""
    if len(step.tree.nodes) <= FOLD_ABOVE:
        return set()
    on_path = {0}.union(*(verdict.path for verdict in step.verdicts.values()))
    return {node.id for node in step.tree.nodes[1:] if node.id not in on_path and node.parent not in on_path}
