"""Recorded rows of a draft head against a plain forward of its target and of itself over all pairs of the text.

Only rows at roots can be told by the text alone: below them a head reads its own output.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from transformers import DynamicCache

from specviz.models.head_model import HeadModel
from specviz.models.heads.head import StepHead
from specviz.models.target_states import plain_states
from specviz.trace.schema import Row, Sampling, Trace

LOWEST = -1e9
"""Logit of a token that a head on a part of the vocabulary cannot propose."""


def head_lacks(model: Any, target: Any) -> str | None:
    """Why the rows of a draft that reads hidden states cannot be recomputed; None if they can."""
    if not isinstance(model, HeadModel):
        return "a draft that reads nothing but tokens: this one reads its target's hidden states"
    if not isinstance(model.head, StepHead):
        return "a draft head that drafts step by step: this one drafts a block"
    return "the target whose hidden states the draft head reads (--target)" if target is None else None


@torch.inference_mode()
def root_rows(trace: Trace, target: Any, model: HeadModel) -> Iterator[tuple[int, Row, torch.Tensor, Sampling | None]]:
    """Index of a step, the recorded row at its root, the logits [V] of a recompute, and what makes rows of logits.

    Args:
        target: of transformers, to which the head is bound.
    """
    text, at = list(trace.prompt_tokens), list[int]()
    for step in trace.steps:
        at.append(len(text) - 1)
        text += step.committed
    text = text[: getattr(target.config, "max_position_embeddings", None) or len(text)]
    roots = [
        (position, place, row)
        for position, place in enumerate(at)
        if 0 < place < len(text) and (row := trace.steps[position].tree.nodes[0].draft) is not None
    ]
    if not roots:
        return
    last = max(place for _, place, _ in roots)
    ids = torch.tensor(text[: last + 1], device=model.device)
    reading, head = model.reading, model.head
    states = plain_states(target, ids[None, :-1], reading.layers, before_norm=reading.before_norm)
    carry = head.fuse(states.to(model.device, model.dtype))
    positions = torch.arange(last, device=model.device) + head.position_offset
    mask = torch.full((1, 1, last, last), torch.finfo(model.dtype).min, dtype=model.dtype, device=model.device).triu(1)
    pairs = torch.tensor(model.known(ids[1:].tolist()), device=model.device)
    assert isinstance(head, StepHead)
    own = head(carry, pairs, positions, mask, DynamicCache())
    for position, place, row in roots:
        logits = head.logits(own[place - 1 : place], pairs[place - 1 : place])[0].float().cpu()
        if model.token_ids is not None:
            whole = torch.full((target.config.vocab_size,), LOWEST)
            logits = whole.scatter(0, model.token_ids.cpu(), logits)
        yield trace.steps[position].index, row, logits, trace.sampling_of(position)[1]
