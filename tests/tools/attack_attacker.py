"""An attacker: connections to a server of this machine from its loopback addresses, for so many seconds and bytes."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import random
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from specviz.app.server.limits import read_limits
from tests.server import web_client
from tests.tools.load_visitors import Tab

PUBLIC = read_limits({}, public=True)
"""What the server that is attacked allows."""
ADDRESS = "127.0.0.2"
"""The attacker's. More of them follow it where one is not enough."""
PROXY = "127.0.0.9"
"""Of a server that was told of a proxy."""
MOST_BYTES = 2_000_000_000
"""No case sends or reads more."""
MOST_CONNECTIONS = 1_200
LONGEST_SAID = 110
_NUMBER = re.compile(r"\b(?![1-5]\d\d\b)\d[\d,.]*")
_TELLING = re.compile(r'"(?:detail|text|error)": ?"((?:[^"\\]|\\.)*)"')


def loopback(address: str) -> str:
    """The address, if it is one of this machine for itself.

    Raises:
        SystemExit: for any other.
    """
    try:
        if ipaddress.ip_address(address).is_loopback:
            return address
    except ValueError:  # a name: who knows where it leads
        pass
    raise SystemExit(f"{address[:80]} is no loopback address; this attacks a server of its own on 127.0.0.1 only.")


@dataclass
class Attacker:
    """What a case attacks with, in a process of its own.

    Attributes:
        page: Gradio's object, which knows the numbers of the page's events.
        seconds: how long it may take; every loop asks :attr:`over`.
        pid, tmp, log: the server's process, folder for files and log, for the cases that look at what is left there.
        answered, faults: what the server told it, and what it ought not to have done.
        moved: bytes that were sent and read.
    """

    url: str
    page: Any
    seconds: float
    pid: int
    tmp: Path
    log: Path
    answered: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    moved: int = 0
    _connections: int = 0
    _began: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.host = loopback(urlsplit(self.url).hostname or "")
        self.port = urlsplit(self.url).port or 80
        self.luck = random.Random(0)

    @property
    def over(self) -> bool:
        """Whether the time or the bytes of this case are used up."""
        return time.monotonic() - self._began >= self.seconds or self.moved > MOST_BYTES

    def wait(self, seconds: float) -> None:
        """So long, or until it is over."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self.over:
            time.sleep(min(0.05, max(0.0, until - time.monotonic())))

    def web(self, address: str = ADDRESS, timeout: float = 20.0) -> httpx.Client:
        """A client that asks from an address."""
        return web_client(self.url, timeout, loopback(address))

    def tab(self, address: str = ADDRESS, timeout: float = 20.0) -> Tab:
        """An open page of an address."""
        tab = Tab(self.url, self.page, loopback(address))
        tab._web.timeout = timeout
        return tab

    def connect(self, address: str = ADDRESS) -> socket.socket:
        """A bare connection.

        Raises:
            OSError: if the server takes none.
        """
        with self._lock:
            if self._connections >= MOST_CONNECTIONS:
                raise OSError("this tool opens no more connections")
            self._connections += 1
        return socket.create_connection((self.host, self.port), timeout=10, source_address=(loopback(address), 0))

    def many(self, count: int, work: Callable[[int], object]) -> None:
        """So many threads that do the same, each with a number; what they meet is noted."""
        threads = [threading.Thread(target=self._try, args=(work, i), daemon=True) for i in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(self.seconds + 25)

    def _try(self, work: Callable[[int], object], number: int) -> None:
        with self.noting():
            work(number)

    @contextlib.contextmanager
    def noting(self) -> Iterator[None]:
        """Count an error of the connection, or an answer that is none, as an answer."""
        try:
            yield
        except (httpx.HTTPError, OSError, AssertionError, ValueError, LookupError, RuntimeError) as error:
            self.note(f"{type(error).__name__}: {error}")

    def note(self, said: str) -> None:
        """Count what was said; numbers in it, but for a status, do not tell answers apart."""
        with self._lock:
            self.answered[_NUMBER.sub("N", said.partition("\n")[0])[:LONGEST_SAID]] += 1

    def fault(self, said: str) -> None:
        """Note that the server did what it ought not to."""
        with self._lock:
            if said not in self.faults:
                self.faults.append(said)

    def post(self, web: httpx.Client, path: str, what: str = "", **sent: Any) -> httpx.Response | None:
        """Send something, note the answer and return it; None if there was none."""
        try:
            answer = web.post(path, **sent)
        except httpx.HTTPError as error:
            self.note(f"{what}{type(error).__name__}")
            return None
        self.heard(answer, what)
        return answer

    def heard(self, answer: httpx.Response, what: str = "") -> None:
        """Note an answer by its status and its sentence."""
        with self._lock:
            self.moved += len(answer.content)
        self.note(f"{what}{answer.status_code} {sentence(answer.text)}".rstrip())
        if answer.status_code >= 500 and answer.status_code not in (503, 507):
            self.fault(f"{what}answered with a bare {answer.status_code}")

    def upload(self, web: httpx.Client, name: str, data: bytes, **more: Any) -> str | None:
        """Send a file; where it lies on the server, or None if it was refused."""
        answer = self.post(web, "/gradio_api/upload", "upload: ", files={"files": (name, data)}, **more)
        with self._lock:
            self.moved += len(data)
        return str(answer.json()[0]) if answer is not None and answer.status_code == 200 else None

    def open_file(self, tab: Tab, path: str, what: str = "open: ") -> str:
        """Open a file that was sent; the answer's text."""
        value = {"path": path, "meta": {"_type": "gradio.FileData"}}
        return self.press(tab, "on_upload", what, open_a_trace_file=value)

    def press(self, tab: Tab, handler: str, what: str = "", event: Any = None, **values: Any) -> str:
        """Have a function of the page answer; the first output as text, "" if it failed."""
        try:
            answer = tab.press(handler, event, **values)
        except Exception as error:  # whatever a server says to an attack is an answer
            self.note(f"{what}{type(error).__name__}: {sentence(str(error)) or str(error)}")
            return ""
        text = str(answer[0])
        with self._lock:
            self.moved += len(text)
        self.note(f"{what}answered {sentence(text)}".rstrip())
        return text


def sentence(text: str) -> str:
    """What an answer says of what is wrong; "" where it says nothing."""
    found = _TELLING.search(text[:4000].replace('\\"', '"'))
    return found[1] if found else ""


def forged(number: int) -> str:
    """A session that nobody has opened."""
    return f"made-up-{number:06d}"


def run_id(block: str) -> str | None:
    """Which run a block shows."""
    try:
        value = json.loads(block)
    except ValueError:
        return None
    first = value[0] if isinstance(value, list) and value else value
    return first.get("run", {}).get("id") if isinstance(first, dict) else None


@dataclass(frozen=True)
class Case:
    """One way to attack.

    Attributes:
        item: of the list of what was mended, see docs/operating.md.
        about: what the attacker does, for the report.
        longer: times the usual seconds.
        server: ``public``, ``full disk`` (on a file system of 64 MB), or ``proxied`` (it trusts :data:`PROXY`).
        honest: whether a visitor clicks beside it.
        away: whether another one has run a step before, and runs the next one after it.
    """

    item: int
    name: str
    about: str
    attack: Callable[[Attacker], None]
    longer: float = 1.0
    server: str = "public"
    honest: bool = True
    away: bool = False
