"""Audits: compares the keys and values in a live cache with those of a fresh recompute of the same tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from transformers import DynamicCache

from specviz.models.hidden_state_head import plain_states
from specviz.models.kv_cache import SlotCache
from specviz.models.language_model import LanguageModel
from specviz.models.numerics import logit_difference, slot_differences
from specviz.trace.schema import INFINITE_DIFFERENCE, Audit
from specviz.transfers import Reads


@dataclass(frozen=True)
class HeadInput:
    """What a draft that reads its target is given besides tokens.

    Attributes:
        features: [1, w], what its head reads at the root.
    """

    target: LanguageModel
    features: torch.Tensor


def ask_audit(
    model: LanguageModel,
    cache: SlotCache,
    tokens: Sequence[int],
    first_slot: int,
    reads: Reads,
    head_input: HeadInput | None = None,
    temperature: float = 1.0,
) -> Callable[[], Audit]:
    """Compare the committed slots and the next-token logits with a plain causal forward of the same tokens.

    The recompute shares nothing with what it checks: it uses transformers' own cache, mask and positions.

    Args:
        cache: without appended slots; it is left as it was.
        tokens: the committed tokens, the root last. The cache may be some tokens short of the root.
        first_slot: committed slots from here on are reported one by one, earlier ones as one figure a layer.
        reads: takes what has to be read.
        head_input: for a draft that reads the target's hidden states; those are recomputed too.
        temperature: what the run divides the logits by.

    Returns:
        The audit, to be called once everything has been asked for. Differences are relative to each layer's largest
        absolute value (and to the largest absolute logit), except where :mod:`specviz.models.numerics` measures
        outliers by themselves.
    """
    # The last token of a full context has no position, so it is never fed and has no next-token logits.
    if len(tokens) > model.max_positions:
        # The head would read features at the root, which is gone; the draft's layers are compared without it.
        tokens, head_input = tokens[: model.max_positions], None
    fresh = DynamicCache(config=model.model.config)
    features = None
    if model.head and head_input:
        target, before = head_input.target, head_input.target.plain_ids(tokens[:-1])
        states = plain_states(target.model, before, model.head.layers) if before.numel() else None
        features = model.head.text_features(states)
    cached = {"use_cache": True, model.cache_argument: fresh}
    expected = model.plain_logits(tokens, features, last=True, **cached)[0]
    base = cache.num_committed
    logits: list[torch.Tensor] = []
    if base < len(tokens):
        got = _next_logits(model, cache, tokens[base:], head_input.features if head_input else None)
        logits = [logit_difference(got, expected, temperature)]

    keys: list[torch.Tensor] = []
    values: list[torch.Tensor] = []
    for layer, ours in zip(fresh.layers, cache.slot_layers, strict=True):
        for rows, theirs, mine in ((keys, layer.keys, ours.keys), (values, layer.values, ours.values)):
            assert theirs is not None
            rows.append(slot_differences(mine[0, :, :base], theirs[0]))
    asked_keys, asked_values, asked_logits = reads.ask(*keys), reads.ask(*values), reads.ask(*logits)

    def found() -> Audit:
        keys, values = asked_keys(), asked_values()
        difference = [float(one) for one in asked_logits()]
        return Audit(
            first_slot=first_slot,
            keys=_columns(keys, first_slot),
            values=_columns(values, first_slot),
            earlier_keys=_largest(keys, first_slot),
            earlier_values=_largest(values, first_slot),
            logits=min(difference[0], INFINITE_DIFFERENCE) if difference else None,
        )

    return found


def _next_logits(
    model: LanguageModel, cache: SlotCache, missing: Sequence[int], features: torch.Tensor | None
) -> torch.Tensor:
    """The logits [V] after the ``missing`` tokens, computed through the cache, which is left as it was.

    They are not checked: of NaN and infinity their difference tells, and the next step that needs them fails.
    """
    before, last = len(model.forwards), len(missing) - 1
    try:
        return model.forward(cache, missing, range(-1, last), 1, features=features, later=lambda *_: None).logits[0]
    finally:
        del model.forwards[before:]
        cache.roll_back()


def _columns(layers: list[torch.Tensor], first: int) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(_short(x) for x in layer[first:].tolist()) for layer in layers)


def _largest(layers: list[torch.Tensor], first: int) -> tuple[float, ...]:
    return tuple(_short(float(layer[:first].max())) if first else 0.0 for layer in layers)


def _short(x: float) -> float:
    """Rounded to three digits, which are enough to compare a difference with a tolerance."""
    return min(float(f"{x:.3g}"), INFINITE_DIFFERENCE)
