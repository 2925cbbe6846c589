"""The presets: figures that agree with each other, with the plan, and with what is published."""

from __future__ import annotations

import json
import re

import pytest
import torch

from specviz.cli import _parser, main
from specviz.errors import SettingsError
from specviz.models import default_pair
from specviz.models.cli import fill_in_names
from specviz.models.compat import check_config
from specviz.models.head_specs import HeadSpec, head_spec
from specviz.models.heads import dflash, dspark, eagle3
from specviz.models.model_spec import ModelSpec
from specviz.models.planning import plan_pair, presets_table
from specviz.models.presets import DEFAULT_DRAFT, PRESETS, SPECS, find_preset, spec_of
from specviz.models.sources import HUB_ID
from specviz.models.weight_sizes import config_of, planned_tensors
from tests import block_heads, head_files, tiny
from tests.paths import DOCS

HEADS = [spec for spec in SPECS if isinstance(spec, HeadSpec)]
TARGET = tiny.make_config("qwen3", layers=6)
SPEC = ModelSpec(
    "a/b",
    licence="",
    parameters=0,
    family="qwen3",
    hidden=TARGET.hidden_size,
    layers=6,
    heads=4,
    kv_heads=2,
    head_dim=TARGET.hidden_size // 4,
    intermediate=2 * TARGET.hidden_size,
    vocabulary=TARGET.vocab_size,
    tied=False,
    positions=2_048,
    dtype="float32",
)
"""The small target, and its figures."""


@pytest.mark.parametrize("spec", [spec for spec in SPECS if spec not in HEADS], ids=lambda spec: spec.id)
def test_the_figures_make_the_published_number_of_parameters(spec):
    config = config_of(spec)
    check_config(config, spec.id)
    assert planned_tensors(config, torch.bfloat16, "none").parameters == spec.parameters
    assert HUB_ID.fullmatch(spec.id)


@pytest.mark.parametrize(
    ("files", "format", "figures"),
    [
        (
            head_files.eagle3(TARGET, layout="deepspec", reads=(1, 2, 3, 4, 5), model_type="qwen3"),
            eagle3.FORMAT,
            {"format": "eagle3", "reads": 5, "columns": SPEC.vocabulary, "embeddings": True},
        ),
        (
            head_files.eagle3(TARGET, layout="safeailab", columns=40, embeddings=False, model_type="qwen3"),
            eagle3.FORMAT,
            {"format": "eagle3", "reads": 3, "columns": 40},
        ),
        (
            block_heads.dflash(TARGET, layout="deepspec"),
            dflash.FORMAT,
            {"format": "dflash", "reads": 2, "columns": SPEC.vocabulary, "embeddings": True},
        ),
        (
            block_heads.dflash(TARGET, layout="deepspec", markov="vanilla", rank=8, confidence=True),
            dspark.FORMAT,
            {"format": "dspark", "reads": 2, "columns": SPEC.vocabulary, "embeddings": True, "markov": 8},
        ),
    ],
    ids=["eagle3 of DeepSpec", "eagle3 of its authors", "dflash", "dspark"],
)
def test_a_heads_figures_make_the_weights_that_it_is_loaded_with(files, format, figures):
    config, tensors = files
    loaded = format.build(config, tensors, TARGET, {})
    spec = head_spec("a/b", SPEC, layers=loaded.layers, licence="", **figures)
    assert loaded.info.format == spec.format
    assert spec.parameters == sum(one.numel() for one in loaded.parameters())


def test_bytes_of_published_heads_are_those_of_their_files():
    """As repositories that pin the files say them: github.com/deepseek-ai/DeepSpec's two block heads of Qwen3-4B."""
    published = {"dflash_qwen3_4b_block7": 2_630_685_488, "dspark_qwen3_4b_block7": 2_786_273_970}
    for name, size in published.items():
        header = size - 2 * spec_of(f"deepseek-ai/{name}").parameters
        assert 0 < header < 10_000


def test_the_default_draft_is_the_one_that_is_shipped():
    config = json.loads(default_pair.draft_assets()[0].read_text())
    for field, value in config_of(DEFAULT_DRAFT).to_dict().items():
        if field in ("hidden_size", "num_hidden_layers", "num_key_value_heads", "intermediate_size", "vocab_size"):
            assert config[field] == value, field


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_a_pair_shares_a_vocabulary_and_the_draft_is_the_smaller(preset):
    assert preset.target.vocabulary == preset.draft.vocabulary
    assert preset.draft.parameters < preset.target.parameters


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_what_a_preset_says_it_needs_is_what_the_plan_says(preset):
    device = torch.device("cpu" if preset.name == "default" else "cuda")
    for quantization, gigabytes in zip(("none", "int8", "nf4"), preset.gigabytes, strict=True):
        plan = plan_pair(*preset.names, device=device, target_quantization=quantization, device_memory=10**12)
        assert gigabytes - 1 < plan.needed / 1e9 <= gigabytes


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_the_document_lists_it(preset):
    text = (DOCS / "models.md").read_text(encoding="utf-8")
    cells = next(line for line in text.splitlines() if line.startswith(f"| `{preset.name}` |")).strip("| ").split(" | ")
    assert tuple(cells[1:3]) == preset.names
    for model in (preset.target, preset.draft):
        assert model.licence.removesuffix(" Community License") in cells[3]
    assert cells[4] == " / ".join(map(str, preset.gigabytes))


def test_gated_models_say_how_to_get_them():
    gated = [spec for spec in SPECS if spec.gated]
    assert {spec.id.split("/")[0] for spec in gated} == {"meta-llama"}
    assert all(f"https://huggingface.co/{spec.id}" in spec.access for spec in gated)
    assert all(spec.access is None for spec in SPECS if not spec.gated)


def test_find_preset_and_spec():
    assert find_preset("tinyllama").target.id == "TinyLlama/TinyLlama-1.1B-Chat-v1.0"
    assert spec_of("Qwen/Qwen3-8B@abc123") is find_preset("qwen3-8b").target
    assert spec_of("owner/name") is None
    with pytest.raises(SettingsError, match="no preset 'gpt-5'; choose from default, "):
        find_preset("gpt-5")


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ([], ("default", "default")),
        (["--preset", "qwen3-8b"], ("Qwen/Qwen3-8B", "Qwen/Qwen3-0.6B")),
        (["--preset", "qwen3-8b", "--draft", "here"], ("Qwen/Qwen3-8B", "here")),
        (["--target", "a/b@c", "--draft", "d"], ("a/b@c", "d")),
    ],
)
@pytest.mark.parametrize("command", [["greedy"], ["bench"], ["plan"], ["record", "--prompt", "x"]], ids=lambda c: c[0])
def test_a_preset_names_both_models_and_a_name_wins(command, arguments, names):
    options = _parser().parse_args([*command, *arguments])
    fill_in_names(options)
    assert (options.target, options.draft) == names


def test_the_command_lists_them(capsys):
    assert main(["models"]) == 0
    printed = capsys.readouterr().out
    for preset in PRESETS.values():
        assert re.search(rf"^{re.escape(preset.name)}\n  target +{re.escape(preset.target.id)} ", printed, flags=re.M)
    assert "Ask for access on https://huggingface.co/meta-llama/Llama-2-7b-chat-hf" in printed
    assert len({len(line) for line in presets_table()}) == 1
