"""The recorded run as a file: what is written is read again, and nothing else is."""

from __future__ import annotations

import gzip
import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from specviz.errors import TraceError
from specviz.trace import schema
from specviz.trace.io import dump_trace, load_trace, parse_trace, save_trace
from specviz.trace.schema import (
    LONGEST_NAME,
    LONGEST_OPTION,
    LONGEST_PROMPT,
    LONGEST_TEXT,
    LONGEST_TOKEN,
    TokenText,
    Trace,
    text_of_tokens,
)
from tests.pairs import make_trace
from tests.sample_traces import sample_trace


@pytest.fixture(scope="module")
def trace() -> Trace:
    return make_trace(max_new_tokens=12, audit=True)


def refused(data: bytes, **limits: int) -> str:
    """The one sentence with which ``data`` is refused."""
    with pytest.raises(TraceError) as caught:
        parse_trace(data, **limits)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    return str(caught.value)


@pytest.mark.parametrize("name", ["trace.json", "trace.json.gz"])
def test_a_saved_trace_is_the_same_trace(trace: Trace, tmp_path: Path, name: str) -> None:
    save_trace(trace, tmp_path / name)
    assert load_trace(tmp_path / name) == trace
    assert os.listdir(tmp_path) == [name], "a temporary file was left behind"
    assert (tmp_path / name).read_bytes()[:2] == (b"\x1f\x8b" if name.endswith(".gz") else b'{"')


def test_an_interrupted_save_leaves_the_old_file(trace: Trace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "trace.json"
    path.write_text("old")
    monkeypatch.setattr(os, "replace", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        save_trace(trace, path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["trace.json"]


def test_values_are_frozen(trace: Trace) -> None:
    with pytest.raises(ValueError, match="frozen"):
        trace.steps[0].driver = "eta"


def test_a_trace_grows_linearly() -> None:
    short, long = (make_trace(max_new_tokens=n, seed=1) for n in (20, 80))
    per_step = [len(dump_trace(t)) / len(t.steps) for t in (short, long)]
    assert per_step[1] < 1.5 * per_step[0]


def test_split_characters_are_joined() -> None:
    parts = "😀".encode()
    tokens = [TokenText(id=i, text="?", bytes=bytes([b]).hex()) for i, b in enumerate(parts)]
    assert text_of_tokens([TokenText(id=9, text="a "), *tokens, TokenText(id=8, text="!")]) == "a 😀!"


def test_foreign_files_are_refused() -> None:
    assert "not JSON" in refused(b"PK\x03\x04 a zip file")
    assert "not JSON" in refused(b"")
    assert "not a specviz trace" in refused(b'{"model": "x"}')
    assert "not a specviz trace" in refused(b"[1, 2, 3]")
    assert "schema version 99" in refused(b'{"schema_version": 99}')
    assert len(refused(b'{"schema_version": "' + b"9" * 100_000 + b'"}')) < 300
    assert "damaged or cut short" in refused(b"\x1f\x8b" + b"x" * 20)
    assert "not JSON" in refused(b"[" * 100_000)


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="cannot be read"):
        load_trace(tmp_path / "none.json")


def test_huge_files_are_refused_before_they_are_unpacked(trace: Trace) -> None:
    assert "larger than 1 MB" in refused(b" " * (1 << 20) + b"{}", max_bytes=1 << 20)
    bomb = gzip.compress(b" " * (64 << 20))
    assert len(bomb) < 100_000
    assert "unpacks to more than 1 MB" in refused(bomb, max_bytes=1 << 20)


def broken(trace: Trace, *path: str | int, value: object) -> bytes:
    """The trace as JSON, with one place changed."""
    data = json.loads(dump_trace(trace))
    place = data
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    return json.dumps(data).encode()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("steps", 0, "tree", "nodes", 3, "parent"), 3),
        (("steps", 0, "tree", "nodes", 3, "parent"), -1),
        (("steps", 0, "tree", "nodes", 3, "id"), 4),
        (("steps", 0, "tree", "nodes", 3, "depth"), 7),
        (("steps", 0, "tree", "nodes", 3, "rank"), 0),
        (("steps", 0, "tree", "nodes", 3, "target_prob"), float("nan")),
        (("steps", 0, "tree", "nodes", 3, "target_prob"), 2.0),
        (("steps", 0, "tree", "nodes", 3, "surprise"), 1),
        (("steps", 0, "tree", "proposal"), "guess"),
        (("steps", 0, "verdicts", "rejection", "bonus", "node"), 99),
        (("steps", 0, "verdicts", "rejection", "path"), [28]),
        (("steps", 0, "verdicts", "rejection", "thresholds"), [1.0]),
        (("steps", 0, "verdicts", "rejection", "verifier"), "eta"),
        (("steps", 0, "driver"), "nobody"),
        (("steps", 0, "committed"), []),
        (("steps", 1, "index"), 7),
        (("steps", 0, "tree", "nodes", 0, "draft"), None),
        (("steps", 0, "caches", "target", "audit", "keys"), []),
        (("steps", 0, "caches", "target", "audit", "values", 0), [0.0] * 99),
        (("steps", 0, "caches", "draft", "audit", "earlier_values"), [0.0]),
        (("steps", 1, "context"), 1),
        (("steps", 0, "caches", "target", "fingerprints_before"), []),
        (("steps", 0, "caches", "target", "fingerprints_after"), []),
        (("steps", 0, "caches", "target", "appended", 0, "node"), 4000),
        (("steps", 0, "tokens"), []),
        (("prompt_texts",), []),
        (("steps", 0, "tokens", 0, "bytes"), "zz"),
        (("prompt_tokens",), []),
        (("id",), "../../etc/passwd"),
        (("settings", "driver"), "nobody"),
        (("settings", "seed"), "1"),
    ],
)
def test_a_broken_trace_says_where(trace: Trace, path: tuple, value: object) -> None:
    message = refused(broken(trace, *path, value=value))
    assert "broken at" in message


def test_a_step_commits_what_its_driver_emits(trace: Trace) -> None:
    """In the last step, where no later one gives it away."""
    committed = trace.steps[-1].committed
    message = refused(broken(trace, "steps", -1, "committed", value=[*committed, *committed, *committed]))
    assert "other tokens than its driver" in message


def test_random_damage_never_does_more_than_refuse(trace: Trace) -> None:
    rng = random.Random(0)
    data = dump_trace(trace)
    survived = 0
    for _ in range(300):
        damaged = bytearray(data)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(damaged))
            if rng.random() < 0.5:
                damaged[at] = rng.randrange(256)
            else:
                del damaged[at : at + rng.randint(1, 2000)]
        try:
            parse_trace(bytes(damaged))
            survived += 1  # a digit of a probability may change unnoticed
        except TraceError:
            pass
    assert survived < 150


def test_a_small_file_of_brackets_is_refused_before_values_are_made_of_it() -> None:
    """Four megabytes of it took two gigabytes: each of several errors repeats the list."""
    data = b'{"schema_version": 1, "steps": [' + b"[[[0]]]," * (1 << 19) + b"0]}"
    with pytest.raises(TraceError, match="more lists and numbers than a recorded one"):
        parse_trace(data)
    few = b'{"schema_version": 1, "steps": [' + b"[[[0]]]," * 1000 + b"0]}"
    with pytest.raises(TraceError, match="broken at"):
        parse_trace(few)


@pytest.mark.parametrize(
    ("path", "most"),
    [
        *(((name,), LONGEST_NAME) for name in ("created", "specviz_version")),
        (("prompt",), LONGEST_PROMPT),
        (("end_message",), LONGEST_TEXT),
        *((("models", "target", name), LONGEST_TEXT) for name in ("id", "revision", "note")),
        *((("models", "draft", name), LONGEST_NAME) for name in ("architecture", "dtype", "device", "quantization")),
        (("settings", "builder", "options", "x"), LONGEST_OPTION),
        (("steps", 0, "tree", "builder"), LONGEST_NAME),
        (("steps", 0, "tree", "nodes", 1, "text"), LONGEST_TOKEN),
        (("steps", 0, "verdicts", "rejection", "options", "x"), LONGEST_OPTION),
        (("steps", 0, "verdicts", "rejection", "bonus", "text"), LONGEST_TOKEN),
        (("steps", 0, "verdicts", "rejection", "decisions", 0, "rule"), LONGEST_NAME),
        (("steps", 0, "verdicts", "rejection", "decisions", 0, "reason"), LONGEST_TEXT),
        (("steps", 0, "caches", "target", "fingerprints_before", 0), 64),
    ],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_no_text_is_longer_than_a_page_can_bear(path: tuple[str | int, ...], most: int) -> None:
    """A reason of 15 MB, 273 kB gzipped, was sent with every frame."""
    data = json.loads(dump_trace(sample_trace(steps=1)))
    place = data
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = "x" * most
    parse_trace(json.dumps(data).encode())
    place[path[-1]] += "x"
    with pytest.raises(TraceError, match=f"at most {most} characters"):
        parse_trace(json.dumps(data).encode())


def test_every_text_of_the_schema_has_a_limit() -> None:
    for model in vars(schema).values():
        if isinstance(model, type) and issubclass(model, schema.Value) and model is not schema.Value:
            for name, one in texts_of(model.model_json_schema()["properties"]):
                if name == "options":
                    continue  # one of a few kinds of values: the test above
                assert {"maxLength", "pattern", "enum", "const"} & one.keys(), (model.__name__, name)


def texts_of(properties: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """(field, JSON schema) of every text in the fields of a model, in lists and as values of objects too."""
    found = []
    left = list(properties.items())
    while left:
        name, one = left.pop()
        if one.get("type") == "string":
            found.append((name, one))
        inner = [*one.get("anyOf", []), *one.get("prefixItems", []), one.get("items"), one.get("propertyNames")]
        inner.append(one.get("additionalProperties"))
        left += [(name, part) for part in inner if isinstance(part, dict)]
    return found
