"""The handlers of a page that follows a recording: what is new, and what Step, Run and Stop order its engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from specviz.app import opening, run_handlers, whatif
from specviz.app.answers import frames_block
from specviz.app.blocks import asked_for, position_of
from specviz.app.follow import Follower
from specviz.app.page_state import PageState, Run
from specviz.errors import SpecvizError
from specviz.figures import dump_block
from specviz.trace.breakpoints import parse_breakpoints

if TYPE_CHECKING:
    from specviz.app.handlers import Actions


class FollowActions:
    """The handlers of a page that follows."""

    def __init__(self, act: Actions, follower: Follower):
        self._act, self._follower = act, follower

    async def on_follow(self, known: PageState | None, event: gr.EventData, request: gr.Request) -> tuple[Any, Any]:
        """What is new since the page asked last: of the run in sight, if that is one that is followed."""
        asked, page = asked_for(event), str(request.session_hash)
        self._act.visitors.register(page, "follow", lambda: self._follower.left(page))
        self._follower.seen(page)
        sight = asked.get("run") if isinstance(asked.get("run"), str) else None
        status = self._follower.status(sight)
        if asked.get("version") == status["version"]:
            return gr.skip(), gr.skip()
        there = known or self._act.start
        runs = {run.id: run for run in self._follower.runs}
        turns = bool(runs) and sight not in runs and asked.get("follows") is True
        added = any(there.find(id) is None for id in runs)
        if turns or added:
            there = self._follower.shown_in(there, turns)
        state = there if turns or added else gr.skip()
        run = there.run if turns else runs.get(sight or "")
        if run is None:
            return dump_block({"following": status}), state
        more: dict[str, Any] = {"following": status}
        if found := self._follower.hits_since(position_of(asked.get("version")) or 0, run.id):
            more |= run_handlers.stopped_at(found)
        seen = 0 if turns else position_of(asked.get("steps")) or 0
        try:
            text = await self._act.about(run, request, lambda: _new_frames(run, seen, more))
        except SpecvizError as error:
            return run_handlers.failed(error), state
        extra = [dump_block({"verifiers": whatif.verifier_choices()})] if turns else []
        extra += [opening.requests_block(there)] if turns or added else []
        return f"[{','.join(filter(None, [text, *extra]))}]", state

    def on_order(self, event: gr.EventData, *values: Any) -> str:
        """Step, run or stop the engine that waits; ``values`` are those of the breakpoints."""
        try:
            until = parse_breakpoints(self._act.stops.named(values))
            self._follower.order(asked_for(event).get("act"), until)
        except SpecvizError as error:
            return run_handlers.failed(error)
        # Of version 0: the page has not heard of the steps that came meanwhile.
        return dump_block({"following": self._follower.status() | {"version": 0}, "notice": None})


def _new_frames(run: Run, seen: int, more: dict[str, Any]) -> str:
    """The run, and its newest frames; a page asks for others that it misses."""
    trace = run.trace
    new = range(len(trace.steps) - 1, seen - 1, -1)[: run_handlers.MOST_AT_ONCE]
    return frames_block(trace, new, go=max(0, len(trace.steps) - 1), **more)
