"""Files of heads that contradict themselves, or belong to another target: each is refused in one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from specviz.errors import ModelError, SettingsError
from specviz.models.heads import dflash, dspark, eagle1, eagle3, medusa, p_eagle
from specviz.models.heads.tensors import read_tensors
from specviz.models.planning import plan_pair
from tests import block_heads, head_files, tiny

TARGET = tiny.make_config("llama", layers=6)
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
EVERY = {
    "eagle3": (eagle3.FORMAT, head_files.eagle3(TARGET)),
    "safeailab": (eagle3.FORMAT, head_files.eagle3(TARGET, layout="safeailab")),
    "eagle1": (eagle1.FORMAT, head_files.eagle1(TARGET)),
    "p_eagle": (p_eagle.FORMAT, block_heads.p_eagle(TARGET, reads=(1, 2, 3))),
    "dflash": (dflash.FORMAT, block_heads.dflash(TARGET)),
    "dspark": (dspark.FORMAT, block_heads.dflash(TARGET, layout="deepspec", markov="vanilla", confidence=True)),
    "medusa": (medusa.FORMAT, block_heads.medusa(TARGET)),
}


def build(name: str, by_hand: dict[str, Any] | None = None, **config: Any) -> Any:
    format, (saved, tensors) = EVERY[name]
    return format.build(saved | config, tensors, TARGET, by_hand or {})


@pytest.mark.parametrize("name", EVERY)
def test_a_tensor_under_two_names_is_refused(name: str) -> None:
    format, (config, tensors) = EVERY[name]
    first = next(iter(tensors))
    other = f"medusa_head.{first}" if name == "medusa" else f"model.{first}"
    with pytest.raises(ModelError, match="twice, under two names"):
        format.build(config, {**tensors, other: 2 * tensors[first]}, TARGET, {})


def test_files_that_give_a_tensor_other_numbers_are_refused(tmp_path: Path) -> None:
    folder = head_files.save_head(tmp_path, head_files.eagle3(TARGET))
    weights = load_file(folder / "model.safetensors")
    save_file({"norm.weight": weights["norm.weight"]}, folder / "same.safetensors")
    assert read_tensors(folder).keys() == weights.keys()
    save_file({"norm.weight": 2 * weights["norm.weight"]}, folder / "same.safetensors")
    with pytest.raises(ModelError, match=r"'norm\.weight' in two of its files"):
        read_tensors(folder)


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_a_pointer_of_git_lfs_is_named(tmp_path: Path, file: str) -> None:
    (tmp_path / file).write_text(POINTER)
    with pytest.raises(ModelError, match="only a pointer of git-lfs in place of"):
        read_tensors(tmp_path)


@pytest.mark.parametrize("kind", ["linear", "yarn", "llama3"])
@pytest.mark.parametrize("name", ["safeailab", "eagle1", "dflash"])
def test_rotary_scaling_without_its_numbers_is_refused(name: str, kind: str) -> None:
    with pytest.raises(ModelError, match="rope_factor = None where a number above 0 should be"):
        build(name, rope_scaling={"rope_type": kind})
    with pytest.raises((ModelError, SettingsError), match="rope_factor"):
        build(name, {"rope_type": kind})


@pytest.mark.parametrize("name", ["dflash", "dspark"])
def test_a_block_head_for_a_target_of_other_depth_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match=r"another number of layers \(12, and this target has 6\)"):
        build(name, num_target_layers=12)


def test_a_head_of_twice_the_hidden_size_is_not_one_that_reads_more_states() -> None:
    config, tensors = head_files.eagle3(tiny.make_config("llama", layers=6, hidden_size=2 * tiny.HIDDEN))
    with pytest.raises(ModelError, match=r"another hidden size \(64, and this target has 32\)"):
        eagle3.FORMAT.build(json.loads(json.dumps(config)), tensors, TARGET, {})


@pytest.mark.parametrize("name", ["eagle3", "safeailab", "medusa"])
def test_a_head_in_a_folder_is_planned_as_it_is_loaded(tmp_path: Path, name: str) -> None:
    target = tmp_path / "target"
    TARGET.save_pretrained(target)
    format, files = EVERY[name]
    draft = head_files.save_head(tmp_path / "head", files)
    made = format.build(*files, TARGET, {})
    plan = plan_pair(str(target), str(draft), device=torch.device("cpu"), dtype="float32")
    size = sum(one.nbytes for one in made.parameters())
    assert size <= {row.part: row.draft for row in plan.rows}["other weights"] <= size + 10_000
    with pytest.raises(SettingsError, match="a draft head, which is not quantized"):
        plan_pair(str(target), str(draft), device=torch.device("cpu"), draft_quantization="int8")
