"""The limits as docs/limits.md and docs/nginx.conf say them."""

from __future__ import annotations

import importlib
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from specviz.app.server import connections, limits
from specviz.app.server.limits import read_limits
from specviz.app.server.streams import stream_name
from specviz.cli import parse
from tests.paths import ROOT
from tests.test_contributing import names_in

FOLDER = ROOT / "specviz" / "app" / "server"
COMPLETE = {file.stem: f"specviz.app.server.{file.stem}" for file in FOLDER.glob("[!_]*.py")}
"""Modules whose limits all stand in the document, by the names that it has for them."""
COMPLETE["values"] = "specviz.trace.values"
MODULES = COMPLETE | {
    "breakpoints": "specviz.trace.breakpoints",
    "io": "specviz.trace.io",
    "page_state": "specviz.app.page_state",
    "processors": "specviz.models.processors",
    "proofs": "specviz.app.proofs",
    "read": "specviz.compare.read",
    "received": "specviz.compare.received",
    "run_handlers": "specviz.app.run_handlers",
    "recording": "specviz.trace.recording",
    "store": "specviz.app.compare.store",
    "trace.limits": "specviz.trace.limits",
    "whatif_question": "specviz.trace.whatif_question",
}
NO_LIMITS = {
    "backend.LET_GO_SECONDS",
    "ending.GRACE_SECONDS",
    "ending.RETURN_SECONDS",
    "middleware.SWEEP_SECONDS",
    "model_worker.NICE",
    "reading_process.NO_MEMORY",
    "reading_process.REFUSED",
    "serve.ANSWER_SECONDS",
    "serve.MOVING_SECONDS",
    "serve.M_ARENA_MAX",
    "serve.STEP_SECONDS",
    "share_store.SAVE_SECONDS",
    "trace_store.TEXTS_A_LINE",
    "trace_store.TEXT_BYTES",
    "values.INFINITE_DIFFERENCE",
    "values.SCHEMA_VERSION",
}
"""Numbers of the server's own work: how long it waits for itself, exit codes, versions."""
SIZES = {"kB": 1, "MB": 2, "GB": 3}
TIMES = {"s": 1, "minutes": 60, "days": 86_400}


def test_every_limit_stands_in_the_document_with_its_value_and_no_other() -> None:
    said = dict(_said())
    missing = {name for name in _in_the_code() if not name.startswith("zerogpu.")} - NO_LIMITS - set(said)
    assert not missing, "docs/limits.md leaves them out; those of a Space stand in docs/deploy.md"
    for name, value in said.items():
        module, _, constant = name.rpartition(".")
        meant = getattr(importlib.import_module(MODULES[module or "limits"]), constant)
        assert meant in _read(value), f"{name} is {meant} and docs/limits.md says {value}"


def _said() -> Iterator[tuple[str, str]]:
    """The constants of the document, and their values as it writes them."""
    text = (ROOT / "docs" / "limits.md").read_text(encoding="utf-8")
    for names, values in re.findall(r"^\| ((?:`[\w.]*[A-Z][A-Z_]+`(?:, )?)+) \| (.+?) \| .+ \|$", text, flags=re.M):
        known = re.findall(r"`([\w.]+)`", names)
        written = values.split(", ") if len(known) > 1 else [values]
        yield from zip(known, written, strict=True)


def _in_the_code() -> Iterator[str]:
    """The numbers that the modules of :data:`COMPLETE` define, and tables of numbers."""
    for module, path in COMPLETE.items():
        for name in names_in(ROOT / f"{path.replace('.', '/')}.py"):
            value = getattr(importlib.import_module(path), name, None)
            several = isinstance(value, dict) and all(isinstance(one, int) for one in value.values())
            if re.fullmatch("[A-Z][A-Z_]*", name) and (several or type(value) in (int, float)):
                yield name if module == "limits" else f"{module}.{name}"


def _read(written: str) -> list[Any]:
    """What a value of the document can mean: kB are 1,000 bytes on a disk and 1,024 in memory."""
    parts = [(int(number.replace(",", "")), unit) for number, unit in re.findall(r"(\d[\d,]*)(?: (\w+))?", written)]
    if len(parts) > 1:
        return [{name: number for number, name in parts}]
    ((number, unit),) = parts
    if unit in SIZES:
        return [number * 1000 ** SIZES[unit], number * 1024 ** SIZES[unit]]
    return [number * (TIMES[unit] if unit else 1)]


# ---------------------------------------------------------------------------------------------------- the proxy

NGINX = (ROOT / "docs" / "nginx.conf").read_text(encoding="utf-8")
PUBLIC = read_limits({}, public=True)
LOCATIONS = re.findall(r"^ {8}location (?:(=|~) )?(\S+) \{\n(.*?)^ {8}\}", NGINX, flags=re.M | re.S)
AROUND = re.sub(r"^ {8}location .*?^ {8}\}", "", NGINX, flags=re.M | re.S)
"""What holds in every location that says nothing else."""


def numbers(pattern: str, text: str = AROUND) -> list[int]:
    """The numbers of the one line like that, in bytes or seconds."""
    (found,) = re.findall(rf"^ *{pattern};", text, flags=re.M)
    units = {"": 1, "k": 1024, "m": 1024**2, "s": 1, "h": 3600}
    return [int(number) * units[unit] for number, unit in re.findall(r"\b(\d+)(\w?)\b", found)]


def location(path: str) -> str:
    """The location that nginx chooses for a path: the one of just this name, else the first expression that fits."""
    exact = [block for kind, name, block in LOCATIONS if kind == "=" and name == path]
    fitting = [block for kind, name, block in LOCATIONS if kind == "~" and re.search(name, path)]
    return [*exact, *fitting, *(block for _, name, block in LOCATIONS if name == "/")][0]


def test_the_proxy_takes_what_the_page_takes_and_no_more() -> None:
    (form,) = numbers("client_max_body_size (.+)")
    assert 0 <= form - PUBLIC.request_bytes < 1024, "it counts in kB"
    assert numbers("client_max_body_size (.+)", location("/gradio_api/upload")) == [PUBLIC.request_upload_bytes]
    count, size = numbers("large_client_header_buffers (.+)")
    assert count * size == connections.HEAD_BYTES
    assert size >= max(limits.ADDRESS_BYTES, limits.HEADERS_BYTES)
    assert numbers("proxy_max_temp_file_size (.+)")[0] >= limits.ANSWER_BYTES


def test_the_proxy_waits_as_long_as_the_page() -> None:
    for name, ours in {
        "client_header_timeout": connections.HEADER_SECONDS,
        "client_body_timeout": limits.BODY_SECONDS,
        "send_timeout": connections.ANSWER_SECONDS,
        "proxy_read_timeout": 2 * limits.READ_SECONDS,
    }.items():
        assert numbers(f"{name} (.+)")[0] >= ours, name
    in_server, in_upstream = re.findall(r"^( +)keepalive_timeout (\d+)s;", NGINX, flags=re.M)
    assert int(in_server[1]) >= connections.KEEP_SECONDS
    assert int(in_upstream[1]) < connections.KEEP_SECONDS, "or it sends a request to a connection that is being closed"


def test_the_proxy_has_room_at_the_page_of_which_an_address_has_half() -> None:
    (most,) = numbers(r"server 127.0.0.1:7860 max_conns=(\w+)")
    assert most < PUBLIC.connections
    assert numbers(r"limit_conn connections (.+)") == [most // 2]


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/queue/data",
        "/gradio_api/heartbeat/abc",
        "/gradio_api/call/step/abc",
        "/gradio_api/call/v2/step/abc",
        "/gradio_api/upload_progress",
    ],
)
def test_streams_pass_the_proxy_as_they_come(path: str) -> None:
    scope = {"method": "GET", "path": path, "query_string": b"session_hash=abc"}
    assert stream_name(scope) or path.endswith("_progress")
    assert "proxy_buffering off;" in location(path)
    assert numbers("proxy_read_timeout (.+)", location(path))[0] > max(PUBLIC.seconds, PUBLIC.comparison_seconds)


def test_the_proxy_keeps_files_of_the_page_and_none_of_a_visitor() -> None:
    for path in (
        "/assets/index.js",
        "/static/fonts/a.woff2",
        "/gradio_api/file=/tmp/gradio/specviz-of-ab/viewer-files/0a-viewer.js",
    ):
        assert "proxy_cache files;" in location(path), path
    for path in ("/", "/config", "/gradio_api/file=/tmp/gradio/specviz-of-ab/x.js", "/gradio_api/queue/data"):
        assert "proxy_cache " not in location(path), path
        assert "limit_req " in location(path), path


def test_the_proxy_says_who_a_visitor_is_and_the_page_believes_it() -> None:
    assert "proxy_set_header X-Forwarded-For $remote_addr;" in AROUND
    assert not any("proxy_set_header" in block for _, _, block in LOCATIONS), "it would undo those around it"
    (command,) = re.findall(r"^# +(python app\.py .*)$", NGINX, flags=re.M)
    options = parse(["app", *shlex.split(command)[2:]])
    assert (options.public, options.port) == (True, 7860)
    believed = read_limits({}, public=True, proxies=options.proxies)
    assert believed.is_proxy("127.0.0.1")


@pytest.mark.skipif(not (shutil.which("nginx") and shutil.which("openssl")), reason="needs nginx and openssl")
def test_nginx_takes_the_file(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    asked = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=specviz.example.org"]
    subprocess.run([*asked, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    text = NGINX.replace("/etc/nginx/specviz.crt", str(certificate)).replace("/etc/nginx/specviz.key", str(key))
    text = text.replace("/var/cache/nginx-specviz", str(tmp_path / "cache")).replace(
        "/run/nginx.pid", str(tmp_path / "pid")
    )
    text = re.sub(r"listen \[::\]:.*;", "", text).replace("listen 80;", "listen 127.0.0.1:18080;")
    (tmp_path / "nginx.conf").write_text(text.replace("listen 443 ", "listen 127.0.0.1:18443 "), encoding="utf-8")
    tried = subprocess.run(
        ["nginx", "-t", "-c", str(tmp_path / "nginx.conf"), "-e", str(tmp_path / "errors")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert tried.returncode == 0, tried.stderr
