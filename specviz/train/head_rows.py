"""What a draft head would draft as the first token at every place of a text, as at the root of a tree."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from specviz.models.cached_model import causal_mask
from specviz.models.head_model import HeadModel
from specviz.models.heads.head import StepHead
from specviz.models.kv_cache import SlotCache
from specviz.models.language_model import LanguageModel
from specviz.models.target_states import plain_states


def root_logits(target: LanguageModel, model: HeadModel, tokens: Sequence[int], first: int) -> torch.Tensor:
    """Logits [n - first, Vd] with each of the tokens from number ``first`` on as the root.

    A step head answers for all of them in one forward, a block head root by root.

    Args:
        tokens: n of a text.
        first: at least 1, because the first token has no state before it.
    """
    reading = model.reading
    states = plain_states(target.model, target.plain_ids(tokens[:-1]), reading.layers, before_norm=reading.before_norm)
    carry, known = model.fuse(states), model.known(tokens)
    if isinstance(model.head, StepHead):
        ids = torch.tensor(known[1:], device=model.device)
        positions = torch.arange(len(ids), device=model.device) + model.head.position_offset
        mask = causal_mask(len(ids), 0, model.dtype).to(model.device)
        own = model.head(carry, ids, positions, mask, SlotCache(model.layers, len(ids)))[first - 1 :]
        return model.head.logits(own, ids[first - 1 :])
    cache, rows, fed = SlotCache(model.layers, len(known)), [], 0
    for root in range(first, len(known)):
        pairs = root if getattr(model.head, "remembers_root", False) else root - 1
        model.prefill(cache, known[fed + 1 : pairs + 1], carry[fed:pairs])
        fed = pairs
        block = model.block(cache, known[root], carry[root - 1 : root])
        rows.append(model.level(cache, block, 0, [known[root]]))
        cache.roll_back()
    return torch.cat(rows)
