"""The honest visitor beside an attack: a page that clicks all the while, each click timed and its answer looked at."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx

from specviz.models.pair_spec import ModelChoice
from specviz.trace.io import save_trace
from tests.sample_traces import sample_trace
from tests.server import web_client
from tests.tools.attack_verdicts import Click, Seen
from tests.tools.load_visitors import Busy, Tab

PAUSE = 0.1
"""Seconds between two clicks."""
RECORDED = "chain-of-4"
FILE_EVERY = 4
"""Every so many rounds a file is sent and opened, and the link too."""
WAIT_SECONDS = 15.0
"""No click is waited for any longer; that of a step is, see :meth:`Honest.stop`."""
_BUSY = re.compile(r"\b(busy|in use|is full|queue)\b", re.IGNORECASE)


class Fault(Exception):
    """An answer is not what was asked for."""


class Honest:
    """Three tabs of one visitor: one looks at runs and files, one presses Step, one is left alone meanwhile.

    Args:
        folder: for the file that it sends.
    """

    def __init__(self, url: str, page: Any, folder: Path):
        self._url = url
        self._open: Callable[[], Tab] = lambda: Tab(url, page)
        self._looking, self._stepping, self._left = self._open(), self._open(), self._open()
        self._seen, self._over = Seen(), threading.Event()
        self._threads: list[threading.Thread] = []
        self._runs: dict[Tab, str | None] = {}
        self._number = 0
        self._file = folder / "honest.json.gz"
        save_trace(sample_trace(steps=2, trace_id="honest"), self._file)
        self._trace = json.loads(_text(self._press("on_open", open_a_recorded_run=RECORDED)))
        self._trace = self._trace[0] if isinstance(self._trace, list) else self._trace
        self._open_file(self._send())
        self._link = json.loads(_text(self._press("on_hold", {"run": "honest"})))["link"]["name"]

    def first_step(self) -> None:
        """Have the models loaded."""
        fault = self._step(self._stepping)
        if fault:
            raise SystemExit(f"Nobody attacked, and a step failed: {fault}")

    def start(self) -> None:
        """Begin to click."""
        self._seen, self._over = Seen(), threading.Event()
        for work in (self._look, self._press_step):
            self._threads.append(threading.Thread(target=work, daemon=True))
            self._threads[-1].start()

    def stop(self, seen: Seen, patience: float) -> bool:
        """Stop clicking, and write what was met into ``seen``. Whether the last step had its turn, within ``patience``
        seconds."""
        self._over.set()
        looking, stepping = self._threads
        looking.join(WAIT_SECONDS + 5)
        stepping.join(patience)
        came = not stepping.is_alive()
        seen.clicks, seen.steps, seen.busy = list(self._seen.clicks), list(self._seen.steps), self._seen.busy
        if looking.is_alive():
            seen.clicks.append(Click("all", WAIT_SECONDS, "a click hangs"))
        self._threads.clear()
        return came

    def leave(self) -> None:
        """Close the tabs."""
        for tab in (self._looking, self._stepping, self._left):
            try:
                tab.leave()
            except httpx.HTTPError:  # the server has ended
                continue

    # ------------------------------------------------------------------------------------------ looking

    def _look(self) -> None:
        seen, over, turn = self._seen, self._over, 0
        kinds: dict[str, Callable[[], None]] = {
            "arrive": self._arrive,
            "open": self._open_recorded,
            "frames": self._frames,
            "what-if": self._ask,
            "list": self._list,
        }
        rare: dict[str, Callable[[], None]] = {"file": self._file_again, "link": self._open_link}
        while not over.is_set():
            for kind, work in (kinds | rare if turn % FILE_EVERY == 0 else kinds).items():
                if over.wait(PAUSE):
                    break
                began, fault = time.monotonic(), None
                try:
                    work()
                except Busy:
                    fault = "told that the page is busy"
                except (Fault, httpx.HTTPError, AssertionError, ValueError, KeyError, TypeError) as error:
                    fault = f"{type(error).__name__}: {str(error)[:160]}"
                seen.clicks.append(Click(kind, time.monotonic() - began, fault))
            turn += 1

    def _press(self, handler: str, event: Any = None, query: dict[str, str] | None = None, **values: Any) -> list[Any]:
        self._looking._web.timeout = WAIT_SECONDS
        return self._looking.press(handler, event, query, **values)

    def _arrive(self) -> None:
        with web_client(self._url, WAIT_SECONDS) as web:
            answer = web.get("/healthz")
        if answer.status_code != 200:
            raise Fault(f"{answer.status_code} {answer.text[:100]}")

    def _open_recorded(self) -> None:
        _expect(self._press("on_open", open_a_recorded_run=RECORDED), '"frames"')

    def _frames(self) -> None:
        steps = list(range(min(24, self._trace["run"]["steps"])))
        _expect(self._press("on_frames_wanted", {"run": self._trace["run"]["id"], "steps": steps}), '"frames"')

    def _ask(self) -> None:
        asked = {"run": self._trace["run"]["id"], "step": 0, "id": 1, "verifier": "rejection"}
        _expect(self._press("on_what_if", asked), '"whatif"')

    def _list(self) -> None:
        _expect(self._press("on_list_runs"), self._trace["run"]["id"])

    def _send(self) -> str:
        files = {"files": (self._file.name, self._file.read_bytes())}
        answer = self._looking._web.post("/gradio_api/upload", files=files, params={"upload_id": "honest"})
        if answer.status_code != 200:
            raise Fault(f"{answer.status_code} {answer.text[:100]}")
        return str(answer.json()[0])

    def _open_file(self, path: str) -> None:
        value = {"path": path, "orig_name": self._file.name, "meta": {"_type": "gradio.FileData"}}
        _expect(self._press("on_upload", open_a_trace_file=value), '"frames"')

    def _file_again(self) -> None:
        self._open_file(self._send())

    def _open_link(self) -> None:
        _expect(self._press("on_load", query={"trace": self._link}), '"frames"')

    # ---------------------------------------------------------------------------------------- stepping

    def _press_step(self) -> None:
        seen, over = self._seen, self._over
        while not over.is_set():
            began = time.monotonic()
            try:
                fault = self._step(self._stepping)
            except Busy:
                seen.busy += 1
                over.wait(1)
                continue
            except (httpx.HTTPError, AssertionError, ValueError, KeyError, TypeError) as error:
                fault = f"{type(error).__name__}: {str(error)[:160]}"
            seen.steps.append(Click("step", time.monotonic() - began, fault))
            over.wait(1)

    def step_away(self) -> Click:
        """Press Step in the tab that is left alone otherwise: its run must go on."""
        began = time.monotonic()
        try:
            fault = self._step(self._left)
        except (Busy, httpx.HTTPError, AssertionError, ValueError, KeyError, TypeError) as error:
            fault = f"{type(error).__name__}: {str(error)[:160]}"
        return Click("step after a while", time.monotonic() - began, fault)

    def _step(self, tab: Tab) -> str | None:
        """Press Step; what is wrong with the answer. A run that has not ended goes on, or it is said that it cannot."""
        asked = {"prompt": "why is the sea salty?", "seed": self._number, "chat": True, "max_new_tokens": 400}
        if tab is self._left:
            asked["seed"] = 1_000_000
        block = json.loads(tab.press("on_step", **asked, **asdict(ModelChoice()))[0])
        said = block.get("notice") or {}
        if "run" not in block:
            if _BUSY.search(said.get("text", "")):
                raise Busy
            return f"no step, but {said}"
        before, self._runs[tab] = self._runs.get(tab), block["run"]["id"]
        if block["run"]["endReason"] not in (None, "stopped"):
            self._runs[tab], self._number = None, self._number + 1
            tab.press("on_new")
        if before not in (None, block["run"]["id"]) and not said:
            return "another run was begun, and nothing was said"
        return None


def _text(answer: list[Any]) -> str:
    return str(answer[0])


def _expect(answer: list[Any], wanted: str) -> None:
    """An answer with a word in it, and without an error."""
    text = json.dumps(answer).replace('\\"', '"')
    if wanted not in text or '"kind":"error"' in text:
        at = text.find('"notice"')
        raise Fault(text[at : at + 160] if at >= 0 else text[:160])
