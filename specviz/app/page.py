"""The page: a bar with the pages and the command bar, below it the viewer, over which the other pages lie.

Moves inside a run stay in the browser. Where everything stands: grid.css and page_frame.css in assets/viewer/.
"""

from __future__ import annotations

import json
from typing import Any

import gradio as gr

from specviz.app import faults, lessons
from specviz.app.blocks import MODEL_WORK, Page, asked_for, position_of
from specviz.app.compare.store import ComparisonStore
from specviz.app.compare.tab import CompareTab
from specviz.app.follow import Follower
from specviz.app.follow_handlers import FollowActions
from specviz.app.form import EXAMPLES, breakpoint_form, prompt_box, settings_form
from specviz.app.form_parts import fields, group
from specviz.app.handlers import Actions
from specviz.app.models_form import models_form
from specviz.app.proofs import Proofs
from specviz.app.server.doing import doing_block
from specviz.app.server.launch import launch_page
from specviz.app.server.session_registry import Sessions
from specviz.app.server.share_store import ShareStore
from specviz.app.viewer_component import make_command_state, make_examples, make_theme_button, make_viewer
from specviz.figures import dump_block
from specviz.trace.schema import Trace

TITLE = "# specviz"
# Which step is shown is known in the browser only; clicks that need it send it along.
_WITH_STEP = "(where, ...rest) => [String(window.specvizViewer.mounted.at(-1)?.state.step ?? 0), ...rest]"

TOLD = {
    "step": "Starting",
    "run": "Starting",
    "fork": "Running the step anew",
    "replay": "Making the run again",
    "what_if": "Asking the models",
    "greedy": "Decoding greedily",
    "library": "Opening",
    "upload": "Opening",
    "open_run": "Opening",
    "listed": "Opening",
    "lesson": "Opening",
    "fault": "Opening",
    "hold": "Keeping the run for its link",
    "compare": "Comparing",
    "new": "New run",
}
"""Events that work with a model or change the state of the page -> what the command bar says first. While the server
has not answered one completely, a click on Step, Run or New run waits: see assets/viewer/tools/command.js."""
STOPPED = ("step", "run", "fork", "replay", "what_if", "greedy")
"""Those that work with a model, which Stop ends."""


def _begun(name: str, text: str, stops: bool) -> str:
    """Script of an event: it goes to the server, with its inputs as they are."""
    return f"(...values) => (window.specvizViewer.begun({json.dumps([name, text, stops])[1:-1]}), values)"


def _done(name: str, failed: bool) -> str:
    """Script: the answer to an event is complete."""
    return f"() => window.specvizViewer.done({json.dumps([name, failed])[1:-1]})"


def build_page(
    sessions: Sessions | None = None,
    trace: Trace | None = None,
    share_store: ShareStore | None = None,
    proofs: Proofs | None = None,
    comparison_store: ComparisonStore | None = None,
    follower: Follower | None = None,
) -> Page:
    """The page, opening on ``trace``, on what ``follower`` follows, or on the recorded run that comes with specviz. No
    model is loaded."""
    act = Actions(sessions or Sessions(), share_store or ShareStore(), proofs or Proofs(), trace, follower)
    form, stops = act.form, act.stops
    many = CompareTab(act, comparison_store or ComparisonStore())
    options: dict[str, Any] = {"analytics_enabled": False, "fill_width": True, "delete_cache": (3600, 6 * 3600)}
    with Page(act.limits, title="specviz", **options) as page:
        # Not the method itself: Gradio copies a component's callback for everybody who opens the page, and the copy of
        # a method has a copy of its object, with the models.
        page_state = gr.State(
            None, time_to_live=6 * 3600, delete_callback=lambda page_state: act.on_state_deleted(page_state)
        )
        with gr.Row(elem_classes="specviz-head"):
            gr.Markdown(TITLE, elem_classes="specviz-title")
            with gr.Row(elem_classes="specviz-command"):
                prompt_box(form)
                make_examples(EXAMPLES)
                state = make_command_state()
                step = gr.Button("Step", size="md", scale=0, elem_id="step")
                run = gr.Button("Run", variant="primary", size="md", scale=0, elem_id="run")
                stop = gr.Button("Stop", variant="stop", size="md", scale=0, elem_id="stop")
        with gr.Tabs(elem_id="menu", overflow_behavior="wrap"):
            with gr.Tab("View", elem_id="menu-view", id="view") as view_tab:
                pass
            with gr.Tab("Lessons", elem_id="menu-lessons", id="lessons") as lessons_tab:
                pass
            with gr.Tab("Faults", elem_id="menu-faults", id="faults") as faults_tab:
                pass
            with gr.Tab("Runs", elem_id="menu-runs", id="runs") as runs_tab, gr.Tabs(elem_id="menu-of-runs"):
                with gr.Tab("Open", elem_id="menu-open", id="open"), gr.Row(elem_classes="specviz-groups"):
                    with group("Recorded runs", "specviz-wide"), fields():
                        library = gr.Dropdown(act.recorded, value=None, label="Open a recorded run", elem_id="library")
                        upload = gr.UploadButton(
                            "Open a trace file",
                            file_types=[".json", ".jsonl", ".gz"],
                            file_count="single",
                            size="md",
                            elem_id="upload",
                        )
                    with group("Runs of this page", "specviz-wide"):
                        listed = gr.Radio([], label="Forks stand below what they were forked from", elem_id="runs-list")
                with (
                    gr.Tab("Compare", elem_id="menu-compare", id="compare", render_children=True) as compare_tab,
                    gr.Row(elem_classes="specviz-groups"),
                ):
                    with group("Two runs", "specviz-wide"), fields():
                        side_a = gr.Dropdown([], label="Run A", elem_id="compare-a")
                        side_b = gr.Dropdown([], label="Run B", elem_id="compare-b")
                        with gr.Row(elem_classes="specviz-buttons"):
                            compare = gr.Button("Compare A and B", variant="primary", size="md", elem_id="compare")
                            plain = gr.Button("A against plain greedy decoding", size="md", elem_id="plain-greedy")
                    with group("Verifiers over many prompts", "specviz-wide"):
                        many.build()
                with (
                    gr.Tab("Share", elem_id="menu-share", id="share", render_children=True),
                    gr.Row(elem_classes="specviz-groups specviz-three"),
                ):
                    with group("Trace file"):
                        gr.Markdown("All that was recorded. It opens again under *Runs*, and in Python.")
                        as_trace = gr.Button("Save this run as a trace file", size="md", elem_id="save-trace")
                    with group("HTML page"):
                        gr.Markdown("Opens anywhere, offline, on the step in sight.")
                        as_page = gr.Button("Save this run as one HTML page", size="md", elem_id="save-page")
                        as_step = gr.Button("Save this step as one HTML page", size="md", elem_id="save-step")
                        # The buttons make the file; this hidden one is then pressed by the script to download it.
                        ready = gr.DownloadButton("Save", visible="hidden", elem_id="save-ready")
                    with group("Link and figure"):
                        gr.Markdown(
                            "*Link*, above the tree, copies an address: a run of your own is then held here for "
                            f"{act.share_store.seconds / 86400:g} days, and whoever has the address can read it. "
                            "*Figure* (`e`) makes a picture of the step in sight, or the HTML that shows it inside "
                            "another page."
                        )
            with gr.Tab("Settings", elem_id="menu-settings", id="settings"), gr.Tabs(elem_id="menu-of-settings"):
                with (
                    gr.Tab("Run", elem_id="menu-run", id="run", render_children=True),
                    gr.Row(elem_classes="specviz-groups"),
                ):
                    models_form(form)
                    steps = settings_form(form)
                with gr.Tab("Breakpoints", elem_id="menu-breakpoints", id="breakpoints"):
                    gr.Markdown(
                        "Run stops after the first step that hits one of these. A run that is there can be searched.",
                        elem_classes="specviz-about",
                    )
                    with gr.Row(elem_classes="specviz-groups specviz-three"):
                        breakpoint_form(stops)
                    where = gr.Textbox("0", visible=False)
                    with gr.Row(elem_classes="specviz-buttons"):
                        seek = gr.Button("Next hit in this run", size="md", elem_id="next-hit")
                with gr.Tab("Verifiers", elem_id="menu-verifiers", id="verifiers") as proofs_tab:
                    gr.Markdown(
                        "Whether what a verifier emits is distributed as the target's own samples, summed over every "
                        "tree and every coin on vocabularies of three and four tokens (`python -m specviz check`). TV "
                        "is the largest total-variation distance that was found; below 1e-12 it is rounding. Every "
                        "line holds for its options: the defaults, and those in Settings and in the run in sight.",
                        elem_classes="specviz-about",
                    )
                    proven = gr.Markdown(act.proofs.table(act.proofs.table_now()), elem_id="proofs")
        # After the pages, so that those are at most five Tabs away; they stand at the right end of the bar.
        with gr.Row(elem_classes="specviz-corner"):
            fresh = gr.Button("New run", size="md", scale=0, elem_id="new")
            make_theme_button()
        viewer = make_viewer(act.first_block, elem_id="viewer")

        def on_doing(event: gr.EventData, request: gr.Request) -> str:
            session, asked = str(request.session_hash), position_of(asked_for(event).get("asked"))
            return doing_block(act.sessions.doing(session), page.turns.ahead(session, MODEL_WORK), asked)

        async def on_stop(request: gr.Request) -> None:
            """The endpoint ``stop``: what runs ends after the step it is in, what waits for its turn never begins."""
            page.turns.take_back(str(request.session_hash), MODEL_WORK)
            act.on_stop(request)

        # There is one accelerator, so all events that work with a model share one queue and run one at a time.
        work: dict[str, Any] = {"concurrency_id": MODEL_WORK, "concurrency_limit": 1, "show_progress": "hidden"}
        quick: dict[str, Any] = {"show_progress": "hidden", "queue": False}
        # Files are read in turns of their own.
        files: dict[str, Any] = {"concurrency_limit": None, "show_progress": "hidden"}
        private: dict[str, Any] = {"api_visibility": "private"}
        opened = [viewer, page_state, *form.inputs]
        everything = form.with_breakpoints(form.components, stops.inputs)
        # The command bar is told when each of these goes to the server, and when its answer is complete.
        said: dict[str, dict[str, Any]] = {
            name: {"js": _begun(name, text, stops=name in STOPPED)} for name, text in TOLD.items()
        }
        shown = [viewer, page_state]
        changes = {
            "step": step.click(act.on_step, [page_state, *everything], shown, api_name="step", **work, **said["step"]),
            "run": run.click(
                act.on_run, [steps, page_state, *everything], shown, api_name="run", **work, **said["run"]
            ),
            "fork": viewer.fork(act.on_fork, [page_state, *form.inputs], opened, **work, **private, **said["fork"]),
            "library": library.input(
                act.on_open, [library, page_state], opened, api_name="open", **quick, **said["library"]
            ),
            "upload": upload.upload(act.on_upload, [upload, page_state], opened, **files, **private, **said["upload"]),
            "open_run": viewer.open_run(
                act.on_open_run,
                page_state,
                opened,
                show_progress="hidden",
                trigger_mode="always_last",
                **private,
                **said["open_run"],
            ),
            "lesson": viewer.lesson(act.on_lesson, page_state, opened, **quick, **private, **said["lesson"]),
            "fault": viewer.fault(act.on_fault, page_state, opened, **quick, **private, **said["fault"]),
            "replay": many.wire(viewer, page_state, work | said["replay"], quick),
        }
        for change in changes.values():
            change.then(act.on_list_runs, page_state, listed, **quick, **private)
        runs_tab.select(act.on_list_runs, page_state, listed, **quick, **private)
        stop.click(on_stop, None, None, api_name="stop", **quick)
        state.doing(on_doing, None, state, **quick, **private)
        if follower is not None:
            following = FollowActions(act, follower)
            viewer.follow(following.on_follow, page_state, shown, **quick, **private)
            viewer.order(following.on_order, stops.inputs, viewer, trigger_mode="multiple", **quick, **private)
        viewer.take_shape(act.on_take_shape, page_state, [viewer, *form.inputs], **quick, **private)
        viewer.what_if(act.on_what_if, page_state, viewer, trigger_mode="always_last", **quick, **private)
        viewer.frames_wanted(act.on_frames_wanted, page_state, viewer, trigger_mode="multiple", **quick, **private)
        compare_tab.select(act.on_compare_tab, page_state, [side_a, side_b], **quick, **private)
        others = {
            "new": fresh.click(act.on_new, page_state, shown, api_name="new", **quick, **said["new"]),
            "what_if": viewer.what_if_models(
                act.on_what_if_models, [page_state, *form.inputs], viewer, **work, **private, **said["what_if"]
            ),
            "hold": viewer.hold(act.on_hold, page_state, shown, **quick, **private, **said["hold"]),
            "listed": listed.input(
                act.on_open_listed, [listed, page_state], opened, show_progress="hidden", **private, **said["listed"]
            ),
            "compare": compare.click(
                act.on_compare,
                [page_state, side_a, side_b],
                shown,
                show_progress="hidden",
                **private,
                **said["compare"],
            ),
            "greedy": plain.click(
                act.on_plain_greedy, [page_state, side_a, *form.inputs], viewer, **work, **private, **said["greedy"]
            ),
        }
        for name, event in (changes | others).items():
            event.then(None, js=_done(name, failed=False), **private)
            event.failure(None, js=_done(name, failed=True), **private)
        seek.click(act.on_next_hit, [where, page_state, *stops.inputs], viewer, js=_WITH_STEP, **quick, **private)
        hand_over = "() => setTimeout(() => document.querySelector('#save-ready').click(), 50)"
        saved: dict[str, Any] = {"outputs": ready, "show_progress": "hidden", **private}
        for clicked in (
            as_trace.click(act.on_save_trace, page_state, **saved),
            as_page.click(act.on_save_page, [where, page_state], js=_WITH_STEP, **saved),
            as_step.click(act.on_save_step, [where, page_state], js=_WITH_STEP, **saved),
        ):
            clicked.success(None, js=hand_over)
        verifiers = form.components["verifiers"]
        proofs_tab.select(
            act.on_verifiers,
            [page_state, *form.inputs],
            [proven, verifiers, viewer],
            concurrency_id="proofs",
            show_progress="hidden",
            **private,
        )
        lessons_tab.select(lambda: dump_block(lessons.list_block()), None, viewer, **quick, **private)
        faults_tab.select(lambda: dump_block(faults.list_block()), None, viewer, **quick, **private)
        view_tab.select(None, js="() => window.specvizViewer?.onView()", **private)
        page.load(act.on_load, None, opened, **quick, **private)
        page.closed = act.visitors.close_page
    own = {library: "name", steps: "steps"} | {
        component: f"stop_{name}" for name, component in stops.components.items()
    }
    page.name_inputs({component: name.replace(".", "_") for name, component in form.components.items()} | own)
    return page


__all__ = ["build_page", "launch_page"]
