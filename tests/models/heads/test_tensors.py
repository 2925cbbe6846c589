"""Files of tensors that a stranger made: what is no plain list of tensors is refused, and nothing in it is run."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from specviz.errors import ModelError
from specviz.models.heads.tensors import read_tensors

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1, 2])}


def save(folder: Path, value: Any) -> Path:
    torch.save(value, folder / "pytorch_model.bin")
    return folder


def test_a_pickle_of_plain_tensors_is_read(tmp_path: Path) -> None:
    read = read_tensors(save(tmp_path, {**TENSORS, "c": torch.nn.Parameter(torch.ones(2))}))
    assert torch.equal(read["a"], TENSORS["a"])
    assert torch.equal(read["b"], TENSORS["b"])
    assert type(read["c"]) is torch.Tensor


def test_a_pickle_that_would_run_something_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "was run"),)

    with pytest.raises(ModelError, match="run as a program"):
        read_tensors(save(tmp_path, {"a": Evil()}))
    assert not (tmp_path / "was run").exists()


@pytest.mark.parametrize(
    "value",
    [
        [torch.ones(2)],
        {"a": 3},
        {1: torch.ones(2)},
        {"a": torch.ones(1).expand(1 << 30)},  # as large as its shape says only when somebody copies it
        {"a": torch.ones(4, 4).T},
        {"a": torch.ones(3).to_sparse()},
        {"a": torch.empty(1 << 40, device="meta")},
    ],
    ids=["list", "number", "key", "expanded", "transposed", "sparse", "meta"],
)
def test_what_is_no_dict_of_dense_tensors_is_refused(tmp_path: Path, value: Any) -> None:
    with pytest.raises(ModelError, match=r"no dict of tensors|no plain tensor|run as a program"):
        read_tensors(save(tmp_path, value))


def test_a_compressed_pickle_is_refused(tmp_path: Path) -> None:
    """A few kilobytes of it could hold gigabytes."""
    save(tmp_path, TENSORS)
    path = tmp_path / "pytorch_model.bin"
    with zipfile.ZipFile(path) as packed:
        parts = {name: packed.read(name) for name in packed.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in parts.items():
            packed.writestr(name, data)
    with pytest.raises(ModelError, match="compressed"):
        read_tensors(tmp_path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no weights"):
        read_tensors(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps(TENSORS))
    with pytest.raises(ModelError, match=r"torch\.save"):
        read_tensors(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(ModelError, match=r"broken model\.safetensors"):
        read_tensors(tmp_path)
