"""What a run was made with: its settings, and the models as they were loaded."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from specviz.errors import TraceError
from specviz.trace.values import (
    LONGEST_STOP,
    MOST_LAYERS,
    MOST_OPTIONS,
    MOST_PROCESSORS,
    MOST_RENAMED,
    MOST_STOPS,
    MOST_VERIFIERS,
    Count,
    Many,
    Name,
    Options,
    Origin,
    ProcessorMode,
    PromptEnd,
    Text,
    Value,
    is_none,
)


class Sampling(Value):
    """How logits become the distribution that is sampled from. Order: temperature, top-k, top-p, eta cutoff."""

    temperature: Annotated[float, Field(ge=0.0, le=100.0)] = 1.0
    """0 puts all mass on the most likely token."""
    top_k: Count = 0
    """Keep the k most likely tokens; 0 keeps all."""
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Keep the smallest set of most likely tokens whose mass reaches top_p."""
    eta_cutoff: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Hewitt et al. 2022, *eta sampling*: drop p < min(eta, sqrt(eta) exp(-H)); 0 is off. Target only."""


class Choice(Value):
    """A registered builder or verifier by name, with its options."""

    name: Annotated[Name, Field(min_length=1)]
    options: Options = Field({})


class Processors(Value):
    """What changes logits by the text before them, ahead of temperature, top-k and top-p (min-p: after them)."""

    chosen: Annotated[Many[Choice], Field(min_length=1, max_length=MOST_PROCESSORS)]
    mode: ProcessorMode = "exact"
    draft: bool = False
    """Whether the draft's logits are processed likewise."""


class Settings(Value):
    """Everything that, with the models and the prompt, determines a run."""

    target: Sampling = Sampling()
    draft: Sampling = Sampling()
    builder: Choice = Choice(name="k_config")
    verifiers: Annotated[Many[Choice], Field(min_length=1, max_length=MOST_VERIFIERS)] = (Choice(name="rejection"),)
    processors: Annotated[Processors | None, Field(exclude_if=is_none)] = None
    """Null, and left out of files, for none."""
    driver: Name = "rejection"
    """Name of the verifier whose verdict is committed."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    max_new_tokens: Annotated[int, Field(ge=1, le=1_000_000)] = 40
    min_new_tokens: Annotated[int, Field(ge=0, le=1_000_000, exclude_if=lambda value: not value)] = 0
    """So many tokens are text before an end token or a stop string ends it: one that comes earlier stays and ends
    nothing. Left out of a file where it is 0."""
    stop: Annotated[
        Many[Annotated[str, Field(min_length=1, max_length=LONGEST_STOP)]],
        Field(max_length=MOST_STOPS, exclude_if=lambda value: not value),
    ] = ()
    """Stop strings: the text ends with the token that completes one. Left out of a file where there is none."""
    chat: bool = False
    """Whether the prompt was wrapped in the target's chat template."""
    prompt_end_token: PromptEnd = "refuse"
    """What is done where a prompt outside a chat template ends in an end token."""
    audit: bool = False
    """Whether both caches are compared with a fresh recompute after every step."""
    record_top_k: Annotated[int, Field(ge=1, le=100)] = 10
    """How many entries of each distribution are recorded."""
    record_optimum: Annotated[bool, Field(exclude_if=lambda value: not value)] = False
    """Whether the optimum of every node, and what each rule can expect there, is computed and recorded. Left out of a
    file where it is not."""

    @model_validator(mode="after")
    def _driver_is_a_verifier(self) -> Settings:
        names = [choice.name for choice in self.verifiers]
        if self.driver not in names:
            raise ValueError(f"driver {self.driver!r} is not one of the verifiers {names}")
        if len(set(names)) != len(names):
            raise ValueError(f"a verifier is named twice in {names}")
        return self


class HeadInfo(Value):
    """A draft head: a few layers that draft from the target's hidden states, and how they were run."""

    format: Literal["eagle1", "eagle3", "p_eagle", "dflash", "dspark", "medusa", "mtp", "hidden_state"]
    """``hidden_state``: specviz's own, a draft model of its own with a head that reads the target."""
    kind: Literal["step", "block"]
    """``step``: one forward a level of the tree; ``block``: one forward at the root drafts all levels."""
    reads: Annotated[Many[Count], Field(max_length=MOST_LAYERS)]
    """Which of the target's hidden states, in this order: 0 is the embeddings, k the output of layer k."""
    before_norm: bool
    """Whether the output of the last layer, where it is read, is taken before the final norm."""
    layers: Count
    """Layers of the head, which have keys and values of their own."""
    depth: Count | None = None
    """Of a block: how many rows it drafts at once, one a level of the tree."""
    vocabulary: Count | None = None
    """How many tokens it can propose; null for all of the target's."""
    options: Options = Field({})
    """How it was run, as its files or the user said: norms, position offset, rope base."""
    by_hand: Annotated[Many[Name], Field(max_length=MOST_OPTIONS)] = ()
    """Which of ``options``, and ``reads``, the user set in place of what the files say."""


class ModelInfo(Value):
    """What was loaded, as found on the loaded model."""

    id: Text
    """As it was asked for; of a folder the last part of its path only."""
    source: Origin | None = None
    """Where it came from; null where that was not recorded."""
    revision: Text | None = None
    """On the hub the commit; of the built-in draft a hash of its files."""
    weights: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,40}:[0-9a-f]{64}$")] | None = None
    """A hash over a sample of every tensor as loaded, see ``specviz.models.weights``; null where not recorded."""
    config: dict[Name, Name] = Field({}, max_length=MOST_OPTIONS)
    """Fields of its config that may change what it computes, as JSON; empty where not recorded."""
    architecture: Name | None = None
    """From here to ``device``: null where another engine did not say."""
    parameters: Count | None = None
    layers: Count | None = None
    vocabulary: Count | None = None
    dtype: Name | None = None
    device: Name | None = None
    quantization: Name | None = None
    reads: Annotated[Many[Count], Field(max_length=MOST_LAYERS)] = ()
    """Of a draft that reads the target's hidden states: which. 0 is the embeddings, k the output of layer k. Those of
    ``head``, where that is recorded; older files have them here alone."""
    head: HeadInfo | None = None
    """Of a draft that is a head, or has one; null where there is none, and where it was not recorded."""
    note: Text | None = None


class Engine(Value):
    """Another engine than specviz's, whose decode was recorded: what it says of itself."""

    name: Annotated[Name, Field(min_length=1)]
    version: Name | None = None
    rule: Name | None = None
    """The verifier that it says it has, by specviz's name for it where there is one; null where it did not say."""
    lossless: bool | None = None
    """Whether it says that what it emits is distributed as target samples; null where it did not say."""
    target: Sampling | None = None
    """How its target's logits become the distribution that is verified; null where not recorded."""
    draft: Sampling | None = None
    options: Options = Field({})
    """What else it said of itself."""


class Models(Value):
    target: ModelInfo | None
    """Null where another engine did not say."""
    draft: ModelInfo | None
    """Null where another engine did not say, or has none (prompt lookup)."""
    renamed_tokens: Annotated[Many[Count], Field(max_length=MOST_RENAMED)] = ()
    """Ids of added tokens that the draft's tokenizer names otherwise, or has not: taken because it was asked for."""

    def both(self) -> tuple[ModelInfo, ModelInfo]:
        """Target and draft, as every run of specviz's own has them.

        Raises:
            TraceError: where one was not recorded.
        """
        if self.target is None or self.draft is None:
            raise TraceError("This run does not say which models it ran; open one that specviz recorded itself.")
        return self.target, self.draft
