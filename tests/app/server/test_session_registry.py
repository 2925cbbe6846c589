"""The registry of loaded pairs and live sessions: bounded, least recently used out first, memory returned."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from specviz.app import run_handlers
from specviz.app.compare.quick_run import run_small, small_job
from specviz.app.compare.store import ComparisonStore
from specviz.app.form import write_form
from specviz.app.handlers import Actions
from specviz.app.page import build_page
from specviz.app.server import backend
from specviz.app.server.limits import Limits
from specviz.app.server.model_worker import ModelLock
from specviz.app.server.session_registry import Live, Sessions
from specviz.app.server.share_store import ShareStore
from specviz.errors import OutOfMemoryError
from specviz.models.pair_spec import ModelChoice
from tests import pairs, tiny
from tests.sample_traces import sample_trace

SETTINGS = pairs.make_settings("4,2,2", max_new_tokens=12)
INPUTS = {name: ("the sea", ModelChoice(target=name), SETTINGS) for name in ("a", "b", "c")}


class Loader:
    """Makes a new small pair for every name and remembers what it made."""

    def __init__(self) -> None:
        self.made: list[tuple[str, weakref.ref[Any]]] = []
        self.most_beside = 0
        """How many were still there when another was made."""

    def __call__(self, target: str, draft: str, **_: object) -> Any:
        self.most_beside = max(self.most_beside, len(self.alive()))
        model = tiny.make_model("llama")
        self.made.append((target, weakref.ref(model)))
        return pairs.pair_of(model, tiny.perturbed(model))

    def names(self) -> list[str]:
        return [name for name, _ in self.made]

    def alive(self) -> list[str]:
        return [name for name, model in self.made if model() is not None]


def load(sessions: Sessions, name: str) -> None:
    list(sessions.backend.pair(ModelChoice(target=name)))


def test_the_pair_used_longest_ago_makes_room_and_its_memory_is_returned() -> None:
    loader = Loader()
    sessions = Sessions(loader, Limits(pairs=2))
    for name in ("a", "b", "a", "c"):
        load(sessions, name)
    assert loader.names() == ["a", "b", "c"]
    assert loader.alive() == ["a", "c"]
    load(sessions, "b")
    assert loader.alive() == ["c", "b"]


def test_a_session_in_use_keeps_its_pair() -> None:
    loader = Loader()
    sessions = Sessions(loader, Limits(pairs=2))
    load(sessions, "a")
    *_, (_, _, ticket) = run_handlers.run_steps(sessions, "page", INPUTS["a"], 1, None, None)
    load(sessions, "b")
    assert sessions.get(ticket) is not None
    load(sessions, "c")
    assert loader.alive() == ["a", "c"]


def test_the_sessions_of_a_pair_go_with_it() -> None:
    loader = Loader()
    sessions = Sessions(loader)
    *_, (_, trace, ticket) = run_handlers.run_steps(sessions, "page", INPUTS["a"], 2, None, None)
    load(sessions, "b")
    assert sessions.get(ticket) is None
    assert loader.alive() == ["b"]
    *_, (_, more, again) = run_handlers.run_steps(sessions, "page", INPUTS["a"], 1, trace, ticket)
    assert len(more.steps) == 3
    assert more.steps[2].prefilled > 0
    assert again != ticket


@pytest.mark.parametrize("work", ["run", "comparison"])
def test_a_pair_is_loaded_once_the_one_before_has_gone_from_memory(work: str) -> None:
    """Somebody works on the first, step by step in a thread of their own, while another page wants the second."""
    loader, texts = Loader(), []
    sessions = Sessions(loader)
    running, wanted = threading.Event(), threading.Event()
    values = {"prompts": 1, "free": 0, "tokens": 64, "trees": ["1"], "verifiers": ["rejection"], "temperatures": ["1"]}
    job = small_job(values, ModelChoice(target="a"), Limits())
    prompt, models, settings = INPUTS["a"]
    inputs = (prompt, models, settings.model_copy(update={"max_new_tokens": 300}))

    def go_on() -> None:
        if work == "run":
            answers: Any = (text for text, _, _ in run_handlers.run_steps(sessions, "page", inputs, 400, None, None))
        else:
            answers = (one.text for one in run_small(sessions, "page", ComparisonStore(shipped=Path("nowhere")), job))
        for count, text in enumerate(answers):
            texts.append(text)
            if count == 5:
                running.set()
                wanted.wait(timeout=60)

    thread = threading.Thread(target=go_on)
    thread.start()
    assert running.wait(timeout=60)
    wanted.set()
    load(sessions, "b")
    thread.join(timeout=60)
    assert not thread.is_alive()
    assert loader.names() == ["a", "b"]
    assert loader.most_beside == 0
    assert run_handlers.EVICTED in texts[-1] if work == "run" else texts[-1] == "All 1 runs are done."


def test_a_run_whose_pair_was_needed_elsewhere_says_so_and_keeps_its_steps(monkeypatch) -> None:
    monkeypatch.setattr(backend, "LET_GO_SECONDS", 0.1)  # the run waits for this very thread
    loader = Loader()
    sessions = Sessions(loader)
    run = run_handlers.run_steps(sessions, "page", INPUTS["a"], 50, None, None)
    steps = 0
    text = ""
    for answer in run:
        text, trace, _ = answer
        steps = len(trace.steps) if trace else 0
        if steps == 2:
            load(sessions, "b")
    assert steps == 2
    assert run_handlers.EVICTED in text
    del run, answer, trace
    assert loader.alive() == ["b"]


def test_who_changes_the_models_does_not_keep_those_of_before() -> None:
    loader = Loader()
    sessions = Sessions(loader)
    *_, (_, trace, ticket) = run_handlers.run_steps(sessions, "page", INPUTS["a"], 1, None, None)
    for _ in run_handlers.run_steps(sessions, "page", INPUTS["b"], 1, trace, ticket):
        pass
    assert loader.names() == ["a", "b"]
    assert loader.most_beside == 0


def test_who_changes_the_models_on_the_page_does_not_keep_those_of_before(tmp_path: Path) -> None:
    loader = Loader()
    page = build_page(Sessions(loader), sample_trace(steps=1), ShareStore(tmp_path))
    (act,) = {owner for fn in page.fns.values() if isinstance(owner := getattr(fn.fn, "__self__", None), Actions)}
    request: Any = SimpleNamespace(session_hash="page")
    stops = [component.value for component in act.stops.components.values()]
    desk = None
    for name in ("a", "b"):
        values = {key: component.value for key, component in act.form.components.items()} | write_form(*INPUTS[name])
        *_, (_, desk) = act.on_run(1, desk, request, *act.form.with_breakpoints(values, stops))
    assert loader.names() == ["a", "b"]
    assert loader.most_beside == 0


def test_nobody_takes_the_room_of_a_pair_before_it_has_done_what_it_was_loaded_for() -> None:
    done: list[str] = []

    def load_pair(target: str, **named: Any) -> Any:
        pair = loader(target, **named)
        if target == "a":
            other.start()
            time.sleep(0.2)  # it waits for its turn by then
        return pair

    def use(name: str) -> None:
        list(sessions.backend.with_pair(ModelChoice(target=name), lambda _: done.append(name)))

    loader = Loader()
    sessions = Sessions(load_pair)
    other = threading.Thread(target=use, args=("b",))
    use("a")
    other.join()
    assert done == loader.names() == ["a", "b"]


def test_a_step_is_not_run_on_a_pair_that_has_made_room() -> None:
    sessions = Sessions(Loader())
    *_, (_, _, ticket) = run_handlers.run_steps(sessions, "page", INPUTS["a"], 1, None, None)
    live = sessions.get(ticket)
    assert ticket is not None
    assert live is not None
    assert sessions.step(ticket, live)
    with sessions.backend.lock:
        sessions.backend._make_room()
    load(sessions, "a")  # others of the same name
    assert not sessions.step(ticket, live)
    late = sessions.add(live)
    assert not sessions.step(late, live)
    assert sessions.get(late) is None, "or its page would find it again with every click"
    assert len(live.session.steps) == 2


def test_two_pages_that_want_one_pair_load_it_once() -> None:
    loader = Loader()
    sessions = Sessions(loader, Limits(pairs=2))
    threads = [threading.Thread(target=load, args=(sessions, name)) for name in ("a", "a", "b", "a")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(loader.names()) == ["a", "b"]


@pytest.fixture
def no_collector() -> Iterator[None]:
    """What goes now goes because nothing refers to it."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_a_pair_that_cannot_be_loaded_leaves_nothing_behind(no_collector: None) -> None:
    made: list[weakref.ref[Any]] = []

    def refuse(*_: object, **__: object) -> None:
        target = Caches()
        made.append(weakref.ref(target))
        raise OutOfMemoryError("It does not fit; choose a smaller model.")

    sessions = Sessions(refuse)
    for _ in range(2):
        with pytest.raises(OutOfMemoryError) as raised:
            load(sessions, "a")
        del raised
        assert [one() for one in made if one() is not None] == []
    assert len(made) == 2


def test_an_error_in_a_step_keeps_nothing_of_it(no_collector: None) -> None:
    sessions = Sessions()

    def step(caches: Caches) -> None:
        raise OutOfMemoryError(f"It does not fit beside {caches.held_bytes}; choose a smaller tree.")

    caches = Caches()
    gone = weakref.ref(caches)
    with pytest.raises(OutOfMemoryError) as raised:
        sessions.backend.lock.do(step, caches)
    del caches, raised
    assert gone() is None


def test_a_thread_that_cannot_be_started_is_tried_again(monkeypatch) -> None:
    def refuse(_: object) -> None:
        raise RuntimeError("can't start new thread")

    lock = ModelLock()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            lock.do(int)
    assert lock.do(int) == 0


class Caches:
    """Takes the place of a session."""

    end_reason = None

    def __init__(self, megabytes: int = 0):
        self.held_bytes = megabytes * 1024 * 1024


def test_sessions_with_large_caches_make_room_and_the_last_one_stays() -> None:
    sessions = Sessions(limits=Limits(live_runs=64, live_mb=100))
    settings = sample_trace().settings
    lives = [Live(Caches(size), ModelChoice(), "prompt", settings) for size in (50, 40, 20)]
    tickets = [sessions.add(one) for one in lives]
    assert [sessions.get(one) is not None for one in tickets] == [False, True, True]
    sessions.get(tickets[1])
    lives[1].session.held_bytes = 101 * 1024 * 1024  # it took a step, and grew
    sessions.end_click(tickets[1])
    assert [sessions.get(one) is not None for one in tickets] == [False, True, False]
    assert sessions.get(sessions.add(Live(Caches(500), ModelChoice(), "prompt", settings))) is not None


def test_many_threads_leave_the_registry_within_its_bounds() -> None:
    sessions = Sessions(limits=Limits(live_runs=3))
    kept: list[Any] = []

    def work() -> None:
        for _ in range(200):
            ticket = sessions.add(Live(Caches(), ModelChoice(), "prompt", sample_settings))
            sessions.get(ticket)
            kept.append(ticket)
            sessions.drop(kept[len(kept) // 2])

    sample_settings = sample_trace().settings
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(kept) == 800
    assert sum(sessions.get(ticket) is not None for ticket in set(kept)) <= 3
