"""The server that is attacked: the real ``app.py --public`` with folders of its own, as an operator would start it."""

from __future__ import annotations

import contextlib
import os
import resource
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx

from specviz.models.download_cache import cache_root
from tests.paths import ROOT
from tests.server import answers, web_client
from tests.tools.attack_attacker import PROXY
from tests.tools.attack_verdicts import wait_until

OPEN_FILES = 1_024
"""The soft limit that the server starts with, as most systems set it."""
DISK_MB = 64


@dataclass
class Running:
    """A server that was started here."""

    url: str
    process: subprocess.Popen[bytes]
    folder: Path
    kind: str
    idle_mb: float = 0.0

    @property
    def pid(self) -> int:
        """Of the app itself, which is the child of what made its file system."""
        return self.process.pid

    @property
    def files(self) -> Path:
        inside = Path(f"/proc/{self.pid}/root") if self.kind == "full disk" else Path("/")
        return inside / str(self.folder / "disk" / "gradio").lstrip("/")

    @property
    def links(self) -> Path:
        return self.files.parent / "cache" / "held"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def queued(self) -> int:
        """Events that wait or work."""
        with contextlib.suppress(httpx.HTTPError, ValueError, KeyError), web_client(self.url, 5) as web:
            return int(web.get("/gradio_api/queue/status").json()["queue_size"])
        return 1_000


def start(kind: str, folder: Path, host: str) -> Running:
    """``python app.py --public`` on a free port, with folders of its own; what models are made of is linked.

    Raises:
        SystemExit: if it does not start.
    """
    with socket.socket() as free:
        free.bind((host, 0))
        port = free.getsockname()[1]
    disk = folder / "disk"
    disk.mkdir(parents=True)
    models = [path for path in cache_root().glob("*") if path.is_dir() and path.name != "held"]
    app = [sys.executable, "app.py", "--public", "--host", host, "--port", str(port)]
    app += ["--proxies", PROXY] if kind == "proxied" else []
    first = [["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "none", str(disk)]] if kind == "full disk" else []
    first += [["mkdir", "-p", str(disk / "gradio"), str(disk / "cache")]]
    first += [["ln", "-s", *map(str, models), str(disk / "cache")]] if models else []
    # A mount of its own is seen by nobody else, and gone with the process.
    command = ["unshare", "--user", "--map-root-user", "--mount"] if kind == "full disk" else []
    command += ["sh", "-c", " && ".join(shlex.join(one) for one in [*first, ["exec", *app]])]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SPECVIZ_")}
    environment |= {"GRADIO_TEMP_DIR": str(disk / "gradio"), "SPECVIZ_CACHE": str(disk / "cache")}
    environment |= {"GRADIO_ANALYTICS_ENABLED": "False", "OMP_NUM_THREADS": "1"}
    with (folder / "log").open("wb") as said:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=said, stderr=said, start_new_session=True, preexec_fn=_few_files
        )
    running = Running(f"http://{host}:{port}", process, folder, kind)
    if not wait_until(lambda: process.poll() is not None or answers(running.url), 120) or process.poll() is not None:
        end(running)
        raise SystemExit(f"The app did not start ({kind}):\n{running.log.read_text()[-2000:]}")
    return running


def _few_files() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def end(running: Running) -> None:
    """End a server, at the latest after some seconds: what it would still finish is of nobody."""
    for number, patience in ((signal.SIGTERM, 8), (signal.SIGKILL, 20)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.process.wait(timeout=patience)
            break
    shutil.rmtree(running.folder, ignore_errors=True)
