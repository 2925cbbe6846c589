"""A comparison as a value: prompts x drafts x sets of processors x trees x temperatures x verifiers, and the units of
work it consists of.

*Paired*: one run a unit, in which every verifier judges the same trees with the same coins and one of them, the driver,
commits. *Free-running*: one run a unit and a verifier, each going its own way; this is what quality is measured on.
Drafts of one target have a run each, on the same prompts and with the same luck; so have sets of processors.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import Field

from specviz.compare.named import Named, NamedDraft, NamedProcessors, check_drafts, check_labels, check_sets
from specviz.compare.prompts import Prompt, spread
from specviz.compare.rows import NO_DRAFT, SAMPLING
from specviz.engine.resolve import resolve
from specviz.errors import SettingsError, shown
from specviz.trace.processors import parse_processors
from specviz.trace.schema import Choice, ProcessorMode, Processors, PromptEnd, Settings, Value
from specviz.trace.settings import build_sampling, build_settings, draft_sampling
from specviz.verifiers import VERIFIERS, Verifier

Mode = Literal["paired", "free"]
_ALONE = Choice(name="k_config", options={"tree": ""})
_ALONE_RULE = "naive"
"""The verifier that stands for ordinary sampling: without a tree it draws a token from the target and commits it."""


class Comparison(Value):
    """The settings of a comparison: with the models and the prompts they determine every row."""

    drafts: tuple[NamedDraft, ...] = ()
    """Drafts that take part, where these are several or have a label; none: the pair's own."""
    trees: Annotated[tuple[Named, ...], Field(min_length=1)]
    verifiers: Annotated[tuple[Named, ...], Field(min_length=1)]
    temperatures: Annotated[tuple[float, ...], Field(min_length=1)] = (1.0,)
    driver: str
    """Label of the verifier that commits in paired runs."""
    paired: int | None = None
    """How many prompts are run paired, spread over the kinds; null: all."""
    free: int | None = 0
    """How many are run free, likewise."""
    sampling: bool = True
    """Whether the target also samples alone, on every prompt that is run free."""
    top_k: int = 0
    top_p: float = 1.0
    eta_cutoff: float = 0.0
    processors: Annotated[str, Field(exclude_if=lambda text: not text)] = ""
    """Of the target in every run, as ``--processor`` takes them, with ``;`` between them."""
    processor_mode: Annotated[ProcessorMode, Field(exclude_if=lambda mode: mode == "exact")] = "exact"
    processor_draft: Annotated[bool, Field(exclude_if=lambda draft: not draft)] = False
    processor_sets: Annotated[tuple[NamedProcessors, ...], Field(exclude_if=lambda sets: not sets)] = ()
    """Sets of processors that are compared, in place of one for all runs. Left out of a file where there are none."""
    draft_temperature: float | None = None
    """Null: the target's, or 1 where that is 0."""
    seed: int = 0
    max_new_tokens: int = 32
    min_new_tokens: int = Field(0, exclude_if=lambda value: not value)
    """Tokens before which no end token or stop string ends an output. Left out of a file where it is 0."""
    stop: tuple[str, ...] = Field((), exclude_if=lambda value: not value)
    """Stop strings; see :class:`~specviz.trace.schema.Settings`. Left out of a file where there is none."""
    chat: bool | None = None
    """Whether prompts are wrapped in the target's chat template; null: if it has one."""
    prompt_end_token: PromptEnd = "refuse"
    """What is done where a prompt outside a chat template ends in an end token."""
    record_optimum: bool = Field(False, exclude_if=lambda value: not value)
    """Whether the optimum of every node, and what each rule can expect there, is computed."""


def read_comparison(fields: Mapping[str, Any]) -> Comparison:
    """A comparison as ``comparison.json`` says it.

    0.1.0 wrote no ``prompt_end_token`` and ran every prompt as it is: where the field is missing, it is ``keep``.

    Raises:
        pydantic.ValidationError, TypeError: if it is none.
    """
    return Comparison.model_validate_json(json.dumps({"prompt_end_token": "keep", **fields}))


@dataclass(frozen=True)
class Unit:
    """The smallest piece of work that is done or not done: one run.

    Attributes:
        index: its place in the fixed order of :func:`units`.
        tree, verifier: labels; the verifier is None in paired runs.
        draft: label; None where the comparison has one draft without a label, and where the target is alone.
        processors: label of the set; None where sets are not compared.
    """

    index: int
    mode: Mode
    prompt: Prompt
    tree: str
    temperature: float
    verifier: str | None
    draft: str | None = None
    processors: str | None = None


def check(comparison: Comparison) -> None:
    """Refuse, before a model is loaded, what no run can have.

    Raises:
        SettingsError: naming the first thing that is wrong.
    """
    check_drafts(comparison.drafts)
    for what, values in (
        ("tree", [tree.label for tree in comparison.trees]),
        ("verifier", [verifier.label for verifier in comparison.verifiers]),
        ("temperature", [f"{temperature:g}" for temperature in comparison.temperatures]),
    ):
        check_labels(what, values)
    check_sets(comparison.processor_sets)
    for_all = (comparison.processors, comparison.processor_mode, comparison.processor_draft)
    if comparison.processor_sets and for_all != ("", "exact", False):
        raise SettingsError(
            "Processors of all runs cannot be given beside sets that are compared; write each set out, with its mode."
        )
    known = known_verifiers(comparison)
    for processors, tree, temperature in itertools.product(
        labels_of_sets(comparison), comparison.trees, comparison.temperatures
    ):
        given = processors_of(comparison, processors)
        taking = comparison.verifiers
        resolve(_settings(comparison, tree.choice, temperature, given, taking, comparison.driver, 0, False), known)


# --------------------------------------------------------------------------------------------------------- units


def units(comparison: Comparison, prompts: Sequence[Prompt]) -> list[Unit]:
    """All work, in the order of the rows: by draft, so that each is loaded once; paired runs first, then by prompt,
    set of processors, tree, temperature and verifier.

    A prompt that is run free ends, for each set, with the target alone, which needs no draft and runs beside the first
    one.
    """
    found: list[Unit] = []
    for draft in labels_of_drafts(comparison):
        _add_units(found, comparison, prompts, draft)
    return found


def _add_units(found: list[Unit], comparison: Comparison, prompts: Sequence[Prompt], draft: str | None) -> None:
    with_sampling = comparison.sampling and (draft is None or draft == comparison.drafts[0].label)
    parts: tuple[tuple[Mode, int | None, list[str | None]], ...] = (
        ("paired", comparison.paired, [None]),
        ("free", comparison.free, [verifier.label for verifier in comparison.verifiers]),
    )
    for mode, count, verifiers in parts:
        for prompt, processors in itertools.product(spread(prompts, count), labels_of_sets(comparison)):
            for tree, temperature, verifier in itertools.product(comparison.trees, comparison.temperatures, verifiers):
                found.append(Unit(len(found), mode, prompt, tree.label, temperature, verifier, draft, processors))
            for temperature in comparison.temperatures if mode == "free" and with_sampling else ():
                found.append(Unit(len(found), mode, prompt, NO_DRAFT, temperature, SAMPLING, None, processors))


def labels_of_drafts(comparison: Comparison) -> Sequence[str | None]:
    """Of all drafts in order; of one without a label it is None."""
    return tuple(one.label for one in comparison.drafts) or (None,)


def labels_of_sets(comparison: Comparison) -> Sequence[str | None]:
    """Of all sets of processors in order; None alone where they are not compared."""
    return tuple(one.label for one in comparison.processor_sets) or (None,)


def processors_of(comparison: Comparison, label: str | None) -> Processors | None:
    """Those of a unit, by the label of their set; None for none.

    Raises:
        SettingsError: for what is not of their form.
    """
    if label is not None:
        return next(one for one in comparison.processor_sets if one.label == label).parsed()
    return parse_processors(comparison.processors, comparison.processor_mode, draft=comparison.processor_draft)


def draft_of(comparison: Comparison, label: str | None) -> str | None:
    """What the draft of a unit is loaded by, by its label; None where the comparison leaves it to the pair.

    The target alone runs beside the first draft.
    """
    known = {one.label: one.draft for one in comparison.drafts}
    return next(iter(known.values()), None) if label is None else known[label]


def prompt_seed(seed: int, prompt_id: str) -> int:
    """The seed of all runs of a prompt, in [0, 2^63): a hash of nothing but the two."""
    digest = hashlib.sha256(f"{seed}\n{prompt_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def settings_of(comparison: Comparison, unit: Unit, has_template: bool) -> Settings:
    """What a unit is run with: with the models, enough to run it again and look at it step by step.

    Args:
        has_template: whether the target has a chat template.
    """
    builder = next((tree.choice for tree in comparison.trees if tree.label == unit.tree), _ALONE)
    verifiers = comparison.verifiers
    if unit.verifier is not None:
        verifiers = tuple(verifier for verifier in taking_part(comparison) if verifier.label == unit.verifier)
    chat = has_template if comparison.chat is None else comparison.chat
    seed = prompt_seed(comparison.seed, unit.prompt.id)
    driver = unit.verifier or comparison.driver
    processors = processors_of(comparison, unit.processors)
    return _settings(comparison, builder, unit.temperature, processors, verifiers, driver, seed, chat)


def taking_part(comparison: Comparison) -> tuple[Named, ...]:
    """All verifiers, and ordinary sampling where it is wanted."""
    alone = Named(label=SAMPLING, choice=Choice(name=_ALONE_RULE))
    return (*comparison.verifiers, *((alone,) if comparison.sampling else ()))


def _settings(
    comparison: Comparison,
    tree: Choice,
    temperature: float,
    processors: Processors | None,
    verifiers: Sequence[Named],
    driver: str,
    seed: int,
    chat: bool,
) -> Settings:
    target = build_sampling(
        temperature=temperature,
        top_k=comparison.top_k,
        top_p=comparison.top_p,
        eta_cutoff=comparison.eta_cutoff,
    )
    return build_settings(
        target=target,
        draft=draft_sampling(target, comparison.draft_temperature),
        processors=processors,
        builder=tree,
        verifiers=tuple(Choice(name=one.label, options=one.choice.options) for one in verifiers),
        driver=driver,
        seed=seed,
        max_new_tokens=comparison.max_new_tokens,
        min_new_tokens=comparison.min_new_tokens,
        stop=comparison.stop,
        chat=chat,
        prompt_end_token=comparison.prompt_end_token,
        record_optimum=comparison.record_optimum,
        record_top_k=1,  # rows of a comparison hold no distributions
    )


def known_verifiers(comparison: Comparison) -> dict[str, Verifier]:
    """All registered verifiers, and those that take part under labels: one rule can do so with several options.

    Raises:
        SettingsError: if one that takes part is not registered here.
    """
    added = [named for named in taking_part(comparison) if named.label not in VERIFIERS]
    strange = next((named.choice.name for named in added if named.choice.name not in VERIFIERS), None)
    if strange is not None:
        raise SettingsError(f"There is no verifier {shown(strange)} here; add it with --verifier MODULE:NAME.")
    return VERIFIERS | {named.label: replace(VERIFIERS[named.choice.name], name=named.label) for named in added}
