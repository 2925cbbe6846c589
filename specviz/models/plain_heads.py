"""Plain forwards of draft heads over all pairs of a text: what caches, trees and steps are compared with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import DynamicCache

from specviz.models.head_model import HeadModel
from specviz.models.heads.head import BlockHead, StepHead
from specviz.models.language_model import LanguageModel
from specviz.models.target_states import plain_states
from specviz.transfers import upload


def plain_carry(target: LanguageModel, model: HeadModel, tokens: Sequence[int]) -> torch.Tensor:
    """[n, H'], what the head reads of the target's states at n tokens, from a plain forward over them."""
    reading = model.reading
    states = plain_states(target.model, target.plain_ids(tokens), reading.layers, before_norm=reading.before_norm)
    return model.head.fuse(states.to(model.device, model.dtype))


def plain_head_logits(
    model: HeadModel, carry: torch.Tensor, tokens: Sequence[int], fresh: DynamicCache
) -> torch.Tensor:
    """Logits [Vd] at the root, with the pairs of the whole text in one forward, or in one beside that of the block.

    Args:
        carry: [n - 1, H'], of the states of all tokens but the root.
        tokens: n, the root last.
        fresh: is filled.
    """
    head, pairs = model.head, len(carry)
    ids = upload(model.known(tokens[1:]), model.device)
    positions = torch.arange(pairs, device=model.device) + head.position_offset

    if isinstance(head, StepHead):
        own = head(carry, ids, positions, _causal(model, pairs), fresh)[-1:]
        return head.logits(own, ids[-1:])[0]
    assert isinstance(head, BlockHead)
    kept = pairs if head.remembers_root else pairs - 1
    if model.layers and kept:
        head.remember(carry[:kept], ids[:kept], positions[:kept], _causal(model, kept), fresh)
    root = upload(model.known([tokens[-1], *[head.mask_id] * (head.width - 1)]), model.device)
    at = torch.arange(kept, kept + head.width, device=model.device) + head.position_offset
    mask = _causal(model, kept + head.width)[:, :, kept:]
    if not head.causal:
        mask = torch.zeros_like(mask)
    own = head.block(carry[-1:], root, at, mask, fresh)
    return head.level_logits(own, 0, ids[-1:])[0]


def plain_head_rows(target: LanguageModel, model: HeadModel, tokens: Sequence[int]) -> torch.Tensor:
    """float32 logits [n - 1, V] after each of n tokens but the first, where a head has nothing to draft from.

    As at the root of a tree. Tokens that the head cannot propose have -inf.
    """
    carry, head = plain_carry(target, model, tokens[:-1]), model.head
    if isinstance(head, StepHead):
        ids = upload(model.known(tokens[1:]), model.device)
        positions = torch.arange(len(carry), device=model.device) + head.position_offset
        logits = head.logits(head(carry, ids, positions, _causal(model, len(carry)), DynamicCache()), ids)
    else:
        assert isinstance(head, BlockHead)
        cache, rows = model.new_cache(len(tokens)), []
        for place, token in enumerate(tokens[1:]):
            before = place + 1 if head.remembers_root else place
            new = slice(cache.num_committed, before)
            model.prefill(cache, list(tokens[1:])[new], carry[new])
            block = model.block(cache, token, carry[place : place + 1])
            rows.append(head.level_logits(block.own, 0, upload(model.known([token]), model.device)))
            cache.roll_back()
        logits = torch.cat(rows)
    if head.token_ids is None:
        return logits[:, : target.vocabulary]
    whole = torch.full((len(logits), target.vocabulary), float("-inf"), device=logits.device)
    return whole.index_copy_(-1, head.token_ids, logits)


def _causal(model: HeadModel, rows: int) -> torch.Tensor:
    lowest = torch.finfo(model.dtype).min
    return torch.full((1, 1, rows, rows), lowest, dtype=model.dtype, device=model.device).triu(1)
