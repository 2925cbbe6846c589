"""ZeroGPU, with a stand-in that forks, pickles and forgets: see tests/spaces_stand_in."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import gradio as gr
import pytest

from specviz.app import diff_handlers, run_handlers, whatif
from specviz.app.server import zerogpu, zerogpu_entry
from specviz.app.server.doing import doing_block
from specviz.app.server.limits import Limits
from specviz.app.server.progress import Progress
from specviz.app.server.session_registry import Sessions
from specviz.app.server.session_start import SessionStart
from specviz.app.server.zerogpu import ZeroGpuBackend
from specviz.engine.session import Session
from specviz.errors import SettingsError
from specviz.models import sources
from specviz.models.loading import load_pair
from specviz.models.pair_spec import ModelChoice
from specviz.trace.breakpoints import Breakpoints
from specviz.trace.schema import Choice, Step, Trace
from specviz.verifiers import VERIFIERS
from tests import pairs, tiny
from tests.paths import ROOT
from tests.spaces_stand_in.spaces import forking

SETTINGS = pairs.make_settings("4,2,2", max_new_tokens=12)
PROMPT = "the sea"


# -------------------------------------------------------------------------------------------------- the stand-in

remembered: list[int] = []


def counting(count: int) -> Iterator[int]:
    for number in range(count):
        remembered.append(number)
        yield len(remembered)


def failing() -> Iterator[int]:
    yield 1
    raise SettingsError("a sentence that nobody will read")


def dying() -> Iterator[int]:
    yield 1
    os.kill(os.getpid(), signal.SIGKILL)


def endless() -> Iterator[int]:
    yield 1
    signal.pause()


def test_the_stand_in_forgets_what_a_call_did() -> None:
    assert [list(forking(counting)(3)) for _ in range(2)] == [[1, 2, 3], [1, 2, 3]]
    assert remembered == []


def test_the_stand_in_pickles_arguments_and_results() -> None:
    with pytest.raises(pickle.PicklingError):
        next(forking(counting)(lambda: 3))
    with pytest.raises(gr.Error, match="PicklingError"):
        next(forking(yielding_a_function)())


def yielding_a_function() -> Iterator[Any]:
    yield lambda: 3


@pytest.mark.parametrize(
    ("work", "said"), [(failing, "SettingsError"), (dying, "GPU task aborted"), (endless, "GPU task aborted")]
)
def test_the_stand_in_fails_as_the_platform_does(work: Any, said: str) -> None:
    values = forking(work, duration=2)()
    assert next(values) == 1
    with pytest.raises(gr.Error, match=said):
        next(values)


def test_the_stand_in_has_ended_its_process_when_a_call_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    reap = os.waitpid

    def reap_late(pid: int, options: int) -> tuple[int, int]:
        """As on a busy machine: the caller's thread comes last, and another one is slow to say what it has reaped."""
        if threading.current_thread() is threading.main_thread():
            time.sleep(0.1)
            return reap(pid, options)
        found = reap(pid, options)
        time.sleep(0.5)
        return found

    monkeypatch.setattr(os, "waitpid", reap_late)
    values = forking(counting)(3)
    assert next(values) == 1
    values.close()
    assert multiprocessing.active_children() == []


def test_the_stand_in_grants_no_more_than_the_platform() -> None:
    with pytest.raises(gr.Error, match="larger than the maximum"):
        next(forking(counting, duration=lambda count: 1_000)(3))


# ---------------------------------------------------------------------------------------------- runs on lent time


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> ModelChoice:
    target, draft = tiny.save_pair(tmp_path_factory.mktemp("pair"), chat=False)
    return ModelChoice(str(target), str(draft))


@pytest.fixture
def sessions() -> Sessions:
    return Sessions(
        backend=ZeroGpuBackend(zerogpu_entry.gpu_call(lambda duration: partial(forking, duration=duration)))
    )


def click(
    sessions: Sessions, inputs: run_handlers.Inputs, steps: int, trace: Any = None, ticket: Any = None, **more: Any
) -> Any:
    """(the last block, the trace, the ticket) of a click."""
    *_, (text, trace, ticket) = run_handlers.run_steps(sessions, "page", inputs, steps, trace, ticket, **more)
    return json.loads(text), trace, ticket


def test_a_run_over_three_clicks_is_the_run_of_a_machine_that_remembers(
    sessions: Sessions, models: ModelChoice
) -> None:
    inputs = (PROMPT, models, SETTINGS)
    trace = ticket = None
    for steps in (1, 2, 50):
        _, trace, ticket = click(sessions, inputs, steps, trace, ticket)
        assert sessions.get(ticket) is None, "nothing is kept"
    straight = Session(load_pair(models.target, models.draft), SETTINGS, PROMPT)
    list(straight.run())
    assert [step.committed for step in trace.steps] == [step.committed for step in straight.steps]
    drafted = [[[node.token for node in step.tree.nodes] for step in run.steps] for run in (trace, straight)]
    assert drafted[0] == drafted[1]
    assert trace.end_reason == straight.end_reason == "max_new_tokens"
    assert trace.prompt_texts == straight.trace.prompt_texts
    clicks = [position for position, step in enumerate(trace.steps) if step.prefilled]
    assert clicks == [0, 1, 3], "the first step of a click says that the run was fed again"
    assert trace.forked_from is None
    again, _, _ = click(sessions, inputs, 1, trace, ticket)
    assert "has ended" in again["notice"]["text"]


def test_the_run_keeps_its_id_and_goes_on_when_only_the_token_limit_is_raised(
    sessions: Sessions, models: ModelChoice
) -> None:
    short = SETTINGS.model_copy(update={"max_new_tokens": 2})
    _, trace, ticket = click(sessions, (PROMPT, models, short), 50)
    _, more, _ = click(sessions, (PROMPT, models, SETTINGS), 1, trace, ticket)
    assert (more.id, more.steps[: len(trace.steps)]) == (trace.id, trace.steps)
    assert len(more.steps) == len(trace.steps) + 1


def test_nothing_but_values_comes_back(models: ModelChoice) -> None:
    start = SessionStart(PROMPT, SETTINGS, Limits())
    kinds = {type(value) for value in zerogpu.work_in_call(60, models, zerogpu.run_steps, start, 2)}
    assert kinds == {Progress, Trace, Step}


def test_stop_acts_after_the_step_and_ends_the_process(sessions: Sessions, models: ModelChoice) -> None:
    seen = []
    for text, trace, _ in run_handlers.run_steps(sessions, "page", (PROMPT, models, SETTINGS), 50, None, None):
        if "run" in json.loads(text):
            seen.append((len(trace.steps), trace.end_reason))
            sessions.ask_to_stop("page")
    assert seen == [(1, "stopped")]
    assert multiprocessing.active_children() == []


def test_the_page_is_told_which_step_it_waits_for_and_no_part_of_one(models: ModelChoice) -> None:
    told = []

    def call(*arguments: Any) -> Iterator[Any]:
        for value in zerogpu.work_in_call(*arguments):
            told.append(json.loads(doing_block(sessions.doing("page"), None, 1)).get("text"))
            yield value

    sessions = Sessions(backend=ZeroGpuBackend(call))
    click(sessions, (PROMPT, models, SETTINGS), 2)
    assert told[-3:] == [None, "Waiting for step 1 from the GPU …", "Waiting for step 2 from the GPU …"]
    assert sessions.doing("page") is None


def test_a_page_that_goes_away_gives_the_gpu_back(models: ModelChoice) -> None:
    ended = []

    def call(*arguments: Any) -> Iterator[Any]:
        try:
            yield from zerogpu.work_in_call(*arguments)
        finally:
            ended.append(True)

    sessions = Sessions(backend=ZeroGpuBackend(call))
    answers = run_handlers.run_steps(sessions, "page", (PROMPT, models, SETTINGS), 50, None, None)
    ticket = None
    while ticket is None:
        _, _, ticket = next(answers)
    assert not ended
    answers.close()
    assert ended
    assert sessions.get(ticket) is None


def test_a_server_that_stops_asks_for_no_gpu(models: ModelChoice) -> None:
    def call(*_: Any) -> Iterator[Any]:
        raise AssertionError("it asks")

    sessions = Sessions(backend=ZeroGpuBackend(call))
    sessions.backend.lock.closed = True
    *_, (text, _, _) = run_handlers.run_steps(sessions, "page", (PROMPT, models, SETTINGS), 1, None, None)
    assert "press Step or Run again" in text


def test_a_breakpoint_ends_the_click(sessions: Sessions, models: ModelChoice) -> None:
    last, trace, _ = click(sessions, (PROMPT, models, SETTINGS), 50, until=Breakpoints(target_prob_below=1.0))
    assert "Breakpoint" in last["notice"]["text"]
    assert trace.end_reason == "stopped"


@pytest.fixture
def breaking(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Settings whose second step does something to the process that runs it."""

    def settings(happens: Any) -> Any:
        calls = []

        def judge(*arguments: Any) -> Any:
            calls.append(1)
            if len(calls) > 1:
                happens()
            return VERIFIERS["naive"].judge(*arguments)

        monkeypatch.setitem(VERIFIERS, "breaks", replace(VERIFIERS["naive"], name="breaks", judge=judge))
        return SETTINGS.model_copy(update={"verifiers": (Choice(name="breaks"),), "driver": "breaks"})

    return settings


def test_what_fails_there_is_said_here_and_the_steps_before_stay(
    sessions: Sessions, models: ModelChoice, breaking: Any
) -> None:
    last, trace, _ = click(sessions, (PROMPT, models, breaking(lambda: 1 / 0)), 50)
    assert last["notice"]["kind"] == "error"
    assert "breaks" in last["notice"]["text"]
    assert (len(trace.steps), trace.end_reason) == (1, "error")
    assert trace.end_message == last["notice"]["text"]
    # What is known of the failed step came over, too, and is shown.
    assert trace.failed.index == 1
    assert all(node.target is not None for node in trace.failed.nodes)
    assert len(last["run"]["failed"]["nodes"]["parent"]) == len(trace.failed.nodes) > 1


def test_a_process_that_is_ended_leaves_the_run_to_go_on_with(
    sessions: Sessions, models: ModelChoice, breaking: Any
) -> None:
    inputs = (PROMPT, models, breaking(lambda: os.kill(os.getpid(), signal.SIGKILL)))
    last, trace, ticket = click(sessions, inputs, 50)
    assert last["notice"]["text"].startswith("ZeroGPU says: GPU task aborted. ")
    assert (len(trace.steps), trace.end_reason) == (1, "stopped")
    _, more, _ = click(sessions, inputs, 1, trace, ticket)
    assert len(more.steps) == 2


def test_the_work_ends_by_itself_before_the_time_is_over(models: ModelChoice) -> None:
    short = Sessions(backend=ZeroGpuBackend(lambda seconds, *rest: zerogpu.work_in_call(zerogpu.SPARE_SECONDS, *rest)))
    last, trace, ticket = click(short, (PROMPT, models, SETTINGS), 50)
    assert "press Step or Run to go on" in last["notice"]["text"]
    assert trace is None or trace.end_reason in (None, "stopped")
    assert ticket is not None


# --------------------------------------------------------------------------------------- other work with a model


def test_a_fork_is_made_there(sessions: Sessions, models: ModelChoice) -> None:
    _, trace, _ = click(sessions, (PROMPT, models, SETTINGS), 3)
    *_, (_, forked, ticket) = run_handlers.fork(sessions, "page", (PROMPT, models, SETTINGS), trace, 1)
    assert (forked.forked_from.trace, forked.forked_from.step) == (trace.id, 1)
    assert [step.committed for step in forked.steps] == [step.committed for step in trace.steps[:2]]
    _, more, _ = click(sessions, (PROMPT, models, SETTINGS), 1, forked, ticket)
    assert more.id == forked.id
    assert len(more.steps) == 3


def test_what_if_and_plain_greedy_decoding_are_asked_there(sessions: Sessions, models: ModelChoice) -> None:
    _, trace, _ = click(sessions, (PROMPT, models, SETTINGS), 2)
    here = Sessions()
    wanted = {"run": trace.id, "step": 1, "verifier": "eta", "options": {"epsilon": 0.9}}
    *_, there_found = whatif.through_models(sessions, trace, models, wanted)
    *_, here_found = whatif.through_models(here, trace, models, wanted)
    assert "error" not in there_found
    assert json.loads(there_found) == json.loads(here_found)
    *_, there_found = diff_handlers.against_greedy(sessions, "page", trace, models, "run 1")
    *_, here_found = diff_handlers.against_greedy(here, "page", trace, models, "run 1")
    assert "compare" in json.loads(there_found)
    assert json.loads(there_found) == json.loads(here_found)


def test_work_that_takes_longer_than_a_click_is_refused_in_one_sentence(
    sessions: Sessions, models: ModelChoice
) -> None:
    with pytest.raises(SettingsError, match="too short for this; run specviz on a machine of your own"):
        list(sessions.backend.pair(models))


def test_a_public_page_lends_to_its_presets_only(models: ModelChoice) -> None:
    def call(*_: Any) -> Iterator[Any]:
        raise AssertionError("no GPU is asked for")

    sessions = Sessions(backend=ZeroGpuBackend(call, Limits(public=True)))
    last, _, _ = click(sessions, (PROMPT, models, SETTINGS), 1)
    assert "presets only" in last["notice"]["text"]
    trace = pairs.make_trace()
    *_, text = diff_handlers.against_greedy(sessions, "page", trace, models, "run 1")
    assert "presets only" in text


# ------------------------------------------------------------------------------------------------ time, and files


def test_the_time_asked_for_follows_the_steps_and_the_context_up_to_a_limit(models: ModelChoice) -> None:
    def seconds(steps: int, prompt: str = PROMPT, new_tokens: int = 10_000, **start: Any) -> int:
        asked: list[int] = []

        def call(seconds: int, *_: Any) -> Iterator[Any]:
            asked.append(seconds)
            return iter(())

        settings = SETTINGS.model_copy(update={"max_new_tokens": new_tokens})
        start = {"limits": Limits(), **start}
        with pytest.raises(Exception, match="press Step or Run"):
            list(ZeroGpuBackend(call).open_session(models, SessionStart(prompt, settings, **start), steps))
        return asked[0]

    assert seconds(1) < seconds(40) < seconds(80) < seconds(100_000) == zerogpu.MOST_SECONDS
    assert seconds(1) < seconds(1, prompt="x" * 10_000)
    assert seconds(1_000, new_tokens=4) == seconds(4), "each step commits a token"
    run = pairs.make_trace(max_new_tokens=12)
    assert seconds(1_000, new_tokens=13, before=run) == seconds(1)
    assert zerogpu.seconds_for(ModelChoice(), 0, 1) < zerogpu.seconds_for(models, 0, 1)


def test_files_of_the_hub_are_fetched_before_a_gpu_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    order: list[Any] = []
    monkeypatch.setattr(
        sources, "find_source", lambda name, *_: sources.Source(name, name, revision="abc", local_only=False)
    )
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda place, **how: order.append((place, how["revision"]))
    )

    def call(*_: Any) -> Iterator[Any]:
        order.append("call")
        yield zerogpu.Failure(SettingsError("That is all."))

    start = SessionStart(PROMPT, SETTINGS, Limits())
    with pytest.raises(SettingsError, match="That is all"):
        list(ZeroGpuBackend(call).open_session(ModelChoice("some/target", "some/draft"), start, 1))
    assert order == [("some/target", "abc"), ("some/draft", "abc"), "call"]


# ---------------------------------------------------------------------------------------------- before the page


def test_the_platforms_package_is_imported_there_only_and_first() -> None:
    code = "import sys, app; print('spaces' in sys.modules, 'torch' in sys.modules)"
    found = {}
    for on_zero in ("", "true"):
        environment = os.environ | {"PYTHONPATH": str(ROOT / "tests" / "spaces_stand_in"), "SPACES_ZERO_GPU": on_zero}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        )
        found[on_zero] = done.stdout.split()
    assert found == {"": ["False", "False"], "true": ["True", "True"]}
