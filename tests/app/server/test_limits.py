"""The page's limits: where they come from, and that whatever does the work keeps them, whoever asks and however."""

from __future__ import annotations

import json
import math
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from specviz.app import diff_handlers, run_handlers, whatif
from specviz.app.compare.quick_run import small_job
from specviz.app.compare.store import ComparisonStore
from specviz.app.compare.tab import CompareTab
from specviz.app.form import Form, prompt_box, settings_form
from specviz.app.handlers import Actions
from specviz.app.models_form import fits, models_form
from specviz.app.proofs import Proofs
from specviz.app.server.limits import Limits, read_limits
from specviz.app.server.session_registry import Sessions
from specviz.app.server.share_store import ShareStore
from specviz.errors import SettingsError
from specviz.models.pair_spec import ModelChoice
from specviz.models.presets import PRESETS
from specviz.trace.schema import Choice, Trace
from tests import pairs
from tests.paths import ROOT

SETTINGS = pairs.make_settings("4,2,2", max_new_tokens=12)
INPUTS = ("the sea", ModelChoice(), SETTINGS)
LIMITS = [one for one in fields(Limits) if one.metadata]


def sessions_of(**limits: Any) -> Sessions:
    return Sessions(lambda *_, **__: pairs.make_pair(), Limits(**limits))


def told(text: str) -> str:
    """The notice of a block."""
    return json.loads(text)["notice"]["text"]


def is_one_sentence(text: str) -> bool:
    return "\n" not in text and len(text) < 400 and text.endswith(".") and "Something is wrong" not in text


@pytest.fixture(scope="module")
def trace() -> Trace:
    return pairs.make_trace(max_new_tokens=12)


# ------------------------------------------------------------------------------------------ where they come from


def test_a_private_machine_is_the_default_and_a_space_is_public() -> None:
    assert read_limits({}) == Limits()
    public = read_limits({"SPACE_ID": "somebody/specviz"})
    assert public.public
    assert not public.addresses_count, "a Space lies behind a proxy that nobody has named"
    elsewhere = replace(public, addresses_count=True, frames=())
    assert read_limits({"SPECVIZ_PUBLIC": "1"}) == read_limits({}, public=True) == elsewhere
    assert read_limits({"SPACE_ID": "a/b", "SPECVIZ_PUBLIC": "0"}) == read_limits({"SPACE_ID": "a/b"}, public=False)
    assert not read_limits({"SPACE_ID": "a/b", "SPECVIZ_PUBLIC": "0"}).public


def test_no_public_default_is_looser_where_a_visitor_alone_would_gain() -> None:
    private, public = Limits(), read_limits({}, public=True)
    shared = {"visitors", "live_runs", "live_mb", "pairs", "queue", "connections"}
    for one in LIMITS:
        if one.name not in shared:
            assert getattr(public, one.name) < getattr(private, one.name), one.name


def test_an_option_counts_more_than_a_variable_and_that_more_than_the_default() -> None:
    environment = {"SPECVIZ_MAX_NODES": "64", "SPECVIZ_MAX_STEPS": "1_0", "SPECVIZ_PUBLIC": "1"}
    limits = read_limits(environment, ["nodes=32"])
    assert (limits.nodes, limits.steps, limits.seconds) == (32, 10, 120)


@pytest.mark.parametrize(
    ("environment", "options"),
    [
        ({"SPECVIZ_MAX_NODES": "many"}, []),
        ({"SPECVIZ_MAX_NODES": "0"}, []),
        ({"SPECVIZ_MAX_NODES": "-1"}, []),
        ({"SPECVIZ_MAX_NODES": "1e3"}, []),
        ({"SPECVIZ_MAX_NODES": "٣"}, []),
        ({"SPECVIZ_MAX_NODES": "1025"}, []),
        ({"SPECVIZ_MAX_NODES": ""}, []),
        ({"SPECVIZ_MAX_UPLOAD_MB": "9" * 5000}, []),
        ({"SPECVIZ_MAX_NODEZ": "5"}, []),
        ({"SPECVIZ_PUBLIC": "maybe"}, []),
        ({"SPECVIZ_PRESETS": "default,gpt-5"}, []),
        ({"SPECVIZ_DTYPE": "int3"}, []),
        ({"SPECVIZ_TARGET_QUANTIZATION": "auto"}, []),
        ({"SPECVIZ_PUBLIC": "1", "SPECVIZ_PRESETS": "default,llama-160m", "SPECVIZ_MAX_PAIRS": "1"}, []),
        ({"SPECVIZ_PUBLIC": "1", "SPECVIZ_PRESETS": "default,llama-160m"}, ["pairs=1"]),
        ({}, ["nodes"]),
        ({}, ["nodes=few"]),
        ({}, ["nothing=5"]),
        ({}, ["presets=5"]),
    ],
)
def test_a_bad_value_is_one_sentence_at_the_start(environment: dict[str, str], options: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        read_limits(environment, options)
    assert is_one_sentence(str(caught.value)), str(caught.value)


def test_the_table_in_the_documents_is_what_there_is() -> None:
    text = (ROOT / "docs" / "limits.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| ([\d,]+) \| ([\d,]+) \| (.+?) \|$", text, flags=re.M)
    assert rows == [
        (one.name, f"{one.default:,}", f"{one.metadata['public']:,}", one.metadata["meaning"]) for one in LIMITS
    ]


# ----------------------------------------------------------------------------------------------- what a run may


@pytest.mark.parametrize(
    ("limits", "inputs", "said"),
    [
        ({"prompt_characters": 6}, INPUTS, "7 characters and this page takes 6"),
        ({"prompt_tokens": 3}, INPUTS, "4 tokens and this page takes 3"),
        ({"context_tokens": 15}, INPUTS, "takes 15 together"),
        ({"nodes": 27}, INPUTS, "28 nodes and this page drafts 27"),
        ({"public": True}, ("x", ModelChoice(target="gpt2", draft="gpt2"), SETTINGS), "its presets only"),
    ],
)
def test_over_a_limit_a_run_is_one_sentence_and_what_is_recorded_stays(
    trace: Trace, limits: dict[str, Any], inputs: run_handlers.Inputs, said: str
) -> None:
    answers = list(run_handlers.run_steps(sessions_of(**limits), "page", inputs, 5, trace, None))
    text, kept, _ = answers[-1]
    assert said in told(text)
    assert is_one_sentence(told(text))
    assert kept is trace


def test_at_its_limits_a_run_goes_through() -> None:
    prompt_tokens = len(pairs.make_pair().encode("the sea", SETTINGS.chat))
    tight = {"prompt_characters": 7, "prompt_tokens": prompt_tokens, "context_tokens": prompt_tokens + 12, "nodes": 28}
    *_, (_, trace, _) = run_handlers.run_steps(sessions_of(public=True, **tight), "page", INPUTS, 50, None, None)
    assert trace is not None
    assert trace.end_reason == "max_new_tokens"


def test_a_run_that_goes_on_may_not_pass_the_context_either() -> None:
    sessions = sessions_of(context_tokens=60)
    *_, (_, trace, ticket) = run_handlers.run_steps(sessions, "page", INPUTS, 1, None, None)
    more = ("the sea", ModelChoice(), SETTINGS.model_copy(update={"max_new_tokens": 10_000}))
    *_, (text, kept, _) = run_handlers.run_steps(sessions, "page", more, 1, trace, ticket)
    assert "takes 60 together" in told(text)
    assert kept is not None
    assert len(kept.steps) == 1


def test_a_click_stops_after_its_seconds_and_the_next_one_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = sessions_of(seconds=10)
    now = iter(range(0, 100_000, 4))
    monkeypatch.setattr("time.monotonic", lambda: next(now))
    monkeypatch.setattr("specviz.interruption.PATIENCE", math.inf)  # with this clock all judging is long
    *_, (text, trace, ticket) = run_handlers.run_steps(sessions, "page", INPUTS, 50, None, None)
    assert "worked for its 10 seconds" in told(text)
    assert trace is not None
    before = len(trace.steps)
    assert trace.end_reason == "stopped"
    *_, (_, trace, _) = run_handlers.run_steps(sessions, "page", INPUTS, 1, trace, ticket)
    assert trace is not None
    assert len(trace.steps) == before + 1


@pytest.mark.parametrize("limits", [{"nodes": 27}, {"context_tokens": 4}, {"prompt_tokens": 3}])
def test_a_run_from_elsewhere_meets_the_limits_too(trace: Trace, limits: dict[str, Any]) -> None:
    """A file may hold a run that was recorded where more is allowed."""
    sessions = sessions_of(**limits)
    *_, (forked, none, _) = run_handlers.fork(sessions, "page", INPUTS, trace, 0)
    *_, scored = whatif.through_models(sessions, trace, ModelChoice(), {"step": 1, "verifier": "naive"})
    assert none is None
    *_, greedy = diff_handlers.against_greedy(sessions, "page", trace, ModelChoice(), "it")
    for text in (forked, scored, *([greedy] if "nodes" not in limits else [])):
        assert re.search(r"this page (takes|drafts)", told(text)), told(text)


@pytest.mark.parametrize("count", [0, -1, 201, 10**400, float("nan"), float("inf"), 1.5, "5", "", None, [], {}, True])
def test_steps_a_click_are_a_whole_number_within_the_limit(count: Any) -> None:
    with pytest.raises(SettingsError, match="A click runs 1 to 200 steps") as caught:
        Limits(steps=200).steps_of(count)
    assert is_one_sentence(str(caught.value))


def test_steps_a_click_within_the_limit_are_taken() -> None:
    assert [Limits(steps=200).steps_of(count) for count in (1, 7.0, 200)] == [1, 7, 200]


# ------------------------------------------------------------------------------------------------ a public page


@pytest.mark.parametrize(
    "models",
    [
        ModelChoice(target="gpt2", draft="gpt2"),
        ModelChoice(target="default", draft="JackFram/llama-68m"),
        ModelChoice(target="/", draft="/"),
        ModelChoice(target="JackFram/llama-160m@main", draft="JackFram/llama-68m"),
        ModelChoice(target="jackfram/llama-160m", draft="JackFram/llama-68m"),
    ],
)
def test_a_public_page_loads_its_presets_and_nothing_else(models: ModelChoice) -> None:
    loaded: list[Any] = []
    sessions = Sessions(lambda **fields: loaded.append(fields), Limits(public=True))
    with pytest.raises(SettingsError, match="presets only"):
        list(sessions.backend.pair(models))
    assert not loaded


def test_a_public_page_loads_every_preset() -> None:
    loaded: list[Any] = []
    sessions = Sessions(lambda **fields: loaded.append(fields) or fields, Limits(public=True, pairs=99))
    names = PRESETS["default"].names
    for models in (
        ModelChoice(),
        ModelChoice(target=names[0]),
        ModelChoice(target=f" {names[0]} ", draft=f" {names[1]}"),
        *(ModelChoice(*preset.names) for preset in PRESETS.values()),
    ):
        list(sessions.backend.pair(models))
    assert len(loaded) == len(PRESETS), "the default pair has two names, and is loaded once"


def test_a_public_page_may_offer_fewer_presets() -> None:
    limits = read_limits({"SPECVIZ_PUBLIC": "1", "SPECVIZ_PRESETS": " llama-160m, default "})
    assert limits.presets == ("llama-160m", "default")
    assert limits.pairs == 2, "no visitor's choice pushes out what others use"
    limits.check_models(ModelChoice("JackFram/llama-160m", "JackFram/llama-68m"))
    with pytest.raises(SettingsError, match="llama-160m, default"):
        limits.check_models(ModelChoice(*PRESETS["vicuna-7b"].names))


def test_a_public_page_offers_no_more_pairs_than_stay_loaded() -> None:
    assert read_limits({}, public=True).presets == ("default",)
    assert read_limits({}, ["pairs=2"], public=True).presets == tuple(PRESETS)[:2]
    assert read_limits({}).presets == tuple(PRESETS)


ONE_WAY = {"device": "cpu", "dtype": "bfloat16", "target_quantization": "int8", "draft_quantization": "nf4"}


@pytest.mark.parametrize("name", list(ONE_WAY))
def test_a_public_page_loads_its_pairs_as_its_operator_has_set_it_and_in_no_other_way(name: str) -> None:
    """Another way to load the same models is another pair, and would push out the one that all use."""
    loaded: list[Any] = []
    options = {"SPECVIZ_DTYPE": "float16"} | {f"SPECVIZ_{key.upper()}": value for key, value in ONE_WAY.items()}
    limits = read_limits(options, public=True)
    sessions = Sessions(lambda **fields: loaded.append(fields), limits)
    with pytest.raises(SettingsError, match="loads its models in one way") as caught:
        list(sessions.backend.pair(replace(ModelChoice(**ONE_WAY), **{name: getattr(ModelChoice(), name)})))
    assert is_one_sentence(str(caught.value))
    assert not loaded
    list(sessions.backend.pair(limits.as_set(ModelChoice())))
    assert loaded[0].items() >= ONE_WAY.items()
    form = form_of(limits)
    assert form.components[name].value == ONE_WAY[name]
    assert not form.components[name].interactive
    shown = dict(zip(form.components, form.write("x", ModelChoice(dtype="float32"), SETTINGS), strict=True))
    assert shown[name]["value"] == ONE_WAY[name], "whatever a run that is opened was recorded with"


def test_on_a_private_page_the_form_begins_as_the_operator_has_set_it_and_all_can_be_chosen() -> None:
    limits = read_limits({"SPECVIZ_DTYPE": "float16"}, loading={"dtype": "bfloat16", "device": None})
    limits.check_models(ModelChoice(dtype="float32"))
    form = form_of(limits)
    assert (form.components["dtype"].value, form.components["device"].value) == ("bfloat16", "auto")
    assert form.components["dtype"].interactive
    assert limits.as_set(ModelChoice(dtype="float32")).dtype == "float32"


def form_of(limits: Limits) -> Form:
    form = Form(limits)
    with gr.Blocks(analytics_enabled=False):
        prompt_box(form)
        models_form(form)
        settings_form(form)
    return form


def test_the_form_of_a_public_page_offers_presets_and_looks_nothing_else_up(monkeypatch: pytest.MonkeyPatch) -> None:
    form = form_of(Limits(public=True, presets=("llama-160m",)))
    assert form.components["target"].value == "JackFram/llama-160m"
    assert not form.components["target"].interactive
    assert not form.components["draft"].interactive
    values = {name: component.value for name, component in form.components.items()}
    monkeypatch.setattr("specviz.app.models_form.plan_text", lambda *_: pytest.fail("a model was looked up"))
    assert "presets only" in fits(form, tuple((values | {"target": "somebody/model"}).values()))
    assert form_of(Limits()).components["target"].interactive


def test_a_public_page_opens_no_comparison_of_a_visitor(tmp_path: Path) -> None:
    class Untouched(ComparisonStore):
        def take(self, paths: Any) -> Any:
            pytest.fail("files of a visitor were opened")

    act = Actions(Sessions(limits=Limits(public=True)), ShareStore(tmp_path), Proofs())
    tab = CompareTab(act, Untouched(shipped=tmp_path))
    (answer,) = tab.on_upload_comparison([str(tmp_path)], gr.Request(session_hash="page"))
    assert is_one_sentence(told(answer[0]))


# ------------------------------------------------------------------------------------------- comparisons, files


VALUES = {"prompts": 2, "free": 0, "tokens": 8, "trees": ["2,2"], "verifiers": ["naive"], "temperatures": ["1.0"]}


def test_a_small_comparison_keeps_to_its_tokens_and_trees() -> None:
    small_job(VALUES, ModelChoice(), Limits(comparison_tokens=16, nodes=6))
    with pytest.raises(SettingsError, match="16 in all; the page makes at most 15"):
        small_job(VALUES, ModelChoice(), Limits(comparison_tokens=15))
    with pytest.raises(SettingsError, match="6 nodes and this page drafts 5"):
        small_job(VALUES, ModelChoice(), Limits(nodes=5))


def test_a_tree_is_measured_before_it_is_made() -> None:
    for options in ({"tree": "1024"}, {"tree": "32,31"}):
        with pytest.raises(SettingsError, match="this page drafts 128"):
            replace(Limits(), nodes=128).check_tree(Choice(name="k_config", options=options))
    with pytest.raises(SettingsError, match="this page drafts 128"):
        Limits(nodes=128).check_tree(Choice(name="dynamic", options={"total": 500}))


def test_an_upload_over_the_limit_is_one_sentence_and_the_desk_stays(tmp_path: Path) -> None:
    path = tmp_path / "large.json"
    path.write_bytes(b"[" + b"0," * 600_000 + b"0]")
    act = Actions(Sessions(limits=Limits(upload_mb=1)), ShareStore(tmp_path), Proofs())
    text, desk, *_ = act.on_upload(str(path), None, gr.Request(session_hash="page"))
    assert "1 MB" in told(text), told(text)
    assert not isinstance(desk, type(act.start))
