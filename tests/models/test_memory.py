"""The memory plan: counted from configs, compared with what models really hold, and the verdicts."""

from __future__ import annotations

import os
import resource
from dataclasses import replace

import pytest
import torch

from specviz.cli import main
from specviz.errors import OutOfMemoryError, SettingsError
from specviz.models import device_map, devices, loading, memory
from specviz.models.devices import free_memory, parse_memory
from specviz.models.kv_cache import SlotCache
from specviz.models.memory import ToLoad, plan_memory, slots_for
from specviz.models.planning import plan_pair
from specviz.models.presets import LLAMA_2_7B, PRESETS, TINYLLAMA
from specviz.models.weight_sizes import allocated_bytes, config_of, planned_tensors
from tests import forks, tiny

CUDA, CPU = torch.device("cuda"), torch.device("cpu")
GB = 10**9


def to_load(name: str = "model", family: str = "llama", **options) -> ToLoad:
    return ToLoad(name, tiny.make_config(family), torch.float32, **options)


# ---------------------------------------------------------------------------------------------------- against reality


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_planned_tensors_are_what_a_model_holds(family, tied):
    model = tiny.make_model(family, tie_word_embeddings=tied)
    assert planned_tensors(model.config, torch.float32, "none").total == allocated_bytes(model)


@pytest.mark.parametrize("quantization", ["int8", "nf4"])
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_planned_tensors_are_what_a_quantized_model_holds(tmp_path, family, quantization):
    folder, _ = tiny.save_pair(tmp_path, family)
    model = loading.load_pair(str(folder), str(folder), device="cpu", target_quantization=quantization).target.model
    planned = planned_tensors(tiny.make_config(family), torch.float32, quantization)
    assert planned.total == pytest.approx(allocated_bytes(model), rel=0.02)
    assert planned.parameters == sum(p.numel() for p in tiny.make_model(family).parameters())


def plan_twice() -> None:
    def size() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    config = config_of(LLAMA_2_7B)
    planned_tensors(config, torch.float16, "none")
    before = size()
    planned_tensors(config, torch.float16, "nf4")
    assert size() - before < 100_000, size() - before


def test_planning_allocates_nothing(tmp_path):
    """In a process of its own, in which nothing has been large before."""
    log = tmp_path / "log"
    with forks.process(plan_twice, folder=tmp_path, log=log) as process:
        process.join()
    assert process.exitcode == 0, log.read_text()


@pytest.mark.parametrize("steps", [[512, 1], [30, 400, 100, 29], [2048, 28], [700, 324, 29], [100, 413]])
def test_a_cache_never_has_more_slots_than_planned(steps):
    cache = SlotCache(1, memory.FIRST_SLOTS)
    layer = cache.slot_layers[0]
    for slots in steps:
        cache.reserve(slots)
        layer.length += slots
    assert sum(steps) <= cache.capacity <= slots_for(sum(steps))


# -------------------------------------------------------------------------------------------------------- verdicts


VERDICTS = {
    ("none", 8): "nf4 would fit",
    ("none", 16): "int8 would fit",
    ("none", 24): None,
    ("int8", 8): "nf4 would fit",
    ("int8", 16): None,
    ("int8", 24): None,
    ("nf4", 8): None,
    ("nf4", 16): None,
    ("nf4", 24): None,
}


@pytest.mark.parametrize(("case", "advice"), VERDICTS.items(), ids=str)
def test_llama_2_7b_on_cards_of_8_16_and_24_gb(case, advice):
    quantization, gigabytes = case
    plan = plan_pair(
        *PRESETS["llama-2-7b"].names, device=CUDA, target_quantization=quantization, device_memory=gigabytes * GB
    )
    assert plan.fits is (advice is None)
    assert plan.verdict.startswith("Fits: " if advice is None else "Does not fit: ")
    assert (advice or "") in plan.verdict
    cache = next(i for i, row in enumerate(plan.rows) if row.part.startswith("KV cache"))
    weights = sum(row.target for row in plan.rows[:cache]) / GB
    expected = {"none": 13.48, "int8": 7.0, "nf4": 3.87}[quantization]
    assert weights == pytest.approx(expected, rel=0.01)


def test_a_shorter_context_and_another_pair_are_suggested():
    names = PRESETS["vicuna-7b"].names
    shorter = plan_pair(*names, device=CUDA, target_quantization="nf4", device_memory=7 * GB)
    assert "; a context of 1,024 would fit with " in shorter.verdict
    both = plan_pair(*names, device=CUDA, device_memory=6_500_000_000)
    assert "; nf4 and a context of 1,024 would fit with " in both.verdict
    pair = plan_pair(*names, device=CUDA, device_memory=4 * GB)
    assert "; the pair tinyllama would fit with a context of 1,024." in pair.verdict
    assert "; choose a larger device." in plan_pair(*names, device=CUDA, device_memory=GB // 2).verdict


def test_the_parts_add_up_and_move_the_right_way():
    target, draft = to_load("target"), to_load("draft")
    plan = plan_memory(target, draft, context=400, nodes=28, free=GB)
    table = plan.table()
    assert [line[0] for line in table[-2:]] == ["needed", "free"]
    assert len({len(line) for line in table}) == 1
    assert plan.needed == sum(row.target + row.draft for row in plan.rows)
    assert plan.weights == 2 * planned_tensors(target.config, torch.float32, "none").total
    for change in ({"context": 500}, {"nodes": 60}, {"whole_card": True}):
        assert plan_memory(target, draft, **({"context": 400, "nodes": 28, "free": GB} | change)).needed > plan.needed
    one = plan_memory(target, target, context=400, nodes=28, free=GB)
    assert one.weights == plan.weights // 2
    assert "draft the same" in one.title
    unknown = plan_memory(target, draft, context=400, nodes=28, free=None)
    assert unknown.fits is None
    assert "is not known" in unknown.verdict
    longest = plan_memory(target, draft, context=10**6, nodes=28, free=GB)
    assert f"a context of {tiny.POSITIONS}" in longest.title


def test_slots_are_counted_as_the_cache_counts_them():
    config = config_of(TINYLLAMA)
    model = ToLoad("TinyLlama", config, torch.bfloat16)
    plan = plan_memory(model, model, context=1_000, nodes=28, free=GB)
    row = next(row for row in plan.rows if row.part.startswith("KV cache, 1,029"))
    assert row.target == 1_029 * 22 * 2 * 4 * 64 * 2


# ------------------------------------------------------------------------------------------------- what is free


@pytest.mark.parametrize(
    ("text", "size"), [("16GB", 16 * GB), ("15.5 GiB", int(15.5 * 2**30)), ("800m", 8 * 10**8), ("12", 12)]
)
def test_parse_memory(text, size):
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", ["", "much", "-4GB", "0", "16 TB", "1e9"])
def test_amounts_that_are_none(text):
    with pytest.raises(SettingsError, match="is no amount of memory"):
        parse_memory(text)


def test_free_memory_of_the_host_and_of_its_container(tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "CGROUP", tmp_path)
    monkeypatch.setattr(devices, "MEMINFO", tmp_path / "meminfo")
    (tmp_path / "meminfo").write_text("MemTotal:  9000 kB\nMemAvailable:    5000 kB\n")
    assert free_memory(CPU) == 5_000 * 1024
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 300000\n")
    assert free_memory(CPU) == 5_000 * 1024
    (tmp_path / "memory.max").write_text("2000000\n")
    assert free_memory(CPU) == 1_300_000
    (tmp_path / "memory.max").unlink()
    (tmp_path / "meminfo").unlink()
    monkeypatch.setattr(os, "sysconf", lambda name: 10)
    monkeypatch.setattr(devices, "MEMINFO", tmp_path)  # no file at all
    assert free_memory(CPU) is None


# -------------------------------------------------------------------------------------------------------- loading


def test_weights_that_do_not_fit_are_refused_before_they_are_read(tmp_path, monkeypatch):
    target, draft = tiny.save_pair(tmp_path)
    monkeypatch.setattr(loading, "read_model", lambda *_: pytest.fail("weights were read"))
    monkeypatch.setattr(loading, "free_memory", lambda device: 1_000)
    monkeypatch.setattr(loading, "room_for_weights", lambda device: 1_000)
    with pytest.raises(OutOfMemoryError, match=r"The weights alone take 0\.01 GB and cpu has 0\.01 GB free; "):
        loading.load_pair(str(target), str(draft), device="cpu")


def test_a_plan_that_cannot_be_made_keeps_no_model_from_being_loaded(tmp_path, monkeypatch, caplog):
    def fail(*_, **__):
        raise RuntimeError("an architecture that cannot be built without weights")

    monkeypatch.setattr(loading, "plan_memory", fail)
    target, draft = tiny.save_pair(tmp_path)
    assert loading.load_pair(str(target), str(draft), device="cpu").models.target.id == "target"
    assert "no memory plan" in caplog.text


def test_a_model_is_spread_only_if_it_does_not_fit_and_there_are_cards(monkeypatch):
    plan = plan_memory(to_load("a"), to_load("b"), context=100, nodes=28, free=GB)
    small = replace(plan, free=1_000)
    assert device_map.device_map(CPU, "none", small) == {}
    assert device_map.device_map(CPU, "nf4", small) == {"device_map": {"": "cpu"}}
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert device_map.device_map(CUDA, "none", small) == {"device_map": {"": CUDA}}
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(device_map, "free_memory", lambda device: (device.index + 1) * 1_000)
    assert device_map.device_map(CUDA, "none", plan) == {"device_map": {"": CUDA}}
    assert device_map.device_map(CUDA, "none", None) == {"device_map": {"": CUDA}}
    assert device_map.device_map(CUDA, "none", small) == {"device_map": "auto", "max_memory": {0: 900, 1: 1_800}}
    assert device_map.room_for_weights(CUDA) == 2_700


def test_layers_on_the_host_or_the_disk_are_refused():
    class Spread:
        hf_device_map = {"model.layers.0": 0, "model.layers.1": "disk"}  # noqa: RUF012

    with pytest.raises(OutOfMemoryError, match="does not fit on all cards together"):
        device_map.refuse_offloading(Spread, "it")
    Spread.hf_device_map = {"model.layers.0": 0, "model.layers.1": 1}
    device_map.refuse_offloading(Spread, "it")
    device_map.refuse_offloading(object(), "it")


# -------------------------------------------------------------------------------------------------------- command


def test_the_command_prints_table_and_verdict_and_needs_no_model(capsys, monkeypatch):
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_, **__: pytest.fail("the hub was asked"))
    common = ["plan", "--preset", "llama-2-7b", "--context", "4096", "--tree", "4,2,2", "--device-memory"]
    assert main([*common, "16GB", "--target-quantization", "int8"]) == 0
    printed = capsys.readouterr().out
    for words in ("quantized matrices", "KV cache", "28 nodes", "CUDA itself", "needed", "Fits: ", "of 16.00 GB."):
        assert words in printed
    assert "a context of 2,048" in printed  # the draft reads no more
    assert main([*common, "8GB"]) == 1
    assert "Does not fit: " in capsys.readouterr().out


def test_the_command_takes_a_folder_and_this_machine(tmp_path, capsys):
    target, draft = tiny.save_pair(tmp_path)
    (target / "model.safetensors").unlink()  # a config is enough
    assert main(["plan", "--target", str(target), "--draft", str(draft), "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("target target (float32); draft draft (float32)")
    assert "CUDA itself" not in printed


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--device-memory", "much"], "is no amount of memory"),
        (["--preset", "gpt-5"], "no preset 'gpt-5'"),
        (["--tree", "0"], "level without children"),
        (["--target", "./not/there/at/all"], "no hub id"),
    ],
)
def test_bad_options_of_the_command(options, sentence, capsys):
    assert main(["plan", *options]) == 2
    assert sentence in capsys.readouterr().err
