"""DSpark (DeepSpec's release): DFlash's layers, a bias by the token before, and a confidence.

The rows of a block are those of :mod:`~specviz.models.heads.dflash`; each drafts the token one place after it unless
the config says otherwise. To the logits of a row is added markov_w2(markov_w1[token]), of low rank, where the token is
the one before what is drafted: in a tree the node's own. So the row of a node depends on its depth and its token, and
trees of any shape can be drafted. A ``gated`` head multiplies markov_w1[token] by a sigmoid of a projection of the
row and markov_w1[token]. An ``rnn`` head carries a state along the path; its rows depend on every token of it, so it is
refused.

The confidence head says for each row how likely what is drafted there is accepted: the sigmoid of a projection of the
row, and with ``confidence_head_with_markov`` of markov_w1[token] beside it.

Source: deepseek-ai/DeepSpec deepspec/modeling/dspark, vllm-project/speculators models/dspark.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from specviz.errors import ModelError, shown
from specviz.models.heads.dflash import DFlashFormat, DFlashHead, Sizes, has_marks, looks_like_dflash
from specviz.models.heads.fields import SPECULATORS, Fields
from specviz.trace.schema import HeadInfo

KINDS = ("vanilla", "gated")
"""Kinds of markov heads that are run."""


@dataclass(frozen=True)
class Additions:
    """What DSpark has beside DFlash.

    Attributes:
        rank: r of the bias, 0 for none.
        gated: whether a gate belongs to it.
        confidence: whether there is a confidence head.
        with_token: whether that reads the token.
    """

    rank: int
    gated: bool
    confidence: bool
    with_token: bool


class DSparkHead(DFlashHead):
    """DSpark's head.

    Args:
        config, info, sizes: see :class:`~specviz.models.heads.dflash.DFlashHead`.
        additions: see there.
    """

    def __init__(self, config: Any, info: HeadInfo, sizes: Sizes, additions: Additions):
        super().__init__(config, info, sizes)
        hidden, rank = config.hidden_size, additions.rank
        self.reads_tokens = rank > 0
        self.markov_w1 = nn.Embedding(sizes.vocabulary, rank) if rank else None
        self.markov_w2 = nn.Linear(rank, sizes.columns, bias=False) if rank else None
        self.gate_proj = nn.Linear(hidden + rank, rank) if additions.gated else None
        width = hidden + (rank if additions.with_token else 0)
        self.confidence_reads_token = additions.with_token
        self.confidence_proj = nn.Linear(width, 1) if additions.confidence else None

    def bias(self, own: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor | None:
        if self.markov_w1 is None or self.markov_w2 is None:
            return None
        before = self.markov_w1(tokens)
        if self.gate_proj is not None:
            before = before * torch.sigmoid(self.gate_proj(torch.cat([own, before], dim=-1)))
        added: torch.Tensor = self.markov_w2(before)
        return added.float()

    def confidence(self, own: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor | None:
        if self.confidence_proj is None:
            return None
        read = own
        if self.confidence_reads_token and self.markov_w1 is not None:
            read = torch.cat([own, self.markov_w1(tokens).to(own)], dim=-1)
        return torch.sigmoid(self.confidence_proj(read).float()).squeeze(-1)

    def logits(self, own: torch.Tensor, tokens: torch.Tensor | None = None) -> torch.Tensor:
        logits = super().logits(own)
        added = None if tokens is None else self.bias(own, tokens)
        return logits if added is None else logits + added


class DSparkFormat(DFlashFormat):
    """See the module."""

    name = "dspark"

    def fits(self, config: Mapping[str, Any], tensors: Mapping[str, tuple[int, ...]]) -> bool:
        kind = config.get(SPECULATORS)
        return kind == "dspark" if kind is not None else looks_like_dflash(tensors) and has_marks(tensors)

    def _from_anchor(self, config: Mapping[str, Any]) -> bool:
        return True

    def _info(self, fields: Fields, layers: Any, target_config: Any, sizes: Sizes) -> HeadInfo:
        info = super()._info(fields, layers, target_config, sizes)
        added = _additions(fields)
        options = {
            "markov_rank": added.rank,
            "markov_head_type": "gated" if added.gated else "vanilla",
            "confidence_head": added.confidence,
            "confidence_head_with_markov": added.with_token,
        }
        return info.model_copy(update={"options": {**info.options, **options}})

    def _head(self, fields: Fields, layers: Any, info: HeadInfo, sizes: Sizes) -> DSparkHead:
        return DSparkHead(layers, info, sizes, _additions(fields))

    def _own_name(self, name: str) -> str:
        name = super()._own_name(name).removeprefix("markov_head.")
        return name.replace("confidence_head.proj.", "confidence_proj.")


def _additions(fields: Fields) -> Additions:
    """What the config says of them; what it leaves out is as in speculators."""
    rank = fields.whole("markov_rank", 256, least=0)
    kind = fields.values.get("markov_head_type") or "vanilla"
    if rank and kind not in KINDS:
        raise ModelError(
            f"The draft head has a markov head of the kind {shown(kind)}, whose rows depend on the whole path and not "
            f"on the token before alone; choose one that is {' or '.join(KINDS)}."
        )
    confidence = fields.flag("enable_confidence_head", True)
    with_token = confidence and fields.flag("confidence_head_with_markov", True)
    if with_token and not rank:
        raise ModelError("The draft head's confidence is to read the markov head, and it has none; choose another.")
    return Additions(rank, rank > 0 and kind == "gated", confidence, with_token)


FORMAT = DSparkFormat()
