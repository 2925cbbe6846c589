"""EAGLE-1 heads (arXiv 2401.15077), which EAGLE-2 (arXiv 2406.16858) and HASS (arXiv 2408.15766) share.

A pair is the target's last state, after its final norm, and the embedding of the token after it; ``fc`` makes one state
of both. Layers of Llama follow, the first without a norm before its attention. The output stands in for the target's
last state: the target's output head makes the logits, and a child reads it as it is. What EAGLE-2 changed is the tree,
and HASS the training.

Source: SafeAILab/EAGLE eagle/model/cnets1.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from specviz.errors import ModelError, SettingsError
from specviz.models.heads.bound import BoundHead
from specviz.models.heads.build import check_options, check_size
from specviz.models.heads.fields import ROPE_OPTIONS, SPECULATORS, Fields, reads_by_hand, rope_options
from specviz.models.heads.head import StepHead
from specviz.models.heads.layers import count_layers, decoder_layer, fill, layer_config, rotary, run_layer
from specviz.models.heads.tensors import Shapes, renamed, shapes_of, without_model
from specviz.trace.schema import HeadInfo, Option

OPTIONS = ("reads", "position_offset", *ROPE_OPTIONS)
"""What can be set by hand."""
UNUSED = re.compile(r"rotary_emb\..*|.*\.rotary_emb\.inv_freq")


class Eagle1Head(BoundHead, StepHead):
    """An EAGLE-1 head. Its tensors have the names of its files, but for ``layers``, here ``body``.

    Args:
        config: of its layers.
        info: how it is run.
        embeddings: rows of its own embeddings; 0 where it reads the target's.
        biases: whether ``fc`` has a bias, and whether queries, keys and values have one.
    """

    def __init__(self, config: Any, info: HeadInfo, embeddings: int, biases: tuple[bool, bool]):
        super().__init__(info, config)
        hidden = config.hidden_size
        if embeddings:
            self.embed_tokens = nn.Embedding(embeddings, hidden)
        self.fc = nn.Linear(2 * hidden, hidden, bias=biases[0])
        self.body = nn.ModuleList([decoder_layer(config, i) for i in range(self.layers)])
        self.body[0].input_layernorm = nn.Identity()
        for layer in self.body if biases[1] else ():
            for name in ("q_proj", "k_proj", "v_proj"):
                setattr(layer.self_attn, name, nn.Linear(hidden, getattr(layer.self_attn, name).out_features))
        self.rotary_emb: Any = None

    def fuse(self, states: torch.Tensor) -> torch.Tensor:
        """[n, hidden]: the target's last states [n, hidden], as they are."""
        return states.to(self.fc.weight)

    def forward(
        self, carry: torch.Tensor, ids: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor, cache: Any
    ) -> torch.Tensor:
        """[n, hidden]; see :class:`~specviz.models.heads.head.StepHead`."""
        states = self.fc(torch.cat([self.embed(ids, carry), carry], dim=-1))[None]
        rope = self.rotary_emb(states, positions[None])
        for layer in self.body:
            states = run_layer(layer, states, rope, mask, cache)
        out: torch.Tensor = states[0]
        return out

    def recycle(self, own: torch.Tensor) -> torch.Tensor:
        return own

    def logits(self, own: torch.Tensor, tokens: torch.Tensor | None = None) -> torch.Tensor:
        return self.project(own)


class Eagle1Format:
    """See the module."""

    def fits(self, config: Mapping[str, Any], tensors: Shapes) -> bool:
        if SPECULATORS in config:
            return bool(config[SPECULATORS] == "eagle")
        names = {name.removeprefix("model.") for name in tensors}
        first = {"fc.weight", "layers.0.self_attn.q_proj.weight"}
        return first <= names and not names & {"layers.0.input_layernorm.weight", "layers.0.hidden_norm.weight"}

    def build(
        self,
        config: Mapping[str, Any],
        tensors: Mapping[str, torch.Tensor],
        target_config: Any,
        by_hand: Mapping[str, Option],
    ) -> Eagle1Head:
        """The head, in the number format of its ``fc``; see :class:`~specviz.models.heads.head.HeadFormat`."""
        if SPECULATORS in config:
            raise ModelError(
                "The draft head is an EAGLE-1 head that speculators has converted, which specviz does not run; choose "
                "the head it was made from."
            )
        check_options(by_hand, OPTIONS)
        named = renamed(tensors, without_model)
        named = {name: tensor for name, tensor in named.items() if not UNUSED.fullmatch(name)}
        shapes = shapes_of(named)
        fields = Fields(config, by_hand)
        layers = layer_config(fields, shapes, count_layers(shapes))
        layers.attention_bias = False  # where queries, keys and values have one, the output has none
        check_size("hidden size", layers.hidden_size, target_config.hidden_size)
        check_size("vocabulary", fields.whole("vocab_size", target_config.vocab_size), target_config.vocab_size)
        deepest = target_config.num_hidden_layers
        reads = reads_by_hand(by_hand.get("reads", str(deepest)), deepest)
        if len(reads) != 1:
            raise SettingsError(f"An EAGLE-1 head reads one hidden state of its target, and {len(reads)} are named.")
        info = HeadInfo(
            format="eagle1",
            kind="step",
            reads=reads,
            before_norm=False,
            layers=layers.num_hidden_layers,
            options={
                "position_offset": fields.whole("position_offset", 0, least=0),
                **rope_options(layers.rope_parameters),
            },
            by_hand=tuple(sorted(by_hand)),
        )
        embeddings = target_config.vocab_size if "embed_tokens.weight" in named else 0
        biases = "fc.bias" in named, "layers.0.self_attn.q_proj.bias" in named
        with torch.device("meta"):
            head = Eagle1Head(layers, info, embeddings, biases)
        ours = {re.sub(r"^layers\.", "body.", name): tensor for name, tensor in named.items()}
        fill(head, ours, named["fc.weight"].dtype)
        head.rotary_emb = rotary(layers)
        return head


FORMAT = Eagle1Format()
