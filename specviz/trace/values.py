"""What the values of a trace share: their base class, kinds of numbers and texts, and how much a file may hold."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, FailFast, Field

SCHEMA_VERSION = 2
READ_VERSIONS = (1, 2)
"""Schema versions that are read. What version 1 has no field for is *not recorded* there."""
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
MOST_PROCESSORS = 16
"""Processors of one run."""
MOST_LAYERS = 1_000
"""Of a model; the deepest that are published have some two hundred."""
MOST_RENAMED = 256
"""Added tokens at which two tokenizers may differ: as many as Llama 3 has special ones."""
LONGEST_NAME = 200
"""Characters of a name, and of a rule in symbols. Recorded ones have at most 31."""
LONGEST_TEXT = 1_000
"""Characters of a sentence, such as a reason, and of an id. Recorded ones have at most 106."""
LONGEST_OPTION = 1_200_000
"""Characters of an option: ``paths`` of the explicit builder takes so many for a chain of 1,024 nodes."""
LONGEST_PROMPT = 4_000_000
"""Characters of a prompt: a context of a million tokens."""
MOST_STOPS = 16
"""Stop strings of a run."""
LONGEST_STOP = 200
"""Characters of one: every new token is compared with all of them."""
MOST_CHECKS = 64
"""Checks of one step."""
MOST_TOP = 100
"""Recorded entries of a distribution."""
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
"""Which two recorded numbers or tokens decide about a node."""
BonusKind = Literal["target", "residual", "truncated", "argmax"]
"""The distribution that the bonus token comes from."""
Origin = Literal["built-in", "folder", "hub"]
"""Where a model comes from: it is shipped with specviz or made by it, lies in a folder, or on the Hugging Face hub."""
Promise = Literal["yes", "no", "greedy decoding"]
"""What a verifier says of its output: distributed as target samples, not necessarily so, or greedy decoding."""
Lossless = Literal["yes", "no", "greedy decoding", "not proved", "unknown"]
"""What is proved of a verifier's output, with one set of options: distributed as target samples, shown not to be,
greedy decoding, or neither; ``unknown`` of a rule that is not specviz's to prove."""
EndReason = Literal["end of sequence", "stop string", "max_new_tokens", "context limit", "stopped", "error"]
"""Why a run went no further."""
ProcessorMode = Literal["exact", "frozen"]
"""Which text a node's logits are processed by: that of its own path, or the committed text alone for all nodes."""
PromptEnd = Literal["refuse", "drop", "keep"]
"""What is done with an end token that a prompt ends in: a run would begin after the end of its own text."""
Option = bool | int | float | str | None
Coin = Annotated[float, Field(ge=0.0, le=1.0)]
"""A uniform number. Other engines have coins that may be 0 or 1; specviz's lie between them."""
Probability = Annotated[float, Field(ge=0.0, le=1.0 + 1e-5)]
Count = Annotated[int, Field(ge=0, lt=2**53)]
"""Not larger than what a browser can count."""
Name = Annotated[str, Field(max_length=LONGEST_NAME)]
Text = Annotated[str, Field(max_length=LONGEST_TEXT)]
Fingerprint = Annotated[str, Field(max_length=64)]
TokenString = Annotated[str, Field(max_length=LONGEST_TOKEN)]
T = TypeVar("T")


class _FirstFault(FailFast):
    """Can be hashed, as typing wants of what is part of a union."""

    def __hash__(self) -> int:
        return hash(self.fail_fast)


Many = Annotated[tuple[T, ...], _FirstFault()]
"""A list whose first broken item is the only one that is told of: there could be millions."""


def _fitting(options: dict[str, Option]) -> dict[str, Option]:
    # Not a limit of the type: of a union pydantic tells of the first kind alone, "not a valid boolean".
    for name, value in options.items():
        if isinstance(value, str) and len(value) > LONGEST_OPTION:
            raise ValueError(f"the option {name} should have at most {LONGEST_OPTION} characters")
    return options


Options = Annotated[dict[Name, Option], Field(max_length=MOST_OPTIONS), AfterValidator(_fitting)]
Nodes = Annotated[Many[Count], Field(max_length=MOST_NODES)]
Slots = Annotated[Many[Count], Field(max_length=MOST_SLOTS)]
Layers = Annotated[Many[float], Field(max_length=MOST_LAYERS)]
Cells = Annotated[Many[Annotated[Many[float], Field(max_length=MOST_SLOTS)]], Field(max_length=MOST_LAYERS)]


def cut(text: str, most: int = LONGEST_TEXT) -> str:
    """``text`` as a trace holds it: in at most so many characters, the last one ``…`` where it was longer."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def options_key(options: Mapping[str, Option]) -> str:
    """One text for equal options, whatever their order."""
    return json.dumps(dict(options), sort_keys=True, default=str)


def is_none(value: object) -> bool:
    """For fields that are left out of a file where there is nothing to say, so that it is written as before."""
    return value is None


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
