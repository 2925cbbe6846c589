"""A recording that grows: what was appended is read once, within the limits of a whole file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from specviz.recorder.recorder import Recorder
from specviz.trace import growing
from specviz.trace import recording as whole
from specviz.trace.growing import GrowingRecording
from specviz.trace.recording import read_recordings


@pytest.fixture
def lines(tmp_path: Path) -> list[bytes]:
    """Of two requests, one of which ends."""
    path = tmp_path / "made.jsonl"
    rec = Recorder(path, decode=str, strict=True)
    for name in ("a", "b"):
        rec.prompt([1, 2], request=name)
    for number in range(4):
        with rec.step(request="ab"[number % 2]) as step:
            step.tree([2, 3], [-1, 0])
            step.verify(accepted=[], bonus=2)
    rec.end("stopped", request="a")
    rec.close()
    return path.read_bytes().splitlines(keepends=True)


def test_at_each_byte_it_is_what_the_whole_lines_say(lines: list[bytes], tmp_path: Path) -> None:
    path, data = tmp_path / "run.jsonl", b"".join(lines)
    recording = GrowingRecording(path)
    assert (recording.read(), recording.header) == (False, None)
    seen: list[tuple[int, bool]] = []
    with open(path, "wb", buffering=0) as file:
        for at in range(0, len(data), 7):
            file.write(data[at : at + 7])
            seen.append((recording.steps, recording.read()))
    assert [steps for steps, _ in seen] == sorted(steps for steps, _ in seen)
    assert sum(changed for _, changed in seen) == len(lines), "a torn line waits"
    assert recording.steps == 4
    assert {name: recording.trace(name) for name in recording.requests} == read_recordings(path)
    assert not recording.read()


def test_what_was_read_is_not_read_again(lines: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[bytes] = []
    real = growing._whole_lines
    monkeypatch.setattr(growing, "_whole_lines", lambda *a: (found := real(*a), read.append(found[0]))[0])
    path = tmp_path / "run.jsonl"
    recording = GrowingRecording(path)
    with open(path, "wb", buffering=0) as file:
        for line in lines:
            file.write(line)
            recording.read()
            recording.read()
    assert read == lines


@pytest.mark.parametrize("in_place", [True, False])
def test_a_recording_that_is_replaced_begins_anew(lines: list[bytes], tmp_path: Path, in_place: bool) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(b"".join(lines))
    recording = GrowingRecording(path)
    assert recording.read()
    other = lines[0].replace(recording.header.id.encode(), b"another")
    new = tmp_path / "new.jsonl"
    new.write_bytes(b"".join([other, *lines[1:]]) if in_place else other)
    if in_place:
        path.write_bytes(new.read_bytes())
    else:
        os.replace(new, path)
    assert recording.read()
    assert recording.header.id == "another"
    assert recording.steps == (4 if in_place else 0)
    path.unlink()
    assert recording.read()
    assert (recording.header, recording.requests) == (None, [])


def test_what_cannot_be_followed_is_said_and_what_was_read_stays(
    lines: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.jsonl"

    def problem(data: bytes, max_bytes: int = 1 << 20) -> tuple[str, int]:
        path.write_bytes(data)
        recording = GrowingRecording(path, max_bytes)
        while recording.read():
            pass
        assert recording.problem is not None
        return recording.problem, recording.steps

    good = b"".join(lines)
    assert problem(good + b"no json\n") == (f"Line {len(lines) + 1} of this recording is not JSON; record it again.", 4)
    assert problem(good + b'{"step": 1}\n')[0].startswith(f"This recording is broken at line {len(lines) + 1}, step")
    assert problem(b'{"schema_version": 2}\n')[0].startswith("This file is no recording")
    assert problem(good + b'{"request": "' + b"x" * (1 << 20))[0].startswith("This recording is larger than 1 MB")
    assert problem(good + b"[" * 600_000 + b"\n")[0].startswith("This trace holds more lists and numbers")
    monkeypatch.setattr(whole, "MOST_LINES", 5)
    assert problem(good)[0].startswith("This recording has more than 5 lines")
    path.unlink()
    path.mkdir()
    recording = GrowingRecording(path)
    assert recording.read()
    assert recording.problem == "The recording cannot be read (Is a directory); check the path."


def test_a_long_file_is_read_in_parts_with_the_density_of_all_of_them(
    lines: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growing, "READ_AT_ONCE", 300)
    path = tmp_path / "run.jsonl"
    path.write_bytes(b"".join(lines))
    recording = GrowingRecording(path)
    looks = 0
    while recording.read():
        looks += 1
    assert looks > 2
    assert recording.steps == 4
    empty = b'{"request":"' + b",:[{" * 20 + b'","end":{"reason":"stopped"}}\n'
    path.write_bytes(lines[0] + lines[1] + empty * 80_000)  # no part of it is too dense by itself
    monkeypatch.setattr(growing, "READ_AT_ONCE", 1 << 20)
    while recording.read():
        pass
    assert recording.problem.startswith("This trace holds more lists and numbers")
