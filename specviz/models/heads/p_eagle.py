"""P-EAGLE: an EAGLE-3 head that drafts several places at once.

The root's pair is followed by pairs of ``mask_hidden``, a learned stand-in for the target's states, and the mask token;
the places see the text's pairs, the root's and those before them in the block. The row of place d drafts the token
d + 1 places after the root, so it gives q for the children of nodes at depth d. The text's pairs have slots as in
EAGLE-3, whose layouts these files have (:mod:`~specviz.models.heads.eagle3`).

Source: vllm-project/speculators models/peagle.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from specviz.errors import ModelError
from specviz.models.heads import eagle3
from specviz.models.heads.build import MOST_PARTS, depth_of
from specviz.models.heads.eagle3 import Eagle3Head
from specviz.models.heads.fields import SPECULATORS, Fields
from specviz.models.heads.head import BlockHead
from specviz.models.heads.tensors import renamed, without_model
from specviz.trace.schema import HeadInfo, Option

MASK = "mask_hidden"
MASK_IDS = ("mask_token_id", "ptd_token_id", "pard_token")
"""What the configs call the token of a masked place."""
TRAINED = 8
"""Places for which speculators trains where nobody says otherwise."""
_OPTIONS = ("depth", "mask_token_id")


class PEagleHead(BlockHead):
    """P-EAGLE's head.

    Args:
        info: how it is run.
        eagle: its layers.
        mask_hidden: [1, k x H], what stands for the target's states at a masked place.
    """

    causal = True

    def __init__(self, info: HeadInfo, eagle: Eagle3Head, mask_hidden: torch.Tensor):
        super().__init__(info, eagle.config)
        assert info.depth is not None
        self.depth = self.width = info.depth  # a place sees those before it only, so fewer give the same rows
        self.mask_id = int(info.options["mask_token_id"] or 0)
        self.position_offset = eagle.position_offset
        self.eagle = eagle
        self.mask_hidden = nn.Parameter(mask_hidden, requires_grad=False)

    def bind(self, target: Any) -> None:
        self.eagle.bind(target)

    @property
    def inputs(self) -> int:
        return self.eagle.inputs

    def fuse(self, states: torch.Tensor) -> torch.Tensor:
        return self.eagle.fuse(states)

    def remember(
        self, carry: torch.Tensor, ids: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor, cache: Any
    ) -> None:
        self.eagle(carry, ids, positions, mask, cache)

    def block(
        self, carry: torch.Tensor, ids: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor, cache: Any
    ) -> torch.Tensor:
        masked = self.fuse(self.mask_hidden).expand(len(ids) - 1, -1)
        own: torch.Tensor = self.eagle(torch.cat([carry, masked]), ids, positions, mask, cache)
        return own

    def logits(self, own: torch.Tensor, tokens: torch.Tensor | None = None) -> torch.Tensor:
        return self.eagle.logits(own)


class PEagleFormat:
    """See the module."""

    def fits(self, config: Mapping[str, Any], tensors: Mapping[str, tuple[int, ...]]) -> bool:
        kind = config.get(SPECULATORS)
        return kind == "peagle" if kind is not None else MASK in {name.removeprefix("model.") for name in tensors}

    def build(
        self,
        config: Mapping[str, Any],
        tensors: Mapping[str, torch.Tensor],
        target_config: Any,
        by_hand: Mapping[str, Option],
    ) -> PEagleHead:
        named = renamed(tensors, without_model)
        if MASK not in named:
            raise ModelError(f"The draft head has no tensor {MASK}; download it again, or choose another head.")
        masked = named.pop(MASK)
        theirs = {name: value for name, value in by_hand.items() if name not in _OPTIONS}
        eagle = eagle3.FORMAT.build(config, named, target_config, theirs)
        width = len(eagle.info.reads) * target_config.hidden_size
        if masked.numel() != width or not bool(masked.isfinite().all()):
            raise ModelError(
                f"The draft head's {MASK} is {list(masked.shape)} where {width:,} finite numbers are needed; download "
                "it again, or choose the target it was made for."
            )
        fields = Fields(config, by_hand)
        name = next((name for name in MASK_IDS if config.get(name) is not None), MASK_IDS[0])
        said = Fields({MASK_IDS[0]: config.get(name)}, by_hand)
        mask_id = said.whole(MASK_IDS[0], least=0, most=target_config.vocab_size - 1)
        info = eagle.info.model_copy(
            update={
                "format": "p_eagle",
                "kind": "block",
                "depth": depth_of(_places(fields), by_hand),
                "options": {**eagle.info.options, "mask_token_id": mask_id},
                "by_hand": tuple(sorted(by_hand)),
            }
        )
        head = PEagleHead(info, eagle, masked.reshape(1, width).to(eagle.fc.weight.dtype))
        head.token_ids = eagle.token_ids
        return head.eval().requires_grad_(False)


def _places(fields: Fields) -> int:
    """How many tokens it drafts at once, as its config says."""
    methods = fields.part("speculators_config").values.get("proposal_methods")
    if isinstance(methods, list):
        for method in methods:
            if isinstance(method, Mapping) and "speculative_tokens" in method:
                return Fields(method).whole("speculative_tokens", most=MOST_PARTS)
    return TRAINED


FORMAT = PEagleFormat()
