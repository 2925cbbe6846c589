"""Medusa (arXiv 2401.10774): heads without attention, of which each drafts one place further from the same state.

Head i reads the target's last hidden state at a token, after the final norm, and drafts the token i + 2 places after
it; the target itself drafts the one place. In a step the state is that of the token before the root, so head i gives q
for the children of nodes at depth i. What is drafted does not depend on the nodes between.

Layouts (FasterDecoding/Medusa, ``medusa_lm_head.pt`` or ``.safetensors``; vLLM's copy of them):

* ``i.j.linear.{weight, bias}``, residual blocks x + SiLU(linear(x)), then ``i.n.weight`` [V, H], an output head each;
* the same without output heads (the first version): all use the target's;
* either with ``medusa_head.`` before the names, in the files of a whole model whose other tensors are the target's;
* ``blocks.i.layers.j.weight``, ``lm_heads.i.weight``, and ``token_map`` [Vd] for heads on a part of the vocabulary.

How many heads and blocks there are is counted among the tensors: the releases' configs say 2 heads where there are 5.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig

from specviz.errors import ModelError
from specviz.models.heads.bound import BoundHead
from specviz.models.heads.build import check_options, check_size, count_parts, depth_of, vocabulary_of
from specviz.models.heads.fields import SPECULATORS
from specviz.models.heads.head import BlockHead
from specviz.models.heads.layers import fill
from specviz.models.heads.tensors import renamed, shapes_of
from specviz.trace.schema import HeadInfo, Option

_OWN = re.compile(r"(?:medusa_heads?\.)?(\d+)\.(\d+)\.(linear\.weight|linear\.bias|weight)")
_VLLM = re.compile(r"(?:medusa_heads\.)?(?:blocks\.(\d+)\.layers\.(\d+)\.(weight|bias)|lm_heads\.(\d+)\.weight)")
_PREFIX = "medusa_head"
_MAPS = ("token_map", "d2t", "t2d")


class MedusaHead(BoundHead, BlockHead):
    """Medusa's heads.

    Args:
        info: with ``depth`` heads.
        hidden: H.
        blocks: residual blocks of each head.
        bias: whether those have one.
        columns: Vd of the own output heads; 0 if the target's is used.
    """

    width = 1

    def __init__(self, info: HeadInfo, hidden: int, blocks: int, bias: bool, columns: int):
        super().__init__(info, PretrainedConfig(hidden_size=hidden, num_hidden_layers=0, num_attention_heads=1))
        assert info.depth is not None
        self.depth = info.depth
        self.blocks = nn.ModuleList(
            nn.ModuleList(nn.Linear(hidden, hidden, bias=bias) for _ in range(blocks)) for _ in range(self.depth)
        )
        self.lm_heads = nn.ModuleList(
            nn.Linear(hidden, columns, bias=False) for _ in range(self.depth if columns else 0)
        )

    def fuse(self, states: torch.Tensor) -> torch.Tensor:
        return states

    def block(
        self, carry: torch.Tensor, ids: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor, cache: Any
    ) -> torch.Tensor:
        """Logits [depth, Vd], as every head may have an output head of its own."""
        rows = []
        for depth, blocks in enumerate(self.blocks):
            x = carry
            for linear in blocks:  # type: ignore[attr-defined]
                x = x + nn.functional.silu(linear(x))
            rows.append(self.lm_heads[depth](x) if self.lm_heads else self.project(x))
        return torch.cat(rows)

    def logits(self, own: torch.Tensor, tokens: torch.Tensor | None = None) -> torch.Tensor:
        return own.float()


class MedusaFormat:
    """See the module."""

    def fits(self, config: Mapping[str, Any], tensors: Mapping[str, tuple[int, ...]]) -> bool:
        if config.get(SPECULATORS) is not None:
            return False
        # In the files of a whole model the others are the target's own.
        asked = [name for name in tensors if name.startswith(_PREFIX)] or tensors
        return bool(tensors) and all(_renamed(name) or name in _MAPS for name in asked)

    def build(
        self,
        config: Mapping[str, Any],
        tensors: Mapping[str, torch.Tensor],
        target_config: Any,
        by_hand: Mapping[str, Option],
    ) -> MedusaHead:
        check_options(by_hand, ("depth",))
        named = renamed(
            {name: tensor for name, tensor in tensors.items() if _renamed(name)}, lambda it: str(_renamed(it))
        )
        shapes_of(named)
        found = count_parts(named, "blocks.") or count_parts(named, "lm_heads.")
        if not found:
            raise ModelError("The Medusa draft has no heads in it; download it again, or choose another.")
        depth = depth_of(found, by_hand)
        blocks = max(count_parts(named, f"blocks.{number}.") for number in range(found))
        own = named.get("lm_heads.0.weight")
        some = named.get("blocks.0.0.weight", own)
        if some is None or some.ndim != 2:
            raise ModelError("The weights of the Medusa draft lack those of its first head; download it again.")
        hidden = some.shape[1]
        check_size("hidden size", hidden, target_config.hidden_size)
        columns = 0 if own is None else own.shape[0]
        ids = None if own is None else _token_ids(tensors, columns, target_config.vocab_size)
        info = HeadInfo(
            format="medusa",
            kind="block",
            reads=(target_config.num_hidden_layers,),
            before_norm=False,
            layers=0,
            depth=depth,
            vocabulary=None if ids is None else len(ids),
            options={"blocks": blocks, "own_output_heads": own is not None},
            by_hand=tuple(sorted(by_hand)),
        )
        with torch.device("meta"):
            head = MedusaHead(info, hidden, blocks, "blocks.0.0.bias" in named, columns)
        head.token_ids = ids
        fill(head, {name: tensor for name, tensor in named.items() if int(name.split(".")[1]) < depth}, some.dtype)
        return head


def _renamed(name: str) -> str | None:
    """What a tensor of one of the layouts is called here; None for one of no layout."""
    if found := _OWN.fullmatch(name):
        head, number, what = found.groups()
        if what == "weight":
            return f"lm_heads.{head}.weight"
        return f"blocks.{head}.{number}.{what.removeprefix('linear.')}"
    if found := _VLLM.fullmatch(name):
        block, layer, what, own = found.groups()
        return f"lm_heads.{own}.weight" if own is not None else f"blocks.{block}.{layer}.{what}"
    return None


def _token_ids(tensors: Mapping[str, torch.Tensor], columns: int, vocabulary: int) -> torch.Tensor | None:
    """See :func:`~specviz.models.heads.build.vocabulary_of`; vLLM's ``token_map`` has the ids themselves."""
    token_map = tensors.get("token_map")
    if token_map is None:
        return vocabulary_of(tensors, columns, vocabulary)
    if token_map.shape != (columns,) or token_map.is_floating_point():
        raise ModelError(f"The token_map of the Medusa draft is not one id for each of its {columns:,} columns.")
    return vocabulary_of({"d2t": token_map.to(torch.int64) - torch.arange(columns)}, columns, vocabulary)


FORMAT = MedusaFormat()
