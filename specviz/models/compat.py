"""Can a model be used for tree verification? Judged from its config and its class, before any weight is read. Each
refusal is one sentence.

What a model must have: positions given as an argument, attention over the whole context in every layer, and cached keys
that depend on a token's ancestors and position only. Then a tree can be scored in one forward, and keeping the slots of
the accepted path leaves the cache a recompute would give.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from specviz.errors import ModelError

CACHE_ARGUMENTS = ("cache", "past_key_values")
"""What models call the argument that takes a cache: the name since transformers 5.24, and the one before."""
FULL_ATTENTION = ("full_attention", "attention", "global")
"""Names of full-attention layers; ``attention`` and ``global`` are the older ones."""
LONGEST_CHECKED = 512
"""Tokens up to which a length in a config is gone beyond in :mod:`specviz.models.tree_check`; what may change its
attention farther out is refused unseen, because to look there costs a forward over twice as many tokens."""
NO_LENGTH = re.compile(
    r".*(hidden|intermediate|vocab|embd|embed|dim|rank|head|layer|expert|ffn|dff|channel|d_model|theta|group|token).*"
    r"|.*_(id|index)"
)
"""Names of whole numbers in a config that are widths, counts or ids. Every other one may be a length."""
PLAIN_LENGTHS = {
    # The factor of a query is a function of its position, which is passed.
    "ministral3": ("original_max_position_embeddings",),
}
"""Model type -> names of lengths that its code reads and by which nothing changes that a tree would not share."""
LENGTH_DEPENDENT_ROPE = ("dynamic", "longrope", "su")
"""Kinds of rotary embedding whose frequencies change with the length of the sequence (``su``: longrope of old)."""


def check_config(config: Any, name: str) -> None:
    """Refuse a model that trees cannot be verified with.

    Args:
        config: the model's transformers config.
        name: what to call the model in the sentence.

    Raises:
        ModelError: with the first reason found.
    """
    _check_kind(config, name)
    model_class = causal_class(config)
    if model_class is None:
        raise ModelError(f"{name} ({config.model_type}) is no text-generating model; choose a causal language model.")
    _check_layers(config, model_class, name)
    _check_positions(config, model_class, name)
    _check_lengths(config, name)
    if not getattr(model_class, "_supports_sdpa", False):
        raise ModelError(
            f"{name} ({model_class.__name__}) has no sdpa attention in transformers; choose another model."
        )


def longest_length(config: Any) -> int:
    """The longest length in a config beyond which its attention may be another one, in tokens; 0 for none.

    Found by exclusion, because new families invent new names (window, chunk, block, budget ...): every whole number
    that is no width, count or id by its name, that the model's own code reads, and that a run can go beyond. So a
    length may be counted that is none, which costs a longer check and no more.
    """
    return max(_lengths(config).values(), default=0)


def cache_argument(forward: Callable[..., Any]) -> str | None:
    """The name of the argument with which ``forward`` takes a cache, None if it takes none."""
    parameters = inspect.signature(forward).parameters
    return next((name for name in CACHE_ARGUMENTS if name in parameters), None)


def causal_class(config: Any) -> Any | None:
    """The class that ``AutoModelForCausalLM`` would make of this config, or None."""
    found = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    return found[0] if isinstance(found, (tuple, list)) else found


def _check_kind(config: Any, name: str) -> None:
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(f"{name} is an encoder-decoder model; choose a decoder-only language model.")
    if "text_config" in getattr(config, "sub_configs", {}):
        raise ModelError(f"{name} reads more than text; choose a text-only model of its family.")


def _check_layers(config: Any, model_class: Any, name: str) -> None:
    """Every layer must attend to the whole context, causally."""
    if missing := [field for field in ("num_hidden_layers", "vocab_size") if not getattr(config, field, None)]:
        raise ModelError(f"{name} ({model_class.__name__}) has no {missing[0]} in its config; choose another model.")
    kinds = _layer_kinds(config)
    if getattr(model_class, "_is_stateful", False) or kinds & {"linear_attention", "hybrid", "conv", "mamba"}:
        raise ModelError(
            f"{name} has recurrent or linear-attention layers, whose state cannot be rolled back to a branch of a "
            "tree; choose a model with full attention in all layers."
        )
    if others := sorted(kinds - set(FULL_ATTENTION)):
        raise ModelError(
            f"{name} has layers with {', '.join(others)}, which do not see the whole context; choose a model with full "
            "attention in all layers."
        )
    source = _source(model_class)
    if not kinds and _window(config) and "sliding_window" in source:
        raise ModelError(
            f"{name} attends only to a sliding window of {_window(config):,} tokens; choose a model with full "
            "attention in all layers."
        )
    if shared := getattr(config, "num_kv_shared_layers", None):
        raise ModelError(
            f"{name} has {shared} layers that read the keys and values of other layers, so its cache cannot be shown "
            "and audited layer by layer; choose a model with keys and values in all layers."
        )
    if getattr(config, "is_decoder", True) is False and "config.is_decoder:" in source:
        raise ModelError(f"{name} is an encoder that looks in both directions; choose a causal language model.")


def _check_positions(config: Any, model_class: Any, name: str) -> None:
    """Positions must be an argument, and a cached key must not depend on how long the sequence became later."""
    missing = [] if cache_argument(model_class.forward) else ["cache"]
    if "position_ids" not in inspect.signature(model_class.forward).parameters:
        missing.append("position_ids")
    if missing or getattr(config, "alibi", False):
        what = f"takes no {' and no '.join(missing)}" if missing else "places tokens by their slot (ALiBi)"
        raise ModelError(
            f"{name} ({model_class.__name__}) {what}, so siblings in a tree cannot share a position; choose "
            "another model."
        )
    if kind := next((kind for kind in _rope_kinds(config) if _is_length_dependent(kind)), None):
        raise ModelError(
            f"{name} has {kind} rotary embeddings, whose cached keys change with the length of the text; choose a "
            "model with default, linear, yarn or llama3 rotary embeddings."
        )


def _check_lengths(config: Any, name: str) -> None:
    """What may change beyond a length must change early enough to be looked at."""
    long = {key: length for key, length in _lengths(config).items() if length > LONGEST_CHECKED}
    if long:
        key = max(long, key=lambda key: long[key])
        raise ModelError(
            f"{name} may attend otherwise from {long[key]:,} tokens on ({key} in its config), which is too far out to "
            "check; choose a model with full attention in all layers."
        )


def _lengths(config: Any) -> dict[str, int]:
    """Name -> number, of all that may be lengths, see :func:`longest_length`."""
    source = _source(causal_class(config))
    plain = PLAIN_LENGTHS.get(getattr(config, "model_type", ""), ())
    farthest = getattr(config, "max_position_embeddings", None) or 1 << 30
    found: dict[str, int] = {}
    for key, value in _whole_numbers(config.to_dict()):
        if not 1 < value < farthest or key in plain or key not in source:
            continue
        # Where the layers are listed, the list says which have a window.
        if "sliding_window" in key and (_layer_kinds(config) or not _window(config)):
            continue
        # Rotary embeddings compute their frequencies from it once, unless they are of a kind that is refused.
        if NO_LENGTH.fullmatch(key) and key != "original_max_position_embeddings":
            continue
        found[key] = max(value, found.get(key, 0))
    return found


def _whole_numbers(fields: Any) -> Iterator[tuple[str, int]]:
    """Key and value of all whole numbers, however deep, but those of encoders of pictures and sounds."""
    for key, value in fields.items():
        if isinstance(value, dict):
            if not re.match("vision|audio|id2label|label2id", str(key)):
                yield from _whole_numbers(value)
        elif isinstance(value, (list, tuple)):
            yield from ((str(key), one) for one in value if isinstance(one, int) and not isinstance(one, bool))
        elif isinstance(value, int) and not isinstance(value, bool):
            yield str(key), value


def _layer_kinds(config: Any) -> set[str]:
    """The kinds of attention the config names layer by layer; empty where it names none."""
    # GPT-Neo calls its list attention_layers.
    return set(getattr(config, "layer_types", None) or getattr(config, "attention_layers", None) or ())


def _window(config: Any) -> int:
    """The sliding window, 0 for none. Configs carry numbers that ``use_sliding_window`` switches off."""
    if getattr(config, "use_sliding_window", True) is False:
        return 0
    return getattr(config, "sliding_window", None) or 0


def _rope_kinds(config: Any) -> Iterator[str]:
    for field in ("rope_parameters", "rope_scaling"):
        yield from _kinds_in(getattr(config, field, None))


def _kinds_in(parameters: Any) -> Iterator[str]:
    """Rotary kinds in ``rope_parameters``, which may be nested by layer type."""
    if isinstance(parameters, dict):
        for key, value in parameters.items():
            if key in ("rope_type", "type") and isinstance(value, str):
                yield value
            else:
                yield from _kinds_in(value)


def _is_length_dependent(kind: str) -> bool:
    return kind in LENGTH_DEPENDENT_ROPE or "dynamic" in kind


def _source(model_class: Any) -> str:
    """Source of the module that defines ``model_class``, empty where there is none.

    Without ``layer_types`` the config does not say whether its window is used: Mistral's code reads it,
    Llama's does not.
    """
    try:
        return inspect.getsource(sys.modules[model_class.__module__])
    except (OSError, TypeError):
        return ""
