"""The part of the Compare tab that is about many prompts: figures, runs, steps, and a small comparison of one's own."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from specviz.app import answers, run_handlers
from specviz.app.blocks import COMPARISONS, asked_for, position_of
from specviz.app.compare.pictures import PICTURES
from specviz.app.compare.quick_run import QuickRun, run_small, small_job
from specviz.app.compare.replay_step import replay
from specviz.app.compare.store import PACKED_NAME, ComparisonStore, packed
from specviz.app.compare.view import ALL, Selection, board, choices, settled
from specviz.app.form_parts import fields
from specviz.app.page_state import PageState, Run
from specviz.app.server.clients import client_of_event
from specviz.app.server.limits import SMALL_COMPARISON
from specviz.app.server.progress import Progress, mapped
from specviz.app.server.trace_store import StoredTrace
from specviz.app.server.uploads import forget_upload
from specviz.app.viewer_component import make_board
from specviz.assets import IS_INSTALLED, LARGEST_COMPARISON
from specviz.compare.statistics import AXES, Group
from specviz.errors import SettingsError, SpecvizError
from specviz.figures import dump_block
from specviz.figures.text import one_line
from specviz.trace.schema import Trace
from specviz.verifiers import VERIFIERS

if TYPE_CHECKING:
    from specviz.app.handlers import Actions

CHOOSERS = ("figure", "mode", *AXES, "tree", "temperature", "kind", "verifiers")
NONE_SHIPS = "No comparison comes with this installation: open one, or make a small one."
LEFT_OUT = (
    "The comparison of every verifier on the same trees is too large for the installed package (21 MB). To have it "
    f"here, get a checkout of specviz and serve the page with `--comparison CHECKOUT/assets/{LARGEST_COMPARISON}`."
)
INTRO = (
    "Every verifier on the same prompts and trees: choose a comparison, then a point of a figure, a run and a step, "
    "which opens in the viewer below."
)
PROCESSOR_SETS = ("repetition_penalty:penalty=1.3", "frozen repetition_penalty:penalty=1.3", "min_p:min_p=0.05")
TREES = ("4,2,2", "1,1,1,1", "dynamic:total=28,top_k=6,depth=6", "explicit", "2,2")


class CompareTab:
    """Components and handlers of its first half. State is (key of the comparison, what is looked at)."""

    def __init__(self, act: Actions, store: ComparisonStore):
        self.act, self.store = act, store
        self.choosers: dict[str, Any] = {}
        self.form: dict[str, Any] = {}

    # ---------------------------------------------------------------------------------------------- components

    def build(self) -> None:
        """In the current Gradio context."""
        self.state = gr.State(None, time_to_live=6 * 3600)
        names = self.store.names()
        gr.Markdown(INTRO if names else f"{INTRO} {NONE_SHIPS}", elem_id="board-intro")
        if IS_INSTALLED and LARGEST_COMPARISON.rpartition("/")[2] not in dict(names):
            gr.Markdown(LEFT_OUT, elem_id="board-left-out")
        with fields():
            self.listed = gr.Dropdown(
                names, value=None, label="Open a comparison", elem_id="board-open", visible=bool(names)
            )
            with gr.Row(elem_classes="specviz-buttons"):
                self.upload = gr.UploadButton(
                    "Open a comparison's files",
                    file_types=[".parquet", ".json", ".zip"],
                    file_count="multiple",
                    size="md",
                    visible=not self.act.limits.public,
                    elem_id="board-upload",
                )
                self.download = gr.Button("Download it", size="md", visible=False, elem_id="board-zip")
                # As for traces: the visible button makes the file, and this hidden one downloads it.
                self.ready = gr.DownloadButton("Save", visible="hidden", elem_id="board-ready")
        with gr.Accordion("Make a small comparison", open=False, elem_id="small", elem_classes="specviz-fold"):
            self._small_form()
        with gr.Row(visible=False, elem_id="board-choosers", elem_classes="specviz-fields") as self.row:
            labels = {"figure": "Figure", "mode": "Runs", "tree": "Tree", "temperature": "Temperature"}
            labels |= {
                "kind": "Kind of prompt",
                "verifiers": "Verifiers (none: all)",
                "draft": "Draft",
                "processors": "Processors",
            }
            for name in CHOOSERS:
                self.choosers[name] = gr.Dropdown(
                    [],
                    label=labels[name],
                    multiselect=name == "verifiers",
                    visible=name not in AXES,
                    elem_id=f"board-{name}",
                )
        self.board = make_board(elem_id="board")

    def _small_form(self) -> None:
        add = self.form.__setitem__
        with fields():
            add("prompts", gr.Number(2, label="Prompts", info="Of our own, all kinds", precision=0))
            add("free", gr.Number(0, label="Also free", info="Prompts, for quality", precision=0))
            add("tokens", gr.Number(16, label="Tokens a run", info="At most", precision=0, elem_id="small-tokens"))
            add("temperatures", gr.Textbox("1.0", label="Temperatures", info="For example 0.7 1.0"))
            several: dict[str, Any] = {"multiselect": True, "allow_custom_value": True, "elem_classes": "specviz-wide"}
            add(
                "trees",
                gr.Dropdown(
                    list(TREES),
                    value=["4,2,2", "1,1,1,1"],
                    label="Trees",
                    info="Or of your own: 3,2 or [0],[1],[0,0]",
                    elem_id="small-trees",
                    **several,
                ),
            )
            add(
                "verifiers",
                gr.Dropdown(
                    list(VERIFIERS),
                    value=["rejection", "eta", "longest_path"],
                    label="Verifiers",
                    info="The first one drives; eta:epsilon=0.05/0.2 is a sweep",
                    elem_id="small-verifiers",
                    **several,
                ),
            )
            add(
                "processors",
                gr.Dropdown(
                    ["none", *PROCESSOR_SETS],
                    value=[],
                    label="Sets of processors",
                    info="Compared with each other; none chosen: what stands under Settings",
                    elem_id="small-processors",
                    **several,
                ),
            )
        gr.Markdown(
            f"With the models under Settings; at most {SMALL_COMPARISON['prompts']} prompts, "
            f"{SMALL_COMPARISON['trees']} trees, {SMALL_COMPARISON['verifiers']} verifiers, "
            f"{SMALL_COMPARISON['processors']} sets of processors and {SMALL_COMPARISON['tokens']} "
            "tokens. Stop keeps the prompts that are finished."
        )
        with gr.Row(elem_classes="specviz-buttons"):
            self.start = gr.Button("Start", variant="primary", size="md", elem_id="small-start")
            self.stop = gr.Button("Stop", variant="stop", size="md", elem_id="small-stop")

    def wire(self, viewer: Any, page_state: Any, replay: dict[str, Any], quick: dict[str, Any]) -> Any:
        """Attach the events; returns the one that changes the state of the page, with the options ``replay``."""
        private: dict[str, Any] = {"api_visibility": "private"}
        settings = self.act.form.inputs
        shown = [self.board, self.state, self.download, self.row, *self.choosers.values()]
        one: dict[str, Any] = {"concurrency_limit": 1, "show_progress": "hidden"}
        files = one | {"concurrency_limit": None}  # they are read in turns of their own
        self.listed.input(self.on_open_comparison, self.listed, shown, show_progress="hidden", **private)
        self.upload.upload(self.on_upload_comparison, self.upload, shown, **files, **private)
        for name, component in self.choosers.items():
            component.input(
                self.on_choose,
                [self.state, *self.choosers.values()],
                shown,
                **quick,
                **private,
                trigger_mode="always_last",
            )
            del name
        self.board.point(self.on_point, self.state, [self.board, self.state], **quick, **private)
        inputs = [*self.form.values(), *settings]
        self.start.click(self.on_small_comparison, inputs, shown, concurrency_id=COMPARISONS, **one, **private)
        # Named, or it would take the name of the page's own, which programs call.
        self.stop.click(self.act.on_stop, None, None, api_name="stop_comparison", **quick, **private)
        hand_over = "() => setTimeout(() => document.querySelector('#board-ready').click(), 50)"
        self.download.click(self.on_download, self.state, self.ready, show_progress="hidden", **private).success(
            None, js=hand_over
        )
        return self.board.step(
            self.on_replay, [self.state, page_state], [viewer, page_state, *settings], **replay, **private
        )

    # ------------------------------------------------------------------------------------------------- handlers

    def on_open_comparison(self, key: str | None) -> list[Any]:
        """Open one of the comparisons that are listed."""
        try:
            self.store.open_listed(key or "")
            return self._show(key or "", Selection())
        except Exception as error:
            return self._only(_said(error))

    def on_upload_comparison(self, paths: list[str] | None, request: gr.Request) -> Iterator[list[Any]]:
        """Open the files of a comparison that the visitor sent."""
        try:
            if self.act.limits.public:
                raise SettingsError(
                    "This public page opens no comparison of a visitor's; run specviz on your own machine."
                )
            client = client_of_event(request, self.act.limits)
            key = yield from mapped(
                self.store.add_files(paths or [], self.act.readers, client, self.act.limits), self._working
            )
            self.act.visitors.register_comparison(str(request.session_hash), self.store, key)
            yield self._show(key, Selection())
        except Exception as error:
            yield self._only(_said(error))
        finally:
            for path in paths or []:
                forget_upload(path)

    def on_choose(self, state: Any, *values: Any) -> list[Any]:
        """Something was chosen in one of the lists above the figure."""
        try:
            if state is None:
                raise SettingsError("No comparison is open; open one first.")
            key, before = state
            given = dict(zip(CHOOSERS, values, strict=True))
            named = tuple(_texts(given.pop("verifiers")))
            return self._show(key, replace(before, **{k: str(v) for k, v in given.items()}, verifiers=named))
        except Exception as error:
            return self._only(_said(error))

    def on_point(self, state: Any, event: gr.EventData) -> list[Any]:
        """A point or a row was chosen: a group of runs, or a run."""
        try:
            if state is None:
                raise SettingsError("No comparison is open; open one first.")
            key, before = state
            section = asked_for(event).get("section")
            data: Any = asked_for(event).get("data")
            try:
                if section == "figure":
                    mode, tree, temperature = data[:3]
                    labels = [None if label is None else str(label) for label in data[5:7]]
                    group = Group(str(mode), str(tree), float(temperature), *labels)
                    selection = replace(before, group=group, run=None)
                else:
                    prompt, verifier = data[:2]
                    selection = replace(before, run=(str(prompt), str(verifier)))
            except (TypeError, ValueError, KeyError, OverflowError):
                raise SettingsError("This is no row of the comparison; choose one that is shown.") from None
            opened = self.store.get(key)
            if opened.folder is None:
                raise SettingsError("Its runs can be opened once the comparison is finished.")
            there = json.loads(board(opened, selection))
            return [dump_block(there | {"go": "runs" if section == "figure" else "steps"}), (key, selection)]
        except Exception as error:
            return [dump_block({"notice": _said(error)}), gr.skip()]

    def on_replay(
        self, state: Any, known: PageState | None, event: gr.EventData, request: gr.Request
    ) -> Iterator[list[Any]]:
        """A step was chosen: its run is made again up to there."""
        untouched = self.act.form.untouched()
        try:
            key, selection = state
            opened = self.store.get(key)
            data: Any = asked_for(event).get("data")
            at = position_of(data[0])
            if selection.group is None or selection.run is None or opened.folder is None or at is None:
                raise SettingsError("Choose a run first, then its step.")
        except (TypeError, IndexError, KeyError, SpecvizError) as error:
            said = error if isinstance(error, SpecvizError) else SettingsError("Choose a run first, then its step.")
            yield [run_handlers.failed(said), gr.skip(), *untouched]
            return
        there = known or self.act.start
        page = str(request.session_hash)
        steps = replay(self.act.sessions, page, opened.folder, selection.group, selection.run, at, there)
        with self.act.visitors.working(page), contextlib.closing(steps):
            for (text, trace, ticket), inputs in steps:
                if trace is None or inputs is None:
                    yield [text, gr.skip(), *untouched]
                    continue
                self.act.visitors.register_session(page, ticket)
                yield [text, _put(there, trace, inputs, ticket, selection.run[0]), *self.act.form.write(*inputs)]

    def on_small_comparison(self, request: gr.Request, *values: Any) -> Iterator[list[Any]]:
        """Make a small comparison."""
        try:
            given = dict(zip(self.form, values[: len(self.form)], strict=True))
            given["temperatures"] = str(given["temperatures"] or "").replace(",", " ").split()[:20]
            for name in ("trees", "verifiers", "processors"):
                given[name] = [text[:500] for text in _texts(given[name])]
            _, models, settings = self.act.form.read(values[len(self.form) :])
            taken = ("prompt_end_token", "min_new_tokens", "stop", "record_optimum")
            given |= {name: getattr(settings, name) for name in taken}
            given["processors_of_all"] = settings.processors
            yield self._working(Progress("Preparing …"))
            job = small_job(given, models, self.act.limits)
            page = str(request.session_hash)
            growing = run_small(self.act.sessions, page, self.store, job)
            for progress in self.act.visitors.count_comparison(page, self.store, growing):
                yield self._quick_run(progress) if isinstance(progress, QuickRun) else self._working(progress)
        except Exception as error:
            yield self._only(_said(error))

    def on_download(self, state: Any, request: gr.Request) -> str:
        """Write the comparison's files to a zip, and answer with its path."""
        try:
            if state is None:
                raise SettingsError("No comparison is open; open one first.")
            opened = self.store.get(state[0])
            page, client = str(request.session_hash), client_of_event(request, self.act.limits)
            return self.act.visitors.save_file(page, client, PACKED_NAME, lambda path: packed(opened, path))
        except SpecvizError as error:
            raise gr.Error(run_handlers.sentence(error), print_exception=False) from None

    # -------------------------------------------------------------------------------------------------- answers

    def _quick_run(self, run: QuickRun) -> list[Any]:
        if run.key is not None:
            shown = self._show(run.key, Selection())
            shown[0] = _with(shown[0], answers.notice("info", run.text))
            return shown
        if run.opened is None:
            return self._only(answers.notice("info", run.text))
        said = answers.notice("working", run.text, run.fraction)
        return [_with(board(run.opened, settled(run.opened.summary, Selection())), said), *self._rest()]

    def _show(self, key: str, wanted: Selection) -> list[Any]:
        opened = self.store.get(key)
        selection, there = settled(opened.summary, wanted), choices(opened.summary)
        if not there["figure"]:
            raise SettingsError("There is nothing in this comparison that a figure could show.")
        updates = []
        for name in CHOOSERS:
            options = [(_named(name, value), value) for value in there[name]]
            if name in (*AXES, "tree", "temperature", "kind"):
                options.insert(0, ("All", ALL))
            value = getattr(selection, name)
            visible = name not in AXES or bool(there[name])
            updates.append(gr.Dropdown(options, value=list(value) if name == "verifiers" else value, visible=visible))
        return [board(opened, selection), (key, selection), gr.Button(visible=True), gr.Row(visible=True), *updates]

    def _working(self, progress: Progress) -> list[Any]:
        return self._only(answers.notice("working", progress.text, progress.fraction))

    def _only(self, notice: dict[str, Any]) -> list[Any]:
        """A notice alone; everything else on the page stays as it is."""
        return [dump_block({"notice": notice}), *self._rest()]

    def _rest(self) -> list[Any]:
        """All that is shown but the board, as it is."""
        return [gr.skip()] * (3 + len(CHOOSERS))


def _texts(chosen: Any) -> list[str]:
    """The first twenty values chosen in a list, as text; none where no list was sent."""
    return [str(one) for one in chosen[:20]] if isinstance(chosen, list) else []


def _named(chooser: str, value: str) -> str:
    if chooser == "figure":
        return PICTURES[value].title
    if chooser == "mode":
        return {"paired": "On the same trees", "free": "Each on its own text"}[value]
    return one_line(value, 48)


def _with(text: str, notice: dict[str, Any]) -> str:
    return dump_block(json.loads(text) | {"notice": notice})


def _said(error: Exception) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(run_handlers.failed(error))["notice"]
    return said


def _put(page_state: PageState, trace: Trace, inputs: run_handlers.Inputs, ticket: Any, prompt: str) -> PageState:
    known = page_state.find(trace.id)
    title = known.title if known else f"{one_line(prompt, 30)}, from the comparison"
    run = replace(known, ticket=ticket or known.ticket) if known else Run(StoredTrace(trace), title, inputs[1], ticket)
    return page_state.show(run, filled=True)


def find_comparison_store(folders: Iterable[str]) -> ComparisonStore:
    """What comes with specviz, and these folders.

    Raises:
        SettingsError: for a folder that holds no finished comparison.
    """
    from specviz.compare.read import find_comparisons

    found = []
    for folder in folders:
        inside = find_comparisons(Path(folder))
        if not inside:
            raise SettingsError(f"There is no finished comparison in {folder!r}; make one with compare.")
        found += inside
    return ComparisonStore(more=found)
