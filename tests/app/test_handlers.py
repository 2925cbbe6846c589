"""The page's server side without a browser: the form, the registry of sessions, and what the buttons answer."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import gradio as gr
import pytest

from specviz.app import answers, run_handlers
from specviz.app.blocks import _told
from specviz.app.form import ADDED, DEFAULT_VERIFIERS, Form, breakpoint_form, settings_form, write_form
from specviz.app.models_form import fits
from specviz.app.page_state import models_of
from specviz.app.server.limits import Limits
from specviz.app.server.progress import Progress
from specviz.app.server.session_registry import Live, Sessions
from specviz.errors import ModelError, SettingsError
from specviz.models.pair_spec import ModelChoice
from specviz.models.presets import PRESETS
from specviz.trace.schema import Sampling, Trace
from specviz.verifiers import BUILT_IN, Verifier
from tests.sample_traces import sample_trace


def values(form: Form, **changed: object) -> list[object]:
    return [changed.pop(name, component.value) for name, component in form.components.items()]


def answer_of(text: str) -> dict:
    return json.loads(text)


# -------------------------------------------------------------------------------------------------------- form


def test_stop_strings_stand_in_the_form_as_text(form):
    _, _, settings = form.read(values(form, stop_strings="\\n\\n\nUser: ", min_new_tokens=3))
    assert (settings.stop, settings.min_new_tokens) == (("\n\n", "User: "), 3)
    shown = write_form("", ModelChoice(), settings)
    assert (shown["stop_strings"], shown["min_new_tokens"]) == ("\\n\\n\nUser: ", 3)
    wrong = {"\\x": "backslash", "a" * 201: "200 characters", "a\n" * 17: "16 items", 7: "write a text"}
    for text, said in wrong.items():
        with pytest.raises(SettingsError, match=said):
            form.read(values(form, stop_strings=text))


def test_programs_that_send_values_in_order_have_the_newest_inputs_last(form):
    stops = Form()
    with gr.Blocks():
        breakpoint_form(stops)
    inputs = form.with_breakpoints(form.components, stops.inputs)
    both = [*form.components.items(), *stops.components.items()]  # some of their names are equal
    names = {id(component): name for name, component in both}
    given = [names[id(component)] for component in inputs]
    later = given[given.index(list(stops.components)[-1]) + 1 :]
    assert set(ADDED) < set(later)
    assert {name.split(".")[1] for name in set(later) - set(ADDED)} == {"coupling", "lenience", "relaxed"}
    own, until = form.split(inputs, stops)
    assert (own, until) == (form.inputs, stops.inputs)


def test_the_untouched_form_gives_the_default_settings(form):
    prompt, models, settings = form.read(values(form))
    assert prompt
    assert models == ModelChoice()
    assert [choice.name for choice in settings.verifiers] == ["rejection", "eta", "longest_path"]
    assert settings.driver == "rejection"
    assert settings.builder.options["tree"] == "4,2,2"
    assert settings.verifiers[1].options == {"epsilon": 0.09, "delta": 0.3, "select": "longest"}


def ticked(monkeypatch, *more: Verifier, ours: tuple[Verifier, ...]) -> list[str]:
    """Verifiers that are ticked in a form that is made with these, too."""
    monkeypatch.setattr("specviz.app.form.VERIFIERS", {one.name: one for one in (*BUILT_IN, *more)})
    monkeypatch.setattr("specviz.app.form.BUILT_IN", ours)
    made = Form()
    with gr.Blocks(analytics_enabled=False):
        settings_form(made)
    return made.components["verifiers"].value


def test_a_users_verifier_is_ticked_and_a_seventh_of_ours_is_not(monkeypatch):
    seventh = dataclasses.replace(BUILT_IN[0], name="seventh")
    assert ticked(monkeypatch, seventh, ours=BUILT_IN) == [*DEFAULT_VERIFIERS, "seventh"]
    assert ticked(monkeypatch, seventh, ours=(*BUILT_IN, seventh)) == [*DEFAULT_VERIFIERS]


def test_an_empty_draft_temperature_follows_the_target_but_never_to_zero(form):
    assert form.read(values(form, temperature=0.7))[2].draft == Sampling(temperature=0.7)
    assert form.read(values(form, temperature=0))[2].draft == Sampling(temperature=1.0)
    assert form.read(values(form, draft_temperature="0.5"))[2].draft == Sampling(temperature=0.5)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"verifiers": []}, "at least one"),
        ({"driver": "greedy"}, "not among"),
        ({"top_p": 0}, "top_p"),
        ({"seed": None}, "empty"),
        ({"draft_temperature": "warm"}, "not a number"),
    ],
)
def test_a_wrong_setting_is_one_sentence(form, changed, said):
    with pytest.raises(SettingsError, match=said) as caught:
        form.read(values(form, **changed))
    assert "\n" not in str(caught.value)


def test_quantization_reaches_the_loader_and_comes_back(form):
    prompt, models, settings = form.read(values(form, target_quantization="nf4"))
    assert (models.target_quantization, models.draft_quantization) == ("nf4", "none")
    assert write_form(prompt, models, settings)["target_quantization"] == "nf4"
    trace = sample_trace()
    target = trace.models.target.model_copy(update={"quantization": "bitsandbytes int8"})
    opened = models_of(trace.model_copy(update={"models": trace.models.model_copy(update={"target": target})}))
    assert opened.target_quantization == "int8"


def test_the_plan_says_what_fits_before_anything_is_loaded(form, monkeypatch):
    monkeypatch.setattr("specviz.models.planning.free_memory", lambda device: 10 * 10**9)
    names = dict(zip(("target", "draft"), PRESETS["llama-2-7b"].names, strict=True))
    text = fits(form, tuple(values(form, device="cpu", dtype="bfloat16", **names)))
    assert text.startswith("**Does not fit: ")
    assert "| other weights |" in text
    assert "28 nodes" in text
    small = fits(form, tuple(values(form, device="cpu", target_quantization="nf4", dtype="bfloat16", **names)))
    assert small.startswith("**Fits: ")
    assert "not among" in fits(form, tuple(values(form, driver="greedy")))


# ---------------------------------------------------------------------------------------------------- sessions


def live(models: ModelChoice | None = None) -> Live:
    return Live(SimpleNamespace(held_bytes=0), models or ModelChoice(), "prompt", sample_trace().settings)


def test_the_oldest_session_makes_room():
    sessions = Sessions(limits=Limits(live_runs=2))
    first, second, third = (sessions.add(live()) for _ in range(3))
    assert sessions.get(first) is None
    assert sessions.get(second) is not None
    fourth = sessions.add(live())  # the second was used last, so the third goes
    assert sessions.get(third) is None
    assert sessions.get(second) is not None
    assert sessions.get(fourth) is not None


def test_only_the_token_limit_may_change_within_a_run():
    one = live()
    settings = one.settings
    assert one.goes_on_for(one.models, "prompt", settings.model_copy(update={"max_new_tokens": 99}))
    assert not one.goes_on_for(one.models, "prompt", settings.model_copy(update={"seed": 5}))
    assert not one.goes_on_for(one.models, "other", settings)
    assert not one.goes_on_for(ModelChoice(target="x"), "prompt", settings)


def test_a_pair_is_loaded_once_and_tells_how_far_it_is():
    calls = []

    def load_pair(target, progress, **_: object):
        calls.append(target)
        progress("half", 0.5)
        return Trace.model_construct(id=target)  # anything that can be let go

    sessions = Sessions(load_pair)
    told = list(sessions.backend.pair(ModelChoice()))
    assert Progress("half", 0.5) in told
    assert list(sessions.backend.pair(ModelChoice())) == []
    list(sessions.backend.pair(ModelChoice(target="b")))
    assert calls == ["default", "b"]


def test_what_a_loader_raises_reaches_the_page_and_nothing_is_kept():
    def refuse(*_: object, **__: object) -> None:
        raise ModelError("No such model; check the name.")

    trace = sample_trace()
    settings = trace.settings
    answers = list(run_handlers.run_steps(Sessions(refuse), "page", ("p", ModelChoice(), settings), 1, trace, None))
    block, kept, ticket = answers[-1]
    assert answer_of(block)["notice"]["text"] == "No such model; check the name."
    assert kept is trace
    assert ticket is None


# -------------------------------------------------------------------------------------------------------- runs


@pytest.fixture
def running(form):
    """(sessions, inputs) for a run on small random models."""
    from tests import pairs

    sessions = Sessions(lambda *_, **__: pairs.make_pair())
    return sessions, form.read(values(form, chat=False, max_new_tokens=12))


def last_trace(answers: list) -> Trace:
    return answers[-1][1]


def test_each_answer_carries_only_the_new_step(running):
    sessions, inputs = running
    answers = [a for a in run_handlers.run_steps(sessions, "page", inputs, 3, None, None) if "run" in answer_of(a[0])]
    assert [[frame["step"] for frame in answer_of(a[0])["frames"]] for a in answers] == [[0], [1], [2]]
    _, trace, ticket = answers[-1]
    more = list(run_handlers.run_steps(sessions, "page", inputs, 1, trace, ticket))
    assert len(last_trace(more).steps) == 4
    assert last_trace(more).id == trace.id


def test_a_run_stops_between_two_steps(running):
    sessions, inputs = running
    seen = 0
    for answer in run_handlers.run_steps(sessions, "page", inputs, 50, None, None):
        if "run" in answer_of(answer[0]):
            seen += 1
            sessions.ask_to_stop("page")
    assert seen == 1
    assert not answer_of(answer[0])["notice"], "nothing is said to be running any more"


def test_an_evicted_session_goes_on_as_if_it_had_stayed(running):
    sessions, inputs = running
    *_, (_, trace, ticket) = run_handlers.run_steps(sessions, "page", inputs, 2, None, None)
    *_, (_, straight, _) = run_handlers.run_steps(sessions, "page", inputs, 1, trace, ticket)
    sessions.drop(ticket)
    *_, (_, resumed, _) = run_handlers.run_steps(sessions, "page", inputs, 1, trace, ticket)
    assert resumed.steps[2].committed == straight.steps[2].committed
    assert resumed.steps[2].prefilled > 0


def test_missing_frames_are_given_for_the_run_that_is_shown():
    trace = sample_trace(steps=4)
    given = answer_of(run_handlers.wanted_block(trace, trace.id, [1, 3, 99, "x"]))
    assert [frame["step"] for frame in given["frames"]] == [1, 3]
    assert run_handlers.wanted_block(trace, "another", [1]) == ""


def test_a_page_opens_with_a_bounded_part_of_a_long_run(monkeypatch):
    monkeypatch.setattr(answers, "FRAMES_BYTES", 60_000)
    opened = answer_of(run_handlers.opening_block(sample_trace(steps=8)))
    assert opened["run"]["steps"] == 8
    count = len(opened["frames"])
    assert 1 <= count < 8
    assert opened["left"] == list(range(count, 8)), "the viewer asks for these"


def test_recorded_runs_are_found_by_name_only(tmp_path):
    with pytest.raises(Exception, match="no recorded run"):
        run_handlers.open_recorded("../../etc/passwd", tmp_path)


def test_an_error_of_gradios_that_repeats_a_value_turns_no_text_around():
    assert str(_told("Value: x\u202egpj is not in the list").message) == "Value: x⟨U+202E⟩gpj is not in the list"
