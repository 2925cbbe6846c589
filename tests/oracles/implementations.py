"""The independent implementations, each behind the protocol of :class:`tests.step_scenario.Runs`.

Nothing of theirs is changed: their modules compute, and only what calls them (a mask, a cache that is cut) is ours.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import os
import sys
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors.torch import load_file, save_file
from transformers import DynamicCache
from transformers.cache_utils import MtpCache

from tests.head_cases import Case, files, target
from tests.step_scenario import ACCEPTED, TEXT, TREE, Inputs, Runs

NOT_NEEDED = ("openai", "datasets", "hs_connectors", "aiohttp", "typer")
"""What speculators imports for training and its command line."""


class _StandIn(types.ModuleType):
    __path__: ClassVar[list[str]] = []  # so that it may have modules in it

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


class _StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds a stand-in for whatever is not installed of :data:`NOT_NEEDED`."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        return importlib.machinery.ModuleSpec(name, self) if name.split(".")[0] in NOT_NEEDED else None

    def create_module(self, spec: Any) -> types.ModuleType:
        return _StandIn(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


def speculators(module: str) -> Any:
    """A module of the package speculators, with stand-ins for what only its training needs."""
    if not any(isinstance(finder, _StandIns) for finder in sys.meta_path):
        sys.meta_path.append(_StandIns())
    return importlib.import_module(f"speculators.{module}")


def eagle_code(module: str) -> Any:
    """cnets or cnets1 of SafeAILab's repository, from the checkout that EAGLE_CODE names."""
    folder = str(Path(os.environ["EAGLE_CODE"]).resolve())
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module(f"eagle.model.{module}")


def speculators_eagle3(config: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> Any:
    """speculators' Eagle3DraftModel of a head's files, with eager attention."""
    core, made = speculators("models.eagle3.core"), speculators("models.eagle3").Eagle3SpeculatorConfig
    layer = dict(config["transformer_layer_config"])
    theirs = made(**{**config, "transformer_layer_config": layer})
    theirs.transformer_layer_config._attn_implementation = "eager"
    model = core.Eagle3DraftModel(theirs)
    missing, unexpected = model.load_state_dict(dict(tensors), strict=False)
    assert not unexpected, unexpected
    assert {name.split(".")[0] for name in missing} <= {"verifier_norm", "verifier_lm_head"}, missing
    return model.eval()


class SpeculatorsEagle3:
    """Its layers over a cache of transformers'."""

    def __init__(self, model: Any):
        self.model, self.cache = model, DynamicCache()

    def fuse(self, states: torch.Tensor) -> torch.Tensor:
        model = self.model
        if model.input_norm is not None:
            states = model.input_norm(states)
        if model.fc_norm is not None:
            parts = states.chunk(len(model.fc_norm), dim=-1)
            states = torch.cat([norm(part) for norm, part in zip(model.fc_norm, parts, strict=True)], dim=-1)
        return model.fc(states)

    def run(self, carry: torch.Tensor, ids: torch.Tensor, places: Sequence[int], sees: torch.Tensor) -> torch.Tensor:
        model = self.model
        mask = torch.zeros(sees.shape).masked_fill(~sees, torch.finfo(torch.float32).min)[None, None]
        states = torch.cat([model.embed_tokens(ids), carry], dim=-1)[None]
        rope = model.rotary_emb(states, 1 + torch.tensor(places)[None])
        for layer in model.layers:
            states = layer(states, attention_mask=mask, past_key_values=self.cache, position_embeddings=rope)
            states = states[0] if isinstance(states, tuple) else states
        return states[0]

    def recycle(self, own: torch.Tensor) -> torch.Tensor:
        return self.model.norm(own) if self.model.config.norm_output else own

    def logits(self, own: torch.Tensor) -> torch.Tensor:
        return self.model.lm_head(self.model.norm(own))

    def keep(self, slots: int) -> None:
        for layer in self.cache.layers:
            layer.keys, layer.values = layer.keys[:, :, :slots], layer.values[:, :, :slots]


def cnets_model(module: str, config: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], **tree: int) -> Any:
    """EAGLE's own Model of a head's files (cnets: EAGLE-3, cnets1: EAGLE-1 and 2)."""
    code = eagle_code(module)
    # Its config class relies on an older transformers; the model only asks for attributes.
    made = types.SimpleNamespace(**{"pad_token_id": 0, "rope_scaling": None, "pretraining_tp": 1, **config})
    model = code.Model(made, load_emb=False, bias=bool(config.get("bias", True)), **tree)
    missing, unexpected = model.load_state_dict(dict(tensors), strict=False)
    assert not unexpected, unexpected
    assert set(missing) <= {"d2t", "t2d"}, missing
    model.init_tree()
    return model.eval()


class Cnets:
    """EAGLE's Model. Its tree mask is the part of the mask behind the text.

    Args:
        head: the target's output head, for EAGLE-1, which has none.
    """

    def __init__(self, model: Any, head: torch.Tensor | None = None):
        self.model, self.head, self.cache = model, head, None

    def fuse(self, states: torch.Tensor) -> torch.Tensor:
        return states  # its forward fuses what is as wide as the target's states

    def run(self, carry: torch.Tensor, ids: torch.Tensor, places: Sequence[int], sees: torch.Tensor) -> torch.Tensor:
        past = 0 if self.cache is None else self.cache[0][0].shape[2]
        # Level by level its code gives every row the text and what the tree mask says of the slots behind it.
        causal = torch.ones(sees.shape, dtype=torch.bool).tril(past)
        self.model.tree_mask = None if bool((sees == causal).all()) else sees.float()[None, None]
        own, self.cache = self.model(
            carry[None], ids[None], position_ids=torch.tensor(places), past_key_values=self.cache, use_cache=True
        )
        return own[0]

    def recycle(self, own: torch.Tensor) -> torch.Tensor:
        return own

    def logits(self, own: torch.Tensor) -> torch.Tensor:
        if self.head is not None:
            return own @ self.head.T
        return self.model.lm_head(self.model.norm(own))

    def keep(self, slots: int) -> None:
        self.cache = tuple((keys[:, :, :slots], values[:, :, :slots]) for keys, values in self.cache)


def mtp_model(target: Any, tensors: Mapping[str, torch.Tensor], folder: Path) -> Any:
    """transformers' MtpModel, as ``generate(use_mtp=True)`` loads it from the target's folder."""
    from transformers.modeling_layers import MtpModel

    target.save_pretrained(folder)
    saved = load_file(folder / "model.safetensors")
    save_file({**saved, **tensors}, folder / "model.safetensors", metadata={"format": "pt"})
    # Its class knows the layers of the released models only.
    target._keys_to_ignore_on_load_unexpected = [rf"model\.layers\.{target.config.num_hidden_layers}\."]
    target.config.name_or_path, target.config.dtype = str(folder), torch.float32
    return MtpModel.from_pretrained(target).eval()


class Mtp:
    """Its forward over a text, and its layer over a tree: the mask that it makes itself is causal."""

    def __init__(self, model: Any):
        self.model, self.cache = model, MtpCache(config=model.config)

    def fuse(self, states: torch.Tensor) -> torch.Tensor:
        return states

    def run(self, carry: torch.Tensor, ids: torch.Tensor, places: Sequence[int], sees: torch.Tensor) -> torch.Tensor:
        model, positions = self.model, 1 + torch.tensor(places)[None]
        past = sees.shape[1] - len(ids)
        if bool((sees == torch.ones(sees.shape, dtype=torch.bool).tril(past)).all()):
            return model.forward_layer(0, carry[None], positions, self.cache, input_ids=ids[None])[0]
        mask = torch.zeros(sees.shape).masked_fill(~sees, torch.finfo(torch.float32).min)[None, None]
        embeddings = model.embed_tokens(ids)[None]
        rope = model.rotary_emb(embeddings, position_ids=positions)
        return model.layers[0](
            embeddings,
            carry[None],
            position_embeddings=rope,
            position_ids=positions,
            cache=self.cache,
            attention_mask=mask,
        )[0]

    def recycle(self, own: torch.Tensor) -> torch.Tensor:
        return own

    def logits(self, own: torch.Tensor) -> torch.Tensor:
        return self.model._project_to_logits(own)

    def keep(self, slots: int) -> None:
        for layer in self.cache.layers:
            layer.keys, layer.values = layer.keys[:, :, :slots], layer.values[:, :, :slots]


def step_oracle(case: Case, folder: Path) -> Runs:
    """The implementation that a case is compared with; it may write into ``folder``."""
    config, tensors = files(case)
    if case.oracle == "speculators":
        return SpeculatorsEagle3(speculators_eagle3(config, tensors))
    if case.oracle == "mtp":
        return Mtp(mtp_model(target(case), tensors, folder))
    if case.oracle == "cnets1":
        return Cnets(cnets_model("cnets1", config, tensors), target(case).lm_head.weight)
    return Cnets(cnets_model("cnets", config, tensors))


@torch.no_grad()
def eagle2_trees(model: Any, given: Inputs, head: torch.Tensor | None) -> list[list[list[int]]]:
    """The trees of two steps that EAGLE's own topK_genrate grows, see :func:`tests.step_scenario.eagle2_trees`.

    Its ``depth`` counts the levels after the first.
    """
    model.top_k, model.total_tokens, model.depth = TREE["top_k"], TREE["total"], TREE["depth"] - 1
    model.init_tree()
    model.reset_kv()
    output = None if head is None else lambda states: states @ head.T
    trees = []
    for start, stop in ((0, TEXT), (TEXT, TEXT + ACCEPTED)):
        # Of a text its code drops the first token: the pairs begin with the second.
        text = torch.cat([given.tokens[:1], given.tokens[:stop]])[None]
        tokens, _, mask, _ = model.topK_genrate(given.states[start:stop][None], text, output, None)
        paths = [tokens[0][row.bool()].tolist()[1:] for row in mask[0, 0]]
        trees.append(sorted(path for path in paths if path))
    return trees
