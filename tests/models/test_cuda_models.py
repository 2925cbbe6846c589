"""Loading on CUDA: the plan is what is held, quantized runs pass their audit, and a model may lie on two cards."""

from __future__ import annotations

import gc

import pytest
import torch

from specviz.engine.session import Session
from specviz.errors import ModelError
from specviz.models import loading
from specviz.models.devices import free_memory, is_spread
from specviz.models.weight_sizes import allocated_bytes, planned_tensors
from specviz.trace.metrics import tolerance_of
from specviz.trace.schema import Choice, Settings

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.default_pair,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
SETTINGS = Settings(
    builder=Choice(name="k_config", options={"tree": "4,2,2"}),
    verifiers=(Choice(name="rejection"),),
    driver="rejection",
    max_new_tokens=16,
    audit=True,
)


def load(**options) -> loading.Pair:
    try:
        return loading.load_pair(device="cuda", **options)
    except ModelError as error:
        pytest.skip(f"the default pair is not to be had: {error}")


def run_audited(pair: loading.Pair) -> None:
    for step in Session(pair, SETTINGS, "The sea is").run():
        for change, model in zip((step.caches.target, step.caches.draft), (pair.target, pair.draft), strict=True):
            assert change.audit.worst() <= tolerance_of(model.info)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("precision", ["none", "int8", "nf4"])
def test_an_audited_run_and_its_memory(precision, dtype):
    gc.collect()
    torch.cuda.empty_cache()
    before, free = torch.cuda.memory_allocated(), free_memory(torch.device("cuda"))
    pair = load(target_quantization=precision, dtype=dtype)
    used = torch.cuda.memory_allocated() - before
    planned = planned_tensors(pair.target.model.config, pair.target.dtype, precision)
    draft = planned_tensors(pair.draft.model.config, pair.draft.dtype, "none")
    assert planned.total == pytest.approx(allocated_bytes(pair.target.model), rel=0.1)
    assert planned.total + draft.total == pytest.approx(used, rel=0.1)
    assert free - free_memory(torch.device("cuda")) == pytest.approx(used, rel=0.2)
    run_audited(pair)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one CUDA device")
def test_a_target_on_two_cards_is_audited_too(monkeypatch):
    half = {"device_map": "auto", "max_memory": {0: 300_000_000, 1: 600_000_000}}
    spread = iter([half, {"device_map": {"": torch.device("cuda")}}])
    monkeypatch.setattr(loading, "device_map", lambda *_: next(spread))
    pair = load(dtype="float32")
    assert is_spread(pair.target.model)
    run_audited(pair)
