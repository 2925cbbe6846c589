"""Decoder layers of draft heads: transformers' own, of the Llama and the Qwen3 kind, and EAGLE-3's first layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from transformers import LlamaConfig, Qwen3Config
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaRMSNorm, LlamaRotaryEmbedding
from transformers.models.qwen3.modeling_qwen3 import Qwen3DecoderLayer, Qwen3RMSNorm, Qwen3RotaryEmbedding

from specviz.errors import ModelError
from specviz.models.compat import cache_argument
from specviz.models.heads.fields import Fields, rope_parameters
from specviz.models.heads.tensors import Shapes
from specviz.models.kv_cache import SlotCache

DECODERS: dict[str, tuple[Any, Any, Any, Any]] = {
    "llama": (LlamaConfig, LlamaDecoderLayer, LlamaRMSNorm, LlamaRotaryEmbedding),
    "qwen3": (Qwen3Config, Qwen3DecoderLayer, Qwen3RMSNorm, Qwen3RotaryEmbedding),
}
"""Kind -> classes of its config, layer, norm and rotary embedding. Qwen3's attention norms queries and keys."""
ACTIVATIONS = ("silu", "gelu", "gelu_pytorch_tanh", "relu")
CACHE = cache_argument(LlamaDecoderLayer.forward) or "past_key_values"
"""What transformers' layers call the argument that takes the cache."""


def layer_config(fields: Fields, shapes: Shapes, layers: int) -> Any:
    """A config of transformers for a head's layers, of numbers that its tensors confirm.

    Args:
        fields: of the config that describes the layers.
        shapes: of the head's tensors, its layers named ``layers.i``.
        layers: how many layers its tensors have.

    Raises:
        ModelError: if numbers are broken, or the config asks for attention that specviz does not run.
    """
    kind = "qwen3" if "layers.0.self_attn.q_norm.weight" in shapes else "llama"
    config_class = DECODERS[kind][0]
    # What was saved by transformers lacks the fields that have the default of their class.
    named = fields.values.get("model_type")
    default = DECODERS[named][0]() if isinstance(named, str) and named in DECODERS else config_class()
    kinds = fields.values.get("layer_types") or ()
    if not isinstance(kinds, (list, tuple)) or any(one != "full_attention" for one in kinds):
        raise ModelError(
            "The draft head has layers that do not see the whole context (layer_types), which specviz does not run; "
            "choose another head."
        )
    hidden = fields.whole("hidden_size", default.hidden_size)
    heads = fields.whole("num_attention_heads", default.num_attention_heads, most=1024)
    key_heads = fields.whole("num_key_value_heads", default.num_key_value_heads or heads, most=1024)
    queries = shapes.get("layers.0.self_attn.q_proj.weight", (heads,))[0]
    head_dim = fields.whole("head_dim", max(queries // heads, 1), most=4096)
    if heads * head_dim != queries or heads % key_heads or hidden % heads or head_dim % 2:
        raise ModelError(
            f"The draft head has {heads} attention heads of {head_dim} numbers in its config and {queries:,} in its "
            "tensors; download it again, or choose another head."
        )
    more: dict[str, Any] = {"mlp_bias": "layers.0.mlp.gate_proj.bias" in shapes} if kind == "llama" else {}
    config = config_class(
        hidden_size=hidden,
        intermediate_size=fields.whole("intermediate_size", default.intermediate_size),
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=key_heads,
        head_dim=head_dim,
        vocab_size=fields.whole("vocab_size", default.vocab_size),
        bos_token_id=None,
        eos_token_id=None,
        rms_norm_eps=fields.number("rms_norm_eps", default.rms_norm_eps),
        hidden_act=fields.one_of("hidden_act", ACTIVATIONS, default.hidden_act),
        attention_bias="layers.0.self_attn.q_proj.bias" in shapes,
        rope_parameters=rope_parameters(fields),
        max_position_embeddings=fields.whole("max_position_embeddings", default.max_position_embeddings, most=1 << 30),
        **more,
    )
    config._attn_implementation = "sdpa"  # additive float masks are right in it
    return config


def decoder_layer(config: Any, index: int) -> Any:
    """One layer of transformers."""
    return DECODERS[config.model_type][1](config, index)


def norm(config: Any, width: int) -> Any:
    return DECODERS[config.model_type][2](width, eps=config.rms_norm_eps)


def rotary(config: Any) -> Any:
    return DECODERS[config.model_type][3](config)


class PairLayer(nn.Module):
    """EAGLE-3's first layer: a decoder layer whose queries, keys and values read an embedding and a state, 2 x hidden.

    Source: arXiv 2503.01840. The state has a norm of its own, ``hidden_norm``; the embedding has the layer's.

    Args:
        norm_before_residual: whether the state is added after the attention as the norm made it, or as it came.
    """

    def __init__(self, config: Any, norm_before_residual: bool):
        super().__init__()
        self.norm_before_residual = norm_before_residual
        layer = decoder_layer(config, 0)
        self.self_attn, self.mlp = layer.self_attn, layer.mlp
        self.input_layernorm, self.post_attention_layernorm = layer.input_layernorm, layer.post_attention_layernorm
        self.hidden_norm = norm(config, config.hidden_size)
        for name in ("q_proj", "k_proj", "v_proj"):
            width = getattr(self.self_attn, name).out_features
            setattr(self.self_attn, name, nn.Linear(2 * config.hidden_size, width, bias=config.attention_bias))

    def forward(
        self, embeddings: torch.Tensor, states: torch.Tensor, rope: Any, mask: torch.Tensor, cache: SlotCache | None
    ) -> torch.Tensor:
        """[1, n, hidden], of embeddings and states [1, n, hidden] each."""
        normed = self.hidden_norm(states)
        residual = normed if self.norm_before_residual else states
        attended, _ = self.self_attn(
            hidden_states=torch.cat([self.input_layernorm(embeddings), normed], dim=-1),
            position_embeddings=rope,
            attention_mask=mask,
            **{CACHE: cache},
        )
        states = residual + attended
        out: torch.Tensor = states + self.mlp(self.post_attention_layernorm(states))
        return out


def run_layer(layer: Any, states: torch.Tensor, rope: Any, mask: torch.Tensor, cache: SlotCache | None) -> torch.Tensor:
    """[1, n, hidden]: one of transformers' layers over states [1, n, hidden]."""
    out: Any = layer(states, attention_mask=mask, position_embeddings=rope, **{CACHE: cache})
    tensor: torch.Tensor = out[0] if isinstance(out, tuple) else out
    return tensor


def count_layers(shapes: Shapes) -> int:
    """How many layers ``layers.i`` the tensors have, numbered from 0 without gaps."""
    numbers = {
        int(parts[1])
        for name in shapes
        if len(parts := name.split(".")) > 2 and parts[0] == "layers" and parts[1].isdecimal() and len(parts[1]) < 4
    }
    if numbers != set(range(len(numbers))) or not numbers:
        raise ModelError("The draft head lacks some of its layers; download it again, or choose another head.")
    return len(numbers)


def fill(module: nn.Module, tensors: Mapping[str, torch.Tensor], dtype: torch.dtype) -> None:
    """Give a module that was made on the meta device its tensors, whose names and shapes must be just its own.

    Raises:
        ModelError: if one is missing, too many, of another shape, no floating-point number, or not finite.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    for name in sorted(wanted.keys() - tensors.keys()):
        raise ModelError(f"The draft head has no tensor {name}; download it again, or choose another head.")
    for name in sorted(tensors.keys() - wanted.keys()):
        raise ModelError(
            f"The draft head has a tensor {name[:80]!r} that its format does not know; it is of another kind, choose "
            "another head."
        )
    for name, tensor in tensors.items():
        if tuple(tensor.shape) != wanted[name]:
            raise ModelError(
                f"The draft head's {name} is {list(tensor.shape)} where its config makes it {list(wanted[name])}; "
                "download it again, or choose another head."
            )
        if tensor.dtype not in (torch.float32, torch.float16, torch.bfloat16):
            raise ModelError(
                f"The draft head's {name} has numbers in {str(tensor.dtype).removeprefix('torch.')}; choose one in "
                "float32, float16 or bfloat16."
            )
        if not bool(tensor.isfinite().all()):
            raise ModelError(f"The draft head's {name} has NaN or infinite numbers; download it again.")
    module.load_state_dict({name: tensor.to(dtype) for name, tensor in tensors.items()}, assign=True)
    module.eval().requires_grad_(False)
