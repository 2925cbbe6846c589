"""Whatever run comes into sight, the form is about it: its prompt, models and settings; folders are asked for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from specviz.app.form import DEFAULT_PROMPT, read_form, write_form
from specviz.app.handlers import Actions
from specviz.app.page import build_page
from specviz.app.page_state import PageState
from specviz.app.server.limits import Limits
from specviz.app.server.session_registry import Sessions
from specviz.app.server.share_store import ShareStore
from specviz.engine.session import Session
from specviz.lessons import LESSONS
from specviz.models.loading import load_pair
from specviz.trace.io import load_trace, save_trace
from specviz.trace.schema import Choice, Trace
from tests import pairs, tiny
from tests.bare_run import ENGINE, bare
from tests.paths import ASSETS

REQUEST: Any = SimpleNamespace(session_hash="page", query_params={}, request=None)
ASKED = "was in a folder called target; write the path of that folder as target model under Settings."


class Page:
    """A page without a browser: what its form holds, its desk, and what it answered last."""

    def __init__(self, folder: Path, trace: Trace | None = None, limits: Limits | None = None, load: Any = load_pair):
        self.loaded: list[str] = []

        def load_and_note(target: str, draft: str, **more: Any) -> Any:
            self.loaded.append(target)
            return load(target, draft, **more)

        page = build_page(Sessions(load_and_note, limits), trace, ShareStore(folder))
        owners = (getattr(fn.fn, "__self__", None) for fn in page.fns.values())
        self.act: Actions = next(owner for owner in owners if isinstance(owner, Actions))
        self.form = {name: component.value for name, component in self.act.form.components.items()}
        self.stops = [component.value for component in self.act.stops.components.values()]
        self.desk: PageState | None = None
        self.said: list[str] = _notices(self.act.first_block)

    def take(self, answer: Any) -> None:
        text, desk, *fill = answer
        self.said = _notices(text) if isinstance(text, str) else []
        self.desk = desk if isinstance(desk, PageState) else self.desk
        for name, update in zip(self.form, fill, strict=False):
            if isinstance(update, dict) and "value" in update:
                self.form[name] = update["value"]

    def step(self) -> None:
        values = self.act.form.with_breakpoints(self.form, self.stops)
        *_, last = self.act.on_step(self.desk, REQUEST, *values)
        self.take(last)

    def ask(self, handler: str, **data: Any) -> Any:
        return getattr(self.act, handler)(self.desk, _event(data))

    def fork(self, run: str, step: int) -> None:
        *_, last = self.act.on_fork(self.desk, _event({"run": run, "step": step}), REQUEST, *self.form.values())
        self.take(last)

    @property
    def run(self) -> Trace:
        assert self.desk is not None
        assert self.desk.run is not None
        return self.desk.run.trace


def _event(data: dict[str, Any]) -> gr.EventData:
    return gr.EventData(None, data)


def _notices(text: str) -> list[str]:
    def blocks(value: Any) -> list[dict[str, Any]]:
        return [one for part in value for one in blocks(part)] if isinstance(value, list) else [value]

    found = [block.get("notice") for block in blocks(json.loads(text) if text else [])]
    return [notice["text"] for notice in found if notice]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    target, draft = tiny.save_pair(tmp_path_factory.mktemp("pair"))
    return str(target), str(draft)


@pytest.fixture(scope="module")
def left_off(folders: tuple[str, str]) -> Trace:
    """A run of a pair of folders that was stopped after two steps, with settings that are nobody's default."""
    settings = pairs.make_settings(Choice(name="dynamic", options={"total": 6, "top_k": 2, "depth": 3}), seed=7)
    session = Session(load_pair(*folders, device="cpu"), settings, "the sea is the sea")
    list(session.run(2))
    return session.trace


def as_hub(trace: Trace) -> Trace:
    """The same, as if its models had come from the hub."""
    models = trace.models
    sides = {
        role: getattr(models, role).model_copy(update={"source": "hub", "id": f"owner/{role}", "weights": None})
        for role in ("target", "draft")
    }
    return trace.model_copy(update={"models": models.model_copy(update=sides)})


def same_inputs(page: Page, trace: Trace) -> bool:
    prompt, _, settings = read_form(page.form)
    wanted = read_form(page.form | write_form(trace.prompt, read_form(page.form)[1], trace.settings))
    return (prompt, settings) == (trace.prompt, wanted[2])


def test_the_run_the_page_was_told_to_open_is_in_the_form(left_off: Trace, tmp_path: Path) -> None:
    page = Page(tmp_path, as_hub(left_off))
    assert page.form["prompt"] == "the sea is the sea"
    assert page.form["target"] == "owner/target"
    assert (page.form["builder"], page.form["builder.dynamic.total"], page.form["seed"]) == ("dynamic", 6, 7)
    assert same_inputs(page, left_off)
    shown = {
        name.split(".")[1] for name, one in page.act.form.components.items() if name[:8] == "builder." and _seen(one)
    }
    assert shown == {"dynamic"}


def _seen(block: Any) -> bool:
    return block is None or (getattr(block, "visible", True) is not False and _seen(block.parent))


def test_step_goes_on_with_the_run_the_page_was_told_to_open(left_off, folders, tmp_path) -> None:
    page = Page(tmp_path, left_off)
    page.form |= {"target": folders[0], "draft": folders[1]}
    page.step()
    assert page.run.steps[:2] == left_off.steps
    assert len(page.run.steps) == 3
    assert page.run.models.target.weights == left_off.models.target.weights
    assert page.said == []


def test_a_browser_is_shown_the_inputs_of_the_run_it_opens_on_and_a_program_starts_with_the_defaults(
    tmp_path: Path,
) -> None:
    page = Page(tmp_path)
    assert page.form["prompt"] == DEFAULT_PROMPT
    assert page.said == []
    page.take(page.act.on_load(SimpleNamespace(session_hash="page", query_params={}, request=None)))
    assert same_inputs(page, page.run)
    assert page.desk is not None
    assert page.desk.filled == page.run.id
    asked: Any = SimpleNamespace(session_hash="page", query_params={"step": "5"}, request=None)
    look = json.loads(page.act.on_load(asked)[0])["look"]
    assert look == {"step": 4, "node": None, "verifier": None}, "a step without a run is one of this"
    page = Page(tmp_path, load=lambda *_, **__: pairs.make_pair())
    page.form["chat"] = False
    page.step()
    assert page.run.prompt == DEFAULT_PROMPT


def test_a_run_that_has_ended_is_run_again_and_the_page_says_so(tmp_path: Path) -> None:
    ended = pairs.make_trace(max_new_tokens=2)
    page = Page(tmp_path, ended, load=lambda *_, **__: pairs.make_pair())
    page.step()
    assert page.run.id != ended.id
    assert page.said == [
        "The run that was in sight has ended (max_new_tokens); this is a new one from its prompt, with its settings."
    ]


def test_a_folder_is_asked_for_and_never_looked_up_on_the_hub(left_off, folders, tmp_path) -> None:
    page = Page(tmp_path, left_off)
    page.step()
    assert page.said == [f"The target of this run {ASKED}"]
    page.fork(left_off.id, 1)
    assert page.said == [f"The target of this run {ASKED}"]
    assert page.loaded == []
    page.form |= {"target": folders[0], "draft": folders[1]}
    page.fork(left_off.id, 1)
    assert page.loaded == [folders[0]]
    assert page.run.steps[0] == left_off.steps[0]
    assert "was run anew" in page.said[-1]


def test_a_what_if_goes_to_the_folder_that_the_form_was_told(left_off, folders, tmp_path) -> None:
    page = Page(tmp_path, left_off)
    question = {"run": left_off.id, "step": 1, "id": 1, "verifier": "eta", "options": {"epsilon": 0.02}}

    def answer() -> dict[str, Any]:
        *_, last = page.act.on_what_if_models(page.desk, _event(question), *page.form.values())
        return json.loads(last)

    assert ASKED in answer()["notice"]["text"]
    assert page.loaded == []
    page.form |= {"target": folders[0], "draft": folders[1]}
    assert answer()["whatif"]["by"] == "models"


def test_another_engines_run_is_shown_and_no_model_is_loaded_for_it(tmp_path) -> None:
    page = Page(tmp_path, bare())
    assert page.said == []
    assert page.form["prompt"] == DEFAULT_PROMPT, "the form is not about a run that has no settings"
    page.step()
    assert page.said[0].startswith(f"This run was recorded from another engine, {ENGINE}, so no step can be added")
    refused = f"This run was recorded from another engine, '{ENGINE}', so specviz cannot run it; run it there."
    page.fork("bare", 1)
    assert page.said == [refused]
    page.desk = page.act.start
    question = {"run": "bare", "step": 1, "id": 1, "verifier": "eta", "options": {}}
    *_, answer = page.act.on_what_if_models(page.desk, _event(question), *page.form.values())
    assert _notices(answer) == [refused]
    *_, answer = page.act.on_plain_greedy(page.desk, "bare", REQUEST, *page.form.values())
    assert _notices(answer) == [refused]
    assert page.loaded == []


def test_plain_greedy_goes_to_the_folder_that_the_form_was_told(left_off, folders, tmp_path) -> None:
    page = Page(tmp_path, left_off)
    *_, last = page.act.on_plain_greedy(page.desk, left_off.id, REQUEST, *page.form.values())
    assert ASKED in last
    page.form |= {"target": folders[0], "draft": folders[1]}
    *_, last = page.act.on_plain_greedy(page.desk, left_off.id, REQUEST, *page.form.values())
    assert "compare" in json.loads(last)


def test_a_folder_with_other_weights_is_refused(left_off, tmp_path) -> None:
    other = tiny.make_model("llama", seed=9)
    for name, model in (("target", other), ("draft", tiny.perturbed(other))):
        model.save_pretrained(tmp_path / name)
        tiny.make_tokenizer().save_pretrained(tmp_path / name)
    page = Page(tmp_path / "held", left_off)
    page.form |= {"target": str(tmp_path / "target"), "draft": str(tmp_path / "draft")}
    page.step()
    assert "The target target has other weights" in page.said[0]
    assert page.run == left_off


def test_what_was_not_recorded_of_a_run_is_said_where_it_goes_on(left_off, folders, tmp_path) -> None:
    bare = {"weights": None, "source": None}
    sides = {role: getattr(left_off.models, role).model_copy(update=bare) for role in ("target", "draft")}
    old = left_off.model_copy(update={"models": left_off.models.model_copy(update=sides)})
    page = Page(tmp_path, old)
    page.form |= {"target": folders[0], "draft": folders[1]}
    page.step()
    assert "weights of the target and the draft were not recorded" in page.said[0]
    page.step()
    assert page.said == []
    page.fork(page.run.id, 1)
    assert "weights" not in page.said[-1]


@pytest.mark.parametrize("lesson", [LESSONS[0], LESSONS[-1]], ids=lambda lesson: lesson.name)
def test_a_lesson_brings_its_run_into_the_form(lesson: Any, tmp_path: Path) -> None:
    page = Page(tmp_path)
    page.take(page.ask("on_lesson", name=lesson.name))
    assert same_inputs(page, page.run)
    assert page.form["target"] == "default"
    assert page.desk is not None
    assert page.desk.filled == page.run.id


@pytest.mark.parametrize("way", ["upload", "link", "listed", "recorded"])
def test_every_other_way_brings_the_run_into_the_form(way: str, left_off: Trace, tmp_path: Path) -> None:
    page, share_store = Page(tmp_path), ShareStore(tmp_path)
    wanted = left_off
    if way == "upload":
        save_trace(left_off, tmp_path / "mine.json.gz")
        page.take(page.act.on_upload(str(tmp_path / "mine.json.gz"), page.desk, gr.Request(session_hash="page")))
    elif way == "link":
        page.take(
            page.act.on_load(
                SimpleNamespace(session_hash="page", query_params={"trace": share_store.save(left_off)}, request=None)
            )
        )
    elif way == "recorded":
        page.take(page.act.on_open("chain-of-4", page.desk))
        wanted = page.run
    else:
        page = Page(tmp_path, left_off)
        page.take(page.act.on_open("chain-of-4", page.desk))
        page.take(page.act.on_open_listed(left_off.id, page.desk))
    assert page.run.id == wanted.id
    assert same_inputs(page, wanted)
    if way != "recorded":
        page.step()
        assert page.said == [f"The target of this run {ASKED}"]


@pytest.mark.parametrize("made", ["folder", "hub"])
def test_a_public_page_loads_its_presets_whatever_a_run_says(made: str, left_off: Trace, tmp_path: Path) -> None:
    trace = left_off if made == "folder" else as_hub(left_off)
    page = Page(tmp_path, trace, Limits(public=True))
    page.step()
    assert "This public page runs its presets only" in page.said[0]
    page.fork(trace.id, 1)
    assert "This public page runs its presets only" in page.said[0]
    assert page.loaded == []


def test_shipped_runs_fork_and_answer_on_the_default_pair_as_before(left_off, folders, tmp_path) -> None:
    """They were recorded before weights were; what is said of them stays true."""
    shipped = load_trace(ASSETS / "traces" / "chain-of-4.json.gz").models
    old = left_off.model_copy(update={"models": shipped})

    def load(*_: object, **__: object) -> Any:
        now = {"source": "built-in", "weights": f"sha256-sample1:{'0' * 64}"}
        sides = {role: getattr(shipped, role).model_copy(update=now) for role in ("target", "draft")}
        return replace(load_pair(*folders, device="cpu"), models=shipped.model_copy(update=sides))

    page = Page(tmp_path, old, load=load)
    page.desk = replace(page.act.start, filled=None)  # as a page opens on a run to look at
    page.fork(old.id, 1)
    assert page.loaded == ["default"]
    assert "with the settings of its parent" in page.said[-1]
    assert "The weights of the target and the draft were not recorded with this run" in page.said[-1]
    assert page.run.steps[0].verdicts == old.steps[0].verdicts
    assert [page.run.models_of(i).target.weights is None for i in range(2)] == [True, False]
    question = {"run": old.id, "step": 1, "id": 1, "verifier": "eta", "options": {"epsilon": 0.02}}
    *_, last = page.act.on_what_if_models(page.desk, _event(question), *page.form.values())
    answer = json.loads(last)["whatif"]
    assert answer["by"] == "models"
    assert "were not recorded" in answer["caveat"]
