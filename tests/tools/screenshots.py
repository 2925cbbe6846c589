"""The pictures of the documents: ``python -m tests.tools.screenshots``.

Opens the page on the run that comes with specviz, light and dark, and takes a picture of one step and a moving one of
its phases. Writes to ``docs/images``.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from specviz.app.page import build_page, launch_page
from specviz.app.run_handlers import FIRST_TRACE, TRACES
from specviz.trace.io import load_trace
from tests.browser import QUIET, find_chromium
from tests.paths import DOCS

IMAGES = DOCS / "images"
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


def main() -> None:
    """Make all pictures."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=QUIET)
        take_page(browser)
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


def settle(page: Page) -> None:
    """Until the pictures below the tree are drawn too."""
    page.wait_for_timeout(1500)


if __name__ == "__main__":
    main()
