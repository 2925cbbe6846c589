"""The settings form, made from the registries: a builder or verifier that is registered has its options on the page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, get_args

import gradio as gr

from specviz.app.form_parts import QUIET, checked, fields, folded, group, label_of, options_of_chosen, wrong_with
from specviz.app.server.limits import Limits
from specviz.drafting import BUILDERS
from specviz.errors import SettingsError, shown
from specviz.models.choices import DEVICES, DTYPES, QUANTIZATIONS
from specviz.models.pair_spec import ModelChoice
from specviz.trace.processors import parse_processors, written
from specviz.trace.schema import Choice, ProcessorMode, PromptEnd, Settings
from specviz.trace.settings import build_choice, build_sampling, build_settings, draft_sampling
from specviz.trace.stop_strings import parse_stops, written_stops
from specviz.verifiers import BUILT_IN, VERIFIERS

DEFAULT_PROMPT = "Why is the sky blue?"
EXAMPLES = (
    ("Fact", "Why is the sky blue?"),
    ("Poem", "Write a short poem about the moon."),
    ("Code", "Write a Python function that adds two numbers."),
)
"""Chips beside the prompt: what each says, and its prompt; one that the default pair answers well."""
PROCESSOR_NAMES = (
    "logit_bias",
    "repetition_penalty",
    "no_repeat_ngram",
    "min_new_tokens",
    "suppress_tokens",
    "ignore_eos",
    "presence_penalty",
    "frequency_penalty",
    "min_p",
)
"""Of :mod:`specviz.models.processors`, which imports transformers."""
DEFAULT_VERIFIERS = ("rejection", "eta", "longest_path")
PROMPT_ENDS = list(get_args(PromptEnd))
PROCESSOR_MODES: tuple[ProcessorMode, ...] = get_args(ProcessorMode)
ADDED = (
    "head_reads",
    "head_options",
    "processors",
    "processor_mode",
    "stop_strings",
    "min_new_tokens",
    "record_optimum",
    "processor_draft",
)
ADDED_VERIFIERS = ("coupling", "lenience", "relaxed")
"""Fields, and verifiers with options, that came after the breakpoints: endpoints have them last, because programs may
send values without names."""


@dataclass
class Form:
    """Components by name, in the order in which handlers receive their values."""

    limits: Limits = field(default_factory=Limits)
    start: dict[str, Any] = field(default_factory=dict)
    """Values by name that components have when a page opens, instead of their defaults; as :func:`write_form` gives."""
    components: dict[str, Any] = field(default_factory=dict)
    late: list[Callable[[], object]] = field(default_factory=list)
    """Events that need all components; :func:`settings_form` attaches them at its end."""

    def add(self, name: str, component: Any) -> Any:
        if name in self.start:
            component.value = self.start[name]
        self.components[name] = component
        return component

    def render(self, *names: str) -> None:
        """Let components that were added without a place stand here."""
        for name in names:
            self.components[name].render()

    @property
    def inputs(self) -> list[Any]:
        return list(self.components.values())

    def with_breakpoints(self, own: Mapping[str, Any], stops: Sequence[Any]) -> list[Any]:
        """Components or values of this form, by name, and those of the breakpoints, in the order of endpoints that
        run steps."""
        first, later = self._in_endpoints()
        return [*(own[name] for name in first), *stops, *(own[name] for name in later)]

    def split(self, values: Sequence[Any], stops: Form) -> tuple[list[Any], list[Any]]:
        """The values of those, apart: of this form, and of the breakpoints."""
        first, later = self._in_endpoints()
        end = len(first) + len(stops.components)
        own = dict(zip([*first, *later], [*values[: len(first)], *values[end:]], strict=True))
        return [own[name] for name in self.components], list(values[len(first) : end])

    def _in_endpoints(self) -> tuple[list[str], list[str]]:
        """Names before the breakpoints, and after them."""
        options = tuple(f"verifier.{name}." for name in ADDED_VERIFIERS)
        later = [name for name in self.components if name in ADDED or name.startswith(options)]
        return [name for name in self.components if name not in later], later

    def named(self, values: Sequence[Any]) -> dict[str, Any]:
        """The components' values by name."""
        return dict(zip(self.components, values, strict=True))

    def read(self, values: Sequence[Any]) -> tuple[str, ModelChoice, Settings]:
        """Prompt, models and settings from the components' values.

        Raises:
            SettingsError: naming the first setting that is out of range.
        """
        return read_form(self.named(values))

    def verifiers(self, values: Sequence[Any]) -> list[Choice]:
        """Every registered verifier with the options that stand in the form, chosen or not; unfit ones are left out."""
        named = self.named(values)
        found = []
        for name in VERIFIERS:
            with suppress(SettingsError):
                found.append(build_choice(name, _options(named, f"verifier.{name}")))
        return found

    def write(self, prompt: str, models: ModelChoice, settings: Settings) -> list[Any]:
        """Updates that make the components show these inputs; one for each of :attr:`inputs`."""
        shown = write_form(prompt, self.limits.as_set(models), settings)
        return [gr.update(value=shown[name]) if name in shown else gr.skip() for name in self.components]

    def untouched(self) -> list[Any]:
        """As :meth:`write`, changing nothing."""
        return [gr.skip()] * len(self.components)


def prompt_box(form: Form) -> None:
    box = gr.Textbox(
        DEFAULT_PROMPT,
        label="Prompt",
        placeholder="Prompt",
        container=False,
        lines=1,
        max_lines=6,
        max_length=form.limits.prompt_characters,
        scale=5,
        min_width=260,
        elem_id="prompt",
    )
    form.add("prompt", box)


def settings_form(form: Form) -> Any:
    """Everything but the prompt, the models and the buttons, in the current Gradio context.

    Returns:
        The field that says how many steps a run has at most; it is no setting of the run.
    """
    with group("Drafting"), fields():
        names = list(BUILDERS)
        builder = form.add("builder", gr.Dropdown(names, value=names[0], label="Draft tree", info="How it is built"))
        options_by_name = {name: registered.Options for name, registered in BUILDERS.items()}
        options_of_chosen(form.add, builder, "builder", options_by_name)
    with group("Verification"), fields():
        verifiers = list(VERIFIERS)
        start = [name for name in DEFAULT_VERIFIERS if name in verifiers] or verifiers[:1]
        ours = [verifier.name for verifier in BUILT_IN]
        start += [name for name in verifiers if name not in ours]  # one that the user brought is meant to be seen
        ticked = gr.CheckboxGroup(verifiers, value=start, label="Verifiers", elem_classes="specviz-wide")
        form.add("verifiers", ticked)
        driver = gr.Dropdown(verifiers, value=start[0], label="Driver", info="Its verdict is committed")
        form.add("driver", driver)
        said = gr.Markdown("", elem_classes="specviz-wrong")
        for changed in (ticked, driver):
            changed.change(
                lambda names, name: wrong_with(lambda: check_driver(name, names or ())), [ticked, driver], said, **QUIET
            )
        options_by_name = {name: verifier.Options for name, verifier in VERIFIERS.items()}
        options_of_chosen(form.add, ticked, "verifier", options_by_name, labelled=True)
    # Programs may send values without names, so the order in which fields are added stays; they stand in another one.
    numbers: list[tuple[str, str, float | None, dict[str, Any]]] = [
        ("temperature", "Target temperature", 1.0, {"minimum": 0, "maximum": 100, "step": 0.1, "info": "0 is greedy"}),
        ("top_k", "Target top-k", 0, {"minimum": 0, "precision": 0, "info": "0 keeps all"}),
        ("top_p", "Target top-p", 1.0, {"minimum": 0, "maximum": 1, "step": 0.05, "info": "1 keeps all"}),
        ("eta_cutoff", "Target eta cutoff", 0.0, {"minimum": 0, "maximum": 1, "step": 0.001, "info": "0 is off"}),
        ("seed", "Seed", 0, {"minimum": 0, "precision": 0, "info": "Of all draws and coins"}),
        ("max_new_tokens", "New tokens at most", 40, {"minimum": 1, "precision": 0, "info": "The text ends there"}),
    ]
    for name, label, value, limits in numbers:
        form.add(name, gr.Number(value, label=label, render=False, **limits))
    # A number field cannot be empty, and a draft at temperature 0 would collapse every tree.
    form.add("draft_temperature", gr.Textbox("", label="Draft temperature", info="Empty: as the target", render=False))
    form.add(
        "prompt_end_token",
        gr.Dropdown(PROMPT_ENDS, value="refuse", label="Prompt end token", info="In a plain prompt", render=False),
    )
    form.add("audit", gr.Checkbox(False, label="Audit caches", info="Against a recompute; slower", render=False))
    form.add(
        "processors",
        gr.Textbox(
            "",
            label="Processors",
            info="Change the target's logits before a token is chosen: name:option=value, with ; between several. "
            f"Names: {', '.join(PROCESSOR_NAMES)}",
            placeholder="repetition_penalty:penalty=1.2; min_p:min_p=0.05",
            max_length=20_000,
            elem_classes="specviz-wide",
            render=False,
        ),
    )
    form.add(
        "processor_mode",
        gr.Dropdown(
            list(PROCESSOR_MODES),
            value="exact",
            label="Processor mode",
            info="exact: each node by the text of its path; frozen: all by the committed text",
            render=False,
        ),
    )
    stop_strings = gr.Textbox(
        "",
        label="Stop strings",
        info=r"The text ends with the first of these that is in it; one a line, \n for a line break",
        lines=2,
        max_lines=6,
        max_length=8_000,
        render=False,
    )
    least = gr.Number(
        0,
        label="New tokens at least",
        minimum=0,
        precision=0,
        info="Nothing ends the text before",
        render=False,
    )
    form.add("stop_strings", stop_strings)
    form.add("min_new_tokens", least)
    form.add(
        "record_optimum",
        gr.Checkbox(
            False,
            label="Optimum of nodes",
            info="How often a child could be accepted at best, and what each rule can expect; slower",
            render=False,
        ),
    )
    form.add(
        "processor_draft",
        gr.Checkbox(False, label="Draft's rows, too", info="In the same mode and order", render=False),
    )
    most = form.limits.steps
    with group("Sampling"):
        with fields():
            form.render("temperature", "draft_temperature", "seed")
        with folded("Truncation and the prompt's end"):
            form.render("top_k", "top_p", "eta_cutoff", "prompt_end_token")
        with folded("Processors"):
            form.render("processors", "processor_mode", "processor_draft")
            checked(form.components["processors"], _check_processors)
    with group("Length and audits"):
        with fields():
            form.render("max_new_tokens")
            steps = gr.Number(
                min(1000, most), label="Steps a run", info=f"Run stops after so many, at most {most:,}", precision=0
            )
            form.render("audit")
        with folded("Stop strings, least length and optimum"):
            form.render("stop_strings", "min_new_tokens", "record_optimum")
            checked(form.components["stop_strings"], lambda text: build_settings(stop=parse_stops(text)))
    for attach in form.late:
        attach()
    return steps


def read_form(values: dict[str, Any]) -> tuple[str, ModelChoice, Settings]:
    """Prompt, models and settings from values by name, see :meth:`Form.read`."""
    prompt = _text(values, "prompt")
    models = read_models(values)
    if not values["verifiers"] or not isinstance(values["verifiers"], (list, tuple)):
        raise SettingsError("Choose at least one verifier.")
    chosen = [name for name in VERIFIERS if name in values["verifiers"]]
    check_driver(values["driver"], chosen)
    builder = _one_of(values, "builder", BUILDERS)
    own = _text(values, "draft_temperature").strip()
    try:
        draft = float(own) if own else None
    except ValueError:
        raise SettingsError(f"The draft temperature {shown(own)} is not a number; or leave it empty.") from None
    target = build_sampling(
        temperature=_given(values, "temperature", float),
        top_k=_given(values, "top_k", int),
        top_p=_given(values, "top_p", float),
        eta_cutoff=_given(values, "eta_cutoff", float),
    )
    mode: ProcessorMode = "frozen" if _one_of(values, "processor_mode", PROCESSOR_MODES) == "frozen" else "exact"
    settings = build_settings(
        target=target,
        draft=draft_sampling(target, draft),
        builder=build_choice(builder, _options(values, f"builder.{builder}")),
        verifiers=tuple(build_choice(name, _options(values, f"verifier.{name}")) for name in chosen),
        processors=parse_processors(_text(values, "processors"), mode, draft=bool(values["processor_draft"])),
        driver=values["driver"],
        seed=_given(values, "seed", int),
        max_new_tokens=_given(values, "max_new_tokens", int),
        min_new_tokens=_given(values, "min_new_tokens", int),
        stop=parse_stops(_text(values, "stop_strings")),
        chat=bool(values["chat"]),
        prompt_end_token=_one_of(values, "prompt_end_token", PROMPT_ENDS),
        audit=bool(values["audit"]),
        record_optimum=bool(values["record_optimum"]),
    )
    return prompt, models, settings


def check_driver(driver: Any, chosen: Sequence[str]) -> None:
    """Refuse a driver that is not among the verifiers that are ticked."""
    if driver not in chosen:
        raise SettingsError(f"The driver {shown(driver)} is not among the verifiers; tick it or choose another driver.")


def _check_processors(text: str) -> None:
    """As a run does before it loads its models."""
    from specviz.models.processors import check_processors  # imports transformers

    check_processors(parse_processors(text))


def read_models(values: dict[str, Any]) -> ModelChoice:
    """The pair of models alone, from values by name; see :meth:`Form.read`."""
    return ModelChoice(
        target=_text(values, "target").strip() or "default",
        draft=_text(values, "draft").strip() or "default",
        device=_one_of(values, "device", DEVICES),
        dtype=_one_of(values, "dtype", DTYPES),
        target_quantization=_one_of(values, "target_quantization", QUANTIZATIONS),
        draft_quantization=_one_of(values, "draft_quantization", QUANTIZATIONS),
        allow_renamed_tokens=bool(values["allow_renamed_tokens"]),
        head_reads=_text(values, "head_reads").strip(),
        head_options=_text(values, "head_options").strip(),
    )


def write_form(prompt: str, models: ModelChoice, settings: Settings) -> dict[str, Any]:
    """Component values, by name, from which :func:`read_form` reads these inputs.

    What this specviz has no control for is left out: a builder or verifier that is not registered here.
    """
    known = [choice for choice in settings.verifiers if choice.name in VERIFIERS]
    names = [choice.name for choice in known]
    follows = settings.draft == draft_sampling(settings.target)
    values: dict[str, Any] = {
        "prompt": prompt,
        **vars(models),
        "chat": settings.chat,
        "verifiers": names,
        "driver": settings.driver if settings.driver in names else next(iter(names), None),
        "temperature": settings.target.temperature,
        "top_k": settings.target.top_k,
        "top_p": settings.target.top_p,
        "eta_cutoff": settings.target.eta_cutoff,
        "processors": written(settings.processors.chosen) if settings.processors else "",
        "processor_mode": settings.processors.mode if settings.processors else "exact",
        "processor_draft": settings.processors is not None and settings.processors.draft,
        "seed": settings.seed,
        "max_new_tokens": settings.max_new_tokens,
        "min_new_tokens": settings.min_new_tokens,
        "stop_strings": written_stops(settings.stop),
        "draft_temperature": "" if follows else f"{settings.draft.temperature:g}",
        "prompt_end_token": settings.prompt_end_token,
        "audit": settings.audit,
        "record_optimum": settings.record_optimum,
    }
    if settings.builder.name in BUILDERS:
        values["builder"] = settings.builder.name
        values |= _option_values(
            f"builder.{settings.builder.name}", BUILDERS[settings.builder.name].Options, settings.builder
        )
    for choice in known:
        values |= _option_values(f"verifier.{choice.name}", VERIFIERS[choice.name].Options, choice)
    return values


def as_form_reads(settings: Settings) -> Settings | None:
    """The settings with every option spelt out, as the form gives them back; None if it cannot hold them."""
    try:
        return read_form(write_form("", ModelChoice(), settings))[2]
    except (SettingsError, KeyError):
        return None


def _option_values(prefix: str, options: Any, choice: Choice) -> dict[str, Any]:
    """Every option of the model, the default where the choice says nothing."""
    return {f"{prefix}.{name}": choice.options.get(name, info.default) for name, info in options.model_fields.items()}


def _given(values: dict[str, Any], name: str, kind: type) -> Any:
    if values[name] is None:
        raise SettingsError(f"{label_of(name)} is empty; give a number.")
    try:
        return kind(values[name])
    except (TypeError, ValueError, OverflowError):
        raise SettingsError(f"{label_of(name)} cannot be {shown(values[name])}; give a number.") from None


def _text(values: dict[str, Any], name: str) -> str:
    """The text that was sent. A call that was made by hand may have sent anything else."""
    value = "" if values[name] is None else values[name]
    if not isinstance(value, str):
        raise SettingsError(f"{label_of(name)} cannot be {shown(value)}; write a text.")
    return value


def _one_of(values: dict[str, Any], name: str, known: Iterable[str]) -> str:
    if values[name] not in list(known):
        raise SettingsError(f"{label_of(name)} cannot be {shown(values[name])}; choose from {', '.join(known)}.")
    return str(values[name])


def _options(values: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {key[len(prefix) + 1 :]: value for key, value in values.items() if key.startswith(f"{prefix}.")}


def breakpoint_form(form: Form) -> None:
    """Where Run stops, in the current Gradio context; see :mod:`specviz.trace.breakpoints`."""
    with group("Verdicts"), fields():
        form.add("parting", gr.Checkbox(False, label="Verifiers part", info="Accepted paths differ"))
        form.add("nothing_accepted", gr.Checkbox(False, label="Nothing accepted", info="By the driver"))
        form.add("audit", gr.Checkbox(False, label="Audit fails", info="Needs Audit caches"))
    # Text boxes, because a number that is not asked for has to be empty.
    with group("Text"), fields():
        form.add("text", gr.Textbox("", label="Text appears", info="In what a step commits", max_length=500))
        form.add("token", gr.Textbox("", label="Token id appears", info="In what a step commits", max_length=20))
    with group("Probabilities"), fields():
        form.add("entropy_above", gr.Textbox("", label="Entropy above", info="Nats, where the driver stops"))
        form.add(
            "target_prob_below",
            gr.Textbox("", label="Target probability below", info="Of an accepted token"),
        )
