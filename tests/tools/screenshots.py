"""The pictures of the documents: ``python -m tests.tools.screenshots``.

Opens the page on the run that comes with specviz, light and dark, and takes a picture of one step and a moving one of
its phases (``page``); records three runs of the default pair with one planted fault each, to show where it is seen
(``faults``). Writes to ``docs/images``; with the name of one kind only that.
"""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from specviz.app.page import build_page, launch_page
from specviz.app.run_handlers import FIRST_TRACE, TRACES
from specviz.engine.session import Session
from specviz.figures.export import standalone_page
from specviz.models.loading import load_pair
from specviz.trace.io import load_trace
from specviz.trace.schema import Choice, Sampling, Settings, Trace
from tests import faults
from tests.browser import QUIET, find_chromium
from tests.paths import DOCS

IMAGES = DOCS / "images"
PROMPT = "Tell a bedtime story about a snail that wants to see the sea."
STEP = 18
"""Position of the step of the recorded run that the page's pictures show: three drafts kept, a near miss before."""
COLOURS = 256
MILLISECONDS = {
    "draft": 700,
    "target": 1300,
    "decide": 1100,
    "verdict": 1000,
    "commit": 1200,
    "cache": 1800,
    "whole": 2600,
}
"""How long the moving picture rests on each kind of phase, and on the whole step at its end."""

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
        for name, take in {"page": take_page, "faults": take_faults}.items():
            if name in (sys.argv[1:] or [name]):
                take(browser)
        browser.close()


def take_page(browser: Browser) -> None:
    """The page as a first visitor meets it, on a step that shows much, and the same step from the inside."""
    app = build_page()
    _, url, _ = launch_page(app, prevent_thread_lock=True, quiet=True)
    try:
        for theme in ("light", "dark"):
            page = browser.new_page(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
            page.goto(f"{url}?__theme={theme}")
            page.wait_for_selector(".sv-root[data-painted]")
            for _ in range(STEP):
                page.keyboard.press("ArrowRight")
            settle(page)
            few_colours(page).save(IMAGES / f"page-{theme}.png", optimize=True)
            pictures, times = take_step(page)
            pictures[0].save(
                IMAGES / f"step-{theme}.webp",
                save_all=True,
                append_images=pictures[1:],
                duration=times,
                loop=0,
                lossless=True,
                method=6,
            )
            page.close()
    finally:
        app.close()


def take_step(page: Page) -> tuple[list[Image.Image], list[int]]:
    """The phases of the step in sight, each with the node that it is about, and the whole step again; and how long each
    is to be seen, in milliseconds."""
    decided = iter(load_trace(TRACES / f"{FIRST_TRACE}.json.gz").steps[STEP].verdicts["rejection"].decisions)
    pictures, times = [], []
    page.click("[data-act=tour]")  # it is not offered any more then
    page.keyboard.press("Escape")
    kind = "draft"
    while kind != "whole":
        page.keyboard.press("Escape" if kind == "cache" else ".")
        kind = page.get_attribute(".sv-root", "data-phase") or "whole"
        if kind == "decide":
            page.evaluate("node => window.specvizViewer.mounted.at(-1).select(node, true)", next(decided).node)
        settle(page)
        pictures.append(few_colours(page))
        times.append(MILLISECONDS[kind])
    return pictures, times


def few_colours(page: Page) -> Image.Image:
    """What is in sight, in so few colours that it is small: those that most of it has stay as they are."""
    pixels = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB"), dtype=np.int64)
    packed, inverse, counts = np.unique(pixels @ [65536, 256, 1], return_inverse=True, return_counts=True)
    colours = np.stack([packed >> 16, packed >> 8 & 255, packed & 255], axis=1)
    kept = colours[np.argsort(-counts)[:COLOURS]]
    nearest = ((colours[:, None] - kept) ** 2).sum(axis=2).argmin(axis=1)
    picture = Image.fromarray(nearest[inverse].reshape(pixels.shape[:2]).astype(np.uint8), "P")
    picture.putpalette(kept.astype(np.uint8).tobytes())
    return picture


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
            page.keyboard.press("Escape")  # from the node that is offered to the step's own panel
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
