"""One step's draft tree as columns of numbers and labels, ready to be expanded into the traces of ``figure_style``."""

from __future__ import annotations

from typing import Any

from specviz.digits import digits
from specviz.figures.figure_style import edge_class
from specviz.figures.layout import Layout, folded_nodes, tidy_layout
from specviz.figures.outcomes import LETTERS
from specviz.figures.text import shorten, token_label
from specviz.trace.schema import Decision, Node, Step, TokenText, Verdict

CARD_COLUMNS = 23
"""Token and digits of a card together."""
LABEL_COLUMNS = (3, 10)
"""Of a card's token, at least and at most."""
BONUS_COLUMNS = 11


def tree_columns(step: Step) -> dict[str, Any]:
    """Columns of the tree picture; arrays run over the nodes.

    x, y         centre of the card in pixels; y is null where the node is folded
    label        token, cut to what the digits leave of the card; like every text here for ``textContent``, so not
                 escaped
    digits       ``draft → target`` probability
    draft, target  the probabilities in thousandths, for the bars
    edge         one digit a node: width class of the edge from its parent
    states       verifier -> one letter a node, see :data:`~specviz.figures.outcomes.OUTCOMES`
    """
    folded = folded_nodes(step)
    place = tidy_layout(step, folded)
    nodes, texts = step.tree.nodes, step.text_of()
    said = [_digits(node) for node in nodes]
    return {
        "width": place.width,
        "height": place.height,
        "columns": place.columns,
        "x": place.x,
        "y": [None if y is None else _round(y) for y in place.y],
        "parent": [node.parent for node in nodes],
        "label": [shorten(node_label(n, texts), _room(text)) for n, text in zip(nodes, said, strict=True)],
        "digits": said,
        "draft": [_thousandths(node.draft_prob) for node in nodes],
        "target": [_thousandths(node.target_prob) for node in nodes],
        "edge": "".join(str(edge_class(node.target_prob)) for node in nodes),
        "states": {name: verdict_states(verdict, len(nodes)) for name, verdict in step.verdicts.items()},
        "bonus": _bonus_cards(step, place, texts),
        "stubs": [[node, _round(y)] for node, y in place.stubs.items()],
        "folded": len(folded),
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


def _bonus_cards(step: Step, place: Layout, texts: dict[int, TokenText]) -> list[dict[str, Any]]:
    cards = []
    for name, (node, y) in place.bonus.items():
        bonus = step.verdicts[name].bonus
        label = token_label(texts.get(bonus.token) or TokenText(id=bonus.token, text=bonus.text))
        cards.append(
            {
                "verifier": name,
                "node": node,
                "y": _round(y),
                "label": shorten(label, BONUS_COLUMNS),
                "note": shorten(f"{name} · {bonus.source}", 26) if _is_written(step, name) else f"{name} · not written",
            }
        )
    return cards


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


def _round(value: float) -> float | int:
    return int(value) if value == int(value) else round(value, 1)
