"""The data of the inspector beside the tree: each node's decisions and distributions, the verdicts, the new text.

Everything here is data for ``textContent``: token text is made visible but not escaped. Rows are short lists, because
a step of a large tree must stay small; the docstring of the function that makes a row says what each place holds.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

from specviz.digits import CARRIED
from specviz.figures.bonus import bonus_fault
from specviz.figures.outcomes import LETTERS
from specviz.figures.text import listed, pieces, short_options, token_label
from specviz.figures.tree import node_label
from specviz.trace.schema import Decision, Row, Step, TokenText, TopK, Trace, Verdict, cut, options_key

COMPARISONS = ("uniform < threshold", "p > threshold", "token = drawn", "token = argmax")
FULL_DETAIL = 64
"""Trees up to this many nodes carry every recorded detail."""


def number(value: float | None, digits: int = 4) -> float | None:
    """``value`` with so many significant digits, to keep frames small; what is less than one stays so."""
    if value is None:
        return None
    short = float(f"{value:.{digits}g}")
    # The largest float rounds up to infinity.
    return value if not math.isfinite(short) or (short == 1 > value) else short


class TokenTable:
    """Collects the texts of the token ids that a frame mentions."""

    def __init__(self, step: Step):
        self._texts = step.text_of()
        self.used: dict[int, str] = {}

    def add(self, token: int) -> int:
        if token not in self.used:
            known = self._texts.get(token)
            self.used[token] = token_label(known) if known else f"#{token}"
        return token

    def top(self, top: TopK, limit: int) -> list[list[Any]]:
        """[ids, probabilities] of the first ``limit`` entries."""
        ids = [self.add(token) for token in top.ids[:limit]]
        return [ids, [number(p, CARRIED) for p in top.probs[:limit]]]

    def row(self, row: Row | None, limit: int) -> list[Any] | None:
        """[entropy, raw top-k, processed top-k], the last one 0 where it equals the raw one."""
        if row is None:
            return None
        processed = 0 if row.raw == row.processed else self.top(row.processed, limit)
        return [number(row.entropy), self.top(row.raw, limit), processed]


def node_columns(step: Step, tokens: TokenTable, shown: Collection[int]) -> dict[str, Any]:
    """Columns over the nodes: depth, rank, token id, uncut text, both probabilities, both rows.

    ``limits`` says how many entries of a distribution are carried for a node in sight and for a folded one.
    """
    nodes, texts = step.tree.nodes, step.text_of()
    recorded = max((len(node.target.raw.ids) for node in nodes), default=0)
    limits = _limits(len(nodes), recorded)
    limit = [limits[0] if node.id in shown else limits[1] for node in nodes]
    return {
        "depth": [node.depth for node in nodes],
        "rank": [node.rank for node in nodes],
        "token": [node.token for node in nodes],
        "text": [node_label(node, texts) for node in nodes],
        "q": [number(node.draft_prob, CARRIED) for node in nodes],
        "p": [number(node.target_prob, CARRIED) for node in nodes],
        "target": [tokens.row(node.target, k) for node, k in zip(nodes, limit, strict=True)],
        "draft": [tokens.row(node.draft, k) for node, k in zip(nodes, limit, strict=True)],
        "limits": limits,
    }


def verdict_rows(step: Step, tokens: TokenTable, shown: Collection[int]) -> list[dict[str, Any]]:
    """One entry a verifier, in the order they were run."""
    return [_verdict(step, verdict, tokens, shown) for verdict in step.verdicts.values()]


def commit_line(trace: Trace, position: int) -> list[list[Any]]:
    """[piece of text, visible token, origin ``accepted`` | ``bonus``] of every committed token of a step.

    Pieces are decoded with the few tokens before them, so that a character split over two steps comes out whole.
    """
    step = trace.steps[position]
    texts = {token: trace.prompt_text_of[token] for token in trace.prompt_tokens[-4:] if token in trace.prompt_text_of}
    before = list(trace.prompt_tokens[-4:])
    for earlier in trace.steps[max(0, position - 4) : position]:
        texts.update(earlier.text_of())
        before += earlier.committed
    texts.update(step.text_of())
    before = before[-4:]
    run = [texts.get(token) or TokenText(id=token, text=f"#{token}") for token in (*before, *step.committed)]
    accepted = len(step.verdicts[step.driver].path)
    return [
        [piece, token_label(token), "accepted" if i < accepted else "bonus"]
        for i, (piece, token) in enumerate(zip(pieces(run)[len(before) :], run[len(before) :], strict=True))
    ]


def summary(step: Step, position: int) -> str:
    """The step in one or two sentences, for the line under the picture and for screen readers."""
    verdict = step.verdicts[step.driver]
    texts = step.text_of()
    accepted = len(verdict.path)
    named = listed(verdict.path, lambda node: f"“{node_label(step.tree.nodes[node], texts)}”")
    drafted = len(step.tree.nodes) - 1
    taken = f"accepted {accepted} of {drafted} drafted tokens" + (f" ({named})" if named else "")
    bonus = token_label(texts.get(verdict.bonus.token) or TokenText(id=verdict.bonus.token, text=verdict.bonus.text))
    written = len(step.committed)
    if not drafted:
        rest = f"nothing was drafted; {step.driver} takes “{bonus}” from the {verdict.bonus.source}"
    elif written > accepted:
        rest = f"{step.driver} {taken}, then “{bonus}” from the {verdict.bonus.source}"
    else:
        until = "with them" if written == accepted else f"after {written} of them"
        rest = f"{step.driver} {taken}; the text ends {until} ({step.end_reason}), without the bonus token"
    said = f"Step {position + 1}: {rest}."
    others = [f"{name} {len(v.path)}" for name, v in step.verdicts.items() if name != step.driver]
    return said + (f" Accepted by the others: {', '.join(others)}." if others else "")


def _limits(size: int, recorded: int) -> tuple[int, int]:
    if size <= FULL_DETAIL:
        return recorded, recorded
    return (recorded, min(3, recorded)) if size <= 320 else (min(6, recorded), min(2, recorded))


def _verdict(step: Step, verdict: Verdict, tokens: TokenTable, shown: Collection[int]) -> dict[str, Any]:
    texts = step.text_of()
    bonus = verdict.bonus
    tokens.add(bonus.token)
    rules = {rule: place for place, rule in enumerate(dict.fromkeys(decision.rule for decision in verdict.decisions))}
    return {
        "verifier": verdict.verifier,
        "options": short_options(verdict.options),
        "optionsKey": cut(options_key(verdict.options)),
        "lossless": verdict.lossless,
        "path": verdict.path,
        "bonus": {
            "token": bonus.token,
            "text": token_label(texts.get(bonus.token) or TokenText(id=bonus.token, text=bonus.text)),
            "node": bonus.node,
            "source": bonus.source,
            "uniform": number(bonus.uniform, 7),
            "top": tokens.top(bonus.distribution, len(bonus.distribution.ids)),
            "fault": bonus_fault(step, verdict),
        },
        "thresholds": [number(threshold, CARRIED) for threshold in verdict.thresholds],
        "rules": list(rules),
        "decisions": [_decision(d, rules, tokens, d.node in shown) for d in verdict.decisions],
    }


def _decision(decision: Decision, rules: dict[str, int], tokens: TokenTable, full: bool) -> list[Any]:
    """[node, outcome letter, rule, comparison, uniform, p, q, token compared with, threshold, reason, residual].

    A decision about a folded node stops after the token: its threshold is in the verdict's column.
    """
    row: list[Any] = [
        decision.node,
        LETTERS[decision.outcome],
        rules[decision.rule],
        COMPARISONS.index(decision.comparison),
        number(decision.uniform, 7 if full else CARRIED),
        number(decision.p, 7 if full else CARRIED),
        number(decision.q, 7 if full else CARRIED),
        None if decision.expected is None else tokens.add(decision.expected),
    ]
    if full:
        row += [number(decision.threshold, 7), decision.reason]
        if decision.residual is not None:
            top = decision.residual.top
            row.append([number(decision.residual.mass, 7), *tokens.top(top, len(top.ids))])
    return row
