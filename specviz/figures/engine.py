"""Another engine that decoded a run, as it stands where specviz's own runs have their driver and settings."""

from __future__ import annotations

from specviz.figures.block_types import RecordedFrom
from specviz.figures.text import one_line
from specviz.trace.processors import written
from specviz.trace.schema import Trace

NAME_COLUMNS = 60


def recorded_from(trace: Trace) -> RecordedFrom | None:
    """What the engine says of itself; null for specviz's own runs."""
    engine = trace.engine
    if engine is None:
        return None
    version = f" {one_line(engine.version, NAME_COLUMNS)}" if engine.version else ""
    rule = one_line(engine.rule, NAME_COLUMNS) if engine.rule else "not recorded"
    said = f"Recorded from {one_line(engine.name, NAME_COLUMNS)}{version}, rule: {rule}"
    if engine.processors is not None:
        said += f", processors: {one_line(written(engine.processors.chosen), NAME_COLUMNS)} ({engine.processors.mode})"
    return {
        "name": engine.name,
        "version": engine.version,
        "rule": engine.rule,
        "lossless": engine.lossless,
        "target": engine.target.model_dump() if engine.target else None,
        "draft": engine.draft.model_dump() if engine.draft else None,
        "said": said,
    }


def about_pair(trace: Trace) -> str:
    """Who decoded and with which models, as far as that is known, in some words."""
    target, draft = (model.id if model else None for model in (trace.models.target, trace.models.draft))
    pair = f"{target or 'target not recorded'} ← {draft or 'draft not recorded'}" if target or draft else ""
    engine = recorded_from(trace)
    return " · ".join(filter(None, (engine["said"] if engine else "", pair)))
