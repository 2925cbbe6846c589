"""Charts of a comparison: they show the summary's rows, in both themes, and escape what users typed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from specviz.app.compare.store import SHIPPED
from specviz.app.compare.view import Opened, Selection, board, settled
from specviz.compare import statistics
from specviz.compare.labels import Labels
from specviz.compare.report.charts import MEASURES, PALETTES, TARGET_ALONE, figure_json, looks
from specviz.compare.report.figures import (
    differences_figure,
    kinds_figure,
    lengths_figure,
    places_figure,
    tradeoff_figure,
    trees_figure,
)
from specviz.compare.report.html_report import chart_scripts, charts, comparison_page
from specviz.compare.rows import SAMPLING
from specviz.compare.statistics import AT_NODES_TITLE, Group, Tally
from specviz.compare.summary import dump, load, summarize
from specviz.compare.text_report import format_report
from specviz.trace.metrics import FORMULAS
from tests.paths import ROOT

HOSTILE = "<img src=x onerror=alert(1)>"
TREES = ("2,2", f"{HOSTILE}=dynamic")
LABELS = Labels({"eta": "eta", "eta:epsilon=0.3": "eta"}, {"eta": {}, "eta:epsilon=0.3": {"epsilon": 0.3}})
VERIFIERS = ("rejection", "eta", "eta:epsilon=0.3", HOSTILE)


@pytest.fixture(scope="module")
def summary():
    found = []
    for mode in ("paired", "free"):
        for tree in TREES:
            for temperature in (0.7, 1.0):
                for place, verifier in enumerate(VERIFIERS):
                    for prompt in range(6):
                        accepted = 10 + place * 3 + prompt % 3
                        counts = ((accepted // 2, 10), (accepted // 4, accepted // 2))
                        nll = 30.0 + place if mode == "free" else None
                        key = (Group(mode, tree, temperature), verifier, f"p{prompt}", ("chat", "code")[prompt % 2])
                        found.append(Tally(*key, 10, accepted, accepted + 10, counts, counts, accepted + 10, nll, 60))
    return json.loads(dump(summarize(found, LABELS)))


def shown(figure, axis: str = "x") -> list[float]:
    return [value for trace in figure.data for value in trace[axis] if value is not None]


def test_lengths_are_the_rows_values_and_intervals(summary) -> None:
    rows = [
        row
        for row in summary["estimates"]
        if (row["mode"], row["measure"], row["kind"]) == ("paired", "accepted_length", None)
    ]
    for figure in (lengths_figure(summary["estimates"]), trees_figure(summary["estimates"], measure="accepted_length")):
        points = [trace for trace in figure.data if trace.error_x.array is not None]
        assert sorted(shown(figure)) == sorted(row["value"] for row in rows)
        assert len(points) == len(rows) == len(TREES) * 2 * len(VERIFIERS)
        for trace in points:
            spot = trace.customdata[0]
            (row,) = [
                row for row in rows if [row[n] for n in ("mode", "tree", "temperature", "verifier", "kind")] == spot
            ]
            assert trace.x[0] + trace.error_x.array[0] == pytest.approx(row["high"])
            assert trace.x[0] - trace.error_x.arrayminus[0] == pytest.approx(row["low"])


def test_kinds_places_and_differences_show_their_rows(summary) -> None:
    kinds = kinds_figure(summary["estimates"], tree="2,2")
    assert len(shown(kinds)) == 2 * 2 * len(VERIFIERS)
    places = places_figure(summary["places"], by="depth", temperature=0.7)
    assert len(places.data) == len(TREES) * len(VERIFIERS)
    assert {x for trace in places.data for x in trace.x} == {1, 2}
    assert {x for trace in places_figure(summary["places"], by="rank", temperature=1.0).data for x in trace.x} == {0, 1}
    differences = differences_figure(summary["differences"])
    assert len(shown(differences)) == len(TREES) * 2 * 6
    assert differences.layout.xaxis.zeroline


def test_length_against_quality_joins_the_options_of_a_rule(summary) -> None:
    figure = tradeoff_figure(summary["estimates"], temperature=0.7)
    lines = [trace for trace in figure.data if trace.mode == "lines"]
    assert len(lines) == len(TREES)  # eta and eta:epsilon=0.3
    assert all(list(line.x) == sorted(line.x) and len(line.x) == 2 for line in lines)
    assert len([trace for trace in figure.data if trace.mode == "markers"]) == len(TREES) * len(VERIFIERS)


def test_the_optimum_stands_beside_what_was_accepted_in_the_words_of_the_report() -> None:
    found = []
    for place, verifier in enumerate(("rejection", "naive", "traversal")):
        for prompt in range(6):
            sums = {"accepted_at_nodes": 5 + place, "expected_at_nodes": 5.5 + place, "optimum_at_nodes": 8}
            reached = {name: (value + prompt % 2, 10) for name, value in sums.items()}
            quality = reached if verifier != "traversal" else {}  # it does not decide node by node
            group = Group("paired", "2,2", 1.0)
            found.append(Tally(group, verifier, f"p{prompt}", "chat", 10, 9, 19, (), (), quality=quality))
    summary = json.loads(dump(summarize(found)))
    ((figure, rows),) = [
        (figure, rows)
        for figure, rows in charts(summary, "light")
        if figure.layout.meta["title"].startswith(AT_NODES_TITLE)
    ]
    assert [(row["verifier"], row["what"], row["value"]) for row in rows] == [
        (verifier, what, pytest.approx(value))
        for verifier, values in (("rejection", (0.55, 0.6, 0.85)), ("naive", (0.65, 0.7, 0.85)))
        for what, value in zip(("accepted", "expected", "optimum"), values, strict=True)
    ]
    points = [trace for trace in figure.data if trace.error_x.array is not None]
    assert [(trace.name, trace.x[0]) for trace in points] == [(row["what"], row["value"]) for row in rows]
    assert all(0 < trace.error_x.array[0] < 0.1 for trace in points)
    page, report = comparison_page(summary), format_report(found)
    for words in (AT_NODES_TITLE, FORMULAS["optimum"]):
        assert words in page
        assert words in report
    opened = Opened("", "", summary)
    (section,) = json.loads(board(opened, settled(summary, Selection(figure="at_nodes"))))["sections"]
    assert section["title"] == AT_NODES_TITLE
    assert "accepted" in section["table"]["rows"][0]["cells"]
    assert len(section["table"]["rows"]) == len(rows)


def test_verifiers_differ_in_more_than_colour(summary) -> None:
    seen = looks(summary["estimates"], "light")
    assert len({look.symbol for look in seen.values()}) == len(VERIFIERS)
    assert seen["eta"].colour == seen["eta:epsilon=0.3"].colour
    assert PALETTES["light"].keys() == PALETTES["dark"].keys()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_chart_has_a_fixed_width_or_unescaped_text(summary, theme: str) -> None:
    for figure, _ in charts(summary, theme):
        assert figure.layout.width is None
        assert figure.layout.font.color == PALETTES[theme]["ink"]
        texts = [note.text for note in figure.layout.annotations]
        texts += list(figure.layout.yaxis.ticktext or ())
        texts += [trace.name for trace in figure.data if trace.name]
        texts += [trace.hovertemplate for trace in figure.data if trace.hovertemplate]
        assert texts
        assert not any("<img" in text for text in texts)


def test_a_chart_without_rows_says_so() -> None:
    for figure in (
        lengths_figure([]),
        trees_figure([]),
        kinds_figure([], tree="2,2"),
        places_figure([], temperature=1.0),
        differences_figure([]),
        tradeoff_figure([], temperature=1.0),
    ):
        assert "Nothing was measured" in figure.layout.annotations[0].text


def test_every_measure_has_an_axis_title() -> None:
    assert set(statistics.MEASURES) == set(MEASURES)
    assert SAMPLING == TARGET_ALONE


def test_the_page_is_one_file_that_holds_no_markup_of_a_user(summary) -> None:
    page = comparison_page(summary, "Three & four")
    assert page.count("<section>") > 20
    assert HOSTILE not in page
    assert "Three &amp; four" in page
    assert "http://" not in page.split("</script>")[-2]
    assert 'src="' not in page.replace(page[page.index("<script>") : page.index("</script>")], "")


def test_charts_need_no_torch() -> None:
    code = "import sys, specviz.compare.report.html_report; sys.exit('torch' in sys.modules or 'gradio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.browser
def test_the_page_draws_its_charts_from_disk(browser, tmp_path) -> None:
    path = tmp_path / "report.html"
    path.write_text(comparison_page(load(SHIPPED / "sweep")), encoding="utf-8")
    assert path.stat().st_size < 3_000_000
    view = browser.new_page()
    asked: list[str] = []
    view.on("request", lambda request: asked.append(request.url))
    view.goto(path.as_uri())
    view.wait_for_function("document.querySelectorAll('.chart:not(:has(.main-svg))').length === 0")
    assert view.locator(".chart").count() > 3
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    view.close()


@pytest.mark.browser
def test_a_legend_of_many_names_keeps_off_its_chart_and_leaves_no_gap(browser) -> None:
    """However wide the page is, also where its width changes."""
    figure = next(
        figure for figure, _ in charts(load(SHIPPED / "sweep"), "light") if " against " in figure.layout.meta["title"]
    )
    view = browser.new_page()
    view.set_content("<!doctype html><div id=chart></div>")
    for script in chart_scripts():
        view.add_script_tag(content=script)
    for number, width in enumerate((1000, 360, 700)):
        view.set_viewport_size({"width": width, "height": 800})
        if not number:
            view.evaluate("(figure) => specvizChart(document.querySelector('#chart'), figure)", figure_json(figure))
        view.wait_for_function(
            """() => {
              const [legend, plot] = [".legend", ".nsewdrag"].map((one) => document.querySelector(one));
              if (!legend || !plot) return false;
              const gap = plot.getBoundingClientRect().top - legend.getBoundingClientRect().bottom;
              return legend.getBoundingClientRect().right <= innerWidth && gap > 5 && gap < 60;
            }"""
        )
    view.close()
