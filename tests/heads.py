"""Pairs of a small random target and a draft head of each kind, as their files are read."""

from __future__ import annotations

from typing import Any

from specviz.models.head_model import HeadModel
from specviz.models.heads import dflash, dspark, eagle1, eagle3, medusa, mtp, p_eagle
from specviz.models.heads.head import DraftHead, HeadFormat
from specviz.models.loaded import head_model
from specviz.models.loading import Pair
from specviz.trace.schema import Models
from tests import block_heads, head_files, pairs, tiny
from tests.head_cases import glm_config
from tests.head_files import Files

STEP: dict[str, tuple[HeadFormat, Any, dict[str, Any]]] = {
    "eagle1": (eagle1.FORMAT, head_files.eagle1, {}),
    "eagle3": (eagle3.FORMAT, head_files.eagle3, {"reads": (0, 1, 2), "layout": "safeailab"}),
    "eagle3, a part of the vocabulary": (
        eagle3.FORMAT,
        head_files.eagle3,
        {"reads": (0, 1, 2), "columns": 100, "embeddings": False},
    ),
    "eagle3.1": (
        eagle3.FORMAT,
        head_files.eagle3,
        {"reads": (0, 1, 2), "layers": 2, "norm_output": True, "fc_norm": True},
    ),
    "mtp": (mtp.FORMAT, head_files.mtp, {}),
}
"""Kind -> its format, the maker of its files, and options of that."""
BLOCK: dict[str, tuple[HeadFormat, Any, dict[str, Any]]] = {
    "medusa": (medusa.FORMAT, block_heads.medusa, {}),
    "p_eagle": (p_eagle.FORMAT, block_heads.p_eagle, {"reads": (0, 1, 2)}),
    "p_eagle, a part of the vocabulary": (
        p_eagle.FORMAT,
        block_heads.p_eagle,
        {"reads": (0, 1, 2), "columns": 100, "embeddings": False},
    ),
    "dflash": (dflash.FORMAT, block_heads.dflash, {}),
    "dflash, a part of the vocabulary": (
        dflash.FORMAT,
        block_heads.dflash,
        {"layout": "speculators", "columns": 100},
    ),
    "dspark": (
        dspark.FORMAT,
        block_heads.dflash,
        {"layout": "deepspec", "markov": "vanilla", "confidence": True},
    ),
    "dspark, gated": (
        dspark.FORMAT,
        block_heads.dflash,
        {"layout": "speculators", "columns": 100, "markov": "gated", "confidence": False},
    ),
}
KINDS = (*STEP, *BLOCK)


def with_head(pair: Pair, head: DraftHead, name: str = "tiny-head") -> Pair:
    """The pair with this head, which is bound to its target, as the draft."""
    draft: HeadModel = head_model(head, name, pair.target)
    return Pair(
        target=pair.target,
        draft=draft,
        tokenizer=pair.tokenizer,
        token_text=pair.token_text,
        eos_ids=pair.eos_ids,
        models=Models(target=pair.target.info, draft=draft.info),
    )


def files_of(kind: str, config: Any) -> tuple[HeadFormat, Files]:
    """The format and the files of a head of one of :data:`KINDS`, for a target of this config."""
    format, maker, options = (STEP | BLOCK)[kind]
    if options.get("columns"):
        options = options | {"columns": min(options["columns"], 2 * config.vocab_size // 3)}
    return format, maker(config, **options)


def pair_with(kind: str, pair: Pair | None = None, **by_hand: Any) -> Pair:
    """A pair with such a head that reads this pair's target; MTP layers have a target of their own."""
    if kind == "mtp":
        target = tiny.randomized(glm_config(pair.target.vocabulary if pair else tiny.VOCABULARY), seed=5)
        pair = pairs.pair_of(target, target)
    pair = pair or pairs.make_pair()
    config = pair.target.model.config
    format, files = files_of(kind, config)
    if (
        kind == "eagle3"
    ):  # its config says nothing of the layers, and those that it stands for are not in so small a target
        by_hand = {"reads": "0,1,2", **by_hand}
    return with_head(pair, format.build(*files, config, by_hand), kind)
