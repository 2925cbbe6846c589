"""transformers' own ``generate`` with what the caller means and nothing of the model's ``generation_config``."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch


def generate(
    model: Any,
    ids: torch.Tensor,
    end_tokens: Iterable[int],
    *,
    mask: torch.Tensor | None = None,
    stopping: Any = None,
    assistant: Any = None,
    **wanted: Any,
) -> Any:
    """What ``model.generate`` gives for ``wanted`` alone.

    Args:
        ids: [rows, context] tokens to go on from.
        end_tokens: end a text.
        mask: [rows, context], 0 on padding; None for no padding.
        stopping: a stopping criterion.
        assistant: from :func:`with_config`, for assisted generation.
        wanted: fields of ``GenerationConfig``; without any, greedy decoding with a cache that grows.
    """
    from transformers import GenerationConfig

    ends = sorted(end_tokens)
    config = GenerationConfig(eos_token_id=ends or None, pad_token_id=ends[0] if ends else 0, **wanted)
    return with_config(model).generate(
        ids,
        generation_config=config,
        attention_mask=torch.ones_like(ids) if mask is None else mask,
        stopping_criteria=[] if stopping is None else [stopping],
        assistant_model=assistant,
    )


def with_config(model: Any, **wanted: Any) -> Any:
    """The same model, weights and hooks included, under a generation config of ``wanted`` alone.

    ``generate`` fills what a config that it is given leaves open from the model's own, so the model's own has to be
    empty. It belongs to a shallow copy: the model stays as it is, for other threads too.
    """
    from transformers import GenerationConfig

    plain = copy.copy(model)
    plain.generation_config = GenerationConfig(**wanted)
    return plain
