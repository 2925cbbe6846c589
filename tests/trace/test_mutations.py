"""What strangers send: a few hundred mutated traces and settings, and a named test for every fault they have shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from specviz.app import whatif
from specviz.app.form import read_form
from specviz.compare.named import parse_tree, parse_verifier
from specviz.errors import ModelError, SettingsError, SpecvizError, TraceError, shown
from specviz.figures import standalone_page, step_frame
from specviz.figures.diff import format_comparison
from specviz.figures.node import number
from specviz.models import sources
from specviz.models.devices import parse_memory
from specviz.models.planning import read_known_config
from specviz.trace.breakpoints import parse_breakpoints
from specviz.trace.diff import compare
from specviz.trace.io import dump_trace, load_trace, parse_trace
from specviz.trace.schema import MOST_NODES, Trace
from specviz.trace.settings import build_choice, build_settings, parse_pairs, verifier_choices
from specviz.trace.summary import summary
from specviz.tree import MAX_NODES
from tests.sample_traces import sample_trace
from tests.tools import mutations
from tests.tools.mutated_settings import _form_values

PAGE = 64 << 20


COUNTS = {"traces": 24, "recordings": 60, "settings": 100}


@pytest.fixture(scope="module")
def mutated() -> list[mutations.Result]:
    """All in one process, whose start takes longer than they do."""
    return list(mutations.run((kind, number) for kind, count in COUNTS.items() for number in range(count)))


@pytest.mark.parametrize("kind", COUNTS)
def test_mutations_are_accepted_or_refused_with_a_sentence(mutated: list[mutations.Result], kind: str) -> None:
    results = [result for result in mutated if result.kind == kind]
    assert len(results) == COUNTS[kind]
    assert not [result for result in results if result.outcome == "finding"]
    assert {result.outcome for result in results} == {"accepted", "refused"}


# ------------------------------------------------------------------------------------------------------- traces


def edited(*path: str | int, value: object, trace: Trace | None = None) -> bytes:
    data = json.loads(dump_trace(trace or sample_trace(steps=2)))
    place = data
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    return json.dumps(data).encode()


@pytest.mark.parametrize("piece", [b"[],", b"{},", b"0,", b'"",', b'"a":0,'])
def test_a_file_that_costs_a_hundred_times_its_size_is_refused_before_it_is_parsed(piece: bytes, monkeypatch) -> None:
    """8 MB of empty lists took 2.8 GB and 17 s."""
    opening, closing = (b'{"a": 1, ', b'"b": 0}') if b":" in piece else (b'{"schema_version": 1, "x": [', b"0]}")
    monkeypatch.setattr(Trace, "model_validate_json", None)
    with pytest.raises(TraceError, match="more lists and numbers"):
        parse_trace(opening + piece * ((4 << 20) // len(piece)) + closing, max_bytes=8 << 20)


def test_of_a_list_of_broken_steps_only_the_first_is_told_of() -> None:
    """A list of a million of them made a million errors."""
    with pytest.raises(TraceError, match=r"broken at steps\.0"):
        parse_trace(edited("steps", value=[0] * 1000))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("steps", 0, "caches", "target", "length_before"), 10**4299),
        (("steps", 0, "tokens", 0, "text"), "x" * 5000),
        (("steps", 0, "tokens", 0, "bytes"), "00" * 5000),
        (("settings", "verifiers"), [{"name": f"v{i}"} for i in range(300)]),
        (("settings", "builder", "options"), {f"o{i}": 1 for i in range(200)}),
    ],
    ids=["a number of 4,300 digits", "a long text", "long bytes", "300 verifiers", "200 options"],
)
def test_what_would_make_a_small_file_long_work_is_refused(path: tuple, value: object) -> None:
    with pytest.raises(TraceError, match="broken at"):
        parse_trace(edited(*path, value=value))


def test_a_node_in_two_slots_is_refused() -> None:
    """Each such slot is drawn with all its ancestors."""
    trace = sample_trace(steps=1)
    slots = json.loads(dump_trace(trace))["steps"][0]["caches"]["target"]["appended"]
    slots[1]["node"] = slots[2]["node"]
    with pytest.raises(TraceError, match="written to two slots"):
        parse_trace(edited("steps", 0, "caches", "target", "appended", value=slots, trace=trace))


def test_a_recorded_tree_may_be_as_large_as_a_drafted_one() -> None:
    assert MOST_NODES == MAX_NODES + 1


def test_a_path_that_is_no_path_is_one_sentence(tmp_path: Path) -> None:
    for name in ("a\0b", "x" * 300):
        with pytest.raises(TraceError, match="cannot be read"):
            load_trace(tmp_path / name)


def test_the_largest_float_can_be_shown() -> None:
    """It rounds up to infinity, which JSON does not know."""
    assert number(1.7976931348623157e308) == 1.7976931348623157e308
    trace = sample_trace(steps=1)
    thresholds = [1.7976931348623157e308] * len(trace.steps[0].tree.nodes)
    data = edited("steps", 0, "verdicts", "rejection", "thresholds", value=thresholds, trace=trace)
    assert standalone_page(parse_trace(data))


@pytest.mark.parametrize("probs", [(0.0, 0.0), (0.0, 0.5), (1.0, 5e-324)])
def test_a_row_without_mass_can_be_compared(probs: tuple[float, float]) -> None:
    one = sample_trace(steps=1)
    step = one.steps[0]
    row = step.tree.nodes[0].target
    raw = row.raw.model_copy(update={"ids": (1, 2), "probs": probs})
    nodes = [node.model_copy(update={"target": row.model_copy(update={"raw": raw})}) for node in step.tree.nodes]
    tree = step.tree.model_copy(update={"nodes": tuple(nodes)})
    two = one.model_copy(update={"steps": (step.model_copy(update={"tree": tree}),)})
    assert format_comparison(compare(two, sample_trace(steps=1, seed=5)))


def test_a_verifier_that_joined_later_does_not_break_the_summary() -> None:
    few, more = sample_trace(steps=2, verifiers=("rejection",)), sample_trace(steps=2)
    mixed = few.model_copy(update={"steps": (more.steps[0], few.steps[1])})
    assert "rejection" in summary(mixed)
    assert "eta" not in summary(mixed)


def test_slots_from_before_a_step_are_named_without_walking_the_run() -> None:
    """Also where a cache claims to be shorter than the prompt, or longer than the text."""
    trace = sample_trace(steps=3)
    for length in (0, 1, len(trace.prompt_tokens) + 1, 10**9):
        change = trace.steps[2].caches.target
        end = length + change.length_after - change.length_before
        moved = change.model_copy(update={"length_before": length, "length_after": end})
        step = trace.steps[2]
        caches = step.caches.model_copy(update={"target": moved})
        lying = trace.model_copy(update={"steps": (*trace.steps[:2], step.model_copy(update={"caches": caches}))})
        assert len(step_frame(lying, 2)["caches"]["target"]["settled"]["text"]) <= 3


# ----------------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("prompt", 5), ("target", ["x"]), ("device", {"a": 1}), ("dtype", "float1"), ("target_quantization", None)],
        *[("verifiers", 5), ("driver", [1]), ("draft_temperature", 28), ("draft_temperature", "x" * 10**5)],
        *[("temperature", "4,2,2"), ("temperature", float("nan")), ("top_k", [2]), ("seed", float("inf"))],
        *[("max_new_tokens", 10**4290), ("builder", -0.0), ("builder", [[0.0]]), ("builder.k_config.tree", [1])],
        *[("verifier.eta.epsilon", {"x": None}), ("verifier.eta.epsilon", float("nan"))],
    ],
    ids=lambda value: str(value)[:20] if isinstance(value, str) else type(value).__name__,
)
def test_a_form_filled_in_by_hand_is_refused_with_a_sentence(name: str, value: object) -> None:
    with pytest.raises(SettingsError) as caught:
        read_form(_form_values() | {"verifiers": ["rejection", "eta"], name: value})
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "build",
    [
        lambda: build_settings(verifiers=[None] * 3000),
        lambda: build_settings(builder="x" * 10**5),
        lambda: build_settings(seed=10**5000),
        lambda: build_choice("x" * 10**5, {}),
        lambda: parse_pairs(["9" * 4400], "builder"),
        lambda: verifier_choices(["rejection"] * 3000, {"x" * 10**5: {}}),
        lambda: parse_tree(" "),
        lambda: parse_verifier("x" * 300 + "=nobody"),
        lambda: parse_memory("9" * 400 + "GB"),
        lambda: parse_breakpoints({"token": 10**4000}),
    ],
)
def test_a_refusal_is_short_whatever_was_sent(build) -> None:
    with pytest.raises(SpecvizError) as caught:
        build()
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)


def test_a_long_label_is_cut() -> None:
    assert len(parse_verifier("x" * 300 + "=rejection").label) == 200


def test_a_number_that_python_does_not_write_can_be_named() -> None:
    assert shown(10**5000) == "a int of very many digits"
    assert len(shown("x" * 1000)) == 60


def test_a_what_if_question_is_not_echoed_unless_it_is_plain() -> None:
    trace = sample_trace(steps=1)
    assert "NaN" not in whatif.from_trace(trace, {"run": float("nan"), "id": [float("inf")], "step": 0})


@pytest.mark.parametrize(
    "name",
    [
        *["a/../b", "a..b", "a/b@../../../etc/passwd", "a/b@%2e%2e", "a/b@\0", "a/b@", "a/b@x@y", "git@github.com:a/b"],
        *["http://127.0.0.1:9/x", "file:///etc", "é/ü", "１/２", "a--b/c", "a/b\n/c", "x" * 300, "a/" + "b" * 300],
        *["\0", "~nobody-here", "~root~", "a/b?x=1", "\ud800", "a/b@" + "c" * 300],
    ],
)
def test_nothing_but_ids_and_revisions_of_the_hub_reaches_the_hub(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "hub_source", None)
    for look in (sources.find_source, read_known_config):
        with pytest.raises(ModelError, match="no hub id") as caught:
            look(name, "target", lambda *told: None)
        assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "name", ["gpt2", "owner/name", "owner/na.me-1_b@main", "owner/name@refs/pr/1", "o/n@" + "a" * 40]
)
def test_what_the_hub_writes_is_asked_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(sources, "hub_source", lambda *what: asked.append(what))
    sources.find_source(name, "draft", lambda *told: None)
    id, _, revision = name.partition("@")
    assert asked == [(id, revision or None, "draft")]
