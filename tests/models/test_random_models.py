"""Random models of real shapes, and the same in small."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from specviz.errors import SettingsError
from specviz.models.loading import load_pair
from specviz.models.random_models import SIZES, ensure_models, random_model

CPU = torch.device("cpu")


def test_shapes_are_those_of_the_models_they_stand_for() -> None:
    size = SIZES["7b"]
    with torch.device("meta"):
        models = {name: random_model(shape, size) for name, shape in size.shapes.items()}
    parameters = {name: sum(part.numel() for part in model.parameters()) for name, model in models.items()}
    assert parameters["target"] == 6_738_415_616  # Llama 2 7B
    assert parameters["68m"] == 68_030_208  # llama-68m
    assert {model.dtype for model in models.values()} == {torch.bfloat16}
    assert size.drafts["2-layers"].layers == 2
    assert size.drafts.keys() == SIZES["tiny"].drafts.keys()


def test_they_load_as_anybodys_do_and_are_made_once(tmp_path: Path) -> None:
    models = ensure_models(tmp_path / "models", SIZES["tiny"], CPU)
    pair = load_pair(str(models / "target"), str(models / "2-layers"), device="cpu")
    assert pair.draft.head is not None
    assert pair.models.draft.reads == SIZES["tiny"].drafts["2-layers"].reads
    assert len(pair.tokenizer) == pair.target.vocabulary == SIZES["tiny"].vocabulary
    text = "snails & séances"
    assert "".join(pair.token_text(token).text for token in pair.encode(text, False)[:3]) == text[:3]
    written = {path: path.stat().st_mtime_ns for path in models.rglob("*")}
    ensure_models(models, SIZES["tiny"], CPU)
    assert {path: path.stat().st_mtime_ns for path in models.rglob("*")} == written
    half = tmp_path / "again" / "68m.part"  # as an interrupt leaves it
    half.mkdir(parents=True)
    (half / "config.json").write_text("{")
    again = ensure_models(half.parent, SIZES["tiny"], CPU)
    assert not half.exists()
    assert (again / "target/model.safetensors").read_bytes() == (models / "target/model.safetensors").read_bytes()


def test_models_that_cannot_be_written_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="No models can be written"):
        ensure_models(tmp_path / "file", SIZES["tiny"], CPU)
