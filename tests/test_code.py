"""The code itself: format, lint, types, who may import whom, and which tests are of which folder."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import networkx as nx
import pytest

import specviz
from specviz.verifier_styles import SLOTS, STYLES
from specviz.verifiers import BUILT_IN
from tests.paths import ROOT
from tests.tools import viewer_types

PACKAGE = ROOT / "specviz"

LEAVES = {"arguments", "assets", "digits", "display", "errors", "dice", "fingerprints", "options", "processing"}
LEAVES |= {"interruption", "sampling", "transfers", "tree", "user_code", "verifier_styles"}
VIEWING = {"figures", "lessons", "gallery"}
DECIDING = {"drafting", "verifiers"}

MAY_IMPORT: dict[str, set[str]] = {
    "arguments": set(),
    "assets": set(),
    "digits": set(),
    "transfers": set(),
    "fingerprints": set(),
    "interruption": set(),
    "display": set(),
    "errors": set(),
    "user_code": {"errors"},
    "dice": {"transfers"},
    "trace": {"digits", "display", "errors"},
    "options": {"errors", "trace"},
    "sampling": {"trace", "transfers"},
    "processing": {"errors", "sampling", "trace"},
    "tree": {"errors", "trace", "transfers"},
    "verifier_styles": set(),
    "figures": {"assets", "digits", "display", "errors", "trace", "verifier_styles"},
    "lessons": {"assets", "digits", "errors", "trace"},
    "gallery": {"assets", "errors", "trace"},
    "drafting": LEAVES | {"trace"},
    "verifiers": LEAVES | {"trace", "drafting"},
    "models": LEAVES | {"trace", "drafting"},
    "recorder": LEAVES | DECIDING | {"trace", "models"},
    "adapters": LEAVES | {"trace", "models", "recorder"},
    "engine": LEAVES | DECIDING | {"trace", "models"},
    "compare": LEAVES | DECIDING | {"trace", "models", "engine", "figures"},
    "train": LEAVES | {"trace", "models", "engine", "compare"},  # measure-draft has compare's paired statistics
    "bench": LEAVES | DECIDING | {"trace", "recorder", "models", "engine", "compare"},
    "app": LEAVES | DECIDING | VIEWING | {"trace", "recorder", "models", "engine", "compare", "bench"},
    "api": DECIDING | {"errors", "trace", "figures"},
    "cli": LEAVES | DECIDING | VIEWING | {"trace", "recorder", "models", "engine", "compare", "train", "bench", "app"},
    "__main__": {"cli"},
}
"""Room -> rooms it may import, besides itself; all of them stand above it in this table, the lowest comes first."""

UPWARDS = {
    ("trace/schema.py", "specviz.notebook_html"),
    ("figures/findings.py", "specviz.recorder.audit.audit"),
    ("figures/findings.py", "specviz.recorder.findings.Finding"),
}
"""The imports that go up, inside functions: a trace in a notebook finds the viewer that draws it, and the page finds
the checks of another engine's run, which need no model."""

WHOLE = {"claims", "cli", "code", "contributing", "docs", "opens_old_files", "package", "public_api"}
"""What tests beside the folders are about, where it is no module of the package: all of it."""
HELPING = {"spaces_stand_in", "tools"}
"""Folders of the tests that hold no tests."""
BESIDE = {"card", "oracles"}
"""Folders of tests about all of the package."""

WITHOUT_TORCH = {
    "arguments",
    "assets",
    "digits",
    "display",
    "errors",
    "user_code",
    "trace",
    "options",
    "verifier_styles",
    "figures",
    "lessons",
    "gallery",
    "api",
}
WITH_TRANSFORMERS = {"models", "engine/audit.py", "recorder/adapters/transformers_generate.py"}
WITH_GRADIO = {"app"}
"""Rooms, or single files of one."""


def rooms() -> dict[Path, str]:
    """Every module of the package and the room it belongs to."""
    return {path: _room(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py")}


def _room(path: Path) -> str:
    """The folder; the command lines of all subjects are one room above the others, and what knows other engines is
    one above the recorder."""
    return "cli" if _is_command_line(path.stem) else _folder(path.with_suffix("").parts)


def _folder(parts: Sequence[str]) -> str:
    return "adapters" if tuple(parts[:2]) == ("recorder", "adapters") else parts[0]


def _is_command_line(name: str) -> bool:
    return name == "cli" or name.endswith("_cli")


def imports(path: Path) -> set[str]:
    """Dotted names that a module imports anywhere."""
    return _imported(ast.parse(path.read_text(encoding="utf-8")))


def _imported(tree: ast.AST) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import of {node.module}"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", sorted(rooms()), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down_only(path: Path) -> None:
    room = rooms()[path]
    if room == "__init__":
        return  # see test_the_public_package_imports_its_names_when_they_are_used
    assert room in MAY_IMPORT, f"{room} is a new room: say in MAY_IMPORT what it may import"
    file = path.relative_to(PACKAGE).as_posix()
    for name in imports(path):
        top, _, rest = name.partition(".")
        if top == "specviz" and (file, name) not in UPWARDS:
            parts = rest.split(".")
            other = "cli" if any(_is_command_line(part) for part in parts) else _folder(parts)
            assert other in MAY_IMPORT[room] | {room, "__version__"}, f"{room} must not import {other}"
        assert top != "torch" or room not in WITHOUT_TORCH, f"{room} must not import torch"
        assert top != "transformers" or {room, file} & WITH_TRANSFORMERS, f"{room} must not import transformers"
        assert top != "gradio" or room in WITH_GRADIO, f"{room} must not import gradio"


def test_everything_that_is_printed_goes_one_way() -> None:
    """A terminal obeys what names and messages hold, see :mod:`specviz.display`."""

    def prints(path: Path) -> bool:
        calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
        return any(isinstance(call.func, ast.Name) and call.func.id == "print" for call in calls)

    assert [path.name for path in rooms() if prints(path)] == ["display.py"]


def test_every_room_imports_downwards() -> None:
    rooms = list(MAY_IMPORT)
    for number, room in enumerate(rooms):
        assert MAY_IMPORT[room] <= {*rooms[:number]}, f"{room} may import what does not stand above it in the table"


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in PACKAGE.rglob("*.py")
    }


def circles(imported: dict[str, set[str]]) -> set[frozenset[str]]:
    """Groups of modules each of which reaches the others by imports; ``imported``: module -> modules."""
    graph = nx.DiGraph([(module, other) for module, others in imported.items() for other in others])
    groups = nx.strongly_connected_components(graph)
    return {frozenset(group) for group in groups if len(group) > 1 or any(graph.has_edge(one, one) for one in group)}


def test_no_file_imports_itself_by_way_of_others() -> None:
    """Anywhere in a file: in a function, or for type checkers alone, it is a circle for whoever reads it."""
    known = modules()
    imported: dict[str, set[str]] = {}
    for module, path in known.items():
        file = path.relative_to(PACKAGE).as_posix()
        names = {name for name in imports(path) if name.split(".")[0] == "specviz" and (file, name) not in UPWARDS}
        names.discard("specviz.__version__")  # stands in the public package itself
        # A name is a module, or stands in the one before the dot.
        imported[module] = {name if name in known else name.rpartition(".")[0] for name in names}
        assert imported[module] <= known.keys(), module
    assert sum(map(len, imported.values())) > 300
    assert circles(imported) == set()


def test_a_circle_is_found() -> None:
    straight = {"a": {"b", "c"}, "b": {"c"}, "c": set[str]()}
    assert circles(straight) == set()
    assert circles(straight | {"c": {"a"}}) == {frozenset("abc")}
    assert circles(straight | {"c": {"c"}}) == {frozenset("c")}


def test_the_tests_mirror_the_package() -> None:
    tests = ROOT / "tests"
    for file in tests.rglob("test_*.py"):
        folder = file.parent.relative_to(tests)
        if folder.name in BESIDE:
            continue
        assert (PACKAGE / folder).is_dir(), f"{file} is in a folder that the package does not have"
        if folder == Path():
            name = file.stem.removeprefix("test_")
            assert name in WHOLE or (PACKAGE / f"{name}.py").is_file(), f"{file}: which folder is it about?"
    own = {path.name for path in tests.iterdir() if path.is_dir() and any(path.rglob("*.py"))}
    assert own - HELPING - BESIDE == {
        path.name for path in PACKAGE.iterdir() if path.is_dir() and any(path.rglob("*.py"))
    }


def test_viewing_a_trace_needs_no_torch() -> None:
    code = "import sys, specviz.figures, specviz.trace.summary; sys.exit(bool({'torch', 'gradio'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_the_public_package_imports_its_names_when_they_are_used() -> None:
    """What type checkers read is what runs, and neither happens on ``import specviz``."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    told = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    found = {alias.name: node.module for node in told.body for alias in node.names}  # type: ignore[attr-defined]
    assert found == specviz._MODULE_OF
    assert {*specviz.__all__} == {"__version__", *found}
    assert specviz.__all__ == sorted(specviz.__all__)
    at_once = [name for node in tree.body if node is not told for name in _imported(node)]
    assert not [name for name in at_once if name.startswith("specviz")]
    for name in specviz.__all__:
        assert getattr(specviz, name) is not None
        assert name in dir(specviz)
    with pytest.raises(AttributeError, match="no attribute 'recrod'"):
        specviz.recrod  # noqa: B018
    code = "import specviz, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {name for name in loaded.stdout.split() if name.startswith("specviz")} == {"specviz"}
    assert not {"torch", "transformers", "gradio", "pydantic", "plotly", "numpy"} & {*loaded.stdout.split()}


def test_reading_showing_and_comparing_runs_needs_no_torch() -> None:
    code = """
import sys, specviz
trace = specviz.load("assets/traces/chain-of-4.json.gz")
assert "<iframe" in trace._repr_html_() and specviz.diff(trace, trace).parting is None
assert issubclass(specviz.TraceError, specviz.SpecvizError)
sys.exit(bool({"torch", "transformers", "gradio"} & {*sys.modules}))
"""
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def _files_with(text: str) -> list[str]:
    """Sources of the package and of its viewer that hold a text, but for what is made of Python's."""
    sources = [*PACKAGE.rglob("*.py"), *(ROOT / "assets" / "viewer").rglob("*.*")]
    read = {path: path.read_text(encoding="utf-8").lower() for path in {*sources} - {*viewer_types.made()}}
    return sorted(path.relative_to(ROOT).as_posix() for path, source in read.items() if text.lower() in source)


@pytest.mark.parametrize("colour", sorted({c for style in SLOTS for c in (style.light, style.dark)} - {"#000000"}))
def test_a_colour_of_a_verifier_stands_in_one_file(colour: str) -> None:
    assert _files_with(colour) == ["specviz/verifier_styles.py"]


def test_every_verifier_of_ours_has_a_style_of_its_own() -> None:
    assert [verifier.name for verifier in BUILT_IN] == list(STYLES)
    for theme in ("light", "dark", "dash"):
        assert len({getattr(style, theme) for style in SLOTS}) == len(SLOTS)


@pytest.mark.parametrize("mark", ["●", "○"])
def test_marks_of_outcomes_stand_in_one_table(mark: str) -> None:
    """Lessons speak of a mark in their text; ✕ and · mean other things, too."""
    assert [file for file in _files_with(mark) if "/lessons/" not in file] == ["specviz/figures/outcomes.py"]
    assert not [file for file in _files_with("passed, not chosen") if not file.startswith("specviz/")]


@pytest.mark.parametrize(
    ("text", "file"),
    [
        ("There is no verifier {shown(name)}", "specviz/verifiers/__init__.py"),
        ("There is no tree builder", "specviz/drafting/__init__.py"),
        ('"--draft-temperature"', "specviz/sampling_cli.py"),
        ('= "comparison.json"', "specviz/compare/read.py"),
        ("last_hits(session", "specviz/engine/run_until.py"),
    ],
)
def test_what_stood_twice_stands_once(text: str, file: str) -> None:
    assert _files_with(text) == [file]


# What mypy keeps for its next run takes a quarter of its time, and a fresh clone has no next one.
MYPY = ["mypy", f"--cache-dir={os.devnull}"] if os.environ.get("CI") == "true" else ["mypy"]


@pytest.mark.parametrize(
    "command", [["ruff", "check"], ["ruff", "format", "--check"], MYPY], ids=lambda command: " ".join(command[:2])
)
def test_tools_are_content(command: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_file_is_too_large_for_a_space() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    sizes = {name: (ROOT / name).stat().st_size for name in listed.split("\0") if name and (ROOT / name).is_file()}
    assert sizes
    assert not {name: size for name, size in sizes.items() if size > 9_000_000}
