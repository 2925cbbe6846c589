"""Recordings are read as traces, up to their last whole line; what is none is refused in one sentence."""

from __future__ import annotations

import contextlib
import gzip
import json
import random
import tracemalloc
import warnings

import pytest

import specviz
from specviz.cli import main
from specviz.errors import TraceError
from specviz.recorder.recorder import Recorder
from specviz.trace import recording
from specviz.trace.io import dump_trace, load_trace, parse_trace
from specviz.trace.recording import read_recording, read_recordings


def recorded(steps: int = 3, requests: tuple[str | None, ...] = (None,)) -> bytes:
    rec = Recorder(strict=True, decode=str)
    for name in requests:
        rec.prompt([1, 2], request=name)
    for i in range(steps):
        for name in requests:
            with rec.step(name) as step:
                step.tree([2, 3, 4 + i], [-1, 0, 0])
                step.target([[0.25, 0.25, 0.5, *[0.0] * 27]] * 3, positions=[1, 2, 2])
                step.verify(accepted=[1], bonus=2, coins={1: 0.5, -1: 0.0})
    return rec._file.read()


DATA = recorded()
LINES = DATA.splitlines(keepends=True)


def test_a_recording_opens_wherever_it_ends() -> None:
    """A killed process leaves any beginning of it."""
    whole = parse_trace(DATA)
    start = len(LINES[0]) + len(LINES[1])
    places = {*range(start, len(DATA), 97), *(start + n for n in range(3)), len(DATA) - 1, len(DATA)}
    for end in sorted(places):
        trace = parse_trace(DATA[:end])
        whole_lines = DATA[:end].count(b"\n") - 3 + (DATA[end - 1 :][:2] == b"}\n")  # a line may lack its end alone
        assert trace.steps == whole.steps[: max(0, whole_lines)], end


def test_a_recording_that_ends_before_its_run_says_so() -> None:
    for end in (1, 5, 30, len(LINES[0]) - 1, len(LINES[0]), len(LINES[0]) + 40):
        with pytest.raises(TraceError, match=r"ends before its first run|first line of this recording is torn"):
            parse_trace(DATA[:end])


def test_all_that_opens_a_trace_opens_a_recording(tmp_path, capsys) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(DATA)
    trace = specviz.load(path)
    assert load_trace(path) == read_recording(path) == read_recording(DATA) == parse_trace(gzip.compress(DATA)) == trace
    assert parse_trace(dump_trace(trace)) == trace
    assert (trace.engine.name, trace.settings, len(trace.steps)) == ("my-loop", None, 3)


def test_a_first_request_that_nobody_chose_is_told_of(tmp_path) -> None:
    file = tmp_path / "run.jsonl"
    file.write_bytes(recorded(requests=("a", "b", *map(str, range(9)))))
    with pytest.warns(UserWarning, match=r"has 11 requests, and the first was loaded; .* among 'a', 'b', .* 3 more"):
        assert specviz.load(file).request == "a"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert specviz.load(file, request="b").request == "b"
        file.write_bytes(recorded(requests=("a",)))
        assert specviz.load(file).request == "a"


def test_the_requests_of_a_recording_are_traces_of_their_own() -> None:
    data = recorded(2, ("a", "b"))
    both = read_recordings(data)
    assert [*both] == ["a", "b"]
    assert read_recording(data) == both["a"]
    assert read_recording(data, "b") == both["b"]
    assert [trace.request for trace in both.values()] == ["a", "b"]
    assert both["a"].id != both["b"].id
    with pytest.raises(TraceError, match=r"has no request 'c'; choose one that it holds: 'a', 'b'\."):
        read_recording(data, "c")


def changed(number: int, change) -> bytes:
    """The recording with another line there, of what ``change`` makes of its JSON."""
    lines = [*LINES]
    value = json.loads(lines[number])
    lines[number] = json.dumps(change(value) or value).encode() + b"\n"
    return b"".join(lines)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"".join([*LINES[:3], b"nonsense\n", *LINES[3:]]), "Line 4 of this recording is not JSON"),
        (b"".join([*LINES[:3], b"[]\n", *LINES[3:]]), "broken at line 4"),
        (b"".join([*LINES[:3], b"\n", *LINES[3:]]), "Line 4 of this recording is not JSON"),
        (b"".join([*LINES[:3], b"{}\n", *LINES[3:]]), "a line holds one of run, step, failed and end"),
        (b"".join([*LINES[:3], *LINES[4:]]), "step 0 has the index 1"),
        (b"".join([*LINES[:1], *LINES[3:]]), "does not say with which prompt the run began"),
        (changed(0, lambda line: line | {"specviz_recording": 2}), "has version 2 and this specviz reads 1"),
        (changed(0, lambda line: line | {"specviz_recording": True}), "has version True"),
        (changed(0, lambda line: line | {"id": "../x"}), "broken at line 1, id"),
        (changed(0, lambda line: line | {"more": 1}), "broken at line 1, more"),
        (changed(3, lambda line: line["step"].update(index="0")), "broken at line 4, step.index"),
        (changed(3, lambda line: line["step"].update(context=0)), "broken at line 4, step.context"),
        (changed(3, lambda line: line["step"].update(context=9)), "step 0 starts at 9 tokens"),
        (changed(3, lambda line: line.update(end={"reason": "stopped"})), "a line holds one of"),
        (changed(3, lambda line: line.update(request=["a"])), "broken at line 4, request"),
        (changed(1, lambda line: line["run"].update(prompt_tokens=[])), "broken at line 2, run.prompt_tokens"),
        (DATA + b'{"request": null, "end": {"reason": "bored"}}\n', "end.reason"),
        (changed(3, lambda line: {f"f{i}": i for i in range(1000)}), "more lists and numbers"),
    ],
)
def test_what_is_no_recording_is_refused_in_a_sentence(data: bytes, sentence: str) -> None:
    with pytest.raises(TraceError, match=sentence) as caught:
        read_recordings(data)
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


def test_what_a_million_lines_would_cost_is_not_paid(monkeypatch) -> None:
    monkeypatch.setattr(recording.Line, "model_validate_json", None)
    line = b'{"request":null,"end":{"reason":"stopped"}}\n'
    data = b"".join(LINES[:2]) + line * 1_000_000
    tracemalloc.start()
    with pytest.raises(TraceError, match="more than 100,000 lines"):
        parse_trace(data)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


@pytest.mark.parametrize(
    "line",
    [
        b'{"request":null,"step":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        b'{"request":null,"step":' + b'{"a":' * 3_000 + b"1" + b"}" * 3_001,
        b'{"request":null,"step":[' + b"{}," * 2_000_000 + b"{}]}",
        b'{"request":null,"step":{"index":' + b"9" * 5_000 + b"}}",
        b'{"request":"\\ud800","end":{"reason":"stopped"}}',
        b'{"request":"\xff","end":{"reason":"stopped"}}',
    ],
    ids=["brackets", "braces", "empty objects", "digits", "half a character", "no UTF-8"],
)
def test_hostile_lines_are_refused_before_they_take_memory(line: bytes) -> None:
    with pytest.raises(TraceError) as caught:
        read_recordings(b"".join([*LINES[:3], line, b"\n", *LINES[3:]]))
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


def test_the_limits_of_uploads_hold() -> None:
    with pytest.raises(TraceError, match="larger than 0 MB"):
        parse_trace(DATA, max_bytes=len(DATA) - 1)
    with pytest.raises(TraceError, match="unpacks to more than 0 MB"):
        parse_trace(gzip.compress(DATA), max_bytes=len(DATA) - 1)
    with pytest.raises(TraceError, match="cannot be read"):
        read_recording("no\0path")


def test_a_file_that_only_begins_like_one_is_none() -> None:
    for data in (
        b'{"specviz_recorder": 1}',
        b'{"specviz_recording": 1',
        b'{"specviz_recording": 1}',
        b"{",
        b"{}\n",
        b"",
    ):
        with pytest.raises(TraceError):
            parse_trace(data)


def test_any_change_of_a_byte_is_read_or_refused() -> None:
    luck = random.Random(0)
    outcomes = set()
    for _ in range(150):
        data = bytearray(DATA)
        data[luck.randrange(len(data))] = luck.randrange(256)
        with contextlib.suppress(TraceError):
            outcomes.add(len(parse_trace(bytes(data)).steps))
            continue
        outcomes.add(-1)
    assert {-1, 3} <= outcomes


def test_a_command_refuses_a_recording_in_a_sentence(tmp_path, capsys) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(DATA.replace(b'"index":1', b'"index":7'))
    assert main(["diff", str(path), str(path)]) == 2
    assert "step 1 has the index 7" in capsys.readouterr().err
