"""How the text ends in a step, in words, and what was accepted and is not in it."""

from __future__ import annotations

from specviz.figures.frame_types import TextEnd
from specviz.figures.text import visible
from specviz.trace.schema import Trace
from specviz.trace.stop_strings import completed_by


def text_end(trace: Trace, position: int) -> TextEnd | None:
    """How the text ends in a step; None where it goes on."""
    if trace.ended_by(position) is None:
        return None
    return {"said": _said(trace, position), "thrown": list(trace.steps[position].thrown_away())}


def _said(trace: Trace, position: int) -> str:
    """The reason; of a stop string which one, over how many tokens, and what the last of them says after it."""
    step, found = trace.steps[position], completed_by(trace, position)
    if found is None:
        return str(trace.ended_by(position))
    said = f"stop string “{visible(found.string)}”"
    if found.tokens > 1:
        said += f" over {found.tokens} tokens"
    if found.after:
        rest = step.text_of()[step.committed[-1]].raw[-found.after :].decode("utf-8", "replace")
        said += f", whose last one goes on with “{visible(rest)}”" if found.tokens > 1 else f", then “{visible(rest)}”"
    return said
