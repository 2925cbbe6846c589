"""The pieces of ``bench --piece`` on the card, with models so small that no figure means anything."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from specviz.bench import pieces
from specviz.bench.pieces import PIECES, SMALL_TREES, measure_piece
from specviz.models.random_models import SIZES, ensure_models


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("pieces")
    ensure_models(made / "models-tiny", SIZES["tiny"], torch.device("cuda"))
    return made


@pytest.fixture
def measured(folder, monkeypatch):
    """A function that measures a piece on the smallest tree and a short context."""
    small = {name: replace(piece, trees=SMALL_TREES[:1], contexts=(40,)) for name, piece in PIECES.items()}
    monkeypatch.setattr(pieces, "PIECES", small)
    return lambda name: measure_piece(name, folder, "tiny", "cuda", "auto", 1, 1)


@pytest.mark.parametrize("name", ["steps-68m", "steps-2-layers", "memory", "growth"])
def test_a_piece_has_what_it_measures(name, measured):
    outcome = measured(name)
    assert outcome.values is not None, outcome.lines
    assert not outcome.failed, outcome.lines
    assert outcome.values["machine"]["target"]["device"] == "cuda:0"
    assert outcome.values["machine"]["target"]["dtype"] == "bfloat16"
    assert all(outcome.values[measure] for measure in PIECES[name].measures)


def test_where_nothing_can_profile_cuda_a_piece_fails_in_one_sentence(measured):
    outcome = measured("calls-68m")
    assert outcome.failed
    assert outcome.values is None
    assert "cannot profile CUDA" in outcome.lines[0]


def test_where_bitsandbytes_cannot_compute_a_piece_is_skipped(measured):
    if importlib.util.find_spec("bitsandbytes") is None:
        pytest.skip("bitsandbytes is not installed")
    outcome = measured("nf4")
    assert not outcome.failed
    assert outcome.values is None
    assert outcome.lines[0].startswith("skipped, because bitsandbytes cannot compute in nf4 on cuda here")
