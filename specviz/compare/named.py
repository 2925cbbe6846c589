"""Trees, drafts, verifiers and sets of processors under the labels that they have in rows, from what people type."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from specviz.compare.rows import NO_DRAFT, SAMPLING
from specviz.drafting import find_builder
from specviz.errors import SettingsError, shown
from specviz.models.sources import is_folder
from specviz.trace.processors import parse_processors, written
from specviz.trace.schema import Choice, Option, ProcessorMode, Processors, Value
from specviz.trace.settings import build_choice, parse_pairs
from specviz.verifiers import VERIFIERS, find_verifier

LARGEST_SWEEP = 100
MOST_DRAFTS = 12
MOST_SETS = 12
"""Sets of processors."""
MOST_NAME = 300

_SET = re.compile(r"(?:(?P<mode>exact|frozen)(?:\s+|$))?(?:(?P<draft>draft)(?:\s+|$))?(?P<processors>.*)", re.DOTALL)
_LABELLED = re.compile(r"([A-Za-z][\w .+-]*)=(.*)", re.DOTALL)


class Named(Value):
    """A tree or a verifier with its options, under the name it has in rows and tables."""

    label: Annotated[str, Field(min_length=1, max_length=200)]
    choice: Choice


class NamedDraft(Value):
    """One of several drafts of a target, under the name it has in rows and tables."""

    label: Annotated[str, Field(min_length=1, max_length=200)]
    draft: Annotated[str, Field(min_length=1, max_length=MOST_NAME)]
    """What it is loaded by, as ``draft`` of :class:`~specviz.models.pair_spec.ModelChoice`."""


class NamedProcessors(Value):
    """One of several sets of processors, under the name it has in rows and tables."""

    label: Annotated[str, Field(min_length=1, max_length=200)]
    processors: str = ""
    """As ``--processor`` takes them, with ``;`` between them; empty for none."""
    mode: Annotated[ProcessorMode, Field(exclude_if=lambda mode: mode == "exact")] = "exact"
    draft: Annotated[bool, Field(exclude_if=lambda draft: not draft)] = False
    """Whether the draft's rows are processed, too."""

    def written(self) -> str:
        """As :func:`parse_processor_set` reads it."""
        mode, draft = "frozen " if self.mode == "frozen" else "", "draft " if self.draft else ""
        return f"{mode}{draft}{self.processors}" if self.processors else "none"

    def parsed(self) -> Processors | None:
        """What a run has in its settings; None for none.

        Raises:
            SettingsError: for what is not of the form.
        """
        return parse_processors(self.processors, self.mode, draft=self.draft)


def parse_tree(text: str) -> Named:
    """``4,2,2``, ``[0],[1],[0,0]``, ``dynamic:total=28,depth=6`` or ``4,2,2:proposal=top_k``; ``label=`` before it.

    Raises:
        SettingsError: if it is none of these.
    """
    label, spec = _labelled(text)
    head, options = _split(spec, "tree")
    if head.startswith("["):
        return Named(label=label, choice=build_choice("explicit", {"paths": head} | options))
    if head[:1].isdigit():
        return Named(label=label, choice=build_choice("k_config", {"tree": head} | options))
    return Named(label=label, choice=build_choice(find_builder(head).name, options))


def parse_drafts(texts: Sequence[str]) -> tuple[str, tuple[NamedDraft, ...]]:
    """Names of drafts, with ``label=`` before them or not: then the label is the last part of the name.

    Returns:
        What the first one is loaded by, and all of them; none where there is one alone without a label.

    Raises:
        SettingsError: for an empty name.
    """
    found = []
    for text in texts:
        # A folder can be called eta=0.1.
        label, name = (text, text) if text.strip() and is_folder(text) else _labelled(text)
        if not name:
            raise SettingsError(f"The draft {shown(label)} has no model; write {label}= and what it is loaded by.")
        if len(name) > MOST_NAME:
            raise SettingsError(f"The name of a draft has at most {MOST_NAME} characters; choose a shorter path.")
        found.append((label, name))
    if len(found) == 1 and found[0][0] == found[0][1]:
        return found[0][1], ()
    # What stands behind the last slash is enough where it tells them apart.
    short = [label.rstrip("/").rpartition("/")[2] if label == name else label for label, name in found]
    drafts = [
        NamedDraft(label=(own if short.count(own) == 1 and own else label)[:200], draft=name)
        for own, (label, name) in zip(short, found, strict=True)
    ]
    return found[0][1], tuple(drafts)


def parse_verifier(text: str) -> Named:
    """``rejection``, or with options ``eta:epsilon=0.2,delta=0.4``; with ``label=`` before it, under that name.

    Raises:
        SettingsError: for an unknown verifier, or a label that is the name of another one.
    """
    label, spec = _labelled(text)
    head, options = _split(spec, "verifier")
    verifier = find_verifier(head)
    if label in VERIFIERS and label != head:
        raise SettingsError(f"{label!r} is a verifier of its own; give {head} another label.")
    return Named(label=label, choice=build_choice(verifier.name, options))


def parse_verifiers(text: str) -> list[Named]:
    """As :func:`parse_verifier`, or a sweep: ``eta:epsilon=0.05/0.1,delta=0.2/0.3`` is four verifiers.

    Each is labelled with its own options, after the sweep's own label where it has one.

    Raises:
        SettingsError: as :func:`parse_verifier`, and for a sweep of more than :data:`LARGEST_SWEEP`.
    """
    label, spec = _labelled(text)
    head, _, options = spec.partition(":")
    if "/" not in options:
        return [parse_verifier(text)]
    choices = []
    for pair in options.split(","):
        name, sign, values = pair.partition("=")
        choices.append([f"{name.strip()}{sign}{value.strip()}" for value in values.split("/")])
    if math.prod(map(len, choices)) > LARGEST_SWEEP:
        raise SettingsError(f"The sweep {shown(text)} has more than {LARGEST_SWEEP} verifiers; take fewer values.")
    stem = head.strip() if label == text.strip()[:200] else label
    found = []
    for one in itertools.product(*choices):
        own = ",".join(one)
        found.append(Named(label=f"{stem}:{own}"[:200], choice=parse_verifier(f"{head}:{own}").choice))
    return found


def parse_processor_set(text: str) -> NamedProcessors:
    """``none``, or processors with ``;`` between them; before them ``exact`` or ``frozen``, and ``draft`` where the
    draft's rows are processed, too: ``frozen draft min_p:min_p=0.1; ignore_eos``. With ``label=`` before it.

    Raises:
        SettingsError: if it is none of these.
    """
    label, spec = _labelled(text)
    if spec == "none":
        return NamedProcessors(label=label)
    found = _SET.fullmatch(spec)
    assert found is not None  # every part of the pattern may be empty
    mode: ProcessorMode = "frozen" if found["mode"] == "frozen" else "exact"
    parsed = parse_processors(found["processors"], mode)
    if parsed is None:
        raise SettingsError(
            f"The set of processors {shown(text)} has none; write none for a run without any, or for example "
            "frozen repetition_penalty:penalty=1.3."
        )
    return NamedProcessors(label=label, processors=written(parsed.chosen), mode=mode, draft=found["draft"] is not None)


def _labelled(text: str) -> tuple[str, str]:
    text = text.strip()
    found = _LABELLED.fullmatch(text)
    if not text:
        raise SettingsError("A tree, draft, verifier or set of processors has no name; write one, or leave it out.")
    return (found[1].strip()[:200], found[2].strip()) if found else (text[:200], text)


def _split(spec: str, what: str) -> tuple[str, dict[str, Option]]:
    head, _, options = spec.partition(":")
    return head.strip(), parse_pairs([pair for pair in options.split(",") if pair.strip()], what)


def check_drafts(drafts: Sequence[NamedDraft]) -> None:
    """Refuse drafts that cannot be told apart, or too many.

    Raises:
        SettingsError: naming what is wrong.
    """
    _check_count("drafts", len(drafts), MOST_DRAFTS)
    check_labels("draft", [draft.label for draft in drafts])


def check_sets(sets: Sequence[NamedProcessors]) -> None:
    """Likewise of sets of processors."""
    _check_count("sets of processors", len(sets), MOST_SETS)
    check_labels("set of processors", [one.label for one in sets])


def _check_count(what: str, count: int, most: int) -> None:
    if count > most:
        raise SettingsError(f"These are {count} {what}; compare at most {most} at once.")


def check_labels(what: str, values: Sequence[str]) -> None:
    if SAMPLING in values or NO_DRAFT in values:
        raise SettingsError(f"The labels {SAMPLING!r} and {NO_DRAFT!r} stand for the target alone; choose others.")
    twice = next((value for value in values if values.count(value) > 1), None)
    if twice is not None:
        raise SettingsError(f"The {what} {twice} is named twice; give every one its own label.")
