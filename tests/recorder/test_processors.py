"""Processors of other engines: a loop that penalises each node by its path, and others that cut that corner."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import pytest
import torch

from specviz.errors import SettingsError
from specviz.figures.engine import recorded_from
from specviz.recorder.audit import audit
from specviz.recorder.findings import Finding, NotRun
from specviz.recorder.model_audit import audit_rows
from specviz.recorder.recorder import Recorder
from specviz.trace.checks import Check
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
def run(penalise: Penalise) -> Trace:
    target, draft = loops.models()
    rec = Recorder(
        prompt=loops.PROMPT,
        sampling=1.0,
        draft_sampling=1.0,
        processors=STATED,
        engine="my-loop",
        rule="rejection",
        lossless=True,
        target=target,
        draft=draft,
        strict=True,
    )
    loops.changed("tree", PENALISED, PENALISE=penalise)(target, draft, loops.PROMPT, rec, new_tokens=12)
    return rec.trace()


def without_raw_rows(trace: Trace) -> Trace:
    """As the recorder has it of an engine that gives rows alone."""
    steps = []
    for step in trace.steps:
        nodes = []
        for node in step.tree.nodes:
            row = node.target.model_copy(update={"raw": None, "top_logit": None, "log_sum_exp": None})
            nodes.append(node.model_copy(update={"target": row, "processed": None}))
        checks = [
            Check(name=one.name, compared=0, lacked="the target's raw rows (logits=)")
            if one.name == "processors"
            else one
            for one in step.checks
        ]
        tree = step.tree.model_copy(update={"nodes": tuple(nodes)})
        steps.append(step.model_copy(update={"tree": tree, "checks": tuple(checks)}))
    return trace.model_copy(update={"steps": tuple(steps)})


def wrong(found: list[Finding | NotRun]) -> list[Finding]:
    return [one for one in found if isinstance(one, Finding) and one.weight != "note"]


@pytest.mark.parametrize("rows_alone", [False, True], ids=["raw rows", "rows alone, and the target"])
def test_a_loop_that_penalises_by_path_is_sound(rows_alone: bool) -> None:
    trace = without_raw_rows(run(by_path)) if rows_alone else run(by_path)
    found = audit(trace, loops.models()[0])
    assert wrong(found) == []
    fits = {one.check for one in found if isinstance(one, Finding)}
    assert {"processors", "target_rows", "rejudged", "thresholds"} <= fits
    assert not {one.check for one in found if isinstance(one, NotRun)} & {"processors", "processing"}


@pytest.mark.parametrize("rows_alone", [False, True], ids=["raw rows", "rows alone, and the target"])
@pytest.mark.parametrize(
    ("penalise", "said"),
    [
        (
            by_committed_text,
            "The target's rows of this tree are those of presence_penalty:penalty=6.0 by the committed",
        ),
        (at_the_root, "Of the target's rows of this tree only that of the root is processed by presence_penalty"),
    ],
)
def test_a_loop_that_cuts_the_corner_is_found_by_that_check_alone(
    penalise: Penalise, said: str, rows_alone: bool
) -> None:
    trace = without_raw_rows(run(penalise)) if rows_alone else run(penalise)
    (found,) = wrong(audit(trace, loops.models()[0]))
    assert (found.check, found.weight, found.place) == ("processors", "error", "rows")
    assert said in found.sentence
    assert found.sentence.startswith(f"Step {found.step + 1}: ")
    node = trace.steps[found.step].tree.nodes[found.node]
    assert f"at node {node.id} (token {node.token}) the total variation is " in found.sentence
    to_exact, to_frozen = found.sentence.split(" the total variation is ")[1].split(";")[0].split(" and ")
    assert to_exact.endswith(" to exact")
    assert to_frozen.endswith(" to frozen")
    assert ("·10⁻" in to_frozen or "is 0" in to_frozen or to_frozen.startswith("0 ")) == (penalise is by_committed_text)


def test_without_raw_rows_and_without_the_target_it_is_not_recorded() -> None:
    lacking = [one for one in audit(without_raw_rows(run(by_committed_text))) if one.check == "processors"]
    assert lacking == [NotRun("processors", "the target's raw rows (logits=)")]


def test_what_processors_moved_is_recorded() -> None:
    sound, cut = run(by_path), run(by_committed_text)
    for trace in (sound, cut):
        nodes = [node for step in trace.steps for node in step.tree.nodes]
        assert all(node.processed is not None for node in nodes)
        assert any(node.processed.apart > 0.1 for node in nodes)
        assert {step.tree.nodes[0].processed.apart for step in trace.steps} == {0.0}
        assert parse_trace(dump_trace(trace)) == trace
    bare = [node for step in run(at_the_root).steps for node in step.tree.nodes[1:]]
    assert max(node.processed.moved for node in bare) < 1e-6  # nothing was done to them


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


def test_a_run_of_specvizs_own_with_processors_is_that_of_its_models() -> None:
    """Entropies are of processed rows, which are none of the sampling alone."""
    mode, other_mode = "frozen", "exact"
    processors = Processors(chosen=(Choice(name="repetition_penalty", options={"penalty": 3.0}),), mode=mode)
    pair = pairs.make_pair()
    rejection = (Choice(name="rejection"),)
    trace = pairs.make_trace(seed=5, max_new_tokens=6, processors=processors, verifiers=rejection)
    found, lacking = audit_rows(trace, pair.target, pair.draft)
    assert {(one.check, one.weight) for one in found} == {
        (c, "note") for c in ("target_rows", "draft_rows", "processors")
    }
    assert lacking == {}
    other = processors.model_copy(update={"mode": other_mode})
    lying = trace.model_copy(update={"settings": trace.settings.model_copy(update={"processors": other})})
    found, _ = audit_rows(lying, pair.target, None)
    assert {(one.check, one.weight) for one in found} == {("target_rows", "note"), ("processors", "error")}
    weaker = Processors(chosen=(Choice(name="repetition_penalty", options={"penalty": 1.5}),), mode=mode)
    lying = trace.model_copy(update={"settings": trace.settings.model_copy(update={"processors": weaker})})
    found, _ = audit_rows(lying, pair.target, None)
    (told,) = [one.sentence for one in found if one.check == "processors" and one.weight == "error"]
    assert "neither by the text on its path (exact) nor by the committed text alone (frozen)" in told
