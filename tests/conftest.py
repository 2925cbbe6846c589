"""What every test runs under."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

# Nothing in the tests may wait for a hub or phone home; set before transformers and gradio are imported.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
# Of torch in processes that tests start: the files run side by side, and a waiting thread takes CPU from the others.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

# Everything else is imported where it is needed: the process that hands out the tests reads this file, too, and the
# others wait for it.
if TYPE_CHECKING:
    from specviz.trace.schema import Trace
    from tests.browser import Tabs, Watched

PORT = 7760 + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
"""Of every page that this process serves: the same address, of which Chromium knows the scripts again. It is below
those that Gradio chooses from, and those of outgoing connections."""

LONGEST = (
    "test_package.py",
    "test_space.py",
    "test_load.py",
    "test_card.py",
    "test_opening.py",
    "test_kills.py",
    "test_page.py",
    "test_exact.py",
    "test_mutations.py",
    "test_bench.py",
    "test_default_run.py",
    "test_train.py",
    "test_edges.py",
)
"""Files that take longest come first: one that begins last leaves the other processes with nothing to do."""


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What is imported stays: collecting garbage need not go through it, now or later (0.2 seconds each time)."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """Nor through what a file of tests has left behind: the page's server collects garbage with every load, which took
    half a second each time towards the end."""
    yield
    if nextitem is not None and nextitem.path != item.path:
        gc.collect()
        gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    import torch

    # The models of the tests are so small that a second thread only waits for the first.
    torch.set_num_threads(1)
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(scope="module")
def browser() -> Iterator[Tabs]:
    """Chromium; without it the tests are skipped on a desk and fail in CI."""
    from playwright.sync_api import sync_playwright

    from tests.browser import QUIET, SHARING, Tabs, find_chromium

    path = find_chromium()
    if path is None:
        message = "Chromium is not installed"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
    with sync_playwright() as p:
        yield Tabs(p.chromium.launch(executable_path=path, args=[*QUIET, *SHARING]))


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    """The same address for every exported page of a module: Chromium knows its scripts again."""
    return tmp_path_factory.mktemp("exported") / "run.html"


@pytest.fixture
def from_file(browser, exported):
    """Open a trace as the exported HTML file."""
    from specviz.figures import standalone_page
    from tests.browser import DRAWN, Watched

    opened = []

    def open_trace(trace: Trace, **options) -> Watched:
        shown = {"theme": options.pop("theme", "light"), "go": options.pop("go", 0)}
        exported.write_text(standalone_page(trace, **shown), encoding="utf-8")
        watched = Watched(browser, exported.as_uri(), **options)
        watched.page.wait_for_selector(DRAWN)
        opened.append(watched)
        return watched

    yield open_trace
    for watched in opened:
        watched.finish()


@pytest.fixture
def proved_on_few_trees(monkeypatch):
    """What the page says of verifiers comes from the six smallest trees: for tests of how it is said.

    All trees take some twelve seconds of CPU, beside the test and on behind it.
    """
    from specviz.verifiers import check

    def check_one(verifier, options, proposal):
        return check._enumerate(verifier, options, proposal, check.cases_for(proposal)[:6])

    monkeypatch.setattr(check, "check_one", check_one)


@pytest.fixture
def served(browser, tmp_path):
    """Serve the page with a given trace and loader, and open it."""
    from specviz.app.page import build_page
    from specviz.app.server.session_registry import Sessions
    from specviz.app.server.share_store import ShareStore
    from tests.browser import DRAWN, Watched
    from tests.server import launch_quietly

    opened = []

    def open_page(trace: Trace | None = None, load_pair=None, follower=None, **options) -> Watched:
        page = build_page(Sessions(load_pair), trace, share_store=ShareStore(tmp_path / "held"), follower=follower)
        try:
            url = launch_quietly(page, server_port=PORT)
        except OSError:  # another run of the tests has the port
            url = launch_quietly(page)
        watched = Watched(browser, url, **options)
        watched.page.wait_for_selector(".specviz-state b" if follower else DRAWN)
        opened.append((watched, page))
        return watched

    yield open_page
    for watched, page in opened:
        try:
            watched.finish()
        finally:
            page.close()
