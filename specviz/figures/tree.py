"""One step's draft tree as columns, which the viewer lays out and draws."""

from __future__ import annotations

from specviz.figures.frame_types import Tree
from specviz.figures.outcomes import LETTERS
from specviz.figures.text import token_label, token_of
from specviz.figures.tree_order import postorder
from specviz.trace.schema import Decision, Node, Step, TokenText, Verdict


def tree_columns(step: Step, engine: str | None = None) -> Tree:
    """What the layout of the tree begins from, and what was made of its nodes; ``engine``: another that decoded."""
    parents = [node.parent for node in step.tree.nodes]
    return {
        "parent": parents,
        "order": postorder(parents),
        "states": {
            name: verdict_states(verdict, len(parents), name == engine) for name, verdict in step.verdicts.items()
        },
        "parts": parting(step),
    }


def node_label(node: Node, texts: dict[int, TokenText]) -> str:
    """The visible text of a node's token, uncut."""
    return token_label(token_of(node.token, texts, node.text))


def verdict_states(verdict: Verdict, size: int, foreign: bool = False) -> str:
    """What one verifier made of every node, one letter each; the accepted path wins over an earlier decision.

    No verifier judges the root: it was committed before. Of another engine's verdict without a decision it is not known
    which nodes it examined.
    """
    states = ["n" if foreign and not verdict.decisions else "."] * size
    for decision in verdict.decisions:
        states[decision.node] = LETTERS[decision.outcome]
    for node in verdict.path:
        states[node] = "a"
    states[0] = "t"
    return "".join(states)


def last_decisions(verdict: Verdict) -> dict[int, Decision]:
    """Node -> the last decision about it."""
    return {decision.node: decision for decision in verdict.decisions}


def parting(step: Step) -> int | None:
    """The last node that all accepted paths share where they are not equal; null where all verifiers agree."""
    paths = [verdict.path for verdict in step.verdicts.values()]
    if len(set(paths)) < 2:
        return None
    node = 0
    for level in zip(*paths):  # noqa: B905 - the shortest path ends the common part
        if len(set(level)) > 1:
            break
        node = level[0]
    return node
