"""CONTRIBUTING.md: every place that it sends somebody to is there, and what changes often stands in one place."""

from __future__ import annotations

import ast
import re
from functools import lru_cache
from pathlib import Path

import pytest

from specviz.app.server import limits
from tests.paths import DOCS, ROOT

TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", TEXT.split("## To change")[1], flags=re.M))
FILE = re.compile(r"(.*/.*|.*\.(py|md|txt|toml|js|css))")


@lru_cache
def names_in(file: Path) -> frozenset[str]:
    """What a Python file defines outside of functions; a name of a class is written ``Class.name``."""
    return frozenset(_defined(ast.parse(file.read_text(encoding="utf-8")).body))


def _defined(body: list[ast.stmt], before: str = "") -> set[str]:
    found: set[str] = set()
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(before + node.name)
            if isinstance(node, ast.ClassDef):
                found |= _defined(node.body, f"{before}{node.name}.")
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {before + target.id for target in targets if isinstance(target, ast.Name)}
    return found


def places(told: str) -> list[tuple[str, str]]:
    """(file, name in it) of a row; an empty name is the file itself."""
    found: list[tuple[str, str]] = []
    file = ""
    for word in re.findall(r"`([^`]+)`", told):
        if FILE.fullmatch(word):
            file = word
            found.append((file, ""))
        elif file:
            found.append((file, word))
    return found


def missing(file: str, name: str) -> bool:
    path = ROOT / file
    if not name or not path.exists():
        return not path.exists()
    return name not in (names_in(path) if path.suffix == ".py" else path.read_text(encoding="utf-8"))


def test_there_are_many_and_each_says_where() -> None:
    assert len(ROWS) > 20
    assert [change for change, told in ROWS.items() if not places(told)] == ["to change ..."]


@pytest.mark.parametrize("change", [change for change in ROWS if change != "to change ..."])
def test_the_place_is_there(change: str) -> None:
    assert [place for place in places(ROWS[change]) if missing(*place)] == []


def test_a_place_that_is_not_there_is_seen() -> None:
    assert missing("specviz/nothing.py", "")
    assert missing("specviz/tree.py", "LEAST_NODES")
    assert missing("assets/viewer/core/viewer.css", "--no-such-colour")
    assert not missing("specviz/app/server/limits.py", "Limits.nodes")
    assert places("`a/b.py`: `X`, `Y`, and `docs/c.md`") == [
        ("a/b.py", ""),
        ("a/b.py", "X"),
        ("a/b.py", "Y"),
        ("docs/c.md", ""),
    ]


@pytest.mark.parametrize("name", ["LINK_SECONDS", "RUNS_KEPT", "SMALL_COMPARISON"])
def test_what_was_hard_to_find_stands_once(name: str) -> None:
    files = list((ROOT / "specviz").rglob("*.py"))
    assert [file.name for file in files if name in names_in(file)] == ["limits.py"]
    imported = re.compile(rf"^from .* import .*\b{name}\b", re.MULTILINE)
    users = [file for file in files if imported.search(file.read_text(encoding="utf-8"))]
    assert users, "nobody asks for it"


def test_the_documents_say_how_long_a_run_is_held() -> None:
    held = f"held by the server for {limits.LINK_SECONDS / 86400:g} days"
    assert held in (DOCS / "debugging.md").read_text(encoding="utf-8")
