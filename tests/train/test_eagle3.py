"""Training of EAGLE-3 heads: what a step sees, the start, resumption and the files, on small random models."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from specviz.cli import main
from specviz.engine.session import Session
from specviz.errors import ModelError, SettingsError
from specviz.models.head_model import HeadModel
from specviz.models.kv_cache import SlotCache
from specviz.models.loading import Pair, load_pair
from specviz.train import chats
from specviz.train import train as distill
from specviz.train.chats import write_shard
from specviz.train.eagle3 import Eagle3Student
from specviz.train.eagle3_files import read_start
from specviz.train.student import EAGLE3_PLAN, TrainingPlan
from specviz.train.train import train
from tests import tiny
from tests.pairs import make_reading_pair, make_settings, pair_of

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


@pytest.mark.parametrize("form", ["eagle3", "eagle3.1"])
def test_a_written_head_loads_as_a_draft_and_runs(
    folder: Path, pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """Its numbers come back in half precision, whatever the loader makes of names, offsets and layers."""
    pair.target.model.save_pretrained(tmp_path / "target")
    tiny.make_tokenizer().save_pretrained(tmp_path / "target")
    plan = replace(PLAN, format=form, batches=2, own_embeddings=form == "eagle3")
    kept: list[Eagle3Student] = []
    monkeypatch.setattr(distill, "Eagle3Student", lambda *given: kept.append(Eagle3Student(*given)) or kept[0])
    written = train(pair, folder, plan, NOTHING)
    loaded = load_pair(str(tmp_path / "target"), str(written), dtype="float32")
    assert isinstance(loaded.draft, HeadModel)
    assert loaded.draft.info.head == kept[0].head.info
    theirs, ours = loaded.draft.head.state_dict(), kept[0].head.state_dict()
    assert theirs.keys() - ours.keys() == ({"embed_tokens.weight"} if form == "eagle3" else set())
    assert all(torch.allclose(theirs[name], ours[name], rtol=1e-3, atol=1e-5) for name in ours)
    assert torch.equal(loaded.draft.token_ids, kept[0].head.token_ids)
    session = Session(loaded, make_settings("4,2,2", max_new_tokens=4), "the sea")
    steps = list(session.run())
    assert {node.token for step in steps for node in step.tree.nodes[1:]} <= {*loaded.draft.token_ids.tolist()}


def test_a_head_is_trained_towards_the_target_from_where_it_starts(folder: Path, pair: Pair) -> None:
    """The start foresees more than random layers do, and more batches more than the start."""
    seen: list[distill.Progress] = []
    train(pair, folder, replace(PLAN, batches=8, chats=4, warmup=2), seen.append)
    student, examples = started(pair, folder)
    fitted = student.backward(examples, torch.Generator(), 0)[1]
    torch.nn.init.normal_(student.head.fc.weight, std=0.2)
    assert fitted > student.backward(examples, torch.Generator(), 0)[1] + 0.05
    assert seen[-1].overlap > seen[0].overlap + 0.05


@pytest.mark.parametrize(("family", "kind"), [("qwen3", "qwen3"), ("gpt2", "llama")])
def test_a_target_of_any_family_gets_a_head(folder: Path, family: str, kind: str) -> None:
    """Of layers of its own kind where those are known, and as Llama's else."""
    target = tiny.make_model(family)
    written = train(pair_of(target, target), folder, replace(PLAN, batches=1, layers=2), NOTHING)
    head = read_start(written, target.config)
    assert (head.config.model_type, head.layers, head.info.reads) == (kind, 2, (0, 1))


def test_a_training_starts_from_another_head(folder: Path, pair: Pair) -> None:
    """With its layers, its layers to read and its vocabulary, whatever the plan says."""
    written = train(pair, folder, replace(PLAN, format="eagle3.1", layers=2, batches=1, vocabulary=50), NOTHING)
    first = read_start(written, pair.target.model.config)
    again, examples = started(pair, folder, replace(PLAN, start=str(written), reads=()))
    assert again.head.info == first.info
    assert torch.equal(again.head.token_ids, first.token_ids)
    state = first.state_dict()
    assert all(torch.equal(tensor, state[name].float()) for name, tensor in again.head.state_dict().items())
    assert again.backward(examples[:2], torch.Generator(), 0)[0] > 0
    (written / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (written / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="no weights"):
        Eagle3Student(pair, replace(PLAN, start=str(written)))
    with pytest.raises(ModelError, match=r"config\.json"):
        Eagle3Student(pair, replace(PLAN, start=str(folder / "nowhere")))


def test_the_vocabulary_is_what_the_target_finds_likeliest(folder: Path, pair: Pair) -> None:
    student, examples = started(pair, folder, replace(PLAN, vocabulary=20))
    mass = np.zeros(pair.target.vocabulary)
    for example in examples:
        np.add.at(mass, example.chat.ids.ravel(), example.chat.probs.ravel().astype(float))
    assert {*student.head.token_ids.tolist()} == {*np.argsort(-mass, kind="stable")[:20].tolist()}
    whole, _ = started(pair, folder, replace(PLAN, vocabulary=10**6))
    assert whole.head.token_ids is None
    assert whole.head.lm_head.weight.shape[0] == pair.target.vocabulary


def test_layers_that_cannot_be_read_are_refused(pair: Pair) -> None:
    with pytest.raises(SettingsError, match="choose --reads below it"):
        Eagle3Student(pair, replace(PLAN, reads=(1, pair.target.layers)))
    with pytest.raises(SettingsError, match="needs --reads"):
        Eagle3Student(pair, replace(PLAN, reads=()))


def test_the_command_trains_a_head(
    folder: Path, pair: Pair, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr("specviz.models.loading.load_pair", lambda **given: asked.append(given) or pair)
    command = ["train-draft", "--folder", str(folder), "--shards", "2", "--batches", "1", "--target", "there"]
    assert main([*command, "--format", "eagle3.1", "--reads", "0,1", "--draft-vocabulary", "64"]) == 0
    assert asked[0]["target"] == asked[0]["draft"] == "there"
    assert str(folder / "draft-eagle3.1") in capsys.readouterr().out
    config = json.loads((folder / "draft-eagle3.1" / "config.json").read_text())
    assert config["draft_vocab_size"] == 64
    assert main([*command, "--steps", "2"]) == 2
    assert "add --format eagle3" in capsys.readouterr().err
    assert main([*command, "--format", "eagle3", "--start", "here", "--layers", "2"]) == 2
    assert "leave out --layers" in capsys.readouterr().err
    assert main([*command, "--format", "eagle3", "--steps", "0"]) == 2
    assert "must be positive" in capsys.readouterr().err
    for path in folder.glob("chats-*"):
        path.unlink()
    assert main([*command, "--format", "eagle3", "--start", str(folder / "nowhere")]) == 2
    assert "to start from" in capsys.readouterr().err
    assert not [*folder.glob("chats-*")]
    monkeypatch.setattr("specviz.models.loading.load_pair", lambda **_: make_reading_pair())
    assert main([*command, "--format", "eagle3"]) == 2
    assert "needs --reads" in capsys.readouterr().err  # what the built-in draft's head reads is not asked
