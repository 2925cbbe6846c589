"""Folders and repositories that are no model as they stand: one sentence that says what they are and what to do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import save_file

from specviz.errors import ModelError
from specviz.models import adapters, loading, sources
from specviz.models.checkpoints import check_saved_quantization
from specviz.models.download_cache import silent
from tests import tiny

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 123\n"
LORA = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "task_type": "CAUSAL_LM"}
ADAPTED = "base_model.model.model.layers.0.self_attn.q_proj"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder."""
    made = tmp_path / "model"
    tiny.make_model("llama").save_pretrained(made)
    tiny.make_tokenizer().save_pretrained(made)
    return made


def refusal(name: Path | str) -> str:
    """The one sentence with which a source is refused, before a config is read."""
    with pytest.raises(ModelError) as raised:
        sources.find_source(str(name), "target", silent)
    said = str(raised.value)
    assert said.endswith(".")
    assert ". " not in said
    return said


def make_adapter(at: Path, base: Path | str, **config: object) -> Path:
    at.mkdir()
    (at / "adapter_config.json").write_text(json.dumps(LORA | {"base_model_name_or_path": str(base)} | config))
    luck = torch.Generator().manual_seed(0)
    down, up = torch.randn(4, tiny.HIDDEN, generator=luck), torch.randn(tiny.HIDDEN, 4, generator=luck)
    save_file({f"{ADAPTED}.lora_A.weight": down, f"{ADAPTED}.lora_B.weight": up}, at / "adapter_model.safetensors")
    return at


# ------------------------------------------------------------------------------------------------------------- folders


def test_a_whole_folder_is_taken(folder):
    assert sources.find_source(str(folder), "target", silent).name == "model"


def test_in_a_folder_that_is_no_models_nothing_is_opened(tmp_path, monkeypatch):
    (tmp_path / "of_somebody.json").write_text("{}")
    opened = []
    monkeypatch.setattr(Path, "open", lambda path, *_: opened.append(path))
    assert "has no config.json" in refusal(tmp_path)
    assert not opened


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_pointer_of_git_lfs_in_place_of_a_file(folder, name):
    (folder / name).write_text(POINTER)
    assert f"only a pointer of git-lfs in place of {name}; run 'git lfs pull'" in refusal(folder)


@pytest.mark.parametrize("config", [True, False])
def test_gguf_weights_only(folder, config):
    (folder / "model.safetensors").unlink()
    if not config:
        (folder / "config.json").unlink()
    (folder / "model-Q4_K_M.gguf").write_bytes(b"GGUF" + bytes(64))
    said = refusal(folder)
    assert "holds GGUF weights only (model-Q4_K_M.gguf)" in said
    assert "gguf_file" in said


def test_lost_parts_of_the_weights(tmp_path):
    tiny.make_model("llama").save_pretrained(tmp_path / "parts", max_shard_size="20KB")
    parts = sorted((tmp_path / "parts").glob("*.safetensors"))
    assert len(parts) > 3
    assert sources.find_source(str(tmp_path / "parts"), "target", silent).name == "parts"
    parts[1].unlink()
    assert f"lacks 1 of the {len(parts)} files with its weights (such as {parts[1].name})" in refusal(
        tmp_path / "parts"
    )
    (tmp_path / "parts" / "model.safetensors.index.json").write_text('{"weight_map": 3}')
    assert "damaged model.safetensors.index.json; download it again" in refusal(tmp_path / "parts")
    (tmp_path / "parts" / "model.safetensors.index.json").unlink()
    assert f"weights in {len(parts)} parts and no model.safetensors.index.json" in refusal(tmp_path / "parts")


def test_an_adapter_beside_a_model(folder):
    make_adapter(folder.parent / "adapter", folder)
    for file in (folder.parent / "adapter").iterdir():
        shutil.copy(file, folder)
    assert "holds a model and beside it an adapter (adapter_config.json)" in refusal(folder)


# ------------------------------------------------------------------------------------------------------------ adapters


def test_an_adapter_where_peft_is_not_installed(folder, monkeypatch):
    monkeypatch.setattr(adapters.importlib.util, "find_spec", lambda _: None)
    said = refusal(make_adapter(folder.parent / "adapter", folder))
    assert "holds an adapter (LoRA) for" in said
    assert "run 'pip install peft' to have it merged" in said


UNFIT = {
    "another kind": ({"peft_type": "PREFIX_TUNING"}, "of a kind that specviz does not merge"),
    "what would have a module imported": ({"megatron_config": {"x": 1}}, "of a kind that specviz does not merge"),
    "a start that changes the model": ({"init_lora_weights": "pissa"}, "of a kind that specviz does not merge"),
    "no base": ({"base_model_name_or_path": None}, "names no model that it changes"),
    "a base that is not here": (
        {"base_model_name_or_path": "/not/here"},
        "model that it changes is not here: There is",
    ),
}


@pytest.mark.parametrize(("config", "said"), UNFIT.values(), ids=UNFIT)
def test_adapters_that_are_not_merged(folder, monkeypatch, config, said):
    monkeypatch.setattr(adapters.importlib.util, "find_spec", lambda _: "there")
    assert said in refusal(make_adapter(folder.parent / "adapter", folder, **config))


def test_an_adapter_of_an_adapter(folder, monkeypatch):
    monkeypatch.setattr(adapters.importlib.util, "find_spec", lambda _: "there")
    first = make_adapter(folder.parent / "first", folder)
    assert "is an adapter of an adapter" in refusal(make_adapter(folder.parent / "second", first))
    assert "is an adapter of an adapter" in refusal(make_adapter(folder.parent / "own", folder.parent / "own"))


def test_an_adapter_is_merged_into_its_model(folder):
    pytest.importorskip("peft", reason="optional")
    adapter = make_adapter(folder.parent / "adapter", folder)
    tokenizer = tiny.make_tokenizer()
    tokenizer.chat_template = "its own"
    tokenizer.save_pretrained(adapter)
    pair = loading.load_pair(str(adapter), str(folder), device="cpu")
    info = pair.models.target
    assert (info.id, info.note, info.architecture) == ("adapter", "an adapter, merged into model", "LlamaForCausalLM")
    assert pair.tokenizer.chat_template == "its own"
    from safetensors.torch import load_file

    weights = load_file(adapter / "adapter_model.safetensors")
    change = 2 * weights[f"{ADAPTED}.lora_B.weight"] @ weights[f"{ADAPTED}.lora_A.weight"]  # alpha / r = 2
    ours, base = (
        [layer.self_attn.q_proj.weight for layer in model.model.model.layers] for model in (pair.target, pair.draft)
    )
    assert torch.allclose(ours[0], base[0] + change, atol=1e-5)
    assert torch.equal(ours[1], base[1])


def test_an_adapter_of_another_model_and_of_quantized_weights(folder):
    pytest.importorskip("peft", reason="optional")
    adapter = make_adapter(folder.parent / "adapter", folder)
    with pytest.raises(ModelError, match="adapter and cannot be merged into quantized weights"):
        loading.load_pair(str(adapter), str(folder), device="cpu", target_quantization="nf4")
    save_file(
        {"base_model.model.model.layers.9.self_attn.q_proj.lora_A.weight": torch.zeros(4, 4)},
        adapter / "adapter_model.safetensors",
    )
    with pytest.raises(ModelError, match=r"could not be merged .*no place for base_model.model.model.layers.9"):
        loading.load_pair(str(adapter), str(folder), device="cpu")


# ------------------------------------------------------------------------------------------------------- repositories


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (("adapter_config.json", "adapter_model.safetensors"), "owner/name is an adapter and no model; download it"),
        (("config.json", "model.safetensors", "adapter_config.json"), "holds a model and beside it an adapter"),
        (("README.md", "name.Q4_K_M.gguf"), "holds GGUF weights only"),
    ],
)
def test_repositories(monkeypatch, files, said):
    class Found:
        sha = "0123abc"
        siblings = [type("File", (), {"rfilename": name}) for name in files]  # noqa: RUF012

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_, **__: Found)
    assert said in refusal("owner/name")


# ------------------------------------------------------------------------------------------- quantization, tokenizers

UNREADABLE = {
    "exl3": ({"quantization_config": {"quant_method": "exl3", "bits": 3.0}}, "in the format 'exl3', which"),
    "modelopt": ({"quantization_config": {"quant_method": "modelopt", "quant_algo": "NVFP4"}}, "format 'modelopt'"),
    "MLX": ({"quantization_config": {"group_size": 64, "bits": 4}}, "in a format without a name, as MLX saves them"),
    "older MLX": ({"quantization": {"group_size": 64, "bits": 4}}, "in a format without a name, as MLX saves them"),
}


@pytest.mark.parametrize(("fields", "said"), UNREADABLE.values(), ids=UNREADABLE)
def test_weights_that_transformers_would_read_as_plain_numbers(folder, fields, said):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | fields))
    with pytest.raises(ModelError, match=said):
        loading.load_pair(str(folder), str(folder), device="cpu")


@pytest.mark.parametrize("saved", [{"load_in_8bit": True}, {"quant_method": "bitsandbytes"}, {"quant_method": "fp8"}])
def test_quantizations_that_transformers_knows(saved):
    check_saved_quantization(transformers.LlamaConfig(quantization_config=saved), "it")
    check_saved_quantization(transformers.LlamaConfig(), "it")


def test_a_folder_without_a_tokenizer(folder):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    with pytest.raises(ModelError, match=r"model has no tokenizer \(tokenizer.json\); copy the one of the model"):
        loading.read_tokenizer(sources.folder_source(folder))
    (folder / "tokenizer.model").write_bytes(b"\x0a\x0b\x0a\x05<unk>\x15\x00\x00\x00\x00\x18\x02")
    with pytest.raises(ModelError, match=r"model has tokenizer.model and no fast tokenizer \(tokenizer.json\), and"):
        loading.read_tokenizer(sources.folder_source(folder))


def test_a_tokenizer_without_a_fast_version(folder):
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "ByT5Tokenizer"}))
    with pytest.raises(ModelError, match=r"tokenizer \(ByT5Tokenizer\) has no fast version.*choose a model with a"):
        loading.TokenTexts(loading.read_tokenizer(sources.folder_source(folder)))
