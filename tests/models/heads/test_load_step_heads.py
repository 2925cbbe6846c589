"""Step heads are found in folders and loaded beside their target."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from specviz.engine.session import Session
from specviz.errors import ModelError
from specviz.models.head_model import HeadModel
from specviz.models.loading import Pair, load_pair
from tests import head_files, tiny
from tests.head_cases import glm_config
from tests.pairs import make_settings


def save_target(folder: Path, model: Any) -> Path:
    model.save_pretrained(folder)
    tiny.make_tokenizer().save_pretrained(folder)
    return folder


def as_pickle(folder: Path, files: head_files.Files) -> Path:
    """The head as older ones lie on the hub: its weights as a pickle."""
    head_files.save_head(folder, files)
    (folder / "model.safetensors").unlink()
    torch.save(files[1], folder / "pytorch_model.bin")
    return folder


def drafts(pair: Pair) -> HeadModel:
    """The head of a pair that drafts."""
    session = Session(pair, make_settings(max_new_tokens=3), "the sea")
    list(session.run())
    assert session.trace.failed is None
    assert isinstance(pair.draft, HeadModel)
    return pair.draft


@pytest.mark.parametrize("save", [head_files.save_head, as_pickle])
def test_a_folder_with_a_head_is_a_draft(tmp_path: Path, save: Callable[..., Path]) -> None:
    target = save_target(tmp_path / "target", tiny.make_model("llama", layers=6))
    files = head_files.eagle3(tiny.make_config("llama", layers=6), columns=50, layout="safeailab")
    draft = save(tmp_path / "head", files)
    pair = load_pair(str(target), str(draft), device="cpu", dtype="float32", head_options={"norm_output": True})
    head = drafts(pair).info.head
    assert head is not None
    assert (head.format, head.reads, head.before_norm, head.vocabulary) == ("eagle3", (2, 3, 3), True, 50)
    assert head.by_hand == ("norm_output",)
    with pytest.raises(ModelError, match=r"draft head and no target|no safetensors weights"):
        load_pair(str(draft), str(draft), device="cpu")


def test_an_mtp_layer_drafts_for_the_target_in_whose_files_it_lies(tmp_path: Path) -> None:
    config = glm_config(tiny.VOCABULARY)
    folder = save_target(tmp_path / "glm", tiny.randomized(config, seed=5))
    weights = folder / "model.safetensors"
    save_file({**load_file(weights), **head_files.mtp(config)[1]}, weights, metadata={"format": "pt"})
    draft = drafts(load_pair(str(folder), str(folder), device="cpu", dtype="float32"))
    assert draft.info.head is not None
    assert (draft.info.head.format, draft.info.head.reads, draft.layers) == ("mtp", (2,), 1)
