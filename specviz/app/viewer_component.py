"""The viewer as a Gradio component: a constant template, one string in, one event out.

The value is a block of frames as JSON text (or ""). It never becomes part of a template, where ``${...}`` in a token
would run as code: the script reads it from ``props.value`` and writes text with ``textContent``.
"""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import gradio as gr

from specviz.figures import viewer_files
from specviz.figures.export import BOARD_FILES
from specviz.figures.figure_style import verifier_css

_MOUNT = """
const place = element.querySelector('.specviz-mount');
let viewer = null;
const take = () => { if (viewer) viewer.update(props.value); };
const start = () => {
  if (!window.Plotly || !window.specvizViewer || !window.specvizViewer.mount) return void setTimeout(start, 25);
  viewer = window.specvizViewer.mount(place, {
    onNeed: (run, steps) => trigger('frames_wanted', {run, steps}),
    ask: (kind, data) =>
      ['fork', 'hold', 'lesson', 'open_run', 'what_if', 'what_if_models'].includes(kind) && trigger(kind, data),
  });
  take();
};
watch('value', take);
start();
"""


def make_viewer(value: str = "", **options: Any) -> gr.HTML:
    """A component that shows blocks of frames; ``frames_wanted`` asks for missing ones with ``{run, steps}``.

    A function and no subclass, because Gradio writes a stub file beside the source of every subclass it meets.
    """
    return gr.HTML(
        value,
        html_template='<div class="specviz-mount"></div>',
        js_on_load=_MOUNT,
        apply_default_css=False,
        **options,
    )


_BOARD = """
const place = element.querySelector('.specviz-mount');
let board = null;
const take = () => { if (board) board.update(props.value); };
const start = () => {
  if (!window.Plotly || !window.specvizViewer || !window.specvizViewer.board) return void setTimeout(start, 25);
  board = window.specvizViewer.board(place, (kind, data) => ['point', 'step'].includes(kind) && trigger(kind, data));
  take();
};
watch('value', take);
start();
"""


def make_board(**options: Any) -> gr.HTML:
    """Shows what :func:`specviz.app.compare.view.board` makes; ``point`` and ``step`` say what was chosen."""
    return gr.HTML(
        "",
        html_template='<div class="specviz-mount"></div>',
        js_on_load=_BOARD,
        apply_default_css=False,
        **options,
    )


def viewer_head() -> str:
    """Tags for ``launch(head=...)`` that load Plotly and the viewer from this server, in order.

    The viewer's table of outcomes comes before them; see :data:`specviz.app.server.middleware.FIRST_SCRIPT`.
    """
    scripts, styles = viewer_files()
    scripts, styles = [*scripts, *BOARD_FILES[0]], [*styles, *BOARD_FILES[1]]
    gr.set_static_paths([*scripts, *styles])
    tags = [f"<style>{verifier_css()}</style>"]
    tags += [f'<link rel="stylesheet" href="{_address(style)}">' for style in styles]
    tags += [f'<script defer src="{_address(script)}"></script>' for script in scripts]
    return "\n".join(tags)


def _address(path: Path) -> str:
    # Relative, so that it also holds behind a proxy with a path of its own; the time keeps an old copy from being used.
    return html.escape(f"gradio_api/file={path.resolve().as_posix()}?v={int(path.stat().st_mtime)}")
