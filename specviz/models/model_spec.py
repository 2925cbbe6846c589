"""What is known of a published model without its files: its id, its licence and the figures of its config."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Family = Literal["llama", "qwen3"]
"""Which config class of transformers the figures belong to."""


@dataclass(frozen=True)
class ModelSpec:
    """A model by its id and the figures of its published config.

    Attributes:
        id: a hub id, or a name of the default pair.
        licence: by the name its owners use.
        parameters: how many, shared ones counted once.
        heads, kv_heads: of queries, and of keys and values.
        intermediate: width of the feed-forward layers.
        tied: whether the output head is the embedding matrix.
        positions: the longest context.
        dtype: what the weights are published in.
        gated: whether its owners ask for a name and a promise before the files can be had.
    """

    id: str
    licence: str
    parameters: int
    family: Family
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    tied: bool
    positions: int
    dtype: str
    gated: bool = False

    @property
    def access(self) -> str | None:
        """How to get at a gated model, in one sentence."""
        if not self.gated:
            return None
        return f"Ask for access on https://huggingface.co/{self.id}, then log in with 'hf auth login'."
