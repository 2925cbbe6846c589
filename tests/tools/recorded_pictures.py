"""Pictures of another engine's run, by how much it said: ``python -m tests.tools.recorded_pictures [FOLDER]``.

Each light, dark and narrow, into ``docs/images`` or the folder.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from specviz.figures.export import standalone_page
from specviz.trace.io import load_trace
from specviz.trace.schema import Trace
from tests.browser import QUIET, find_chromium
from tests.foreign import foreign
from tests.paths import ASSETS
from tests.tools.screenshots import IMAGES, few_colours, settle

LEVELS = (1, 2, 4)
STEP = 1
WIDE, NARROW = (1280, 800), (390, 844)


def main(folder: str | None = None) -> None:
    """Take the pictures."""
    own = load_trace(ASSETS / "traces" / "default-4-2-2.json.gz")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=QUIET)
        for level in LEVELS:
            trace = foreign(own, level, texts=level > 1)
            for theme in ("light", "dark"):
                take(browser, trace, theme, WIDE, Path(folder or IMAGES) / f"recorded-level-{level}-{theme}.png")
            take(browser, trace, "light", NARROW, Path(folder or IMAGES) / f"recorded-level-{level}-390.png")
        browser.close()


def take(browser: Browser, trace: Trace, theme: str, size: tuple[int, int], into: Path) -> None:
    """One picture of the viewer in an exported file."""
    with tempfile.TemporaryDirectory() as made:
        file = Path(made) / "run.html"
        file.write_text(standalone_page(trace, go=STEP, theme=theme), encoding="utf-8")
        page = browser.new_page(viewport={"width": size[0], "height": size[1]})
        page.goto(file.as_uri())
        settle(page)
        few_colours(page).save(into, optimize=True)
        page.close()


if __name__ == "__main__":
    main(*sys.argv[1:2])
