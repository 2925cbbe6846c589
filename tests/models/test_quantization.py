"""Quantized models: loaded, named, counted, and audited, on the CPU."""

from __future__ import annotations

import importlib.util
import logging
from functools import lru_cache

import pytest
import torch

from specviz.cli import main
from specviz.engine.session import Session
from specviz.errors import ModelError, SettingsError
from specviz.models import loading, quantization
from specviz.models.quantization import keep_products_exact
from specviz.models.tree_check import check_tree_attention
from specviz.models.weight_sizes import allocated_bytes, planned_tensors
from specviz.trace.io import load_trace
from specviz.trace.metrics import INT8, TOLERANCES, tolerance_of
from specviz.trace.schema import Choice, Settings
from tests import tiny

CPU = torch.device("cpu")


@pytest.fixture
def folders(tmp_path) -> tuple[str, str]:
    target, draft = tiny.save_pair(tmp_path)
    return str(target), str(draft)


@pytest.mark.parametrize(("target", "draft"), [("int8", "none"), ("nf4", "int8"), ("none", "nf4")])
def test_target_and_draft_are_quantized_each_by_itself(folders, target, draft):
    pair = loading.load_pair(*folders, device="cpu", target_quantization=target, draft_quantization=draft)
    infos = (pair.models.target, pair.models.draft)
    names = {"none": None, "int8": "bitsandbytes int8", "nf4": "bitsandbytes nf4"}
    assert [info.quantization for info in infos] == [names[target], names[draft]]
    assert {info.dtype for info in infos} == {"float32"}
    assert {info.parameters for info in infos} == {sum(p.numel() for p in tiny.make_model("llama").parameters())}


def test_one_model_in_two_precisions_is_two_models(folders):
    target = folders[0]
    pair = loading.load_pair(target, target, device="cpu", target_quantization="nf4")
    assert pair.target.model is not pair.draft.model
    pair = loading.load_pair(target, target, device="cpu", target_quantization="nf4", draft_quantization="nf4")
    assert pair.target.model is pair.draft.model


def test_nf4_is_double_quantized_and_computes_in_the_dtype(folders):
    pair = loading.load_pair(*folders, device="cpu", dtype="bfloat16", target_quantization="nf4")
    settings = pair.target.model.config.quantization_config
    assert settings.bnb_4bit_use_double_quant
    assert settings.bnb_4bit_quant_type == "nf4"
    assert settings.bnb_4bit_compute_dtype == torch.bfloat16
    assert pair.models.target.dtype == "bfloat16"


def test_int8_does_not_say_at_every_product_that_it_casts(folders, caplog):
    pair = loading.load_pair(*folders, device="cpu", target_quantization="int8")
    with caplog.at_level(logging.WARNING), torch.inference_mode():
        pair.target.model(torch.tensor([[5, 6, 7]]))
    assert "will be cast" not in caplog.text


def test_what_cannot_be_quantized_is_refused_in_one_sentence(monkeypatch):
    with pytest.raises(SettingsError, match="no quantization 'int4'; choose from none, int8, nf4"):
        loading.load_pair("none/here", "none/here", device="cpu", target_quantization="int4")
    with pytest.raises(SettingsError, match="on CUDA and on the CPU, not on mps"):
        quantization.check_quantization("nf4", torch.device("mps"), "it")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="it in nf4 needs bitsandbytes, which is not installed"):
        quantization.check_quantization("nf4", CPU, "it")
    quantization.check_quantization("none", CPU, "it")


def test_names_of_other_methods():
    class Config:
        quantization_config = {"quant_method": "gptq", "bits": 4}  # noqa: RUF012

    assert quantization.quantization_name(Config) == "gptq"
    assert quantization.quantization_name(tiny.make_config("llama")) is None


def test_four_bit_products_are_computed_in_the_models_number_format(monkeypatch):
    """bitsandbytes is asked whether this CPU has AVX-512 BF16 when a layer is made; here it always says yes."""
    bitsandbytes = pytest.importorskip("bitsandbytes")
    monkeypatch.setattr(bitsandbytes.nn.modules, "has_avx512bf16", lambda: True)
    layer = bitsandbytes.nn.Linear4bit(64, 64, bias=False, compute_dtype=torch.float32, quant_type="nf4")
    assert layer.support_avx512bf16_for_cpu
    keep_products_exact(torch.nn.Sequential(torch.nn.Linear(2, 2), layer))
    assert not layer.support_avx512bf16_for_cpu


def test_tolerances_follow_what_was_measured(folders):
    info = loading.load_pair(*folders, device="cpu", target_quantization="nf4").models.target
    assert tolerance_of(info) == TOLERANCES["float32"]
    assert tolerance_of(info.model_copy(update={"dtype": "bfloat16"})) == TOLERANCES["bfloat16"]
    assert tolerance_of(info.model_copy(update={"quantization": "bitsandbytes int8"})) == INT8


@pytest.mark.parametrize("precision", ["int8", "nf4"])
def test_the_command_records_an_audited_run(folders, tmp_path, precision, capsys):
    output = tmp_path / "t.json"
    models = ["--target", folders[0], "--draft", folders[1], "--device", "cpu", "--target-quantization", precision]
    options = ["--prompt", "the sea", "--max-new-tokens", "8", "--audit", "-o", str(output)]
    assert main(["record", *models, *options]) == 0
    trace = load_trace(output)
    assert trace.models.target.quantization == f"bitsandbytes {precision}"
    assert trace.models.draft.quantization is None
    for step in trace.steps:
        assert step.caches.target.audit.worst() <= tolerance_of(trace.models.target)


# ------------------------------------------------------------------------------------------------ the default target


@lru_cache(maxsize=1)
def default_pair(precision: str) -> loading.Pair:
    try:
        return loading.load_pair(device="cpu", target_quantization=precision)
    except ModelError as error:
        pytest.skip(f"the default pair is not to be had: {error}")


MEGABYTES = {"none": 538, "int8": 220, "nf4": 168}


@pytest.mark.default_pair
@pytest.mark.parametrize("precision", MEGABYTES)
def test_an_audited_run_of_the_default_target_and_its_memory(precision):
    pair = default_pair(precision)
    if precision == "int8":
        check_tree_attention(pair.target)
    settings = Settings(
        builder=Choice(name="k_config", options={"tree": "4,2,2"}),
        verifiers=(Choice(name="rejection"),),
        driver="rejection",
        max_new_tokens=10,
        chat=True,
        audit=True,
    )
    trace_of = Session(pair, settings, "What is a tree?")
    steps = list(trace_of.run())
    assert len(steps) > 1
    for step in steps:
        assert step.caches.target.audit.worst() <= tolerance_of(pair.models.target)
        assert step.caches.draft.audit.worst() <= tolerance_of(pair.models.draft)
    # After forwards: bitsandbytes moves things about in the first one.
    held = allocated_bytes(pair.target.model)
    planned = planned_tensors(pair.target.model.config, torch.float32, precision)
    assert planned.total == pytest.approx(held, rel=0.1)
    assert held / 1e6 == pytest.approx(MEGABYTES[precision], abs=1)
    assert planned.parameters == pair.models.target.parameters == 134_515_008
