"""The gate between an engine and the page that steps it, as two processes use it; either may be killed."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from specviz.errors import RecorderStopped, RecorderWarning, SettingsError
from specviz.recorder import gate as gates
from specviz.recorder.gate import EngineGate, PageGate, find_gate
from specviz.recorder.recorder import Recorder
from specviz.trace.growing import GrowingRecording
from specviz.trace.recording import read_recording
from tests.paths import ROOT
from tests.server import until
from tests.tools import gated_loop

PAGE = """
import sys, time
from pathlib import Path
from specviz.recorder.gate import find_gate
gate = find_gate(Path(sys.argv[1]), sys.argv[2])
gate.order(past=int(sys.argv[3]))
assert gate.hold()
print("held", flush=True)
time.sleep(600)
"""


@contextlib.contextmanager
def process(*command: str) -> Iterator[subprocess.Popen[str]]:
    """Another Python."""
    started = subprocess.Popen([sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


def followed(path: Path) -> tuple[GrowingRecording, PageGate]:
    """A loop that waits after its first step, seen from the page's side."""
    recording = GrowingRecording(path)
    until(lambda: recording.read() and recording.steps)
    assert recording.header is not None
    gate = find_gate(path, recording.header.id)
    assert gate is not None
    return recording, gate


def folders(path: Path) -> list[Path]:
    return [*path.parent.glob(f"{path.name}.gate-*")]


def one_step(rec: Recorder) -> None:
    with rec.step() as step:
        step.tree([2, 3], [-1, 0])
        step.verify(accepted=[], bonus=2)


def divide(rec: Recorder) -> None:
    with rec.step() as step:
        step.tree([2, 3], [-1, 0])
        step.draft(probs=[1 / 0])


def test_a_loop_waits_after_each_step_and_ends_when_it_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.jsonl"
    engine = threading.Thread(target=gated_loop.main, args=([str(path), "40", "raise"],))
    engine.start()
    recording, gate = followed(path)
    (folder,) = folders(path)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert len(folder.name) == len("run.jsonl.gate-") + 32
    assert gate.hold()
    for past in (1, 2, 3):
        gate.order(past=past)
        until(lambda past=past: recording.read() and recording.steps == past + 1)
    assert not recording.read(), "it waits"
    gate.order(stop=True)
    engine.join(60)
    said = f"Stop was pressed after step 4 of {path}, which has all steps up to it."
    assert capsys.readouterr().out.splitlines() == ["1", "2", "3", said, "stopped"]
    until(lambda: not gate.engine_lives())
    gate.close()
    assert folders(path) == []
    assert len(read_recording(path).steps) == 4


def test_a_page_that_is_killed_lets_the_loop_run_on_and_a_loop_that_is_killed_ends_the_wait(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with process("-m", "tests.tools.gated_loop", str(path), str(10**6)) as engine:
        recording, gate = followed(path)
        assert recording.header is not None
        with process("-c", PAGE, str(path), recording.header.id, "2") as page:
            assert page.stdout is not None
            assert page.stdout.readline() == "held\n"
            until(lambda: (recording.read(), recording.steps == 3)[1])
            assert not gate.hold(), "one page at a time"
            page.send_signal(signal.SIGKILL)
            until(lambda: (recording.read(), recording.steps > 20)[1])
        assert gate.hold()
        gate.order(past=0)
        assert gate.engine_lives()
        engine.send_signal(signal.SIGKILL)
        until(lambda: not gate.engine_lives())
        gate.close()
    recording.read()
    assert len(read_recording(path).steps) == recording.steps > 20
    assert len(folders(path)) == 1, "nobody was there to remove it"
    assert find_gate(path, recording.header.id) is None
    with Recorder(path, prompt=[1, 2], gate=True):
        assert len(folders(path)) == 1
    assert folders(path) == []


def test_without_a_page_it_says_so_and_runs_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "TELL_SECONDS", 0.0)
    monkeypatch.setattr(gates, "FIRST_SECONDS", 0.05)
    with Recorder(tmp_path / "run.jsonl", prompt=[1, 2], gate=True) as rec:
        with pytest.warns(RecorderWarning, match=r"app --follow .*run\.jsonl; this is said once") as told:
            one_step(rec)
        assert told[0].filename == __file__, "the line of the loop"
        one_step(rec)  # without a word
        assert not rec.stopped
        assert len(rec.trace().steps) == 2


def test_stop_is_seen_or_raised_and_no_step_waits_after_it(tmp_path: Path) -> None:
    for raises in (True, "raise"):
        path = tmp_path / f"{raises}.jsonl"
        rec = Recorder(path, prompt=[1, 2], gate=raises)
        gate = PageGate(folders(path)[0])
        gate.order(stop=True)
        if raises == "raise":
            with pytest.raises(RecorderStopped, match="after step 1 of"):
                one_step(rec)
        else:
            one_step(rec)
        assert rec.stopped
        with pytest.raises(ZeroDivisionError):  # what the loop raises itself goes first
            divide(rec)
        rec.close()
        gate.close()
        trace = read_recording(path)
        assert (len(trace.steps), trace.failed is not None) == (1, True)


def test_only_a_folder_of_the_same_user_alone_is_a_gate(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    mine = EngineGate(path, "a")
    found = find_gate(path, "a")
    assert found is not None
    found.close()
    assert find_gate(path, "b") is None, "of another recording"
    mine.folder.chmod(0o755)
    assert find_gate(path, "a") is None
    mine.folder.chmod(0o700)
    moved = mine.folder.rename(tmp_path / "elsewhere")
    os.symlink(moved, mine.folder)
    assert find_gate(path, "a") is None
    mine.close()


def test_a_gate_needs_a_file_and_without_one_nothing_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="say with path="):
        Recorder(prompt=[1, 2], gate=True)
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="No gate can be made"):
        Recorder(tmp_path / "file" / "run.jsonl", prompt=[1, 2], gate=True)
    with Recorder(tmp_path / "run.jsonl", prompt=[1, 2]) as rec:
        one_step(rec)
        assert not rec.stopped
        assert [path.name for path in tmp_path.iterdir() if "gate" in path.name] == []
    monkeypatch.setenv("SPECVIZ", "0")
    with Recorder(tmp_path / "off.jsonl", prompt=[1, 2], gate=True) as rec:
        one_step(rec)
        assert not rec.stopped
    assert [path.name for path in tmp_path.iterdir() if "off" in path.name] == []
