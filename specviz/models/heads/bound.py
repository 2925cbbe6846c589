"""Heads that embed tokens and make logits with modules of their own, or with those of their target."""

from __future__ import annotations

from typing import Any

import torch

from specviz.models.heads.head import DraftHead
from specviz.trace.schema import HeadInfo


class Borrowed:
    """Modules of the target that a head uses. As an attribute of a module it makes them no part of it."""

    def __init__(self, target: Any):
        self.embeddings: Any = target.get_input_embeddings()
        self.output: Any = target.get_output_embeddings()


class BoundHead(DraftHead):
    """Such a head, of either kind.

    Attributes:
        embed_tokens, lm_head: its own; None where the target's serve.
    """

    def __init__(self, info: HeadInfo, config: Any, token_ids: torch.Tensor | None = None):
        super().__init__(info, config, token_ids)
        self.position_offset = int(info.options.get("position_offset") or 0)
        self.embed_tokens: Any = None
        self.lm_head: Any = None
        self._target: Borrowed | None = None

    def bind(self, target: Any) -> None:
        self._target = Borrowed(target)

    @property
    def inputs(self) -> int:
        count: int = self._embeddings.num_embeddings
        return count

    @property
    def _embeddings(self) -> Any:
        return self._borrowed.embeddings if self.embed_tokens is None else self.embed_tokens

    @property
    def _borrowed(self) -> Borrowed:
        assert self._target is not None, "bind was not called"
        return self._target

    def embed(self, ids: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """Embeddings [n, H'] of tokens [n], on the device and in the format of ``like``."""
        embeddings: torch.Tensor = self._embeddings(ids)
        return embeddings.to(like)

    def project(self, states: torch.Tensor) -> torch.Tensor:
        """float32 logits [n, Vd] of what the output head reads [n, H']."""
        head = self._borrowed.output if self.lm_head is None else self.lm_head
        logits: torch.Tensor = head(states.to(head.weight))
        return logits.float()
