"""Presets: pairs of models that work together, with their licences and the memory they need.

Every model carries the few figures of its config that a memory plan needs, so that a plan needs no network.
"""

from __future__ import annotations

from dataclasses import dataclass

from specviz.errors import SettingsError, shown
from specviz.models import default_pair
from specviz.models.head_specs import HeadSpec, deepspec_heads, eagle3_head
from specviz.models.model_spec import ModelSpec


@dataclass(frozen=True)
class Preset:
    """A target and a draft that share a tokenizer, or a target and a draft head that reads it.

    Attributes:
        gigabytes: what both need together on CUDA (on the CPU for the default pair) with the target's weights as they
            are, in int8 and in nf4, in 10^9 bytes rounded up: a context of 2,048 tokens, the tree 4,2,2. A test
            compares them with the memory plan.
        note: what else to know.
    """

    name: str
    target: ModelSpec
    draft: ModelSpec | HeadSpec
    gigabytes: tuple[int, int, int]
    note: str = ""

    @property
    def names(self) -> tuple[str, str]:
        """What to load target and draft by."""
        return self.target.id, self.draft.id


def find_preset(name: str) -> Preset:
    """The preset of this name; SettingsError that lists the names if there is none."""
    if name not in PRESETS:
        raise SettingsError(f"There is no preset {shown(name)}; choose from {', '.join(PRESETS)}.")
    return PRESETS[name]


def spec_of(id: str) -> ModelSpec | None:
    """What the presets know about a model, with or without a ``@revision`` behind its id."""
    return next((spec for spec in SPECS if spec.id == id.partition("@")[0]), None)


_APACHE = "Apache-2.0"
_LLAMA_2, _LLAMA_3_1, _LLAMA_3_2 = (f"Llama {version} Community License" for version in ("2", "3.1", "3.2"))

SMOLLM2_135M = ModelSpec(
    "HuggingFaceTB/SmolLM2-135M-Instruct",
    licence=_APACHE,
    parameters=134_515_008,
    family="llama",
    hidden=576,
    layers=30,
    heads=9,
    kv_heads=3,
    head_dim=64,
    intermediate=1_536,
    vocabulary=49_152,
    tied=True,
    positions=8_192,
    dtype="bfloat16",
)
DEFAULT_TARGET = ModelSpec(
    default_pair.TARGET_NAME,
    licence=_APACHE,
    parameters=134_515_008,
    family="llama",
    hidden=576,
    layers=30,
    heads=9,
    kv_heads=3,
    head_dim=64,
    intermediate=1_536,
    vocabulary=49_152,
    tied=True,
    positions=8_192,
    dtype="float32",
)
DEFAULT_DRAFT = ModelSpec(
    default_pair.DRAFT_NAME,
    licence=_APACHE,
    parameters=35_392_320,
    family="llama",
    hidden=576,
    layers=2,
    heads=9,
    kv_heads=3,
    head_dim=64,
    intermediate=1_536,
    vocabulary=49_152,
    tied=True,
    positions=8_192,
    dtype="float32",
)
SMOLLM2_1_7B = ModelSpec(
    "HuggingFaceTB/SmolLM2-1.7B-Instruct",
    licence=_APACHE,
    parameters=1_711_376_384,
    family="llama",
    hidden=2_048,
    layers=24,
    heads=32,
    kv_heads=32,
    head_dim=64,
    intermediate=8_192,
    vocabulary=49_152,
    tied=True,
    positions=8_192,
    dtype="bfloat16",
)
LLAMA_68M = ModelSpec(
    "JackFram/llama-68m",
    licence=_APACHE,
    parameters=68_030_208,
    family="llama",
    hidden=768,
    layers=2,
    heads=12,
    kv_heads=12,
    head_dim=64,
    intermediate=3_072,
    vocabulary=32_000,
    tied=False,
    positions=2_048,
    dtype="float32",
)
LLAMA_160M = ModelSpec(
    "JackFram/llama-160m",
    licence="see its model card",
    parameters=162_417_408,
    family="llama",
    hidden=768,
    layers=12,
    heads=12,
    kv_heads=12,
    head_dim=64,
    intermediate=3_072,
    vocabulary=32_000,
    tied=False,
    positions=2_048,
    dtype="float32",
)
TINYLLAMA = ModelSpec(
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0",
    licence=_APACHE,
    parameters=1_100_048_384,
    family="llama",
    hidden=2_048,
    layers=22,
    heads=32,
    kv_heads=4,
    head_dim=64,
    intermediate=5_632,
    vocabulary=32_000,
    tied=False,
    positions=2_048,
    dtype="bfloat16",
)
LLAMA_2_7B = ModelSpec(
    "meta-llama/Llama-2-7b-chat-hf",
    licence=_LLAMA_2,
    parameters=6_738_415_616,
    family="llama",
    hidden=4_096,
    layers=32,
    heads=32,
    kv_heads=32,
    head_dim=128,
    intermediate=11_008,
    vocabulary=32_000,
    tied=False,
    positions=4_096,
    dtype="float16",
    gated=True,
)
VICUNA_7B = ModelSpec(
    "lmsys/vicuna-7b-v1.5",
    licence=_LLAMA_2,
    parameters=6_738_415_616,
    family="llama",
    hidden=4_096,
    layers=32,
    heads=32,
    kv_heads=32,
    head_dim=128,
    intermediate=11_008,
    vocabulary=32_000,
    tied=False,
    positions=4_096,
    dtype="float16",
)
QWEN3_0_6B = ModelSpec(
    "Qwen/Qwen3-0.6B",
    licence=_APACHE,
    parameters=596_049_920,
    family="qwen3",
    hidden=1_024,
    layers=28,
    heads=16,
    kv_heads=8,
    head_dim=128,
    intermediate=3_072,
    vocabulary=151_936,
    tied=True,
    positions=40_960,
    dtype="bfloat16",
)
QWEN3_4B = ModelSpec(
    "Qwen/Qwen3-4B",
    licence=_APACHE,
    parameters=4_022_468_096,
    family="qwen3",
    hidden=2_560,
    layers=36,
    heads=32,
    kv_heads=8,
    head_dim=128,
    intermediate=9_728,
    vocabulary=151_936,
    tied=True,
    positions=40_960,
    dtype="bfloat16",
)
QWEN3_8B = ModelSpec(
    "Qwen/Qwen3-8B",
    licence=_APACHE,
    parameters=8_190_735_360,
    family="qwen3",
    hidden=4_096,
    layers=36,
    heads=32,
    kv_heads=8,
    head_dim=128,
    intermediate=12_288,
    vocabulary=151_936,
    tied=False,
    positions=40_960,
    dtype="bfloat16",
)
QWEN3_14B = ModelSpec(
    "Qwen/Qwen3-14B",
    licence=_APACHE,
    parameters=14_768_307_200,
    family="qwen3",
    hidden=5_120,
    layers=40,
    heads=40,
    kv_heads=8,
    head_dim=128,
    intermediate=17_408,
    vocabulary=151_936,
    tied=False,
    positions=40_960,
    dtype="bfloat16",
)
LLAMA_3_1_8B = ModelSpec(
    "meta-llama/Llama-3.1-8B-Instruct",
    licence=_LLAMA_3_1,
    parameters=8_030_261_248,
    family="llama",
    hidden=4_096,
    layers=32,
    heads=32,
    kv_heads=8,
    head_dim=128,
    intermediate=14_336,
    vocabulary=128_256,
    tied=False,
    positions=131_072,
    dtype="bfloat16",
    gated=True,
)
LLAMA_3_2_1B = ModelSpec(
    "meta-llama/Llama-3.2-1B-Instruct",
    licence=_LLAMA_3_2,
    parameters=1_235_814_400,
    family="llama",
    hidden=2_048,
    layers=16,
    heads=32,
    kv_heads=8,
    head_dim=64,
    intermediate=8_192,
    vocabulary=128_256,
    tied=True,
    positions=131_072,
    dtype="bfloat16",
    gated=True,
)

EAGLE3_4B, DFLASH_4B, DSPARK_4B = deepspec_heads(QWEN3_4B, "4b")
EAGLE3_8B, DFLASH_8B, DSPARK_8B = deepspec_heads(QWEN3_8B, "8b")
EAGLE3_14B, DFLASH_14B, DSPARK_14B = deepspec_heads(QWEN3_14B, "14b")
EAGLE3_LLAMA = eagle3_head("yuhuili/EAGLE3-LLaMA3.1-Instruct-8B", LLAMA_3_1_8B, columns=32_000)

_HEAD = "the draft is a head that reads the target"
_BASE_DRAFT = "the draft is a base model with a context of 2,048 and no chat template"

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset("default", DEFAULT_TARGET, DEFAULT_DRAFT, (2, 1, 1), "needs no hub; " + default_pair.TARGET_NOTE),
        Preset("smollm2-1.7b", SMOLLM2_1_7B, SMOLLM2_135M, (6, 4, 3)),
        Preset("llama-160m", LLAMA_160M, LLAMA_68M, (2, 2, 2), "base models, small enough for a CPU"),
        Preset("tinyllama", TINYLLAMA, LLAMA_68M, (4, 3, 2), _BASE_DRAFT),
        Preset("llama-2-7b", LLAMA_2_7B, LLAMA_68M, (18, 11, 8), _BASE_DRAFT),
        Preset("llama-2-7b-tinyllama", LLAMA_2_7B, TINYLLAMA, (20, 13, 10), "the draft has a context of 2,048"),
        Preset("vicuna-7b", VICUNA_7B, LLAMA_68M, (18, 11, 8), _BASE_DRAFT),
        Preset("vicuna-7b-tinyllama", VICUNA_7B, TINYLLAMA, (20, 13, 10), "the draft has a context of 2,048"),
        Preset("qwen3-4b", QWEN3_4B, QWEN3_0_6B, (12, 8, 6)),
        Preset("qwen3-8b", QWEN3_8B, QWEN3_0_6B, (21, 14, 10)),
        Preset("llama-3.1-8b", LLAMA_3_1_8B, LLAMA_3_2_1B, (21, 14, 11)),
        Preset("qwen3-14b", QWEN3_14B, QWEN3_0_6B, (35, 21, 14)),
        Preset("qwen3-4b-eagle3", QWEN3_4B, EAGLE3_4B, (12, 9, 7), _HEAD),
        Preset("qwen3-4b-dflash", QWEN3_4B, DFLASH_4B, (13, 10, 8), _HEAD),
        Preset("qwen3-4b-dspark", QWEN3_4B, DSPARK_4B, (13, 10, 8), _HEAD),
        Preset("qwen3-8b-eagle3", QWEN3_8B, EAGLE3_8B, (22, 15, 12), _HEAD),
        Preset("qwen3-8b-dflash", QWEN3_8B, DFLASH_8B, (24, 17, 13), _HEAD),
        Preset("qwen3-8b-dspark", QWEN3_8B, DSPARK_8B, (24, 17, 14), _HEAD),
        Preset("qwen3-14b-eagle3", QWEN3_14B, EAGLE3_14B, (37, 24, 17), _HEAD),
        Preset("qwen3-14b-dflash", QWEN3_14B, DFLASH_14B, (40, 27, 20), _HEAD),
        Preset("qwen3-14b-dspark", QWEN3_14B, DSPARK_14B, (40, 27, 20), _HEAD),
        Preset("llama-3.1-8b-eagle3", LLAMA_3_1_8B, EAGLE3_LLAMA, (20, 13, 9), _HEAD),
    )
}
SPECS: tuple[ModelSpec, ...] = tuple(
    {spec.id: spec for preset in PRESETS.values() for spec in (preset.target, preset.draft)}.values()
)
