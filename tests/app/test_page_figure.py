"""What leaves the page: tables as CSV, figures, embedded pages and prints, in Chromium."""

from __future__ import annotations

import csv
import io
import re
import threading
import xml.etree.ElementTree as ElementTree
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from specviz.app.server.limits import Limits
from specviz.figures import step_frame
from specviz.figures.export import standalone_page
from specviz.trace.schema import TokenText
from tests import server
from tests.browser import DRAWN, Watched, open_table
from tests.sample_traces import HOSTILE, RULES, sample_trace

pytestmark = pytest.mark.browser
WORDS = ("=HYPERLINK(1)", "+1+1", "@SUM", "-2+3", "a,b", 'say "so"', "moon")
FORMULAS = tuple(TokenText(id=number, text=text) for number, text in enumerate(WORDS))
KEEP = """() => {
    window.copied = [];
    const clipboard = { writeText: async (text) => copied.push(text) };
    Object.defineProperty(navigator, "clipboard", { configurable: true, value: clipboard });
}"""
TABLE = "[aria-label='Draft tree as a table']"


# ------------------------------------------------------------------------------------------------------ tables


def test_a_table_sorts_filters_and_leaves_as_csv(from_file):
    trace = sample_trace(steps=2, tokens=FORMULAS, seed=1)
    frame = step_frame(trace, 0)
    seen = from_file(trace)
    page = seen.page
    page.evaluate(KEEP)
    rows = open_table(seen, TABLE, "Draft tree as a table")
    assert rows.count() == len(frame["nodes"]["p"])
    page.click(f"{TABLE} th button:has-text('Target prob.')")
    page.click(f"{TABLE} th[aria-sort=ascending] button")
    page.wait_for_selector(f"{TABLE} th[aria-sort=descending]:has-text('Target prob.')")
    page.click(f"{TABLE} [data-act=copy-csv]")
    page.wait_for_function("copied.length === 1")
    head, *lines = csv.reader(io.StringIO(page.evaluate("copied[0]")))
    assert head[:7] == ["Node", "Token", "Parent", "Depth", "Draw rank", "Draft prob.", "Target prob."]
    assert [float(line[6]) for line in lines[:-1]] == sorted(
        (p for p in frame["nodes"]["p"] if p is not None), reverse=True
    )
    assert lines[-1][6] == "", "the root has no probability, and stands at the end"
    tokens = {line[0]: line[1] for line in lines}
    for node, label in enumerate(frame["nodes"]["text"]):
        assert tokens[str(node)] == (f"'{label}" if label[0] in "=+-@" else label)
    assert any(token.startswith("'=") for token in tokens.values())

    page.fill(f"{TABLE} input[type=search]", "MOON")
    shown = [node for node, label in enumerate(frame["nodes"]["text"]) if "moon" in label]
    assert rows.locator("visible=true").count() == len(shown) > 0
    page.click(f"{TABLE} [data-act=copy-csv]")
    page.wait_for_function("copied.length === 2")
    assert len(list(csv.reader(io.StringIO(page.evaluate("copied[1]"))))) == 1 + len(shown)
    page.locator(f"{TABLE} input[type=search]").blur()
    page.keyboard.press("ArrowRight")
    seen.wait_for_step(2, 2)
    page.wait_for_selector(f"{TABLE} th[aria-sort=descending]:has-text('Target prob.')")
    assert page.input_value(f"{TABLE} input[type=search]") == "MOON", "what was chosen holds for the next step"


# ----------------------------------------------------------------------------------------------------- figures


SVG = "{http://www.w3.org/2000/svg}"
HEAD = "One step, twice & <b>"


def saved(page, kind: str, path: Path) -> Path:
    with page.expect_download() as download:
        page.click(f"[data-act=save-{kind}]")
    assert download.value.suggested_filename == f"specviz-sample-step-2.{kind}"
    download.value.save_as(path)
    return path


def words(path: Path) -> list[str]:
    return [text.text for text in ElementTree.parse(path).iter(f"{SVG}text") if text.text]


def test_a_figure_says_what_it_shows_and_needs_nothing_else(from_file, tmp_path):
    """Of a run of strangers: caption, prompt, step, cards and legend as text, in both themes, as SVG and as PNG."""
    prompt = "Why <i>\x00\u202e & why?"
    trace = sample_trace(steps=3, tokens=HOSTILE, seed=1, verifiers=tuple(RULES)).model_copy(update={"prompt": prompt})
    seen = from_file(trace, go=1)
    page = seen.page
    frame = step_frame(trace, 1)
    page.keyboard.press("e")
    page.wait_for_selector("dialog[open] .sv-figurepicture[src]")
    assert page.evaluate("document.querySelector('.sv-figurepicture').decode().then(() => true)"), "it can be drawn"
    page.fill(".sv-figureform input[type=text]", HEAD)
    light = saved(page, "svg", tmp_path / "light.svg")
    svg = ElementTree.parse(light).getroot()
    assert (svg.get("width"), svg.get("height")) == ("1280", "720")
    assert svg.findtext(f"{SVG}title") == HEAD
    said = words(light)
    assert HEAD in said
    assert any(text.startswith("“Why <i>\ufffd") for text in said)
    assert " · step 2 of 3" in said
    for label in frame["nodes"]["text"]:
        assert any(label == text or (text.endswith("…") and label.startswith(text[:-1])) for text in said), label
    driver = next(verdict for verdict in frame["verdicts"] if verdict["verifier"] == frame["driver"])
    assert f"{frame['driver']} {len(driver['path'])}" in said
    assert {"draft q", "target p", "accept zone and coin", " accept chance", "also kept by"} <= {*said}
    coins = [ring for ring in svg.iter(f"{SVG}circle") if ring.get("stroke-width") == "2px"]
    assert len(coins) == 1 + page.locator(".sv-tree .sv-coin").count() > 2, "those of the cards, and one in the legend"
    assert {(ring.get("fill"), ring.get("stroke")) for ring in coins} == {("rgb(255, 255, 255)", "rgb(20, 24, 29)")}
    text = light.read_text(encoding="utf-8")
    assert not re.search(r"var\(|color-mix|class=|<script|<image|href=", text), "it needs nothing else"

    page.select_option(".sv-figureform select", "dark")
    page.uncheck(".sv-figureform fieldset input[value=eta]")
    page.check(".sv-figureform > label input[type=checkbox]")
    dark = saved(page, "svg", tmp_path / "dark.svg")
    assert "eta" in words(light)
    assert "eta" not in words(dark)
    assert "longest_path" in words(dark)
    for theme, path in (("dark", saved(page, "png", tmp_path / "dark.png")), ("light", None)):
        if path is None:
            page.select_option(".sv-figureform select", theme)
            path = saved(page, "png", tmp_path / "light.png")
        with Image.open(path) as image:
            assert image.size == (2560, 1440)
            colours = image.convert("RGB").getcolors(1 << 24)
        assert len(colours) > 50, "it is not blank"
        assert (sum(max(colours)[1]) > 600) == (theme == "light")
    page.keyboard.press("ArrowRight")
    assert seen.where() == "step 2 of 3", "the keys belong to the dialog"
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowRight")
    seen.wait_for_step(3, 3)
    assert page.locator(".sv-figure").count() == 0, "what was drawn on is gone"


@pytest.mark.parametrize(
    ("driver", "sign"), [("eta", "accept zone and p"), ("naive", "= drawn"), ("greedy", "= argmax")]
)
def test_the_legend_tells_no_coin_where_none_was_flipped(from_file, tmp_path, driver, sign):
    others = tuple(name for name in RULES if name != driver)
    seen = from_file(sample_trace(steps=2, seed=1, verifiers=(driver, *others)), go=1)
    seen.page.keyboard.press("e")
    said = words(saved(seen.page, "svg", tmp_path / "figure.svg"))
    assert sign in said
    assert "accept zone and coin" not in said


def test_a_print_is_one_page_with_the_figure(from_file, tmp_path):
    seen = from_file(sample_trace(steps=2, seed=1), theme="dark")
    printed = seen.page.pdf(prefer_css_page_size=True)
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) == 1
    box = re.search(rb"/MediaBox\s*\[([\d. ]+)\]", printed)
    width, height = map(float, box[1].split()[2:])
    assert width > height, "it lies on its side"
    seen.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert " · step 1 of 2" in seen.page.locator(".sv-print text").all_text_contents()
    seen.page.emulate_media(media="print")
    assert seen.page.locator("main").is_hidden()
    assert seen.page.locator(".sv-print svg").is_visible()
    seen.page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert seen.page.locator(".sv-print").count() == 0


# -------------------------------------------------------------------------------------------------------- pages


def test_an_exported_page_opens_where_its_address_says_and_names_its_prompt(browser, tmp_path, monkeypatch):
    monkeypatch.setattr("specviz.figures.export.STEPS_A_PIECE", 1)
    prompt = "Is </title> <b>this</b> a prompt?"
    trace = sample_trace(steps=3, tokens=HOSTILE, seed=1, verifiers=tuple(RULES)).model_copy(update={"prompt": prompt})
    path = tmp_path / "run.html"
    path.write_text(standalone_page(trace), encoding="utf-8")
    seen = Watched(browser, f"{path.as_uri()}?step=2&node=3&verifier=eta")
    seen.wait_for_step(2, 3)
    assert seen.page.title() == f"“{prompt}” · specviz"
    assert seen.page.inner_text(".specviz-file h1") == prompt
    assert seen.page.get_attribute(".sv-card-node[aria-selected=true]", "data-node") == "3"
    assert seen.page.input_value(".sv-lens select") == "eta"
    # The piece with that step comes first; the others follow, and move nothing.
    seen.page.wait_for_function("window.specvizViewer.mounted[0].state.frames.size === 3")
    assert seen.page.evaluate("[...window.specvizViewer.mounted[0].state.frames.keys()]") == [1, 0, 2]
    assert seen.where() == "step 2 of 3"
    seen.finish()
    lost = Watched(browser, f"{path.as_uri()}?step=99&node=x&verifier=nobody")
    lost.wait_for_step(1, 3)
    lost.finish()


def test_a_file_of_one_step_has_that_step_and_says_so_of_the_others(browser, tmp_path):
    trace = sample_trace(steps=3, seed=1)
    path = tmp_path / "step.html"
    path.write_text(standalone_page(trace, go=1, alone=True), encoding="utf-8")
    seen = Watched(browser, path.as_uri())
    seen.wait_for_step(2, 3)
    assert seen.page.title().startswith("step 2 of “")
    assert seen.page.evaluate("[...window.specvizViewer.mounted[0].state.frames.keys()]") == [1]
    seen.page.keyboard.press("ArrowRight")
    seen.page.wait_for_selector(".sv-empty:has-text('This file has step 2 alone')")
    seen.page.keyboard.press("ArrowLeft")
    seen.wait_for_step(2, 3)
    seen.finish()


def test_the_step_in_sight_leaves_as_a_page_and_as_a_frame(served, browser, tmp_path):
    seen = served(sample_trace(steps=3, seed=1))
    page = seen.page
    page.evaluate(KEEP)
    page.keyboard.press("ArrowRight")
    seen.wait_for_step(2, 3)
    seen.tool("figure")
    page.click("[data-act=embed]")
    page.wait_for_function("copied.length === 1")
    frame = ElementTree.fromstring(page.evaluate("copied[0]"))
    assert frame.tag == "iframe"
    address = frame.get("src") or ""
    assert re.search(r"\\?trace=[^&]+&step=2(&|$)", address)
    for button, count in (("#save-page", 3), ("#save-step", 1)):
        seen.menu("share")
        with page.expect_download() as download:
            page.click(button)
        path = tmp_path / "saved.html"
        download.value.save_as(path)
        alone = Watched(browser, path.as_uri())
        alone.wait_for_step(2, 3)
        assert alone.page.evaluate("window.specvizViewer.mounted[0].state.frames.size") == count
        alone.finish()
    page.goto(address)
    page.wait_for_selector(DRAWN)
    seen.wait_for_step(2, 3)


class Slides(BaseHTTPRequestHandler):
    """Somebody else's page, which has a frame with whatever its address names."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b'<iframe src="%b" width="1280" height="800"></iframe>' % self.path[2:].encode())

    def log_message(self, *_):
        pass


def test_only_pages_that_the_operator_names_may_frame_this_one(browser, tmp_path):
    slides = ThreadingHTTPServer(("127.0.0.1", 0), Slides)
    threading.Thread(target=slides.serve_forever, daemon=True).start()
    own = f"http://localhost:{slides.server_port}"
    try:
        for frames in ((own,), ()):
            limits = Limits(frames=frames)
            with server.serving(tmp_path / str(len(frames)), trace=sample_trace(steps=2), limits=limits) as running:
                page = browser.new_page(viewport={"width": 1300, "height": 900})
                page.goto(f"{own}/?{running.url}")
                if frames:
                    page.frame_locator("iframe").locator(DRAWN).wait_for()
                    assert page.frame_locator("iframe").locator(".sv-where").inner_text() == "step 1 of 2"
                else:
                    page.wait_for_timeout(500)
                    assert page.frames[1].url.startswith("chrome-error:"), "the browser shows nothing of it"
                page.close()
    finally:
        slides.shutdown()
        slides.server_close()
