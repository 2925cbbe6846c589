"""The what-if panel: the answer to a what-if question beside the recorded verdict, and where they differ."""

from __future__ import annotations

from specviz.figures.node import number
from specviz.figures.outcomes import LETTERS
from specviz.figures.phases import comparison
from specviz.figures.text import token_label, token_of
from specviz.figures.tree import node_label
from specviz.figures.whatif_types import Judged, OtherBonus, PathNodes, WhatIfRow, WhatIfValue
from specviz.trace.schema import Bonus, Decision, Step, TokenText, Verdict
from specviz.trace.whatif_question import FORCED, Alternative, Question


def alternative_value(step: Step, question: Question, answer: Alternative, beside: Verdict) -> WhatIfValue:
    """Plain values: both paths and bonus tokens, every decision of either side, and where they differ."""
    texts = step.text_of()
    recorded = {decision.node: decision for decision in beside.decisions}
    now = {decision.node: decision for decision in answer.decisions}
    rows: list[WhatIfRow] = []
    for node in dict.fromkeys((*recorded, *now)):
        before, after = recorded.get(node), now.get(node)
        differs = (before.outcome if before else None) != (after.outcome if after else None)
        rows.append(
            {
                "node": node,
                "text": node_label(step.tree.nodes[node], texts),
                "recorded": _decision(step, before),
                "now": _decision(step, after),
                "differs": differs,
            }
        )
    return {
        "verifier": answer.verifier,
        "beside": beside.verifier,
        "options": dict(answer.options),
        "by": answer.by,
        "needs": answer.needs,
        "difference": None if answer.difference is None else float(f"{answer.difference:.2g}"),
        "caveat": answer.caveat,
        "recordedPath": _path(step, beside.path),
        "path": _path(step, answer.path),
        "recordedBonus": _bonus(beside.bonus, texts),
        "bonus": _bonus(answer.bonus, texts),
        "samePath": answer.path == beside.path,
        "sameBonus": bool(answer.bonus and beside.bonus and answer.bonus.token == beside.bonus.token),
        "rows": rows,
        "differing": [row["node"] for row in rows if row["differs"]],
        "unused": unused(step, question, answer),
        "thresholds": [number(threshold, 7) for threshold in answer.thresholds],
    }


def unused(step: Step, question: Question, answer: Alternative) -> list[str]:
    """One sentence for each change of a question that its answer does not depend on."""
    name, texts = answer.verifier, step.text_of()
    examined = {decision.node: decision for decision in answer.decisions}

    def told(node: int) -> str:
        return f"node {node} “{node_label(step.tree.nodes[node], texts)}”"

    def missed(node: int) -> str:
        whole = "it accepted the path through that node as a whole"
        return whole if node in answer.path else "it did not come to that node"

    said = []
    for node in question.coins:
        if node in question.forced:
            said.append(f"The coin of {told(node)} was not looked at: the node is forced by hand.")
        elif node not in examined:
            said.append(f"The coin of {told(node)} was not looked at by {name}: {missed(node)}.")
    for node, accepted in question.forced.items():
        if node not in examined:
            what = "accepted" if accepted else "rejected"
            said.append(f"That {told(node)} is {what} was not looked at by {name}: {missed(node)}.")
    drawn = any(d.comparison == "token = drawn" and d.uniform is not None for d in answer.decisions)
    if question.bonus_uniform is not None and answer.bonus and answer.bonus.uniform is None and not drawn:
        why = "takes the likeliest token" if answer.bonus.source == "argmax" else "was forced to its bonus token"
        said.append(f"The bonus coin was not looked at: {name} {why}.")
    return said


def _decision(step: Step, decision: Decision | None) -> Judged | None:
    if decision is None:
        return None
    by_hand = decision.reason == FORCED
    return {"outcome": LETTERS[decision.outcome], "said": FORCED if by_hand else comparison(step, decision)}


def _path(step: Step, path: tuple[int, ...]) -> PathNodes:
    texts = step.text_of()
    return {"node": list(path), "text": [node_label(step.tree.nodes[node], texts) for node in path]}


def _bonus(bonus: Bonus | None, texts: dict[int, TokenText]) -> OtherBonus | None:
    if bonus is None:
        return None
    text = token_label(token_of(bonus.token, texts, bonus.text))
    return {"text": text, "node": bonus.node, "source": bonus.source, "uniform": bonus.uniform}
