"""How many bytes a model's tensors take: predicted from its config alone, and counted on the loaded model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch

from specviz.models.compat import causal_class
from specviz.models.model_spec import ModelSpec

Kind = Literal["quantized", "state", "embeddings", "other"]
"""Quantized matrices, what bitsandbytes keeps to read them, embeddings and output head, and the rest: norms, biases,
plain matrices."""

NF4_BLOCK = 64
"""Weights that share one scale in nf4."""
NF4_NESTED_BLOCK = 256
"""Scales that share one scale of their own (double quantization)."""
_NF4_TABLES = 4 * (16 + 256 + 1)
"""float32 of every nf4 matrix: the 16 values, the 256 values of its scales, and their offset."""


@dataclass(frozen=True)
class Tensors:
    """Bytes of a model by kind.

    Attributes:
        quantized, state, embeddings, other: bytes, see :data:`Kind`.
        parameters: how many weights, shared ones counted once.
        widest: elements of the largest quantized matrix: one at a time is dequantized.
    """

    quantized: int
    state: int
    embeddings: int
    other: int
    parameters: int
    widest: int

    @property
    def total(self) -> int:
        return self.quantized + self.state + self.embeddings + self.other


def config_of(spec: ModelSpec) -> Any:
    """The transformers config that the figures of a preset's model stand for."""
    from transformers import LlamaConfig, Qwen3Config

    classes: dict[str, Any] = {"llama": LlamaConfig, "qwen3": Qwen3Config}
    return classes[spec.family](
        hidden_size=spec.hidden,
        num_hidden_layers=spec.layers,
        num_attention_heads=spec.heads,
        num_key_value_heads=spec.kv_heads,
        head_dim=spec.head_dim,
        intermediate_size=spec.intermediate,
        vocab_size=spec.vocabulary,
        tie_word_embeddings=spec.tied,
        max_position_embeddings=spec.positions,
        dtype=spec.dtype,
    )


def planned_tensors(config: Any, dtype: torch.dtype, quantization: str) -> Tensors:
    """What loading a model of this config will allocate, without allocating it.

    The model is built on the meta device, where tensors have shapes and no bytes, so any architecture that transformers
    knows is counted exactly, and the same function as in loading decides what is quantized: matrices of linear
    layers, but not embeddings, the output head and what is tied to it.

    Args:
        config: of transformers.
        dtype: of everything that is not quantized.
        quantization: one of :data:`specviz.models.choices.QUANTIZATIONS`.
    """
    model_class = causal_class(config)
    assert model_class is not None, "check_config was not called"
    with torch.device("meta"):
        model = model_class._from_config(config, dtype=dtype)
    model.tie_weights()
    chosen = set() if quantization == "none" else set(_quantizable(model))
    around = {id(p) for module in _around(model) for p in module.parameters()}
    sizes: dict[Kind, int] = {"quantized": 0, "state": 0, "embeddings": 0, "other": 0}
    parameters = widest = 0
    for name, parameter in model.named_parameters():
        elements, rows = parameter.numel(), parameter.shape[0]
        parameters += elements
        if name in chosen:
            stored, state = _int8(elements, rows) if quantization == "int8" else _nf4(elements)
            sizes["quantized"] += stored
            sizes["state"] += state
            widest = max(widest, elements)
        else:
            sizes["embeddings" if id(parameter) in around else "other"] += elements * parameter.element_size()
    sizes["other"] += sum(buffer.numel() * buffer.element_size() for buffer in model.buffers())
    return Tensors(**sizes, parameters=parameters, widest=widest)


def allocated_bytes(model: Any) -> int:
    """Bytes of all storages that a loaded model holds: parameters, buffers, bitsandbytes' state; each counted once."""
    found: dict[tuple[str, int], int] = {}
    for tensor in _held(model):
        storage = tensor.untyped_storage()
        found[str(tensor.device), storage.data_ptr()] = storage.nbytes()
    return sum(found.values())


def _quantizable(model: Any) -> Iterator[str]:
    """Names of the weights that transformers hands to bitsandbytes."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D
    from transformers.quantizers.base import get_keys_to_not_convert
    from transformers.quantizers.quantizers_utils import should_convert_module

    kept = get_keys_to_not_convert(model)
    for name, module in model.named_modules():
        if isinstance(module, (nn.Linear, Conv1D)) and should_convert_module(name, kept):
            yield f"{name}.weight"


def _around(model: Any) -> Iterator[Any]:
    """The modules before and behind the layers."""
    yield model.get_input_embeddings()
    head = model.get_output_embeddings()
    if head is not None:
        yield head


def _int8(elements: int, rows: int) -> tuple[int, int]:
    """(bytes of the matrix, of its scales): one float32 a row."""
    return elements, 4 * rows


def _nf4(elements: int) -> tuple[int, int]:
    """(bytes of the matrix, of its scales): a byte a block, a float32 a block of blocks, and tables."""
    blocks = -(-elements // NF4_BLOCK)
    return -(-elements // 2), blocks + 4 * -(-blocks // NF4_NESTED_BLOCK) + _NF4_TABLES


def _held(model: Any) -> Iterator[torch.Tensor]:
    for tensor in [*model.parameters(), *model.buffers()]:
        yield tensor
        yield from _tensors_in(tensor, ("CB", "SCB"))
        yield from _quant_state(getattr(tensor, "quant_state", None))
    for module in model.modules():
        # int8 moves its matrix and scales from the parameter into this at the first forward.
        yield from _tensors_in(getattr(module, "state", None), ("CB", "SCB"))


def _quant_state(state: Any) -> Iterator[torch.Tensor]:
    if state is not None:
        yield from _tensors_in(state, ("absmax", "code", "offset"))
        yield from _quant_state(getattr(state, "state2", None))


def _tensors_in(holder: Any, names: tuple[str, ...]) -> Iterator[torch.Tensor]:
    for name in names:
        if isinstance(found := getattr(holder, name, None), torch.Tensor):
            yield found
