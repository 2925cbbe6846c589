"""What the page answers with: blocks of a bounded size, notices, and the turns of those that are large to make."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any

import anyio
import gradio as gr

from specviz.app.server.clients import Client, client_of_event
from specviz.app.server.limits import ANSWER_BYTES, FRAMES_BYTES, LARGE_ANSWERS, LARGE_RUN_BYTES, Limits
from specviz.app.server.pools import Rounds
from specviz.errors import SettingsError
from specviz.figures import dump_block, fitting_block
from specviz.trace.schema import Trace


def notice(kind: str, text: str, fraction: float | None = None) -> dict[str, Any]:
    """A message for the page: ``error``, ``info`` or ``working``; ``none`` takes it away."""
    return {"kind": kind, "text": text, "fraction": fraction, "at": time.time()}


def message(kind: str, text: str) -> str:
    """A block that only shows a notice."""
    return dump_block({"notice": notice(kind, text)})


def bounded(value: dict[str, Any]) -> str:
    """A block as text.

    Raises:
        SettingsError: if it is larger than :data:`ANSWER_BYTES`.
    """
    text = dump_block(value)
    if len(text.encode("utf-8", "surrogatepass")) > ANSWER_BYTES:
        raise SettingsError(
            f"This answer has {len(text) / 1e6:.1f} MB, more than the {ANSWER_BYTES / 1e6:g} MB that the page sends at "
            "once; ask for less of it, or use the command line."
        )
    return text


def frames_block(trace: Trace, positions: Iterable[int], *, go: int | None = None, **more: Any) -> str:
    """A block with the frames at ``positions`` that fit an answer; see :func:`~specviz.figures.fitting_block`."""
    return fitting_block(trace, positions, FRAMES_BYTES, ANSWER_BYTES, go=go, **more)


class LargeAnswers:
    """One answer about a large run is made at a time; the others wait without a thread, each client with a share, and
    clients take turns.

    Large is a run of more than :data:`LARGE_RUN_BYTES`. What is about a small one is made at once.
    """

    def __init__(self, limits: Limits):
        self._limits = limits
        self._pool = limits.pool("answers about large runs", LARGE_ANSWERS)
        self._rounds = Rounds()
        self._waiting: dict[asyncio.Future[None], Client] = {}
        self._at_work = False

    async def make(self, request: gr.Request, size: int, function: Callable[..., Any], *arguments: Any) -> Any:
        """What ``function`` returns, called in a thread.

        Args:
            size: of the run, in bytes of its JSON.

        Raises:
            BusyError: if a client has its share of those that are waited for.
        """
        if size <= LARGE_RUN_BYTES:
            return await anyio.to_thread.run_sync(function, *arguments)
        client = client_of_event(request, self._limits)
        with self._pool.lent(client):
            await self._turn(client)
            try:
                return await anyio.to_thread.run_sync(function, *arguments)
            finally:
                self._end_turn()

    async def _turn(self, client: Client) -> None:
        if not self._at_work:
            self._at_work = True
            self._rounds.take(client, ())
            return
        called = asyncio.get_running_loop().create_future()
        self._waiting[called] = client
        try:
            await called
        except asyncio.CancelledError:
            if self._waiting.pop(called, None) is None:  # it was called in the same moment
                self._end_turn()
            raise

    def _end_turn(self) -> None:
        self._at_work = bool(self._waiting)
        if self._waiting:
            called = min(self._waiting, key=lambda one: self._rounds.last_turns(self._waiting[one]))
            client = self._waiting.pop(called)
            self._rounds.take(client, self._waiting.values())
            called.set_result(None)
