"""An advised tree is taken into the settings of the page."""

from __future__ import annotations

from typing import Any

import gradio as gr

from specviz.app import run_handlers
from specviz.app.answers import message
from specviz.app.blocks import asked_for, position_of
from specviz.app.form import Form
from specviz.app.page_state import PageState
from specviz.errors import SettingsError, SpecvizError
from specviz.trace.advice import advise


def take_shape(form: Form, there: PageState, absent: str, event: gr.EventData) -> list[Any]:
    """The viewer's block, and an update for each input of the form: the builder becomes ``explicit`` with the paths of
    the tree that is advised for the budget that was asked for; everything else stays.

    Args:
        absent: the block that says that the run is not open.
    """
    asked = asked_for(event)
    one, budget = there.find(asked.get("run")), position_of(asked.get("budget"))
    if one is None or budget is None:
        return [absent, *form.untouched()]
    try:
        found = advise([one.trace], [budget])
    except SpecvizError as error:
        return [run_handlers.failed(error), *form.untouched()]
    tree, proposal = found.trees[0], found.proposal
    if not tree.nodes:
        return [run_handlers.failed(SettingsError("No tree can be advised from this run.")), *form.untouched()]
    values = {"builder": "explicit", "builder.explicit.paths": tree.paths}
    text = f"The tree of {tree.nodes} nodes is in the settings, as the builder explicit; the next run has it."
    if proposal is not None:
        values["builder.explicit.proposal"] = proposal
    if one.trace.engine:
        text += " Models, sampling and verifiers there are not those of this run, which another engine made."
        text += "" if proposal else " How its siblings were proposed was not recorded, so that is as it was there, too."
    said = message("info", f"{text} What it gains is not known before it has run on other prompts.")
    updates = [gr.update(value=values[name]) if name in values else gr.skip() for name in form.components]
    return [said, *updates]
