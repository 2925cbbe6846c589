"""One HTML file of a comparison's charts, with a table under each; it opens without a server and without a network."""

from __future__ import annotations

import base64
import gzip
import html
import json
from collections.abc import Iterator, Mapping
from typing import Any

import plotly.graph_objects as go

from specviz.compare.report.charts import FONT, PALETTES, PLOTLY_SCRIPT, SummaryRow, Theme, figure_json
from specviz.compare.report.figures import (
    PLACES,
    at_nodes_figure,
    at_nodes_rows,
    differences_figure,
    kinds_figure,
    label_differences_figure,
    labels_figure,
    lengths_figure,
    places_figure,
    tradeoff_figure,
    trees_figure,
)
from specviz.compare.statistics import AXES
from specviz.compare.summary import differences_table
from specviz.display import upright
from specviz.figures.bundle import script_of
from specviz.figures.export import VIEWER_FOLDER

Summary = Mapping[str, Any]
_QUALITY = (
    *("nll_sampled_per_token", "nll_per_token", "first_tv", "first_tv_bound", "first_excess"),
    *("distinct_1", "distinct_2", "rouge_l", "chrf"),
)
_FIELDS = (
    *("mode", "draft", "processors", "tree", "temperature", "kind", "verifier", "what", "a", "b", "place"),
    *("value", "low", "high", "p", "holm"),
)


def charts(summary: Summary, theme: Theme) -> Iterator[tuple[go.Figure, list[SummaryRow]]]:
    """Every chart that the summary has rows for, in reading order, each with the rows that it shows."""
    estimates, places, differences = summary["estimates"], summary["places"], summary["differences"]
    for mode in dict.fromkeys(row["mode"] for row in estimates):
        own = [row for row in estimates if row["mode"] == mode]
        measured = {row["measure"] for row in own}
        temperatures = list(dict.fromkeys(row["temperature"] for row in own))
        for measure in ("accepted_length", "block_efficiency"):
            whole = [row for row in own if row["measure"] == measure and row["kind"] is None]
            yield lengths_figure(own, measure=measure, mode=mode, theme=theme), whole
        yield trees_figure(own, mode=mode, theme=theme), []
        for axis in (axis for axis in AXES if any(row.get(axis) is not None for row in own)):
            for measure in ("accepted_length", "block_efficiency"):
                yield labels_figure(own, axis=axis, measure=measure, mode=mode, theme=theme), []
                apart = [
                    row
                    for row in summary.get(differences_table(axis), ())
                    if (row["mode"], row["measure"]) == (mode, measure)
                ]
                if apart:
                    yield label_differences_figure(apart, axis=axis, measure=measure, mode=mode, theme=theme), apart
        tested = [row for row in differences if (row["mode"], row["measure"]) == (mode, "accepted_length")]
        if tested:
            yield differences_figure(tested, mode=mode, theme=theme), tested
        for tree in dict.fromkeys(row["tree"] for row in own if row["measure"] == "block_efficiency"):
            kinds = [row for row in own if row["tree"] == tree and row["measure"] == "block_efficiency" and row["kind"]]
            yield kinds_figure(own, tree=tree, mode=mode, theme=theme), kinds
        for by in PLACES:
            for temperature in temperatures:
                some = [
                    row for row in places if (row["mode"], row["by"], row["temperature"]) == (mode, by, temperature)
                ]
                if some:
                    yield places_figure(some, by=by, temperature=temperature, mode=mode, theme=theme), some
        reached = at_nodes_rows(own, mode)
        for temperature in dict.fromkeys(row["temperature"] for row in reached):
            some = [row for row in reached if row["temperature"] == temperature]
            yield at_nodes_figure(own, temperature=temperature, mode=mode, theme=theme), some
        for measure in _QUALITY:
            if measure not in measured:
                continue
            whole = [row for row in own if row["measure"] == measure and row["kind"] is None]
            yield lengths_figure(own, measure=measure, mode=mode, theme=theme), whole
            for temperature in temperatures:
                yield tradeoff_figure(own, y=measure, mode=mode, temperature=temperature, theme=theme), []


def chart_scripts() -> list[str]:
    """Plotly's script, and the one that draws a chart with it."""
    return [PLOTLY_SCRIPT.read_text(encoding="utf-8"), script_of(VIEWER_FOLDER / "report.js")]


def comparison_page(summary: Summary, title: str = "Verifiers compared") -> str:
    """The page. It is light or dark as its reader's system is."""
    drawn = list(charts(summary, "light"))
    dark = [figure for figure, _ in charts(summary, "dark")]
    sections = []
    for index, (figure, rows) in enumerate(drawn):
        words = html.escape(figure.layout.meta["title"])
        how = f"<p>{html.escape(figure.layout.meta['how'])}</p>" if "how" in figure.layout.meta else ""
        chart = f'<div class="chart" id="chart{index}"></div>'
        sections.append(f"<section><h2>{words}</h2>{how}{chart}{_table(rows)}</section>")
    data = _json({"light": [figure_json(figure) for figure, _ in drawn], "dark": [figure_json(it) for it in dark]})
    # Plotly is a third of its size so, and most of the file.
    packed = base64.b64encode(gzip.compress("\n".join(chart_scripts()).encode(), mtime=0)).decode()
    light, night = PALETTES["light"], PALETTES["dark"]
    page = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<link rel="icon" href="data:,">
<style>
:root {{ color-scheme: light dark; --ink: {light["ink"]}; --page: #ffffff; --grid: {light["grid"]}; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --ink: {night["ink"]}; --page: #0e1217; --grid: {night["grid"]}; }}
}}
body {{ margin: 0 auto; padding: 12px; max-width: 880px; font: 15px/1.45 {FONT};
  color: var(--ink); background: var(--page); }}
h1 {{ font-size: 22px; }} h2 {{ font-size: 16px; margin: 28px 0 4px; }}
details {{ overflow-x: auto; }} table {{ border-collapse: collapse; font-size: 13px; }}
th, td {{ padding: 2px 8px; text-align: left; border-bottom: 1px solid var(--grid); white-space: nowrap; }}
</style>
</head>
<body>
<h1>{html.escape(title)}</h1>
<p>Bars are 95 % bootstrap intervals over prompts. A point has its numbers when it is pointed at or tapped; the tables
have them all.</p>
{"".join(sections)}
<script type="application/json" id="figures">{data}</script>
<script type="text/plain" id="packed">{packed}</script>
<script>
const figures = JSON.parse(document.getElementById("figures").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");
function draw() {{
  (dark.matches ? figures.dark : figures.light).forEach((figure, i) =>
    specvizChart(document.getElementById("chart" + i), figure));
}}
async function load() {{
  const packed = Uint8Array.from(atob(document.getElementById("packed").textContent), (one) => one.charCodeAt(0));
  const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.text = await new Response(unpacked).text();
  document.head.append(script);
  draw();
  dark.addEventListener("change", draw);
}}
load().catch(() => {{
  for (const place of document.querySelectorAll(".chart"))
    place.textContent = "This browser cannot draw the chart; open the file in a newer one. The numbers stand below.";
}});
</script>
</body>
</html>
"""
    return upright(page)


def _json(value: Any) -> str:
    """JSON that cannot end a script element. As text, so that :func:`upright` sees what it says."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_plain).replace("<", "\\u003c")


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else list(value)


def _table(rows: list[SummaryRow]) -> str:
    if not rows:
        return ""
    fields = [name for name in _FIELDS if any(row.get(name) is not None for row in rows)]
    head = "".join(f'<th scope="col">{name}</th>' for name in fields)
    body = "".join("<tr>" + "".join(f"<td>{_cell(row.get(name))}</td>" for name in fields) + "</tr>" for row in rows)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f"<details><summary>The numbers</summary>{table}</details>"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else html.escape(str(value))
