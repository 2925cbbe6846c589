"""What shape would pay, as the totals of a page have it: ranks of the target's tokens, and the best trees."""

from __future__ import annotations

from collections.abc import Sequence

from specviz.errors import SettingsError
from specviz.figures.frame_types import WalkEnd
from specviz.figures.totals_types import AdviceTotals, AdvisedTree, RankColumns, RankTotals
from specviz.trace.advice import HOPEFUL, Advice, advise
from specviz.trace.schema import Step, Trace
from specviz.trace.target_ranks import RankHistogram, column_names, column_of, rank_histograms, target_rank

_PLACES = 4


def rank_totals(steps: Sequence[Step]) -> RankTotals:
    """Of every driver's walks that ended in a bonus token."""
    rejections, leaves = rank_histograms(steps)
    return {"names": column_names(), "rejections": _columns(rejections), "leaves": _columns(leaves)}


def walk_end(step: Step) -> WalkEnd | None:
    """What a step adds to :func:`rank_totals`; None where it adds nothing."""
    found = target_rank(step)
    if found is None:
        return None
    return {
        "leaf": not found.children,
        "depth": found.depth + bool(found.children),
        "kind": found.kind,
        "column": column_of(found.rank) if found.kind == "rank" else None,
        "recorded": found.rank if found.kind == "beyond" else 0,
    }


def _columns(found: Sequence[RankHistogram]) -> RankColumns:
    return {
        "depth": [one.depth for one in found],
        "ends": [one.ends for one in found],
        "known": [list(one.known) for one in found],
        "never": [one.never for one in found],
        "beyond": [one.beyond for one in found],
        "noRow": [one.no_row for one in found],
        "recorded": [one.recorded for one in found],
    }


def advice_totals(trace: Trace) -> AdviceTotals:
    """The advice of this run alone, or why there is none."""
    try:
        found = advise([trace])
    except SettingsError as error:
        return {"refused": str(error), "found": None}
    notes = [HOPEFUL]
    if found.chosen:
        notes.append("The builder expanded what the draft was sure of; a shape that does not choose is accepted less.")
    if found.proposal != "top_k":
        notes.append("Of more siblings than were drawn nothing is known, so no tree is advised that has them.")
    if found.fastest is None:
        notes.append(
            "Which budget is fastest cannot be said: a run has the forward times of the widths that it ran. "
            "python -m specviz advise takes several runs, and times of bench."
        )
    return {
        "refused": None,
        "found": {
            "decisions": found.decisions,
            "steps": found.steps,
            "leftOut": found.left_out,
            "driver": found.driver,
            "proposal": found.proposal,
            "nodes": round(found.nodes, 1),
            "today": round(found.today, _PLACES),
            "seen": round(found.seen, _PLACES),
            "low": None if found.interval is None else round(found.interval[0], _PLACES),
            "high": None if found.interval is None else round(found.interval[1], _PLACES),
            "trees": _trees(found),
            "best": found.best().budget,
            "notes": notes,
        },
    }


def _trees(found: Advice) -> list[AdvisedTree]:
    return [
        {
            "budget": tree.budget,
            "nodes": tree.nodes,
            "levels": tree.levels,
            "paths": tree.paths,
            "expected": round(tree.expected, _PLACES),
            "seconds": tree.seconds,
            "fastest": tree.budget == found.fastest,
        }
        for tree in found.trees
    ]
