"""EAGLE-3 and EAGLE-3.1 heads (arXiv 2503.01840), in the layouts in which they lie on the hub.

===============  ================================================  ==================================================
layout           config                                            which of the target's hidden states are read
===============  ================================================  ==================================================
SafeAILab        a plain Llama config with ``draft_vocab_size``     2, n/2, n - 3
SpecForge        the same, ``LlamaForCausalLMEagle3``;             ``eagle_config.eagle_aux_hidden_state_layer_ids``:
                 ``fc_norm``, ``norm_output`` (3.1)                each + 1 if the first one is 1, else as they are
AngelSlim        the same, ``Eagle3LlamaForCausalLM``              ``aux_hidden_states_layer_ids``: each + 1
DeepSpec         a plain Qwen3 config, ``Qwen3Eagle3Model``;       ``target_layer_ids``: each + 1; five of them
                 the whole vocabulary
speculators      ``speculators_model_type`` "eagle3";              ``eagle_aux_hidden_state_layer_ids``, counted as
                 ``transformer_layer_config``                      transformers does
===============  ================================================  ==================================================

n is the target's number of layers, and without ids all of them read 2, n/2 and n - 3 as transformers counts. SpecForge
and AngelSlim count the outputs of layers from 0, which is one less; others write ``eagle_config`` and count as
transformers does, and SGLang tells them by the first id (sglang #25454). The output of the last layer is read before
the target's final norm.

The first layer (:class:`~specviz.models.heads.layers.PairLayer`) reads the target's state at token j, and token j + 1.
Its output stands in for the target's state one token on. EAGLE-3 hands on the output before the head's norm, EAGLE-3.1
(``norm_output``) after it. ``d2t`` holds offsets: column c of the logits is token c + d2t[c].

Source: SafeAILab/EAGLE eagle/model/cnets.py, sgl-project/SpecForge, Tencent/AngelSlim, deepseek-ai/DeepSpec
deepspec/modeling/eagle3, vllm-project/speculators models/eagle3.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from specviz.errors import ModelError, SettingsError
from specviz.models.heads.build import check_options, check_size, vocabulary_of
from specviz.models.heads.fields import ROPE_OPTIONS, Fields, reads_by_hand, rope_options
from specviz.models.heads.layers import (
    PairLayer,
    count_layers,
    decoder_layer,
    fill,
    layer_config,
    norm,
    rotary,
    run_layer,
)
from specviz.models.heads.step import BoundStepHead
from specviz.models.heads.tensors import Shapes, shapes_of
from specviz.trace.schema import HeadInfo, Option

NAME = "eagle3"
SPECULATORS = "speculators_model_type"
"""Field of a config in the layout of speculators: which kind of head it is."""
UNUSED = re.compile(r"t2d|verifier_norm\..*|verifier_lm_head\..*|rotary_emb\..*|.*\.rotary_emb\.inv_freq")
"""Tensors that some files carry and the head does not run with."""
FLAGS = ("norm_before_residual", "norm_before_fc", "fc_norm", "norm_output")
OPTIONS = (*FLAGS, "position_offset", *ROPE_OPTIONS)
"""What can be set by hand, beside ``reads``."""


class Eagle3Head(BoundStepHead):
    """An EAGLE-3 head. Its tensors are named as speculators names them, but for ``layers``, here ``body``.

    Args:
        config: of its layers, see :func:`~specviz.models.heads.layers.layer_config`.
        info: how it is run.
        target_hidden: hidden size of the target.
        sizes: (rows of its own embeddings, columns of its own output head); 0 where it reads the target's.
        token_ids: [columns], see :class:`~specviz.models.heads.head.DraftHead`.
    """

    def __init__(
        self, config: Any, info: HeadInfo, target_hidden: int, sizes: tuple[int, int], token_ids: torch.Tensor | None
    ):
        super().__init__(info, config, token_ids)
        options, hidden, reads = info.options, config.hidden_size, len(info.reads)
        self.norm_output = bool(options["norm_output"])
        if sizes[0]:
            self.embed_tokens = nn.Embedding(sizes[0], hidden)
        self.input_norm = norm(config, reads * target_hidden) if options["norm_before_fc"] else None
        per_state = [norm(config, target_hidden) for _ in range(reads)] if options["fc_norm"] else None
        self.fc_norm = nn.ModuleList(per_state) if per_state else None
        self.fc = nn.Linear(reads * target_hidden, hidden, bias=False)
        first = PairLayer(config, bool(options["norm_before_residual"]))
        self.body = nn.ModuleList([first, *(decoder_layer(config, i) for i in range(1, self.layers))])
        self.norm = norm(config, hidden)
        if sizes[1]:
            self.lm_head = nn.Linear(hidden, sizes[1], bias=False)
        self.rotary_emb: Any = None

    def fuse(self, states: torch.Tensor) -> torch.Tensor:
        """[n, hidden] of the target's states [n, reads x hidden]."""
        states = states.to(self.fc.weight)
        if self.input_norm is not None:
            states = self.input_norm(states)
        if self.fc_norm is not None:
            parts = states.chunk(len(self.fc_norm), dim=-1)
            states = torch.cat([one(part) for one, part in zip(self.fc_norm, parts, strict=True)], dim=-1)
        fused: torch.Tensor = self.fc(states)
        return fused

    def forward(
        self, carry: torch.Tensor, ids: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor, cache: Any
    ) -> torch.Tensor:
        """[n, hidden], before the norm; see :class:`~specviz.models.heads.head.StepHead`."""
        embeddings, states = self.embed(ids, carry)[None], carry[None]
        rope = self.rotary_emb(states, positions[None])
        states = self.body[0](embeddings, states, rope, mask, cache)
        for layer in self.body[1:]:
            states = run_layer(layer, states, rope, mask, cache)
        return states[0]

    def recycle(self, own: torch.Tensor) -> torch.Tensor:
        """What a child reads: the output, after the norm in EAGLE-3.1."""
        carry: torch.Tensor = self.norm(own) if self.norm_output else own
        return carry

    def logits(self, own: torch.Tensor, tokens: torch.Tensor | None = None) -> torch.Tensor:
        return self.project(self.norm(own))


def fits(config: Mapping[str, Any], tensors: Shapes) -> bool:
    """Whether this is an EAGLE-3 head in one of its layouts."""
    kind = config.get(SPECULATORS)
    if kind is not None:
        return bool(kind == "eagle3")
    names = {_plain_name(name) for name in tensors}
    return {"fc.weight", "layers.0.hidden_norm.weight"} <= names and "mask_hidden" not in names


def build(
    config: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], target_config: Any, by_hand: Mapping[str, Option]
) -> Eagle3Head:
    """The head, in the number format of its ``fc``.

    Args:
        config, tensors: its files'.
        target_config: of the target that it will read.
        by_hand: ``reads`` and options of :data:`OPTIONS` that take the place of what the files say.

    Raises:
        ModelError: if it was made for another target, is of an unknown variant, or broken.
        SettingsError: if what is set by hand cannot be.
    """
    check_options(by_hand, (*OPTIONS, "reads"))
    named = {_plain_name(name): tensor for name, tensor in tensors.items()}
    shapes = shapes_of(named)
    fields = Fields(config, by_hand)
    inner = fields.part("transformer_layer_config") if SPECULATORS in config else fields
    layers = layer_config(inner, shapes, count_layers(shapes))
    hidden, vocabulary = layers.hidden_size, target_config.vocab_size
    check_size("vocabulary", inner.whole("vocab_size", vocabulary), vocabulary)
    reads, before_norm = _reads(fields, inner, shapes, target_config)
    options = _options(fields, shapes, layers)
    said = fields.whole("draft_vocab_size", vocabulary)
    token_ids = vocabulary_of(named, shapes.get("lm_head.weight", (said,))[0], vocabulary)
    named = {name: tensor for name, tensor in named.items() if name != "d2t" and not UNUSED.fullmatch(name)}
    for flag, part in (("norm_before_fc", "input_norm."), ("fc_norm", "fc_norm.")):
        if not options[flag]:  # as the config or the user says
            named = {name: tensor for name, tensor in named.items() if not name.startswith(part)}
    if "embed_tokens.weight" not in named and hidden != target_config.hidden_size:
        raise ModelError(
            f"The draft head has states of {hidden:,} numbers, this target has embeddings of "
            f"{target_config.hidden_size:,}, and the head has none of its own; choose the target it was made for."
        )
    columns = len(token_ids) if token_ids is not None else vocabulary
    sizes = (vocabulary if "embed_tokens.weight" in named else 0, columns if "lm_head.weight" in named else 0)
    if not sizes[1] and (token_ids is not None or hidden != target_config.hidden_size):
        raise ModelError("The draft head has no lm_head.weight; download it again, or choose another head.")
    info = HeadInfo(
        format="eagle3",
        kind="step",
        reads=reads,
        before_norm=before_norm,
        layers=layers.num_hidden_layers,
        vocabulary=None if token_ids is None else len(token_ids),
        options=options,
        by_hand=tuple(sorted(by_hand)),
    )
    with torch.device("meta"):
        head = Eagle3Head(layers, info, target_config.hidden_size, sizes, token_ids)
    fill(head, {_own_name(name): tensor for name, tensor in named.items()}, named["fc.weight"].dtype)
    head.rotary_emb = rotary(layers)
    return head


def plain_state_dict(head: Eagle3Head) -> dict[str, torch.Tensor]:
    """The head's tensors by the names that speculators gives them, as :func:`build` reads them."""
    return {re.sub(r"^body\.", "layers.", name): tensor for name, tensor in head.state_dict().items()}


def _plain_name(name: str) -> str:
    """A tensor's name in the layout of speculators."""
    name = name.removeprefix("model.")
    return re.sub(r"^midlayer\.", "layers.0.", name)


def _own_name(name: str) -> str:
    return re.sub(r"^layers\.", "body.", name)


def _options(fields: Fields, shapes: Shapes, layers: Any) -> dict[str, Any]:
    """How the head is run."""
    eagle = fields.part("eagle_config")
    has = {"norm_before_fc": "input_norm.weight" in shapes, "fc_norm": "fc_norm.0.weight" in shapes}
    options: dict[str, Any] = {}
    for flag in FLAGS:
        options[flag] = eagle.flag(flag, fields.flag(flag, has.get(flag, False)))
        if options[flag] and not has.get(flag, True):
            raise ModelError(
                f"The draft head is to be run with {flag}, and has no tensors for it; download it again, or set "
                f"{flag} to false."
            )
    if options["norm_before_fc"] and options["fc_norm"]:
        raise ModelError("The draft head has both norm_before_fc and fc_norm; set one of them to false.")
    # speculators runs a pair at its token's position, the others at its state's; under RoPE nothing changes by it.
    options["position_offset"] = fields.whole("position_offset", int(SPECULATORS in fields.values), least=0)
    return options | rope_options(layers.rope_parameters)


def _reads(fields: Fields, inner: Fields, shapes: Shapes, target_config: Any) -> tuple[tuple[int, ...], bool]:
    """Which hidden states of the target are read, as transformers counts them, and whether before the final norm."""
    hidden, deepest = target_config.hidden_size, target_config.num_hidden_layers
    width = shapes.get("fc.weight", (0, 0))[-1]
    made_for = fields.values.get("target_hidden_size")
    made_for = fields.whole("target_hidden_size") if made_for is not None else hidden
    if made_for != hidden or width % hidden:
        raise ModelError(
            f"The draft head reads states of a target of another hidden size ({width:,} numbers in all, and this "
            f"target's have {hidden:,}); choose the target it was made for, or another head."
        )
    count = width // hidden
    before_norm = fields.part("eagle_config").flag("use_aux_hidden_state", True)
    if "reads" in fields.by_hand:
        reads = reads_by_hand(fields.by_hand["reads"], deepest)
    elif not before_norm:
        reads = (deepest,)
    else:
        # Where a config says nothing, [2, n / 2, n - 3].
        reads = _said_reads(fields, inner, deepest) or ((2, deepest // 2, deepest - 3) if deepest > 4 else ())
    if len(reads) != count:
        error = SettingsError if "reads" in fields.by_hand else ModelError
        raise error(
            f"The draft head reads {count} hidden states of its target, and {len(reads) or 'no'} layers of a target of "
            f"{deepest} are named; set {count} by hand (reads), or choose another target."
        )
    return reads, before_norm


def _said_reads(fields: Fields, inner: Fields, deepest: int) -> tuple[int, ...] | None:
    """What a config says of which hidden states are read, as transformers counts them; None if it says nothing."""
    if ids := fields.wholes("eagle_aux_hidden_state_layer_ids", most=deepest):
        return ids
    if ids := fields.part("eagle_config").wholes("eagle_aux_hidden_state_layer_ids", most=deepest):
        # Of SpecForge, which counts the outputs of layers from 0 and begins with 1, or of others, which begin later.
        return tuple(one + 1 for one in ids) if ids[0] == 1 and max(ids) < deepest else ids
    ids = inner.wholes("aux_hidden_states_layer_ids", most=deepest - 1)  # outputs of layers, counted from 0
    ids = ids or inner.wholes("target_layer_ids", most=deepest - 1)
    return ids and tuple(one + 1 for one in ids)


class Eagle3Format:
    """See the module."""

    def fits(self, config: Mapping[str, Any], tensors: Shapes) -> bool:
        return fits(config, tensors)

    def build(
        self,
        config: Mapping[str, Any],
        tensors: Mapping[str, torch.Tensor],
        target_config: Any,
        by_hand: Mapping[str, Option],
    ) -> Eagle3Head:
        return build(config, tensors, target_config, by_hand)


FORMAT = Eagle3Format()
