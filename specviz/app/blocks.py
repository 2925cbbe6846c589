"""Gradio's ``Blocks`` for callers from outside: every error becomes one sentence, and private events have no name.

Gradio itself gives each event a name by which it can be called, also the private ones. Where something is raised it
answers nothing but "Error", and writes all that was sent into the server's log.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr
from fastapi.exceptions import RequestValidationError
from gradio.route_utils import FnIndexInferError
from starlette.requests import Request
from starlette.responses import JSONResponse

from specviz.app import run_handlers
from specviz.app.server.ending import Ending
from specviz.app.server.limits import Limits
from specviz.app.server.turns import UNHEARD, Turns
from specviz.display import upright

MODEL_WORK, COMPARISONS = "model", "comparison"
"""Concurrency ids of the events that work with a model. Of each kind, one event runs at a time."""
KINDS = {MODEL_WORK: "clicks that wait for the models", COMPARISONS: "small comparisons that wait for the models"}
UNFIT = "What was sent is not what this page takes; choose on the page, or see docs/api.md for what each input can be."


class Page(gr.Blocks):
    """The page.

    Args:
        limits: what a visitor may ask for.
        options: see ``gr.Blocks``.

    Attributes:
        ending: whether the server of this page stops.
        turns: who is next; once the page has a queue.
        closed: called with the session of a tab that was closed.
    """

    def __init__(self, limits: Limits, **options: Any):
        super().__init__(**options)
        self.limits = limits
        self.ending = Ending()
        self.turns: Turns
        self.closed: Callable[[str], object] = lambda _: None

    def close(self, verbose: bool = True) -> None:
        """As Gradio's, but streams end in order."""
        self.ending.begin()
        super().close(verbose)

    def name_inputs(self, names: Mapping[Any, str]) -> None:
        """Give the inputs of public endpoints the names of their components, and private events no name at all.

        To be called once all events are there. The page itself calls events by number.
        """
        by_id = {component._id: name for component, name in names.items()}
        for event in self.fns.values():
            if event.api_visibility == "private":
                event.api_name = None
            else:
                event.input_parameter_names = [by_id.get(component._id) for component in event.inputs]

    def queue(self, **options: Any) -> Page:
        """As Gradio's, but by the rules of :class:`~specviz.app.server.turns.Turns`."""
        super().queue(**options)
        self.turns = Turns(self._queue, lambda: self.limits, KINDS)
        return self

    async def preprocess_data(self, *given: Any, **named: Any) -> Any:
        """Check what was sent before a handler sees it; an error becomes one sentence."""
        try:
            return await super().preprocess_data(*given, **named)
        except gr.Error as error:
            raise _told(error.message) from None
        except Exception:  # raised by a component for a value that no browser sends
            raise _told(UNFIT) from None

    async def process_api(self, *given: Any, **named: Any) -> Any:
        """Run a handler, or get its next answer while somebody listens; an error becomes one sentence."""
        event = self._queue.event_ids_to_events.get(named.get("event_id") or "")
        if event is not None and not self.turns.is_heard(event):
            raise _told(UNHEARD)
        try:
            return await super().process_api(*given, **named)
        except gr.Error as error:
            raise _told(error.message) from None
        except Exception as error:
            raise _told(run_handlers.sentence(error)) from None


def _told(message: str) -> gr.Error:
    """The error as one line that turns no text around, escaped, because a browser shows it as HTML."""
    text = upright(" ".join(str(message).split()))
    return gr.Error(html.escape(text if len(text) <= 300 else f"{text[:299]}…", quote=False), print_exception=False)


def _unknown(_: Request, __: Exception) -> JSONResponse:
    return JSONResponse({"detail": "There is nothing of this name or number; see docs/api.md for what there is."}, 404)


def _invalid(_: Request, error: Exception) -> JSONResponse:
    """FastAPI would repeat what was sent, once for each error."""
    assert isinstance(error, RequestValidationError), "it is registered for these"
    first = error.errors()[0]
    where = " ".join(".".join(str(part) for part in first["loc"]).split())[:60]
    said = f"This request is not what the page takes ({where}: {str(first['msg'])[:100]}); see docs/api.md."
    return JSONResponse({"detail": said}, 422)


UNKNOWN: dict[type[Exception], Any] = {
    FnIndexInferError: _unknown,
    KeyError: _unknown,
    RequestValidationError: _invalid,
}
"""Handlers for what Gradio's routes raise when a call names an event or a component that the page has not, or is not of
the form that they take."""


def asked_for(event: gr.EventData) -> Mapping[str, Any]:
    """The data of an event; empty where it is no object, which only a call made by hand can send."""
    return event._data if isinstance(event._data, Mapping) else {}


def position_of(sent: Any) -> int | None:
    """The position in a run that was sent, or None if it is none. The run may be shorter."""
    return sent if isinstance(sent, int) and not isinstance(sent, bool) and 0 <= sent < 2**31 else None
