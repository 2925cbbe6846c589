"""Ends: a closed tab, Stop, a model that fails, a server that is stopped."""

from __future__ import annotations

import gc
import itertools
import json
import os
import sys
import threading
import weakref
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from specviz.app import diff_handlers
from specviz.app.compare.tab import CompareTab
from specviz.app.server.limits import Limits
from specviz.app.server.metrics import COUNTS, RUNNING
from specviz.app.server.model_worker import NICE, ModelLock
from specviz.app.server.session_registry import Sessions
from specviz.app.server.visitors import MOST_PAGES, MOST_RESOURCES, Visitors
from specviz.engine.runners import TargetRunner
from specviz.errors import StoppingError
from specviz.models.pair_spec import ModelChoice
from specviz.trace.io import load_trace
from tests import forks, pairs, server
from tests.sample_traces import sample_trace
from tests.tools import stopped


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with server.serving(tmp_path_factory.mktemp("served"), trace=sample_trace(steps=2)) as running:
        yield running


FULL = "All the places among the {} that this page has (2) are in use; try again in a minute."


# -------------------------------------------------------------------------------------------------- a closed tab


def live(running) -> list:
    return list(running.sessions._live.values())


def test_a_closed_tab_gives_back_its_caches_and_files(served):
    visitor, other = served.visitor(), served.visitor()
    other.step()
    visitor.step(prompt="something else")
    mine = next(one for one in live(served) if one.prompt == "something else")
    session, target = weakref.ref(mine.session), weakref.ref(mine.session._target_runner)
    path = Path(visitor.saved())
    assert path.is_file()
    kept = len(live(served))
    del mine
    visitor.leave()
    server.until(lambda: len(live(served)) == kept - 1)
    server.until(lambda: session() is None and target() is None)
    assert not path.parent.exists()
    assert served.web.get(f"/gradio_api/file={path}").status_code == 403
    assert other.step()["run"]["steps"] == 2, "others go on"


def test_a_tab_that_is_closed_in_the_middle_of_a_run_ends_it_after_the_step(served, gate):
    before, steps = len(live(served)), COUNTS["steps"]
    visitor = served.visitor()
    visitor.begin("on_run", steps_a_run=50)
    gate.wait()
    visitor.leave()
    visitors = next(_owner(fn).visitors for fn in served.page.fns.values() if hasattr(_owner(fn), "visitors"))
    server.until(lambda: visitor.session in visitors._left)
    gate.let(50)
    server.until(lambda: visitor.session not in visitors._left)
    assert COUNTS["steps"] - steps <= 1
    assert len(live(served)) == before
    assert not served.sessions.must_stop(visitor.session), "nothing is kept of a page that has gone"


def test_a_closed_tab_ends_its_small_comparison(served):
    shelf = next(_owner(fn).store for fn in served.page.fns.values() if isinstance(_owner(fn), CompareTab))
    opened = set(shelf._opened)
    visitor = served.visitor()
    visitor.begin("on_small_comparison", prompts=16)
    server.until(lambda: COUNTS[RUNNING] == 1)
    visitor.leave()
    server.until(lambda: COUNTS[RUNNING] == 0)
    assert set(shelf._opened) == opened


def _owner(fn):
    return getattr(fn.fn, "__self__", None)


def test_what_a_page_has_is_bounded_and_given_back_once():
    visitors, gone = Visitors(Sessions()), []
    for i in range(MOST_RESOURCES + 1):
        visitors.register("a", i, lambda i=i: gone.append(("a", i)))
    assert gone == [("a", 0)]
    for i in range(MOST_PAGES):
        visitors.register(f"page {i}", "x", lambda i=i: gone.append(i))
    assert gone == [("a", i) for i in range(MOST_RESOURCES + 1)], "the page away longest made room"
    visitors.close_page("page 0")
    visitors.close_page("page 0")
    assert gone[-1] == 0
    assert gone.count(0) == 1


def test_what_is_made_for_a_page_that_has_gone_goes_with_it():
    sessions, gone = Sessions(), []
    visitors = Visitors(sessions)
    with visitors.working("a"):
        visitors.close_page("a")
        assert sessions.must_stop("a")
        visitors.register("a", "late", lambda: gone.append("late"))
    assert gone == ["late"]
    assert not sessions.must_stop("a")
    with visitors.working("a"):  # it is back
        visitors.register("a", "new", lambda: gone.append("new"))
    assert gone == ["late"]


# ---------------------------------------------------------------------------------------------------------- Stop


def test_stop_is_remembered_while_something_runs_only():
    """Anybody can press it, for as many pages as they make up."""
    sessions = Sessions()
    visitors = Visitors(sessions)
    visitors.stop("made up")
    assert not sessions.must_stop("made up")
    with visitors.working("a"):
        visitors.stop("a")
        assert sessions.must_stop("a")
    assert not sessions.must_stop("a")


def test_stop_acts_within_the_step_that_is_under_way(served, gate):
    visitor = served.visitor()
    event = visitor.begin("on_run", steps_a_run=50)
    gate.wait()
    visitor.press("on_stop")
    gate.let(50)
    visitor.wait(event)
    assert len(load_trace(visitor.saved()).steps) == 1


# ------------------------------------------------------------------------------------------------- a failing model


def test_a_full_queue_is_told_to_who_wants_to_join_it_and_all_else_goes_on(served, gate, monkeypatch):
    monkeypatch.setattr(served.page, "limits", replace(served.page.limits, queue=2))
    works, waits, comes = (served.visitor() for _ in range(3))
    working = works.begin("on_step")
    gate.wait()
    waiting = waits.begin("on_step")
    number, step = comes._function("on_step")
    answer = comes._web.post("/gradio_api/queue/join", json=comes._asked(number, step, None, {}))
    assert answer.status_code == 503
    assert answer.json()["detail"] == FULL.format("clicks that wait for the models")
    assert Path(comes.saved()).is_file()
    joined = comes.begin("on_load", query={"trace": "chain-of-4"})  # as browsers open a link
    opened = comes.wait(joined)[0]
    assert json.loads(opened)[0][0]["frames"]
    gate.let(2)
    for visitor, click in ((works, working), (waits, waiting)):
        assert "run" in json.loads(visitor.wait(click)[0])


def test_small_comparisons_have_a_queue_of_their_own_that_can_be_full(served, monkeypatch):
    monkeypatch.setattr(served.page, "limits", replace(served.page.limits, queue=2))
    works, waits, comes = (served.visitor() for _ in range(3))
    works.begin("on_small_comparison", prompts=16)
    server.until(lambda: COUNTS[RUNNING] == 1)
    waiting = waits.begin("on_small_comparison", prompts=1)
    number, step = comes._function("on_small_comparison")
    answer = comes._web.post("/gradio_api/queue/join", json=comes._asked(number, step, None, {}))
    assert answer.status_code == 503
    assert answer.json()["detail"] == FULL.format("small comparisons that wait for the models")
    assert "run" in json.loads(comes.wait(comes.begin("on_step"))[0])
    works.leave()
    waits.wait(waiting)


def test_plain_greedy_decoding_stops_after_the_token_that_it_is_at(served):
    sessions, trace = Sessions(lambda *_, **__: pairs.make_pair()), pairs.make_trace()
    whole = len(trace.output_tokens())
    asked = iter([False, False])
    sessions.must_stop = lambda page: next(asked, True)
    *_, text = diff_handlers.against_greedy(sessions, "page", trace, ModelChoice(), "it")
    assert json.loads(text)["notice"]["text"].startswith(f"Stopped after 3 of {whole} tokens.")
    sessions.must_stop = lambda page: False
    *_, text = diff_handlers.against_greedy(sessions, "page", trace, ModelChoice(), "it")
    assert "Stopped" not in json.loads(text)["notice"]["text"]
    out_of_time = Sessions(lambda *_, **__: pairs.make_pair(), Limits(seconds=0))
    *_, text = diff_handlers.against_greedy(out_of_time, "page", trace, ModelChoice(), "it")
    assert json.loads(text)["notice"]["text"].startswith(f"Stopped after 2 of {whole} tokens.")


def test_a_step_is_ended_in_the_middle_of_a_long_judgement(served, monkeypatch):
    settings = {"prompt": "the sea", "seed": 3}
    straight = served.visitor()
    for _ in range(2):
        straight.step(**settings)
    asked, ticks = iter([False, False]), itertools.count(0, 6)
    # The clock stands still until it is asked for the second step whether the run must stop.
    begun: list[bool] = []
    monkeypatch.setattr(
        "specviz.interruption.time",
        SimpleNamespace(monotonic=lambda: float(next(ticks) if len(begun) > 1 else 0)),
    )
    monkeypatch.setattr(served.sessions, "must_stop", lambda page: begun.append(True) or next(asked, True))
    visitor = served.visitor()
    answer = visitor.press("on_run", steps_a_run=50, **settings)
    assert "Step 2 was ended while its tree was judged; the steps before it are kept." in answer[0]
    assert len(load_trace(visitor.saved()).steps) == 1
    monkeypatch.undo()
    visitor.step(**settings)
    whole, repaired = load_trace(straight.saved()), load_trace(visitor.saved())
    assert [step.committed for step in repaired.steps] == [step.committed for step in whole.steps]


def test_a_model_that_fails_in_a_step_leaves_the_app_serving_and_the_run_whole(served, monkeypatch):
    settings = {"prompt": "the sea", "seed": 3}
    straight = served.visitor()
    for _ in range(4):
        straight.step(**settings)
    score, calls = TargetRunner.score, []

    def fail(self, tree):
        calls.append(tree)
        if len(calls) == 3:
            raise RuntimeError("device-side assert")
        return score(self, tree)

    monkeypatch.setattr(TargetRunner, "score", fail)
    visitor = served.visitor()
    answer = visitor.press("on_run", steps_a_run=50, **settings)
    assert "Something is wrong in specviz (RuntimeError)" in answer[0]
    assert "device-side" not in answer[0]
    assert served.sessions.backend.lock.seconds_still is None
    assert served.web.get("/healthz").status_code == 200
    path = visitor.saved()
    got = served.web.get(f"/gradio_api/file={path}")
    assert got.status_code == 200
    assert len(load_trace(path).steps) == 2
    for _ in range(2):
        visitor.step(**settings)
    whole, repaired = load_trace(straight.saved()), load_trace(visitor.saved())
    assert [step.committed for step in repaired.steps] == [step.committed for step in whole.steps]
    assert COUNTS["errors, unexpected"] >= 1


# ------------------------------------------------------------------------------------------- a server that is stopped


def test_a_closed_lock_lets_nobody_in_and_waits_for_who_is_inside():
    lock, inside, go = ModelLock(), threading.Event(), threading.Event()

    def work() -> None:
        with lock:
            inside.set()
            go.wait(60)

    thread = threading.Thread(target=work)
    thread.start()
    inside.wait(60)
    assert not lock.close(0.05)
    go.set()
    assert lock.close(60)
    with pytest.raises(StoppingError, match="press Step or Run again"), lock:
        pass
    assert lock.close(0), "who was refused does not hold it"
    thread.join()


def test_one_thread_does_all_the_work_and_goes_with_its_lock():
    lock, seen = ModelLock(), []
    for _ in range(3):
        caller = threading.Thread(target=lambda: seen.append(lock.do(threading.current_thread)))
        caller.start()
        caller.join()
    worker, *others = seen
    assert worker.name.startswith("models")
    assert others == [worker, worker]
    assert lock.do(lambda a, b: a + b, 1, b=2) == 3
    assert lock.do(lambda: lock.seconds_still) is not None
    with pytest.raises(ZeroDivisionError):
        lock.do(lambda: 1 / 0)
    assert lock.seconds_still is None
    if sys.platform == "linux":
        own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        assert lock.do(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id())) == max(own, NICE)
    lock = None  # nobody has it any more
    gc.collect()
    worker.join(timeout=60)
    assert not worker.is_alive()


def test_a_pair_that_is_being_loaded_does_not_keep_a_server_from_stopping():
    def load_pair(progress, **_: object):
        progress("half", 0.5)
        sessions.backend.lock.closed = True
        progress("more", 0.6)
        raise AssertionError("the loading goes on")

    sessions = Sessions(load_pair)
    with pytest.raises(StoppingError):
        list(sessions.backend.pair(ModelChoice()))


def streams_of(url: str, visitor, count: int) -> list[Future[str]]:
    """How streams that are open now will have ended: of other tabs, and of who waits for a click's turn and is told."""
    threads, is_open = ThreadPoolExecutor(count), threading.Semaphore(0)

    def follow(number: int) -> str:
        session = f"other{number}"
        with server.web_client(url, timeout=120) as web:
            path = f"/gradio_api/heartbeat/{session}"
            if number % 2:
                step, fn = visitor._function("on_step")
                asked = visitor._asked(step, fn, None, {}) | {"session_hash": session}
                assert web.post("/gradio_api/queue/join", json=asked).status_code == 200
                path = f"/gradio_api/queue/data?session_hash={session}"
            said = ""
            try:
                with web.stream("GET", path) as answer:
                    for text in answer.iter_text():
                        said += text
                        is_open.release()
            except httpx.HTTPError as error:
                return repr(error)
        return "told" if "The server is being restarted" in said else "whole"

    found = [threads.submit(follow, number) for number in range(count)]
    for _ in range(count):
        assert is_open.acquire(timeout=60)
    threads.shutdown(wait=False)
    return found


def test_sigterm_finishes_the_step_and_loses_no_saved_run(tmp_path, served):
    port = _free_port()
    with forks.process(stopped.serve_slowly, tmp_path, port, folder=tmp_path, log=tmp_path / "log") as process:
        url = f"http://127.0.0.1:{port}"
        server.until(lambda: not process.is_alive() or server.answers(url), seconds=240)
        visitor = server.Visitor(url, served.page)  # both servers build the same page
        run = visitor.step(prompt="a secret")["run"]["id"]
        link = json.loads(visitor.press("on_hold", {"run": run})[0])["link"]["name"]
        event = visitor.begin("on_run", prompt="a secret", steps_a_run=50)
        server.until((tmp_path / "inside").exists)
        ends = streams_of(url, visitor, count=6)
        process.terminate()
        with server.web_client(url, timeout=60) as web:
            server.until(lambda: web.get("/healthz").status_code == 503)
        assert process.is_alive(), "it waits for the step"
        (tmp_path / "go").touch()
        told = visitor.wait(event)
        process.join(60)
        assert process.exitcode == 0
        assert [end.result(timeout=60) for end in ends] == ["whole", "told"] * 3
    assert (tmp_path / "step-2").exists()
    assert not (tmp_path / "step-3").exists()
    assert "The server is being restarted" in told[0]
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    events = [line["event"] for line in lines]
    assert [
        name for name in ("started", "pair loaded", "run started", "run ended", "stopping") if name not in events
    ] == []
    assert lines[-1]["event"] == "stopped"
    assert (lines[-1]["finished"], lines[-1]["steps"]) == (True, 2)
    assert "secret" not in json.dumps(lines)
    with server.serving(tmp_path) as again:
        opened = again.visitor().press("on_load", query={"trace": link})
    assert run in opened[0]


def test_a_step_that_does_not_end_does_not_keep_the_server(tmp_path):
    with forks.process(stopped.never_end, folder=tmp_path, log=tmp_path / "log") as process:
        process.join(300)
    lines = (tmp_path / "log").read_text().splitlines()
    assert process.exitcode == 0, lines
    last = json.loads(lines[-1])
    assert (last["event"], last["finished"]) == ("stopped", False)


def _free_port() -> int:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
