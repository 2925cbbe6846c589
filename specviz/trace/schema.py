"""The recorded run: frozen, validated value types and their JSON form.

A :class:`Trace` is settings, prompt and :class:`Step` values. It holds plain numbers and strings only, so a page, a
test or a notebook can read one without torch, a model or this package's engine. Derived things (mask, children, paths)
are derived from ``Node.parent``; observed things (cache slots, fingerprints, what a row was allowed to see) were read
from the tensors during the run and are stored as they were found.

Conventions: probabilities are in [0, 1], entropies in nats, times in seconds. Node 0 of every tree is the *root*, the
last committed token, which is in no cache until its step runs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache, cached_property
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, FailFast, Field, model_validator

from specviz.errors import shown

SCHEMA_VERSION = 1
WEIGHTS_SCHEME = "sha256-sample1"
"""In front of every hash of weights; hashes with another one in front say nothing about each other."""
# What one file may hold of a kind, so that no work over it can grow with the square of the file.
MOST_NODES = 1025
"""Nodes of a tree, the root included."""
MOST_VERIFIERS = 256
MOST_DECISIONS = 16_384
"""Of one verifier in one step."""
MOST_SLOTS = 65_536
"""Cache slots that are written in one step."""
MOST_OPTIONS = 100
MOST_RENAMED = 256
"""Added tokens at which two tokenizers may differ: as many as Llama 3 has special ones."""
LONGEST_NAME = 200
INFINITE_DIFFERENCE = 1e308
"""Stands in an audit for a difference that is no finite number: NaN, or an infinity on one side only."""
LONGEST_TOKEN = 1_000
"""Characters, or hexadecimal digits, of one token: a trace that repeats it pays its length each time."""

Proposal = Literal["without_replacement", "with_replacement", "top_k"]
"""How the siblings of a node were proposed; decides which verifier is lossless."""

Outcome = Literal["accepted", "rejected", "passed, not chosen"]
"""What became of a node that a verifier examined. A node without a decision was not examined by itself; it may still
lie on the accepted path, where a rule accepts paths as a whole (traversal)."""

Comparison = Literal["uniform < threshold", "p > threshold", "token = drawn", "token = argmax"]
BonusKind = Literal["target", "residual", "truncated", "argmax"]
Origin = Literal["built-in", "folder", "hub"]
"""Where a model comes from: it is shipped with specviz or made by it, lies in a folder, or on the Hugging Face hub."""
Promise = Literal["yes", "no", "greedy decoding"]
"""What a verifier says of its output: distributed as target samples, not necessarily so, or greedy decoding."""
Lossless = Literal["yes", "no", "greedy decoding", "not proved"]
"""What is proved about that, for one set of options."""
EndReason = Literal["end of sequence", "max_new_tokens", "context limit", "stopped", "error"]
PromptEnd = Literal["refuse", "drop", "keep"]
"""What is done with an end token that a prompt ends in: a run would begin after the end of its own text."""
Option = bool | int | float | str | None
Probability = Annotated[float, Field(ge=0.0, le=1.0 + 1e-5)]
Count = Annotated[int, Field(ge=0, lt=2**53)]
"""Not larger than what a browser can count."""
Name = Annotated[str, Field(max_length=LONGEST_NAME)]
T = TypeVar("T")
Many = Annotated[tuple[T, ...], FailFast()]
"""A list whose first broken item is the only one that is told of: there could be millions."""


def options_key(options: Mapping[str, Option]) -> str:
    """One text for equal options, whatever their order."""
    return json.dumps(dict(options), sort_keys=True, default=str)


@cache
def _all_fields(kind: type[BaseModel]) -> set[str]:
    return set(kind.model_fields)


class Value(BaseModel):
    """A frozen value. Unknown fields, wrong types, NaN and infinities are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def model_post_init(self, _: Any) -> None:
        # pydantic gives every value a set of its own with the names of the fields that were given: more than a third
        # of a trace's memory, and nothing here asks for it. All values of a class share one.
        object.__setattr__(self, "__pydantic_fields_set__", _all_fields(type(self)))


# ---------------------------------------------------------------------------------------------------- settings


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

    name: Annotated[str, Field(min_length=1, max_length=200)]
    options: Annotated[dict[str, Option], Field(max_length=MOST_OPTIONS)] = {}


class Settings(Value):
    """Everything that, with the models and the prompt, determines a run."""

    target: Sampling = Sampling()
    draft: Sampling = Sampling()
    builder: Choice = Choice(name="k_config")
    verifiers: Annotated[Many[Choice], Field(min_length=1, max_length=MOST_VERIFIERS)] = (Choice(name="rejection"),)
    driver: str = "rejection"
    """Name of the verifier whose verdict is committed."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    max_new_tokens: Annotated[int, Field(ge=1, le=1_000_000)] = 40
    chat: bool = False
    """Whether the prompt was wrapped in the target's chat template."""
    prompt_end_token: PromptEnd = "refuse"
    """What is done where a prompt outside a chat template ends in an end token."""
    audit: bool = False
    """Whether both caches are compared with a fresh recompute after every step."""
    record_top_k: Annotated[int, Field(ge=1, le=100)] = 10
    """How many entries of each distribution are recorded."""

    @model_validator(mode="after")
    def _driver_is_a_verifier(self) -> Settings:
        names = [choice.name for choice in self.verifiers]
        if self.driver not in names:
            raise ValueError(f"driver {self.driver!r} is not one of the verifiers {names}")
        if len(set(names)) != len(names):
            raise ValueError(f"a verifier is named twice in {names}")
        return self


class ModelInfo(Value):
    """What was loaded, as found on the loaded model."""

    id: str
    """As it was asked for; of a folder the last part of its path only."""
    source: Origin | None = None
    """Where it came from; null where that was not recorded."""
    revision: str | None = None
    """On the hub the commit; of the built-in draft a hash of its files."""
    weights: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,40}:[0-9a-f]{64}$")] | None = None
    """A hash over a sample of every tensor as loaded, see ``specviz.models.weights``; null where not recorded."""
    config: Annotated[dict[Name, Name], Field(max_length=MOST_OPTIONS)] = {}
    """Fields of its config that may change what it computes, as JSON; empty where not recorded."""
    architecture: str
    parameters: Count
    layers: Count
    vocabulary: Count
    dtype: str
    device: str
    quantization: str | None = None
    reads: Many[Count] = ()
    """Of a draft that reads the target's hidden states: which. 0 is the embeddings, k the output of layer k."""
    note: str | None = None


class Models(Value):
    target: ModelInfo
    draft: ModelInfo
    renamed_tokens: Annotated[Many[Count], Field(max_length=MOST_RENAMED)] = ()
    """Ids of added tokens that the draft's tokenizer names otherwise, or has not: taken because it was asked for."""


# ------------------------------------------------------------------------------------------------------- tokens


class TokenText(Value):
    """The text of one token id. ``bytes`` holds the hex form where the bytes alone are not valid UTF-8."""

    id: Count
    text: Annotated[str, Field(max_length=LONGEST_TOKEN)]
    bytes: Annotated[str, Field(max_length=LONGEST_TOKEN)] | None = None

    @model_validator(mode="after")
    def _hex(self) -> TokenText:
        if self.bytes is not None:
            try:
                bytes.fromhex(self.bytes)
            except ValueError:
                raise ValueError("bytes is not hexadecimal") from None
        return self


class TopK(Value):
    """The most likely entries of a distribution, in falling order."""

    ids: Many[Count]
    probs: Many[Probability]

    @model_validator(mode="after")
    def _aligned(self) -> TopK:
        if len(self.ids) != len(self.probs):
            raise ValueError("ids and probs differ in length")
        return self


class Row(Value):
    """One model's next-token distribution at one node."""

    entropy: float
    """Of the processed distribution, in nats."""
    raw: TopK
    """Plain softmax of the logits, before the sampling parameters."""
    processed: TopK
    """After the sampling parameters: what is sampled from and verified against."""
    top_logit: float | None = None
    """Of raw's first token, six digits: says how coarse rounding is. Null where not finite, and in older files."""


# --------------------------------------------------------------------------------------------------------- tree


class PartialNode(Value):
    """One token of a tree in a step that may have failed: what was not computed is null."""

    id: Count
    parent: Annotated[int, Field(ge=-1)]
    depth: Count
    rank: Count
    """Draw order among its siblings; 0 was drawn first."""
    token: Count
    text: str
    draft_prob: Probability | None
    """Probability of this token in its parent's processed draft row; null for the root."""
    target_prob: Probability | None
    """Probability of this token in its parent's processed target row; null for the root."""
    draft: Row | None
    """The draft's distribution at this node, where the draft ran it (expanded nodes)."""
    target: Row | None


class Node(PartialNode):
    """One token of the draft tree."""

    target: Row


def _check_tree(nodes: tuple[PartialNode, ...]) -> None:
    siblings: dict[int, int] = {}
    for i, node in enumerate(nodes):
        if node.id != i:
            raise ValueError(f"node {i} carries the id {node.id}")
        if (i == 0) != (node.parent == -1) or node.parent >= i:
            raise ValueError(f"node {i} has the parent {node.parent}")
        if node.depth != (nodes[node.parent].depth + 1 if i else 0):
            raise ValueError(f"node {i} has the depth {node.depth}")
        if node.rank != siblings.get(node.parent, 0):
            raise ValueError(f"node {i} has the draw rank {node.rank}")
        siblings[node.parent] = node.rank + 1
        if i and nodes[node.parent].draft is None:
            raise ValueError(f"node {node.parent} has children and no draft row")


class DraftTree(Value):
    """A draft tree in topological order: every parent comes before its children."""

    builder: str
    proposal: Proposal
    nodes: Annotated[Many[Node], Field(min_length=1, max_length=MOST_NODES)]

    @model_validator(mode="after")
    def _is_a_tree(self) -> DraftTree:
        _check_tree(self.nodes)
        return self

    def children(self) -> list[list[int]]:
        """Children of every node in draw order."""
        children: list[list[int]] = [[] for _ in self.nodes]
        for node in self.nodes[1:]:
            children[node.parent].append(node.id)
        return children

    def path(self, node: int) -> list[int]:
        """Node ids from below the root down to ``node``; empty for the root."""
        path: list[int] = []
        while node > 0:
            path.append(node)
            node = self.nodes[node].parent
        return path[::-1]


# ----------------------------------------------------------------------------------------------------- verdicts


class Residual(Value):
    """What is left of the target after a rejection, ``max(p - q, 0)``: its mass, and its top entries scaled to 1."""

    mass: Annotated[float, Field(ge=0.0)]
    top: TopK


class Decision(Value):
    """One decision of a verifier about one node."""

    node: Count
    rule: str
    """The rule in words and symbols, e.g. ``u < p/q``."""
    comparison: Comparison
    """Which two recorded numbers (or tokens) were compared."""
    threshold: float
    p: float | None
    """Target probability as the rule used it (after earlier siblings were rejected)."""
    q: float | None
    """Draft probability as the rule used it (point mass 1 for top-k; renormalized without replacement)."""
    uniform: Annotated[float, Field(gt=0.0, lt=1.0)] | None
    expected: Count | None = None
    """The drawn or argmax token this node's token was compared with."""
    outcome: Outcome
    reason: str
    residual: Residual | None = None


class Bonus(Value):
    """The token after the accepted path, and where it was drawn from."""

    token: Count
    text: str
    node: Count
    """The node at whose target row (or residual) it was drawn."""
    source: BonusKind
    uniform: Annotated[float, Field(gt=0.0, lt=1.0)] | None
    distribution: TopK


class Verdict(Value):
    """What one verifier made of the tree."""

    verifier: Name
    options: Annotated[dict[str, Option], Field(max_length=MOST_OPTIONS)]
    lossless: Lossless
    """Whether tokens emitted by this verifier, with these options and on this kind of proposal, are distributed as
    target samples: ``yes`` and ``greedy decoding`` are promised and proved by enumeration, ``no`` was shown by it, and
    ``not proved`` is everything else. What was known when the step was recorded."""
    thresholds: Many[float]
    """One per node, reached or not; the root's is 1."""
    decisions: Annotated[Many[Decision], Field(max_length=MOST_DECISIONS)]
    """In the order they were taken."""
    path: Many[Count]
    """Accepted nodes below the root, downwards."""
    bonus: Bonus


# ------------------------------------------------------------------------------------------------------- caches


class Slot(Value):
    """One cache slot written during a step, as read from what was passed to the model."""

    slot: Count
    token: Count
    position: Count
    role: Literal["context", "node", "pruned"]
    """``context``: a committed token fed late; ``node``: a tree node; ``pruned``: run, but not kept in the tree."""
    node: Count | None
    sees: Many[Count]
    """Slots of this step that the attention mask let this row see, itself included."""
    sees_before: Count
    """How many slots from before this step the mask let this row see."""


class Audit(Value):
    """A cache against a fresh recompute: largest absolute difference, relative to the layer's largest value.

    A feature or a slot that stands out of its layer is measured by itself. 1e308: the difference is no finite number.
    """

    first_slot: Count
    """Slot of the first column; earlier slots are summed up in ``earlier_*``."""
    keys: Many[Many[float]]
    """[layer][slot], for slots written in this step and kept."""
    values: Many[Many[float]]
    earlier_keys: Many[float]
    """[layer], the largest over all earlier slots."""
    earlier_values: Many[float]
    logits: float | None
    """Next-token logits, relative to the largest absolute logit of those that do not just rule a token out; null where
    the context is full and has none."""

    @model_validator(mode="after")
    def _aligned(self) -> Audit:
        layers = {len(rows) for rows in (self.keys, self.values, self.earlier_keys, self.earlier_values)}
        if len(layers) != 1 or len({len(row) for row in (*self.keys, *self.values)}) > 1:
            raise ValueError("the audit's layers or slots differ in number")
        return self

    def worst(self) -> float:
        """The largest relative difference anywhere in keys, values and logits."""
        logits = () if self.logits is None else (self.logits,)
        rows = (*self.keys, *self.values, self.earlier_keys, self.earlier_values, logits)
        return max((x for row in rows for x in row), default=0.0)


class CacheChange(Value):
    """What one step did to one model's KV cache: changes, never the whole context."""

    length_before: Count
    appended: Annotated[Many[Slot], Field(max_length=MOST_SLOTS)]
    moves: Many[tuple[Count, Count]]
    """(from slot, to slot) of kept slots that changed place."""
    dropped: Many[Count]
    length_after: Count
    fingerprints_before: Many[str]
    """One per appended slot, read from keys and values after the forward."""
    fingerprints_after: Many[str]
    """One per slot from ``length_before`` to ``length_after``, read after the update."""
    audit: Audit | None = None

    @model_validator(mode="after")
    def _aligned(self) -> CacheChange:
        if len(self.fingerprints_before) != len(self.appended):
            raise ValueError("fingerprints_before and appended differ in length")
        if len(self.fingerprints_after) != self.length_after - self.length_before:
            raise ValueError("fingerprints_after does not cover the slots that were kept")
        nodes = [slot.node for slot in self.appended if slot.node is not None]
        if len(set(nodes)) != len(nodes):
            raise ValueError("a node was written to two slots")
        if sum(slot.role == "context" for slot in self.appended) > MOST_NODES:
            raise ValueError("more committed tokens were fed late than a tree has nodes")
        return self


class Caches(Value):
    target: CacheChange
    draft: CacheChange


class Timings(Value):
    """Seconds of one step. ``draft`` and ``target`` are the models' forwards; the rest is specviz's own work."""

    draft: float
    target: float
    build: float
    """Growing the tree: drawing siblings, choosing nodes to expand."""
    verify: float
    commit: float
    record: float
    audit: float = 0.0


# --------------------------------------------------------------------------------------------------- step, trace


class Step(Value):
    """One draft, score, verify, commit."""

    index: Count
    context: Annotated[int, Field(ge=1)]
    """Committed tokens before this step, the root included."""
    tree: DraftTree
    verdicts: Annotated[dict[Name, Verdict], Field(max_length=MOST_VERIFIERS)]
    driver: str
    committed: Annotated[Many[Count], Field(min_length=1)]
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
    nodes: Many[Count]
    """Whose logits were so."""
    module: str | None
    """The first part of the model, as it is called there, with NaN or infinity in its output; null where a repeated
    forward had none."""
    layer: Count | None
    """The layer that part belongs to, the first one 0; null for a part outside the layers."""
    first_nodes: Many[Count]
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
    builder: str
    proposal: Proposal
    nodes: Annotated[Many[PartialNode], Field(min_length=1, max_length=MOST_NODES)]
    """The tree as far as it was grown; ``target`` only where the target's forward was fine."""
    tokens: Many[TokenText]
    """Text of every token id this step mentions."""
    message: str
    nonfinite: Nonfinite | None = None

    @model_validator(mode="after")
    def _consistent(self) -> FailedStep:
        _check_tree(self.nodes)
        if unknown := {node.token for node in self.nodes} - {token.id for token in self.tokens}:
            raise ValueError(f"the failed step has no text for token {min(unknown)}")
        if self.nonfinite and max((*self.nonfinite.nodes, *self.nonfinite.first_nodes), default=0) >= len(self.nodes):
            raise ValueError("the failed step names a node outside its tree")
        return self


class ForkedFrom(Value):
    trace: str
    step: Count


class Trace(Value):
    """A recorded run."""

    schema_version: Literal[1] = 1
    id: Annotated[str, Field(pattern=r"^[0-9a-zA-Z_-]{1,64}$")]
    created: str
    """ISO 8601, UTC."""
    specviz_version: str
    models: Models
    settings: Settings
    prompt: str
    prompt_tokens: Annotated[Many[Count], Field(min_length=1)]
    prompt_texts: Many[TokenText]
    """Text of every token id in the prompt."""
    end_tokens: Many[Count] = ()
    """Token ids that end the text."""
    steps: Many[Step] = ()
    end_reason: EndReason | None = None
    end_message: str | None = None
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


def text_of_tokens(tokens: list[TokenText]) -> str:
    """Join token texts, putting characters that were split over several tokens together again."""
    parts = [bytes.fromhex(t.bytes) if t.bytes is not None else t.text.encode("utf-8", "replace") for t in tokens]
    return b"".join(parts).decode("utf-8", "replace")
