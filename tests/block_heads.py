"""Small random block heads as files: Medusa, P-EAGLE, DFlash and DSpark, each in the layouts that lie on the hub."""

from __future__ import annotations

from typing import Any

import torch

from tests.head_files import Files, eagle3, layer_config, layer_shapes, random_tensors

MASK_ID = 5


def medusa(
    target: Any, *, seed: int = 0, layout: str = "medusa", heads: int = 3, blocks: int = 1, own_output: bool = True
) -> Files:
    """Medusa's heads for a target of this config.

    Args:
        layout: "medusa" as in medusa_lm_head, "whole" as in a model that holds them, "vllm".
        own_output: whether each has an output head; the first version's have none.
    """
    hidden, vocabulary = target.hidden_size, target.vocab_size
    shapes: dict[str, tuple[int, ...]] = {}
    for head in range(heads):
        for block in range(blocks):
            shapes[f"{head}.{block}.linear.weight"] = (hidden, hidden)
            shapes[f"{head}.{block}.linear.bias"] = (hidden,)
        if own_output:
            shapes[f"{head}.{blocks}.weight"] = (vocabulary, hidden)
    tensors = random_tensors(shapes, seed)
    config: dict[str, Any] = {
        "medusa_num_heads": 2,
        "medusa_num_layers": blocks,
        "base_model_name_or_path": "lmsys/vicuna-7b-v1.3",
    }
    if layout == "whole":
        tensors = {f"medusa_head.{name}": tensor for name, tensor in tensors.items()}
        tensors["model.norm.weight"] = torch.ones(hidden)
    elif layout == "vllm":
        renamed = {}
        for name, tensor in tensors.items():
            head, block, what = name.split(".", 2)
            linear = f"blocks.{head}.layers.{block}.{what.removeprefix('linear.')}"
            renamed[f"lm_heads.{head}.weight" if what == "weight" else linear] = tensor
        tensors = renamed
        config = {"model_type": "medusa", "num_heads": heads, "num_hidden_layers": blocks, "hidden_size": hidden}
    return config, tensors


def p_eagle(target: Any, *, seed: int = 0, places: int = 3, layers: int = 2, **more: Any) -> Files:
    """A P-EAGLE head in the layout of speculators; ``more`` as for :func:`tests.head_files.eagle3`."""
    config, tensors = eagle3(target, seed=seed, layers=layers, **more)
    methods = [{"proposal_type": "greedy", "speculative_tokens": places}]
    config |= {
        "speculators_model_type": "peagle",
        "architectures": ["PEagleSpeculator"],
        "mask_token_id": MASK_ID,
        "speculators_config": {
            "algorithm": "peagle",
            "default_proposal_method": "greedy",
            "proposal_methods": methods,
            "verifier": {"name_or_path": None, "architectures": []},
        },
    }
    random = torch.Generator().manual_seed(seed + 1)
    tensors["mask_hidden"] = torch.randn(1, 1, tensors["fc.weight"].shape[1], generator=random)
    return config, tensors


def dflash(
    target: Any,
    *,
    seed: int = 0,
    layout: str = "zlab",
    reads: tuple[int, ...] = (1, 2),
    block: int = 4,
    layers: int = 2,
    columns: int | None = None,
    markov: str | None = None,
    rank: int = 8,
    confidence: bool | None = None,
) -> Files:
    """A DFlash head, or with ``markov`` or ``confidence`` a DSpark head, for a target of this config.

    Args:
        layout: "zlab", "deepspec" (with embeddings and output head of its own) or "speculators".
        reads: hidden states, as transformers counts them.
        block: places of a block.
        columns: Vd, in the layout of speculators; None for the target's vocabulary.
        markov: None, or the kind of the markov head, of this rank.
        confidence: None without a confidence head, else whether that reads the markov head's embeddings.
    """
    hidden, vocabulary = target.hidden_size, target.vocab_size
    layer = layer_config(target, "qwen3", layers) | {
        "rope_theta": 10000.0,
        "attention_bias": False,
        "layer_types": ["full_attention"] * layers,
    }
    vd = columns or vocabulary
    shapes: dict[str, tuple[int, ...]] = {"fc.weight": (hidden, len(reads) * hidden)}
    shapes |= {"norm.weight": (hidden,), "hidden_norm.weight": (hidden,)}
    for number in range(layers):
        shapes |= layer_shapes(f"layers.{number}.", layer, 1)
    if layout == "deepspec":
        shapes |= {"embed_tokens.weight": (vocabulary, hidden), "lm_head.weight": (vocabulary, hidden)}
    elif columns is not None:
        shapes["lm_head.weight"] = (vd, hidden)
    if markov:
        shapes |= {"markov_head.markov_w1.weight": (vocabulary, rank), "markov_head.markov_w2.weight": (vd, rank)}
    if markov == "gated":
        shapes |= {"markov_head.gate_proj.weight": (rank, hidden + rank), "markov_head.gate_proj.bias": (rank,)}
    if confidence is not None:
        width = hidden + (rank if confidence else 0)
        shapes |= {"confidence_head.proj.weight": (1, width), "confidence_head.proj.bias": (1,)}
    tensors = random_tensors(shapes, seed)
    extra: dict[str, Any] = {"markov_rank": rank if markov else 0, "markov_head_type": markov or "vanilla"}
    extra |= {"enable_confidence_head": confidence is not None, "confidence_head_with_markov": bool(confidence)}
    spark = bool(markov) or confidence is not None
    if layout == "speculators":
        if vd < vocabulary:
            ids = torch.randperm(vocabulary, generator=torch.Generator().manual_seed(seed))[:vd].sort().values
            tensors["d2t"] = ids - torch.arange(vd)
            tensors["t2d"] = torch.zeros(vocabulary, dtype=torch.bool)
            tensors["t2d"][ids] = True
        config: dict[str, Any] = {"speculators_model_type": "dspark" if spark else "dflash", "block_size": block}
        config |= {"transformer_layer_config": layer, "draft_vocab_size": vd, "mask_token_id": MASK_ID}
        config |= {"aux_hidden_state_layer_ids": list(reads)} | (extra if spark else {})
        return config, tensors
    counted = [read - 1 for read in reads]
    config = {**layer, "block_size": block, "num_target_layers": target.num_hidden_layers}
    if layout == "deepspec":
        config |= {"architectures": ["Qwen3DSparkModel"], "target_layer_ids": counted, "mask_token_id": MASK_ID}
        return config | {"num_anchors": 4, "tie_word_embeddings": False} | extra, tensors
    config |= {"architectures": ["DFlashDraftModel"]}
    return config | {"dflash_config": {"target_layer_ids": counted, "mask_token_id": MASK_ID}}, tensors
