"""The data of the inspector beside the tree: each node's decisions and distributions, the verdicts, the new text.

Everything here is data for ``textContent``: token text is made visible but not escaped. What there are many of comes in
columns, because a step of a large tree must stay small.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Literal, overload

from specviz.digits import CARRIED
from specviz.figures.bonus import bonus_fault
from specviz.figures.frame_types import (
    Biases,
    Commit,
    DecisionDetails,
    Decisions,
    DepthSums,
    Distributions,
    Nodes,
    Residual,
    Top,
    TopColumns,
)
from specviz.figures.frame_types import Bonus as BonusColumns
from specviz.figures.frame_types import OtherMode as OtherModeColumns
from specviz.figures.frame_types import Verdict as VerdictColumns
from specviz.figures.outcomes import LETTERS
from specviz.figures.text import listed, pieces, short_options, token_label, token_of
from specviz.figures.tree import node_label
from specviz.trace.calibration import depth_sums
from specviz.trace.metrics import new_tokens
from specviz.trace.schema import (
    Bonus,
    Decision,
    OtherMode,
    Processors,
    Row,
    Step,
    TopK,
    Trace,
    Verdict,
    cut,
    options_key,
)

COMPARISONS = ("uniform < threshold", "p > threshold", "token = drawn", "token = argmax")
FULL_DETAIL = 64
"""Trees up to this many nodes carry every recorded detail."""
EXACT = 17
"""Digits that give any number back to the last bit: a page copies what was compared as it was recorded."""
ROW_DIGITS = 6
"""Digits that the entries of a row are recorded with."""


@overload
def number(value: float, digits: int = 4) -> float: ...
@overload
def number(value: float | None, digits: int = 4) -> float | None: ...
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
            self.used[token] = token_label(token_of(token, self._texts))
        return token

    def top(self, top: TopK, limit: int | None = None) -> Top:
        """The first ``limit`` entries; by default all."""
        ids = [self.add(token) for token in top.ids[:limit]]
        return {"ids": ids, "probs": [number(p, ROW_DIGITS) for p in top.probs[:limit]]}

    def distributions(self, rows: Sequence[Row | None], limits: Sequence[int]) -> Distributions:
        """One model's rows, by node, with so many entries each."""
        known = [(node, row, limit) for node, (row, limit) in enumerate(zip(rows, limits, strict=True)) if row]
        digits = EXACT if len(rows) <= FULL_DETAIL else CARRIED
        raw = {node: self.top(row.raw, limit) for node, row, limit in known if row.raw}
        processed = {
            node: self.top(row.processed, limit)
            for node, row, limit in known
            if row.processed and row.processed != row.raw
        }
        return {
            "node": [node for node, _, _ in known],
            "entropy": [number(row.entropy, digits) for _, row, _ in known],
            "unprocessed": [node for node, row, _ in known if row.processed is None],
            "raw": _top_columns(raw),
            "processed": _top_columns(processed),
        }


def _top_columns(tops: Mapping[int, Top]) -> TopColumns:
    return {
        "node": list(tops),
        "ids": [top["ids"] for top in tops.values()],
        "probs": [top["probs"] for top in tops.values()],
    }


def node_columns(step: Step, tokens: TokenTable, shown: Collection[int]) -> Nodes:
    """What is known of every node; those in ``shown`` are in sight at first."""
    nodes, texts = step.tree.nodes, step.text_of()
    tops = [top for node in nodes if node.target for top in (node.target.raw, node.target.processed) if top]
    recorded = max((len(top.ids) for top in tops), default=0)
    limits = _limits(len(nodes), recorded)
    limit = [limits[0] if node.id in shown else limits[1] for node in nodes]

    def carried(node: int) -> int:
        return EXACT if node in shown else CARRIED

    return {
        "depth": [node.depth for node in nodes],
        "rank": [node.rank for node in nodes],
        "token": [node.token for node in nodes],
        "text": [node_label(node, texts) for node in nodes],
        "q": [number(node.draft_prob, carried(node.id)) for node in nodes],
        "p": [number(node.target_prob, carried(node.id)) for node in nodes],
        "target": tokens.distributions([node.target for node in nodes], limit),
        "draft": tokens.distributions([node.draft for node in nodes], limit),
        "optimum": None if all(node.optimum is None for node in nodes) else [number(node.optimum, 6) for node in nodes],
        "limits": {"shown": limits[0], "folded": limits[1]},
        "outside": _recorded([number(node.p_outside, carried(node.id)) for node in nodes]),
        "confidence": _recorded(
            [number(node.draft.confidence if node.draft else None, carried(node.id)) for node in nodes]
        ),
        "bias": _biases(step, limit),
        "moved": _recorded(
            [number(node.processed.moved if node.processed else None, carried(node.id)) for node in nodes]
        ),
        "apart": _recorded(
            [number(node.processed.apart if node.processed else None, carried(node.id)) for node in nodes]
        ),
    }


def _recorded(values: list[float | None]) -> list[float | None] | None:
    """The column, if there is anything in it: most runs have no such thing, and large trees many nodes."""
    return None if all(value is None for value in values) else values


def _biases(step: Step, limits: Sequence[int]) -> Biases:
    """Of every node whose draft row has one, as many entries as are carried of it."""
    known = [(node.id, node.draft.bias) for node in step.tree.nodes if node.draft and node.draft.bias is not None]
    return {
        "node": [node for node, _ in known],
        "by": [[number(value, ROW_DIGITS) for value in bias[: limits[node]]] for node, bias in known],
    }


def draft_sums(step: Step) -> DepthSums:
    """What the totals of any range of steps are added up from."""
    found = depth_sums(step)
    return {"drafted": [one.drafted for one in found], "q": [one.q for one in found], "p": [one.p for one in found]}


def verdict_rows(
    step: Step,
    tokens: TokenTable,
    shown: Collection[int],
    end_tokens: Collection[int],
    processors: Processors | None = None,
    least: int = 0,
) -> list[VerdictColumns]:
    """One entry a verifier, in the order they were run."""
    return [
        _verdict(step, verdict, tokens, shown, new_tokens(step, verdict.verifier, end_tokens, least), processors)
        for verdict in step.verdicts.values()
    ]


def commit_columns(trace: Trace, position: int) -> Commit:
    """Every committed token of a step.

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
    run = [token_of(token, texts) for token in (*before, *step.committed)]
    accepted, emitted = len(step.verdicts[step.driver].path), step.emitted()
    origin: list[Literal["accepted", "bonus", "other"]] = [
        "other" if token not in emitted[i : i + 1] else "accepted" if i < accepted else "bonus"
        for i, token in enumerate(step.committed)
    ]
    return {
        "piece": pieces(run)[len(before) :],
        "label": [token_label(token) for token in run[len(before) :]],
        "origin": origin,
    }


def summary(step: Step, position: int) -> str:
    """The step in one or two sentences, for the line under the picture and for screen readers."""
    verdict = step.verdicts[step.driver]
    texts = step.text_of()
    accepted = len(verdict.path)
    named = listed(verdict.path, lambda node: f"“{node_label(step.tree.nodes[node], texts)}”")
    drafted = len(step.tree.nodes) - 1
    taken = f"accepted {accepted} of {drafted} drafted tokens" + (f" ({named})" if named else "")
    written = len(step.committed)
    bonus = "no bonus token"
    if verdict.bonus is not None:
        bonus = f"“{token_label(token_of(verdict.bonus.token, texts, verdict.bonus.text))}”"
        bonus += f" from the {verdict.bonus.source}" if verdict.bonus.source else ""
    if not drafted:
        rest = f"nothing was drafted; {step.driver} takes {bonus}"
    elif verdict.bonus is None:
        rest = f"{step.driver} {taken}; no bonus token was recorded"
    elif written > accepted:
        rest = f"{step.driver} {taken}, then {bonus}"
    elif step.end_reason is None:
        rest = f"{step.driver} {taken}; {written} token{'' if written == 1 else 's'} became text"
    else:
        until = "with them" if written == accepted else f"after {written} of them"
        rest = f"{step.driver} {taken}; the text ends {until} ({step.end_reason}), without the bonus token"
        if thrown := step.thrown_away():
            rest += f"; thrown away: {listed(thrown, lambda node: f'“{node_label(step.tree.nodes[node], texts)}”')}"
    said = f"Step {position + 1}: {rest}."
    others = [f"{name} {len(v.path)}" for name, v in step.verdicts.items() if name != step.driver]
    return said + (f" Accepted by the others: {', '.join(others)}." if others else "")


def _limits(size: int, recorded: int) -> tuple[int, int]:
    if size <= FULL_DETAIL:
        return recorded, recorded
    return (recorded, min(3, recorded)) if size <= 320 else (min(6, recorded), min(2, recorded))


def _verdict(
    step: Step,
    verdict: Verdict,
    tokens: TokenTable,
    shown: Collection[int],
    emitted: int,
    processors: Processors | None,
) -> VerdictColumns:
    rules = list(dict.fromkeys(decision.rule for decision in verdict.decisions))
    return {
        "verifier": verdict.verifier,
        "options": short_options(verdict.options),
        "optionsKey": cut(options_key(verdict.options)) if _is_checked_as_run(processors) else None,
        "lossless": verdict.lossless,
        "path": list(verdict.path),
        "emitted": emitted,
        "bonus": None if verdict.bonus is None else _bonus(step, verdict, verdict.bonus, tokens),
        "thresholds": [
            number(threshold, EXACT if node in shown else CARRIED) for node, threshold in enumerate(verdict.thresholds)
        ],
        "acceptance": None
        if verdict.expected_acceptance is None
        else [number(share, 6) for share in verdict.expected_acceptance],
        "rules": rules,
        "decisions": _decisions(verdict, rules, tokens, shown),
        "otherMode": _other_mode(step, verdict.other_mode, processors),
    }


def _is_checked_as_run(processors: Processors | None) -> bool:
    """A check without processors speaks of rows that follow from the text on the path. Those of the frozen mode do not,
    and a class of the user's may remember what it was called with."""
    return processors is None or (processors.mode == "exact" and not any(":" in one.name for one in processors.chosen))


def _other_mode(step: Step, other: OtherMode | None, processors: Processors | None) -> OtherModeColumns | None:
    if other is None or processors is None:
        return None
    return {
        "mode": other.mode or ("frozen" if processors.mode == "exact" else "exact"),
        "path": list(other.path),
        "bonus": None if other.bonus is None else token_label(token_of(other.bonus, step.text_of())),
        "nodes": list(other.nodes),
    }


def _bonus(step: Step, verdict: Verdict, bonus: Bonus, tokens: TokenTable) -> BonusColumns:
    tokens.add(bonus.token)
    return {
        "token": bonus.token,
        "text": token_label(token_of(bonus.token, step.text_of(), bonus.text)),
        "node": bonus.node,
        "source": bonus.source,
        "uniform": number(bonus.uniform, EXACT),
        "top": tokens.top(bonus.distribution) if bonus.distribution else None,
        "draftRank": bonus.draft_rank,
        "fault": bonus_fault(step, verdict),
    }


def _decisions(verdict: Verdict, rules: list[str], tokens: TokenTable, shown: Collection[int]) -> Decisions:
    """Of a decision about a folded node a few digits are carried, and no details."""
    taken, places = verdict.decisions, {rule: place for place, rule in enumerate(rules)}
    full = [decision.node in shown for decision in taken]
    digits = [EXACT if is_full else CARRIED for is_full in full]
    detailed = [decision for decision, is_full in zip(taken, full, strict=True) if is_full]
    details: DecisionDetails = {
        "at": [place for place, is_full in enumerate(full) if is_full],
        "threshold": [number(decision.threshold, EXACT) for decision in detailed],
        "reason": [decision.reason for decision in detailed],
        "residual": [_residual(decision, tokens) for decision in detailed],
    }
    return {
        "node": [decision.node for decision in taken],
        "outcome": "".join(LETTERS[decision.outcome] for decision in taken),
        "rule": [places[decision.rule] for decision in taken],
        "comparison": [
            None if decision.comparison is None else COMPARISONS.index(decision.comparison) for decision in taken
        ],
        "uniform": [number(decision.uniform, n) for decision, n in zip(taken, digits, strict=True)],
        "p": [number(decision.p, n) for decision, n in zip(taken, digits, strict=True)],
        "q": [number(decision.q, n) for decision, n in zip(taken, digits, strict=True)],
        "expected": [None if decision.expected is None else tokens.add(decision.expected) for decision in taken],
        "details": details,
    }


def _residual(decision: Decision, tokens: TokenTable) -> Residual | None:
    residual = decision.residual
    if residual is None:
        return None
    top = tokens.top(residual.top)
    return {"mass": number(residual.mass, EXACT), "ids": top["ids"], "probs": top["probs"]}
