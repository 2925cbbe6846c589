"""Training of EAGLE-3 heads: what a step sees, the start, resumption and the files, on small random models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from specviz.models.heads import eagle3
from specviz.models.kv_cache import SlotCache
from specviz.models.loading import Pair
from specviz.train import chats
from specviz.train import train as distill
from specviz.train.chats import write_shard
from specviz.train.eagle3 import Eagle3Student
from specviz.train.eagle3_files import read_start
from specviz.train.student import EAGLE3_PLAN, TrainingPlan
from specviz.train.train import train
from tests import tiny
from tests.pairs import pair_of

PLAN = replace(EAGLE3_PLAN, batches=6, chats=3, warmup=2, rate=3e-3, reads=(0, 1), vocabulary=100)
NOTHING: Any = lambda progress: None  # noqa: E731


@pytest.fixture(scope="module")
def pair() -> Pair:
    """A target, which stands in for its draft."""
    target = tiny.make_model("llama", layers=3)
    return pair_of(target, target, (tiny.END_ID,))


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory, pair: Pair) -> Path:
    folder = tmp_path_factory.mktemp("chats")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chats, "BATCH", 4)
        patch.setattr(chats, "REPLY_TOKENS", 12)
        patch.setattr(chats, "TOP", 16)
        for number in (0, 1):
            write_shard(pair, folder, number)
    return folder


@pytest.fixture
def folder(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(distill, "SAVE_EVERY", 2)
    for path in shards.glob("chats-*.npz"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def started(pair: Pair, folder: Path, plan: TrainingPlan = PLAN) -> tuple[Eagle3Student, list[Any]]:
    student = Eagle3Student(pair, plan)
    examples = student.read(folder)
    student.begin(examples)
    student.prepare(examples)
    return student, examples


def read(folder: Path, pair: Pair) -> eagle3.Eagle3Head:
    return read_start(folder, pair.target.model.config)


@pytest.mark.parametrize("form", ["eagle3", "eagle3.1"])
def test_every_step_sees_what_a_draft_sees(folder: Path, pair: Pair, form: str) -> None:
    """Each row of the training's steps is what a chain in the head's own cache gives, drafted from that row's root."""
    student, examples = started(pair, folder, replace(PLAN, format=form, layers=2))
    head, chat = student.head, examples[0].chat
    tokens = torch.tensor(np.concatenate([chat.prompt, chat.reply]).tolist())
    states = torch.tensor(examples[0].states[:, : 2 * tiny.HIDDEN].astype(np.float32))
    with torch.no_grad():
        steps = list(student.unroll(examples[0]))
        assert [len(own) for own, _ in steps] == [len(chat.reply)] * 3
        for step, (own, replies) in enumerate(steps):
            for row in (0, len(own) - 1):
                root = len(chat.prompt) + int(replies[row]) - 2 - step
                cache = SlotCache(head.layers, 64)
                carry = head.fuse(states[: root + 1])
                for further in range(step + 1):
                    first = 0 if further == 0 else root + further
                    places = torch.arange(first, root + further + 1)
                    slots = root + further + 1
                    mask = torch.full((len(places), slots), -1e30).triu(1) if further == 0 else torch.zeros(1, slots)
                    given = head(carry, tokens[places + 1], places + 1, mask[None, None], cache)
                    carry = head.recycle(given[-1:])
                assert torch.allclose(given[-1], own[row], atol=1e-4), (step, row)


def test_a_training_that_was_killed_ends_as_one_that_was_not(folder: Path, pair: Pair) -> None:
    def kill_at_four(progress: distill.Progress) -> None:
        if progress.batch == 4:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train(pair, folder, PLAN, kill_at_four)
    resumed = load_file(train(pair, folder, PLAN, NOTHING) / "model.safetensors")
    for path in (folder / "training-eagle3").iterdir():
        path.unlink()
    undisturbed = load_file(train(pair, folder, PLAN, NOTHING) / "model.safetensors")
    assert resumed.keys() == undisturbed.keys() > {"d2t", "t2d", "lm_head.weight"}
    assert all(torch.equal(resumed[name], undisturbed[name]) for name in resumed)
