"""From a step in a comparison's rows to that step in the viewer: its run is made again up to there."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

from specviz.app import answers, run_handlers
from specviz.app.form import as_form_reads
from specviz.app.page_state import PageState, Run
from specviz.app.server.progress import Progress, mapped
from specviz.app.server.session_registry import Live, Sessions, Ticket
from specviz.app.server.session_start import new_session
from specviz.compare.statistics import Group
from specviz.engine.run_until import run_until
from specviz.errors import SettingsError
from specviz.figures import dump_block
from specviz.trace.schema import Trace

AnswerAndInputs = tuple[run_handlers.Answer, "run_handlers.Inputs | None"]
"""(answer, what the form says of the run once it is there)"""


def replay(
    sessions: Sessions, page: str, folder: Path, group: Group, run: tuple[str, str], step: int, page_state: PageState
) -> Generator[AnswerAndInputs, None, None]:
    """Answers as of :func:`specviz.app.run_handlers.run_steps`, with what the form says of the run once it is there.

    A run that the page has already is opened at the step; otherwise it is run up to it and no further.

    Args:
        run: (prompt id, verifier).
    """
    sessions.clear_stop(page)
    ticket: Ticket | None = None
    unfinished: Ticket | None = None
    try:
        from specviz.compare.replay import replay_difference, replayable_run  # imports torch

        recipe = replayable_run(folder, group, *run)
        if not 0 <= step <= max(row["step"] for row in recipe.rows):
            raise SettingsError(f"This run has no step {step + 1}; choose one that is listed.")
        limits = sessions.limits
        models = limits.as_set(recipe.pair)
        inputs = (recipe.prompt, models, recipe.settings)
        at_hand = _at_hand(page_state, inputs, step)
        if at_hand is not None:
            recipe.refuse_others(at_hand.models)
            told = replay_difference(recipe, at_hand.steps[: step + 1], at_hand.models)
            yield (_opened(at_hand, step, told), at_hand, None), inputs
            return
        limits.check_prompt(recipe.prompt)
        limits.check_tree(recipe.settings.builder, len(recipe.settings.verifiers))
        ticket = _live(sessions, page_state, inputs)
        live = sessions.get(ticket)
        if live is None:

            def start(pair: Any) -> Any:
                recipe.refuse_others(pair.models)
                return new_session(limits, pair, recipe.settings, recipe.prompt, recipe.known)

            session = yield from mapped(sessions.backend.with_pair(models, start), _working)
            form = as_form_reads(recipe.settings) or recipe.settings
            live = Live(session, models, recipe.prompt, form, page)
            ticket = unfinished = sessions.add(live)
        assert ticket is not None
        session, wanted = live.session, step + 1

        def progress(_: object = None) -> AnswerAndInputs:
            done = len(session.steps)
            return _working(Progress(f"Making the run again: {done} of {wanted} steps.", done / wanted))

        running = run_until(
            session,
            steps=max(0, wanted - len(session.steps)),
            seconds=limits.seconds,
            must_stop=lambda: sessions.must_stop(page),
            step=lambda: sessions.step(ticket, live),
        )
        yield progress()
        reason = yield from mapped(running, progress)
        problem = {
            "stop": "Stopped before the step was reached.",
            "seconds": f"Step {wanted} is further than {limits.seconds:,} seconds get; choose an earlier one.",
            "step ended": limits.step_ended(len(session.steps) + 1),
            "session gone": "The models were needed for others meanwhile; choose the step again.",
        }.get(reason)
        if problem is not None:
            yield (answers.message("info", problem), None, None), None
            return
        trace = session.trace
        told = replay_difference(recipe, trace.steps, trace.models)
        if len(trace.steps) <= step:
            told = (told or "The run ended earlier than it was recorded.").rstrip(".") + "; its last step is shown."
        unfinished = None
        yield (_opened(trace, min(step, len(trace.steps) - 1), told), trace, ticket), inputs
    except Exception as error:
        yield (run_handlers.failed(error), None, None), None
    finally:
        sessions.drop(unfinished)  # the page never got its ticket
        sessions.end_click(ticket)


def _working(progress: Progress) -> AnswerAndInputs:
    return (run_handlers.working(progress), None, None), None


def _same(page_state: PageState, inputs: run_handlers.Inputs) -> list[Run]:
    """Runs of the page that began with these inputs."""
    return [
        run
        for run in page_state.runs
        if (run.stored.head.prompt, run.models, run.stored.head.settings) == inputs and not run.stored.head.forked_from
    ]


def _live(sessions: Sessions, page_state: PageState, inputs: run_handlers.Inputs) -> Ticket | None:
    """What finds the run's session, if it was made before and still has its caches."""
    return next((run.ticket for run in _same(page_state, inputs) if sessions.get(run.ticket) is not None), None)


def _at_hand(page_state: PageState, inputs: run_handlers.Inputs, step: int) -> Trace | None:
    """The run of the page, if it was made before and has come as far."""
    return next((run.trace for run in _same(page_state, inputs) if run.stored.steps > step), None)


def _opened(trace: Trace, step: int, told: str | None) -> str:
    positions = range(max(0, step - run_handlers.MOST_AT_ONCE + 1), min(len(trace.steps), step + 2))
    said = told or f"Step {step + 1} was made again and is as it was recorded."
    notice = answers.notice("error" if told else "info", said)
    look = {"notice": notice, "look": {"step": step, "node": None, "verifier": None}}
    # The step that was asked for comes first: what does not fit is asked for by the viewer.
    shown = answers.frames_block(trace, [step, *positions], go=step, notice=notice)
    return f"[{shown},{dump_block(look)}]"
