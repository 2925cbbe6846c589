"""Another engine's run on the page: opened from a recording, one of its requests chosen, and nothing of it run here."""

from __future__ import annotations

from pathlib import Path

import pytest

from specviz.app.handlers import ANOTHER_ENGINE
from specviz.trace.io import load_trace
from tests.foreign import ENGINE, foreign, write_recording
from tests.pairs import make_pair
from tests.paths import ASSETS

pytestmark = pytest.mark.browser


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Two requests of three steps, at level 1 and 3."""
    own = load_trace(ASSETS / "traces" / "default-4-2-2.json.gz")
    cut = own.model_copy(update={"steps": own.steps[:3], "end_reason": None})
    path = tmp_path / "loop.jsonl"
    write_recording(path, {"first": foreign(cut, 1), "second": foreign(cut, 3)})
    return path


def test_a_request_of_a_recording_is_chosen_and_no_step_is_added(served, recording: Path) -> None:
    seen = served(None, lambda *_, **__: make_pair())
    page = seen.page
    seen.menu("open")
    with page.expect_file_chooser() as chooser:
        page.click("#upload")
    chooser.value.set_files(recording)
    seen.wait_for_step(1, 3)
    choice = page.locator(".sv-requests select")
    assert choice.locator("option").all_inner_texts() == ["first", "second"]
    assert choice.evaluate("(box) => box.selectedOptions[0].textContent") == "first"
    assert not page.locator(".sv-chance").count()
    fork = page.locator("[data-act=fork]")
    assert fork.is_disabled()
    assert fork.get_attribute("title").startswith(f"No fork: this run was recorded from {ENGINE}")
    seen.dock("whatif")
    assert "What if cannot be asked of this step" in page.inner_text("[aria-label='What if']")

    choice.select_option("second")
    page.wait_for_selector(".sv-chance")
    seen.wait_for_step(1, 3)
    assert choice.evaluate("(box) => box.selectedOptions[0].textContent") == "second"
    seen.dock("whatif")
    page.wait_for_selector(".sv-whatif-answer table, .sv-whatif-answer p")
    assert "From the trace alone" in page.inner_text(".sv-whatif-answer")

    page.click("#step")
    page.wait_for_selector(".sv-notice")
    assert page.inner_text(".sv-notice span") == ANOTHER_ENGINE.format(ENGINE)
    seen.wait_for_step(1, 3)
    seen.menu("settings")
    page.uncheck("label:has-text('Chat template') input")  # the tiny tokenizer has none
    seen.menu("view")
    page.fill("#prompt textarea", "the sea")
    page.click("#run")
    page.wait_for_function("document.querySelector('.sv-requests').hidden")
    page.wait_for_function("!window.specvizViewer.mounted.at(-1).state.run.engine")
