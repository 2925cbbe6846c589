"""The page: prompt and buttons above, the viewer below. Every move inside a run stays in the browser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from specviz.errors import SpecvizError
from specviz.trace import Trace
from specviz.ui import runs
from specviz.ui.form import Form, prompt_box, settings_form
from specviz.ui.sessions import Sessions, Ticket
from specviz.ui.viewer import make_viewer, viewer_head

# Low, so that at 1280 x 800 the tree is in sight: everything that is no picture shares three lines.
CSS = """
.gradio-container, .gradio-container > .main > .wrap, .gradio-container main { padding-top: 0 !important; }
.gradio-container > .main { padding: 8px 16px 16px !important; }
.gradio-container .column, .gradio-container .row { gap: 8px; }
.specviz-head { align-items: stretch; }
.specviz-head button { min-width: 84px; padding: 8px 14px; white-space: nowrap; font-size: 15px; }
.specviz-head > .specviz-title { flex: 0 0 auto; width: auto; min-width: 0; padding-right: 6px; align-self: center; }
.specviz-title h1 { font-size: 19px; line-height: 22px; margin: 0 !important; }
.specviz-title p { font-size: 12px; line-height: 16px; margin: 0 !important; }
#settings { padding: 0 12px; }
#settings > button { padding: 4px 0; font-size: 14px; }
#settings > button + * { padding-bottom: 10px; }
#viewer .html-container { padding: 0; }
"""
TITLE = "# specviz\nevery step of a speculative decode"


def build_page(sessions: Sessions | None = None, trace: Trace | None = None) -> gr.Blocks:
    """The page, opening on ``trace`` or on the recorded run that comes with specviz. No model is loaded."""
    sessions = sessions or Sessions()
    recorded = runs.recorded_traces()
    problem = None
    if trace is None and recorded:
        try:
            trace = runs.open_recorded(recorded[0])
        except SpecvizError as error:
            problem = runs.failed(error)
    first = trace

    with gr.Blocks(title="specviz", analytics_enabled=False, fill_width=True) as page:
        # None stands for the run the page opened on, so that it is not copied for every visitor.
        shown = gr.State(None, time_to_live=6 * 3600)
        session = gr.State(None, time_to_live=6 * 3600)
        form = Form()
        with gr.Row(elem_classes="specviz-head"):
            gr.Markdown(TITLE, elem_classes="specviz-title")
            prompt_box(form)
            step = gr.Button("Step", variant="primary", scale=0, elem_id="step")
            run = gr.Button("Run", variant="primary", scale=0, elem_id="run")
            stop = gr.Button("Stop", variant="stop", scale=0, elem_id="stop")
            fresh = gr.Button("New run", scale=0, elem_id="new")
        with gr.Accordion("Settings: models, draft tree, verifiers, sampling", open=False, elem_id="settings"):
            settings_form(form)
            with gr.Row():
                steps = gr.Number(1000, label="Steps a run", info="Run stops after so many", minimum=1, precision=0)
                library = gr.Dropdown(recorded, value=recorded[0] if recorded else None, label="Recorded runs")
        viewer = make_viewer(problem or (runs.opening_block(first) if first else ""), elem_id="viewer")

        def many(
            count: Any, known: Trace | None, ticket: Ticket | None, request: gr.Request, *values: Any
        ) -> Iterator[runs.Answer]:
            try:
                inputs = form.read(values)
            except SpecvizError as error:
                yield runs.failed(error), known, ticket
                return
            yield from runs.run_steps(sessions, _page_id(request), inputs, int(count or 1), known, ticket)

        def one(known: Trace | None, ticket: Ticket | None, request: gr.Request, *values: Any) -> Iterator[runs.Answer]:
            yield from many(1, known, ticket, request, *values)

        def anew() -> tuple[str, None]:
            text = "The next step starts a new run from the prompt."
            return runs.message("info", text), None

        def open_run(name: str) -> tuple[str, Trace | None, None]:
            try:
                chosen = runs.open_recorded(name)
            except SpecvizError as error:
                return runs.failed(error), None, None
            return runs.opening_block(chosen), chosen, None

        def give(known: Trace | None, event: gr.EventData) -> Any:
            there = known or first
            wanted = runs.wanted_block(there, event._data.get("run"), event._data.get("steps") or []) if there else ""
            return wanted or gr.skip()

        # One accelerator, one queue: all model work is one after the other.
        work: dict[str, Any] = {
            "outputs": [viewer, shown, session],
            "concurrency_id": "model",
            "concurrency_limit": 1,
            "show_progress": "hidden",
        }
        step.click(one, [shown, session, *form.inputs], api_name="step", **work)
        run.click(many, [steps, shown, session, *form.inputs], api_name="run", **work)
        quick: dict[str, Any] = {"show_progress": "hidden", "queue": False}
        stop.click(_stopper(sessions), None, None, api_name="stop", **quick)
        fresh.click(anew, None, [viewer, session], api_name="new", **quick)
        library.input(open_run, library, [viewer, shown, session], api_name="open", **quick)
        viewer.frames_wanted(give, shown, viewer, api_visibility="private", trigger_mode="multiple", **quick)
    return page


def launch_page(page: gr.Blocks, **options: Any) -> Any:
    """``page.launch`` with everything switched off that would talk to anyone else or keep what a visitor typed."""
    page.queue(max_size=16, api_open=False)
    settings: dict[str, Any] = {
        # The base theme's own blue and greys are too faint to read.
        "theme": gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]).set(
            button_primary_background_fill="*primary_600",
            button_primary_background_fill_hover="*primary_700",
            block_info_text_color="*neutral_600",
            block_info_text_color_dark="*neutral_300",
            body_text_color_subdued="*neutral_600",
            body_text_color_subdued_dark="*neutral_300",
        ),
        "css": CSS,
        "head": viewer_head(),
        "share": False,
        "ssr_mode": False,
        "pwa": False,
        "mcp_server": False,
        "run_history": False,
        "enable_monitoring": False,
        "footer_links": [],
        "max_file_size": "300mb",
        "state_session_capacity": 32,
        "strict_cors": True,
    }
    return page.launch(**{**settings, **options})


def _stopper(sessions: Sessions) -> Any:
    def stop(request: gr.Request) -> None:
        sessions.ask_to_stop(_page_id(request))

    return stop


def _page_id(request: gr.Request) -> str:
    return str(request.session_hash)
