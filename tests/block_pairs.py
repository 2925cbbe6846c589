"""Pairs of a small random target and a block head of each format, as their files are read."""

from __future__ import annotations

from typing import Any

from specviz.models.loading import Pair
from tests import block_heads, pairs
from tests.block_scenario import FORMATS
from tests.head_files import Files
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


def block_files(name: str, config: Any) -> tuple[str, Files]:
    """The format and the files of a head of :data:`HEADS`, for a target of this config."""
    format, options = HEADS[name]
    if options.get("columns"):
        options = options | {"columns": min(options["columns"], 2 * config.vocab_size // 3)}
    maker = {"medusa": block_heads.medusa, "p_eagle": block_heads.p_eagle}.get(format, block_heads.dflash)
    return format, maker(config, **options)


def block_pair(name: str, pair: Pair | None = None, **by_hand: Any) -> Pair:
    """A pair with a head of :data:`HEADS` that reads this pair's target."""
    pair = pair or pairs.make_pair()
    target = pair.target.model
    format, (config, tensors) = block_files(name, target.config)
    head = FORMATS[format].build(config, tensors, target.config, by_hand)
    head.bind(target)
    return with_head(pair, head, name)
