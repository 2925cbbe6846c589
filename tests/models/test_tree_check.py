"""What is asked of a loaded model before trees are verified with it: paths, lengths, company."""

from __future__ import annotations

import pytest
import torch
import transformers
from torch import nn

from specviz.errors import ModelError
from specviz.models import loading, tree_check
from specviz.models.compat import LONGEST_CHECKED, check_config, longest_length
from specviz.models.language_model import LanguageModel
from specviz.models.presets import SPECS
from specviz.models.tree_check import check_tree_attention
from specviz.models.weight_sizes import config_of
from tests import faults, tiny
from tests.families import tiny_config, tiny_model
from tests.pairs import info_of


def wrapped(model) -> LanguageModel:
    return LanguageModel(model, info_of(model, "it"))


def refusal(model: LanguageModel) -> str:
    with pytest.raises(ModelError) as refused:
        check_tree_attention(model)
    sentence = str(refused.value)
    assert sentence.endswith(".")
    assert sentence.count(". ") == 0
    return sentence


# ------------------------------------------------------------------------------------------------ masks and positions


def test_a_model_that_ignores_the_mask_is_refused():
    deaf = tiny.make_model("llama", seed=4)
    check_tree_attention(wrapped(deaf))
    forward = deaf.forward
    deaf.forward = lambda *args, attention_mask=None, **kwargs: forward(*args, **kwargs)
    assert "does not follow an attention mask" in refusal(wrapped(deaf))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_masks_and_positions_that_are_not_followed_show_in_every_format(dtype):
    model = wrapped(tiny.make_model("llama").to(dtype))
    check_tree_attention(model)
    for fault in (faults.sibling_leak, faults.positions_off_by_one):
        with fault():
            assert "does not follow an attention mask" in refusal(model)


@pytest.mark.parametrize("filler", [-torch.inf, torch.finfo(torch.float32).min])
def test_tokens_without_probability_neither_hide_a_fault_nor_make_one(filler):
    model = tiny.make_model("llama")

    def forbid(_module, _inputs, output):
        output.logits[..., 100:150] = filler
        return output

    model.register_forward_hook(forbid)
    check_tree_attention(wrapped(model))
    with faults.sibling_leak():
        assert "does not follow an attention mask" in refusal(wrapped(model))


def test_layers_that_cache_nothing_are_refused():
    model = tiny.make_model("llama")
    attention = model.model.layers[1].self_attn
    forward = attention.forward
    attention.forward = lambda *args, **kwargs: forward(*args, **(kwargs | {"cache": None}))
    assert "caches nothing in 1 of its 2 layers" in refusal(wrapped(model))


def test_layers_that_share_keys_and_values_are_refused_by_their_config():
    with pytest.raises(ModelError, match="it has 2 layers that read the keys and values of other layers"):
        check_config(tiny_config("gemma4_text+full"), "it")


# ------------------------------------------------------------------------------------------------------------ lengths


def test_a_window_that_the_config_names_is_gone_beyond(monkeypatch):
    model = wrapped(tiny_model(transformers.DogeConfig(**tiny_config("doge").to_dict() | {"keep_window_size": 40})))
    assert longest_length(model.model.config) == 40
    assert "behind 80 tokens" in refusal(model)
    # All is well while the context is short: only the length in the config leads beyond it.
    monkeypatch.setattr(tree_check, "longest_length", lambda config: 0)
    check_tree_attention(model)


def test_a_window_that_is_too_long_to_be_checked_is_refused_before_weights_are_read():
    with pytest.raises(ModelError, match=r"from 2,048 tokens on \(keep_window_size in its config\), which is too far"):
        check_config(transformers.DogeConfig(keep_window_size=2048, max_position_embeddings=8192), "it")
    check_config(transformers.DogeConfig(keep_window_size=LONGEST_CHECKED, max_position_embeddings=8192), "it")
    # Where the positions end before it, it never begins.
    check_config(transformers.DogeConfig(keep_window_size=2048, max_position_embeddings=2048), "it")


LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 5e5,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
PLAIN = {
    **{spec.id: config_of(spec) for spec in SPECS},
    "llama3 rotary scaling": transformers.LlamaConfig(rope_parameters=LLAMA3, max_position_embeddings=131072),
    "a factor by position": transformers.Ministral3Config(),
    "a window of no layer": transformers.Qwen2Config(
        use_sliding_window=True, sliding_window=4096, max_window_layers=99
    ),
    "a window that is switched off": transformers.Qwen2Config(sliding_window=4096, use_sliding_window=False),
    "experts": transformers.MixtralConfig(),
    "latent attention": transformers.DeepseekV3Config(first_k_dense_replace=0),
    "GPT-2": transformers.GPT2Config(n_positions=1024),
}


@pytest.mark.parametrize("config", PLAIN.values(), ids=PLAIN)
def test_plain_models_name_no_length_and_have_a_short_check(config):
    assert longest_length(config) == 0


# ------------------------------------------------------------------------------------------------------------ company


class RoundedInputs(nn.Module):
    """A linear layer whose inputs are rounded to 255 steps: of the whole forward's largest entry, or each row's."""

    def __init__(self, linear: nn.Linear, dim: int | None):
        super().__init__()
        self.weight, self.dim = linear.weight, dim

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale = (x.abs().amax() if self.dim is None else x.abs().amax(self.dim, keepdim=True)) / 127
        return nn.functional.linear((x / scale).round() * scale, self.weight)


@pytest.mark.parametrize("dim", [None, -1], ids=["a scale a tensor", "a scale a row"])
def test_activations_that_are_quantized_per_tensor_are_refused(dim):
    model = tiny.make_model("llama")
    for layer in model.model.layers:
        layer.mlp.down_proj = RoundedInputs(layer.mlp.down_proj, dim)
    quantized = wrapped(model)
    quantized.info = quantized.info.model_copy(update={"quantization": "some 8 bit"})
    if dim is None:
        assert "it (some 8 bit) gives a token other probabilities when other tokens are scored" in refusal(quantized)
    else:
        check_tree_attention(quantized)


@pytest.fixture(scope="module")
def saved_in_8_bit(tmp_path_factory) -> str:
    """A folder as it lies on the hub: quantized with the default threshold, its norms as uneven as large models'."""
    pytest.importorskip("bitsandbytes")
    folder = tmp_path_factory.mktemp("int8")
    shape = {"hidden_size": 128, "intermediate_size": 256}
    model = tiny.make_model("llama", **shape)
    with torch.no_grad():
        model.model.layers[0].input_layernorm.weight[3] = 12.0
        model.model.layers[1].input_layernorm.weight[7] = 12.0
    model.to(torch.bfloat16).save_pretrained(folder / "source")
    quantized = transformers.AutoModelForCausalLM.from_pretrained(
        folder / "source",
        quantization_config=transformers.BitsAndBytesConfig(load_in_8bit=True),
        dtype=torch.bfloat16,
        device_map="cpu",
    )
    quantized.save_pretrained(folder / "int8")
    tiny.make_tokenizer().save_pretrained(folder / "int8")
    return str(folder / "int8")


def test_weights_saved_in_8_bit_lose_their_outlier_threshold_and_say_so(saved_in_8_bit):
    pair = loading.load_pair(saved_in_8_bit, saved_in_8_bit, device="cpu")
    model, cache = pair.target, pair.target.new_cache(16)
    states = [module.state for module in model.model.modules() if hasattr(module, "state")]
    assert len(states) == 14
    assert {state.threshold for state in states} == {0.0}
    for info in (pair.models.target, pair.models.draft):
        assert info.quantization == "bitsandbytes int8"
        assert info.note == "a local folder; outlier threshold 6 of its files set to 0"
    rows = []
    with torch.inference_mode():
        model.prefill(cache, [5, 9, 13])
        for others in ([40, 50, 60, 70, 80], [41, 51, 61, 71, 81], [30, 30, 30, 30, 30]):
            rows.append(model.forward(cache, [*others, 30], [-1] * 6, 1).logits.softmax(-1))
            cache.roll_back()
    assert max(float((row - rows[0]).abs().sum()) / 2 for row in rows) < 1e-3  # 0.023 with the threshold


def test_an_outlier_threshold_would_be_refused(saved_in_8_bit, monkeypatch):
    monkeypatch.setattr(loading, "keep_rows_apart", lambda model: None)
    with pytest.raises(ModelError, match=r"int8 \(bitsandbytes int8\) gives a token other probabilities"):
        loading.load_pair(saved_in_8_bit, saved_in_8_bit, device="cpu")


def test_outliers_are_planted_where_a_model_has_none():
    """A threshold that no activation of this small model reaches by itself is seen all the same."""

    class Picked(RoundedInputs):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            columns = (x.reshape(-1, x.shape[-1]).abs() > 15).any(0)
            return nn.functional.linear(torch.where(columns, x, x.round(decimals=1)), self.weight)

    model = tiny.make_model("llama")
    model.model.layers[0].self_attn.q_proj = Picked(model.model.layers[0].self_attn.q_proj, None)
    assert "gives a token other probabilities" in refusal(wrapped(model))


def test_experts_are_no_company():
    """How many rows an expert gets depends on the company, and rounds; that is no dependence."""
    check_tree_attention(wrapped(tiny_model(tiny_config("mixtral"))))
    check_tree_attention(wrapped(tiny_model(tiny_config("mixtral")).bfloat16()))
