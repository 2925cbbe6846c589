"""What the checks of another engine's run found, as the page lists it."""

from __future__ import annotations

import re
import weakref

from specviz.figures.block_types import Findings
from specviz.figures.text import one_line
from specviz.trace.schema import Trace

MOST = 200
"""Findings that are listed."""
SENTENCE_COLUMNS = 1_200
"""As many as the longest sentence of a check has, with where it was found."""
_STEP = re.compile(r"^Step \d+: ")
"""A list with a way to each step says the step there, from 1 on as all of the page does."""
_known: dict[int, Findings] = {}


def findings_of(trace: Trace) -> Findings | None:
    """The columns of an audit without models, errors first; null for specviz's own runs.

    It goes over all steps, and every message about a run needs it: so it is kept for as long as the trace is.
    """
    if trace.engine is None:
        return None
    key = id(trace)
    if key not in _known:
        _known[key] = _audited(trace)
        weakref.finalize(trace, _known.pop, key, None)
    return _known[key]


def _audited(trace: Trace) -> Findings:
    # The one import of the viewing side that goes up: a run of another engine is checked by what recorded it.
    from specviz.recorder.audit import audit
    from specviz.recorder.findings import Finding

    everything = audit(trace)
    found = [one for one in everything if isinstance(one, Finding)]
    lacking = [one for one in everything if not isinstance(one, Finding)]
    wrong = [one for one in found if one.weight != "note"]
    fitting = [one for one in found if one.weight == "note"]
    shown = wrong[:MOST]
    return {
        "ran": len({one.check for one in found}),
        "found": {
            "check": [one.check for one in shown],
            "weight": [one.weight for one in shown],
            "step": [one.step for one in shown],
            "node": [one.node for one in shown],
            "sentence": [_line(one.sentence) for one in shown],
            "meaning": [_line(one.meaning) for one in shown],
            "place": [one.place for one in shown],
        },
        "fits": {"check": [one.check for one in fitting], "said": [_line(one.sentence) for one in fitting]},
        "notRun": {"check": [one.check for one in lacking], "said": [_line(one.lacked) for one in lacking]},
        "more": len(wrong) - len(shown),
    }


def _line(text: str) -> str:
    said = _STEP.sub("", text)
    return one_line(said[:1].upper() + said[1:] if said != text else text, SENTENCE_COLUMNS)
