"""A browser page that is watched while a test uses it as a person would."""

from __future__ import annotations

import os
import shutil
from typing import Any

from playwright.sync_api import Browser, Page

from specviz.trace.schema import Trace

QUIET = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--no-first-run"]
SHARING = ["--renderer-process-limit=1", "--js-flags=--no-enable-lazy-source-positions"]
"""For :class:`Tabs`. The second: places in a script are noted when it is compiled, not by parsing it again."""
DRAWN = "[data-painted]"
VIEW = "const {state} = window.specvizViewer.mounted.at(-1);"
"""Start of a script: the state of the viewer mounted last."""
RIBBONS = "[...document.querySelectorAll(`.sv-ribbon`)].map(path => path.dataset.verifier).sort()"
"""Script: the verifiers whose paths are drawn over the tree."""


NAMES = "[...document.querySelectorAll(`[data-picture='%s'] [data-part]`)].map(path => path.dataset.part)"
"""Script: the kinds of shapes that a picture is drawn with."""
PARTS = {
    **dict.fromkeys(("open", "compare", "share"), "runs"),
    **dict.fromkeys(("run", "breakpoints", "verifiers"), "settings"),
}
"""Part of a page -> the page."""
FIRST_PARTS = {"runs": "open", "settings": "run"}
LABELS = "[...document.querySelectorAll(`[data-picture='%s'] + .sv-labels > *`)].map(label => label.textContent)"


def find_chromium() -> str | None:
    """Path of the Chromium that SPECVIZ_CHROMIUM names, or of the system's, if there is one.

    The shell without windows first: a page takes two thirds of the CPU in it.
    """
    if named := os.environ.get("SPECVIZ_CHROMIUM"):
        return named
    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
    return next((found for name in names if (found := shutil.which(name))), None)


class Tabs:
    """Pages of one browser, launched with :data:`SHARING`, that share what it has read and compiled of a script.

    That holds from page to page for the same addresses, in one process, which lives as long as one page is open.
    """

    def __init__(self, browser: Browser):
        self._browser, self._context = browser, browser.new_context()
        self._context.new_page()

    def new_page(self, viewport: Any = None, **options: Any) -> Page:
        """Open an empty page; nothing that an earlier one stored is there. With ``options`` it shares nothing."""
        if options:
            return self._browser.new_page(viewport=viewport, **options)
        page = self._context.new_page()
        self._context.clear_cookies()
        # Of all origins; not what was read of the server's files, which it asks for again.
        page.context.new_cdp_session(page).send(
            "Storage.clearDataForOrigin", {"origin": "*", "storageTypes": "local_storage,indexeddb,service_workers"}
        )
        if viewport:
            page.set_viewport_size(viewport)
        return page


class Watched:
    """A page that remembers what it must not do: errors, dialogs, requests to anyone else."""

    def __init__(self, browser, home: str, size: tuple[int, int] = (1280, 800), before: str = "", **options):
        self.page = browser.new_page(viewport={"width": size[0], "height": size[1]}, **options)
        self.page.add_init_script(before)
        self.wrong: list[str] = []
        self.page.on("console", lambda m: m.type in ("error", "warning") and self.wrong.append(f"{m.type}: {m.text}"))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.wrong.append(f"dialog {dialog.message}"), dialog.dismiss()))
        self.page.on("request", lambda r: r.url.startswith((home, "data:", "blob:")) or self.wrong.append(r.url))
        self.page.on("response", lambda r: r.status < 400 or self.wrong.append(f"{r.status} {r.url}"))
        self.page.set_default_timeout(30_000)
        self.page.goto(home)

    def where(self) -> str:
        return self.page.inner_text(".sv-where")

    def wait_for_step(self, number: int, count: int) -> None:
        self.page.wait_for_function(
            "text => document.querySelector('.sv-where').textContent === text", arg=f"step {number} of {count}"
        )
        self.page.wait_for_function(
            "n => document.querySelector('.sv-root').dataset.painted?.endsWith('/' + n)", arg=number - 1
        )

    def menu(self, name: str) -> None:
        """Open a page of the menu, or a part of one."""
        if name in FIRST_PARTS:
            name = FIRST_PARTS[name]
        if name in PARTS and self.page.get_attribute(f"#menu-{PARTS[name]}-button", "aria-selected") != "true":
            self.page.click(f"#menu-{PARTS[name]}-button")
        self.page.click(f"#menu-{name}-button")
        self.page.wait_for_selector(f"#menu-{name}-button[aria-selected=true]")

    def dock(self, name: str) -> None:
        """Open a panel of the dock."""
        self.page.click(f".sv-tabs [data-tab={name}]")
        self.page.wait_for_selector(f".sv-dock[data-drawn={name}]")

    def tool(self, name: str) -> None:
        """Choose from the menu at the end of the tree's row of tools."""
        self.page.click("[data-act=more]")
        self.page.click(f".sv-tools [data-act={name}]")

    def click_card(self, node: int) -> None:
        """Click at the left of a node's card, as a person would; at its right it may say how many nodes it hides."""
        spot = self.page.evaluate(
            """node => {
                const card = document.querySelector(`.sv-card-node[data-node='${node}'] .sv-bg`);
                window.scrollBy(0, card.getBoundingClientRect().top - 300);
                const box = card.getBoundingClientRect();
                return [box.left + Math.min(14, box.width / 2), box.top + box.height / 2];
            }""",
            node,
        )
        self.page.mouse.click(*spot)

    def finish(self) -> None:
        self.page.close()
        assert self.wrong == []


def labels(seen: Watched, picture: str) -> list[str]:
    """What is written over a picture."""
    open_panel(seen, f"[data-picture='{picture}']")
    return seen.page.evaluate(LABELS % picture)


def names(seen: Watched, picture: str) -> list[str]:
    """The kinds of shapes that a picture is drawn with."""
    open_panel(seen, f"[data-picture='{picture}']")
    return seen.page.evaluate(NAMES % picture)


def open_panel(seen: Watched, section: str) -> None:
    """Open the panel of the dock that a section is, or is in, unless it is open."""
    tab = seen.page.locator(section).first.evaluate(
        "element => document.querySelector(`[aria-controls='${element.closest('[role=tabpanel]')?.id}']`)?.dataset.tab"
    )
    if tab and not seen.page.locator(f".sv-dock[data-drawn={tab}]").count():
        seen.dock(tab)


def read(seen: Watched, section: str) -> str:
    """What a person reads who goes there."""
    open_panel(seen, section)
    place = seen.page.locator(section).first
    return place.inner_text()


def open_table(seen: Watched, section: str, title: str):
    """The rows of a panel's table."""
    open_panel(seen, section)
    table = seen.page.locator(f"{section} details", has_text=title).first
    if table.get_attribute("open") is None:
        table.locator("summary").first.click()
    seen.page.wait_for_selector(f"{section} details[open] tbody tr")
    return seen.page.locator(f"{section} details[open] tbody tr")


def telling(trace: Trace, position: int) -> int | None:
    """The node of a step of a rule with coins that the page selects as long as nobody chose one."""
    step = trace.steps[position]
    verdict = step.verdicts[step.driver]
    parents = [node.parent for node in step.tree.nodes]
    path = (0, *verdict.path)
    rejected = [one.node for one in verdict.decisions if one.outcome == "rejected" and parents[one.node] in path]
    accepted = [
        (min(1.0, one.threshold), -at, one.node) for at, one in enumerate(verdict.decisions) if one.node in path
    ]
    return rejected[0] if rejected else min(accepted)[2] if accepted else None
