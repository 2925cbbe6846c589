"""The draft's training: its data, its start, its resumption and its files, on small random models."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from specviz.cli import main
from specviz.engine.session import Session
from specviz.errors import ModelError
from specviz.models.loading import Pair
from specviz.models.plain_heads import plain_head_rows
from specviz.models.target_states import plain_states
from specviz.trace.schema import Choice
from specviz.train import chats, draft_files, head
from specviz.train import train as distill
from specviz.train.chats import Chat, read_chats, read_states, write_shard, write_states
from specviz.train.draft_files import write_draft
from specviz.train.head import HeadStudent
from specviz.train.layers import grown
from specviz.train.quality import measure, overlaps, shares_by_rank, summed
from specviz.train.several import several_table
from specviz.train.student import TrainingPlan
from specviz.train.train import frequent_tokens, train
from tests import heads, tiny
from tests.pairs import make_pair, make_settings, make_trace, pair_of

PLAN = TrainingPlan(layers=3, batches=6, chats=3, warmup=2, rate=3e-3)


@pytest.fixture(scope="module")
def pair() -> Pair:
    return make_pair("llama", scale=1.0, end_tokens=(tiny.END_ID,))


@pytest.fixture
def folder(tmp_path: Path, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(chats, "BATCH", 4)
    monkeypatch.setattr(chats, "REPLY_TOKENS", 12)
    monkeypatch.setattr(chats, "TOP", 16)
    monkeypatch.setattr(distill, "SAVE_EVERY", 2)
    for number in (0, 1):
        write_shard(pair, tmp_path, number)
    return tmp_path


class Killed(Exception):
    pass


def weights(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        found |= load_file(path)
    return found


def test_chats_hold_what_the_target_thought(folder: Path, pair: Pair) -> None:
    for chat in read_chats(folder):
        ids = torch.tensor([np.concatenate([chat.prompt, chat.reply])[:-1].tolist()])
        with torch.inference_mode():
            rows = torch.softmax(pair.target.model(ids).logits[0, len(chat.prompt) - 1 :], -1).numpy()
        assert len(rows) == len(chat.reply)
        assert np.allclose(np.take_along_axis(rows, chat.ids.astype(np.int64), 1), chat.probs, atol=2e-3)
        assert not set(chat.reply[:-1].tolist()) & pair.eos_ids


def test_a_shard_is_written_once_and_follows_from_its_number(folder: Path, pair: Pair, tmp_path: Path) -> None:
    assert write_shard(pair, folder, 0) == 0
    again = tmp_path / "again"
    assert write_shard(pair, again, 0) > 0
    one, two = next(read_chats(folder)), next(read_chats(again))
    assert one.reply.tolist() == two.reply.tolist()


def test_held_out_prompts_share_no_topic_with_the_others() -> None:
    assert not set(chats.TOPICS) & set(chats.HELD_OUT_TOPICS)
    assert not set(chats.prompts(False)) & set(chats.prompts(True))


def test_no_chats_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no chats"):
        list(read_chats(tmp_path))


def test_new_layers_change_nothing_at_first(pair: Pair) -> None:
    model = grown(pair, 3).eval()
    ids = torch.tensor([[5, 9, 31, 7]])
    with torch.inference_mode():
        assert torch.allclose(model(ids).logits, pair.draft.model(ids).logits, atol=1e-5)
    assert model.config.num_hidden_layers == 3
    with pytest.raises(ModelError, match="2 layers already"):
        grown(pair, 1)


@pytest.mark.parametrize("reads", [(), (1, 2)])
def test_training_moves_the_draft_towards_the_target(folder: Path, pair: Pair, reads: tuple[int, ...]) -> None:
    plan = TrainingPlan(layers=2, batches=30, chats=6, warmup=3, rate=3e-3, reads=reads, width=16)
    seen: list[distill.Progress] = []
    train(pair, folder, plan, seen.append)
    assert [one.batch for one in seen] == list(range(2, 31, 2))
    assert seen[-1].overlap > seen[0].overlap + 0.05


@pytest.mark.parametrize("reads", [(), (1, 2)])
def test_a_training_that_was_killed_ends_as_one_that_was_not(folder: Path, pair: Pair, reads: tuple[int, ...]) -> None:
    plan = replace(PLAN, reads=reads, width=16)

    def kill_at_four(progress: distill.Progress) -> None:
        if progress.batch == 4:
            raise Killed

    with pytest.raises(Killed):
        train(pair, folder, plan, kill_at_four)
    seen: list[distill.Progress] = []
    resumed = weights(train(pair, folder, plan, seen.append))
    assert [one.batch for one in seen] == [6]
    for path in (folder / "training").iterdir():
        path.unlink()
    undisturbed = weights(train(pair, folder, plan, seen.append))
    assert ("skip.weight" in resumed) == bool(reads)
    assert resumed.keys() == undisturbed.keys()
    assert all(torch.equal(resumed[name], undisturbed[name]) for name in resumed)


def test_states_are_kept_as_the_target_has_them(folder: Path, pair: Pair) -> None:
    assert write_states(pair, folder, (1, 2)) == 2
    assert write_states(pair, folder, (1, 2)) == 0
    kept = list(read_states(folder, (1, 2)))
    assert [chat.reply.tolist() for chat, _ in kept] == [chat.reply.tolist() for chat in read_chats(folder)]
    for chat, rows in kept:
        ids = torch.tensor([np.concatenate([chat.prompt, chat.reply]).tolist()])
        with torch.inference_mode():
            expected = pair.target.model(ids, output_hidden_states=True).hidden_states
        assert np.allclose(rows, torch.cat([expected[1][0], expected[2][0]], -1), atol=2e-2)


def test_chats_that_come_while_states_are_kept_wait_for_the_next_time(
    folder: Path, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile(*arguments: object) -> int:
        written = write_states(*arguments)
        write_shard(pair, folder, 2)
        return written

    monkeypatch.setattr(head, "write_states", meanwhile)
    student = HeadStudent(pair, replace(PLAN, reads=(1, 2)))
    assert len(student.read(folder)) == 8
    assert len(student.read(folder)) == 12


def test_a_head_needs_no_layers_to_be_added(folder: Path, pair: Pair) -> None:
    """--layers is about a training of layers; its default is fewer than most drafts have."""
    written = train(pair, folder, replace(PLAN, layers=1, batches=1, reads=(1, 2), width=16), lambda progress: None)
    assert json.loads((written / "config.json").read_text())["num_hidden_layers"] == 2


def test_a_head_is_trained_on_what_it_will_be_fed(folder: Path, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the chats with the target's states of one place before, half with the head's own predictions of them."""
    monkeypatch.setattr(head, "DROPOUT", 0.0)
    plan = replace(PLAN, layers=2, reads=(1, 2))
    student = HeadStudent(pair, plan)
    student.head = tiny.head_for(pair.target.model, pair.draft.model)
    examples = student.read(folder)[:2]
    got = student.hidden(examples, torch.Generator())
    first = 0
    for row, example in enumerate(examples):
        chat = example.chat
        ids = torch.tensor([np.concatenate([chat.prompt, chat.reply])[:-1].tolist()])
        with torch.inference_mode():
            hidden = pair.draft.model(ids, output_hidden_states=True).hidden_states[-1][0]
            embeddings = pair.draft.model.get_input_embeddings()(ids[0])
            features = student.head.text_features(plain_states(pair.target.model, ids, (1, 2)))[:-1]
            if row == 1:
                own = student.head(features, embeddings, hidden)
                features = torch.cat([features[:1], student.head.predict(own[:-1])])
            expected = student.head(features, embeddings, hidden)[len(chat.prompt) - 1 :]
        assert torch.allclose(got[first : first + len(expected)], expected, atol=2e-2)
        first += len(expected)
    assert first == len(got)


def test_a_head_begins_as_a_fit_and_goes_on_from_one_that_is_there(folder: Path, pair: Pair) -> None:
    plan = replace(PLAN, layers=2, reads=(1, 2))
    draft = tiny.perturbed(pair.target.model)
    draft.lm_head.load_state_dict(pair.target.model.lm_head.state_dict())
    student = HeadStudent(pair_of(pair.target.model, draft), plan)
    examples = student.read(folder)
    student.begin(examples)
    assert not student.head.outer.weight.any()
    error = variance = 0.0
    for example in examples:
        features, embeddings, hidden, _ = student._inputs([example])
        last = torch.from_numpy(example.states[1:-1, -tiny.HIDDEN :].astype(np.float32))
        with torch.no_grad():
            error += float((student.head(features, embeddings, hidden)[0, 1:] - last).square().sum())
        variance += float((last - last.mean(0)).square().sum())
    assert error < 0.8 * variance
    reading = pair_of(pair.target.model, pair.draft.model, head=tiny.head_for(pair.target.model, pair.draft.model))
    again = HeadStudent(reading, replace(plan, width=16))
    again.begin(examples)
    assert torch.equal(again.head.skip.weight, reading.draft.head.skip.weight)


@pytest.mark.parametrize("reads", [(1, 2), (1,)])
def test_a_head_begins_as_the_draft_where_the_targets_last_state_says_nothing(
    folder: Path, pair: Pair, reads: tuple[int, ...]
) -> None:
    """Because the draft has an output head of its own, or because that state is not read."""
    draft = tiny.perturbed(pair.target.model)
    if reads == (1,):
        draft.lm_head.load_state_dict(pair.target.model.lm_head.state_dict())
    student = HeadStudent(pair_of(pair.target.model, draft), replace(PLAN, reads=reads))
    examples = student.read(folder)
    student.begin(examples)
    features, embeddings, hidden, _ = student._inputs(examples[:1])
    assert torch.equal(student.head(features, embeddings, hidden), hidden)


def test_another_plan_does_not_go_on_with_a_training(folder: Path, pair: Pair) -> None:
    train(pair, folder, PLAN, lambda progress: None)
    with pytest.raises(ModelError, match="another plan"):
        train(pair, folder, TrainingPlan(layers=2), lambda progress: None)


def test_layers_are_written_in_small_files(tmp_path: Path, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    model = grown(pair, 3)
    monkeypatch.setattr(draft_files, "LARGEST_FILE", 40_000)
    folder = write_draft(model, tmp_path / "draft")
    files = sorted(folder.glob("layers-*.safetensors"))
    assert len(files) > 1
    assert all(path.stat().st_size < 42_000 for path in files)
    assert not any("embed_tokens" in name or "lm_head" in name for name in weights(folder))
    assert json.loads((folder / "config.json").read_text())["num_hidden_layers"] == 3
    state = model.state_dict()
    assert all(torch.equal(tensor, state[name].half()) for name, tensor in weights(folder).items())


def test_the_likeliest_tokens_are_the_frequent_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distill, "FREQUENT", 2)
    chat = Chat(np.array([1]), np.array([2]), np.array([[4, 7, 2]]), np.array([[0.2, 0.5, 0.3]]))
    assert frequent_tokens([chat], 10).tolist() == [2, 7]


def test_a_model_overlaps_with_itself_wholly(folder: Path, pair: Pair) -> None:
    found = summed(overlaps(pair.target, pair.target, list(read_chats(folder))))
    assert found.mean == pytest.approx(1.0, abs=1e-5)
    assert found.same_top == 1.0
    assert found.places == sum(len(chat.reply) for chat in read_chats(folder))


def test_shares_by_rank_are_of_all_that_were_looked_at() -> None:
    steps = make_trace(tree="4,2,2", max_new_tokens=60).steps
    looked = accepted_second = 0
    for step in steps:
        for decision in step.verdicts["rejection"].decisions:
            rank = step.tree.nodes[decision.node].rank
            looked += rank == 0
            accepted_second += rank == 1 and decision.outcome == "accepted"
    shares = shares_by_rank(steps)
    assert shares[1] == pytest.approx(accepted_second / looked)
    assert 0 < sum(shares) <= 1


def test_measuring_reports_what_the_runs_did(folder: Path, pair: Pair) -> None:
    said: list[str] = []
    quality = measure(pair, folder, shards=1, runs=1, new_tokens=8, say=said.append)
    assert quality.overlap.chats == 4
    assert quality.efficiency["chain of 4"]["rejection"] >= 1
    assert f"{quality.overlap.mean:.3f}" in quality.table()
    assert any("held-out" in line for line in said)


def test_the_commands_train_and_measure(
    folder: Path, pair: Pair, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("specviz.models.loading.load_pair", lambda *_, **__: pair)
    where = ["--folder", str(folder)]
    assert main(["train-draft", *where, "--shards", "2", "--batches", "2", "--layers", "2"]) == 0
    assert str(folder / "draft") in capsys.readouterr().out
    assert main(["train-draft", *where, "--batches", "2", "--reads", "1,9"]) == 2
    assert "hidden states 0 to 2" in capsys.readouterr().err
    assert main(["measure-draft", *where, "--runs", "1", "--max-new-tokens", "4"]) == 0
    assert "mean sum(min(p, q))" in capsys.readouterr().out
    assert main(["measure-draft", *where, "--runs", "0"]) == 2
    assert "must be positive" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["step", "block", "reread", "layerless"])
def test_a_heads_rows_over_a_text_are_those_that_a_session_drafts_from(kind: str) -> None:
    """At each place as at the root of a step there: the first level of trees that a run drew, on its own text."""
    pair = heads.pair_with(kind, subset=40)
    settings = make_settings("chain", max_new_tokens=12, verifiers=(Choice(name="rejection"),), record_top_k=60)
    session = Session(pair, settings, "the sea is")
    list(session.run())
    trace = session.trace
    text = [*trace.prompt_tokens, *trace.output_tokens()]
    first = len(trace.prompt_tokens) - 1
    with torch.inference_mode():
        rows = torch.softmax(plain_head_rows(pair.target, pair.draft, text)[first - 1 :], -1)
    assert torch.allclose(rows.sum(-1), torch.ones(len(rows)), atol=1e-5)
    seen = 0
    for step in trace.steps:
        root = step.tree.nodes[0].draft
        if root is None or root.processed is None:
            continue
        own = rows[step.context - 1 - first]
        for id, prob in zip(root.processed.ids, root.processed.probs, strict=True):
            assert float(own[id]) == pytest.approx(prob, abs=1e-5)
            seen += 1
    assert seen > 40


def test_several_drafts_stand_in_one_table_with_tested_differences(folder: Path, pair: Pair) -> None:
    weak = pair_of(pair.target.model, tiny.perturbed(pair.target.model, scale=2.0), (tiny.END_ID,))
    options = {"shards": 1, "runs": 2, "new_tokens": 4, "say": lambda _: None}
    measured = {"near": measure(pair, folder, **options), "weak": measure(weak, folder, **options)}
    measured["again"] = measured["near"]
    text = several_table(measured)
    for label, quality in measured.items():
        assert re.search(rf"^{label} +{quality.overlap.mean:.3f} \[", text, flags=re.M)
        assert sum(n for n, _ in quality.by_prompt["4,2,2"]["rejection"]) / sum(
            s for _, s in quality.by_prompt["4,2,2"]["rejection"]
        ) == pytest.approx(quality.efficiency["4,2,2"]["rejection"])
    assert re.search(r"^near - again +\+0\.000 \[\+0\.000, \+0\.000\]  1\.0000", text, flags=re.M)
    difference = measured["near"].overlap.mean - measured["weak"].overlap.mean
    assert re.search(rf"^near - weak +{re.escape(f'{difference:+.3f}')} \[", text, flags=re.M)
