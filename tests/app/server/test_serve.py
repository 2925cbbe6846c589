"""What the server answers to anyone: headers, closed addresses, health, counters, logs."""

from __future__ import annotations

import io
import json
import logging
import re
import subprocess
import sys

import pytest

from specviz import __version__
from specviz.app.server import logs
from specviz.app.server.limits import Limits, read_limits
from specviz.app.server.metrics import COUNTS, NAMES, Counters
from specviz.app.server.middleware import OPEN, page_policy
from specviz.app.server.session_registry import Sessions
from specviz.app.server.visitors import MOST_LOGGED, Visitors
from specviz.errors import SettingsError, SpecvizError
from specviz.figures import standalone_page
from specviz.models.pair_spec import ModelChoice
from tests import server
from tests.paths import ROOT
from tests.sample_traces import sample_trace
from tests.tools import audit


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with server.serving(tmp_path_factory.mktemp("served"), trace=sample_trace(steps=2)) as running:
        yield running


# ------------------------------------------------------------------------------------------------------- headers


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("HEAD", "/"),
        ("GET", "/config"),
        ("GET", "/theme.css"),
        ("GET", "/gradio_api/info"),
        ("GET", "/gradio_api/file=/etc/passwd"),
        ("GET", "/nowhere"),
        ("GET", "/gradio_api/queue/status"),
        ("POST", "/gradio_api/queue/join"),
        ("GET", "/healthz"),
        ("GET", "/counters"),
    ],
)
def test_every_answer_has_the_headers(served, method, path):
    headers = served.web.request(method, path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    policy = headers["content-security-policy"]
    assert policy.count("default-src 'none'") == 1
    assert "frame-ancestors 'self'" in policy.split("; "), "nobody else may frame it"
    assert "x-frame-options" not in headers, "it would keep the hub from showing a Space"


def test_what_gradio_answers_by_itself_has_them_too(served):
    asked = {"Origin": "https://example.com", "Access-Control-Request-Method": "POST"}
    answer = served.web.options("/gradio_api/queue/join", headers=asked)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in answer.headers


def test_the_page_runs_its_own_scripts_and_no_others(served):
    answer = served.web.get("/")
    policy = answer.headers["content-security-policy"]
    scripts = next(part for part in policy.split("; ") if part.startswith("script-src"))
    assert "unsafe-inline" not in scripts
    assert "http" not in scripts
    inline = re.findall(r"<script(?![^>]*\ssrc=)[^>]*>", answer.text)
    assert len(inline) == scripts.count("'sha256-") > 1
    assert int(answer.headers.get("content-length", len(answer.content))) == answer.num_bytes_downloaded
    assert answer.text.index("requestAnimationFrame") < answer.text.index("<script", answer.text.index("<script") + 1)
    assert page_policy(b"<script>a</script>") != page_policy(b"<script>b</script>")


def test_who_may_frame_the_page_is_a_setting():
    assert read_limits({}).frames == read_limits({}, public=True).frames == ()
    assert read_limits({"SPACE_ID": "a/b"}).frames == ("https://huggingface.co",)
    asked = {"SPACE_ID": "a/b", "SPECVIZ_FRAMES": "https://Example.org/, http://localhost:8000"}
    assert read_limits(asked).frames == ("https://huggingface.co", "https://example.org", "http://localhost:8000")
    assert read_limits(asked, frames="https://*.example.org").frames[1:] == ("https://*.example.org",)
    said = page_policy(b"", ("https://example.org",)).split("; ")
    assert said[-1] == "frame-ancestors 'self' https://example.org"
    for wrong in (
        "*",
        "https://",
        "example.org",
        "https://a.org/path",
        "https://a.org; script-src *",
        "'none'",
        "data:",
    ):
        with pytest.raises(SettingsError, match="is no page that may show this one in a frame; give origins"):
            read_limits({"SPECVIZ_FRAMES": wrong})


def test_an_exported_page_names_all_its_scripts():
    page = standalone_page(sample_trace(steps=1))
    policy = re.search(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', page)
    assert policy
    assert page.index("<meta http-equiv") < page.index("<script")
    assert "unsafe-eval" not in policy[1]
    assert "default-src 'none'" in policy[1]


# ----------------------------------------------------------------------------------------------- closed addresses


def test_only_listed_addresses_are_open(served):
    """Whatever routes a later Gradio has: they are closed until somebody lists them."""
    routes = {route.path for route in _routes(served.page.app)}
    closed = {path for path in routes if not OPEN.fullmatch(_filled(path))}
    expected = ("deep_link", "process_recording", "vibe-edit", "proxy=", "/monitoring", "/login", "component_server")
    for name in expected:
        assert any(name in path for path in closed), name
    for path in sorted(closed):
        for method in ("GET", "POST"):
            answer = served.web.request(method, _filled(path))
            assert answer.status_code == 404, (method, path)
            assert answer.json() == {"detail": "There is nothing at this address."}


def _routes(app):
    found = []
    for route in app.routes:
        inner = getattr(route, "original_router", None) or getattr(route, "router", None)
        found += _routes(inner) if inner is not None else [route]
    return [route for route in found if hasattr(route, "path")]


def _filled(path: str) -> str:
    return re.sub(r"\{[^}]*\}", "x", path)


@pytest.mark.parametrize("address", ["http://127.0.0.1:1/x", "https://example.com/x", "HTTP://example.com", "data:,x"])
def test_the_server_fetches_nothing_for_a_stranger(served, address):
    assert served.web.get(f"/gradio_api/file={address}").status_code == 404


def test_a_file_that_is_named_by_its_address_is_not_fetched(served):
    upload = next(one for one in served.page.config["dependencies"] if one["targets"][0][1] == "upload")
    for path in ("https://example.com/a.json", " HTTPS://example.com/a.json"):
        file = {"path": path, "meta": {"_type": "gradio.FileData"}}
        body = {"data": [file, None], "fn_index": upload["id"], "session_hash": "stranger"}
        for endpoint in ("queue/join", "run/predict"):
            answer = served.web.post(f"/gradio_api/{endpoint}", json=body)
            assert answer.status_code == 400
            assert "upload the file itself" in answer.json()["detail"]


def test_a_huge_request_is_refused_before_it_is_read_in_full(served):
    refused = COUNTS["refused"]
    answer = served.web.post("/gradio_api/queue/join", content=b" " * (Limits().request_bytes + 1))
    assert answer.status_code == 413
    assert answer.json()["detail"] == "This request is larger than 1 MB; send less at once."
    assert COUNTS["refused"] == refused + 1


def test_an_address_that_is_too_long_is_refused_before_gradio_sees_it(served):
    """Gradio's own middleware made a 500 of 120 kB; a client refuses to send as much in one query."""
    answer = served.web.get("/", params={"trace": "x" * 40_000})
    assert answer.status_code == 414
    assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'self'"
    assert answer.json()["detail"] == "This address is longer than 8 kB; open a shorter one."


def test_uploads_still_work_and_are_counted(served):
    before = COUNTS["uploads"]
    answer = served.web.post("/gradio_api/upload", files={"files": ("a.json", b"{}")})
    assert answer.status_code == 200
    assert COUNTS["uploads"] == before + 1
    served.web.post("/gradio_api/upload", content=b"no form")
    assert COUNTS["uploads"] == before + 1


# ----------------------------------------------------------------------------------------------- health, counters


def test_health_says_what_is_loaded_and_whether_work_moves(served):
    answer = served.web.get("/healthz")
    assert answer.status_code == 200
    said = answer.json()
    assert (said["status"], said["version"]) == ("ok", __version__)
    assert said["model_work"] == {"busy": False, "seconds_still": None, "moving": True}
    with served.sessions.backend.lock:
        busy = served.web.get("/healthz").json()["model_work"]
    assert busy["busy"]
    assert busy["moving"]


def test_work_that_stands_still_is_said_to(served, monkeypatch):
    monkeypatch.setattr("specviz.app.server.serve.MOVING_SECONDS", -1.0)
    with served.sessions.backend.lock:
        assert not served.web.get("/healthz").json()["model_work"]["moving"]


def test_health_is_503_when_the_server_stops(tmp_path):
    with server.serving(tmp_path) as running:
        running.sessions.backend.lock.close(1)
        answer = running.web.get("/healthz")
        assert (answer.status_code, answer.json()["status"]) == (503, "stopping")


def test_steps_and_pages_are_counted(served):
    before = {name: COUNTS[name] for name in NAMES}
    visitor = served.visitor()
    first = visitor.step()
    visitor.step()
    assert COUNTS["runs"] == before["runs"] + 1
    assert COUNTS["steps"] == before["steps"] + 2
    assert COUNTS["tokens"] > before["tokens"]
    assert served.web.get("/healthz").json()["loaded_pairs"] == 1
    shown = served.web.get("/counters").text
    assert re.search(rf"^ *{COUNTS['steps']}  steps of runs$", shown, re.MULTILINE)
    assert re.search(r"^ *[1-9]\d*  pages open now$", shown, re.MULTILINE)
    assert first["run"]["id"] not in shown
    visitor.leave()


def test_a_fork_is_one_run_and_its_parent_is_not_counted_again(served):
    visitor = served.visitor()
    run = visitor.step()["run"]["id"]
    # So that it is told how the loading goes, before the first step.
    served.sessions._live.clear()
    served.sessions.backend._pairs.clear()
    before = {name: COUNTS[name] for name in NAMES}
    visitor.press("on_fork", {"run": run, "step": 0})
    visitor.leave()
    assert (COUNTS["runs"], COUNTS["steps"]) == (before["runs"] + 1, before["steps"] + 1)


def test_an_error_is_counted_under_a_name_of_ours():
    counts = Counters()
    counts.failed(SettingsError("x"))
    counts.failed(type("Mine", (SettingsError,), {})("x"))
    counts.failed(type("<img src=x>", (ValueError,), {})("x"))
    counts.failed(SpecvizError("x"))
    errors = [line.split("  ")[1] for line in counts.text().splitlines() if "errors" in line]
    assert errors == ["errors, SettingsError", "errors, SpecvizError", "errors, unexpected"]
    assert counts["errors, SettingsError"] == 2


# ----------------------------------------------------------------------------------------------------------- logs


def lines_of(work) -> list[dict]:
    """What ``work`` logs, each line parsed."""
    stream, logger = io.StringIO(), logging.getLogger("specviz")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.JsonLines())
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        work()
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.mark.parametrize("wanted", [False, True])
def test_a_run_is_logged_without_its_text(served, monkeypatch, wanted):
    monkeypatch.setenv(logs.PROMPTS, "1" if wanted else "0")
    visitor = served.visitor()
    lines = lines_of(lambda: visitor.step(prompt="a secret of mine"))
    visitor.leave()
    started, ended = [line for line in lines if line["logger"] == "specviz.app.server.visitors"]
    assert (started["event"], ended["event"]) == ("run started", "run ended")
    assert started["target"] == "sample"  # of the run in sight, which the form is about
    assert ended["steps"] == 1
    assert ended["tokens"] >= 1
    assert ended["seconds"] >= 0
    assert ("secret" in json.dumps(lines)) == wanted
    assert visitor.session not in json.dumps(lines)


def test_of_what_was_typed_for_a_model_little_is_logged():
    inputs = ("", ModelChoice("x" * 1_000, "y" * 1_000), sample_trace(steps=1).settings)
    started, _ = lines_of(lambda: list(Visitors(Sessions()).count_run("a", iter([]), inputs)))
    assert (len(started["target"]), len(started["draft"])) == (MOST_LOGGED, MOST_LOGGED)


@pytest.mark.parametrize("wanted", [False, True])
def test_what_an_error_says_is_left_out_but_not_where_it_came_from(monkeypatch, wanted):
    monkeypatch.setenv(logs.PROMPTS, "1" if wanted else "0")

    def fail() -> None:
        try:
            json.loads("{a secret")
        except ValueError as error:
            raise RuntimeError("the prompt was: a secret") from error

    def work() -> None:
        try:
            fail()
        except RuntimeError:
            logging.getLogger("specviz.test").exception("it failed")

    (line,) = lines_of(work)
    assert (line["level"], line["event"], line["error"]) == ("error", "it failed", "RuntimeError")
    assert "in fail" in line["traceback"]
    assert "JSONDecodeError" in line["traceback"]
    said = line["traceback"].replace('json.loads("{a secret")', "").replace('("the prompt was: a secret")', "")
    assert ("secret" in said) == wanted


OTHERS = """
import asyncio, gc, pathlib, sys, threading, warnings
from specviz.app.server import logs
logs.set_up()
from specviz.models.loading import load_pair
from tests import tiny
load_pair(*map(str, tiny.save_pair(pathlib.Path(sys.argv[1]), chat=False)))
warnings.warn("a library is old")
def fail():
    raise ValueError("sec" + "ret")
thread = threading.Thread(target=fail)
thread.start()
thread.join()
async def fail_unseen():
    fail()
async def main():
    asyncio.ensure_future(fail_unseen())
    await asyncio.sleep(0.01)
    gc.collect()
asyncio.run(main())
"""


def test_what_others_write_to_the_standard_error_are_lines_without_words_too(tmp_path):
    command = [sys.executable, "-c", OTHERS, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    events = [line["event"] for line in lines]
    assert any("a library is old" in event for event in events)
    assert "a thread failed" in events
    assert "Task exception was never retrieved" in events
    assert "secret" not in done.stderr


def test_a_loop_of_causes_ends():
    first, second = ValueError(), KeyError()
    first.__cause__, second.__cause__ = second, first
    record = logging.LogRecord("x", logging.ERROR, __file__, 1, "x", (), (ValueError, first, None))
    assert json.loads(logs.JsonLines().format(record))["traceback"].split() == ["ValueError", "KeyError"]


# ---------------------------------------------------------------------------------------------------- dependencies


def test_requirements_are_bounded_where_a_new_major_version_would_break_the_page():
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    named = {re.match(r"[\w-]+", line)[0]: line for line in lines}
    assert len(named) == len(lines)
    assert all(">=" in line for line in lines), "an old release nobody tried must not be taken"
    for name in ("torch", "transformers", "gradio", "plotly"):
        assert "<" in named[name], name
    # No address, no folder, no other index: what is installed comes from where pip is told to look.
    assert not [line for line in lines if re.search(r"[@/]|--", line)]


SKIPPED = {"name": "c", "skip_reason": "Dependency not found on PyPI and could not be audited: c (1)"}
SOUND = {"name": "a", "version": "1", "vulns": []}
BAD = {"name": "b", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        ("no connection", 0, audit.UNREACHABLE),
        ("[]", 0, audit.UNREACHABLE),
        (json.dumps({"dependencies": [SKIPPED, SKIPPED]}), 0, audit.UNREACHABLE),
        (
            json.dumps({"dependencies": [SOUND, SKIPPED]}),
            0,
            "1 packages audited, 1 not known there, 0 known vulnerabilities.",
        ),
        (json.dumps({"dependencies": [SOUND, BAD]}), 1, "b 2: CVE-1, fixed in 3"),
    ],
)
def test_the_audit_lists_what_is_known_or_says_that_nobody_could_be_asked(capsys, answer, code, said):
    assert audit.main([sys.executable, "-c", f"print({answer!r})"]) == code
    assert said in capsys.readouterr().out.splitlines()


# ------------------------------------------------------------------------------------------------- opening a page


def test_opening_a_page_copies_no_model(served, monkeypatch):
    """Gradio copies the page's configuration for everybody who opens it, and whatever hangs on it."""
    copied = []
    monkeypatch.setattr(type(served.sessions), "__deepcopy__", lambda *_: copied.append(1), raising=False)
    for path in ("/", "/config"):
        assert served.web.get(path).status_code == 200
    assert copied == []
