"""The step judged again with the engine's own coins, by the rule it says it has: the same path?"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from specviz.recorder.checks.processors import reread
from specviz.recorder.checks.results import PATH_LACKS, agreed, lacked, tolerance_of_format
from specviz.recorder.checks.rows import View
from specviz.recorder.checks.rule import OURS, Judged, Lacking, as_tensor, claimed, ready
from specviz.recorder.raw_step import BONUS, RawStep
from specviz.trace.checks import Check
from specviz.trace.schema import LONGEST_NAME, Bonus, Decision, OtherMode, ProcessorMode, Residual, TopK, Verdict, cut

if TYPE_CHECKING:  # at run time it would import torch
    import torch

    from specviz.dice import Draw
    from specviz.verifiers import Walk

DECISIONS = "decisions"
REJUDGED = "rejudged"
RECORDED = 10
"""Entries of a distribution that a verdict keeps."""


class _NoCoin(Exception):
    """A walk asks for a coin that the engine has not recorded."""

    def __init__(self, node: int):
        super().__init__(node)
        self.node = node


class _Luck:
    """The engine's coins and draws. A coin that rounding may have put on either side falls as the engine says."""

    def __init__(self, view: View):
        self.view = view
        self.near = tolerance_of_format(view.step.dtype)
        self.fallen: dict[int, bool] = {}
        self.path = {*view.step.accepted}

    def accept(self, node: int, threshold: float) -> tuple[bool, float | None]:
        uniform = self.view.step.coins.get(node)
        if uniform is None:
            raise _NoCoin(node)
        accepted = uniform < threshold
        if abs(uniform - threshold) <= self.near and threshold > 0:
            accepted = node in self.path
        self.fallen[node] = accepted
        return accepted, uniform

    def draw(self, node: int, weights: torch.Tensor) -> Draw:
        from specviz.dice import Draw

        step, walk = self.view.step, self.view.walk
        if node in walk:
            place = walk.index(node)
            if place < len(self.view.emitted):
                bonus = place == len(step.accepted)
                return Draw(self.view.emitted[place], step.coins.get(BONUS) if bonus else step.coins.get(node))
        if node == walk[-1] and step.bonus is None:
            # What was drawn there was not said: none of its children, unless nothing else can be drawn.
            others = weights.clone()
            others[[step.tokens[child] for child in self.view.children[node]]] = 0
            weights = others if bool((others > 0).any()) else weights
        return Draw(int(weights.argmax()), None)

    def parted(self) -> int | None:
        """The first node that fell otherwise than the engine says."""
        return next((node for node, accepted in self.fallen.items() if accepted != (node in self.path)), None)


def decisions(view: View) -> Check:
    """Each coin against the number that the engine itself compared it with: accepted where it is smaller."""
    step = view.step
    tossed = [node for node in step.coins if node in step.thresholds and 0 < node < len(view)]
    if step.rule is None or step.rule.partition(":")[0] != "rejection":
        return lacked(DECISIONS, "a rule that decides each node by its own coin (rule rejection)")
    if not tossed:
        return lacked(DECISIONS, "coins and the numbers that they were compared with (coins, thresholds)")
    if not view.hangs_together:
        return lacked(DECISIONS, PATH_LACKS)
    wrong: list[tuple[int | None, str]] = []
    for node in tossed:
        coin, threshold, accepted = step.coins[node], step.thresholds[node], node in step.accepted
        if (accepted and coin > threshold) or (not accepted and coin < threshold):
            said = "accepted" if accepted else "rejected"
            wrong.append(
                (node, f"{view.named(node).capitalize()} was {said} with coin {coin:.4g} against {threshold:.4g}")
            )
    return agreed(DECISIONS, len(tossed), wrong)


def rejudged(view: View) -> tuple[Check, Verdict | None]:
    """The path that the rule takes on the engine's rows and coins, and our verdict where that could be walked."""
    step = view.step
    if not view.hangs_together:
        return lacked(REJUDGED, PATH_LACKS), None
    try:
        judged = claimed(view)
    except Lacking as lack:
        return lacked(REJUDGED, str(lack)), _beside(view)
    if judged.uses_q and not any(node > 0 for node in step.coins) and len(view) > 1:
        return lacked(REJUDGED, "coins"), None
    luck = _Luck(view)
    try:
        walk = _walk(judged, luck)
    except _NoCoin as missing:
        parted = luck.parted()
        if parted is None or step.rule is None:
            return lacked(REJUDGED, f"the coin of {view.named(missing.node)}"), None
        return agreed(REJUDGED, 1, [(parted, _otherwise(view, judged, parted))]), None
    verdict = _verdict(judged, walk, step)
    if step.rule is None:
        return lacked(REJUDGED, "the rule that the engine says it has (rule)"), verdict
    if list(walk.path) == step.accepted or _rounding_explains(judged):
        return agreed(REJUDGED, 1, []), verdict
    both = zip([*walk.path, -1], [*step.accepted, -1], strict=False)
    ours, theirs = next((a, b) for a, b in both if a != b)
    parted = luck.parted() or (ours if ours > 0 else theirs)
    return agreed(REJUDGED, 1, [(parted, _otherwise(view, judged, parted))]), verdict


def _beside(view: View) -> Verdict | None:
    """What rejection makes of the rows and coins of an engine whose rule specviz does not have."""
    if not any(node > 0 for node in view.step.coins):
        return None
    try:
        judged = ready(view, OURS)
        return _verdict(judged, _walk(judged, _Luck(view)), view.step)
    except (Lacking, _NoCoin):
        return None


def _walk(judged: Judged, luck: _Luck) -> Walk:
    from specviz.verifiers.base import walk_judged

    return walk_judged(judged.verifier, judged.judgement, judged.tree, judged.options, luck)[0]


def _rounding_explains(judged: Judged) -> bool:
    """Whether the engine's path is taken on rows that were rounded otherwise."""
    for other in judged.rounded():
        try:
            if list(_walk(other, _Luck(judged.view)).path) == judged.view.step.accepted:
                return True
        except _NoCoin:
            continue
    return False


def _otherwise(view: View, judged: Judged, node: int) -> str:
    said = "accepted" if node in view.step.accepted else "did not accept"
    coin, threshold = view.step.coins.get(node), float(judged.judgement.thresholds[node])
    numbers = f"threshold {threshold:.4g}" if coin is None else f"coin {coin:.4g}, threshold {threshold:.4g}"
    return f"The engine {said} {view.named(node)}; {judged.verifier.name} does otherwise on its rows ({numbers})"


def _verdict(judged: Judged, walk: Walk, step: RawStep) -> Verdict:
    """Ours, to stand beside the engine's. A bonus that was not drawn there is not made up."""
    verifier, judgement, end = judged.verifier, judged.judgement, walk.end
    numbers = {name: getattr(judgement, name).tolist() for name in ("thresholds", "p", "q")}
    thresholds = [1.0, *numbers["thresholds"][1:]]
    q = numbers["q"] if judged.uses_q or step.proposal == "top_k" else [math.nan] * len(thresholds)
    residuals: dict[int, Residual] = {}
    rejected = [ruling.node for ruling in walk.rulings if ruling.outcome == "rejected"]
    if judgement.residuals is not None and rejected:
        left = judgement.residuals(rejected)
        for node, mass, ids, probs in zip(
            rejected, left.mass.tolist(), left.ids.tolist(), left.probs.tolist(), strict=True
        ):
            residuals[node] = Residual(mass=max(0.0, mass), top=_top(ids, probs))
    bonus = None
    if step.bonus is not None and list(walk.path) == step.accepted:
        row = judgement.distribution(end)
        if step.bonus < len(row) and float(row[step.bonus]) > 0:
            probs, ids = row.topk(min(RECORDED, len(row)))
            bonus = Bonus(
                token=step.bonus,
                text=None,
                node=end.node,
                source=end.source,
                uniform=step.coins.get(BONUS),
                distribution=_top(ids.tolist(), probs.tolist()),
            )
    return Verdict(
        verifier=verifier.name,
        options=dict(judged.options),
        lossless="not proved",
        thresholds=tuple(None if math.isnan(value) else value for value in thresholds),
        decisions=tuple(
            Decision(
                node=ruling.node,
                rule=cut(verifier.rule, LONGEST_NAME),
                comparison=verifier.comparison,
                threshold=_number(thresholds[ruling.node]),
                p=_number(numbers["p"][ruling.node]),
                q=_number(q[ruling.node]),
                uniform=ruling.uniform,
                expected=ruling.expected,
                outcome=ruling.outcome,
                reason=cut(ruling.reason),
                residual=residuals.get(ruling.node),
            )
            for ruling in walk.rulings
        ),
        path=walk.path,
        bonus=bonus,
        other_mode=_other_mode(judged, walk),
    )


class _OtherLuck(_Luck):
    """The engine's luck where rows are others than those it judged by: what it drew from these is not known."""

    def __init__(self, view: View, same: set[int]):
        super().__init__(view)
        self.same = same
        """Nodes whose rows are the same."""

    def draw(self, node: int, weights: torch.Tensor) -> Draw:
        from specviz.dice import Draw

        if node in self.same:
            return super().draw(node, weights)
        if int((weights > 0).sum()) != 1:
            raise _NoCoin(node)
        return Draw(int(weights.argmax()), None)


def _other_mode(judged: Judged, walk: Walk) -> OtherMode | None:
    """What the rule makes of the step where its raw rows are processed by the other text; None where that is the same,
    or not known. Of rows that are not of the mode that the engine says it has, that one is the other."""
    view = judged.view
    if view.step.processors is None:
        return None
    try:
        rows = reread(view)
    except Lacking:
        return None
    said = rows.stated.said.mode
    mode: ProcessorMode = said if rows.is_of != said else "frozen" if said == "exact" else "exact"
    again = rows.rows(mode)
    same = {node for row, node in enumerate(rows.nodes) if (rows.rows("exact")[row] == rows.rows("frozen")[row]).all()}
    if rows.is_of is not None and same >= {*rows.nodes}:
        return None
    target = judged.target.clone()
    for row, node in enumerate(rows.nodes):
        target[node] = as_tensor(again[row])
    other = Judged(view, judged.verifier, judged.options, judged.tree, target)
    try:
        walked = _walk(other, _OtherLuck(view, same if rows.is_of is not None else set()))
    except _NoCoin:
        return None
    size, ours, theirs = len(view), _states(walk, len(view)), _states(walked, len(view))
    nodes = tuple(node for node in range(1, size) if ours[node] != theirs[node])
    bonus = _bonus_of(other, walked, same if list(walked.path) == view.step.accepted else set())
    if not nodes and bonus in (None, view.step.bonus):
        return None
    return OtherMode(path=walked.path, bonus=bonus, nodes=nodes, mode=mode if mode == said else None)


def _bonus_of(judged: Judged, walk: Walk, same: set[int]) -> int | None:
    """The bonus token, where nothing else can be drawn, or the engine drew it from the same row."""
    row = judged.judgement.distribution(walk.end)
    if int((row > 0).sum()) == 1:
        return int(row.argmax())
    return judged.view.step.bonus if walk.end.node in same and not walk.end.rejected else None


def _states(walk: Walk, size: int) -> list[str]:
    """What became of every node."""
    states = ["not examined"] * size
    for ruling in walk.rulings:
        states[ruling.node] = ruling.outcome
    for node in walk.path:
        states[node] = "accepted"
    return states


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _top(ids: list[int], probs: list[float]) -> TopK:
    kept = [(token, min(float(f"{p:.6g}"), 1.0)) for token, p in zip(ids, probs, strict=True) if p > 0][:RECORDED]
    return TopK(ids=tuple(token for token, _ in kept), probs=tuple(p for _, p in kept))
