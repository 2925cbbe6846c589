"""A Hugging Face Space as far as one can be had at a desk: what is uploaded, and the app as the platform starts it."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from gradio_client import Client
from huggingface_hub import SpaceHardware
from huggingface_hub.utils import DEFAULT_IGNORE_PATTERNS, filter_repo_objects
from packaging.requirements import Requirement

from specviz.app.run_handlers import recorded_traces
from specviz.app.server.zerogpu import MOST_SECONDS
from specviz.models.default_pair import ensure_draft, ensure_target
from tests.paths import ROOT

MOST_BYTES = 10_000_000
COLOURS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}


# ---------------------------------------------------------------------------------------------- what is uploaded


def excluded() -> list[str]:
    """The patterns of the upload command: the documents' own, so that it is the command which is tested."""
    text = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^hf upload .*$", text, flags=re.M)
    words = shlex.split(command)
    assert words[3:7] == [".", ".", "--repo-type", "space"]
    assert set(words[7::2]) == {"--exclude"}
    return words[8::2]


def uploaded_files() -> list[Path]:
    """What ``hf upload`` would send from this folder, relative to it."""
    patterns = [*DEFAULT_IGNORE_PATTERNS, *excluded()]

    def kept(paths: list[Path]) -> list[Path]:
        names = filter_repo_objects((path.as_posix() for path in paths), ignore_patterns=patterns)
        return [Path(name) for name in names]

    found: list[Path] = []
    for parent, folders, files in os.walk(ROOT):
        here = Path(parent).relative_to(ROOT)
        folders[:] = [name for name in folders if kept([here / name / "file"])]
        found += kept([here / name for name in files])
    return found


def front_matter() -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((ROOT / "README.md").read_text(encoding="utf-8").split("---\n")[1])
    return values


def requirements() -> dict[str, Requirement]:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {one.name: one for one in found}


def test_the_upload_is_the_app_and_nothing_private_or_large() -> None:
    files = uploaded_files()
    assert {Path(name) for name in ("app.py", "README.md", "requirements.txt", "specviz/engine/session.py")} <= set(
        files
    )
    assert {path.parts[0] for path in files if len(path.parts) > 1} == {"assets", "docs", "specviz"}
    assert not [path for path in files if "__pycache__" in path.parts]
    assert {str(path): size for path in files if (size := (ROOT / path).stat().st_size) >= MOST_BYTES} == {}


def test_the_front_matter_is_what_the_platform_takes() -> None:
    known = front_matter()
    assert (known["sdk"], known["license"]) == ("gradio", "apache-2.0")
    assert (ROOT / known["app_file"]).is_file()
    assert known["title"]
    assert len(known["short_description"]) <= 60
    assert {known["colorFrom"], known["colorTo"]} <= COLOURS
    assert known["suggested_hardware"] in {hardware.value for hardware in SpaceHardware}
    assert all(re.fullmatch(r"[\w.-]+/[\w.-]+", model) for model in known["models"])


def test_the_front_matter_and_the_requirements_agree() -> None:
    known, needed = front_matter(), requirements()
    assert needed["gradio"].specifier.contains(known["sdk_version"])
    # ZeroGPU has these two versions of Python.
    assert known["python_version"] in ("3.10.13", "3.12.12")
    assert any(needed["torch"].specifier.contains(f"2.{minor}.0") for minor in range(8, 12))
    assert "spaces" not in needed


# ------------------------------------------------------------------------------------------------- how it starts


@dataclass
class Space:
    """An app that runs: its address, its folder and what was copied there, and what the stand-in wrote down."""

    url: str
    app: Path
    copied: set[Path]
    log: Path

    def visitor(self) -> Client:
        return Client(self.url, verbose=False, httpx_kwargs={"timeout": 120})

    def calls(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []


@pytest.fixture(scope="module", params=["cpu basic", "zero gpu"])
def space(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Space]:
    """``python app.py`` in a copy of the uploaded files: fresh environment, no home, no hub, no index, two cores.

    The default pair lies where a Space without a home would have put it.
    """
    home = tmp_path_factory.mktemp("space")
    app, temporary = home / "app", home / "tmp"
    copied = set(uploaded_files())
    for path in copied:
        (app / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, app / path)
    cache = temporary / f"specviz-{os.getuid()}"
    cache.mkdir(parents=True, mode=0o700)
    for folder in (ensure_target(), ensure_draft()):
        (cache / folder.name).symlink_to(folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": "/proc/no-home",  # where not even root can make a folder
        "TMPDIR": str(temporary),
        "SYSTEM": "spaces",
        "SPACE_ID": "someone/specviz",
        "SPACE_HOST": "someone-specviz.hf.space",
        "GRADIO_SERVER_NAME": "0.0.0.0",
        "GRADIO_SERVER_PORT": str(port),
        "HF_HUB_OFFLINE": "1",
        "PIP_NO_INDEX": "1",
        "OMP_NUM_THREADS": "1",  # beside other tests, a second thread mostly waits, and that takes CPU
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    if request.param == "zero gpu":
        environment |= {
            "SPACES_ZERO_GPU": "true",
            "PYTHONPATH": str(ROOT / "tests" / "spaces_stand_in"),
            "SPACES_STAND_IN_LOG": str(home / "calls.jsonl"),
            "SPECVIZ_ZERO_LOADING": "100",  # a CPU that other tests use, too, takes longer than a GPU
        }
    with (home / "said.txt").open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "app.py"],
            cwd=app,
            env=environment,
            stdout=said,
            stderr=subprocess.STDOUT,
            preexec_fn=lambda: os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2]),
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(url, process, home / "said.txt")
        yield Space(url, app, copied, home / "calls.jsonl")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def _wait_for(url: str, process: subprocess.Popen[bytes], said: Path) -> None:
    until = time.monotonic() + 180
    while time.monotonic() < until:
        assert process.poll() is None, said.read_text()
        try:
            httpx.get(f"{url}/config", timeout=5, verify=False).raise_for_status()
            return
        except httpx.TransportError:
            time.sleep(0.2)
    raise AssertionError("the app does not answer")


def begin(visitor: Client, endpoint: str, **settings: Any) -> Any:
    """Press a button, the form as it was opened but for ``settings``, by label in small letters."""
    listed = visitor.view_api(return_format="dict", print_info=False)["named_endpoints"][endpoint]["parameters"]
    names = {one["label"].lower(): one["parameter_name"] for one in listed}
    given = {names[label.replace("_", " ")]: value for label, value in settings.items()}
    return visitor.submit(api_name=endpoint, **given)


def block_of(output: Any) -> dict[str, Any]:
    """What the viewer got; of an opening, which is a list of blocks, the first."""
    value = json.loads(output[0] if isinstance(output, (list, tuple)) else output)
    found: dict[str, Any] = value[0] if isinstance(value, list) else value
    return found


def test_every_run_that_comes_with_it_opens(space: Space) -> None:
    visitor = space.visitor()
    for name in recorded_traces():
        opened = block_of(visitor.predict(name, api_name="/open"))
        assert opened["frames"][0]["step"] == 0
    assert space.calls() == [], "looking at a run needs no GPU"


@pytest.mark.default_pair
def test_steps_are_run_on_the_default_pair_and_go_on_where_they_were(space: Space) -> None:
    visitor = space.visitor()
    blocks = [block_of(begin(visitor, "/step").result(timeout=300)) for _ in range(2)]
    shown = [block["frames"][-1] for block in blocks]
    assert [frame["step"] for frame in shown] == [0, 1]
    assert blocks[0]["run"]["id"] == blocks[1]["run"]["id"]
    assert shown[0]["prefilled"] == shown[0]["context"] - 1
    calls = space.calls()
    if not calls:
        assert shown[1]["prefilled"] == 0, "the caches have lived on"
        return
    assert shown[1]["prefilled"] == shown[1]["context"] - 1, "nothing lives on, and the step says so"
    assert len(calls) == 2
    assert len({call["pid"] for call in calls}) == 2
    assert all(call["asked"] <= MOST_SECONDS for call in calls)


@pytest.mark.default_pair
def test_a_longer_run_stops_when_it_is_told_to(space: Space) -> None:
    visitor = space.visitor()
    running = begin(visitor, "/run", new_tokens_at_most=200, steps_a_run=100)
    while not (blocks := [one for one in map(block_of, running.outputs()) if "frames" in one]):
        assert not running.done()
        time.sleep(0.2)
    visitor.predict(api_name="/stop")
    running.result(timeout=120)
    steps = 1 + max(frame["step"] for one in map(block_of, running.outputs()) for frame in one.get("frames", ()))
    assert len(blocks) <= steps < 20


def test_nothing_is_written_beside_the_app(space: Space) -> None:
    assert {path.relative_to(space.app) for path in space.app.rglob("*") if path.is_file()} == space.copied


def test_a_zero_gpu_space_gets_its_gpu_back(space: Space) -> None:
    assert all(call["how"] in ("end", "closed") for call in space.calls())
