"""How the text ends in a step, in words, and what was accepted and is not in it."""

from __future__ import annotations

from specviz.figures.frame_types import TextEnd
from specviz.figures.text import visible
from specviz.trace.schema import Trace
from specviz.trace.stop_strings import end_in_words


def text_end(trace: Trace, position: int) -> TextEnd | None:
    """How the text ends in a step; None where it goes on."""
    if trace.ended_by(position) is None:
        return None
    return {"said": end_in_words(trace, position, visible), "thrown": list(trace.steps[position].thrown_away())}
