"""The viewer's own files, and one HTML file of a run that opens from disk without a server and without a network."""

from __future__ import annotations

import html
from pathlib import Path

import plotly

from specviz.figures.frames import block, dump_block
from specviz.trace import Trace

VIEWER_FOLDER = Path(__file__).resolve().parents[2] / "assets" / "viewer"
PLOTLY_SCRIPT = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
_SCRIPTS = (
    *("paint.js", "fold.js", "panels.js", "labels.js", "cards.js", "scene.js", "phases.js", "node.js", "text.js"),
    *("totals.js", "caches.js", "masks.js", "audits.js", "lower.js", "links.js", "pointer.js", "stage.js"),
    *("skeleton.js", "share.js", "pictures.js", "compare.js", "whatif.js", "lessons.js", "viewer.js"),
)
_STYLES = ("viewer.css", "tree.css", "panels.css", "tools.css", "compare.css", "whatif.css", "lessons.css")


_FOLLOW_THE_READER = """<script>
const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => (document.documentElement.dataset.theme = dark.matches ? "dark" : "light");
dark.addEventListener("change", follow);
follow();
</script>
"""


BOARD_FILES = (VIEWER_FOLDER / "board.js", VIEWER_FOLDER / "board.css")
"""Of the page's Compare tab; an exported run does without."""


def viewer_files() -> tuple[list[Path], list[Path]]:
    """Scripts in the order they must run (Plotly's own first), and the style sheets."""
    return [PLOTLY_SCRIPT, *(VIEWER_FOLDER / name for name in _SCRIPTS)], [VIEWER_FOLDER / name for name in _STYLES]


def standalone_page(trace: Trace, *, go: int = 0, theme: str | None = None) -> str:
    """The whole run as one HTML file. ``theme`` is ``light`` or ``dark``; by default the reader's own setting."""
    scripts, styles = viewer_files()
    # Nothing in our scripts or in Plotly's contains a closing script tag; the data has no "<" left at all.
    inline = "".join(f"<script>{path.read_text(encoding='utf-8')}</script>\n" for path in scripts)
    looks = "\n".join(path.read_text(encoding="utf-8") for path in styles)
    data = dump_block(block(trace, range(len(trace.steps)), go=go))
    attribute = f' data-theme="{html.escape(theme)}"' if theme else ""
    follow = "" if theme else _FOLLOW_THE_READER
    return f"""<!doctype html>
<html lang="en"{attribute}>
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>specviz: a recorded speculative decode</title>
<link rel="icon" href="data:,">
<style>body {{ margin: 0; padding: 16px; }}
{looks}</style>
{follow}</head>
<body class="specviz-page">
<main id="viewer"></main>
<script type="application/json" id="run">{data}</script>
{inline}<script>
const viewer = specvizViewer.mount(document.getElementById("viewer"), {{}});
viewer.update(JSON.parse(document.getElementById("run").textContent));
</script>
</body>
</html>
"""
