"""Charts of a comparison as files: ``python -m tests.tools.chart_pictures comparison docs/images``.

Writes every chart of a finished comparison as an SVG, ``compare-01-....svg``, light, 720 pixels wide, drawn by
Chromium.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from playwright.sync_api import sync_playwright

from specviz.compare.report.charts import Theme, figure_json
from specviz.compare.report.html_report import chart_scripts, charts
from specviz.compare.summary import load
from tests.browser import QUIET, find_chromium

WIDTH = 720
_DRAW = """async ([figure, width]) => {
  const box = document.querySelector("#chart");
  await specvizChart(box, {data: figure.data, layout: {...figure.layout, paper_bgcolor: figure.page}});
  return Plotly.toImage(box, {format: 'svg', width, height: box.layout.height});
}"""
_PAGE = {"light": "#ffffff", "dark": "#0e1217"}


def main(folder: Path, output: Path, theme: Theme = "light") -> list[Path]:
    """Draw them. Returns the files, in reading order."""
    output.mkdir(parents=True, exist_ok=True)
    written = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=QUIET)
        page = browser.new_page()
        page.set_content(f"<!doctype html><title>charts</title><div id=chart style='width: {WIDTH}px'></div>")
        for script in chart_scripts():
            page.add_script_tag(content=script)
        for number, (figure, _) in enumerate(charts(load(folder), theme), start=1):
            value: dict[str, Any] = figure_json(figure) | {"page": _PAGE[theme]}
            picture = page.evaluate(_DRAW, [value, WIDTH])
            name = re.sub(r"[^a-z0-9]+", "-", figure.layout.meta["title"].lower()).strip("-")[:60]
            path = output / f"compare-{number:02}-{name}.svg"
            path.write_text(unquote(picture.partition(",")[2]), encoding="utf-8")
            written.append(path)
        browser.close()
    return written


if __name__ == "__main__":
    for file in main(Path(sys.argv[1]), Path(sys.argv[2])):
        print(file)
