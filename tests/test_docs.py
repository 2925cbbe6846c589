"""What the documents show is what there is."""

from __future__ import annotations

import re
import shlex

import pytest

from specviz.cli import parse
from specviz.trace import schema
from tests.paths import ROOT
from tests.tools import trace_doc

PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
COMMANDS = [
    (page.name, line.strip())
    for page in PAGES
    for line in page.read_text(encoding="utf-8").splitlines()
    if line.strip().startswith("python -m specviz ")
]


def test_the_first_screen_of_the_readme_has_exactly_two_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8").split("<!-- screenshots -->")[0]
    commands = re.findall(r"^python3 .*$", text, flags=re.M)
    assert len(commands) == 2
    assert commands[0].endswith("app.py")
    assert commands[1].endswith("pytest")
    assert commands[1] in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert len(text.split("---\n", 2)[2].splitlines()) < 40


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_commands_in_the_documents_exist(page: str, command: str) -> None:
    parse(shlex.split(command.partition("#")[0])[3:])


def test_tools_in_the_documents_exist() -> None:
    named = {
        name for page in PAGES for name in re.findall(r"`python -m\s+tests\.([\w.]+)", page.read_text(encoding="utf-8"))
    }
    assert "tools.load" in named
    for name in named:
        place = ROOT / "tests" / name.replace(".", "/")
        assert place.with_suffix(".py").is_file() or (place / "__main__.py").is_file(), name


def test_links_in_the_documents_lead_somewhere() -> None:
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_every_field_of_the_trace_is_documented() -> None:
    text = trace_doc.PAGE.read_text(encoding="utf-8")
    assert trace_doc.made(text) == text, "python -m tests.tools.trace_doc --write"
    for name, model in vars(schema).items():
        if isinstance(model, type) and issubclass(model, schema.Value) and model is not schema.Value:
            section = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", text, flags=re.M | re.S)
            assert section, f"{name} is not documented"
            documented = set(re.findall(r"^\| `(\w+)` \|", section.group(1), flags=re.M))
            assert documented == set(model.model_fields), name


def test_every_folder_has_its_line_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    folders = [f"specviz/{p.name}/" for p in (ROOT / "specviz").iterdir() if any(p.glob("*.py"))]
    for folder in [*folders, "assets/", "tests/", "docs/"]:
        assert f"| `{folder}` |" in text, folder
