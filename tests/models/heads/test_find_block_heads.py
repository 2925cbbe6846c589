"""Folders with block heads are found and loaded beside their target."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from specviz.errors import ModelError
from specviz.models.head_model import HeadModel
from specviz.models.heads.tensors import read_tensors
from specviz.models.loading import load_pair
from tests import block_heads, tiny
from tests.head_files import save_head
from tests.heads import BLOCK, files_of


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "target"
    tiny.make_model("llama").save_pretrained(folder)
    tiny.make_tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", BLOCK)
def test_a_folder_with_a_block_head_is_loaded_as_a_draft(kind: str, target: Path, tmp_path: Path) -> None:
    format, files = kind.split(",")[0], files_of(kind, tiny.make_config("llama"))[1]
    pair = load_pair(str(target), str(save_head(tmp_path / "head", files)))
    assert isinstance(pair.draft, HeadModel)
    info = pair.draft.info.head
    assert info is not None
    assert (info.format, info.kind) == (format, "block")
    assert info.depth == (4 if format == "dspark" else 3)
    assert info.vocabulary == BLOCK[kind][2].get("columns")
    assert pair.draft.info.parameters == sum(one.numel() for one in pair.draft.head.parameters())


def test_medusas_heads_in_a_pickle_and_in_the_files_of_their_target(target: Path, tmp_path: Path) -> None:
    config, tensors = block_heads.medusa(tiny.make_config("llama"))
    alone = tmp_path / "alone"
    save_head(alone, (config, {}))
    (alone / "model.safetensors").unlink()
    torch.save(tensors, alone / "medusa_lm_head.pt")
    pair = load_pair(str(target), str(alone))
    whole = tmp_path / "whole"
    tiny.make_tokenizer().save_pretrained(whole)
    model = tiny.make_model("llama")
    save_head(
        whole,
        (
            model.config.to_dict() | {"medusa_num_heads": 3, "medusa_num_layers": 1},
            model.state_dict() | {f"medusa_head.{name}": tensor for name, tensor in tensors.items()},
        ),
    )
    both = load_pair(str(whole), str(whole))
    assert isinstance(pair.draft, HeadModel)
    assert isinstance(both.draft, HeadModel)
    assert pair.draft.info.weights == both.draft.info.weights
    assert both.target.info.parameters == pair.target.info.parameters
    assert set(read_tensors(alone)) == set(tensors)


def test_a_head_is_no_target(tmp_path: Path) -> None:
    head = str(save_head(tmp_path, block_heads.dflash(tiny.make_config("llama"))))
    with pytest.raises(ModelError, match="is a draft head and no target"):
        load_pair(head, head)
