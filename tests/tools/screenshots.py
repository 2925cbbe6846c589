"""The pictures of the documents: ``python -m tests.tools.screenshots``.

Opens the page on the run that comes with specviz, light and dark, and records three runs of the default pair with one
planted fault each, to show where it is seen. Writes to ``docs/images``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from specviz.app.page import build_page, launch_page
from specviz.engine.session import Session
from specviz.figures.export import standalone_page
from specviz.models.loading import load_pair
from specviz.trace.schema import Choice, Sampling, Settings, Trace
from tests import faults
from tests.browser import QUIET, find_chromium
from tests.paths import DOCS

IMAGES = DOCS / "images"
PROMPT = "Tell a bedtime story about a snail that wants to see the sea."
STEP = 2

Fault = Callable[[], AbstractContextManager[None]]
FAULTS: dict[str, tuple[Fault, str, Callable[[Trace], int]]] = {
    "no-compaction": (
        faults.no_compaction,
        "KV cache",
        lambda trace: _first(trace, lambda step: step.verdicts["rejection"].path[:1] not in ((), (1,))),
    ),
    "positions-off-by-one": (faults.positions_off_by_one, "Mask and positions", lambda trace: 0),
    "stale-residual": (
        faults.stale_residual,
        "Node",
        lambda trace: _first(trace, lambda step: step.verdicts["rejection"].bonus.source == "residual"),
    ),
}
"""Name -> the fault, the panel in which it is seen best, and the step to open."""


def main() -> None:
    """Make all pictures."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=QUIET)
        take_page(browser)
        take_faults(browser)
        browser.close()


def take_page(browser: Browser) -> None:
    """The page as a first visitor meets it, a few steps in."""
    app = build_page()
    _, url, _ = launch_page(app, prevent_thread_lock=True, quiet=True)
    try:
        for theme in ("light", "dark"):
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.goto(f"{url}?__theme={theme}")
            page.wait_for_selector(".sv-root[data-painted]")
            for _ in range(STEP):
                page.keyboard.press("ArrowRight")
            settle(page)
            page.screenshot(path=IMAGES / f"page-{theme}.png")
            page.close()
    finally:
        app.close()


def take_faults(browser: Browser) -> None:
    """One picture a fault: the panel that gives it away."""
    pair = load_pair()
    settings = Settings(
        target=Sampling(temperature=0.7),
        draft=Sampling(temperature=0.7),
        verifiers=(Choice(name="rejection"),),
        driver="rejection",
        max_new_tokens=16,
        chat=True,
        audit=True,
        seed=3,
    )
    for name, (fault, panel, step_of) in FAULTS.items():
        with fault():
            session = Session(pair, settings, PROMPT)
            list(session.run())
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "run.html"
            file.write_text(standalone_page(session.trace, go=step_of(session.trace), theme="light"), encoding="utf-8")
            page = browser.new_page(viewport={"width": 1280, "height": 1400})
            page.goto(file.as_uri())
            settle(page)
            for summary in page.query_selector_all('[aria-label="Node"] details:not([open]) > summary'):
                summary.click()
            if panel == "Mask and positions":
                page.keyboard.press("4")  # it lies in the dock
                settle(page)
            page.locator(f'[aria-label="{panel}"]').screenshot(path=IMAGES / f"fault-{name}.png")
            page.close()
        print(f"{name}: step {step_of(session.trace) + 1} of {len(session.trace.steps)}", flush=True)


def settle(page: Page) -> None:
    """Until the pictures below the tree are drawn too."""
    page.wait_for_timeout(1500)


def _first(trace: Trace, wanted: Callable) -> int:
    """Position of the first step that shows what is wanted."""
    return next(position for position, step in enumerate(trace.steps) if wanted(step))


if __name__ == "__main__":
    main()
