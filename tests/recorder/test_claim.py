"""A recorder overwrites nothing, and shares its file with no other."""

from __future__ import annotations

from pathlib import Path

import pytest

import specviz
from specviz.recorder.recorder import Recorder
from tests.recorder.steps import one_step, recorder, rows


def test_a_file_that_is_no_recording_is_left_as_it_is(tmp_path) -> None:
    mine = tmp_path / "thesis.txt"
    mine.write_text("precious\n")
    with pytest.raises(specviz.SettingsError, match=r"is no recording of specviz.*choose another name, or delete it"):
        Recorder(mine)
    assert mine.read_text() == "precious\n"
    mine.write_text("")
    one_step(recorder(mine))
    assert len(specviz.load(mine).steps) == 1


def test_a_recording_that_is_there_is_renamed_with_its_rows(tmp_path) -> None:
    for steps_recorded in (1, 2, 3):
        with recorder(tmp_path / "run.jsonl", rows=True) as rec:
            for _ in range(steps_recorded):
                one_step(rec, target={"probs": rows(4)})
    for name, count in (("run.1.jsonl", 1), ("run.2.jsonl", 2), ("run.jsonl", 3)):
        assert len(specviz.load(tmp_path / name).steps) == count
        assert len([*(tmp_path / f"{name}.rows").iterdir()]) == count


@pytest.mark.parametrize("locks", ["of the system", "beside the file"])
def test_two_recorders_do_not_write_one_file(tmp_path, monkeypatch, locks) -> None:
    if locks == "beside the file":
        monkeypatch.setattr("specviz.recorder.claim.fcntl", None)
    rec = recorder(tmp_path / "run.jsonl")
    one_step(rec)
    with pytest.raises(specviz.SettingsError, match=r"Another recorder is writing .*give each its own file"):
        recorder(tmp_path / "run.jsonl")
    one_step(rec)
    rec.close()
    assert len(specviz.load(tmp_path / "run.jsonl").steps) == 2
    recorder(tmp_path / "run.jsonl").close()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["run.1.jsonl", "run.jsonl"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_full_disk_is_told_when_the_recording_begins() -> None:
    with pytest.raises(specviz.SettingsError, match=r"cannot be written to '/dev/full' \(No space left on device\)"):
        Recorder("/dev/full")
