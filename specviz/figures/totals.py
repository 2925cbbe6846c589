"""The totals panel: acceptance by depth and by sibling rank over the run, per verifier, as counts."""

from __future__ import annotations

from collections.abc import Sequence

from specviz.figures.block_types import AtNodes, Counts, SharedTotals, Totals, VerifierTotals
from specviz.trace import metrics
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
        "formulas": {name: metrics.FORMULAS[name] for name in _SHOWN},
        "verifiers": known,
        "shared": shared,
    }


_SHOWN = ("block_efficiency", "acceptance_by_depth", "acceptance_by_rank", "optimum")


def _totals(trace: Trace, among: Sequence[Step], name: str) -> VerifierTotals:
    steps = tuple(step for step in among if name in step.verdicts)
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


def _counts(pairs: Sequence[tuple[int, int]]) -> Counts:
    return {"accepted": [accepted for accepted, _ in pairs], "of": [of for _, of in pairs]}
