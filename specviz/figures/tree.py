"""One step's draft tree as columns of numbers and labels, which the viewer lays out and draws."""

from __future__ import annotations

from specviz.digits import digits
from specviz.figures.figure_style import edge_class
from specviz.figures.frame_types import BonusCard, Tree
from specviz.figures.outcomes import LETTERS
from specviz.figures.text import shorten, token_label
from specviz.figures.tree_order import folded_nodes, postorder
from specviz.trace.schema import Decision, Node, Step, TokenText, Verdict

CARD_COLUMNS = 23
"""Token and digits of a card together."""
LABEL_COLUMNS = (3, 10)
"""Of a card's token, at least and at most."""
BONUS_COLUMNS = 11


def tree_columns(step: Step) -> Tree:
    """Columns of the tree picture. Like every text of a frame, labels are for ``textContent``, so not escaped."""
    nodes, texts = step.tree.nodes, step.text_of()
    parents, said = [node.parent for node in nodes], [_digits(node) for node in nodes]
    return {
        "parent": parents,
        "order": postorder(parents),
        "folded": sorted(folded_nodes(step)),
        "label": [shorten(node_label(n, texts), _room(text)) for n, text in zip(nodes, said, strict=True)],
        "digits": said,
        "draft": [_thousandths(node.draft_prob) for node in nodes],
        "target": [_thousandths(node.target_prob) for node in nodes],
        "edge": "".join(str(edge_class(node.target_prob)) for node in nodes),
        "states": {name: verdict_states(verdict, len(nodes)) for name, verdict in step.verdicts.items()},
        "bonus": [_bonus_card(step, name, texts) for name in step.verdicts],
        "parts": parting(step),
    }


def node_label(node: Node, texts: dict[int, TokenText]) -> str:
    """The visible text of a node's token, uncut."""
    return token_label(texts.get(node.token) or TokenText(id=node.token, text=node.text))


def verdict_states(verdict: Verdict, size: int) -> str:
    """What one verifier made of every node, one letter each; the accepted path wins over an earlier decision.

    No verifier judges the root: it was committed before.
    """
    states = ["."] * size
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


def _is_written(step: Step, name: str) -> bool:
    """Whether the bonus token of a verifier could go on the text: the driver's does not where the text ends before."""
    return name != step.driver or len(step.committed) > len(step.verdicts[name].path)


def _bonus_card(step: Step, name: str, texts: dict[int, TokenText]) -> BonusCard:
    bonus = step.verdicts[name].bonus
    label = token_label(texts.get(bonus.token) or TokenText(id=bonus.token, text=bonus.text))
    return {
        "verifier": name,
        "node": bonus.node,
        "label": shorten(label, BONUS_COLUMNS),
        "note": shorten(f"{name} · {bonus.source}", 26) if _is_written(step, name) else f"{name} · not written",
    }


def _digits(node: Node) -> str:
    if node.parent < 0:
        return ""
    return f"{digits(node.draft_prob)} → {digits(node.target_prob)}"


def _room(said: str) -> int:
    """Columns that a card's digits leave for its token."""
    least, most = LABEL_COLUMNS
    return max(least, min(most, CARD_COLUMNS - len(said)))


def _thousandths(probability: float | None) -> int | None:
    return None if probability is None else round(probability * 1000)
