"""A head that train-draft wrote is a head for the package speculators, with the numbers that it has here."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from specviz.train.eagle3 import Eagle3Student
from specviz.train.eagle3_files import read_start
from specviz.train.student import EAGLE3_PLAN
from tests import tiny
from tests.oracles.implementations import SpeculatorsEagle3, speculators_eagle3
from tests.pairs import pair_of
from tests.step_scenario import Ours, furthest

pytestmark = pytest.mark.oracles


@pytest.mark.parametrize("form", ["eagle3", "eagle3.1"])
@torch.no_grad()
def test_speculators_reads_what_was_written(form: str, tmp_path: Path) -> None:
    target = tiny.make_model("llama", layers=3)
    plan = replace(EAGLE3_PLAN, format=form, layers=2, reads=(0, 1, 2), vocabulary=100, own_embeddings=True)
    written = Eagle3Student(pair_of(target, target), plan).write(tmp_path / "head")
    config = json.loads((written / "config.json").read_text())
    tensors = {
        name: x.float() if x.is_floating_point() else x for name, x in load_file(written / "model.safetensors").items()
    }
    model = speculators_eagle3(config, tensors)
    model.load_vocab_mappings(tensors["t2d"], tensors["d2t"])
    head = read_start(written, target.config).float()
    states, ids = torch.randn(9, 3 * tiny.HIDDEN, generator=torch.Generator().manual_seed(1)), torch.arange(5, 14)
    sees = torch.ones(9, 9, dtype=torch.bool).tril()
    rows = []
    for side in (Ours(head), SpeculatorsEagle3(model)):
        own = side.run(side.fuse(states), ids, range(9), sees)
        rows.append(side.logits(own))
        carry = side.recycle(own)[-1:]
        rows.append(side.logits(side.run(carry, ids[:1], [9], torch.ones(1, 10, dtype=torch.bool))))
    assert furthest(rows[0], rows[2]) < 1e-5
    assert furthest(rows[1], rows[3]) < 1e-5
    assert torch.equal(model.d2t + torch.arange(100), head.token_ids)
