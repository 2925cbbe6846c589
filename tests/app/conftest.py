"""What tests of the page share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr
import pytest

from specviz.app.form import Form, prompt_box, settings_form
from specviz.app.models_form import models_form


@pytest.fixture(scope="module")
def form() -> Form:
    """All that a run is set with, as a page has it."""
    made = Form()
    with gr.Blocks(analytics_enabled=False):
        prompt_box(made)
        models_form(made)
        settings_form(made)
    return made


@pytest.fixture(scope="session", autouse=True)
def one_web_application_a_page() -> Iterator[None]:
    """Gradio makes four of every page and serves the last, which ``launch`` makes: 0.1 seconds of CPU each.

    Only ``Blocks.queue`` and ``Blocks.__exit__`` say that there is no MCP server, and nothing else.
    """
    from gradio.routes import App

    make = App.create_app

    def make_the_last(blocks: Any, *given: Any, **named: Any) -> Any:
        return None if not given and named == {"mcp_server": False} else make(blocks, *given, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(App, "create_app", staticmethod(make_the_last))
        yield
