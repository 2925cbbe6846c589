"""What a server makes of a recording that it follows, and of the loop that writes it."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import gradio as gr
import pytest

from specviz.app.follow import Follower
from specviz.app.follow_handlers import FollowActions
from specviz.app.handlers import Actions
from specviz.app.page_state import PageState
from specviz.app.proofs import Proofs
from specviz.app.server.session_registry import Sessions
from specviz.app.server.share_store import ShareStore
from specviz.cli import main
from specviz.errors import SettingsError
from specviz.recorder.recorder import Recorder
from specviz.trace.breakpoints import Breakpoints
from specviz.trace.recording import read_recordings
from tests.server import until


def one_step(rec: Recorder, token: int, request: str | None = None) -> None:
    with rec.step(request=request) as step:
        step.tree([2, 3], [-1, 0])
        step.verify(accepted=[], bonus=token)


def flat(said: Any) -> list[dict[str, Any]]:
    return [block for one in said for block in flat(one)] if isinstance(said, list) else [said]


class Page:
    """A page whose viewer takes what comes, as assets/viewer/tools/follow.js and core/blocks.js do."""

    def __init__(self, follower: Follower, folder: Path):
        self.act = Actions(Sessions(), ShareStore(folder / "held"), Proofs(), None, follower)
        self.handlers = FollowActions(self.act, follower)
        self.state: PageState | None = None
        self.blocks: list[dict[str, Any]] = []
        self.run: str | None = None
        self.steps = self.version = 0
        self.own: set[str] = set()
        self.take(self.act.first_block)

    def take(self, text: Any) -> None:
        said = json.loads(text) if isinstance(text, str) else []
        self.blocks = flat(said)
        for block in self.blocks:
            if "run" in block:
                self.run, self.steps = block["run"]["id"], block["run"]["steps"]
            if "following" in block:
                self.version = block["following"]["version"]
                self.own |= {*block["following"]["runs"]}

    def poll(self) -> list[dict[str, Any]]:
        follows = self.run is None or self.run in self.own
        asked = {"run": self.run, "steps": self.steps, "version": self.version, "follows": follows}
        request: Any = SimpleNamespace(session_hash="a page")
        answer, state = anyio.run(self.handlers.on_follow, self.state, gr.EventData(None, asked), request)
        self.state = state if isinstance(state, PageState) else self.state
        self.take(answer)
        return self.blocks


def test_a_page_is_told_of_new_steps_once_and_of_a_recording_that_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    follower = Follower(path)
    page = Page(follower, tmp_path)
    assert page.blocks[0]["following"] | {"version": 0} == {
        "version": 0,
        "asked": None,
        "runs": [],
        "head": "Following run.jsonl",
        "rest": "waiting for its first line",
        "gate": "",
    }
    assert page.poll() == []
    rec = Recorder(path, prompt=[1, 2])
    follower.look()
    (first, *_) = page.poll()
    assert (first["run"]["steps"], first["following"]["rest"]) == (0, "0 steps")
    assert page.state is not None
    assert page.state.shown == page.run == rec.trace().id
    for token in (2, 2, 5):
        one_step(rec, token)
    follower.look()
    (news,) = page.poll()
    assert [frame["step"] for frame in news["frames"]] == [2, 1, 0]
    assert (news["go"], news["following"]["rest"], news["following"]["asked"]) == (2, "3 steps", page.run)
    assert news["run"]["findings"]["found"]["check"] == []
    assert page.poll() == []
    one_step(rec, 2)
    follower.look()
    (news,) = page.poll()
    assert [frame["step"] for frame in news["frames"]] == [3]
    assert "root" in news["run"]["findings"]["found"]["check"], "token 5 was committed before it"
    stored = page.state.run.stored
    assert stored.trace == rec.trace()
    assert (stored.steps, stored.tokens) == (4, 4)

    page.run = "another"
    one_step(rec, 2)
    follower.look()
    (said,) = page.poll()
    assert "run" not in said, "another run is in sight"
    page.run = stored.id
    rec.close()
    with Recorder(path) as rec:
        for name in ("a", "b"):
            rec.prompt([1, 2], request=name)
        one_step(rec, 2, "b")
        follower.look()
        blocks = page.poll()
        traces = read_recordings(path)
        assert page.run == page.state.shown == traces["a"].id
        assert stored.steps == 5, "what was followed before stays as it was"
        assert next(block["requests"] for block in blocks if "requests" in block) == [
            {"run": trace.id, "name": name} for name, trace in traces.items()
        ]
        page.run, page.steps = traces["b"].id, 0
        one_step(rec, 2, "b")
        follower.look()
        assert [frame["step"] for block in page.poll() for frame in block["frames"]] == [1, 0]


def test_a_loop_is_stepped_run_to_a_breakpoint_and_stopped(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    follower = Follower(path)
    page = Page(follower, tmp_path)
    page.poll()
    written: list[int] = []

    def loop() -> None:
        with Recorder(path, prompt=[1, 2], gate=True) as rec:
            for token in range(10, 100_000):
                one_step(rec, token)
                written.append(token)
                if rec.stopped:
                    return

    thread = threading.Thread(target=loop)
    thread.start()

    def waits(after: int) -> bool:
        follower.look()
        return follower.status()["head"] == f"Waiting after step {after}"

    def order(act: str, token: int | None = None) -> None:
        follower.order(act, Breakpoints(token=token))

    until(lambda: waits(1))
    order("step")
    until(lambda: waits(2))
    order("run", 17)
    until(lambda: waits(8))
    news = next(block for block in page.poll() if "run" in block)
    assert news["notice"]["text"] == "Breakpoint at step 8: Token 17 was committed."
    assert news["look"]["step"] == 7
    with pytest.raises(SettingsError, match="takes step, run or stop"):
        order("jump")
    answer = json.loads(page.handlers.on_order(gr.EventData(None, {"act": "step"})))
    assert (answer["following"]["version"], answer["notice"]) == (0, None)
    until(lambda: waits(9))
    follower.left("a page")
    follower.seen("another")
    until(lambda: waits(len(written) + 1))
    order("stop")
    thread.join(60)
    follower.look()
    assert follower.status()["head"] == "The loop has ended"
    assert written[-1] < 99_999
    with pytest.raises(SettingsError, match="No loop waits"):
        order("step")


def test_a_public_page_follows_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["app", "--public", "--follow", str(tmp_path / "run.jsonl")]) == 2
    assert "A public page follows no recording and steps no loop" in capsys.readouterr().err
    assert main(["app", "--follow", "run.jsonl", "--trace", "run.json"]) == 2
    assert "give one of --trace and --follow" in capsys.readouterr().err
