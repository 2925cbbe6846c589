"""What several tests of the page start from."""

from __future__ import annotations

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
