"""Processors of other engines: a loop that penalises each node by its path, and others that cut that corner."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import pytest
import torch

from specviz.errors import SettingsError
from specviz.figures.engine import recorded_from
from specviz.figures.frames import step_frame
from specviz.recorder.audit import audit
from specviz.recorder.findings import Finding, NotRun
from specviz.recorder.model_audit import audit_rows
from specviz.recorder.recorder import Recorder
from specviz.trace.io import dump_trace, parse_trace
from specviz.trace.schema import Choice, Processors, Trace
from specviz.trace.settings import flat_engine
from tests import pairs
from tests.recorder import loops

PENALTY = 6.0
STATED = f"presence_penalty:penalty={PENALTY}"
PENALISED = (
    (
        "            p = distribution(logits, temperature)\n",
        "            lines = [[tokens[node] for node in path[1:]] for path in paths]\n"
        "            p = distribution(PENALISE(logits, text[len(ids) :], lines), temperature)\n",
    ),
)
ROWS_ALONE = (("step.target(p, logits=logits, ", "step.target(p, "),)
Penalise = Callable[[torch.Tensor, list[int], list[list[int]]], torch.Tensor]


def penalised(logits: torch.Tensor, texts: list[list[int]]) -> torch.Tensor:
    found = logits.clone()
    for row, text in enumerate(texts):
        found[row, [*{*text}]] -= PENALTY
    return found


def by_path(logits: torch.Tensor, output: list[int], lines: list[list[int]]) -> torch.Tensor:
    return penalised(logits, [output + line for line in lines])


def by_committed_text(logits: torch.Tensor, output: list[int], lines: list[list[int]]) -> torch.Tensor:
    """As vllm #42744 and others."""
    return penalised(logits, [output for _ in lines])


def at_the_root(logits: torch.Tensor, output: list[int], lines: list[list[int]]) -> torch.Tensor:
    return penalised(logits, [[] if line else output for line in lines])


@lru_cache(maxsize=8)
def run(penalise: Penalise, *, rows_alone: bool = False, lossless: bool | None = True, mode: str = "exact") -> Trace:
    target, draft = loops.models()
    lines = PENALISED + (ROWS_ALONE if rows_alone else ())
    rec = Recorder(
        prompt=loops.PROMPT,
        sampling=1.0,
        draft_sampling=1.0,
        processors=STATED,
        processor_mode=mode,
        engine="my-loop",
        rule="rejection",
        lossless=lossless,
        target=target,
        draft=draft,
        strict=True,
    )
    loops.changed("tree", lines, PENALISE=penalise)(target, draft, loops.PROMPT, rec, new_tokens=20)
    return rec.trace()


def wrong(found: list[Finding | NotRun]) -> list[Finding]:
    return [one for one in found if isinstance(one, Finding) and one.weight != "note"]


@pytest.mark.parametrize("rows_alone", [False, True], ids=["raw rows", "rows alone, and the target"])
def test_a_loop_that_penalises_by_path_is_sound(rows_alone: bool) -> None:
    found = audit(run(by_path, rows_alone=rows_alone), *loops.models())
    assert wrong(found) == []
    fits = {one.check for one in found if isinstance(one, Finding)}
    assert {"processors", "target_rows", "rejudged", "thresholds"} <= fits
    assert not {one.check for one in found if isinstance(one, NotRun)} & {"processors", "processing"}


@pytest.mark.parametrize("rows_alone", [False, True], ids=["raw rows", "rows alone, and the target"])
@pytest.mark.parametrize(
    ("penalise", "said"),
    [
        (by_committed_text, "The target's rows of this tree are those of presence_penalty:penalty=6.0 by the committed"),
        (at_the_root, "Of the target's rows of this tree only that of the root is processed by presence_penalty"),
    ],
)
def test_a_loop_that_cuts_the_corner_is_found_by_that_check_alone(
    penalise: Penalise, said: str, rows_alone: bool
) -> None:
    trace = run(penalise, rows_alone=rows_alone)
    (found,) = wrong(audit(trace, *loops.models()))
    assert (found.check, found.weight, found.place) == ("processors", "error", "rows")
    assert said in found.sentence
    assert found.sentence.startswith(f"Step {found.step + 1}: ")
    node = trace.steps[found.step].tree.nodes[found.node]
    assert f"at node {node.id} (token {node.token}) the total variation is " in found.sentence
    to_exact, to_frozen = found.sentence.split(" the total variation is ")[1].split(";")[0].split(" and ")
    assert to_exact.endswith(" to exact")
    assert to_frozen.endswith(" to frozen")
    assert ("·10⁻" in to_frozen or "is 0" in to_frozen or to_frozen.startswith("0 ")) == (penalise is by_committed_text)


def test_the_mode_that_an_engine_says_is_held_to_it_and_frozen_is_not_lossless() -> None:
    assert wrong(audit(run(by_committed_text, lossless=None, mode="frozen"))) == []
    (found,) = wrong(audit(run(by_path, lossless=None, mode="frozen")))
    assert "by the text on each node's path (exact), not by the committed text alone" in found.sentence
    (found,) = wrong(audit(run(by_committed_text, lossless=True, mode="frozen")))
    assert "so the engine says, but it says that it is lossless, too" in found.sentence


def test_without_raw_rows_and_without_the_target_it_is_not_recorded() -> None:
    lacking = [one for one in audit(run(by_committed_text, rows_alone=True)) if one.check == "processors"]
    assert lacking == [NotRun("processors", "the target's raw rows (logits=)")]


def test_what_processors_moved_and_what_the_due_mode_decides_are_recorded() -> None:
    """Rows of frozen processors, of an engine that says exact: with the same coins exact takes another path."""
    sound, cut = run(by_path), run(by_committed_text)
    for trace in (sound, cut):
        nodes = [node for step in trace.steps for node in step.tree.nodes]
        assert all(node.processed is not None for node in nodes)
        assert any(node.processed.apart > 0.1 for node in nodes)
        assert {step.tree.nodes[0].processed.apart for step in trace.steps} == {0.0}
        assert parse_trace(dump_trace(trace)) == trace
    bare = [node for step in run(at_the_root).steps for node in step.tree.nodes[1:]]
    assert max(node.processed.moved for node in bare) < 1e-6  # nothing was done to them
    others = [one.other_mode for step in cut.steps for one in step.verdicts.values() if one.other_mode]
    assert {other.mode for other in others} <= {"exact"}
    others += [one.other_mode for step in sound.steps for one in step.verdicts.values() if one.other_mode]
    assert {other.mode for other in others} <= {"exact", None}
    assert others
    frames = [step_frame(trace, position) for trace in (sound, cut) for position in range(len(trace.steps))]
    shown = [verdict["otherMode"] for frame in frames for verdict in frame["verdicts"] if verdict["otherMode"]]
    assert [one["mode"] for one in shown] == ["frozen" if other.mode is None else "exact" for other in others][::1] or (
        sorted(one["mode"] for one in shown) == sorted("exact" if other.mode else "frozen" for other in others)
    )


def test_an_engines_processors_are_named_where_it_is() -> None:
    trace = run(by_path)
    assert trace.engine.processors == Processors(
        chosen=(Choice(name="presence_penalty", options={"penalty": PENALTY}),), mode="exact"
    )
    assert recorded_from(trace)["said"].endswith(f"rule: rejection, processors: {STATED} (exact)")
    assert flat_engine(trace.engine)["processors.presence_penalty"] == f"penalty={PENALTY}"
    plain = loops.run("tree", new_tokens=2).trace()
    assert b"processors" not in dump_trace(plain)


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"processors": "repetition"}, "There is no processor"),
        ({"processors": "min_p:min_p=2"}, "min_p"),
        ({"processors": STATED, "processor_mode": "both"}, "exact or frozen"),
        ({"stop": ""}, "Stop strings are up to 16 texts"),
        ({"stop": ["a"] * 17}, "Stop strings are up to 16 texts"),
    ],
)
def test_what_is_no_processor_or_stop_string_is_refused(said: dict[str, object], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        Recorder(prompt=[1], **said)


@pytest.mark.parametrize("mode", ["exact", "frozen"])
def test_a_run_of_specvizs_own_with_processors_is_that_of_its_models(mode: str) -> None:
    """Entropies are of processed rows, which are none of the sampling alone."""
    processors = Processors(chosen=(Choice(name="repetition_penalty", options={"penalty": 3.0}),), mode=mode)
    pair = pairs.make_pair()
    trace = pairs.make_trace(seed=5, max_new_tokens=8, processors=processors)
    found, lacking = audit_rows(trace, pair.target, pair.draft)
    assert {(one.check, one.weight) for one in found} == {(c, "note") for c in ("target_rows", "draft_rows", "processors")}
    assert lacking == {}
    other = processors.model_copy(update={"mode": "exact" if mode == "frozen" else "frozen"})
    lying = trace.model_copy(update={"settings": trace.settings.model_copy(update={"processors": other})})
    found, _ = audit_rows(lying, pair.target, None)
    assert {(one.check, one.weight) for one in found} == {("target_rows", "note"), ("processors", "error")}
