"""The independent implementations of block heads, over the scenario of :mod:`tests.block_scenario`.

Nothing of theirs is changed. speculators' models have a forward for training only: it runs blocks at all places of a
text at once, and what it hands to its loss is what is compared.
"""

from __future__ import annotations

import importlib
import os
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import torch
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM, MistralForCausalLM, Qwen3Config

from tests import block_scenario, tiny
from tests.block_scenario import ROOTS, Files, hidden_states, target, text
from tests.oracles.implementations import speculators

Found = dict[str, list[torch.Tensor]]


def code(variable: str, module: str) -> Any:
    """A module of the checkout that an environment variable names."""
    folder = str(Path(os.environ[variable]).resolve())
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module(module)


@torch.no_grad()
def play(implementation: str, files: Files) -> Found:
    """As :func:`tests.block_scenario.play`."""
    config, tensors = files
    if implementation == "speculators":
        return _speculators(config, tensors)
    if implementation.startswith("Medusa"):
        return _medusa(tensors, own_output=implementation == "Medusa")
    return _zlab(config, tensors) if implementation == "z-lab" else _deepspec(config, tensors)


# ---------------------------------------------------------------------------------------------------- Medusa


def _medusa(tensors: Mapping[str, torch.Tensor], own_output: bool) -> Found:
    # Its copies of Llama and Mistral, with a cache of their own, are of an older transformers and are not needed here.
    for name in ("modeling_llama_kv", "modeling_mistral_kv", "modeling_llama_kv_legacy"):
        module = types.ModuleType(f"medusa.model.{name}")
        module.LlamaForCausalLM, module.MistralForCausalLM = LlamaForCausalLM, MistralForCausalLM  # type: ignore[attr-defined]
        sys.modules.setdefault(module.__name__, module)
    heads = 1 + max(int(name.split(".")[0]) for name in tensors)
    model: Any
    arguments = {"medusa_forward": True} if own_output else {}
    with TemporaryDirectory() as folder:
        tiny.make_tokenizer().save_pretrained(folder)
        if own_output:
            base = code("MEDUSA_CODE", "medusa.model.medusa_model").MedusaModelABC
            config = LlamaConfig(**target().config.to_dict(), medusa_num_heads=heads, medusa_num_layers=1)
            config._name_or_path = folder
            model = type("Model", (base, LlamaForCausalLM), {})(config)
            model.load_state_dict(target().state_dict(), strict=False)
        else:
            legacy = code("MEDUSA_CODE", "medusa.model.medusa_model_legacy")
            model = legacy.MedusaModel(target(), heads, 1, folder)
    model.medusa_head.load_state_dict(dict(tensors), strict=True)
    model.eval()
    rows = [model(text()[None, :root], **arguments)[:, 0, -1] for root in ROOTS]
    return {"logits": rows, "confidence": []}


# ------------------------------------------------------------------------------------------ z-lab and DeepSpec


class _Cache(DynamicCache):
    """Cut as both call it: to a length. transformers 5 takes only a number of slots to remove."""

    def crop(self, length: int) -> None:
        if length < self.get_seq_length():
            super().crop(length - self.get_seq_length())


def _zlab(config: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> Found:
    module = code("DFLASH_CODE", "dflash.model")
    made = Qwen3Config(**config)
    made._attn_implementation = "sdpa"
    model = module.DFlashDraftModel(made)
    model.load_state_dict(dict(tensors), strict=True)
    model.eval()
    embeddings, output = target().get_input_embeddings(), target().get_output_embeddings()
    drafted, cache, start = model.block_size, _Cache(), 0
    states = module.extract_context_feature(hidden_states(), model.target_layer_ids)
    rows = []
    for root in ROOTS:
        block = torch.full((1, drafted), model.mask_token_id)
        block[0, 0] = text()[root]
        own = model(
            target_hidden=states[:, start:root],
            noise_embedding=embeddings(block),
            position_ids=torch.arange(start, root + drafted)[None],
            past_key_values=cache,
            use_cache=True,
            is_causal=False,
        )
        cache.crop(root)
        start = root
        rows.append(output(own[:, 1 - drafted :])[0])
    return {"logits": rows, "confidence": []}


def _deepspec(config: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> Found:
    module = code("DEEPSPEC_CODE", "deepspec.modeling.dspark.qwen3.modeling")
    common = code("DEEPSPEC_CODE", "deepspec.modeling.dspark.common")
    made = Qwen3Config(**config)
    made._attn_implementation = "sdpa"
    model = module.Qwen3DSparkModel(made)
    model.load_state_dict(dict(tensors), strict=True)
    model.eval()
    states = common.extract_context_feature(hidden_states(), model.target_layer_ids)
    drafted, cache, start = model.block_size, _Cache(), 0
    found: Found = {"logits": [], "confidence": []}
    for root in ROOTS:
        block = torch.full((1, drafted), model.mask_token_id)
        block[0, 0] = text()[root]
        own = model._forward_backbone(
            target_hidden_states=states[:, start:root],
            noise_embedding=model.embed_tokens(block),
            position_ids=torch.arange(start, root + drafted)[None],
            attention_mask=None,
            past_key_values=cache,
            use_cache=True,
            is_causal=False,
        )
        cache.crop(root)
        start = root
        before = text()[None, root : root + drafted]
        logits = model.compute_logits(own)
        if model.markov_head is not None:
            logits = model.markov_head.apply_block_logits(logits, token_ids=before, hidden_states=own)
        found["logits"].append(logits[0])
        confidence = model.predict_confidence_step(own, prev_token_ids=before)
        if confidence is not None:
            found["confidence"].append(confidence[0].sigmoid())
    return found


# ----------------------------------------------------------------------------------------------- speculators


def _speculators(config: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> Found:
    kind = config["speculators_model_type"]
    core = speculators(f"models.{kind}.core")
    classes = {
        "peagle": ("PEagleDraftModel", "PEagleSpeculatorConfig"),
        "dflash": ("DFlashDraftModel", "DFlashSpeculatorConfig"),
        "dspark": ("DSparkDraftModel", "DSparkSpeculatorConfig"),
    }
    model_name, config_name = classes[kind]
    made = getattr(speculators(f"models.{kind}.config"), config_name)(
        **{**config, "transformer_layer_config": dict(config["transformer_layer_config"])}
    )
    made.transformer_layer_config._attn_implementation = "eager"
    model = getattr(core, model_name)(made)
    # What is not in the files it takes from the target; the loss is not looked at.
    given = {"embed_tokens.weight": target().get_input_embeddings().weight}
    given |= {"verifier_lm_head.weight": torch.zeros_like(model.lm_head.weight)}
    if not model.use_draft_vocab:
        given["lm_head.weight"] = target().get_output_embeddings().weight
    missing, unexpected = model.load_state_dict({**given, **tensors}, strict=False)
    assert not unexpected, unexpected
    assert {name.split(".")[0] for name in missing} <= {"verifier_norm"}, missing
    model.eval()
    ids = made.eagle_aux_hidden_state_layer_ids if kind == "peagle" else made.aux_hidden_state_layer_ids
    states = torch.cat([hidden_states()[layer] for layer in ids], dim=-1)
    return _p_eagle(core, model, states) if kind == "peagle" else _anchored(core, model, states)


def _p_eagle(core: Any, model: Any, states: torch.Tensor) -> Found:
    """Its pairs are (state at i, token i + 1), made by the data loader; the pair before a root is that root's block."""
    seen: dict[str, torch.Tensor] = {}

    def loss(**given: Any) -> tuple[None, None]:
        seen.update({name: given[name] for name in ("logits", "anchor_pos", "depth")})
        return None, None

    pairs = len(text()) - 1
    places = model.config.speculators_config.proposal_methods[0].speculative_tokens
    with mock.patch.object(core, "compute_metrics", loss):
        torch.manual_seed(0)
        model(
            states[:, :-1],
            text()[None, 1:],
            torch.zeros(1, pairs, dtype=torch.long),
            position_ids=None,
            verifier_last_hidden_states=states[:, :-1, : model.hidden_size],
            num_depths=places,
            down_sample_ratio=1.0,
            down_sample_ratio_min=1.0,
        )
    rows = {
        (int(anchor), int(depth)): row
        for anchor, depth, row in zip(seen["anchor_pos"], seen["depth"], seen["logits"][0], strict=True)
    }
    return {
        "logits": [torch.stack([rows[root - 1, depth] for depth in range(places)]) for root in ROOTS],
        "confidence": [],
    }


def _anchored(core: Any, model: Any, states: torch.Tensor) -> Found:
    seen: dict[str, torch.Tensor] = {}

    def loss(logits: torch.Tensor, targets: torch.Tensor, *rest: Any, **_: Any) -> tuple[None, None]:
        seen["logits"] = logits
        if len(rest) > 2 and isinstance(rest[0], torch.Tensor) and isinstance(rest[1], torch.Tensor):
            seen["confidence"] = rest[0]  # DSpark's loss takes it third, DFlash's has none
        return None, None

    roots = torch.zeros(1, len(text()))
    roots[0, list(ROOTS)] = 1
    with mock.patch.object(core, "compute_metrics", loss):
        model(
            states,
            text()[None],
            roots,
            states[..., : model.hidden_size],
            torch.zeros(1, len(text()), dtype=torch.long),
            max_anchors=len(ROOTS),
        )
    first = 0 if model.config.sample_from_anchor else 1
    blocks = seen["logits"][0].view(len(ROOTS), model.block_size, -1)[:, first:]
    found: Found = {"logits": list(blocks), "confidence": []}
    if "confidence" in seen:
        found["confidence"] = list(seen["confidence"].view(len(ROOTS), model.block_size)[:, first:].sigmoid())
    return found


def differences(name: str) -> dict[str, tuple[float, float]]:
    """(largest difference, scale) of logits and confidence of a case."""
    case = block_scenario.CASES[name]
    here, there = block_scenario.play(block_scenario.ours(name)), play(case.implementation, case.files(target().config))
    found = {}
    for what in ("logits", "confidence"):
        assert len(here[what]) == len(there[what]), (name, what)
        if here[what]:
            a, b = torch.stack(here[what]), torch.stack(there[what])
            assert a.shape == b.shape, (name, what, a.shape, b.shape)
            found[what] = (float((a - b).abs().max()), float(b.abs().max()))
    return found


def zlab_decoding(files: Files, model: Any, tokens: list[int], new: int) -> tuple[list[int], list[int]]:
    """z-lab's own greedy decoding: the text, and how many tokens each of its steps gave.

    Args:
        model: the target.
        tokens: the prompt.
        new: how many tokens it asks for; the last step may give more.
    """
    module = code("DFLASH_CODE", "dflash.model")
    config, tensors = files
    made = Qwen3Config(**config)
    made._attn_implementation = "sdpa"
    draft = module.DFlashDraftModel(made)
    draft.load_state_dict(dict(tensors), strict=True)
    draft.eval()
    with mock.patch.object(module, "DynamicCache", _Cache), mock.patch.object(module, "_cuda_time", return_value=1.0):
        found = module.dflash_generate(draft, model, torch.tensor([tokens]), new, None, 0.0, return_stats=True)
    return found.output_ids[0].tolist(), found.acceptance_lengths
