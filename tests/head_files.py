"""Small random draft heads, as the files in which they lie on the hub: a config, and tensors by name.

Their weights are larger than a fresh initialization's, for the same reason as in :mod:`tests.tiny`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

Files = tuple[dict[str, Any], dict[str, torch.Tensor]]


def save_head(folder: Path, files: Files) -> Path:
    """Write a head's files as the hub has them."""
    config, tensors = files
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    return folder


def random_tensors(shapes: dict[str, tuple[int, ...]], seed: int, gain: float = 1.5) -> dict[str, torch.Tensor]:
    """Float32 tensors: norms about 1, biases about 0, matrices that make ``gain`` times the size of what they read."""
    random = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in shapes.items():
        noise = torch.randn(shape, generator=random)
        if "norm" in name:
            tensors[name] = 1 + 0.2 * noise
        elif len(shape) < 2:
            tensors[name] = 0.1 * noise
        else:
            tensors[name] = noise * (2.0 if "embed" in name or "lm_head" in name else gain) / shape[-1] ** 0.5
    return tensors


def layer_shapes(at: str, config: dict[str, Any], reads: int) -> dict[str, tuple[int, ...]]:
    """Shapes of a Llama or Qwen3 layer, named ``at`` + name, whose attention reads ``reads`` x hidden."""
    hidden, width, size = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    heads, key_heads = config["num_attention_heads"], config["num_key_value_heads"]
    shapes = {
        "self_attn.q_proj.weight": (heads * size, reads * hidden),
        "self_attn.k_proj.weight": (key_heads * size, reads * hidden),
        "self_attn.v_proj.weight": (key_heads * size, reads * hidden),
        "self_attn.o_proj.weight": (hidden, heads * size),
        "mlp.gate_proj.weight": (width, hidden),
        "mlp.up_proj.weight": (width, hidden),
        "mlp.down_proj.weight": (hidden, width),
        "input_layernorm.weight": (hidden,),
        "post_attention_layernorm.weight": (hidden,),
    }
    if config["model_type"] == "qwen3":
        shapes |= {"self_attn.q_norm.weight": (size,), "self_attn.k_norm.weight": (size,)}
    return {f"{at}{name}": shape for name, shape in shapes.items()}


def layer_config(target: Any, model_type: str, layers: int) -> dict[str, Any]:
    """Of the layers of a head for a target of this config; what says how positions are embedded is left out."""
    hidden = target.hidden_size
    return {
        "model_type": model_type,
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": hidden // 4,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "vocab_size": target.vocab_size,
        "max_position_embeddings": 2048,
    }


def eagle3(
    target: Any,
    *,
    seed: int = 0,
    layout: str = "speculators",
    reads: tuple[int, ...] | None = None,
    columns: int | None = None,
    layers: int = 1,
    embeddings: bool = True,
    model_type: str = "llama",
    rope: dict[str, Any] | None = None,
    **flags: bool,
) -> Files:
    """An EAGLE-3 head for a target of this config.

    Args:
        layout: "speculators", "safeailab", "specforge", "angelslim" or "deepspec".
        reads: hidden states, as transformers counts them; None writes no ids.
        columns: Vd; None for the target's vocabulary.
        embeddings: whether it has its own.
        model_type: of its layers, "llama" or "qwen3".
        rope: fields of its config that say how positions are embedded.
        flags: norm_before_residual, norm_before_fc, fc_norm, norm_output.
    """
    hidden, vocabulary = target.hidden_size, target.vocab_size
    vd = columns or vocabulary
    layer = layer_config(target, model_type, layers) | (rope or {"rope_theta": 10000.0})
    count = len(reads) if reads else 3
    shapes: dict[str, tuple[int, ...]] = {"fc.weight": (hidden, count * hidden), "norm.weight": (hidden,)}
    shapes |= {"lm_head.weight": (vd, hidden)} | layer_shapes("layers.0.", layer, 2)
    shapes["layers.0.hidden_norm.weight"] = (hidden,)
    for number in range(1, layers):
        shapes |= layer_shapes(f"layers.{number}.", layer, 1)
    if embeddings:
        shapes["embed_tokens.weight"] = (vocabulary, hidden)
    if flags.get("norm_before_fc"):
        shapes["input_norm.weight"] = (count * hidden,)
    if flags.get("fc_norm"):
        shapes |= {f"fc_norm.{number}.weight": (hidden,) for number in range(count)}
    tensors = random_tensors(shapes, seed)
    if vd < vocabulary:
        ids = torch.randperm(vocabulary, generator=torch.Generator().manual_seed(seed))[:vd].sort().values
        tensors["d2t"] = ids - torch.arange(vd)
        tensors["t2d"] = torch.zeros(vocabulary, dtype=torch.bool)
        tensors["t2d"][ids] = True
    if layout == "speculators":
        config: dict[str, Any] = {"speculators_model_type": "eagle3", "architectures": ["Eagle3Speculator"]}
        config |= {"transformer_layer_config": layer, "draft_vocab_size": vd} | flags
        if reads:
            config["eagle_aux_hidden_state_layer_ids"] = list(reads)
        return config, tensors
    assert layers == 1
    if layout == "deepspec":
        counted = [read - 1 for read in reads or ()]
        return {**layer, "architectures": ["Qwen3Eagle3Model"], "target_layer_ids": counted}, tensors
    tensors = {name.replace("layers.0.", "midlayer."): tensor for name, tensor in tensors.items()}
    config = {**layer, "draft_vocab_size": vd, "architectures": ["LlamaForCausalLMEagle3"], **flags}
    counted = [read - 1 for read in reads] if reads else None
    if layout == "angelslim":
        config |= {"architectures": ["Eagle3LlamaForCausalLM"], "aux_hidden_states_layer_ids": counted}
    elif layout == "specforge" and counted:
        config["eagle_config"] = {"eagle_aux_hidden_state_layer_ids": counted}
    return config, tensors


def eagle1(target: Any, *, seed: int = 0, bias: bool = True, qkv_bias: bool = False, embeddings: bool = True) -> Files:
    """An EAGLE-1 head for a target of this config: ``bias`` of fc, ``qkv_bias`` as in heads for Qwen2."""
    hidden, vocabulary = target.hidden_size, target.vocab_size
    config: dict[str, Any] = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "vocab_size": vocabulary,
        "max_position_embeddings": 2048,
        "bias": bias,
        "qkv_bias": qkv_bias,
    }
    shapes = layer_shapes("layers.0.", {**config, "head_dim": hidden // 4}, 1) | {"fc.weight": (hidden, 2 * hidden)}
    del shapes["layers.0.input_layernorm.weight"]
    if bias:
        shapes["fc.bias"] = (hidden,)
    if qkv_bias:
        shapes |= {f"layers.0.self_attn.{name}_proj.bias": (hidden // (1 if name == "q" else 2),) for name in "qkv"}
    if embeddings:
        shapes["embed_tokens.weight"] = (vocabulary, hidden)
    return config, random_tensors(shapes, seed, gain=0.7)  # no norm keeps what is recycled in bounds


def mtp(target: Any, *, seed: int = 0) -> Files:
    """The MTP layer of a GLM-4-MoE target of this config, named as in its files, which hold the target's too."""
    config = target.to_dict()
    hidden, width, at = target.hidden_size, target.moe_intermediate_size, f"model.layers.{target.num_hidden_layers}."
    attention = layer_shapes(at, {**config, "model_type": "llama"}, 1)
    shapes = {name: shape for name, shape in attention.items() if ".mlp." not in name}
    for name in (*(f"experts.{number}" for number in range(target.n_routed_experts)), "shared_experts"):
        shapes |= {f"{at}mlp.{name}.{side}_proj.weight": (width, hidden) for side in ("gate", "up")}
        shapes[f"{at}mlp.{name}.down_proj.weight"] = (hidden, width)
    shapes[f"{at}mlp.gate.weight"] = (target.n_routed_experts, hidden)
    shapes[f"{at}mlp.gate.e_score_correction_bias"] = (target.n_routed_experts,)
    shapes |= {f"{at}{name}.weight": (hidden,) for name in ("enorm", "hnorm", "shared_head.norm")}
    shapes[f"{at}eh_proj.weight"] = (hidden, 2 * hidden)
    return config, random_tensors(shapes, seed)
