"""The cases of step heads that are compared with independent implementations, and whose numbers lie in files."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import Glm4MoeConfig

from specviz.models.heads import eagle1, eagle3, mtp
from specviz.models.heads.head import StepHead
from tests import head_files, tiny
from tests.step_scenario import Inputs, Ours, inputs, play

REFERENCES = Path(__file__).parent / "models" / "heads" / "reference"
VOCABULARY = 24
COLUMNS = 16
LAYERS = 6


@dataclass(frozen=True)
class Case:
    """One kind of head.

    Attributes:
        oracle: whose implementation it is compared with: "speculators", "cnets" (EAGLE-3), "cnets1", "mtp".
        options: of the maker of its files in :mod:`tests.head_files`.
    """

    name: str
    oracle: str
    options: dict[str, Any] = field(default_factory=dict)


LLAMA3 = {
    "rope_theta": 500.0,
    "rope_scaling": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
    },
}
LINEAR = {"rope_scaling": {"type": "linear", "factor": 4.0}}
CASES = [
    Case("speculators", "speculators", {"columns": COLUMNS}),
    Case("speculators_whole_vocabulary", "speculators"),
    Case("speculators_norm_before_residual", "speculators", {"columns": COLUMNS, "norm_before_residual": True}),
    Case("speculators_norm_before_fc", "speculators", {"columns": COLUMNS, "norm_before_fc": True}),
    Case("speculators_3_1", "speculators", {"columns": COLUMNS, "fc_norm": True, "norm_output": True}),
    Case("speculators_two_layers", "speculators", {"columns": COLUMNS, "layers": 2}),
    Case("speculators_qwen3", "speculators", {"columns": COLUMNS, "model_type": "qwen3"}),
    Case("speculators_llama3_rope", "speculators", {"columns": COLUMNS, "rope": LLAMA3}),
    Case("safeailab_linear_rope", "cnets", {"columns": COLUMNS, "layout": "safeailab", "rope": LINEAR}),
    Case("safeailab", "cnets", {"columns": COLUMNS, "layout": "safeailab"}),
    Case("specforge", "cnets", {"columns": COLUMNS, "layout": "specforge", "reads": (2, 3, 5)}),
    Case("eagle1", "cnets1"),
    Case("eagle1_qkv_bias", "cnets1", {"qkv_bias": True, "bias": False}),
    Case("mtp", "mtp"),
    Case("angelslim", "cnets", {"columns": COLUMNS, "layout": "angelslim", "reads": (1, 3, 5)}),
]


FORMATS = (eagle3.FORMAT, eagle1.FORMAT, mtp.FORMAT)
MAKERS = {
    "speculators": head_files.eagle3,
    "cnets": head_files.eagle3,
    "cnets1": head_files.eagle1,
    "mtp": head_files.mtp,
}


def target(case: Case) -> Any:
    """The target of a case, seed 5: a Llama, or for MTP a GLM-4-MoE."""
    if case.oracle == "mtp":
        return tiny.randomized(glm_config(), seed=5)
    return tiny.make_model("llama", layers=LAYERS, vocab=VOCABULARY, seed=5)


def glm_config(vocabulary: int = VOCABULARY) -> Any:
    """Of a small GLM-4-MoE with one MTP layer."""
    return Glm4MoeConfig(
        vocab_size=vocabulary,
        hidden_size=tiny.HIDDEN,
        intermediate_size=2 * tiny.HIDDEN,
        moe_intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=tiny.HEADS,
        num_key_value_heads=tiny.HEADS // 2,
        head_dim=tiny.HIDDEN // tiny.HEADS,
        n_routed_experts=4,
        num_experts_per_tok=2,
        first_k_dense_replace=1,
        max_position_embeddings=tiny.POSITIONS,
        bos_token_id=tiny.END_ID,
        eos_token_id=tiny.END_ID,
        num_nextn_predict_layers=1,
    )


def files(case: Case) -> head_files.Files:
    """A head's files, seed 3."""
    return MAKERS[case.oracle](target(case).config, seed=3, **case.options)


def ours(case: Case) -> StepHead:
    """The head as specviz loads it."""
    config, tensors = files(case)
    of = target(case)
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    (fitting,) = [found for found in FORMATS if found.fits(config, shapes)]
    head: StepHead = fitting.build(config, tensors, of.config, {})
    head.bind(of)
    return head


def given(case: Case) -> Inputs:
    return inputs((3 if MAKERS[case.oracle] is head_files.eagle3 else 1) * tiny.HIDDEN, VOCABULARY, seed=4)


def logits(case: Case) -> torch.Tensor:
    """What specviz's head gives over the scenario."""
    return play(Ours(ours(case)), given(case))


def reference(case: Case) -> dict[str, Any]:
    """What the independent implementation gave when the file was written: ``logits``, and of EAGLE's code ``trees``."""
    found: dict[str, Any] = json.loads((REFERENCES / f"{case.name}.json").read_text(encoding="utf-8"))
    return found
