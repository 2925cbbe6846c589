"""What would have happened with another coin, decision, option or verifier, answered from the trace or by the models.

A verifier's walk is a pure function of thresholds and luck, and a trace holds both, so a changed coin or a forced node
is answered from the trace alone (:func:`from_trace`). Other options, or a verifier that was not recorded, need whole
rows: the models then score the recorded tree again (:func:`through_models`). No tree is drafted anew.
"""

from __future__ import annotations

from specviz.engine.whatif.by_models import through_models
from specviz.engine.whatif.by_trace import from_trace
from specviz.trace.whatif_question import Alternative, Question

__all__ = ["Alternative", "Question", "from_trace", "through_models"]
