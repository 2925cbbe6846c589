"""The page: prompt and buttons above, a menu below them, then the viewer. Moves inside a run stay in the browser."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from specviz.breakpoints import Breakpoints, parse_breakpoints
from specviz.errors import SettingsError, SpecvizError, TraceError
from specviz.figures import dump_block, standalone_page
from specviz.trace import Trace, save_trace
from specviz.ui import comparisons, lessons, runs, whatifs
from specviz.ui.desk import Desk, Run, describe, models_of
from specviz.ui.form import Form, as_form_reads, breakpoint_form, prompt_box, settings_form
from specviz.ui.held import Held
from specviz.ui.proofs import HEADERS, Proofs
from specviz.ui.sessions import Sessions
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
#menu { gap: 0; }
#menu .tab-wrapper { height: auto; padding: 0; }
#menu button[role=tab] { padding: 4px 10px; font-size: 14px; }
#menu [role=tabpanel] { border: 0; padding: 0; }
#menu button.md { font-size: 14px; padding: 6px 12px; white-space: nowrap; }
#menu #menu-view { display: none !important; }
#runs-list .wrap { flex-direction: column; align-items: stretch; gap: 4px; }
#proofs { overflow-x: auto; }
#proofs table { font-size: 13px; min-width: 900px; }
#proofs td, #proofs th { padding: 3px 8px; text-align: left; vertical-align: top; }
#proofs td, #proofs th { word-break: normal; overflow-wrap: normal; }
#proofs td:first-child { white-space: nowrap; font-weight: 600; }
#memory-plan table { font-size: 13px; }
#memory-plan td, #memory-plan th { padding: 2px 8px; word-break: normal; overflow-wrap: normal; }
#memory-plan td:not(:first-child), #memory-plan th:not(:first-child) { text-align: right; }
#viewer .html-container { padding: 0; }
"""
TITLE = "# specviz\nevery step of a speculative decode"
UPLOAD_BYTES = 64 * 1024 * 1024
"""Largest trace a visitor may open, unpacked."""
MOST_SAVED = 16
"""Files that are kept on the server's disk after a visitor saved them."""
# The viewer knows where the reader is; Python is told with the click that needs it.
_WITH_STEP = "(where, ...rest) => [String(window.specvizViewer.mounted.at(-1)?.state.step ?? 0), ...rest]"


def build_page(
    sessions: Sessions | None = None,
    trace: Trace | None = None,
    held: Held | None = None,
    proofs: Proofs | None = None,
) -> gr.Blocks:
    """The page, opening on ``trace`` or on the recorded run that comes with specviz. No model is loaded."""
    sessions, held, proofs = sessions or Sessions(), held or Held(), proofs or Proofs()
    recorded = runs.recorded_traces()
    problem = None
    first = None
    try:
        if trace is not None:
            first = Run(trace, "the run it was started with", models_of(trace))
        elif recorded:
            first = _recorded(recorded[0])
    except SpecvizError as error:
        problem = runs.failed(error)
    # A visitor's desk holds the opening run by reference only: Gradio copies it once a session, and values are frozen.
    start = Desk().show(first) if first else Desk()
    form, stops = Form(), Form()
    folders: list[tempfile.TemporaryDirectory[str]] = []

    with gr.Blocks(title="specviz", analytics_enabled=False, fill_width=True, delete_cache=(3600, 6 * 3600)) as page:
        desk = gr.State(None, time_to_live=6 * 3600)
        with gr.Row(elem_classes="specviz-head"):
            gr.Markdown(TITLE, elem_classes="specviz-title")
            prompt_box(form)
            step = gr.Button("Step", variant="primary", scale=0, elem_id="step")
            run = gr.Button("Run", variant="primary", scale=0, elem_id="run")
            stop = gr.Button("Stop", variant="stop", scale=0, elem_id="stop")
            fresh = gr.Button("New run", scale=0, elem_id="new")
        with gr.Tabs(elem_id="menu", overflow_behavior="wrap"):
            with gr.Tab("View", elem_id="menu-view", id="view"):
                pass
            with gr.Tab("Settings", elem_id="menu-settings", id="settings", render_children=True):
                settings_form(form)
                steps = gr.Number(1000, label="Steps a run", info="Run stops after so many", minimum=1, precision=0)
            with gr.Tab("Runs", elem_id="menu-runs", id="runs") as runs_tab:
                with gr.Row():
                    library = gr.Dropdown(
                        recorded, value=None, label="Open a recorded run", min_width=200, elem_id="library"
                    )
                    upload = gr.UploadButton(
                        "Open a trace file",
                        file_types=[".json", ".gz"],
                        file_count="single",
                        size="md",
                        scale=0,
                        min_width=160,
                        elem_id="upload",
                    )
                listed = gr.Radio(
                    [], label="Runs of this page, forks below what they were forked from", elem_id="runs-list"
                )
            with gr.Tab("Breakpoints", elem_id="menu-breakpoints", id="breakpoints"):
                breakpoint_form(stops)
                where = gr.Textbox("0", visible=False)
                with gr.Row():
                    seek = gr.Button("Next hit in this run", size="md", min_width=200, scale=0, elem_id="next-hit")
                gr.Markdown(
                    "Run stops after the first step that hits one of these; a run that is there can be searched."
                )
            with gr.Tab("Compare", elem_id="menu-compare", id="compare") as compare_tab:
                with gr.Row():
                    side_a = gr.Dropdown([], label="Run A", min_width=220, elem_id="compare-a")
                    side_b = gr.Dropdown([], label="Run B", min_width=220, elem_id="compare-b")
                with gr.Row():
                    compare = gr.Button(
                        "Compare A and B", variant="primary", size="md", min_width=160, scale=0, elem_id="compare"
                    )
                    plain = gr.Button(
                        "A against plain greedy decoding", size="md", min_width=300, scale=0, elem_id="plain-greedy"
                    )
            with gr.Tab("Share", elem_id="menu-share", id="share", render_children=True):
                with gr.Row():
                    as_trace = gr.Button(
                        "Save this run as a trace file", size="md", scale=0, min_width=300, elem_id="save-trace"
                    )
                    as_page = gr.Button(
                        "Save this run as one HTML page", size="md", scale=0, min_width=300, elem_id="save-page"
                    )
                    # The button that a person presses has the file made; this one then hands it over.
                    ready = gr.DownloadButton("Save", visible="hidden", elem_id="save-ready")
                gr.Markdown(
                    "A trace file opens again under Runs; the HTML page opens anywhere, offline. **Link**, above the "
                    "tree, copies an address: a run of your own is then held here for "
                    f"{held.seconds / 86400:g} days, and whoever has the address can read it. **SVG** and **PNG** "
                    "save the tree in sight."
                )
            with gr.Tab("Verifiers", elem_id="menu-verifiers", id="verifiers") as proofs_tab:
                gr.Markdown(
                    "Whether what a verifier emits is distributed as the target's own samples, summed over every tree "
                    "and every coin on vocabularies of three and four tokens (`python -m specviz check`). TV is the "
                    "largest total-variation distance that was found; below 1e-12 it is rounding."
                )
                proven = gr.Markdown(
                    _table(HEADERS, [proofs.row(name) for name in runs.verifier_names()]), elem_id="proofs"
                )
            with gr.Tab("Lessons", elem_id="menu-lessons", id="lessons") as lessons_tab:
                gr.Markdown("Seven short lessons on recorded runs; they need no model. Choose one below.")
        viewer = make_viewer(problem or _opening(first), elem_id="viewer")

        # ------------------------------------------------------------------------------------------ running

        def inputs_of(values: tuple[Any, ...]) -> tuple[runs.Inputs, Breakpoints]:
            count = len(form.inputs)
            return form.read(values[:count]), parse_breakpoints(stops.named(values[count:]))

        def many(count: Any, known: Desk | None, request: gr.Request, *values: Any) -> Iterator[tuple[Any, Any]]:
            there = known or start
            try:
                inputs, until = inputs_of(values)
                limit = max(1, int(count or 1))
            except SpecvizError as error:
                yield runs.failed(error), gr.skip()
                return
            before = None if there.anew else there.run
            trace, ticket = (before.trace, before.ticket) if before else (None, None)
            for text, moved, held_by in runs.run_steps(
                sessions, _page_id(request), inputs, limit, trace, ticket, until
            ):
                if moved is not None and held_by is not None:
                    there = _moved(there, moved, held_by, inputs)
                yield text, there

        def one(known: Desk | None, request: gr.Request, *values: Any) -> Iterator[tuple[Any, Any]]:
            yield from many(1, known, request, *values)

        def gone() -> str:
            return runs.message("error", "This run is not open any more; open it again under Runs.")

        def anew(known: Desk | None) -> tuple[str, Desk]:
            text = "The next step starts a new run from the prompt."
            return runs.message("info", text), replace(known or start, anew=True)

        def fork(known: Desk | None, event: gr.EventData, request: gr.Request, *values: Any) -> Iterator[list[Any]]:
            there = known or start
            untouched = form.untouched()
            parent, at = there.find(event._data.get("run")), event._data.get("step")
            if parent is None or not isinstance(at, int):
                yield [gone(), gr.skip(), *untouched]
                return
            trace = parent.trace
            # Only what was filled in from this run, and then changed, can be meant for it.
            inputs = (trace.prompt, parent.models, trace.settings_of(at) if at < len(trace.steps) else trace.settings)
            own = there.filled != trace.id
            try:
                if not own:
                    _, models, chosen = form.read(values)
                    same = chosen == as_form_reads(trace.settings)
                    inputs = (trace.prompt, models, trace.settings if same else chosen)
            except SpecvizError as error:
                yield [runs.failed(error), gr.skip(), *untouched]
                return
            fill = form.write(*inputs)
            for text, moved, ticket in runs.fork(sessions, _page_id(request), inputs, trace, at):
                if moved is None or ticket is None:
                    yield [text, gr.skip(), *untouched]
                    continue
                there = _moved(there, moved, ticket, inputs)
                said = runs.message("info", _forked(there.runs[-1].title, at, own))
                yield [f"[{text},{said}]", there, *fill]

        # ------------------------------------------------------------------------------------------ opening

        def put(known: Desk | None, opened: Callable[[], Run]) -> list[Any]:
            """The run that ``opened`` gives, on the page and in the form."""
            there = known or start
            try:
                one = opened()
            except SpecvizError as error:
                return [runs.failed(error), gr.skip(), *form.untouched()]
            fill = form.write(one.trace.prompt, one.models, one.trace.settings)
            return [_opening(one), there.show(one, filled=True), *fill]

        def open_recorded(name: str | None, known: Desk | None) -> list[Any]:
            return put(known, lambda: _recorded(name or ""))

        def open_file(path: str | None, known: Desk | None) -> list[Any]:
            return put(known, lambda: _uploaded(path))

        def open_listed(id: str | None, known: Desk | None) -> list[Any]:
            return put(known, lambda: _listed(known or start, id))

        def open_at(known: Desk | None, event: gr.EventData) -> list[Any]:
            answer = put(known, lambda: _listed(known or start, event._data.get("run")))
            at = event._data.get("step")
            if isinstance(answer[1], Desk) and isinstance(at, int):
                look = {"step": at, "node": None, "verifier": None}
                answer[0] = f"[{answer[0]},{dump_block({'look': look})}]"
            return answer

        def arrive(request: gr.Request) -> list[Any]:
            """A page that was opened by a link."""
            asked = dict(request.query_params)
            if "trace" not in asked:
                return [gr.skip(), gr.skip(), *form.untouched()]
            answer = put(None, lambda: _linked(held, str(asked["trace"])))
            if isinstance(answer[1], Desk):
                look = {"step": _whole(asked.get("step"), 1) - 1, "node": _whole(asked.get("node"), None)}
                look["verifier"] = asked.get("verifier")
                answer[0] = f"[{answer[0]},{dump_block({'look': look})}]"
            return answer

        def give(known: Desk | None, event: gr.EventData) -> Any:
            there = (known or start).find(event._data.get("run"))
            if there is None:
                return gr.skip()
            return runs.wanted_block(there.trace, there.trace.id, event._data.get("steps") or []) or gr.skip()

        def runs_of(known: Desk | None) -> Any:
            there = known or start
            return gr.Radio(there.lines(), value=there.shown)

        def sides(known: Desk | None) -> list[Any]:
            """The runs that can be compared, the one in sight and the latest other one chosen."""
            there = known or start
            names = [(describe(one), one.trace.id) for one in there.runs]
            names += [(f"recorded: {name}", f"recorded:{name}") for name in recorded]
            ids = [one.trace.id for one in reversed(there.runs)]
            shown = there.shown or next(iter(ids), None)
            other = next((id for id in ids if id != shown), None)
            return [gr.Dropdown(names, value=shown), gr.Dropdown(names, value=other)]

        def side(known: Desk | None, id: str | None) -> Run:
            if id and id.startswith("recorded:"):
                return _recorded(id.removeprefix("recorded:"))
            if not id:
                raise SettingsError("Two runs are needed; choose the one that is missing above.")
            return _listed(known or start, id)

        def compare_runs(known: Desk | None, a: str | None, b: str | None) -> tuple[str, Any]:
            try:
                one, two = side(known, a), side(known, b)
                if one.trace.id == two.trace.id:
                    raise SettingsError("A and B are the same run; choose another one for B.")
                value = comparisons.compare_runs(one.trace, two.trace, (one.title, two.title))
            except SpecvizError as error:
                return runs.failed(error), gr.skip()
            there = known or start
            for added in (one, two):  # so that its steps can be opened from the comparison
                if there.find(added.trace.id) is None:
                    there = replace(there.show(added), shown=there.shown, anew=there.anew)
            return dump_block({"compare": value}), there

        def compare_plain(known: Desk | None, a: str | None) -> Iterator[str]:
            try:
                one = side(known, a)
            except SpecvizError as error:
                yield runs.failed(error)
                return
            yield from comparisons.against_greedy(sessions, one.trace, one.models, one.title)

        def next_hit(at: str, known: Desk | None, *values: Any) -> str:
            there = (known or start).run
            if there is None:
                return runs.message("info", "No run is open.")
            try:
                return runs.next_hit(there.trace, int(at) + 1, parse_breakpoints(stops.named(values)))
            except SpecvizError as error:
                return runs.failed(error)

        # ---------------------------------------------------------------------------------- asking, sharing

        def what_if(known: Desk | None, event: gr.EventData) -> Any:
            there = (known or start).find(event._data.get("run"))
            return whatifs.from_trace(there.trace, event._data) if there else gone()

        def what_if_models(known: Desk | None, event: gr.EventData) -> Iterator[str]:
            there = (known or start).find(event._data.get("run"))
            if there is None:
                yield gone()
                return
            yield from whatifs.through_models(sessions, there.trace, there.models, event._data)

        def lesson(known: Desk | None, event: gr.EventData) -> tuple[str, Any]:
            text, trace = lessons.open_lesson(event._data)
            if trace is None:
                return text, gr.skip()
            there = known or start
            title = f"lesson {event._data['name']}"
            return text, there.show(there.find(trace.id) or Run(trace, title, models_of(trace)))

        def hold(known: Desk | None, event: gr.EventData) -> tuple[str, Any]:
            there = known or start
            one = there.find(event._data.get("run"))
            if one is None:
                return gone(), gr.skip()
            try:
                named = replace(one, link=held.hold(one.trace))
            except SpecvizError as error:
                return runs.failed(error), gr.skip()
            link = {"run": one.trace.id, "name": named.link, "steps": len(one.trace.steps), "copy": True}
            kept = replace(there, runs=tuple(named if run is one else run for run in there.runs))
            return dump_block({"link": link, "notice": None}), kept

        def save(known: Desk | None, write: Callable[[Trace, Path], None], ending: str) -> str:
            there = (known or start).run
            if there is None:
                raise gr.Error("No run is open.", print_exception=False)
            # Gradio copies a file after its handler, so its folder goes with a later one, or with the server.
            folders.append(tempfile.TemporaryDirectory(prefix="specviz-"))
            if len(folders) > MOST_SAVED:
                folders.pop(0).cleanup()
            path = Path(folders[-1].name) / f"specviz-{there.trace.id}{ending}"
            write(there.trace, path)
            return str(path)

        def save_as_trace(known: Desk | None) -> str:
            return save(known, save_trace, ".json.gz")

        def save_as_page(known: Desk | None) -> str:
            return save(known, lambda trace, path: _write(path, standalone_page(trace)), ".html")

        def prove() -> Iterator[list[Any]]:
            for rows in proofs.rows():
                labels = [
                    (f"{row[0]} · {badge}" if (badge := proofs.badge(row[0])) else row[0], row[0]) for row in rows
                ]
                text = dump_block({"proofs": proofs.texts()})
                yield [_table(HEADERS, rows), gr.CheckboxGroup(labels), text]

        # One accelerator, one queue: all model work is one after the other.
        work: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": 1, "show_progress": "hidden"}
        quick: dict[str, Any] = {"show_progress": "hidden", "queue": False}
        private: dict[str, Any] = {"api_visibility": "private"}
        opened = [viewer, desk, *form.inputs]
        everything = [*form.inputs, *stops.inputs]
        changes = [
            step.click(one, [desk, *everything], [viewer, desk], api_name="step", **work),
            run.click(many, [steps, desk, *everything], [viewer, desk], api_name="run", **work),
            viewer.fork(fork, [desk, *form.inputs], opened, **work, **private),
            library.input(open_recorded, [library, desk], opened, api_name="open", **quick),
            upload.upload(open_file, [upload, desk], opened, show_progress="hidden", **private),
            viewer.open_run(open_at, desk, opened, **quick, **private),
            viewer.lesson(lesson, desk, [viewer, desk], **quick, **private),
        ]
        for change in changes:
            change.then(runs_of, desk, listed, **quick, **private)
        runs_tab.select(runs_of, desk, listed, **quick, **private)
        stop.click(_stopper(sessions), None, None, api_name="stop", **quick)
        fresh.click(anew, desk, [viewer, desk], api_name="new", **quick)
        viewer.what_if(what_if, desk, viewer, trigger_mode="always_last", **quick, **private)
        viewer.what_if_models(what_if_models, desk, viewer, **work, **private)
        viewer.frames_wanted(give, desk, viewer, trigger_mode="multiple", **quick, **private)
        viewer.hold(hold, desk, [viewer, desk], **quick, **private)
        listed.input(open_listed, [listed, desk], opened, **quick, **private)
        compare_tab.select(sides, desk, [side_a, side_b], **quick, **private)
        compare.click(compare_runs, [desk, side_a, side_b], [viewer, desk], show_progress="hidden", **private)
        plain.click(compare_plain, [desk, side_a], viewer, **work, **private)
        seek.click(next_hit, [where, desk, *stops.inputs], viewer, js=_WITH_STEP, **quick, **private)
        hand_over = "() => setTimeout(() => document.querySelector('#save-ready').click(), 50)"
        for button, make in ((as_trace, save_as_trace), (as_page, save_as_page)):
            button.click(make, desk, ready, show_progress="hidden", **private).success(None, js=hand_over)
        verifiers = form.components["verifiers"]
        proofs_tab.select(
            prove, None, [proven, verifiers, viewer], concurrency_id="proofs", show_progress="hidden", **private
        )
        lessons_tab.select(lambda: dump_block(lessons.list_block()), None, viewer, **quick, **private)
        page.load(arrive, None, opened, **quick, **private)
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
        "max_file_size": UPLOAD_BYTES,
        "state_session_capacity": 32,
        "strict_cors": True,
    }
    return page.launch(**{**settings, **options})


# ------------------------------------------------------------------------------------------------------- opening


def _opening(run: Run | None) -> str:
    """The first block of a run: frames, the address that names it, and what the tools have to know."""
    if run is None:
        return ""
    extra: dict[str, object] = {"verifiers": whatifs.verifier_choices()}
    if run.link:
        extra["link"] = {"run": run.trace.id, "name": run.link, "steps": len(run.trace.steps)}
    return f"[{runs.opening_block(run.trace)},{dump_block(extra)}]"


def _recorded(name: str) -> Run:
    trace = runs.open_recorded(name)
    return Run(trace, name, models_of(trace), link=name)


def _uploaded(path: str | None) -> Run:
    if not path:
        raise TraceError("No file came; choose a trace that specviz recorded.")
    trace = runs.read_upload(path, UPLOAD_BYTES)
    return Run(trace, runs.file_title(path), models_of(trace))


def _listed(desk: Desk, id: object) -> Run:
    run = desk.find(id)
    if run is None:
        raise SettingsError("This run is not open any more; choose one that is listed.")
    return run


def _linked(held: Held, name: str) -> Run:
    if name in runs.recorded_traces():
        return _recorded(name)
    trace = held.open(name)
    return Run(trace, "a shared run", models_of(trace), link=name)


def _moved(desk: Desk, trace: Trace, ticket: Any, inputs: runs.Inputs) -> Desk:
    """The desk after a run took a step. What it was held as does not hold the new step."""
    known = desk.find(trace.id)
    title = known.title if known else desk.new_title(trace)
    return desk.show(Run(trace, title, inputs[1], ticket), filled=True)


def _forked(title: str, at: int, own: bool) -> str:
    said = f"Step {at + 1} was run anew as {title}"
    if own:
        said += ", with the settings of its parent; they stand under Settings now: change them and fork again"
    return f"{said}. Step or Run goes on from here."


def _whole(text: Any, otherwise: Any) -> Any:
    return int(text) if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 8 else otherwise


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _table(headers: Any, rows: list[list[str]]) -> str:
    """A Markdown table; what could be markup in a cell is spelt out."""
    lines = [list(headers), ["---"] * len(headers), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return (
        text if text == "---" else "".join(f"\\{c}" if c in "\\`*_{}[]<>|$#~" else c for c in text.replace("\n", " "))
    )


def _stopper(sessions: Sessions) -> Any:
    def stop(request: gr.Request) -> None:
        sessions.ask_to_stop(_page_id(request))

    return stop


def _page_id(request: gr.Request) -> str:
    return str(request.session_hash)
