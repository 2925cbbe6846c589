"""Forks, the list of runs, links, files and proofs, by what a person sees in Chromium."""

from __future__ import annotations

import re
from unittest.mock import patch

import pytest

from specviz.trace.io import load_trace, save_trace
from specviz.trace.schema import Choice, Trace
from tests import pairs
from tests.browser import DRAWN, Watched
from tests.sample_traces import HOSTILE, sample_trace

pytestmark = pytest.mark.browser


def tiny(*_: object, **__: object) -> object:
    return pairs.make_pair()


def saved(seen: Watched, tmp_path) -> Trace:
    """The run in sight, as its trace file says it."""
    seen.menu("share")
    with seen.page.expect_download() as download:
        seen.page.click("#save-trace")
    path = tmp_path / "saved.json.gz"
    download.value.save_as(path)
    assert re.fullmatch(r"specviz-[0-9a-zA-Z_-]+\.json\.gz", download.value.suggested_filename)
    return load_trace(path)


def listed(seen: Watched) -> list[str]:
    seen.menu("runs")
    seen.page.wait_for_selector("#runs-list label")
    return seen.page.locator("#runs-list label").all_inner_texts()


def upload(seen: Watched, path) -> None:
    seen.menu("runs")
    with seen.page.expect_file_chooser() as chooser:
        seen.page.click("#upload")
    chooser.value.set_files(str(path))


def verdicts(trace: Trace) -> list[dict]:
    return [{name: verdict.path for name, verdict in step.verdicts.items()} for step in trace.steps]


# ------------------------------------------------------------------------------------------------------- forks


def test_a_fork_without_any_change_reproduces_the_original_run(served, tmp_path):
    whole = pairs.make_trace(seed=5)
    count = len(whole.steps)
    seen = served(whole, tiny)
    page = seen.page
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    seen.wait_for_step(3, count)
    seen.tool("fork")
    seen.wait_for_step(3, 3)
    page.click("#run")
    seen.wait_for_step(count, count)
    again = saved(seen, tmp_path)
    assert again.id != whole.id
    assert (again.forked_from.trace, again.forked_from.step) == (whole.id, 2)
    assert again.output_tokens() == whole.output_tokens()
    assert verdicts(again) == verdicts(whole)
    bonuses = [[[v.bonus.token for v in step.verdicts.values()] for step in run.steps] for run in (again, whole)]
    assert bonuses[0] == bonuses[1]


def test_a_fork_with_other_settings_is_listed_below_its_parent(served, tmp_path):
    whole = pairs.make_trace(seed=5)
    seen = served(whole, tiny)
    page = seen.page
    page.keyboard.press("ArrowRight")
    seen.wait_for_step(2, len(whole.steps))
    seen.tool("fork")
    seen.wait_for_step(2, 2)
    page.wait_for_function("specvizViewer.mounted.at(-1).state.frames.size === 2")  # it asks for what it misses
    assert "Step 2 was run anew as run 2" in page.inner_text(".sv-notice")
    assert "ended" not in page.inner_text(".sv-models"), "it can go on"
    seen.menu("settings")
    assert page.input_value("label:has-text('Seed') input") == "5", "the form says what made the run"
    page.fill("label:has-text('Seed') input", "77")
    seen.menu("view")
    seen.tool("fork")
    page.wait_for_function("document.querySelector('.sv-models').textContent.includes('seed 77')")
    seen.wait_for_step(2, 2)
    lines = listed(seen)
    assert [line.count("└") for line in lines] == [0, 1, 1]
    assert "seed 5" in lines[1]
    assert "seed 77" in lines[2]
    forked = saved(seen, tmp_path)
    assert forked.settings.seed == 77
    assert [forked.settings_of(i).seed for i in range(2)] == [5, 77]
    assert verdicts(forked)[0] == verdicts(whole)[0]
    seen.menu("runs")
    page.click("#runs-list label >> nth=0")
    seen.wait_for_step(1, len(whole.steps))


def test_a_fork_needs_the_target_that_recorded_the_run(served):
    seen = served(sample_trace(steps=3), tiny)
    seen.tool("fork")
    seen.page.wait_for_selector("[role=alert]")
    assert "recorded with the target sample and target is chosen" in seen.page.inner_text("[role=alert]")
    assert seen.where() == "step 1 of 3"


# ------------------------------------------------------------------------------------------------------- links


def test_a_link_to_a_recorded_run_survives_a_reload(served):
    seen = served()
    page = seen.page
    count = int(seen.where().split(" of ")[1])
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    seen.wait_for_step(3, count)
    page.select_option(".sv-lens select", "eta")
    seen.click_card(2)
    page.wait_for_function("location.search.includes('node=2')")
    assert re.search(r"trace=default-4-2-2&step=3&node=2&verifier=eta", page.url)
    page.reload()
    page.wait_for_selector(DRAWN)
    seen.wait_for_step(3, count)
    page.wait_for_function("document.querySelector('.sv-inspector h3').textContent.startsWith('Node 2')")
    assert page.input_value(".sv-lens select") == "eta"


def test_a_run_of_ones_own_is_held_for_its_link(served):
    trace = sample_trace(steps=4, tokens=HOSTILE)
    seen = served(trace)
    page = seen.page
    page.keyboard.press("ArrowRight")
    seen.wait_for_step(2, 4)
    assert "trace=" not in page.url
    seen.tool("link")
    page.wait_for_function("location.search.includes('trace=h-')")
    page.wait_for_selector(".sv-notice:has-text('ink')")
    assert page.url in page.inner_text(".sv-notice")
    page.goto("about:blank")
    page.go_back()
    page.wait_for_selector(DRAWN)
    seen.wait_for_step(2, 4)
    listed_now = listed(seen)
    assert any("a shared run" in line for line in listed_now)


def test_an_unknown_link_is_one_sentence_and_the_page_opens(served):
    seen = served(sample_trace(steps=2))
    seen.page.goto(seen.page.url.split("?")[0] + "?trace=h-aaaaaaaaaaaaaaaa&step=zzz&node=-4")
    seen.page.wait_for_selector("[role=alert]")
    assert "unknown here or has expired" in seen.page.inner_text("[role=alert]")
    seen.wait_for_step(1, 2)


# ------------------------------------------------------------------------------------------------------- files


def test_a_trace_file_is_opened_and_a_broken_one_is_one_sentence(served, tmp_path):
    seen = served(sample_trace(steps=2))
    path = tmp_path / "mine.json.gz"
    save_trace(sample_trace(steps=5, seed=4, trace_id="mine"), path)
    seen.menu("runs")
    upload(seen, path)
    seen.wait_for_step(1, 5)
    seen.page.wait_for_selector("#runs-list label:has-text('mine · ') input:checked", state="attached")
    broken = tmp_path / "broken.json"
    broken.write_text('{"schema_version": 1, "id": "<img src=x onerror=alert(1)>"}')
    upload(seen, broken)
    seen.page.wait_for_selector("[role=alert]")
    assert "This trace is broken at" in seen.page.inner_text("[role=alert]")
    assert seen.where() == "step 1 of 5"


def test_what_is_in_sight_is_saved_before_a_new_run_begins(served, tmp_path):
    whole = pairs.make_trace(seed=5)
    seen = served(whole, tiny)
    seen.page.click("#new")
    seen.page.wait_for_selector(".sv-notice:has-text('starts a new run')")
    assert saved(seen, tmp_path).id == whole.id
    seen.page.click("#step")
    seen.wait_for_step(1, 1)


def test_saved_files_do_not_pile_up_on_the_server(served, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr("specviz.app.server.saved_files.FILES_KEPT", 2)
    seen = served(sample_trace(steps=1))
    for _ in range(4):
        saved(seen, tmp_path)
    assert len(list((tmp_path / "cache").glob("specviz-*"))) == 2


def test_a_run_is_saved_as_a_page_that_opens_alone(served, browser, tmp_path):
    seen = served(sample_trace(steps=2))
    seen.menu("share")
    with seen.page.expect_download() as download:
        seen.page.click("#save-page")
    path = tmp_path / "run.html"
    download.value.save_as(path)
    alone = Watched(browser, path.as_uri())
    alone.wait_for_step(1, 2)
    assert alone.page.locator("[data-act=fork], [data-act=link]").count() == 0, "there is no server to ask"
    alone.finish()


# ----------------------------------------------------------------------------------------------------- proofs


@pytest.mark.usefixtures("proved_on_few_trees")
def test_every_verifier_is_proved_beside_its_name(served, request):
    from specviz.verifiers import VERIFIERS
    from tests.faults import stale_residual_verifier

    mine = stale_residual_verifier("my_rejection")
    few = {name: VERIFIERS[name] for name in ("naive", "greedy")} | {"my_rejection": mine}
    patched = patch.dict(VERIFIERS, few, clear=True)  # gives the registry its order back, as monkeypatch would not
    patched.start()
    request.addfinalizer(patched.stop)
    seen = served(sample_trace(steps=1, verifiers=("naive",)))
    seen.page.set_default_timeout(60_000)
    seen.menu("verifiers")
    seen.page.wait_for_function("!document.querySelector('#proofs').innerText.includes('…')")
    row = seen.page.locator("#proofs tr:has-text('my_rejection')").inner_text()
    assert "not lossless as promised" in row
    assert re.search(r"\([\d,]+\), .*TV 0\.\d+; tokens \[", row), "the smallest tree that shows it"
    assert "✓ lossless" in seen.page.locator("#proofs tr:has-text('naive')").inner_text()
    verdict = seen.page.locator(".sv-root [aria-label=Verdicts] tr[data-verifier=naive]")
    seen.menu("view")
    seen.dock("verdicts")
    seen.page.wait_for_function("row => row.innerText.includes('check: ')", arg=verdict.element_handle())
    seen.menu("settings")
    assert "my_rejection · ✕ NOT LOSSLESS as promised" in seen.page.inner_text("#menu-settings")
    assert "naive · ✓ lossless" in seen.page.inner_text("#menu-settings")


@pytest.mark.usefixtures("proved_on_few_trees")
def test_a_check_stands_beside_the_options_it_was_made_for_only(served, request):
    from specviz.verifiers import VERIFIERS

    patched = patch.dict(VERIFIERS, {name: VERIFIERS[name] for name in ("naive", "eta")}, clear=True)
    patched.start()
    request.addfinalizer(patched.stop)
    options = {"epsilon": 0.3, "delta": 0.3, "select": "longest"}
    trace = sample_trace(steps=2, verifiers=("naive", "eta"))
    steps = []
    for step, epsilon in zip(trace.steps, (0.3, 0.31), strict=True):
        changes = {"eta": {"options": options | {"epsilon": epsilon}}, "naive": {"lossless": "not proved"}}
        told = {name: verdict.model_copy(update=changes[name]) for name, verdict in step.verdicts.items()}
        steps.append(step.model_copy(update={"verdicts": told}))
    chosen = (Choice(name="naive"), Choice(name="eta", options=options))
    settings = trace.settings.model_copy(update={"verifiers": chosen, "driver": "naive"})
    seen = served(trace.model_copy(update={"steps": tuple(steps), "settings": settings}))
    page = seen.page
    page.set_default_timeout(60_000)
    verdict = page.locator(".sv-root [aria-label=Verdicts] tr[data-verifier=eta]")
    naive = page.locator(".sv-root [aria-label=Verdicts] tr[data-verifier=naive]")
    seen.dock("verdicts")
    assert "? not proved for these options" in naive.inner_text()
    assert "when this was recorded" not in naive.inner_text()
    assert "check: " not in verdict.inner_text()
    seen.menu("verifiers")
    page.wait_for_function("document.querySelector('#proofs').innerText.includes('eta:epsilon=0.3')")
    page.wait_for_function("!document.querySelector('#proofs').innerText.includes('…')")
    page.wait_for_function("row => row.innerText.includes('check: lossy')", arg=verdict.element_handle())
    assert "? not proved when this was recorded\ncheck: ✓ lossless" in naive.inner_text()
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("ArrowRight")
    seen.wait_for_step(2, 2)
    assert "epsilon 0.31" in verdict.inner_text()
    assert "check: " not in verdict.inner_text(), "nobody has checked these options"
    seen.menu("settings")
    assert "eta · lossy, TV up to 0." in page.inner_text("#menu-settings")
    assert ", with " in page.inner_text("#menu-settings")
