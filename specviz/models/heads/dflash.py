"""DFlash (arXiv 2602.06036): a few layers that fill a block of masked places at once, from the target's states.

The head's cache has one slot for each token of the text before the root. Its keys and values are the layers' own
projections of the target's fused states there, hidden_norm(fc(states)); a layer's output goes into none of them. The
block is the embedding of the root and those of the mask token, at the positions from the root's on. Each place of the
block sees the whole text before the root and the whole block: attention inside it is not causal.

Which row drafts which token differs:

* z-lab's files, and speculators' unless ``sample_from_anchor``: the row of a masked place drafts the token at that
  place; the root's own row is not used, and a block of B places drafts B - 1 tokens.
* speculators' with ``sample_from_anchor``, and DeepSpec's: every row drafts the token one place after its own,
  B of them.

Which of the target's hidden states are read: z-lab and DeepSpec count the outputs of layers from 0 (id k is
transformers' ``hidden_states[k + 1]``, and DeepSpec's -1 the embeddings), speculators counts as transformers does.

Source: z-lab/dflash dflash/model.py, deepseek-ai/DeepSpec deepspec/modeling/dspark, vllm-project/speculators
models/dflash.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from transformers.models.qwen3.modeling_qwen3 import apply_rotary_pos_emb

from specviz.errors import ModelError, SettingsError
from specviz.models.heads.bound import BoundHead
from specviz.models.heads.build import (
    MOST_PARTS,
    check_layer_ids,
    check_options,
    check_size,
    depth_of,
    vocabulary_of,
)
from specviz.models.heads.fields import ROPE_OPTIONS, SPECULATORS, Fields, reads_by_hand, rope_options
from specviz.models.heads.head import BlockHead
from specviz.models.heads.layers import count_layers, decoder_layer, fill, layer_config, norm, rotary, run_layer
from specviz.models.heads.tensors import renamed, shapes_of, without_model
from specviz.trace.schema import HeadInfo, Option

OPTIONS = ("depth", "mask_token_id", "reads", "sample_from_anchor", *ROPE_OPTIONS)
"""What can be set by hand."""
_UNUSED = re.compile(r"d2t|t2d|verifier_norm\..*|verifier_lm_head\..*|rotary_emb\..*")
"""Tensors that some files carry and the head does not run with."""
_MARKS = ("markov_", "confidence_")
"""How the names of DSpark's additions begin."""


@dataclass(frozen=True)
class Sizes:
    """Of a head's matrices.

    Attributes:
        target_hidden, vocabulary: the target's hidden size, and V.
        columns: Vd.
        own_embeddings, own_output: whether it has embeddings and an output head of its own, or uses the target's.
    """

    target_hidden: int
    vocabulary: int
    columns: int
    own_embeddings: bool
    own_output: bool


class DFlashHead(BoundHead, BlockHead):
    """DFlash's head. Its tensors are named as in the files, but for ``layers``, here ``body``.

    Args:
        config: of its layers, of qwen3.
        info: how it is run.
        sizes: of its matrices.
    """

    remembers_root = True

    def __init__(self, config: Any, info: HeadInfo, sizes: Sizes):
        super().__init__(info, config)
        assert info.depth is not None
        hidden = config.hidden_size
        self.depth, self.mask_id = info.depth, int(info.options["mask_token_id"] or 0)
        self.from_anchor = bool(info.options["sample_from_anchor"])
        # All places that it was trained with are run: each sees the others, so fewer would give other rows.
        self.width = int(info.options["block_size"] or 0)
        self.body = nn.ModuleList(decoder_layer(config, number) for number in range(self.layers))
        self.fc = nn.Linear(len(info.reads) * sizes.target_hidden, hidden, bias=False)
        self.hidden_norm, self.norm = norm(config, hidden), norm(config, hidden)
        if sizes.own_embeddings:
            self.embed_tokens = nn.Embedding(sizes.vocabulary, hidden)
        if sizes.own_output:
            self.lm_head = nn.Linear(hidden, sizes.columns, bias=False)
        self.rotary_emb: Any = None

    def fuse(self, states: torch.Tensor) -> torch.Tensor:
        fused: torch.Tensor = self.hidden_norm(self.fc(states.to(self.fc.weight)))
        return fused

    def remember(
        self, carry: torch.Tensor, ids: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor, cache: Any
    ) -> None:
        """See :class:`~specviz.models.heads.head.BlockHead`. Tokens and mask count for nothing: nothing attends."""
        fused = carry[None]
        cos, sin = self.rotary_emb(fused, positions[None])
        for number, layer in enumerate(self.body):
            attention: Any = layer.self_attn
            shape = (*fused.shape[:-1], -1, attention.head_dim)
            keys = attention.k_norm(attention.k_proj(fused).view(shape)).transpose(1, 2)
            values = attention.v_proj(fused).view(shape).transpose(1, 2)
            cache.update(apply_rotary_pos_emb(keys, keys, cos, sin)[1], values, number)

    def block(
        self, carry: torch.Tensor, ids: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor, cache: Any
    ) -> torch.Tensor:
        """See :class:`~specviz.models.heads.head.BlockHead`; ``carry`` has its slot and is not read again."""
        hidden = self.embed(ids, carry)[None]
        rope = self.rotary_emb(hidden, positions[None])
        for layer in self.body:
            hidden = run_layer(layer, hidden, rope, mask, cache)
        own: torch.Tensor = self.norm(hidden)[0]
        first = 0 if self.from_anchor else 1
        return own[first : first + self.depth]

    def logits(self, own: torch.Tensor, tokens: torch.Tensor | None = None) -> torch.Tensor:
        return self.project(own)


class DFlashFormat:
    """See the module."""

    name: Literal["dflash", "dspark"] = "dflash"
    options: tuple[str, ...] = OPTIONS

    def fits(self, config: Mapping[str, Any], tensors: Mapping[str, tuple[int, ...]]) -> bool:
        kind = config.get(SPECULATORS)
        return kind == "dflash" if kind is not None else looks_like_dflash(tensors) and not has_marks(tensors)

    def build(
        self,
        config: Mapping[str, Any],
        tensors: Mapping[str, torch.Tensor],
        target_config: Any,
        by_hand: Mapping[str, Option],
    ) -> DFlashHead:
        check_options(by_hand, self.options)
        named = renamed(tensors, without_model)
        shapes = shapes_of(named)
        for needed in ("fc.weight", "layers.0.self_attn.q_norm.weight"):
            if needed not in shapes:
                raise ModelError(f"The draft head has no tensor {needed}; download it again, or choose another head.")
        # block_size and mask_token_id stand at the top in older files, and in dflash_config in newer ones.
        inner = config.get("dflash_config")
        merged = {**config, **(inner if isinstance(inner, Mapping) else {})}
        fields = Fields(merged, by_hand)
        body = fields.part("transformer_layer_config") if SPECULATORS in config else fields
        if merged.get("num_target_layers") is not None:
            check_size("number of layers", fields.whole("num_target_layers"), target_config.num_hidden_layers)
        layers = layer_config(body, shapes, count_layers(shapes))
        vocabulary = target_config.vocab_size
        own = shapes.get("lm_head.weight")
        ids = vocabulary_of(named, vocabulary if own is None else own[0], vocabulary)
        columns = vocabulary if ids is None else len(ids)
        sizes = Sizes(target_config.hidden_size, vocabulary, columns, "embed_tokens.weight" in shapes, own is not None)
        if sizes.own_embeddings:
            check_size("vocabulary", shapes["embed_tokens.weight"][0], vocabulary)
        if not (sizes.own_embeddings and sizes.own_output):
            check_size("hidden size", layers.hidden_size, sizes.target_hidden)
        info = self._info(fields, layers, target_config, sizes)
        _check_width(shapes["fc.weight"][-1], info.reads, sizes.target_hidden, by_hand)
        with torch.device("meta"):
            head = self._head(fields, layers, info, sizes)
        kept = {self._own_name(name): tensor for name, tensor in named.items() if not _UNUSED.fullmatch(name)}
        fill(head, kept, named["fc.weight"].dtype)
        head.rotary_emb = rotary(layers)
        head.token_ids = ids
        return head

    def _info(self, fields: Fields, layers: Any, target_config: Any, sizes: Sizes) -> HeadInfo:
        block = fields.whole("block_size", most=MOST_PARTS)
        from_anchor = fields.flag("sample_from_anchor", self._from_anchor(fields.values))
        rows = block if from_anchor else block - 1
        if not rows:
            raise ModelError("The draft head has blocks of the root alone (block_size 1), so it drafts nothing.")
        options = {
            "block_size": block,
            "mask_token_id": fields.whole("mask_token_id", least=0, most=sizes.vocabulary - 1),
            "sample_from_anchor": from_anchor,
            "own_embeddings": sizes.own_embeddings,
            "own_output_head": sizes.own_output,
        }
        return HeadInfo(
            format=self.name,
            kind="block",
            reads=_reads(fields, target_config.num_hidden_layers, layers.num_hidden_layers),
            before_norm=SPECULATORS in fields.values,
            layers=layers.num_hidden_layers,
            depth=depth_of(rows, fields.by_hand),
            vocabulary=None if sizes.columns == sizes.vocabulary else sizes.columns,
            options=options | rope_options(layers.rope_parameters),
            by_hand=tuple(sorted(fields.by_hand)),
        )

    def _from_anchor(self, config: Mapping[str, Any]) -> bool:
        """Where the config does not say it: DeepSpec's, which all do it, have a markov_rank and no such field."""
        return SPECULATORS not in config and "markov_rank" in config

    def _head(self, fields: Fields, layers: Any, info: HeadInfo, sizes: Sizes) -> DFlashHead:
        return DFlashHead(layers, info, sizes)

    def _own_name(self, name: str) -> str:
        return re.sub(r"^layers\.", "body.", name)


def looks_like_dflash(tensors: Mapping[str, Any]) -> bool:
    """Whether the tensors are those of DFlash's layers: a norm of fused states that belongs to no layer."""
    names = {name.removeprefix("model.") for name in tensors}
    return {"fc.weight", "hidden_norm.weight", "layers.0.input_layernorm.weight"} <= names


def has_marks(tensors: Mapping[str, Any]) -> bool:
    return any(name.removeprefix("model.").startswith(_MARKS) for name in tensors)


def _reads(fields: Fields, deepest: int, layers: int) -> tuple[int, ...]:
    """Which of the target's hidden states are read, as transformers counts them."""
    if (by_hand := fields.by_hand.get("reads")) is not None:
        return reads_by_hand(by_hand, deepest)
    if SPECULATORS in fields.values:
        name = "aux_hidden_state_layer_ids"
        return check_layer_ids(fields.values.get(name), name, 0, deepest)
    name = "target_layer_ids"
    ids = fields.values.get(name)
    if ids is None and deepest > 4:  # as z-lab's class spreads them
        last = deepest - 3
        spread = [round(1 + number * (last - 1) / (layers - 1)) for number in range(layers)] if layers > 1 else []
        ids = spread or [deepest // 2]
    return tuple(one + 1 for one in check_layer_ids(ids, name, -1, deepest - 1))


def _check_width(width: int, reads: tuple[int, ...], hidden: int, by_hand: Mapping[str, Option]) -> None:
    """Refuse layers that do not make up the ``width`` that fc reads.

    Raises:
        SettingsError: if the user named another number of layers than the head reads.
        ModelError: if the files do not agree, with each other or with the target's hidden size.
    """
    if width == len(reads) * hidden:
        return
    if "reads" in by_hand and width % hidden == 0:
        raise SettingsError(
            f"The draft head reads {width // hidden} hidden states of its target, and {len(reads)} are named; name "
            f"{width // hidden}."
        )
    check_size(f"width of the {len(reads)} hidden states it reads", width, len(reads) * hidden)


FORMAT = DFlashFormat()
