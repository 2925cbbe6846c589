"""The totals panel: acceptance by depth and by sibling rank per verifier as counts, and how the draft's numbers fit."""

from __future__ import annotations

from collections.abc import Sequence

from specviz.figures.advice import advice_totals, rank_totals
from specviz.figures.totals_types import (
    AgainstTotals,
    AtNodes,
    CalibrationTotals,
    ConfidenceTotals,
    Counts,
    OutsideTotals,
    SharedTotals,
    Totals,
    VerifierTotals,
)
from specviz.trace import metrics
from specviz.trace.calibration import (
    Interval,
    calibration_by_depth,
    confidence_by_depth,
    outside_vocabulary,
    wilson,
)
from specviz.trace.intervals import against, efficiency_interval, ranks_by_step, share_interval
from specviz.trace.schema import Step, Trace


def run_totals(trace: Trace, verifiers: Sequence[str]) -> Totals:
    """Counts, never rates alone.

    A verifier that some step does not know (a fork with other verifiers) is counted over the steps that know it.
    Another engine stands alone over all its steps, and beside specviz's rules, in ``shared``, over the steps that each
    of them judged: those with everything that this takes.
    """
    totals = [_totals(trace, trace.steps, name) for name in verifiers]
    known = [total for total in totals if total["steps"]]
    shared: SharedTotals | None = None
    if trace.engine is not None and len(known) > 1:
        steps = metrics.same_steps(trace.steps, [total["verifier"] for total in known])
        shared = {"steps": len(steps), "verifiers": [_totals(trace, steps, total["verifier"]) for total in known]}
        known = [total for total in known if total["verifier"] == trace.engine.name]
    return {
        "steps": len(trace.steps),
        "tokens": len(trace.output_tokens()),
        "thrown": sum(len(step.thrown_away()) for step in trace.steps),
        "formulas": {name: metrics.FORMULAS[name] for name in _SHOWN},
        "verifiers": known,
        "shared": shared,
        "against": _against(trace, verifiers),
        "calibration": _calibration(trace.steps),
        "confidence": _confidence(trace.steps),
        "outside": _outside(trace.steps),
        "ranks": rank_totals(trace.steps),
        "advice": advice_totals(trace),
    }


_SHOWN = ("block_efficiency", "acceptance_by_depth", "acceptance_by_rank", "optimum")


def _totals(trace: Trace, among: Sequence[Step], name: str) -> VerifierTotals:
    steps = tuple(step for step in among if name in step.verdicts)
    known = trace if len(steps) == len(trace.steps) else trace.model_copy(update={"steps": steps})
    lengths = metrics.emitted_lengths(known, name)
    emitted, interval = sum(lengths), efficiency_interval(lengths)
    by_depth = metrics.acceptance_by_depth(steps, name)
    return {
        "verifier": name,
        "drives": sum(step.driver == name for step in steps),
        "steps": len(steps),
        "accepted": sum(metrics.accepted_lengths(steps, name)),
        "emitted": emitted,
        "efficiency": round(emitted / len(steps), 4) if steps else None,
        "low": _end(interval, 0),
        "high": _end(interval, 1),
        "depth": _counts(by_depth, [wilson(*pair) for pair in by_depth]),
        "rank": _ranks(steps, name),
        "atNodes": _at_nodes(metrics.node_acceptance(steps, name)),
    }


def _at_nodes(found: metrics.NodeAcceptance | None) -> AtNodes | None:
    if found is None:
        return None
    return {
        "nodes": found.nodes,
        "accepted": found.accepted,
        "expected": round(found.expected, 6),
        "optimum": round(found.optimum, 6),
    }


def _ranks(steps: Sequence[Step], name: str) -> Counts:
    pairs = metrics.acceptance_by_rank(steps, name)
    return _counts(pairs, [share_interval(one) for one in ranks_by_step(steps, name)] if pairs else [])


def _counts(pairs: Sequence[tuple[int, int]], intervals: Sequence[Interval | None]) -> Counts:
    return {
        "accepted": [accepted for accepted, _ in pairs],
        "of": [of for _, of in pairs],
        "least": [_end(interval, 0) for interval in intervals],
        "most": [_end(interval, 1) for interval in intervals],
    }


def _against(trace: Trace, verifiers: Sequence[str]) -> list[AgainstTotals]:
    driver = trace.steps[-1].driver if trace.steps else None
    pairs = [against(trace, name, driver) for name in verifiers if driver is not None and name != driver]
    return [
        {
            "verifier": one.verifier,
            "other": one.other,
            "steps": one.steps,
            "parted": one.parted,
            "value": _rounded(one.value) or 0.0,
            "low": _end(one.interval, 0),
            "high": _end(one.interval, 1),
            "noise": one.noise,
        }
        for one in pairs
        if one is not None
    ]


def _calibration(steps: Sequence[Step]) -> CalibrationTotals:
    found = calibration_by_depth(steps)
    return {
        "steps": [one.steps for one in found],
        "drafted": [one.drafted for one in found],
        "q": [_rounded(one.q) for one in found],
        "p": [_rounded(one.p) for one in found],
        "low": [_end(one.off, 0) for one in found],
        "high": [_end(one.off, 1) for one in found],
        "accepted": [one.accepted for one in found],
        "reached": [one.reached for one in found],
        "least": [_end(one.share, 0) for one in found],
        "most": [_end(one.share, 1) for one in found],
    }


def _confidence(steps: Sequence[Step]) -> ConfidenceTotals | None:
    found = confidence_by_depth(steps)
    if not found:
        return None
    return {
        "nodes": [one.nodes for one in found],
        "said": [_rounded(one.said) for one in found],
        "accepted": [one.accepted for one in found],
        "least": [_end(one.share, 0) for one in found],
        "most": [_end(one.share, 1) for one in found],
    }


def _outside(steps: Sequence[Step]) -> OutsideTotals | None:
    found = outside_vocabulary(steps)
    if found is None:
        return None
    return {
        "nodes": found.nodes,
        "steps": found.steps,
        "p": round(found.p, _PLACES),
        "low": _end(found.interval, 0),
        "high": _end(found.interval, 1),
        "accepted": found.accepted,
    }


_PLACES = 6


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _PLACES)


def _end(interval: Interval | None, side: int) -> float | None:
    return None if interval is None else round(interval[side], _PLACES)
