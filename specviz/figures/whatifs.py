"""The answer to a what-if question beside what was recorded, as the page shows it."""

from __future__ import annotations

from typing import Any

from specviz.figures.details import number
from specviz.figures.text import token_label
from specviz.figures.tree import STATES, node_label
from specviz.trace.schema import Bonus, Decision, Step, TokenText, Verdict
from specviz.trace.whatif_question import Alternative

NAMES = {"a": "accepted", "r": "rejected", "p": "passed, not chosen"}


def alternative_value(step: Step, answer: Alternative, beside: Verdict) -> dict[str, Any]:
    """Plain values: both paths and bonus tokens, every decision of either side, and where they differ.

    rows        [node, token, what was recorded, what would have been, whether they differ], ``[outcome letter,
    reason]`` each
                or null where that side did not examine the node
    differing   nodes whose outcome differs
    """
    texts = step.text_of()
    recorded = {decision.node: decision for decision in beside.decisions}
    now = {decision.node: decision for decision in answer.decisions}
    rows = []
    for node in dict.fromkeys((*recorded, *now)):
        before, after = recorded.get(node), now.get(node)
        differs = (before.outcome if before else None) != (after.outcome if after else None)
        rows.append([node, node_label(step.tree.nodes[node], texts), _decision(before), _decision(after), differs])
    return {
        "verifier": answer.verifier,
        "beside": beside.verifier,
        "options": dict(answer.options),
        "by": answer.by,
        "needs": answer.needs,
        "difference": None if answer.difference is None else float(f"{answer.difference:.2g}"),
        "caveat": answer.caveat,
        "paths": [_path(step, beside.path), _path(step, answer.path)],
        "bonuses": [_bonus(beside.bonus, texts), _bonus(answer.bonus, texts)],
        "samePath": answer.path == beside.path,
        "sameBonus": answer.bonus is not None and answer.bonus.token == beside.bonus.token,
        "rows": rows,
        "differing": [row[0] for row in rows if row[4]],
        "thresholds": [number(threshold, 7) for threshold in answer.thresholds],
    }


def _decision(decision: Decision | None) -> list[str] | None:
    return None if decision is None else [STATES[decision.outcome], decision.reason]


def _path(step: Step, path: tuple[int, ...]) -> list[list[Any]]:
    texts = step.text_of()
    return [[node, node_label(step.tree.nodes[node], texts)] for node in path]


def _bonus(bonus: Bonus | None, texts: dict[int, TokenText]) -> dict[str, Any] | None:
    if bonus is None:
        return None
    known = texts.get(bonus.token) or TokenText(id=bonus.token, text=bonus.text)
    return {"text": token_label(known), "node": bonus.node, "source": bonus.source, "uniform": bonus.uniform}
