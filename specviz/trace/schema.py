"""The recorded run: frozen, validated value types and their JSON form.

A :class:`Trace` is settings, prompt and :class:`Step` values. It holds plain numbers and strings only, so a page, a
test or a notebook can read one without torch, a model or this package's engine. Derived things (mask, children, paths)
are derived from ``Node.parent``; observed things (cache slots, fingerprints, what a row was allowed to see) were read
from the tensors during the run and are stored as they were found.

Conventions: probabilities are in [0, 1], entropies in nats, times in seconds. Node 0 of every tree is the *root*, the
last committed token, which is in no cache until its step runs.

The parts have files of their own: :mod:`~specviz.trace.run_inputs`, :mod:`~specviz.trace.draft_tree`,
:mod:`~specviz.trace.verdict` and :mod:`~specviz.trace.cache_change`. All their names can be imported from here.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from specviz.errors import TraceError, shown
from specviz.trace.cache_change import Audit, CacheChange, Caches, Slot
from specviz.trace.checks import Check
from specviz.trace.draft_tree import (
    DraftTree,
    Node,
    PartialNode,
    Processed,
    Row,
    TokenText,
    TopK,
    text_of_tokens,
    written,
)
from specviz.trace.failed_step import FailedStep, Nonfinite
from specviz.trace.own_steps import (
    caches_fault,
    failed_fault,
    models_fault,
    timings_fault,
    tree_fault,
    verdict_fault,
)
from specviz.trace.run_inputs import Choice, Engine, HeadInfo, ModelInfo, Models, Processors, Sampling, Settings
from specviz.trace.timings import Timings
from specviz.trace.values import (
    INFINITE_DIFFERENCE,
    LONGEST_NAME,
    LONGEST_OPTION,
    LONGEST_PROMPT,
    LONGEST_STOP,
    LONGEST_TEXT,
    LONGEST_TOKEN,
    MOST_CHECKS,
    MOST_DECISIONS,
    MOST_NODES,
    MOST_OPTIONS,
    MOST_PROCESSORS,
    MOST_RENAMED,
    MOST_SLOTS,
    MOST_STOPS,
    MOST_TOP,
    MOST_VERIFIERS,
    READ_VERSIONS,
    SCHEMA_VERSION,
    WEIGHTS_SCHEME,
    BonusKind,
    Coin,
    Comparison,
    Count,
    EndReason,
    Lossless,
    Many,
    Name,
    Option,
    Origin,
    Outcome,
    Probability,
    ProcessorMode,
    Promise,
    PromptEnd,
    Proposal,
    Text,
    Value,
    cut,
    options_key,
)
from specviz.trace.verdict import Bonus, Decision, OtherMode, Residual, Verdict

__all__ = [
    "INFINITE_DIFFERENCE",
    "LONGEST_NAME",
    "LONGEST_OPTION",
    "LONGEST_PROMPT",
    "LONGEST_STOP",
    "LONGEST_TEXT",
    "LONGEST_TOKEN",
    "MOST_CHECKS",
    "MOST_DECISIONS",
    "MOST_NODES",
    "MOST_OPTIONS",
    "MOST_PROCESSORS",
    "MOST_RENAMED",
    "MOST_SLOTS",
    "MOST_STOPS",
    "MOST_TOP",
    "MOST_VERIFIERS",
    "READ_VERSIONS",
    "SCHEMA_VERSION",
    "WEIGHTS_SCHEME",
    "Audit",
    "Bonus",
    "BonusKind",
    "CacheChange",
    "Caches",
    "Check",
    "Choice",
    "Coin",
    "Comparison",
    "Count",
    "Decision",
    "DraftTree",
    "EndReason",
    "Engine",
    "FailedStep",
    "ForkedFrom",
    "HeadInfo",
    "Lossless",
    "Many",
    "ModelInfo",
    "Models",
    "Name",
    "Node",
    "Nonfinite",
    "Option",
    "Origin",
    "OtherMode",
    "Outcome",
    "PartialNode",
    "Probability",
    "Processed",
    "ProcessorMode",
    "Processors",
    "Promise",
    "PromptEnd",
    "Proposal",
    "Residual",
    "Row",
    "Sampling",
    "Settings",
    "Slot",
    "Step",
    "Timings",
    "TokenText",
    "TopK",
    "Trace",
    "Value",
    "Verdict",
    "cut",
    "options_key",
    "text_of_tokens",
    "written",
]


def _version(version: object) -> object:
    """Version 1 is read as 2: each of its fields is one of version 2, with the same meaning."""
    if type(version) is not int or version not in READ_VERSIONS:
        raise ValueError(f"the schema version is not one of {READ_VERSIONS}")
    return SCHEMA_VERSION


class Step(Value):
    """One draft, score, verify, commit."""

    index: Count
    context: Annotated[int, Field(ge=1)]
    """Committed tokens before this step, the root included."""
    tree: DraftTree
    verdicts: Annotated[dict[Name, Verdict], Field(max_length=MOST_VERIFIERS)]
    driver: Name
    committed: Annotated[Many[Count], Field(max_length=MOST_NODES)]
    """Tokens appended to the text: the driver's path and bonus, cut at end of sequence, after the token that completes
    a stop string, and at max_new_tokens. Of another engine what it says it appended, whatever that is."""
    end_reason: EndReason | None = None
    caches: Caches
    tokens: Many[TokenText]
    """Text of every token id this step mentions; of another engine as far as it gave any."""
    timings: Timings | None
    """Null where not recorded."""
    prefilled: Count | None = 0
    """Context tokens that were prefilled right before this step (0 when the live caches went on); null where not
    recorded."""
    fused_prefill: bool = False
    """Whether those were part of the forward that scored the tree."""
    checks: Annotated[Many[Check], Field(max_length=MOST_CHECKS)] = ()
    """Of another engine's step: what was checked while its rows were there."""
    settings: Settings | None = None
    """What this step was run with, where that is not the trace's settings: a step from before a fork."""
    models: Models | None = None
    """What this step was run on, where that is not said of the trace: a step of a run that went on in another number
    format or on another device, or whose weights were not recorded."""

    @model_validator(mode="after")
    def _consistent(self) -> Step:
        if self.driver not in self.verdicts:
            raise ValueError(f"step {self.index} has no verdict of its driver {self.driver!r}")
        size = len(self.tree.nodes)
        for name, verdict in self.verdicts.items():
            if verdict.verifier != name:
                raise ValueError(f"verdict {name!r} is named {verdict.verifier!r}")
            if len(verdict.thresholds) != size:
                raise ValueError(f"{name} has {len(verdict.thresholds)} thresholds for {size} nodes")
            if verdict.expected_acceptance is not None and len(verdict.expected_acceptance) != size:
                raise ValueError(f"{name} expects something of {len(verdict.expected_acceptance)} nodes of {size}")
            bonus = [] if verdict.bonus is None else [verdict.bonus.node]
            other = () if verdict.other_mode is None else (*verdict.other_mode.path, *verdict.other_mode.nodes)
            mentioned = [d.node for d in verdict.decisions] + [*bonus, *verdict.path, *other]
            if max(mentioned, default=0) >= size:
                raise ValueError(f"{name} mentions a node outside the tree")
            parents = [self.tree.nodes[node].parent for node in verdict.path]
            if parents != [0, *verdict.path][: len(parents)]:
                raise ValueError(f"the path of {name} is not connected")
        for change in (self.caches.target, self.caches.draft):
            if change and any(slot.node is not None and slot.node >= size for slot in change.appended):
                raise ValueError("a cache slot names a node outside the tree")
        return self

    def emitted(self) -> tuple[int, ...]:
        """The tokens of the driver's path and its bonus token, as far as there is one."""
        driver = self.verdicts[self.driver]
        bonus = () if driver.bonus is None else (driver.bonus.token,)
        return (*(self.tree.nodes[node].token for node in driver.path), *bonus)

    def thrown_away(self) -> tuple[int, ...]:
        """Nodes that the driver accepted and that are not in the text, because it ends before them."""
        if self.end_reason is None or self.committed != self.emitted()[: len(self.committed)]:
            return ()
        return self.verdicts[self.driver].path[len(self.committed) :]

    @cached_property
    def own_fault(self) -> str | None:
        """In what it contradicts itself, or what it lacks, as a step of specviz's own engine; None for nothing."""
        found = (
            (self.models and models_fault(self.models))
            or tree_fault(self.tree)
            or timings_fault(self.timings)
            or ("lacks its prefilled" if self.prefilled is None else None)
            or next(filter(None, map(verdict_fault, self.verdicts.values())), None)
            or caches_fault(self.caches)
        )
        if found is not None:
            return found
        if not self.committed or self.committed != self.emitted()[: len(self.committed)]:
            return "commits other tokens than its driver emits"
        bonuses = (verdict.bonus.token for verdict in self.verdicts.values() if verdict.bonus)
        mentioned = {node.token for node in self.tree.nodes}.union(self.committed, bonuses)
        if unknown := mentioned - self.text_of().keys():
            return f"has no text for token {min(unknown)}"
        return None

    def __repr__(self) -> str:
        """In a line: pydantic's own has every number of the step."""
        accepted = {name: list(verdict.path) for name, verdict in self.verdicts.items()}
        committed = shown(list(self.committed))
        return (
            f"<Step {self.index}: {len(self.tree.nodes)} nodes, accepted {shown(accepted, 200)}, committed {committed}>"
        )

    __str__ = __repr__

    def text_of(self) -> dict[int, TokenText]:
        """Token id -> its text. Made once; not to be changed."""
        return self._texts

    @cached_property
    def _texts(self) -> dict[int, TokenText]:
        return {token.id: token for token in self.tokens}


_OF_TEXT = ("end of sequence", "stop string", "max_new_tokens")
"""Reasons that lie in the text itself."""


class ForkedFrom(Value):
    trace: Name
    step: Count


class Trace(Value):
    """A recorded run."""

    schema_version: Annotated[Literal[2], BeforeValidator(_version)] = 2
    id: Annotated[str, Field(pattern=r"^[0-9a-zA-Z_-]{1,64}$")]
    created: Name
    """ISO 8601, UTC."""
    specviz_version: Name
    engine: Engine | None = None
    """Who decoded, where that was not specviz."""
    request: Name | None = None
    """Which request of a batch this is; null where there is one only."""
    models: Models
    settings: Settings | None
    """What specviz ran with; null for another engine's run, which says what it can in ``engine``."""
    prompt: Annotated[str, Field(max_length=LONGEST_PROMPT)]
    prompt_tokens: Annotated[Many[Count], Field(min_length=1)]
    prompt_texts: Many[TokenText]
    """Text of every token id in the prompt."""
    end_tokens: Many[Count] = ()
    """Token ids that end the text."""
    steps: Many[Step] = ()
    end_reason: EndReason | None = None
    end_message: Text | None = None
    """For ``error``: the sentence that was shown."""
    forked_from: ForkedFrom | None = None
    failed: FailedStep | None = None
    """For ``error`` in a step: what is known of that step."""
    failures: Many[FailedStep] = ()
    """Steps of another engine that an error ended and that its loop went on after, in order. Each has the index of the
    step that came in its place."""

    @model_validator(mode="after")
    def _steps_follow(self) -> Trace:
        context = len(self.prompt_tokens)
        if (self.engine is None) == (self.settings is None):
            raise ValueError("a run has either settings, as specviz's own, or an engine that it was recorded from")
        unknown = set(self.prompt_tokens) - {token.id for token in self.prompt_texts}
        if self.engine is None and unknown:
            raise ValueError(f"there is no text for token {min(unknown)} of the prompt")
        if self.engine is None and (fault := models_fault(self.models)):
            raise ValueError(f"the run {fault}")
        for position, step in enumerate(self.steps):
            if step.index != position:
                raise ValueError(f"step {position} has the index {step.index}")
            if step.context != context:
                raise ValueError(f"step {step.index} starts at {step.context} tokens, not {context}")
            if self.engine is None and step.own_fault:
                raise ValueError(f"step {step.index} {step.own_fault}")
            context += len(step.committed)
        begun = [*(step.context for step in self.steps), context]
        for failure in self.failures:
            if failure.index >= len(begun) or failure.context != begun[failure.index]:
                raise ValueError(f"the failed step {failure.index} does not begin where step {failure.index} does")
        if self.engine is None and self.failures:
            raise ValueError("specviz's own engine goes on after no step that failed")
        if self.failed and (self.failed.index, self.failed.context) != (len(self.steps), context):
            raise ValueError(f"the failed step {self.failed.index} does not follow the last one")
        if self.engine is None and self.failed and (fault := failed_fault(self.failed)):
            raise ValueError(f"the failed step {fault}")
        chosen = self.settings.verifiers if self.settings else ()
        names = {choice.name for choice in chosen}.union(*(step.verdicts for step in self.steps))
        if len(names) > MOST_VERIFIERS:
            raise ValueError(f"the steps have verdicts of {len(names)} verifiers, more than {MOST_VERIFIERS}")
        return self

    def __repr__(self) -> str:
        """In a line: pydantic's own has every number of the run, megabytes of them."""
        target, draft = (
            shown(model.id) if model else "not recorded" for model in (self.models.target, self.models.draft)
        )
        by = f"driver {shown(self.settings.driver)}" if self.settings else f"engine {shown(self.who)}"
        return (
            f"<Trace {self.id} of {shown(self.prompt)}: {len(self.output_tokens())} tokens in {len(self.steps)} steps, "
            f"target {target}, draft {draft}, {by}, ended: {self.end_reason}>"
        )

    __str__ = __repr__

    def _repr_html_(self) -> str:
        """The viewer, for a notebook; see :func:`specviz.figures.notebook.notebook_html`.

        The one import upwards there is: a value that displays itself needs what draws it, and finds it only when a
        notebook asks.
        """
        from specviz import notebook_html

        return notebook_html(self)

    @cached_property
    def prompt_text_of(self) -> dict[int, TokenText]:
        """Token id -> its text, of the prompt's tokens. Made once; not to be changed."""
        return {token.id: token for token in self.prompt_texts}

    @property
    def who(self) -> str:
        """The name of the engine that decoded."""
        return "specviz" if self.engine is None else self.engine.name

    def own_settings(self) -> Settings:
        """The settings of a run of specviz's own.

        Raises:
            TraceError: for another engine's run, which cannot be run again or run on here.
        """
        if self.settings is None:
            raise TraceError(
                f"This run was recorded from another engine, {shown(self.who)}, so specviz cannot run it; run it there."
            )
        return self.settings

    def settings_of(self, position: int) -> Settings | None:
        """What ``steps[position]`` was run with; None for another engine's run."""
        return self.steps[position].settings or self.settings

    def own_settings_of(self, position: int) -> Settings:
        """What ``steps[position]`` was run with, of a run of specviz's own; see :meth:`own_settings`."""
        return self.steps[position].settings or self.own_settings()

    def sampling_of(self, position: int) -> tuple[Sampling | None, Sampling | None]:
        """How the target's and the draft's logits became distributions in ``steps[position]``, as far as recorded."""
        said = self.engine or self.settings_of(position)
        return (said.target, said.draft) if said else (None, None)

    def processors_of(self, position: int) -> Processors | None:
        """What changed logits by the text in ``steps[position]``; None for nothing, and where it was not recorded."""
        said = self.engine or self.settings_of(position)
        return said.processors if said else None

    def ended_by(self, position: int) -> EndReason | None:
        """Why the text ends in ``steps[position]``; None where it goes on. Another engine says it of the whole run."""
        step = self.steps[position]
        last = self.engine is not None and position == len(self.steps) - 1
        return step.end_reason or (self.end_reason if last and self.end_reason in _OF_TEXT else None)

    def least_in(self, position: int) -> int:
        """How many tokens of ``steps[position]`` are within ``min_new_tokens``."""
        settings = self.settings_of(position)
        least = settings.min_new_tokens if settings else 0
        return max(0, least - (self.steps[position].context - len(self.prompt_tokens)))

    def models_of(self, position: int) -> Models:
        """What ``steps[position]`` was run on."""
        return self.steps[position].models or self.models

    def output_tokens(self) -> list[int]:
        """All committed tokens after the prompt."""
        return [token for step in self.steps for token in step.committed]
