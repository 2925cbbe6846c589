"""Checks of one step of another engine, while its rows are there. docs/audit.md lists each by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from specviz.recorder.checks.calibration import bonus_calibration, committed_calibration, draft_calibration
from specviz.recorder.checks.calls import calls
from specviz.recorder.checks.compaction import COMPACTION, compaction
from specviz.recorder.checks.layout import MASK, POSITIONS, Seen, laid_out, mask, positions, seen_by
from specviz.recorder.checks.processing import processing
from specviz.recorder.checks.processors import moved, processors
from specviz.recorder.checks.rejudged import decisions, rejudged
from specviz.recorder.checks.rows import View
from specviz.recorder.checks.rule import bonus_row, bonus_token, thresholds
from specviz.recorder.checks.siblings import no_duplicates, top_k_order
from specviz.recorder.checks.sums import sums
from specviz.recorder.checks.text import committed_text, path, root
from specviz.recorder.raw_step import RawStep
from specviz.trace.checks import Check
from specviz.trace.schema import Processed, Verdict

__all__ = ["Examined", "examine", "kept_checks", "online"]


@dataclass(frozen=True)
class Examined:
    """What came out of all checks of a step.

    Attributes:
        verdicts: of specviz's own verifier on the engine's rows and coins, by its name; empty where that needs more
            than was recorded. Its bonus has no text.
        processed: by node what processors did to the target's row, where the engine says which it has.
    """

    checks: list[Check]
    verdicts: dict[str, Verdict]
    processed: dict[int, Processed] = field(default_factory=dict)


def examine(step: RawStep) -> Examined:
    """Check one step. torch is imported only where the rule is applied."""
    view = View(step)
    again, verdict = rejudged(view)
    found = [
        *kept_checks(view, step.p_nodes, step.q_nodes),
        *calls(step),
        sums(view),
        top_k_order(view),
        processing(view) if step.processors is None else processors(view),
        draft_calibration(view),
        bonus_calibration(view),
        committed_calibration(view),
        thresholds(view),
        bonus_row(view),
        bonus_token(view),
        decisions(view),
        again,
    ]
    if step.q_logits is not None:
        of_draft = processors if step.processors is not None and step.processors.said.draft else processing
        found.append(of_draft(view, draft=True))
    return Examined(found, {} if verdict is None else {verdict.verifier: verdict}, moved(view))


def online(step: RawStep) -> list[Check]:
    """The checks alone."""
    return examine(step).checks


def kept_checks(
    view: View, target_nodes: list[int], draft_nodes: list[int], seen: Sequence[Seen] | None = None
) -> list[Check]:
    """Those that need no rows, so that they can be made of a file, too; there the masks are made by themselves.

    Args:
        target_nodes, draft_nodes: whose rows positions and masks are of; empty: of all nodes.
        seen: what a file keeps of the target's mask, in place of it.
    """
    step = view.step
    if seen is None:
        read = seen_by(view, step.mask, target_nodes, step.slots)
        seen = [] if isinstance(read, str) else read[0]
    laid = laid_out(view, step.positions, target_nodes, seen)
    found = [
        path(view),
        root(view, laid.step.context),
        committed_text(view),
        no_duplicates(view),
        positions(laid, step.positions, target_nodes),
        mask(laid, step.mask, target_nodes, step.slots),
        compaction(view, step.caches.get("target"), target_nodes, step.slots),
    ]
    # A draft may have no cache, or no positions of its own: what was not said of it is no lack.
    if step.draft_positions is not None:
        found.append(positions(laid, step.draft_positions, draft_nodes, f"draft_{POSITIONS}"))
    if step.draft_mask is not None:
        found.append(mask(laid, step.draft_mask, draft_nodes, step.draft_slots, f"draft_{MASK}"))
    if "draft" in step.caches:
        found.append(compaction(view, step.caches["draft"], draft_nodes, step.draft_slots, f"draft_{COMPACTION}"))
    return found
