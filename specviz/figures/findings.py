"""What the checks of another engine's run found, as the page lists it."""

from __future__ import annotations

from dataclasses import dataclass

from specviz.digits import digits
from specviz.figures.block_types import Findings
from specviz.figures.text import one_line
from specviz.trace.schema import INFINITE_DIFFERENCE, Check, Trace

MOST = 200
"""Findings that are listed."""
SENTENCE_COLUMNS = 600
WEIGHTS = ("error", "warning", "note")


@dataclass(frozen=True)
class Found:
    """Something that does not fit; ``step`` and ``node`` are None for the whole run and the whole step."""

    check: str
    weight: str
    step: int | None
    node: int | None
    sentence: str
    meaning: str | None = None
    place: str | None = None


@dataclass(frozen=True)
class Checked:
    """The checks of a run: how many compared something, what they found, and what the others lacked."""

    ran: int
    found: tuple[Found, ...]
    lacked: dict[str, str]


def findings_of(trace: Trace) -> Checked | None:
    """What was checked of a run while its rows were there; None for specviz's own runs, which record no checks."""
    if trace.engine is None:
        return None
    ran: dict[str, None] = {}
    lacked: dict[str, str] = {}
    found = []
    for step in trace.steps:
        for check in step.checks:
            if check.compared:
                ran[check.name] = None
            elif check.lacked:
                lacked.setdefault(check.name, check.lacked)
            if check.failed:
                found.append(Found(check.name, "error", step.index, check.node, _sentence(check)))
    return Checked(len(ran), tuple(found), {name: what for name, what in lacked.items() if name not in ran})


def findings_columns(trace: Trace) -> Findings | None:
    """The same as columns, the gravest first; null for specviz's own runs."""
    checked = findings_of(trace)
    if checked is None:
        return None
    order = {weight: place for place, weight in enumerate(WEIGHTS)}
    ordered = sorted(checked.found, key=lambda found: order.get(found.weight, len(WEIGHTS)))
    shown = ordered[:MOST]
    return {
        "ran": checked.ran,
        "found": {
            "check": [one_line(found.check, SENTENCE_COLUMNS) for found in shown],
            "weight": [found.weight for found in shown],
            "step": [found.step for found in shown],
            "node": [found.node for found in shown],
            "sentence": [one_line(found.sentence, SENTENCE_COLUMNS) for found in shown],
            "meaning": [found.meaning and one_line(found.meaning, SENTENCE_COLUMNS) for found in shown],
            "place": [found.place for found in shown],
        },
        "notRun": {
            "check": [one_line(name, SENTENCE_COLUMNS) for name in checked.lacked],
            "lacked": [one_line(what, SENTENCE_COLUMNS) for what in checked.lacked.values()],
        },
        "more": len(ordered) - len(shown),
    }


def _sentence(check: Check) -> str:
    if check.message:
        return check.message
    said = f"{check.failed} of {check.compared} numbers differ"
    if check.tolerance is not None:
        said += f" by more than {digits(check.tolerance, 2)}"
    if check.worst is not None:
        worst = digits(check.worst, 2) if check.worst < INFINITE_DIFFERENCE else "no finite number (NaN or infinity)"
        said += f"; the largest difference is {worst}"
    return f"{said}."
