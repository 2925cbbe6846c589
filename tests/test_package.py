"""The installed package, used outside the checkout: the command, the page, Python, a notebook.

It is installed with pip, from a folder and from git, without its dependencies over the environment that is there.
"""

from __future__ import annotations

import email
import json
import os
import re
import shutil
import site
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from gradio_client import Client
from packaging.requirements import Requirement

import specviz
from specviz.assets import LARGEST_COMPARISON
from tests import tiny
from tests.paths import ASSETS, DOCS, ROOT
from tests.saved_pages import block_in

MOST_BYTES = 40_000_000
NAME = "specviz-debugger"


@dataclass
class Installed:
    """An environment with specviz in it, and a folder to work in."""

    python: Path
    folder: Path

    def run(self, *command: str) -> str:
        """What a command of the environment prints; it has to succeed."""
        done = subprocess.run(
            [str(self.python.parent / command[0]), *command[1:]],
            cwd=self.folder,
            # An environment of its own has none of the templates that nbconvert brings along.
            env=os.environ | {"JUPYTER_PATH": f"{sys.prefix}/share/jupyter"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of what is in the working tree, whatever state the repository around that is in."""
    folder = tmp_path_factory.mktemp("checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    who = ["-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "core.looseCompression=0"]
    for command in (["init", "-q"], ["add", "-A"], [*who, "commit", "-qm", "As it is"]):
        subprocess.run(["git", *who, *command], cwd=folder, check=True)
    return folder


def pip(*arguments: str, python: Path | None = None) -> None:
    where = ["--python", str(python)] if python else []
    command = [sys.executable, "-m", "pip", *where, *arguments, "--no-deps", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    # The build's own requirements are among those of the tests; test_it_installs_from_git has pip fetch them.
    pip("wheel", "--no-build-isolation", "--wheel-dir", str(folder), str(checkout))
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """What ``pip install .`` builds and installs, in a new environment that sees the packages of this one."""
    home = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home / "venv")], check=True)
    python = home / "venv" / "bin" / "python"
    packages = next((home / "venv" / "lib").glob("python*/site-packages"))
    there = "".join(f"import site; site.addsitedir({folder!r})\n" for folder in site.getsitepackages())
    (packages / "the_environment_that_is_there.pth").write_text(there)
    pip("install", str(wheel), python=python)
    (home / "work").mkdir()
    found = Installed(python, home / "work")
    where = found.run("python", "-c", "import specviz; print(specviz.__file__)").strip()
    assert Path(where).is_relative_to(packages)
    return found


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders of a small random pair."""
    target, draft = tiny.save_pair(tmp_path_factory.mktemp("pair"))
    return {"target": str(target), "draft": str(draft)}


def files_of(package: Path) -> set[str]:
    found = (path.relative_to(package) for path in package.rglob("*") if path.is_file())
    return {path.as_posix() for path in found if "__pycache__" not in path.parts}


def test_the_wheel_has_the_package_and_its_assets_and_is_not_large(wheel: Path) -> None:
    assert wheel.stat().st_size < MOST_BYTES
    assert wheel.name == f"specviz_debugger-{specviz.__version__}-py3-none-any.whl"
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"specviz", f"specviz_debugger-{specviz.__version__}.dist-info"}
    code = {f"specviz/{name}" for name in files_of(ROOT / "specviz")}
    assets = {f"specviz/_assets/{name}" for name in files_of(ASSETS) if not name.startswith(f"{LARGEST_COMPARISON}/")}
    assert {name for name in names if name.startswith("specviz/")} == code | assets
    assert {"specviz/py.typed", "specviz/_assets/viewer/core/frame.d.ts", "specviz/_assets/draft/config.json"} <= {
        *names
    }
    assert not [name for name in names if "test" in name.lower()]


def test_what_the_package_says_of_itself_is_said_once(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        said = email.message_from_bytes(archive.read(inside))
        scripts = archive.read(inside.replace("METADATA", "entry_points.txt")).decode()
    assert (said["Name"], said["Version"]) == (NAME, specviz.__version__)
    needed = [line for line in (ROOT / "requirements.txt").read_text().splitlines() if line[:1] not in ("", "#")]
    assert {_plain(line) for line in said.get_all("Requires-Dist")} == {_plain(line) for line in needed}
    assert scripts.split() == ["[console_scripts]", "specviz", "=", "specviz.cli:main"]
    written = (ROOT / "pyproject.toml").read_text() + (ROOT / "README.md").read_text()
    assert specviz.__version__ not in written


def _plain(requirement: str) -> tuple[str, str]:
    one = Requirement(requirement)
    return one.name.replace("_", "-"), str(one.specifier)


def test_nobody_is_told_to_install_the_other_project() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    texts = [ROOT / n for n in listed.split("\0") if n.endswith((".py", ".md", ".toml", ".txt", ".js", ".yml"))]
    told = re.compile(r"(pip|pipx|uv|uvx)\s+(install|add|run)\s+([^\n`]*\s)?['\"]?specviz\b(?!-)")
    assert told.search("python -m pip install -U specviz")
    assert not [str(path) for path in texts if path.is_file() and path != Path(__file__) and told.search(read(path))]


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def test_it_installs_from_git(checkout: Path, installed: Installed, tmp_path: Path) -> None:
    pip("install", "--target", str(tmp_path), f"git+{checkout.as_uri()}")
    mine = Path(installed.run("python", "-c", "import specviz; print(specviz.__path__[0])").strip())
    assert files_of(tmp_path / "specviz") == files_of(mine)
    code = "import specviz; print(specviz.__version__, specviz.load.__module__)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)}, capture_output=True
    )
    assert done.stdout.decode().split() == [specviz.__version__, "specviz.api"], done.stderr.decode()


def test_the_command_is_called_by_its_name(installed: Installed) -> None:
    assert installed.run("specviz", "--help").startswith("usage: specviz [-h] command")
    assert installed.run("python", "-m", "specviz", "--help").startswith("usage: python -m specviz [-h] command")
    assert "--trace" in installed.run("specviz", "app", "--help")


@pytest.mark.default_pair
def test_a_run_of_the_default_pair_is_recorded_and_exported(installed: Installed) -> None:
    prompt = ["--prompt", "Why is the sky blue?", "--chat", "--tree", "4,2,2"]
    said = installed.run("specviz", "record", *prompt, "--max-new-tokens", "8")
    assert "saved trace.json.gz" in said
    trace = specviz.load(installed.folder / "trace.json.gz")
    assert (len(trace.output_tokens()), trace.settings.builder.options) == (8, {"tree": "4,2,2"})
    assert trace.models.target.id == "SmolLM2-135M-Instruct"
    assert "saved trace.html" in installed.run("specviz", "export", "trace.json.gz")
    assert block_in(read(installed.folder / "trace.html"))["run"]["id"] == trace.id


@pytest.fixture
def served(installed: Installed) -> Iterator[str]:
    """``specviz app``: its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = installed.folder / "app.log"
    with log.open("wb") as said:
        app = subprocess.Popen(
            [str(installed.python.parent / "specviz"), "app", "--port", str(port)],
            cwd=installed.folder,
            stdout=said,
            stderr=subprocess.STDOUT,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 180
        while True:
            assert app.poll() is None, read(log)
            assert time.monotonic() < until, "the app does not answer"
            try:
                httpx.get(f"{url}/config", timeout=5, verify=False).raise_for_status()
                break
            except httpx.TransportError:
                time.sleep(0.2)
        yield url
    finally:
        app.terminate()
        app.wait(timeout=60)


def test_the_page_opens_and_a_step_works(served: str, pair: dict[str, str]) -> None:
    page = httpx.get(served, timeout=60).text
    config = httpx.get(f"{served}/config", timeout=60).text
    assert "specviz" in page
    assert "Why is the sky blue?" in config
    assert f"--comparison CHECKOUT/assets/{LARGEST_COMPARISON}" in config, "what is not here is named"
    visitor = Client(served, verbose=False, httpx_kwargs={"timeout": 120})
    opened = visitor.predict("default-4-2-2", api_name="/open")
    assert json.loads(opened[0])[0]["frames"][0]["step"] == 0
    settings = {"prompt": "The sea", **pair, "chat": False, "max_new_tokens": 9}
    stepped = json.loads(visitor.predict(**settings, api_name="/step"))
    assert stepped["run"]["steps"] == 1
    assert stepped["frames"][0]["tree"]


def test_what_the_page_about_python_shows_is_what_happens(installed: Installed, pair: dict[str, str]) -> None:
    snippets = re.findall(r"^```python\n(.*?)^```$", read(DOCS / "python.md"), flags=re.M | re.S)
    assert len(snippets) > 5
    # As they stand, but on a small pair: the default one is loaded by the test of the command.
    small = f"import functools, specviz\nspecviz.record = functools.partial(specviz.record, **{pair})\n"
    (installed.folder / "snippets.py").write_text("\n".join([small, *snippets]), encoding="utf-8")
    said = installed.run("python", "snippets.py")
    assert "<Trace " in said
    assert "tokens are equal from the start" in said
    assert said.count("NOT LOSSLESS as promised") == 3
    assert {"run.json.gz", "run.html"} <= {path.name for path in installed.folder.iterdir()}


@pytest.mark.browser
def test_a_notebook_shows_a_run(installed: Installed, browser, tmp_path: Path) -> None:
    run = f"import specviz\ntrace = specviz.load({str(ASSETS / 'traces' / 'chain-of-4.json.gz')!r})"
    cells = [
        {"cell_type": "code", "id": name, "metadata": {}, "source": source, "outputs": [], "execution_count": None}
        for name, source in (("load", run), ("show", "trace"))
    ]
    notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (installed.folder / "run.ipynb").write_text(json.dumps(notebook))
    installed.run("python", "-m", "nbconvert", "--to", "html", "--execute", "run.ipynb", "--output-dir", str(tmp_path))
    assert (tmp_path / "run.html").stat().st_size < 10_000_000
    page = browser.new_page(viewport={"width": 1100, "height": 900})
    wrong: list[str] = []
    page.route(re.compile("^https?:"), lambda route: route.abort())  # nbconvert's own page asks for mathematics
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    page.goto((tmp_path / "run.html").as_uri())
    frame = page.frame_locator("iframe")
    frame.locator("[data-painted]").wait_for(timeout=60_000)
    assert frame.locator(".sv-treebox svg").first.bounding_box()["height"] > 100
    assert frame.locator(".sv-where").inner_text().startswith("step 1 of ")
    frame.locator("[aria-label=Forward]").click()
    frame.locator(".sv-where", has_text="step 2 of ").wait_for(timeout=60_000)
    inside = next(one for one in page.frames if one is not page.main_frame)
    assert inside.evaluate("self.origin") == "null", "it shares nothing with the notebook"
    frame.locator("[data-act=more]").click()
    frame.locator("[data-act=figure]").click()
    with page.expect_download() as saved:
        frame.locator("[data-act=save-svg]").click()
    assert saved.value.suggested_filename.endswith(".svg")
    assert not [error for error in wrong if "MathJax" not in error]
    page.close()
