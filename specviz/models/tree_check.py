"""Does a model that was loaded score a tree as it scores the tree's paths? Asked of the model itself, at load time.

A config tells much (:mod:`specviz.models.compat`), but not what a quantized kernel does, nor what an attention class
does with its numbers. Two questions are asked:

- Is a node's row the last row of a plain forward over its path? It is not where masks, positions or the cache are not
  followed. The context goes beyond every length that the config names, because a window shows nothing before it is
  full, and is fed in two parts, because keys that were cached at a short length must do at a long one.
- Is a node's row the same in any company? It is not where something is computed over all rows of a forward together:
  one scale for all of them (activations quantized per tensor), or columns that are chosen by all of them (outliers of
  int8). The two forwards have equal shapes, so that equal kernels run, and a row of a product depends on no other: on
  every quantization that loads here the difference is exactly 0 (docs/models.md), whereas *other* shapes round
  otherwise, by up to 0.19 in total variation in int8. A comparison of a row alone with a row in company could not tell
  the two apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from specviz.errors import ModelError, NumericsError
from specviz.models.compat import longest_length
from specviz.models.language_model import LanguageModel

SHORT, LONG = 2, 24
"""Tokens in front of the tree: few, so that a node that sees too much shows; and more, twice as many as the longest
length that the config names if that is more, so that one which sees too little does."""
SIBLINGS = 16
ROWS = 8
"""Of the forwards that are compared with each other."""
COMPANIES = 2
"""How many forwards in which the other rows are other tokens; two more have outliers planted."""
SAME, SAME_ROUTED = 1e-3, 0.1
"""Total variation between the same row in two companies from where on they are refused. Found: 0 where every row is
multiplied with the same matrices, and at most 1e-6 in float32 where tokens are routed to experts: there the company
decides how many rows an expert gets, and so how its product is rounded. Below float32 that may become as much as any
other rounding. Outlier columns cause 0.02 to 0.15."""
PATH, PATH_ROUNDED, PATH_INT8 = 1e-3, 0.1, 0.2
"""Difference from a plain forward, relative to the largest logit: in float32, in all other formats, and where inputs of
products are rounded, too. Found on the default target: 1e-6, 0.017 and 0.05 (0.11 in longer tests). Of faults, there a
window leaves 0.32 and more, a leak between siblings 0.30, positions by slot 0.11."""
NATS = 40.0
"""Below the largest logit, from where on a token has no probability: exp(-40) is 4e-18."""
SPIKE = (4.0, 16.0, 64.0)
"""Of a planted outlier: as a multiple of the largest entry, and its bounds. bitsandbytes takes apart what exceeds 6; a
float16 overflows at 65,504, and two of these are multiplied with each other in a gated layer."""


def check_tree_attention(model: LanguageModel) -> None:
    """Refuse a model with which trees are scored otherwise than their paths.

    Raises:
        ModelError: if a row depends on what it must not see, or is not what a plain forward gives.
    """
    with torch.inference_mode():
        for length in SHORT, max(LONG, 2 * longest_length(model.model.config)):
            _check_paths(model, length)
        _check_company(model)


def _check_paths(model: LanguageModel, length: int) -> None:
    """Compare two nodes of a tree behind a context of ``length`` tokens with plain forwards over their paths."""
    context = _tokens(model, max(2, min(length, model.max_positions - 3)))
    c, a, b, d, *others = _tokens(model, 4 + SIBLINGS, first=11)
    # The last node lies many slots behind its position, and must see none of the siblings in between.
    tree, parents = [c, *others, b, a, d], [-1, *[0] * (len(others) + 2), len(others) + 1]
    cache = model.new_cache(len(context) + len(tree))
    for part in (context[: len(context) // 3], context[len(context) // 3 :]):
        model.prefill(cache, part)
    if silent := sum(not layer.is_initialized for layer in cache.slot_layers):
        raise ModelError(
            f"{model.info.id} caches nothing in {silent} of its {len(cache.slot_layers)} layers, so its cache cannot be"
            " audited; choose a model with keys and values in all layers."
        )
    together = model.forward(cache, tree, parents, 2).logits
    alone = torch.cat([_last_row(model, [*context, c, *path]) for path in ([a], [b, d])])
    error = _difference(together, alone)
    rounded = PATH_INT8 if model.info.quantization == "bitsandbytes int8" else PATH_ROUNDED
    if not error <= (PATH if _is_exact(model) else rounded):
        raise ModelError(
            f"{model.info.id} does not follow an attention mask and position ids exactly (relative error "
            f"{error:.1e} behind {len(context):,} tokens), so trees cannot be verified with it; choose a model with "
            "full attention in all layers."
        )


def _check_company(model: LanguageModel) -> None:
    tokens = _tokens(model, 2 + COMPANIES * ROWS, first=23)
    cache = model.new_cache(2 + ROWS)
    model.prefill(cache, tokens[:1])
    row, others = tokens[1], tokens[2:]

    def beside(company: Sequence[int]) -> torch.Tensor:
        logits = model.forward(cache, [*company, row], [-1] * ROWS, 1).logits
        cache.roll_back()
        return logits.softmax(-1)

    own = beside([row] * (ROWS - 1))
    found = [beside(others[i * ROWS : (i + 1) * ROWS - 1]) for i in range(COMPANIES)]
    with _outliers(model.model):
        for company in ([row] * (ROWS - 1), others[: ROWS - 1]):
            try:
                found.append(beside(company))
            except NumericsError:  # what was planted overflowed: that says nothing about the model
                cache.roll_back()
    worst = max(float((own - one).abs().sum()) / 2 for one in found)
    routed = any("expert" in name for name, _ in model.model.named_modules())
    if not worst <= (SAME_ROUTED if routed and not _is_exact(model) else SAME):
        kind = f" ({model.info.quantization})" if model.info.quantization else ""
        raise ModelError(
            f"{model.info.id}{kind} gives a token other probabilities when other tokens are scored beside it (total "
            f"variation {worst:.2g}), so a tree is not scored as its paths are; choose weights that are not quantized, "
            "or a quantization whose scales are of one row each."
        )


@contextmanager
def _outliers(model: Any) -> Iterator[None]:
    """Every matrix of the model reads inputs whose rows, but the last of :data:`ROWS`, have outliers in them."""

    def plant(_module: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        x = inputs[0] if inputs else None
        if not isinstance(x, torch.Tensor) or not x.is_floating_point() or x.ndim < 2 or x.shape[-2] != ROWS:
            return None
        factor, least, most = SPIKE
        x = x.clone()
        x[..., :-1, ::16] = (factor * x.abs().amax()).clamp(least, most)
        return (x, *inputs[1:])

    matrices = [
        module
        for module in model.modules()
        if not list(module.children()) and getattr(getattr(module, "weight", None), "ndim", 0) >= 2
    ]
    hooks = [module.register_forward_pre_hook(plant) for module in matrices]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _is_exact(model: LanguageModel) -> bool:
    return model.dtype == torch.float32 and not model.info.quantization


def _tokens(model: LanguageModel, n: int, first: int = 5) -> list[int]:
    """n token ids that the model has embeddings for, in no order, the same ones again and again as in a text: keys that
    are chosen by a score may be chosen otherwise where scores are equal."""
    return [(first + 7 * (i * i % 23)) % model.inputs for i in range(n)]


def _difference(got: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference between two [n, V], relative to the largest logit, of the entries that a distribution
    knows: others (-inf, finfo.min) would be a scale beside which nothing shows, or no number at all."""
    seen = torch.maximum(got, expected) > expected.amax(-1, keepdim=True) - NATS
    return float((got - expected)[seen].abs().max() / expected[seen].abs().max().clamp(min=1e-6))


def _last_row(model: LanguageModel, tokens: Sequence[int]) -> torch.Tensor:
    """Last logits [1, V] of a plain forward, without our cache, mask or positions."""
    return model.plain_logits(tokens, last=True, use_cache=False)
