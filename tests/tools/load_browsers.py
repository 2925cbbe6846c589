"""Browsers of the load test: pages that open recorded runs and walk through their steps with the arrow keys."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from playwright.async_api import Browser, async_playwright

from specviz.trace.schema import Trace
from tests.browser import QUIET, find_chromium
from tests.tools.page_bench import WATCH

PAGES_A_PROCESS = 5
PATIENCE_MS = 120_000
OPENING = 2
"""Pages that load at once: one takes seconds of a core, and readers do not come all in one moment."""
WHERE = "document.querySelector('.sv-where').textContent"


@dataclass
class Looked:
    """What all readers together met.

    Attributes:
        moves: (time of ``time.monotonic``, milliseconds from the key to the painted picture).
    """

    moves: list[tuple[float, float]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    pages: int = 0
    """That were opened."""
    opening: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(OPENING))


class Reader:
    """A person with a page of their own, who reads one recorded run after the other."""

    def __init__(self, number: int, url: str, recorded: list[tuple[str, Trace]], looked: Looked):
        self._number, self._url, self._recorded, self._looked = number, url, recorded, looked
        self._luck = random.Random(number)

    async def read(self, browser: Browser, over: asyncio.Event, pause: float, moves_a_run: int) -> None:
        """Read until it is over, pausing so many seconds between two moves, in the mean."""
        context = await browser.new_context(viewport={"width": 1280, "height": 800})
        try:
            page = await context.new_page()
            page.set_default_timeout(PATIENCE_MS)
            self._watch(page)
            turn = self._number
            while not over.is_set():
                name, trace = self._recorded[turn % len(self._recorded)]
                async with self._looked.opening:
                    await page.goto(f"{self._url}/?trace={name}")
                    # At first a page shows the run that everybody sees, and then what its address names.
                    await page.wait_for_selector(f"[data-painted^='{trace.id}/']")
                self._looked.pages += 1
                await self._walk(page, trace, over, pause, moves_a_run)
                turn += 1
        except Exception as error:  # reported, and the others go on
            self._wrong(f"{type(error).__name__}: {str(error)[:300]}")
        finally:
            await context.close()

    async def _walk(self, page: Any, trace: Trace, over: asyncio.Event, pause: float, moves: int) -> None:
        step, count = 1, len(trace.steps)
        await page.evaluate(WATCH)
        forward = True
        for move in range(moves):
            await wait(over, pause * self._luck.uniform(0.5, 1.5))
            if over.is_set():
                return
            forward = step == 1 or (forward and step < count)
            step += 1 if forward else -1
            await page.keyboard.press("ArrowRight" if forward else "ArrowLeft")
            await page.wait_for_function("count => window.moves.length >= count", arg=move + 1, polling=100)
            shown = await page.evaluate(WHERE)
            if shown != f"step {step} of {count}":
                self._wrong(f"{shown!r} instead of step {step} of {count}")
                return
            self._looked.moves.append((time.monotonic(), await page.evaluate("window.moves.at(-1)")))

    def _watch(self, page: Any) -> None:
        page.on("console", lambda said: said.type == "error" and self._wrong(said.text))
        page.on("pageerror", lambda error: self._wrong(str(error)))
        page.on("response", lambda got: got.status >= 400 and self._wrong(f"{got.status} {got.url}"))
        page.on("request", lambda one: one.url.startswith((self._url, "data:", "blob:")) or self._wrong(one.url))

    def _wrong(self, said: str) -> None:
        self._looked.errors.append(f"browser {self._number}: {said[:300]}")


@asynccontextmanager
async def chromiums(pages: int) -> AsyncIterator[list[Browser]]:
    """Enough processes for so many pages.

    Raises:
        SystemExit: if Chromium is not installed.
    """
    path = find_chromium()
    if path is None:
        raise SystemExit("Chromium is not installed.")
    async with async_playwright() as playwright:
        count = -(-pages // PAGES_A_PROCESS)
        browsers = [await playwright.chromium.launch(executable_path=path, args=QUIET) for _ in range(count)]
        yield browsers
        for browser in browsers:
            await browser.close()


async def wait(over: asyncio.Event, seconds: float) -> None:
    """So long, or until it is over."""
    try:
        await asyncio.wait_for(over.wait(), seconds)
    except (asyncio.TimeoutError, TimeoutError):
        return
