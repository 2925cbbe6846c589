"""Finding, judging and loading models: without a network, and without weights where a config is enough."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers
from huggingface_hub import errors as hub_errors

from specviz.errors import ModelError, SettingsError
from specviz.models import download_cache, loading, sources
from specviz.models.compat import check_config
from specviz.models.vocabularies import check_tokenizers
from specviz.trace.schema import text_of_tokens
from tests import tiny

# ------------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_the_test_families_are_fit(family):
    check_config(tiny.make_config(family), "it")


FIT = {
    "a window that is switched off": transformers.Qwen2Config(sliding_window=4096, use_sliding_window=False),
    "a window that the code never reads": transformers.LlamaConfig(sliding_window=4096),
    "Mistral without a window": transformers.MistralConfig(sliding_window=None),
    "static rotary scaling": transformers.LlamaConfig(
        rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}
    ),
    "OPT": transformers.OPTConfig(),
    "Mixtral": transformers.MixtralConfig(),
    "Falcon with rotary positions": transformers.FalconConfig(alibi=False),
}


@pytest.mark.parametrize("config", FIT.values(), ids=FIT)
def test_fit_configs(config):
    check_config(config, "it")


DYNAMIC = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "factor": 2.0,
    "original_max_position_embeddings": 64,
    "short_factor": [1.0] * 48,
    "long_factor": [1.0] * 48,
}
UNFIT = {
    "a window in some layers": (transformers.Gemma2Config(), "sliding_attention"),
    "a window by layer_types": (
        transformers.Qwen2Config(use_sliding_window=True, sliding_window=8, max_window_layers=1),
        "sliding_attention",
    ),
    "a window without layer_types": (transformers.MistralConfig(sliding_window=4096), "sliding window of 4,096"),
    "chunks": (transformers.Llama4TextConfig(), "chunked_attention"),
    "local layers": (transformers.GPTNeoConfig(), "local"),
    "hybrid": (transformers.Qwen3NextConfig(), "linear-attention"),
    "Mamba": (transformers.MambaConfig(), "recurrent"),
    "Jamba": (transformers.JambaConfig(), "recurrent"),
    "RWKV": (transformers.RwkvConfig(), "recurrent"),
    "encoder-decoder": (transformers.T5Config(), "encoder-decoder"),
    "encoder": (transformers.BertConfig(), "both directions"),
    "no language model": (transformers.ViTConfig(), "no text-generating model"),
    "images": (transformers.Gemma3Config(), "more than text"),
    "dynamic rope": (transformers.LlamaConfig(rope_parameters=DYNAMIC), "dynamic rotary"),
    "longrope": (transformers.Phi3Config(rope_parameters=LONGROPE, sliding_window=None), "longrope rotary"),
    "ALiBi by class": (transformers.BloomConfig(), "takes no position_ids"),
    "ALiBi by option": (transformers.FalconConfig(alibi=True), "ALiBi"),
    "no cache": (transformers.OpenAIGPTConfig(), "takes no cache"),
    "no sdpa": (transformers.GPTNeoXJapaneseConfig(), "no sdpa"),
}


@pytest.mark.parametrize(("config", "reason"), UNFIT.values(), ids=UNFIT)
def test_unfit_configs_are_refused_in_one_sentence(config, reason):
    with pytest.raises(ModelError, match=reason) as refusal:
        check_config(config, "owner/model")
    sentence = str(refusal.value)
    assert "owner/model" in sentence
    assert sentence.endswith(".")
    assert sentence.count(". ") == 0


def test_rope_parameters_nested_by_layer_type():
    config = transformers.LlamaConfig()
    config.rope_parameters = {"full_attention": DYNAMIC, "sliding_attention": {"rope_type": "default"}}
    with pytest.raises(ModelError, match="dynamic rotary"):
        check_config(config, "it")


# -------------------------------------------------------------------------------------------------------------- loading


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    return tiny.save_pair(tmp_path)


def load(folders: tuple[Path, Path], **options) -> loading.Pair:
    return loading.load_pair(str(folders[0]), str(folders[1]), device="cpu", **options)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_load_a_pair_of_folders(tmp_path, family):
    said = []
    target, draft = tiny.save_pair(tmp_path, family)
    pair = load((target, draft), progress=lambda message, fraction: said.append(message))
    assert said == ["Loading target", "Loading draft"]
    assert not pair.target.model.training
    assert pair.target.model.config._attn_implementation == "sdpa"
    info = pair.models.target
    assert (info.id, info.vocabulary, info.layers, info.dtype, info.device) == (
        "target",
        tiny.VOCABULARY,
        2,
        "float32",
        "cpu",
    )
    assert info.quantization is None
    assert str(tmp_path) not in pair.models.model_dump_json()  # traces are shared
    ids = torch.tensor([[5, 6, 7]])
    with torch.inference_mode():
        expected = tiny.make_model(family, seed=0)(ids).logits
        assert torch.allclose(pair.target.model(ids).logits, expected, atol=1e-5)


def test_equal_names_share_the_weights(folders):
    pair = load((folders[0], folders[0]))
    assert pair.target.model is pair.draft.model
    assert pair.target is not pair.draft


def test_dtype_and_device(folders):
    assert load(folders, dtype="bfloat16").models.draft.dtype == "bfloat16"
    with pytest.raises(SettingsError, match="no dtype 'int8'"):
        load(folders, dtype="int8")
    with pytest.raises(SettingsError, match="no device 'tpu'"):
        loading.choose_device("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(SettingsError, match="no cuda device"):
            loading.choose_device("cuda")


def test_auto_dtype(monkeypatch):
    bfloat16, float16, float32 = torch.bfloat16, torch.float16, torch.float32
    cpu, cuda, mps = torch.device("cpu"), torch.device("cuda"), torch.device("mps")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    assert loading.choose_dtype("auto", bfloat16, cpu) == float32
    assert [loading.choose_dtype("auto", dtype, cuda) for dtype in (bfloat16, float32)] == [bfloat16, float32]
    assert [loading.choose_dtype("auto", dtype, mps) for dtype in (bfloat16, float16)] == [float32, float16]
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: False)
    assert loading.choose_dtype("auto", bfloat16, cuda) == float16


def test_everything_is_judged_before_weights_are_read(folders, monkeypatch):
    monkeypatch.setattr(loading, "read_model", lambda *_: pytest.fail("weights were read"))
    tiny.make_config("llama", rope_parameters=DYNAMIC).save_pretrained(folders[1])
    (folders[1] / "model.safetensors").write_bytes(b"not even weights")
    with pytest.raises(ModelError, match="draft has dynamic rotary"):
        load(folders)
    (folders[1] / "tokenizer.json").unlink()
    (folders[1] / "tokenizer_config.json").unlink()
    with pytest.raises(ModelError, match=r"draft has a broken model\.safetensors"):  # it may have been a draft head
        load(folders)


def test_foreign_tokenizers_are_refused(folders):
    tokens = json.loads((folders[1] / "tokenizer.json").read_text())
    vocabulary = tokens["model"]["vocab"]
    vocabulary["in"], vocabulary["er"] = vocabulary["er"], vocabulary["in"]
    (folders[1] / "tokenizer.json").write_text(json.dumps(tokens))
    with pytest.raises(ModelError, match="draft cannot draft for target"):
        load(folders)


def test_pickled_weights_are_never_read(folders):
    (folders[1] / "model.safetensors").rename(folders[1] / "pytorch_model.bin")
    with pytest.raises(ModelError, match="no safetensors weights"):
        load(folders)


def test_broken_and_incomplete_weights(folders):
    from safetensors.torch import load_file, save_file

    weights = load_file(folders[0] / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folders[0] / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="target lack 1 of its weights"):
        load(folders)
    (folders[0] / "model.safetensors").write_bytes(b"\x00" * 100)
    with pytest.raises(ModelError, match="target could not be loaded"):
        load(folders)


def test_a_folder_that_is_no_model(tmp_path):
    with pytest.raises(ModelError, match=r"no config\.json"):
        loading.load_pair(str(tmp_path), str(tmp_path))
    with pytest.raises(ModelError, match="no hub id"):
        loading.load_pair("./not/there/at/all")


def test_a_model_with_code_of_its_own_is_refused(folders):
    (folders[0] / "config.json").write_text('{"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config"}}')
    (folders[0] / "mine.py").write_text("raise SystemExit('code from a model folder ran')")
    with pytest.raises(ModelError, match="code of its own, which specviz never runs"):
        load(folders)


# -------------------------------------------------------------------------------------------------------------- prompts


def test_encode(folders):
    pair = load(folders)
    assert pair.tokenizer.decode(pair.encode("the cat", chat=True)) == "<|user|>the cat<|end|><|assistant|>"
    assert pair.encode("<|end|>", chat=False) == [tiny.END_ID]
    assert pair.encode("", chat=False) == [tiny.END_ID]  # the token that starts a text
    assert text_of_tokens([pair.token_text(id) for id in pair.encode("half \ud83c a pair", False)]) == "half ? a pair"


def test_tokens_without_embeddings_do_not_count_where_tokenizers_are_compared(folders):
    padded = tiny.make_tokenizer()
    padded.add_tokens(["<pad>"])
    check_tokenizers(tiny.make_tokenizer(), padded, "target", "draft", tiny.VOCABULARY)
    padded.save_pretrained(folders[1])
    assert load(folders).models.draft.id == "draft"


def test_encode_without_template_or_first_token(tmp_path):
    pair = load(tiny.save_pair(tmp_path, chat=False))
    with pytest.raises(SettingsError, match="no chat template"):
        pair.encode("hi", chat=True)
    pair.tokenizer.bos_token = None
    with pytest.raises(SettingsError, match="prompt is empty"):
        pair.encode("", chat=False)


def test_encode_a_token_without_embedding(tmp_path):
    pair = load(tiny.save_pair(tmp_path, vocab=tiny.VOCABULARY - 1))
    with pytest.raises(SettingsError, match="' s', for which the target has no embedding"):
        pair.encode("a s", chat=False)


def test_a_chat_template_that_fails(folders):
    pair = load(folders)
    pair.tokenizer.chat_template = "{{ raise_exception('only systems may speak') }}"
    with pytest.raises(SettingsError, match=r"template failed \(only systems may speak\)"):
        pair.encode("hi", chat=True)


def test_eos_ids_come_from_everywhere(folders):
    assert load(folders).eos_ids == {tiny.END_ID}
    generation = transformers.GenerationConfig(eos_token_id=[5, 6])
    assert loading.eos_ids(generation, tiny.make_config("gpt2", eos_token_id=7), tiny.make_tokenizer()) == {0, 5, 6, 7}
    assert loading.eos_ids(transformers.GenerationConfig()) == frozenset()
    assert loading.eos_ids(transformers.GenerationConfig(eos_token_id=-1), tiny.make_tokenizer()) == {0}, (
        "none, in some"
    )


# ------------------------------------------------------------------------------------------------------------------ hub


def hub_error(kind: type[Exception]) -> Exception:
    error = kind.__new__(kind)
    Exception.__init__(error, "from the hub")
    return error


HUB_ERRORS = {
    hub_errors.GatedRepoError: r"gated; accept its licence on https://huggingface\.co/owner/name and .*hf auth login",
    hub_errors.RepositoryNotFoundError: "no model owner/name on the hub",
    hub_errors.RevisionNotFoundError: "no such revision",
    hub_errors.HfHubHTTPError: "refused to hand out",
}


@pytest.mark.parametrize(("kind", "sentence"), HUB_ERRORS.items())
def test_errors_of_the_hub(monkeypatch, kind, sentence):
    def model_info(*_, **__):
        raise hub_error(kind)

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", model_info)
    with pytest.raises(ModelError, match=sentence):
        loading.load_pair("owner/name", "owner/name")


def test_a_gated_model_shows_when_its_files_are_asked_for():
    wrapped = OSError("You are trying to access a gated repo.")
    wrapped.__cause__ = hub_error(hub_errors.GatedRepoError)
    assert "is gated" in str(sources.load_error(wrapped, "owner/name"))


@pytest.mark.parametrize("kind", [hub_errors.OfflineModeIsEnabled, ConnectionError, TimeoutError])
def test_no_network_and_nothing_downloaded_before(monkeypatch, kind):
    def model_info(*_, **__):
        raise kind("no network")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", model_info)
    assert sources.hub_source("owner/name", None).local_only
    with pytest.raises(ModelError, match="owner/name is not on this machine and the hub cannot be reached"):
        loading.load_pair("owner/name", "owner/name")


def test_hub_names_are_pinned_to_a_commit(monkeypatch):
    class Found:
        sha = "0123abc"
        siblings = [type("File", (), {"rfilename": "model.safetensors"})]  # noqa: RUF012

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_, **__: Found)
    source = sources.find_source("owner/name@v1", "target", download_cache.silent)
    assert (source.name, source.place, source.revision) == ("owner/name@v1", "owner/name", "0123abc")
    assert source.arguments()["trust_remote_code"] is False


def test_pickled_repositories_are_read_from_the_converters_pull_request(monkeypatch):
    files = {"main": "pytorch_model.bin", "refs/pr/3": "README.md", "refs/pr/5": "model-00001-of-00002.safetensors"}
    asked = []

    def model_info(_self, _id, *, revision=None, **_):
        file = type("File", (), {"rfilename": files[revision or "main"]})
        return type("Info", (), {"sha": "0123abc", "siblings": [file]})

    def discussions(_self, _id, **options):
        asked.append(options)
        return [type("PR", (), {"git_reference": reference}) for reference in ("refs/pr/3", "refs/pr/5")]

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", model_info)
    monkeypatch.setattr("huggingface_hub.HfApi.get_repo_discussions", discussions)
    assert sources.hub_source("owner/name", None).revision == "refs/pr/5"
    assert asked == [{"author": "SFconvertbot", "discussion_type": "pull_request"}]
    del files["refs/pr/5"]
    files["refs/pr/5"] = "notes.txt"
    with pytest.raises(ModelError, match="owner/name has no safetensors weights"):
        sources.find_source("owner/name", "target", download_cache.silent)
