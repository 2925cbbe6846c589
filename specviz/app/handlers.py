"""Every handler of the page: what happens when a visitor presses something. The components are in page.py.

Handlers get the state of the visitor's page and answer with what changes; they keep nothing of a visitor's themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from specviz.app import diff_handlers, faults, lessons, opening, run_handlers, whatif
from specviz.app.answers import LargeAnswers, bounded, message
from specviz.app.blocks import asked_for, position_of
from specviz.app.follow import Follower
from specviz.app.form import Form, as_form_reads, read_models, write_form
from specviz.app.page_state import PageState, Run, describe, describe_fork, models_of
from specviz.app.proofs import Proofs, in_use
from specviz.app.server.clients import client_of_event
from specviz.app.server.readers import Readers
from specviz.app.server.session_registry import Sessions
from specviz.app.server.share_store import ShareStore
from specviz.app.server.trace_store import StoredTrace
from specviz.app.server.uploads import forget_upload
from specviz.app.server.visitors import Visitors
from specviz.errors import SettingsError, SpecvizError
from specviz.figures import dump_block
from specviz.figures.text import one_line
from specviz.models.pair_spec import ModelChoice
from specviz.trace.breakpoints import Breakpoints, parse_breakpoints
from specviz.trace.identity import caveats
from specviz.trace.io import packed, write_file
from specviz.trace.schema import Choice, Trace

ANOTHER_ENGINE = (
    "This run was recorded from another engine, {}, so no step can be added to it here; Run starts a new one of the "
    "prompt above, and so does Step after New run."
)
_Write = Callable[[Trace, Path], None]


class Actions:
    """The handlers.

    Args:
        trace: what the page opens on; by default the recorded run that comes with specviz.
        follower: of a recording that the page opens on and follows.

    Attributes:
        limits: what a visitor may ask for.
        form, stops: the settings and the breakpoints, whose components are added while the page is built.
        start: the state of the page of a visitor who has not done anything yet.
        first_block: what the viewer opens with.
    """

    def __init__(
        self,
        sessions: Sessions,
        share_store: ShareStore,
        proofs: Proofs,
        trace: Trace | None = None,
        follower: Follower | None = None,
    ):
        self.sessions, self.share_store, self.proofs = sessions, share_store, proofs
        self.limits = sessions.limits
        self.large_answers = LargeAnswers(self.limits)
        self.recorded = run_handlers.recorded_traces()
        self.visitors = Visitors(sessions)
        self.readers = Readers(self.limits)
        first, problem = None, None
        try:
            if trace is not None:
                first = Run(StoredTrace.shared(trace), "the run it was started with", models_of(trace))
            elif follower is not None:
                first = next(iter(follower.runs), None)
            elif self.recorded:
                first = opening.recorded(self.recorded[0])
        except SpecvizError as error:
            problem = run_handlers.failed(error)
        # A page's state holds the opening run by reference only: Gradio copies it once a session; values are frozen.
        self.start = PageState().show(first, filled=bool(trace and trace.settings)) if first else PageState()
        # The form starts with the run that the page was told to open, and with its own defaults beside one to look at:
        # they are those of a call by a program, too.
        written = {}
        if first and trace and trace.settings:
            written = write_form(trace.prompt, self.limits.as_set(first.models), trace.settings)
        self.form, self.stops = Form(self.limits, start=written), Form(self.limits)
        self.first_block = problem or opening.first_block(first)
        if follower is not None:
            self.start = follower.shown_in(self.start, first is not None)
            told = [opening.requests_block(self.start), dump_block({"following": follower.status()})]
            self.first_block = f"[{','.join(filter(None, [self.first_block, *told]))}]"

    # ------------------------------------------------------------------------------------------ running

    def inputs_of(self, values: tuple[Any, ...]) -> tuple[run_handlers.Inputs, Breakpoints]:
        """What the settings and the breakpoints say, from the values of their components."""
        count = len(self.form.inputs)
        return self.form.read(values[:count]), parse_breakpoints(self.stops.named(values[count:]))

    def on_run(
        self, count: Any, known: PageState | None, request: gr.Request, *values: Any
    ) -> Iterator[tuple[Any, Any]]:
        """The endpoint ``run``: up to ``count`` steps, one answer a step."""
        there = known or self.start
        if there.lost:
            yield message("error", there.absent()), replace(there, lost=False)
            return
        try:
            inputs, until = self.inputs_of(values)
            limit = self.limits.steps_of(count)
        except SpecvizError as error:
            yield run_handlers.failed(error), gr.skip()
            return
        # Nobody can go on with another engine's run: Run starts one of the prompt that stands in the form.
        before = None if there.anew or _engine_of(there) else there.run
        ticket = before.ticket if before else None
        trace = self.sessions.trace_of(ticket)  # in memory already; the page's copy may be compressed
        if trace is None and before is not None:
            trace = before.trace
        page = _page_id(request)
        answers = run_handlers.run_steps(self.sessions, page, inputs, limit, trace, ticket, until)
        for text, moved, found_by in self.visitors.count_run(page, answers, inputs, trace):
            if moved is not None and found_by is not None:
                there = there.after_step(moved, inputs[1], found_by)
            yield text, there

    def on_step(self, known: PageState | None, request: gr.Request, *values: Any) -> Iterator[tuple[Any, Any]]:
        """The endpoint ``step``."""
        there = known or self.start
        engine = None if there.anew or there.lost else _engine_of(there)
        if engine is not None:
            yield message("error", ANOTHER_ENGINE.format(one_line(engine, 32))), gr.skip()
            return
        yield from self.on_run(1, known, request, *values)

    def not_open(self, there: PageState) -> str:
        """The answer to an event about a run that the page does not have any more."""
        return message("error", there.absent())

    def on_new(self, known: PageState | None) -> tuple[str, PageState]:
        """The endpoint ``new``: the next step starts a new run."""
        text = "The next step starts a new run from the prompt."
        return message("info", text), replace(known or self.start, anew=True, lost=False)

    def on_fork(
        self, known: PageState | None, event: gr.EventData, request: gr.Request, *values: Any
    ) -> Iterator[list[Any]]:
        """Fork a run at a step: run that step again in a new run, with the settings of the form."""
        there = known or self.start
        untouched = self.form.untouched()
        asked = asked_for(event)
        parent, at = there.find(asked.get("run")), position_of(asked.get("step"))
        if parent is None or at is None:
            yield [self.not_open(there), gr.skip(), *untouched]
            return
        trace = parent.trace
        # The form counts only if it was filled in from this run; otherwise its values belong to another one.
        own = there.filled != trace.id
        try:
            settings = trace.own_settings()
            recorded = trace.own_settings_of(at) if at < len(trace.steps) else settings
            inputs = (trace.prompt, self.limits.as_set(parent.models), recorded)
            if not own:
                _, models, chosen = self.form.read(values)
                same = chosen == as_form_reads(settings)
                inputs = (trace.prompt, models, settings if same else chosen)
        except SpecvizError as error:
            yield [run_handlers.failed(error), gr.skip(), *untouched]
            return
        fill = self.form.write(*inputs)
        page = _page_id(request)
        answers = run_handlers.fork(self.sessions, page, inputs, trace, at)
        for text, moved, ticket in self.visitors.count_run(page, answers, inputs, trace):
            if moved is None or ticket is None:
                yield [text, gr.skip(), *untouched]
                continue
            there = there.after_step(moved, inputs[1], ticket)
            caveat = caveats(moved.models, trace.models) if at else None
            forked = describe_fork(there.runs[-1].title, at, own)
            said = message("info", " ".join(filter(None, (forked, caveat))))
            # Where the step failed its own notice stays, and not the one about the fork.
            yield [text if moved.failed else f"[{text},{said}]", there, *fill]

    # ------------------------------------------------------------------------------------------ opening

    def open_run(self, known: PageState | None, opened: Callable[[], Run]) -> list[Any]:
        """Show the run that ``opened`` returns, on the page and in the form."""
        try:
            one = opened()
            return self.show_run(known, one, opening.first_block(one))
        except SpecvizError as error:
            return [run_handlers.failed(error), gr.skip(), *self.form.untouched()]

    def show_run(self, known: PageState | None, one: Run, text: Any) -> list[Any]:
        """Show a recorded run, with its prompt, models and settings in the form, so that Step and Run go on with the
        run that is seen. Another engine's run leaves the form as it is.

        Args:
            text: the block that shows it.
        """
        settings = one.trace.settings
        fill = self.form.write(one.trace.prompt, one.models, settings) if settings else self.form.untouched()
        there = (known or self.start).show(one, filled=settings is not None)
        requests = opening.requests_block(there)
        return [f"[{text},{requests}]" if requests else text, there, *fill]

    def models_for(self, there: PageState, one: Run, values: Sequence[Any]) -> ModelChoice:
        """The pair that a run is asked about with: the form's where it was filled in from this run, because there a
        person may have said where its models are.

        Raises:
            SettingsError: for a choice in the form that cannot be made.
        """
        return read_models(self.form.named(values)) if there.filled == one.id else self.limits.as_set(one.models)

    def on_open(self, name: str | None, known: PageState | None) -> list[Any]:
        """The endpoint ``open``: a recorded run that comes with specviz."""
        return self.open_run(known, lambda: opening.recorded(name or ""))

    def on_upload(self, path: str | None, known: PageState | None, request: gr.Request) -> list[Any]:
        """Open a trace file that the visitor sent; of a recording all requests, with the first in sight."""
        client, most = client_of_event(request, self.limits), self.limits.upload_bytes
        there = known or self.start
        try:
            first, *others = opening.uploaded(self.readers, path, most, client)
            for one in (first, *others) if others else ():
                there = there.show(one)
            return self.show_run(there, first, opening.first_block(first))
        except SpecvizError as error:
            return [run_handlers.failed(error), gr.skip(), *self.form.untouched()]
        finally:
            forget_upload(path)

    def on_open_listed(self, id: str | None, known: PageState | None) -> list[Any]:
        """Open one of the runs of the page."""
        return self.open_run(known, lambda: opening.listed(known or self.start, id))

    def on_open_run(self, known: PageState | None, event: gr.EventData) -> list[Any]:
        """Open one of the runs of the page at a step."""
        asked = asked_for(event)
        answer = self.open_run(known, lambda: opening.listed(known or self.start, asked.get("run")))
        at = position_of(asked.get("step"))
        if isinstance(answer[1], PageState) and at is not None:
            look = {"step": at, "node": None, "verifier": None}
            answer[0] = f"[{answer[0]},{dump_block({'look': look})}]"
        return answer

    def on_load(self, request: gr.Request) -> list[Any]:
        """Open the run that the address of the page names; else show the inputs of the one that it opens on."""
        asked = dict(request.query_params)
        look = {"step": _whole(asked.get("step"), 1) - 1, "node": _whole(asked.get("node"), None)}
        look["verifier"] = asked.get("verifier")
        if "trace" not in asked:
            text = dump_block({"look": look}) if self.start.run and asked.keys() & look.keys() else gr.skip()
            first = None if self.start.filled else self.start.run  # the prompt above a run is to be its own
            return self.show_run(None, first, text) if first else [text, gr.skip(), *self.form.untouched()]
        client, name = client_of_event(request, self.limits), str(asked["trace"])
        answer = self.open_run(None, lambda: opening.linked(self.readers, self.share_store, name, client))
        if isinstance(answer[1], PageState):
            answer[0] = f"[{answer[0]},{dump_block({'look': look})}]"
        return answer

    async def on_frames_wanted(self, known: PageState | None, event: gr.EventData, request: gr.Request) -> Any:
        """The frames that the viewer misses, or those that it has to ask for again."""
        asked = asked_for(event)
        there = known or self.start
        run = there.find(asked.get("run"))
        if run is None:
            return self.not_open(there) if there.lost else gr.skip()
        text = await run_handlers.wanted_frames(self.large_answers, request, run.stored, asked.get("steps"))
        return text or gr.skip()

    def on_list_runs(self, known: PageState | None) -> Any:
        """The list of the runs of the page."""
        there = known or self.start
        return gr.Radio(there.lines(), value=there.shown)

    def on_compare_tab(self, known: PageState | None) -> list[Any]:
        """The runs that can be compared, the one in sight and the latest other one chosen."""
        there = known or self.start
        names = [(describe(one), one.id) for one in there.runs]
        names += [(f"recorded: {name}", f"recorded:{name}") for name in self.recorded]
        ids = [one.id for one in reversed(there.runs)]
        shown = there.shown or next(iter(ids), None)
        other = next((id for id in ids if id != shown), None)
        return [gr.Dropdown(names, value=shown), gr.Dropdown(names, value=other)]

    def on_compare(self, known: PageState | None, a: str | None, b: str | None) -> tuple[str, Any]:
        """Compare two runs."""
        try:
            one, two = (opening.chosen(known or self.start, side) for side in (a, b))
            if one.id == two.id:
                raise SettingsError("A and B are the same run; choose another one for B.")
            text = bounded({"compare": diff_handlers.compare_runs(one.trace, two.trace, (one.title, two.title))})
        except SpecvizError as error:
            return run_handlers.failed(error), gr.skip()
        there = known or self.start
        for added in (one, two):  # so that its steps can be opened from the comparison
            if there.find(added.id) is None:
                there = replace(there.show(added), shown=there.shown, anew=there.anew)
        return text, there

    def on_plain_greedy(
        self, known: PageState | None, a: str | None, request: gr.Request, *values: Any
    ) -> Iterator[str]:
        """Compare a run with plain greedy decoding of its prompt."""
        try:
            one = opening.chosen(known or self.start, a)
            models = self.models_for(known or self.start, one, values)
        except SpecvizError as error:
            yield run_handlers.failed(error)
            return
        page = _page_id(request)
        with self.visitors.working(page):
            yield from diff_handlers.against_greedy(self.sessions, page, one.trace, models, one.title)

    async def on_next_hit(self, at: str, known: PageState | None, request: gr.Request, *values: Any) -> Any:
        """Go to the next step that hits a breakpoint."""
        there = known or self.start
        if (run := there.run) is None:
            return message("info", there.absent("No run is open."))
        start = _whole(at, 0) + 1
        try:
            until = parse_breakpoints(self.stops.named(values))
            return await self.about(run, request, lambda: run_handlers.next_hit(run.trace, start, until))
        except SpecvizError as error:
            return run_handlers.failed(error)

    async def about(self, run: Run, request: gr.Request, work: Callable[[], Any]) -> Any:
        """What ``work`` returns, which goes over a whole run; see :meth:`~specviz.app.answers.LargeAnswers.make`."""
        return await self.large_answers.make(request, run.stored.size, work)

    # ---------------------------------------------------------------------------------- asking, sharing

    async def on_what_if(self, known: PageState | None, event: gr.EventData, request: gr.Request) -> Any:
        """Answer a what-if question from what the trace has recorded."""
        there = known or self.start
        one = there.find(asked_for(event).get("run"))
        if one is None:
            return self.not_open(there)
        try:
            return await self.about(one, request, lambda: whatif.from_trace(one.trace, event._data))
        except SpecvizError as error:
            return run_handlers.failed(error)

    def on_what_if_models(self, known: PageState | None, event: gr.EventData, *values: Any) -> Iterator[str]:
        """Answer a what-if question with the models."""
        there = known or self.start
        one = there.find(asked_for(event).get("run"))
        if one is None:
            yield self.not_open(there)
            return
        try:
            models = self.models_for(there, one, values)
        except SpecvizError as error:
            yield run_handlers.failed(error)
            return
        yield from whatif.through_models(self.sessions, one.trace, models, event._data)

    def on_lesson(self, known: PageState | None, event: gr.EventData) -> list[Any]:
        """Open a lesson, with its run."""
        return self._show_told(known, event, "lesson", *lessons.open_lesson(event._data))

    def on_fault(self, known: PageState | None, event: gr.EventData) -> list[Any]:
        """Open a fault of the gallery, with its run."""
        return self._show_told(known, event, "fault", *faults.open_fault(event._data))

    def _show_told(
        self, known: PageState | None, event: gr.EventData, kind: str, text: str, stored: StoredTrace | None
    ) -> list[Any]:
        """What is told beside a run, with that run; or why it cannot be."""
        if stored is None:
            return [text, gr.skip(), *self.form.untouched()]
        found = (known or self.start).find(stored.id)
        return self.show_run(known, found or Run(stored, f"{kind} {event._data['name']}", models_of(stored.head)), text)

    async def on_hold(self, known: PageState | None, event: gr.EventData, request: gr.Request) -> tuple[str, Any]:
        """Save a run for some days and answer with the link that opens it."""
        there = known or self.start
        one = there.find(asked_for(event).get("run"))
        if one is None:
            return self.not_open(there), gr.skip()
        try:
            client = client_of_event(request, self.limits)
            name = await self.about(one, request, lambda: self.share_store.save(one.trace, client))
        except SpecvizError as error:
            return run_handlers.failed(error), gr.skip()
        named = replace(one, link=name)
        link = {"run": one.id, "name": named.link, "steps": one.stored.steps, "copy": True}
        kept = replace(there, runs=tuple(named if run is one else run for run in there.runs))
        return dump_block({"link": link, "notice": None}), kept

    def save_file(self, known: PageState | None, request: gr.Request, write: _Write, ending: str) -> str:
        """Write the run in sight to a file, and answer with its path."""
        there = known or self.start
        if (run := there.run) is None:
            raise gr.Error(there.absent("No run is open."), print_exception=False)
        name, trace = f"specviz-{run.id}{ending}", run.trace
        # Page turns an error into its sentence.
        page, client = _page_id(request), client_of_event(request, self.limits)
        return self.visitors.save_file(page, client, name, lambda path: write(trace, path))

    def on_save_trace(self, known: PageState | None, request: gr.Request) -> str:
        """Save the run in sight as a trace file."""
        return self.save_file(known, request, lambda trace, path: write_file(path, packed(trace)), ".json.gz")

    def on_save_page(self, at: str, known: PageState | None, request: gr.Request, alone: bool = False) -> str:
        """Save the run in sight as an HTML page that opens on the step in sight."""
        client = client_of_event(request, self.limits)

        def write(run: Trace, path: Path) -> None:
            go = max(0, min(_whole(at, 0), len(run.steps) - 1))
            self.readers.write_page(run, path, client, go, alone)

        return self.save_file(known, request, write, ".html")

    def on_save_step(self, at: str, known: PageState | None, request: gr.Request) -> str:
        """Save the step in sight alone as an HTML page."""
        return self.on_save_page(at, known, request, alone=True)

    def on_verifiers(self, known: PageState | None, *values: Any) -> Iterator[list[Any]]:
        """The table of what ``check`` finds about every verifier, again and again until it is complete."""
        there = (known or self.start).run
        chosen = {choice.name: choice for choice in in_use(self.form.verifiers(values), None)}
        used = in_use(chosen.values(), there.trace if there else None)
        for rows in self.proofs.rows(used):
            labels = []
            for name in run_handlers.verifier_names():
                badge = self.proofs.badge(chosen.get(name) or Choice(name=name))
                labels.append((f"{name} · {badge}" if badge else name, name))
            text = dump_block({"proofs": self.proofs.texts()})
            yield [self.proofs.table(rows), gr.CheckboxGroup(labels), text]

    def on_stop(self, request: gr.Request) -> None:
        """The endpoint ``stop``: what runs for the page ends after the step it is in."""
        self.visitors.stop(_page_id(request))

    # ------------------------------------------------------------------------------------------ leaving

    def on_state_deleted(self, page_state: PageState | None) -> None:
        """End the sessions of a page that nobody has used for so long that Gradio forgets its state."""
        for run in page_state.runs if page_state else ():
            self.sessions.drop(run.ticket)


def _engine_of(there: PageState) -> str | None:
    """Who recorded the run in sight, where that was another engine."""
    return there.run.stored.head.who if there.run and there.run.stored.head.engine else None


def _whole(text: Any, otherwise: Any) -> Any:
    return int(text) if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 8 else otherwise


def _page_id(request: gr.Request) -> str:
    return str(request.session_hash)
