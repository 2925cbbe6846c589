"""The viewer as a Gradio component: a constant template, one string in, one event out.

The value is a block of frames as JSON text (or ""). It never becomes part of a template, where ``${...}`` in a token
would run as code: the script reads it from ``props.value`` and writes text with ``textContent``.
"""

from __future__ import annotations

import hashlib
import html
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from specviz.app.server.tempdir import upload_folder
from specviz.compare.report.charts import PLOTLY_SCRIPT
from specviz.figures.bundle import script_of, style_of
from specviz.figures.export import VIEWER_FOLDER
from specviz.figures.figure_style import verifier_css

_WHEN_READY = """
const whenReady = (start) => window.specvizViewer && document.querySelector('#specviz-style')?.sheet
  ? start() : setTimeout(whenReady, 25, start);
"""
"""For scripts that mount something: they run when the viewer's script and styles are there, whichever comes last."""

ASKED = ("fault", "follow", "fork", "hold", "lesson", "open_run", "order", "what_if", "what_if_models")
"""What a viewer may ask of its page: events of the component."""
_MOUNT = """
const place = element.querySelector('.specviz-mount');
let viewer = null;
const take = () => { if (viewer) viewer.update(props.value); };
whenReady(() => {
  viewer = window.specvizViewer.mount(place, {
    onNeed: (run, steps) => trigger('frames_wanted', {run, steps}),
    ask: (kind, data) => KINDS.includes(kind) && trigger(kind, data),
    onBlock: window.specvizViewer.onBlock,
    onAside: window.specvizViewer.onAside,
    onWorking: window.specvizViewer.onWorking,
    onPage: window.specvizViewer.onPage,
  });
  take();
});
watch('value', take);
""".replace("KINDS", json.dumps(ASKED))


def make_viewer(value: str = "", **options: Any) -> gr.HTML:
    """A component that shows blocks of frames; ``frames_wanted`` asks for missing ones with ``{run, steps}``.

    A function and no subclass, because Gradio writes a stub file beside the source of every subclass it meets.
    """
    return gr.HTML(
        value,
        html_template='<div class="specviz-mount"></div>',
        js_on_load=_WHEN_READY + _MOUNT,
        apply_default_css=False,
        **options,
    )


_COMMAND = """
let bar = null;
whenReady(() => {
  bar = window.specvizViewer.command(element.querySelector('.specviz-state'), (asked) => trigger('doing', {asked}));
});
watch('value', () => bar && props.value && bar.hear(JSON.parse(props.value)));
"""


def make_command_state() -> gr.HTML:
    """What is being done, in the command bar; ``doing`` asks for it. See assets/viewer/tools/command.js."""
    return gr.HTML(
        "",
        html_template='<div class="specviz-state"></div>',
        js_on_load=_WHEN_READY + _COMMAND,
        apply_default_css=False,
        elem_id="command-state",
    )


def make_examples(examples: Sequence[tuple[str, str]]) -> gr.HTML:
    """Chips beside the prompt, each a label and the prompt that it writes. See assets/viewer/tools/examples.js."""
    return gr.HTML(
        "",
        html_template='<div class="specviz-chips"></div>',
        js_on_load=_WHEN_READY
        + "whenReady(() => window.specvizViewer.examples(element.querySelector('.specviz-chips'), EXAMPLES));".replace(
            "EXAMPLES", json.dumps(examples)
        ),
        apply_default_css=False,
        elem_id="examples",
    )


def make_theme_button() -> gr.HTML:
    """Light, dark, or as the system has it; see assets/viewer/tools/theme.js."""
    return gr.HTML(
        "",
        html_template='<button type="button"></button>',
        js_on_load=_WHEN_READY + "whenReady(() => window.specvizViewer.theme(element.querySelector('button')));",
        apply_default_css=False,
        elem_id="theme",
    )


_BOARD = """
const place = element.querySelector('.specviz-mount');
let board = null;
const take = () => { if (board) board.update(props.value); };
whenReady(() => {
  board = window.specvizViewer.board(
    place, PLOTLY, (kind, data) => ['point', 'step'].includes(kind) && trigger(kind, data));
  take();
});
watch('value', take);
"""


def make_board(**options: Any) -> gr.HTML:
    """Shows what :func:`specviz.app.compare.view.board` makes; ``point`` and ``step`` say what was chosen."""
    plotly = f"{_address(PLOTLY_SCRIPT)}?v={int(PLOTLY_SCRIPT.stat().st_mtime)}"  # so that an old copy is not used
    return gr.HTML(
        "",
        html_template='<div class="specviz-mount"></div>',
        js_on_load=_WHEN_READY + _BOARD.replace("PLOTLY", json.dumps(plotly)),
        apply_default_css=False,
        **options,
    )


def viewer_head() -> tuple[str, str]:
    """Tags that load the viewer from this server: its script, for the head of the page, before Gradio's; and its
    styles, for ``launch(head=...)``, because they have to come after Gradio's."""
    script = _keep("viewer.js", script_of(VIEWER_FOLDER / "page.js"))
    style = _keep("viewer.css", verifier_css() + style_of(VIEWER_FOLDER / "page.css"))
    gr.set_static_paths([PLOTLY_SCRIPT, script, style])
    program, looks = (html.escape(_address(path)) for path in (script, style))
    return f'<script defer src="{program}"></script>', f'<link rel="stylesheet" id="specviz-style" href="{looks}">'


def _keep(name: str, text: str) -> Path:
    """A file with this text, in Gradio's folder; its name says what is in it, so that browsers may keep it."""
    content = text.encode("utf-8")
    path = upload_folder() / "viewer-files" / f"{hashlib.sha256(content).hexdigest()[:16]}-{name}"
    path.parent.mkdir(exist_ok=True)
    if not path.exists():
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(content)
        os.replace(file.name, path)  # never in part, whoever reads it meanwhile
    return path


def _address(path: Path) -> str:
    # Relative, so that it also holds behind a proxy with a path of its own.
    return f"gradio_api/file={path.resolve().as_posix()}"
