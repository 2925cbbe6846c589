"""The totals panel: acceptance by depth and by sibling rank over the run, per verifier, as counts."""

from __future__ import annotations

from collections.abc import Sequence

from specviz.figures.block_types import Counts, Totals, VerifierTotals
from specviz.trace import metrics
from specviz.trace.schema import Trace


def run_totals(trace: Trace, verifiers: Sequence[str]) -> Totals:
    """Counts, never rates alone.

    A verifier that some step does not know (a fork with other verifiers) is counted over the steps that know it.
    """
    totals = [_totals(trace, name) for name in verifiers]
    return {
        "steps": len(trace.steps),
        "tokens": len(trace.output_tokens()),
        "formulas": {name: metrics.FORMULAS[name] for name in _SHOWN},
        "verifiers": [total for total in totals if total["steps"]],
    }


_SHOWN = ("block_efficiency", "acceptance_by_depth", "acceptance_by_rank")


def _totals(trace: Trace, name: str) -> VerifierTotals:
    steps = tuple(step for step in trace.steps if name in step.verdicts)
    known = trace if len(steps) == len(trace.steps) else trace.model_copy(update={"steps": steps})
    emitted = sum(metrics.emitted_lengths(known, name))
    return {
        "verifier": name,
        "drives": sum(step.driver == name for step in steps),
        "steps": len(steps),
        "accepted": sum(metrics.accepted_lengths(steps, name)),
        "emitted": emitted,
        "efficiency": round(emitted / len(steps), 4) if steps else None,
        "depth": _counts(metrics.acceptance_by_depth(steps, name)),
        "rank": _counts(metrics.acceptance_by_rank(steps, name)),
    }


def _counts(pairs: Sequence[tuple[int, int]]) -> Counts:
    return {"accepted": [accepted for accepted, _ in pairs], "of": [of for _, of in pairs]}
