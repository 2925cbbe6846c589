"""Lessons as blocks for the viewer: their list, and one with the run it is told on."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from specviz.app import run_handlers
from specviz.app.server.trace_store import StoredTrace
from specviz.errors import SpecvizError, TraceError, shown
from specviz.figures import dump_block
from specviz.figures.block_types import Block, Lesson, LessonPiece
from specviz.lessons import LESSONS, Sentence
from specviz.trace.io import load_trace


def open_lesson(wanted: Any) -> tuple[str, StoredTrace | None]:
    """The blocks that open a lesson, and its run; ``wanted`` comes from the page: ``{"name": a lesson's name}``."""
    name = wanted.get("name") if isinstance(wanted, dict) else None
    try:
        lesson = next((one for one in LESSONS if one.name == name), None)
        if lesson is None:
            raise TraceError(f"There is no lesson {shown(str(name))}.")
        stored = _run(lesson.run)
        trace = stored.trace
        filled = lesson.fill(trace)
    except SpecvizError as error:
        return run_handlers.failed(error), None
    number = LESSONS.index(lesson)
    value: Lesson = {
        "name": lesson.name,
        "number": number + 1,
        "count": len(LESSONS),
        "title": lesson.title,
        "run": trace.id,
        "step": filled.step,
        "start": filled.start,
        "verifier": filled.verifier,
        "dock": filled.dock,
        "paragraphs": [_pieces(sentence) for sentence in filled.paragraphs],
        "aside": _pieces(filled.aside),
        "question": filled.question,
        "nodes": sorted(filled.nodes),
        "hint": filled.hint,
        "solved": _pieces(filled.solved),
        "wrong": [
            {"step": step, "node": node, "said": _pieces(sentence)} for (step, node), sentence in filled.wrong.items()
        ],
        "otherwise": filled.otherwise,
        "next": LESSONS[number + 1].name if number + 1 < len(LESSONS) else None,
    }
    return f"[{_frames_of(lesson.run)},{dump_block({'lesson': value})}]", stored


def list_block() -> Block:
    """What the viewer shows before a lesson was chosen."""
    return {"lessons": [{"name": lesson.name, "title": lesson.title} for lesson in LESSONS]}


def _pieces(sentence: Sentence) -> list[LessonPiece]:
    return [{"text": piece.text, "kind": piece.kind, "node": piece.node} for piece in sentence]


@lru_cache(maxsize=8)
def _frames_of(name: str) -> str:
    # Everybody opens the same few, and drawing one takes a fifth of a second.
    return run_handlers.opening_block(_run(name).trace)


@lru_cache(maxsize=8)
def _run(name: str) -> StoredTrace:
    return StoredTrace.shared(load_trace(run_handlers.TRACES.parent / f"{name}.json.gz"))
