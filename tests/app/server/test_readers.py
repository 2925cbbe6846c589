"""Files of strangers are read in turns: the small ones here, the large ones in a process that has limits."""

from __future__ import annotations

import gzip
import os
import threading
from pathlib import Path

import pytest

from specviz.app.server import readers as reading
from specviz.app.server import reading_process
from specviz.app.server.clients import Client
from specviz.app.server.limits import Limits
from specviz.app.server.readers import Lane, Readers
from specviz.app.server.reading_process import main
from specviz.app.server.trace_store import StoredTrace
from specviz.errors import BusyError, SettingsError, TraceError
from specviz.trace.io import dump_trace, save_trace
from tests.foreign import foreign, write_recording
from tests.sample_traces import sample_trace

PUBLIC = Limits(public=True)
A, B = Client("192.0.2.1", "a"), Client("192.0.2.2", "b")
MOST = 16 * 1024 * 1024


@pytest.fixture
def all_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LARGE_TRACE_BYTES", 10)


@pytest.fixture
def none_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "READ_SECONDS", 0.0)


# ------------------------------------------------------------------------------------------------------- reading


def test_a_small_file_starts_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_process", lambda *_: pytest.fail("a process was started"))
    trace = sample_trace(steps=3)
    for name in ("small.json", "small.json.gz"):
        save_trace(trace, tmp_path / name)
        assert Readers(PUBLIC).read_trace(tmp_path / name, MOST, A).trace == trace


def test_a_large_file_comes_back_from_its_process_as_it_was(tmp_path: Path, all_are_large: None) -> None:
    trace = sample_trace(steps=3)
    save_trace(trace, tmp_path / "large.json.gz")
    stored, here = Readers(PUBLIC).read_trace(tmp_path / "large.json.gz", MOST, A), StoredTrace(trace)
    assert stored.is_packed
    assert (stored.id, stored.head, stored.size) == (here.id, here.head, here.size)
    assert (stored.steps, stored.tokens) == (here.steps, here.tokens)
    assert stored.trace == trace


def test_all_requests_of_a_recording_are_read_here_and_in_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, traces = tmp_path / "run.jsonl", [foreign(sample_trace(steps=count), count) for count in (1, 2, 3)]
    write_recording(path, {None: traces[0], "b": traces[1], "c": traces[2]})
    small = Readers(PUBLIC).read_runs(path, MOST, A)
    assert [stored.head.request for stored in small] == [None, "b", "c"]
    assert [stored.trace.steps for stored in small] == [trace.steps for trace in traces]
    monkeypatch.setattr(reading, "LARGE_TRACE_BYTES", 10)
    large = Readers(PUBLIC).read_runs(path, MOST, A)
    assert [stored.trace for stored in large] == [stored.trace for stored in small]
    assert Readers(PUBLIC).read_trace(path, MOST, A).trace == small[0].trace


def test_what_is_large_is_known_by_what_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.json.gz"
    path.write_bytes(gzip.compress(b" " * (reading.LARGE_TRACE_BYTES + 1)))
    assert path.stat().st_size < 10_000
    assert reading._is_large(path)
    path.write_bytes(gzip.compress(b" " * reading.LARGE_TRACE_BYTES))
    assert not reading._is_large(path)
    assert not reading._is_large(tmp_path / "none.json")


def test_a_refusal_is_the_sentence_that_a_small_file_gets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "broken.json"
    path.write_bytes(dump_trace(sample_trace(steps=2)).replace(b'"tree"', b'"leaf"'))
    said = []
    for bytes_that_are_large in (10, 10**9):
        monkeypatch.setattr(reading, "LARGE_TRACE_BYTES", bytes_that_are_large)
        with pytest.raises(TraceError) as caught:
            Readers(PUBLIC).read_trace(path, MOST, A)
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert said[0].startswith("This trace is broken at steps")


def test_a_process_that_dies_is_one_sentence(
    tmp_path: Path, all_are_large: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For want of memory, and because its time is over; the turn is given back."""
    save_trace(sample_trace(steps=2), tmp_path / "a.json")
    readers = Readers(PUBLIC)
    monkeypatch.setattr(reading, "BYTES_A_BYTE", -43)  # 12 MB, where Python alone takes more
    with pytest.raises(TraceError, match=r"takes more memory.* than there is for it here; choose a smaller one\.$"):
        readers.read_trace(tmp_path / "a.json", MOST, A)
    monkeypatch.undo()
    monkeypatch.setattr(reading, "LARGE_TRACE_BYTES", 10)
    monkeypatch.setattr(reading, "READ_SECONDS", 0.0)
    with pytest.raises(
        TraceError, match=r"takes more memory or time than there is for it here; choose a smaller one\.$"
    ):
        readers.read_trace(tmp_path / "a.json", MOST, A)
    monkeypatch.undo()
    assert readers.read_trace(tmp_path / "a.json", MOST, A).steps == 2


def test_a_comparison_is_refused_in_its_process(tmp_path: Path) -> None:
    (tmp_path / "steps.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "into").mkdir()
    with pytest.raises(SettingsError, match="A Parquet file is damaged"):
        list(Readers(Limits()).read_comparison([tmp_path / "steps.parquet"], tmp_path / "into", A))


def test_no_process_is_started_for_files_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_process", lambda *_: pytest.fail("a process was started"))
    for path in (tmp_path / "none.parquet", tmp_path, Path("a\0b.zip"), Path("x" * 5000 + ".zip")):
        with pytest.raises(SettingsError, match="There are no steps among these files"):
            list(Readers(Limits()).read_comparison([path], tmp_path, A))


def test_the_process_imports_neither_torch_nor_gradio() -> None:
    import subprocess
    import sys

    code = "import sys, specviz.app.server.reading_process, specviz.app.server.trace_store, specviz.compare.read;"
    code += "print([name for name in ('torch', 'gradio', 'transformers') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_page_of_a_large_run_is_the_one_that_a_small_one_gets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace, readers = sample_trace(steps=2), Readers(PUBLIC)
    readers.write_page(trace, tmp_path / "small.html", A, go=1, alone=True)
    monkeypatch.setattr(reading, "LARGE_TRACE_BYTES", 10)
    readers.write_page(trace, tmp_path / "large.html", A, go=1, alone=True)
    assert (tmp_path / "large.html").read_bytes() == (tmp_path / "small.html").read_bytes()
    monkeypatch.setattr(reading, "READ_SECONDS", 0.0)
    with pytest.raises(TraceError, match="Making the page of this run takes more memory or time"):
        readers.write_page(trace, tmp_path / "dead.html", A)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["large.html", "small.html"]


# --------------------------------------------------------------------------------------------------------- turns


def test_a_client_opens_one_large_file_at_a_time_and_others_do_not_wait_for_it(none_waits: None) -> None:
    lane = Lane(PUBLIC, "large files", 2)
    with lane.turn(A):
        with pytest.raises(BusyError), lane.turn(A):
            pass
        with pytest.raises(BusyError), lane.turn(Client(A.address, "another page there")):
            pass
        with lane.turn(B):
            pass
    with lane.turn(A):
        pass


def test_few_large_files_are_opened_at_once(none_waits: None) -> None:
    lane = Lane(PUBLIC, "large files", 2)
    with lane.turn(A), lane.turn(B), pytest.raises(BusyError), lane.turn(Client("192.0.2.3", "c")):
        pass


def test_small_files_do_not_wait_for_large_ones(tmp_path: Path) -> None:
    readers = Readers(PUBLIC)
    save_trace(sample_trace(steps=1), tmp_path / "small.json")
    with readers.large.turn(A), readers.large.turn(B):
        assert readers.read_trace(tmp_path / "small.json", MOST, A).steps == 1


def test_who_waits_gets_the_turn_and_few_wait() -> None:
    lane = Lane(PUBLIC, "large files", 2)
    had, at_work = threading.Event(), threading.Event()

    def wait() -> None:
        with lane.turn(A):
            had.set()

    with lane.turn(A):
        waiting = threading.Thread(target=wait)
        waiting.start()
        while lane._waiting.held_by(A) < 1:
            at_work.wait(0.001)
        assert not had.is_set()
    waiting.join(30)
    assert had.is_set()
    assert (lane._waiting.held, lane._reading.held) == (0, 0)
    full = [lane._waiting.take(Client(f"192.0.2.{number}", f"{number}")) for number in range(lane._waiting.total)]
    assert len(full) == lane._waiting.total
    with pytest.raises(BusyError, match="large files waiting to be opened"), lane.turn(A):
        pass


def test_on_a_private_page_nobody_has_a_share(none_waits: None) -> None:
    lane = Lane(Limits(), "large files", 2)
    with lane.turn(A), lane.turn(A), pytest.raises(BusyError), lane.turn(A):
        pass


def test_the_process_has_the_limits_it_is_given(tmp_path: Path) -> None:
    """In a process of the test's own, which they would end, too."""
    save_trace(sample_trace(steps=1), tmp_path / "a.json")
    resource = pytest.importorskip("resource")
    child = os.fork()
    if child == 0:
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            code = main("trace", str(2**36), str(tmp_path / "a.json"), str(MOST))
            limited = resource.getrlimit(resource.RLIMIT_AS)[0] > 2**36
            os._exit(0 if code == 0 and limited and resource.getrlimit(resource.RLIMIT_CPU)[0] == 60 else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_where_the_system_knows_no_such_limit_or_has_a_lower_one_files_are_read_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resource = pytest.importorskip("resource")
    given: dict[int, tuple[int, int]] = {}

    def set_limit(kind: int, most: tuple[int, int]) -> None:
        if kind == resource.RLIMIT_AS:
            raise ValueError("current limit exceeds maximum limit")  # macOS
        given[kind] = most

    monkeypatch.setattr(resource, "setrlimit", set_limit)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (30, 30))
    monkeypatch.setattr(reading_process.os, "nice", lambda _: 0)
    reading_process.limit_memory(2**30)
    assert given == {resource.RLIMIT_CPU: (30, 30), resource.RLIMIT_CORE: (0, 0)}
