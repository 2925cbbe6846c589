"""Parts of a form: cards with their fields, options of what is chosen, and what is wrong beside a field."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, get_args

import gradio as gr
from pydantic.fields import FieldInfo

from specviz.display import as_markdown
from specviz.errors import SpecvizError
from specviz.options import option_kind

QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "queue": False}
"""Of events that only change what a card of the settings shows."""


@contextmanager
def group(title: str, *classes: str) -> Iterator[None]:
    """A card of a page, with its heading."""
    with gr.Column(elem_classes=["specviz-group", *classes], min_width=0):
        gr.Markdown(f"## {title}")
        yield


def fields() -> gr.Row:
    """Fields of a card in aligned columns; assets/viewer/pages.css says how many."""
    return gr.Row(elem_classes="specviz-fields")


@contextmanager
def folded(title: str) -> Iterator[None]:
    """Fields of a card that are rarely needed, behind a line that opens them."""
    with gr.Accordion(title, open=False, elem_classes="specviz-fold"), fields():
        yield


def options_of_chosen(
    add: Callable[[str, Any], Any],
    chooser: Any,
    prefix: str,
    options_by_name: Mapping[str, Any],
    labelled: bool = False,
) -> None:
    """The options of each name, in sight only while it is chosen; what is hidden keeps its values.

    Args:
        add: takes each component by its name.
        labelled: begin every label with the name, because several may be chosen.
    """

    def in_sight(name: str, chosen: Any) -> bool:
        return name in ([chosen] if isinstance(chosen, str) else chosen or ())

    columns: dict[str, Any] = {}
    for name, options in options_by_name.items():
        if not options.model_fields:
            continue
        with gr.Column(visible=in_sight(name, chooser.value), min_width=0) as columns[name]:
            _option_fields(add, f"{prefix}.{name}", options, label=f"{name} " if labelled else "")
    chooser.change(
        lambda chosen: [gr.Column(visible=in_sight(name, chosen)) for name in columns],
        chooser,
        [*columns.values()],
        api_visibility="private",
        show_progress="hidden",
    )


def _option_fields(add: Callable[[str, Any], Any], prefix: str, options: Any, label: str = "") -> None:
    for name, info in options.model_fields.items():
        written_out = name if label.strip() == name else f"{label}{name}"  # lenience has an option of its own name
        add(f"{prefix}.{name}", _component(label_of(written_out), info))


def _component(label: str, info: FieldInfo) -> Any:
    """The control for one pydantic field, by its type."""
    note, kind = info.description, option_kind(info)
    if kind == "choice":
        return gr.Dropdown(list(get_args(info.annotation)), value=info.default, label=label, info=note)
    if kind == "yes":
        return gr.Checkbox(info.default, label=label, info=note)
    if kind in ("whole", "number"):
        return gr.Number(info.default, label=label, info=note, precision=0 if kind == "whole" else None)
    return gr.Textbox(str(info.default), label=label, info=note, max_length=20_000)


def checked(field: Any, check: Callable[[str], object]) -> None:
    """What is wrong with a text stands below its field once it is left; while it is changed nothing does.

    Args:
        check: raises a :class:`~specviz.errors.SpecvizError` for what is not of the form.
    """
    said = gr.Markdown("", elem_classes="specviz-wrong")
    field.change(None, None, said, js="() => ''", **QUIET)
    field.blur(lambda text: wrong_with(lambda: check(text or "")), field, said, **QUIET)


def wrong_with(check: Callable[[], object]) -> str:
    """What is wrong, in Markdown, where ``check`` raises a :class:`~specviz.errors.SpecvizError`; else nothing."""
    try:
        check()
    except SpecvizError as error:
        return as_markdown(str(error))
    return ""


def label_of(name: str) -> str:
    """What stands above the field of this name: ``top_k`` is ``Top k``."""
    return name.replace("_", " ").capitalize()
