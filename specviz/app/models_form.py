"""Which models run, at which precision, and whether they fit: the top of the settings."""

from __future__ import annotations

from typing import Any

import gradio as gr

from specviz.app.form import Form
from specviz.app.form_parts import fields, folded, group
from specviz.display import upright
from specviz.errors import SpecvizError
from specviz.models.choices import DEVICES, DTYPES, PLANNED_CONTEXT, QUANTIZATIONS
from specviz.models.pair_spec import ModelChoice
from specviz.models.presets import PRESETS, find_preset
from specviz.trace.schema import Settings


def models_form(form: Form) -> None:
    """The controls of a :class:`~specviz.models.pair_spec.ModelChoice`, in the current Gradio context."""
    offered = list(form.limits.presets if form.limits.public else PRESETS)
    with group("Models"):
        with fields():
            preset = gr.Dropdown(offered, value=offered[0], label="Pair", info="Fills in both", elem_id="preset")
            free = not form.limits.public
            names = ("default", "default") if "default" in offered else find_preset(offered[0]).names
            said = "Default, a folder, or a hub id" if free else "Of the pair"
            target = form.add("target", gr.Textbox(names[0], label="Target model", info=said, interactive=free))
            said = "Same tokenizer, or a head of it" if free else "Of the pair"
            draft = form.add("draft", gr.Textbox(names[1], label="Draft model", info=said, interactive=free))
            form.add("chat", gr.Checkbox(True, label="Chat template", info="Wrap the prompt as a chat turn"))
            ask = gr.Button("Does it fit?", size="md", elem_id="fits")
        told = gr.Markdown("", visible=False, elem_id="memory-plan")
        with folded("Precision, device and heads"):
            set_by = None if free else "Set by this page's operator"
            bits = {"info": set_by or "8 or 4 bit", "interactive": free}
            loading, how = form.limits.loading, {"info": set_by, "interactive": free}
            for name, label, known, looks in (
                ("target_quantization", "Target weights", QUANTIZATIONS, bits),
                ("draft_quantization", "Draft weights", QUANTIZATIONS, bits),
                ("device", "Device", DEVICES, how),
                ("dtype", "Number type", DTYPES, how),
            ):
                form.add(name, gr.Dropdown([*known], value=getattr(loading, name), label=label, **looks))
            renamed = gr.Checkbox(False, label="Allow renamed tokens", info="The draft misreads them", visible=free)
            form.add("allow_renamed_tokens", renamed)
            reads = gr.Textbox("", label="Layers a head reads", info="Empty: as the head says", visible=free)
            form.add("head_reads", reads)
            options = gr.Textbox("", label="Options of a head", info="As norm_output=false", visible=free)
            form.add("head_options", options)
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    preset.input(lambda name: list(find_preset(str(name)).names), preset, [target, draft], **quiet)
    # The tree is chosen further below; its controls are there by the time that the page is built.
    form.late.append(
        lambda: ask.click(lambda *values: gr.Markdown(fits(form, values), visible=True), form.inputs, told, **quiet)
    )


def fits(form: Form, values: tuple[Any, ...]) -> str:
    """The memory plan of what the form says, as Markdown; nothing is loaded."""
    try:
        _, models, settings = form.read(values)
        form.limits.check_models(models)
        form.limits.check_tree(settings.builder, len(settings.verifiers))
        return plan_text(models, settings)
    except SpecvizError as error:
        return upright(str(error))


def plan_text(models: ModelChoice, settings: Settings) -> str:
    """The memory plan: verdict and table. The config of a model that is no preset is fetched, a few kilobytes."""
    from specviz.drafting import resolve_builder
    from specviz.models.devices import choose_device  # imports torch: not needed to look at a trace
    from specviz.models.planning import plan_pair

    builder, options = resolve_builder(settings.builder)
    nodes = builder.max_nodes(options)
    plan = plan_pair(
        models.target,
        models.draft,
        device=choose_device(models.device),
        dtype=models.dtype,
        target_quantization=models.target_quantization,
        draft_quantization=models.draft_quantization,
        nodes=nodes,
    )
    head, *lines = plan.table()
    rows = ["| " + " | ".join(line) + " |" for line in (head, ("---",) * len(head), *lines)]
    return "\n".join(
        [f"**{plan.verdict}** A context of {PLANNED_CONTEXT:,} tokens, a tree of {nodes} nodes.", "", *rows]
    )
