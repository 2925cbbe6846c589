"""EAGLE's own decoding loop, ``EaModel.eagenerate``, over a target and a head of its layout."""

from __future__ import annotations

import copy
import json
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from tests.head_files import Files, save_head
from tests.oracles.implementations import eagle_code
from tests.step_scenario import TREE

NOT_NEEDED = ("modeling_mixtral_kv", "modeling_qwen2_kv", "modeling_qwen3_kv")
"""Its other families, which import what transformers has no more."""


def _default_rope(config: Any, device: Any = None, **_more: Any) -> Any:
    """What transformers' table of rotary embeddings held when EAGLE's Llama was written."""
    return LlamaRotaryEmbedding.compute_default_rope_parameters(config)


@torch.no_grad()
def steps_of(target: Any, files: Files, eagle3: bool, prompt: list[int], folder: Path, tokens: int) -> list[list[int]]:
    """Of each step of a greedy run its root and the accepted tokens; the first root is sampled in the prefill."""
    for name in NOT_NEEDED:
        module: Any = types.ModuleType(f"eagle.model.{name}")
        module.MixtralForCausalLM = module.Qwen2ForCausalLM = module.Qwen3ForCausalLM = object
        sys.modules.setdefault(module.__name__, module)
    with patch.dict(ROPE_INIT_FUNCTIONS, {"default": _default_rope}):
        code = eagle_code("ea_model")
        config = copy.deepcopy(target.config)
        config._attn_implementation = "eager"
        base = code.KVLlamaForCausalLM(config).eval()
        base.load_state_dict(target.state_dict())
        model = _model(code, base, files, eagle3, folder)
    found: list[list[int]] = []
    update = code.update_inference_inputs

    def noting(ids: Any, candidates: Any, best: Any, accepted: Any, *more: Any, **named: Any) -> Any:
        found.append(candidates[best, : accepted + 1].tolist())
        return update(ids, candidates, best, accepted, *more, **named)

    with patch.object(code, "update_inference_inputs", noting):
        model.eagenerate(torch.tensor([prompt]), temperature=0.0, max_new_tokens=tokens)
    return found


def _model(code: Any, base: Any, files: Files, eagle3: bool, folder: Path) -> Any:
    """Its model with this head. It would read embeddings from the target's folder, and has them in the head's files."""

    def config_of(path: str) -> Any:
        said: Mapping[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
        return types.SimpleNamespace(**{"pad_token_id": 0, "rope_scaling": None, "pretraining_tp": 1, **said})

    def plain(of: Any) -> Any:
        return lambda *given, **named: of(*given, **{**named, "load_emb": False})

    path = save_head(folder, files) / "config.json"
    no_end = types.SimpleNamespace(from_pretrained=lambda *_given, **_named: types.SimpleNamespace(eos_token_id=-1))
    replaced = {
        "AutoTokenizer": no_end,
        "EConfig": types.SimpleNamespace(from_pretrained=config_of),
        "Model": plain(code.Model),
        "Model1": plain(code.Model1),
    }
    with patch.multiple(code, **replaced):
        sizes = TREE["total"] + 1, TREE["depth"] - 1, TREE["top_k"]
        made = code.EaModel(eagle3, base, "", str(path), *sizes, 1.0, dict(files[1]))
    return made.eval()
