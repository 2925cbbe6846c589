"""The tree of a step: its tokens, and both models' distributions at its nodes."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, model_validator

from specviz.trace.values import (
    MOST_NODES,
    MOST_TOP,
    Count,
    Many,
    Name,
    Probability,
    Proposal,
    TokenString,
    Value,
    is_none,
)


class TokenText(Value):
    """The text of one token id. ``bytes`` holds the hex form where the bytes alone are not valid UTF-8."""

    id: Count
    text: TokenString
    bytes: TokenString | None = None

    @property
    def raw(self) -> builtins.bytes:
        """What it adds to the text, as UTF-8; a part of a character has a part of one."""
        return bytes.fromhex(self.bytes) if self.bytes is not None else self.text.encode("utf-8", "replace")

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

    ids: Annotated[Many[Count], Field(max_length=MOST_TOP)]
    probs: Annotated[Many[Probability], Field(max_length=MOST_TOP)]

    @model_validator(mode="after")
    def _aligned(self) -> TopK:
        if len(self.ids) != len(self.probs):
            raise ValueError("ids and probs differ in length")
        return self


class Row(Value):
    """One model's next-token distribution at one node."""

    entropy: float | None
    """Of the processed distribution, in nats; null where that was not recorded."""
    raw: TopK | None
    """Plain softmax of the logits, before the sampling parameters; null where the logits were not recorded."""
    processed: TopK | None
    """After the sampling parameters: what is sampled from and verified against; null where it was not recorded."""
    top_logit: float | None = None
    """Of raw's first token, six digits: says how coarse rounding is. Null where not finite, and where not recorded."""
    log_sum_exp: float | None = None
    """Of the logits, in nats; null where not recorded."""
    variance: float | None = None
    """Of log p under the processed distribution, in square nats; null where not recorded."""
    confidence: Probability | None = None
    """Of a draft head that says how likely what it drafts here is accepted; null where it says nothing."""
    bias: Annotated[Many[float], Field(max_length=MOST_TOP)] | None = None
    """Of a draft head that adds a bias by the token at the node (DSpark): what it added to the logits of raw's tokens,
    in their order; null for other rows."""

    @model_validator(mode="after")
    def _bias_of_raw(self) -> Row:
        if self.bias is not None and (self.raw is None or len(self.bias) != len(self.raw.ids)):
            raise ValueError("bias and raw differ in length")
        return self


def written(token: int, texts: Mapping[int, TokenText]) -> TokenText:
    """A token's text; its id in ``‹ ›``, as the page writes it, where another engine gave none."""
    return texts.get(token) or TokenText(id=token, text=f"‹{token}›")


def text_of_tokens(tokens: list[TokenText]) -> str:
    """Join token texts, putting characters that were split over several tokens together again."""
    return b"".join(token.raw for token in tokens).decode("utf-8", "replace")


class PartialNode(Value):
    """One token of a tree in a step that may have failed: what was not computed or not recorded is null."""

    id: Count
    parent: Annotated[int, Field(ge=-1)]
    depth: Count
    rank: Count
    """Draw order among its siblings; 0 was drawn first."""
    token: Count
    text: TokenString | None
    """Null where the engine gave no texts."""
    draft_prob: Probability | None
    """Probability of this token in its parent's processed draft row; null for the root, and where not recorded."""
    target_prob: Probability | None
    """Probability of this token in its parent's processed target row; null for the root, and where not recorded."""
    draft: Row | None
    """The draft's distribution at this node, where the draft ran it (expanded nodes) and it was recorded."""
    target: Row | None
    """The target's distribution at this node."""


class Processed(Value):
    """What processors did to the target's row at a node, as total variations between whole rows."""

    moved: Probability
    """Between the row without processors and the one that was used."""
    apart: Probability
    """Between the rows of the two modes, exact and frozen."""


class Node(PartialNode):
    """One token of the draft tree."""

    optimum: Probability | None = None
    """Of a node with children: the largest probability with which a lossless rule that decides node by node can accept
    one of them, given how they were proposed; null where it was not computed."""
    p_outside: Probability | None = None
    """What the target's processed row gives to tokens that the draft cannot propose; null where it can propose all."""
    processed: Annotated[Processed | None, Field(exclude_if=is_none)] = None
    """Null, and left out of files, where the run has no processors."""


def check_tree(nodes: tuple[PartialNode, ...]) -> None:
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


class DraftTree(Value):
    """A draft tree in topological order: every parent comes before its children."""

    builder: Name | None
    """Null where another engine built the tree."""
    proposal: Proposal | None
    """Null where it was not recorded how siblings were proposed."""
    nodes: Annotated[Many[Node], Field(min_length=1, max_length=MOST_NODES)]

    @model_validator(mode="after")
    def _is_a_tree(self) -> DraftTree:
        check_tree(self.nodes)
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
