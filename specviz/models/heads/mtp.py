"""MTP layers (multi-token prediction, arXiv 2412.19437): a layer beyond the last one in a target's own files.

A pair is the target's last state, after its final norm, and the embedding of the token after it, each with a norm of
its own; ``eh_proj`` makes one state of both, a decoder layer of the target's own kind follows, and a norm. The target's
output head makes the logits, and a child reads the output as it is. The draft is the target's folder or id once more.

The layer is transformers' ``MtpLayer``, built, renamed and filled as its ``MtpModel`` does (from 5.24 on). A target
with several such layers uses one for each depth of a chain; only those with one are run here.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any

import torch

from specviz.errors import ModelError
from specviz.models.heads.bound import BoundHead
from specviz.models.heads.build import check_options, check_size
from specviz.models.heads.fields import Fields
from specviz.models.heads.head import StepHead
from specviz.models.heads.tensors import Shapes
from specviz.trace.schema import HeadInfo, Option

COUNTS = ("num_nextn_predict_layers", "num_mtp_layers", "mtp_num_hidden_layers")
"""What configs call the number of MTP layers."""
OPTIONS = ("position_offset",)
"""What can be set by hand."""


class MtpHead(BoundHead, StepHead):
    """One MTP layer of a target.

    Args:
        model: transformers' ``MtpModel`` with its tensors.
        info: how it is run.
    """

    def __init__(self, model: Any, info: HeadInfo):
        super().__init__(info, model.config)
        self.layer = model.layers[0]
        self.shared_post_norm = model.shared_post_norm if model.use_shared_post_norm else None
        self.rotary_emb = type(model.rotary_emb)(model.config)

    def fuse(self, states: torch.Tensor) -> torch.Tensor:
        """[n, hidden]: the target's last states [n, hidden], as they are."""
        return states.to(self.layer.eh_proj.weight)

    def forward(
        self, carry: torch.Tensor, ids: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor, cache: Any
    ) -> torch.Tensor:
        """[n, hidden], after the layer's norm; see :class:`~specviz.models.heads.head.StepHead`."""
        embeddings = self.embed(ids, carry)[None]
        states = self.layer(
            embeddings,
            carry[None],
            position_embeddings=self.rotary_emb(embeddings, positions[None]),
            attention_mask=mask,
            position_ids=positions[None],
            cache=cache,
        )
        if self.shared_post_norm is not None:
            states = self.shared_post_norm(states)
        out: torch.Tensor = states[0]
        return out

    def recycle(self, own: torch.Tensor) -> torch.Tensor:
        return own

    def logits(self, own: torch.Tensor, tokens: torch.Tensor | None = None) -> torch.Tensor:
        multiplier = getattr(self.config, "logits_mup_width_multiplier", None)
        return self.project(own if multiplier is None else own / multiplier)


class MtpFormat:
    """See the module."""

    def fits(self, config: Mapping[str, Any], tensors: Shapes) -> bool:
        counts = [config.get(name) for name in COUNTS]
        if not any(isinstance(count, int) and count > 0 for count in counts):
            return False
        first = _first_layer(config.get("num_hidden_layers"))
        return any(first.match(name) and re.search(r"\b(eh_proj|fc)\.weight$", name) for name in tensors)

    def build(
        self,
        config: Mapping[str, Any],
        tensors: Mapping[str, torch.Tensor],
        target_config: Any,
        by_hand: Mapping[str, Option],
    ) -> MtpHead:
        """The head, in the number format of its tensors; see :class:`~specviz.models.heads.head.HeadFormat`."""
        check_options(by_hand, OPTIONS)
        fields = Fields(config, by_hand)
        if config.get("model_type") != target_config.model_type:
            raise ModelError("The MTP layers are those of another kind of target; choose the target they belong to.")
        for name in ("num_hidden_layers", "hidden_size", "vocab_size"):
            check_size(name.replace("_", " "), fields.whole(name), getattr(target_config, name))
        count = next(fields.whole(name) for name in COUNTS if config.get(name))
        if count != 1:
            raise ModelError(
                f"The target has {count} MTP layers, and specviz runs those with one; choose another draft."
            )
        model = _load(tensors, target_config)
        info = HeadInfo(
            format="mtp",
            kind="step",
            reads=(target_config.num_hidden_layers,),
            before_norm=False,
            layers=1,
            options={"position_offset": fields.whole("position_offset", 1, least=0)},
            by_hand=tuple(sorted(by_hand)),
        )
        head = MtpHead(model, info)
        head.eval().requires_grad_(False)
        return head


def _first_layer(layers: Any) -> re.Pattern[str]:
    """Names of the tensors of a target's first MTP layer, where it has so many layers."""
    beyond = layers if isinstance(layers, int) and 0 < layers < 10_000 else 0
    return re.compile(rf"(model\.)?layers\.{beyond}\.|(model\.)?mtp\.")


def _load(tensors: Mapping[str, torch.Tensor], target_config: Any) -> Any:
    """transformers' ``MtpModel`` with its tensors, of which none may be missing or of another shape.

    Raises:
        ModelError: if transformers cannot run it, or tensors are missing, of another shape, or not finite.
    """
    try:
        from transformers.core_model_loading import convert_and_load_state_dict_in_model
        from transformers.modeling_layers import MtpModel
        from transformers.modeling_utils import LoadStateDictConfig
    except ImportError:
        raise ModelError("MTP layers need transformers 5.24 or later; update it, or choose another draft.") from None
    from transformers import AutoModelForCausalLM

    layers = target_config.num_hidden_layers
    named = {name: tensor for name, tensor in tensors.items() if _first_layer(layers).match(name)}
    dtypes = {tensor.dtype for tensor in named.values() if tensor.is_floating_point()}
    if dtypes - {torch.float32, torch.float16, torch.bfloat16} or any(
        not bool(tensor.isfinite().all()) for tensor in named.values()
    ):
        raise ModelError(
            "The MTP layer has NaN or infinite numbers, or is quantized, which specviz does not run; choose another "
            "draft."
        )
    # MtpModel takes the classes of its layers from a target, so one with a single layer and no memory is enough.
    small = copy.deepcopy(target_config)
    small.num_hidden_layers = 1
    if getattr(small, "layer_types", None):
        small.layer_types = small.layer_types[:1]
    try:
        with torch.device("meta"):
            target = AutoModelForCausalLM.from_config(small, attn_implementation="sdpa")
            target.config.num_hidden_layers = layers
            model = MtpModel(target, 1)
        dtype = max(dtypes, key=lambda kind: torch.finfo(kind).bits)
        report = convert_and_load_state_dict_in_model(
            model=model,
            state_dict=dict(named),
            load_config=LoadStateDictConfig(weight_mapping=model.get_weight_conversions(target), dtype=dtype),
        )
        report = report[0] if isinstance(report, tuple) else report
    except Exception as error:
        raise ModelError(
            f"transformers cannot run the MTP layer of this target ({type(error).__name__}: {str(error)[:150]}); "
            "choose another draft."
        ) from error
    model.embed_tokens = model.shared_head = None
    missing = sorted(name for name in report.missing_keys if not name.startswith(("embed_tokens", "shared_head")))
    if missing or report.mismatched_keys:
        what = missing[0] if missing else str(sorted(report.mismatched_keys)[0])
        raise ModelError(f"The MTP layer lacks {what[:120]}, or it is of another shape; download the target again.")
    return model


FORMAT = MtpFormat()
