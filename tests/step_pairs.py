"""Pairs of a small random target and a step head of each format, as their files are read."""

from __future__ import annotations

from typing import Any

from specviz.models.heads import eagle1, eagle3, mtp
from specviz.models.loading import Pair
from tests import head_files, pairs, tiny
from tests.head_cases import glm_config
from tests.heads import with_head

HEADS: dict[str, dict[str, Any]] = {
    "eagle1": {},
    "eagle3": {"reads": (0, 1, 2), "layout": "safeailab"},
    "eagle3, a part of the vocabulary": {"reads": (0, 1, 2), "columns": 100, "embeddings": False},
    "eagle3.1": {"reads": (0, 1, 2), "layers": 2, "norm_output": True, "fc_norm": True},
    "mtp": {},
}


def step_pair(name: str, pair: Pair | None = None, **by_hand: Any) -> Pair:
    """A pair with a head of :data:`HEADS` that reads this pair's target; MTP layers have a target of their own."""
    if name == "mtp":
        config = glm_config(pair.target.vocabulary if pair else tiny.VOCABULARY)
        target = tiny.randomized(config, seed=5)
        return with_head(
            pairs.pair_of(target, target), mtp.FORMAT.build(*head_files.mtp(config), config, by_hand), name
        )
    pair = pair or pairs.make_pair()
    config = pair.target.model.config
    if name == "eagle1":
        return with_head(pair, eagle1.FORMAT.build(*head_files.eagle1(config), config, by_hand), name)
    options = dict(HEADS[name])
    if options.get("columns"):
        options["columns"] = min(options["columns"], 2 * config.vocab_size // 3)
    if options.get("layout"):  # it writes no ids where the layers are set by hand
        by_hand = {"reads": ",".join(map(str, options.pop("reads"))), **by_hand}
    return with_head(pair, eagle3.FORMAT.build(*head_files.eagle3(config, **options), config, by_hand), name)
