"""Text that turns text around, and what a terminal obeys: no drawn string has any of it, whatever a trace says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from specviz.app import diff_handlers, run_handlers, whatif
from specviz.app.answers import bounded
from specviz.app.page_state import PageState, Run, models_of
from specviz.app.server.trace_store import StoredTrace
from specviz.cli import main
from specviz.display import TURNING, upright
from specviz.errors import TraceError
from specviz.figures import standalone_page
from specviz.trace.breakpoints import parse_short
from specviz.trace.io import dump_trace, load_trace, parse_trace
from specviz.trace.schema import PartialNode, Trace
from tests.sample_traces import sample_trace
from tests.saved_pages import texts_in

EVIL = "\u202e\u2066\u200f\u061c\u200e\x1b[31m\x07"
WORDS = {"proposal", "comparison", "outcome", "source", "lossless", "role", "end_reason", "found", "model"}
"""Fields that hold one of a few words."""
DATA = WORDS | {"id", "bytes", "weights", "prompt_end_token"}
"""``id`` of a trace; a model's is made hostile by hand."""
NAMED = {"verdicts", "options", "config"}
"""Fields whose keys are names."""


def hostile() -> Trace:
    """A run in which every free string is hostile, and every optional one is there."""
    value = json.loads(dump_trace(sample_trace(steps=2)))
    step = value["steps"][0]
    context = len(value["prompt_tokens"]) + sum(len(step["committed"]) for step in value["steps"])
    nodes = [{name: node[name] for name in PartialNode.model_fields} for node in step["tree"]["nodes"]]
    failed = {name: step["tree"][name] for name in ("builder", "proposal")} | {"nodes": nodes, "tokens": step["tokens"]}
    broken = {"model": "target", "found": "NaN", "nodes": [1], "module": "m", "layer": 0, "first_nodes": [1]}
    value["failed"] = {**failed, "index": 2, "context": context, "message": "m", "nonfinite": broken}
    value["failed"]["nonfinite"]["first_tokens"] = [0]
    value |= {"end_reason": "error", "end_message": "m", "forked_from": {"trace": "t", "step": 0}}
    for one in value["models"].values():
        if isinstance(one, dict):
            one |= {"id": "m", "revision": "r", "quantization": "q", "note": "n", "config": {"a": "b"}}
    value["settings"]["builder"]["options"]["tree"] = "4,2,2"
    for verdict in step["verdicts"].values():
        verdict["options"] = {"rule": "of thumb"}
    value = _with_evil(value)
    for one in (value["models"]["target"], value["models"]["draft"]):
        one["id"] = f"m{EVIL}"
    return parse_trace(json.dumps(value).encode())


def _with_evil(value: Any, field: str = "") -> Any:
    if isinstance(value, dict):
        return {(f"{k}{EVIL}" if field in NAMED else k): _with_evil(v, k) for k, v in value.items()}
    if isinstance(value, list):
        return [_with_evil(one, field) for one in value]
    return f"{value}{EVIL}" if isinstance(value, str) and field not in DATA else value


def strings(value: Any, field: str = "") -> Iterator[tuple[str, str]]:
    """(field, text) of every string in a JSON value, keys too."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield field, key
            yield from strings(inner, key)
    elif isinstance(value, list):
        for one in value:
            yield from strings(one, field)
    elif isinstance(value, str):
        yield field, value


def turned(text: str) -> bool:
    return re.search(f"[{TURNING}]", text) is not None


@pytest.fixture(scope="module")
def trace() -> Trace:
    return hostile()


def test_every_string_of_the_trace_is_hostile_or_one_of_a_few_words(trace: Trace) -> None:
    value = json.loads(dump_trace(trace))
    assert json.loads(dump_trace(parse_trace(dump_trace(trace)))) == value, "data stays as it is"
    fields = keys(value)
    plain = {field for field, text in strings(value) if text and not turned(text) and text not in fields}
    assert plain <= DATA
    hit = {field for field, text in strings(value) if turned(text)}
    assert hit >= {
        "rule",
        "reason",
        "text",
        "message",
        "note",
        "name",
        "builder",
        "driver",
        "options",
        "module",
        "prompt",
    }


def keys(value: Any) -> set[str]:
    """Names of fields."""
    if isinstance(value, dict):
        return {*value, *(key for inner in value.values() for key in keys(inner))}
    return {key for one in value for key in keys(one)} if isinstance(value, list) else set()


def drawn(trace: Trace) -> Iterator[str]:
    """What the page is given to draw of a run."""
    run = Run(StoredTrace(trace), run_handlers.file_title(f"/x/a{EVIL}.json.gz"), models_of(trace))
    yield run_handlers.opening_block(trace)
    yield run_handlers.wanted_block(trace, trace.id, [1])
    yield bounded({"compare": diff_handlers.compare_runs(trace, sample_trace(steps=2, seed=3), (run.title, "B"))})
    yield whatif.from_trace(trace, {"run": trace.id, "step": 0, "id": 1, "verifier": "rejection"})
    yield whatif.from_trace(trace, {"run": f"a{EVIL}", "step": 0, "id": EVIL, "verifier": EVIL})
    yield run_handlers.next_hit(trace, 0, parse_short([f"text={EVIL}"]))
    yield run_handlers.failed(TraceError(f"It is broken at {EVIL}; record it again."), trace)
    yield json.dumps(run_handlers.sentence(TraceError(EVIL)))
    yield json.dumps(PageState().show(run).show(replace(run, stored=StoredTrace(sample_trace(steps=1)))).lines())
    yield json.dumps([run.models.target, run.models.draft])
    yield json.dumps([repr(trace), repr(trace.steps[0])])


def test_nothing_that_the_page_draws_turns_text_around(trace: Trace) -> None:
    for text in drawn(trace):
        assert [one for _, one in strings(json.loads(text)) if turned(one)] == []
    assert "⟨U+202E⟩" in run_handlers.opening_block(trace)


def test_an_exported_page_does_not_either(trace: Trace) -> None:
    texts = texts_in(standalone_page(trace))
    assert "⟨U+202E⟩" in texts[0]
    assert not any(turned(text) for data in texts for _, text in strings(json.loads(data)))


def test_a_joined_emoji_stays_joined() -> None:
    assert upright("👩\u200d🔬 \u202eabc") == "👩\u200d🔬 ⟨U+202E⟩abc"


def test_a_terminal_is_told_nothing_that_it_obeys(
    trace: Trace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from specviz.display import say
    from specviz.trace.summary import summary

    path = tmp_path / f"a{EVIL}.json"
    path.write_bytes(dump_trace(trace))
    broken = tmp_path / "broken.json"
    broken.write_bytes(dump_trace(trace).replace(b'"thresholds":[', b'"thresholds":[1.0,', 1))
    assert main(["diff", str(path), str(path)]) == 0
    assert main(["export", str(path)]) == 0
    assert main(["diff", str(broken), str(path)]) == 2
    assert main(["diff", f"none{EVIL}", str(path)]) == 2
    say(summary(load_trace(path)))
    out, err = capsys.readouterr()
    for text in (out, err):
        assert "U+202E" in text or "u202e" in text
        assert not turned(text)
        assert [char for char in text if not char.isprintable() and char != "\n"] == []
