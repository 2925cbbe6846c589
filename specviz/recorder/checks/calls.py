"""What the recorder was told that it could not record: the file keeps the sentences that its user was warned with."""

from __future__ import annotations

from specviz.recorder.checks.results import agreed
from specviz.recorder.raw_step import RawStep
from specviz.trace.checks import Check

CALLS = "calls"


def calls(step: RawStep) -> list[Check]:
    """Calls of the step that could not be recorded as they were made; no check where all were."""
    wrong: list[tuple[int | None, str]] = [(None, sentence) for sentence in step.wrong_calls]
    return [agreed(CALLS, len(wrong), wrong)] if wrong else []
