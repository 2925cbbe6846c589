"""The viewer's own files, and one HTML file of a run that opens from disk without a server and without a network."""

from __future__ import annotations

import html
from pathlib import Path

import plotly

from specviz.figures.frames import block, dump_block
from specviz.trace import Trace

VIEWER_FOLDER = Path(__file__).resolve().parents[2] / "assets" / "viewer"
PLOTLY_SCRIPT = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
_SCRIPTS = ("scene.js", "panels.js", "skeleton.js", "viewer.js")


def viewer_files() -> tuple[list[Path], Path]:
    """Scripts in the order they must run (Plotly's own first), and the style sheet."""
    return [PLOTLY_SCRIPT, *(VIEWER_FOLDER / name for name in _SCRIPTS)], VIEWER_FOLDER / "viewer.css"


def standalone_page(trace: Trace, *, go: int = 0, theme: str | None = None) -> str:
    """The whole run as one HTML file. ``theme`` is ``light`` or ``dark``; by default the reader's own setting."""
    scripts, style = viewer_files()
    # Nothing in our scripts or in Plotly's contains a closing script tag; the data has no "<" left at all.
    inline = "".join(f"<script>{path.read_text(encoding='utf-8')}</script>\n" for path in scripts)
    data = dump_block(block(trace, range(len(trace.steps)), go=go))
    attribute = f' data-theme="{html.escape(theme)}"' if theme else ""
    return f"""<!doctype html>
<html lang="en"{attribute}>
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>specviz: a recorded speculative decode</title>
<link rel="icon" href="data:,">
<style>body {{ margin: 0; padding: 16px; }}
{style.read_text(encoding="utf-8")}</style>
</head>
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
