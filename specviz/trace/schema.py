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

from pydantic import Field, model_validator

from specviz.errors import shown
from specviz.trace.cache_change import Audit, CacheChange, Caches, Slot
from specviz.trace.draft_tree import DraftTree, Node, PartialNode, Row, TokenText, TopK, check_tree, text_of_tokens
from specviz.trace.run_inputs import Choice, ModelInfo, Models, Sampling, Settings
from specviz.trace.values import (
    INFINITE_DIFFERENCE,
    LONGEST_NAME,
    LONGEST_OPTION,
    LONGEST_PROMPT,
    LONGEST_TEXT,
    LONGEST_TOKEN,
    MOST_DECISIONS,
    MOST_NODES,
    MOST_OPTIONS,
    MOST_RENAMED,
    MOST_SLOTS,
    MOST_TOP,
    MOST_VERIFIERS,
    SCHEMA_VERSION,
    WEIGHTS_SCHEME,
    BonusKind,
    Comparison,
    Count,
    EndReason,
    Lossless,
    Many,
    Name,
    Nodes,
    Option,
    Origin,
    Outcome,
    Probability,
    Promise,
    PromptEnd,
    Proposal,
    Text,
    Value,
    cut,
    options_key,
)
from specviz.trace.verdict import Bonus, Decision, Residual, Verdict

__all__ = [
    "INFINITE_DIFFERENCE",
    "LONGEST_NAME",
    "LONGEST_OPTION",
    "LONGEST_PROMPT",
    "LONGEST_TEXT",
    "LONGEST_TOKEN",
    "MOST_DECISIONS",
    "MOST_NODES",
    "MOST_OPTIONS",
    "MOST_RENAMED",
    "MOST_SLOTS",
    "MOST_TOP",
    "MOST_VERIFIERS",
    "SCHEMA_VERSION",
    "WEIGHTS_SCHEME",
    "Audit",
    "Bonus",
    "BonusKind",
    "CacheChange",
    "Caches",
    "Choice",
    "Comparison",
    "Count",
    "Decision",
    "DraftTree",
    "EndReason",
    "FailedStep",
    "ForkedFrom",
    "Lossless",
    "Many",
    "ModelInfo",
    "Models",
    "Name",
    "Node",
    "Nonfinite",
    "Option",
    "Origin",
    "Outcome",
    "PartialNode",
    "Probability",
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
]


class Timings(Value):
    """Seconds of one step. ``draft`` and ``target`` are the models' forwards; the rest is specviz's own work.

    On CUDA a phase lasts from when the device comes to it until it leaves it, and ``record`` and ``audit``, which read
    first and work on the host, by the host's clock."""

    draft: float
    target: float
    build: float
    """Growing the tree: drawing siblings, choosing nodes to expand."""
    verify: float
    commit: float
    record: float
    audit: float = 0.0


class Step(Value):
    """One draft, score, verify, commit."""

    index: Count
    context: Annotated[int, Field(ge=1)]
    """Committed tokens before this step, the root included."""
    tree: DraftTree
    verdicts: Annotated[dict[Name, Verdict], Field(max_length=MOST_VERIFIERS)]
    driver: Name
    committed: Annotated[Many[Count], Field(min_length=1, max_length=MOST_NODES)]
    """Tokens appended to the text: the driver's path and bonus, cut at end of sequence and at max_new_tokens."""
    end_reason: EndReason | None = None
    caches: Caches
    tokens: Many[TokenText]
    """Text of every token id this step mentions."""
    timings: Timings
    prefilled: Count = 0
    """Context tokens that were prefilled right before this step (0 when the live caches went on)."""
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
            mentioned = [d.node for d in verdict.decisions] + [verdict.bonus.node, *verdict.path]
            if max(mentioned) >= size:
                raise ValueError(f"{name} mentions a node outside the tree")
            parents = [self.tree.nodes[node].parent for node in verdict.path]
            if parents != [0, *verdict.path][: len(parents)]:
                raise ValueError(f"the path of {name} is not connected")
        for change in (self.caches.target, self.caches.draft):
            if any(slot.node is not None and slot.node >= size for slot in change.appended):
                raise ValueError("a cache slot names a node outside the tree")
        mentioned_tokens = {node.token for node in self.tree.nodes}.union(
            self.committed, (verdict.bonus.token for verdict in self.verdicts.values())
        )
        if unknown := mentioned_tokens - self.text_of().keys():
            raise ValueError(f"step {self.index} has no text for token {min(unknown)}")
        driver = self.verdicts[self.driver]
        emitted = (*(self.tree.nodes[node].token for node in driver.path), driver.bonus.token)
        if self.committed != emitted[: len(self.committed)]:
            raise ValueError(f"step {self.index} commits other tokens than its driver emits")
        return self

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


class Nonfinite(Value):
    """Logits of which no distribution can be made, and where that began."""

    model: Literal["target", "draft"]
    found: Literal["NaN", "infinity", "-infinity for every token"]
    """In the logits."""
    nodes: Nodes
    """Whose logits were so."""
    module: Text | None
    """The first part of the model, as it is called there, with NaN or infinity in its output; null where a repeated
    forward had none."""
    layer: Count | None
    """The layer that part belongs to, the first one 0; null for a part outside the layers."""
    first_nodes: Nodes
    """Nodes at which that part's output was so."""
    first_tokens: Many[Count]
    """The same for tokens of the text, by their place in it, the first one 0."""

    def marks(self) -> dict[int, str]:
        """Node -> what is wrong with its logits, and whether it began there."""
        wrong = dict.fromkeys(self.nodes, f"{self.found} ({self.model})")
        return wrong | {node: f"{wrong.get(node, 'NaN or infinity')}, began here" for node in self.first_nodes}


class FailedStep(Value):
    """A step that an error ended, as far as it got. Nothing of it became text, and it has no verdicts."""

    index: Count
    context: Annotated[int, Field(ge=1)]
    """Committed tokens before this step, the root included."""
    builder: Name
    proposal: Proposal
    nodes: Annotated[Many[PartialNode], Field(min_length=1, max_length=MOST_NODES)]
    """The tree as far as it was grown; ``target`` only where the target's forward was fine."""
    tokens: Many[TokenText]
    """Text of every token id this step mentions."""
    message: Text
    nonfinite: Nonfinite | None = None

    @model_validator(mode="after")
    def _consistent(self) -> FailedStep:
        check_tree(self.nodes)
        if unknown := {node.token for node in self.nodes} - {token.id for token in self.tokens}:
            raise ValueError(f"the failed step has no text for token {min(unknown)}")
        if self.nonfinite and max((*self.nonfinite.nodes, *self.nonfinite.first_nodes), default=0) >= len(self.nodes):
            raise ValueError("the failed step names a node outside its tree")
        return self


class ForkedFrom(Value):
    trace: Name
    step: Count


class Trace(Value):
    """A recorded run."""

    schema_version: Literal[1] = 1
    id: Annotated[str, Field(pattern=r"^[0-9a-zA-Z_-]{1,64}$")]
    created: Name
    """ISO 8601, UTC."""
    specviz_version: Name
    models: Models
    settings: Settings
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

    @model_validator(mode="after")
    def _steps_follow(self) -> Trace:
        context = len(self.prompt_tokens)
        if unknown := set(self.prompt_tokens) - {token.id for token in self.prompt_texts}:
            raise ValueError(f"there is no text for token {min(unknown)} of the prompt")
        for position, step in enumerate(self.steps):
            if step.index != position:
                raise ValueError(f"step {position} has the index {step.index}")
            if step.context != context:
                raise ValueError(f"step {step.index} starts at {step.context} tokens, not {context}")
            context += len(step.committed)
        if self.failed and (self.failed.index, self.failed.context) != (len(self.steps), context):
            raise ValueError(f"the failed step {self.failed.index} does not follow the last one")
        names = {choice.name for choice in self.settings.verifiers}.union(*(step.verdicts for step in self.steps))
        if len(names) > MOST_VERIFIERS:
            raise ValueError(f"the steps have verdicts of {len(names)} verifiers, more than {MOST_VERIFIERS}")
        return self

    def __repr__(self) -> str:
        """In a line: pydantic's own has every number of the run, megabytes of them."""
        return (
            f"<Trace {self.id} of {shown(self.prompt)}: {len(self.output_tokens())} tokens in {len(self.steps)} steps, "
            f"target {shown(self.models.target.id)}, draft {shown(self.models.draft.id)}, "
            f"driver {shown(self.settings.driver)}, ended: {self.end_reason}>"
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

    def settings_of(self, position: int) -> Settings:
        """What ``steps[position]`` was run with."""
        return self.steps[position].settings or self.settings

    def models_of(self, position: int) -> Models:
        """What ``steps[position]`` was run on."""
        return self.steps[position].models or self.models

    def output_tokens(self) -> list[int]:
        """All committed tokens after the prompt."""
        return [token for step in self.steps for token in step.committed]
