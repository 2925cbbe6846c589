"""Pairs of a small random target and a block head of each format, as their files are read."""

from __future__ import annotations

from typing import Any

from specviz.models.heads.head import BlockHead
from specviz.models.loading import Pair
from tests import block_heads, pairs
from tests.block_scenario import FORMATS
from tests.heads import with_head

HEADS: dict[str, tuple[str, dict[str, Any]]] = {
    "medusa": ("medusa", {}),
    "p_eagle": ("p_eagle", {"reads": (0, 1, 2)}),
    "p_eagle, a part of the vocabulary": ("p_eagle", {"reads": (0, 1, 2), "columns": 100, "embeddings": False}),
    "dflash": ("dflash", {}),
    "dflash, a part of the vocabulary": ("dflash", {"layout": "speculators", "columns": 100}),
    "dspark": ("dspark", {"layout": "deepspec", "markov": "vanilla", "confidence": True}),
    "dspark, gated": ("dspark", {"layout": "speculators", "columns": 100, "markov": "gated", "confidence": False}),
}


def block_pair(name: str, pair: Pair | None = None, **by_hand: Any) -> Pair:
    """A pair with a head of :data:`HEADS` that reads this pair's target."""
    pair = pair or pairs.make_pair()
    format, options = HEADS[name]
    maker = {"medusa": block_heads.medusa, "p_eagle": block_heads.p_eagle}.get(format, block_heads.dflash)
    config, tensors = maker(pair.target.model.config, **options)
    head = FORMATS[format].build(config, tensors, pair.target.model.config, by_hand)
    assert isinstance(head, BlockHead)
    head.bind(pair.target.model)
    return with_head(pair, head, name)
