"""An EAGLE-3 head as files: a new one for a target, one to start from, and what was trained, as speculators has it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from specviz.errors import ModelError, SettingsError
from specviz.models.heads import eagle3
from specviz.models.heads.eagle3 import Eagle3Head
from specviz.models.heads.fields import ROPE_KINDS, rope_options
from specviz.models.heads.layers import ACTIVATIONS, DECODERS, rotary
from specviz.models.heads.tensors import read_tensors
from specviz.trace.schema import HeadInfo, ModelInfo
from specviz.train.student import TrainingPlan

VARIANTS: dict[str, dict[str, bool]] = {
    "eagle3": {},
    "eagle3.1": {"fc_norm": True, "norm_output": True},
}
"""Format -> flags of :data:`specviz.models.heads.eagle3.FLAGS` that are set."""
LAYER_FIELDS = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "rms_norm_eps",
    "hidden_act",
    "max_position_embeddings",
    "rope_parameters",
)
"""What a config says of a head's layers."""


def new_head(target: Any, plan: TrainingPlan) -> Eagle3Head:
    """A head with random layers shaped like those of the target, a model of transformers, as far as they can be.

    Raises:
        SettingsError: if the target is too shallow to choose layers to read.
    """
    config, theirs = layers_like(target.config, plan.layers), target.config
    depth = theirs.num_hidden_layers
    reads = plan.reads or ((2, depth // 2, depth - 3) if depth > 4 else ())
    if not reads:
        raise SettingsError(f"A target of {depth} layers needs --reads, the hidden states that its head is to read.")
    columns = min(plan.vocabulary, theirs.vocab_size)
    options = dict.fromkeys(eagle3.FLAGS, False) | VARIANTS[plan.format]
    info = HeadInfo(
        format="eagle3",
        kind="step",
        reads=reads,
        before_norm=True,
        layers=plan.layers,
        vocabulary=columns if columns < theirs.vocab_size else None,
        options={**options, "position_offset": 1, **rope_options(config.rope_parameters)},
    )
    ids = torch.arange(columns) if columns < theirs.vocab_size else None
    head = Eagle3Head(config, info, theirs.hidden_size, (0, columns), ids)
    head.rotary_emb = rotary(config)
    return head


def layers_like(target: Any, layers: int) -> Any:
    """A config of transformers for layers of the kind and the size of those that ``target``, a config, describes."""
    kind = target.model_type if target.model_type in DECODERS else "llama"
    heads = target.num_attention_heads
    hidden_act = getattr(target, "hidden_act", None)
    given = dict(getattr(target, "rope_parameters", None) or {})
    whole = given.get("partial_rotary_factor", 1.0) == 1.0 and given.get("rope_type", "default") in ROPE_KINDS
    config = DECODERS[kind][0](
        hidden_size=target.hidden_size,
        intermediate_size=getattr(target, "intermediate_size", None) or 4 * target.hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=getattr(target, "num_key_value_heads", None) or heads,
        head_dim=getattr(target, "head_dim", None) or target.hidden_size // heads,
        rms_norm_eps=getattr(target, "rms_norm_eps", 1e-5),
        hidden_act=hidden_act if hidden_act in ACTIVATIONS else "silu",
        max_position_embeddings=target.max_position_embeddings,
        rope_parameters=given if given and whole else {"rope_type": "default", "rope_theta": 10_000.0},
        vocab_size=1,  # embeddings are not part of the layers
        bos_token_id=None,
        eos_token_id=None,
    )
    config._attn_implementation = "sdpa"
    return config


def read_start(folder: Path, target_config: Any) -> Eagle3Head:
    """The head in a folder, in any layout of EAGLE-3, to be trained further.

    Raises:
        ModelError: if there is none, or it was made for another target.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"There is no draft head with a config.json in {str(folder)!r} to start from.") from error
    tensors = read_tensors(folder)
    if not isinstance(config, dict) or not eagle3.FORMAT.fits(config, {n: tuple(t.shape) for n, t in tensors.items()}):
        raise ModelError(f"What is in {str(folder)!r} is no EAGLE-3 head; choose one to start from.")
    return eagle3.FORMAT.build(config, tensors, target_config, {})


def write_head(head: Eagle3Head, folder: Path, target: ModelInfo, target_config: Any, embeddings: Any | None) -> Path:
    """Write config.json and model.safetensors in half precision.

    Args:
        target: what is known of the model that it drafts for, which the config names.
        embeddings: the target's, to be written with the head; None to leave its own if it has any.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().half() for name, tensor in eagle3.plain_state_dict(head).items()}
    if embeddings is not None:
        tensors.setdefault("embed_tokens.weight", embeddings.detach().half())
    vocabulary = target_config.vocab_size
    if head.token_ids is not None:
        ids = head.token_ids.cpu()
        taken = torch.zeros(vocabulary, dtype=torch.bool)
        taken[ids] = True
        tensors |= {"d2t": ids - torch.arange(len(ids)), "t2d": taken}
    save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    (folder / "model.safetensors").chmod(0o644)
    config = head_config(head, target, vocabulary)
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return folder


def head_config(head: Eagle3Head, target: ModelInfo, vocabulary: int) -> dict[str, Any]:
    """The config of a head in the layout of speculators."""
    info, layers = head.info, head.config
    inner = {name: getattr(layers, name) for name in LAYER_FIELDS}
    return {
        "architectures": ["Eagle3DraftModel"],
        "speculators_model_type": "eagle3",
        "draft_vocab_size": info.vocabulary or vocabulary,
        "eagle_aux_hidden_state_layer_ids": list(info.reads),
        **{flag: bool(info.options[flag]) for flag in eagle3.FLAGS},
        "embed_requires_grad": False,
        "tie_word_embeddings": False,
        "dtype": "float16",
        "transformer_layer_config": {
            **inner,
            "model_type": layers.model_type,
            "attention_bias": layers.attention_bias,
            "vocab_size": vocabulary,
        },
        "speculators_config": {
            "algorithm": "eagle3",
            "default_proposal_method": "greedy",
            "proposal_methods": [{"proposal_type": "greedy", "speculative_tokens": 4}],
            "verifier": {"name_or_path": target.id, "architectures": [target.architecture or "unknown"]},
        },
    }
