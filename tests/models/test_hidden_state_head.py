"""A draft that reads its target's hidden states: fed what it should be, loaded as it was written, audited like any."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoConfig

from specviz.bench.greedy import plain_greedy
from specviz.dice import Dice
from specviz.drafting import BUILDERS, Limits
from specviz.drafting.base import Draft
from specviz.engine.draft_runners import ModelDraftRunner
from specviz.engine.session import Session
from specviz.engine.whatif import through_models
from specviz.errors import ModelError, SettingsError
from specviz.models.hidden_state_head import CONFIG_KEY, FILE, HiddenStateHead, read_head
from specviz.models.loading import load_pair
from specviz.models.sources import Source
from specviz.models.target_states import plain_states
from specviz.trace.schema import Choice, Step
from specviz.trace.whatif_question import Question
from specviz.tree import Growth
from tests import tiny
from tests.pairs import TREES, greedy_settings, make_reading_pair, make_settings, pair_of

AUDIT_TOLERANCE = 1e-4
READING_TREES = [tree for tree in TREES if tree != "prompt lookup"]


def run(tree: str = "4,2,2", **fields: object) -> Session:
    session = Session(make_reading_pair(), make_settings(tree, audit=True, **fields), "the sea")
    list(session.run())
    return session


def worst_of_the_draft(steps: Sequence[Step]) -> float:
    return max(step.caches.draft.audit.worst() for step in steps)


def expected_row(session: Session, position: int, path: Sequence[int]) -> torch.Tensor:
    """The draft's distribution after the text of a step and the tokens of ``path``, computed without the engine."""
    pair, step = session.pair, session.steps[position]
    text = [*session.prompt_tokens, *(t for earlier in session.steps[:position] for t in earlier.committed)]
    assert len(text) == step.context
    head, draft = pair.draft.head, pair.draft.model
    with torch.inference_mode():
        features = head.text_features(plain_states(pair.target.model, torch.tensor([text]), head.layers))[-2]
        for token in [*path, None]:
            ids = torch.tensor([text])
            hidden = draft(ids, output_hidden_states=True, use_cache=False).hidden_states[-1][0, -1]
            own = head(features, draft.get_input_embeddings()(ids)[0, -1], hidden)
            if token is not None:
                text = [*text, token]
                features = head.predict(own)
        return torch.softmax(draft.get_output_embeddings()(own), -1)


@pytest.mark.parametrize("tree", READING_TREES)
def test_both_caches_equal_a_recompute_after_every_step(tree: str) -> None:
    session = run(tree)
    assert worst_of_the_draft(session.steps) < AUDIT_TOLERANCE
    assert max(step.caches.target.audit.worst() for step in session.steps) < AUDIT_TOLERANCE


def test_the_draft_is_fed_the_targets_states_and_below_the_root_its_own() -> None:
    session = run("4,2,2", driver="longest_path", max_new_tokens=40)
    accepted = checked = 0
    for position, step in enumerate(session.steps):
        accepted += len(step.committed) - 1
        for node in step.tree.nodes:
            if node.draft is None:
                continue
            path = [step.tree.nodes[n].token for n in step.tree.path(node.id)]
            row = expected_row(session, position, path)
            listed = torch.tensor(node.draft.processed.probs)
            assert torch.allclose(row[list(node.draft.processed.ids)], listed, atol=1e-5)
            checked += bool(path)
    assert accepted > 5, "where nothing is accepted, nothing is fed again"
    assert checked > 10


def test_reading_matters() -> None:
    """Else the tests here would pass for a draft that reads nothing."""
    session = run()
    with patch.object(HiddenStateHead, "features", lambda self, states: torch.zeros(len(states), self.w)):
        other = Session(session.pair, session.settings.model_copy(update={"audit": False}), "the sea")
        first = other.step()
    rows = [step.tree.nodes[0].draft.processed for step in (session.steps[0], first)]
    assert rows[0] != rows[1]


def test_states_of_the_wrong_place_are_caught() -> None:
    """The fault: after a step the head reads the target's states at the root, wherever the path ended."""
    learn = ModelDraftRunner.learn
    with patch.object(ModelDraftRunner, "learn", lambda self, states, _nodes: learn(self, states, [0])):
        session = run(driver="longest_path", max_new_tokens=40)
    assert any(len(step.committed) > 1 for step in session.steps)
    for step in session.steps:
        wrong = len(step.committed) > 1
        assert (step.caches.draft.audit.logits > 0.001) == wrong
        assert max(map(max, step.caches.draft.audit.keys), default=0.0) < AUDIT_TOLERANCE


def test_greedy_gives_the_tokens_of_plain_greedy_decoding() -> None:
    pair = make_reading_pair()
    session = Session(pair, greedy_settings("4,2,2"), "the sea")
    list(session.run())
    assert session.trace.output_tokens() == plain_greedy(pair, pair.encode("the sea", False), 24)[0]


@pytest.mark.parametrize("steps", [1, 3])
def test_a_resumed_run_goes_on_as_the_recorded_one(steps: int) -> None:
    whole = run(driver="longest_path")
    again = Session.resume(make_reading_pair(), whole.trace, steps=steps)
    list(again.run())
    assert again.trace.output_tokens() == whole.trace.output_tokens()
    assert worst_of_the_draft(again.steps[steps:]) < AUDIT_TOLERANCE


def test_what_if_drafts_the_recorded_tree_again() -> None:
    session = run()
    for position in (0, len(session.steps) - 1):
        answer = through_models(session.pair, session.trace, position, Question(verifier=Choice(name="rejection")))
        verdict = session.steps[position].verdicts["rejection"]
        assert answer.path == verdict.path
        assert answer.thresholds == pytest.approx(verdict.thresholds, rel=1e-4, abs=1e-5)
        assert answer.difference < 1e-5


def test_a_prompt_of_one_token() -> None:
    session = Session(make_reading_pair(), make_settings(audit=True), "a")
    session.step()
    assert worst_of_the_draft([session.step()]) < AUDIT_TOLERANCE


def test_a_full_context_leaves_nothing_to_find_fault_with() -> None:
    target = tiny.make_model("llama", max_position_embeddings=12)
    draft = tiny.perturbed(target)
    pair = pair_of(target, draft, head=tiny.head_for(target, draft))
    session = Session(pair, make_settings(audit=True, max_new_tokens=40), "the sea")
    list(session.run())
    assert session.end_reason == "context limit"
    assert worst_of_the_draft(session.steps) < AUDIT_TOLERANCE


def test_a_context_keeps_one_row_of_states() -> None:
    """Of a long one all of them are gigabytes, and the draft reads the last."""
    session = Session(make_reading_pair(), make_settings(), "the sea and the sky")
    with patch("specviz.models.language_model.PREFILL_CHUNK", 5):
        session._target_runner.prefill(session.tokens)
    expected = plain_states(session.pair.target.model, torch.tensor([session.tokens]), (1, 2))[-1:]
    assert session._target_runner.states.shape == expected.shape
    assert torch.allclose(session._target_runner.states, expected, atol=1e-4)
    assert session._target_runner.states.untyped_storage().nbytes() == expected.numel() * 4


def test_nobody_asks_the_target_for_states_that_no_draft_reads() -> None:
    session = Session(make_reading_pair(), make_settings("prompt lookup"), "the sea the sea")
    session.step()
    assert session._target_runner.states is None


def test_a_builder_may_ask_the_model_here_and_tabulate_there() -> None:
    """What the head made belongs to a node, not to a row."""

    def grow(growth: Growth, draft: Draft, options: object, dice: Dice, step: int, limits: Limits) -> None:
        if not step:  # a first step that never runs the draft, and where the last node is not the last one kept
            growth.add_rows([0], draft.tabulate([dict.fromkeys(range(60, 100), 1 / 40)]))
            for token in range(60, 100):
                growth.add(0, token)
            return
        growth.add_rows([0], draft.expand(growth, [0]))
        one, other = growth.add(0, 70), growth.add(0, 71)
        growth.add_rows([one], draft.tabulate([{72: 1.0}]))
        growth.add(one, 72)
        growth.add_rows([other], draft.expand(growth, [other]))
        below = growth.add(other, 73)
        growth.add_rows([below], draft.expand(growth, [below]))

    mixed = replace(BUILDERS["k_config"], name="mixed", grow=grow)
    settings = make_settings(Choice(name="mixed", options={"proposal": "top_k"}), max_new_tokens=9)
    with patch.dict(BUILDERS, {"mixed": mixed}):
        session = Session(make_reading_pair(), settings, "a")
        list(session.run())
    assert len(session.steps) > 1
    for position, step in enumerate(session.steps[1:], start=1):
        for node in (0, 2, 4):
            path = [step.tree.nodes[n].token for n in step.tree.path(node)]
            listed = step.tree.nodes[node].draft.processed
            row = expected_row(session, position, path)
            assert torch.allclose(row[list(listed.ids)], torch.tensor(listed.probs), atol=1e-5)


# ------------------------------------------------------------------------------------------------------- loading


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    target, draft = tiny.save_pair(tmp_path)
    model = tiny.make_model("llama")
    head = tiny.head_for(model, model)
    save_file(head.state_dict(), draft / FILE)
    config = json.loads((draft / "config.json").read_text())
    (draft / "config.json").write_text(json.dumps(config | {CONFIG_KEY: list(head.layers)}))
    return target, draft


def test_a_folder_with_maps_reads_its_target(folders: tuple[Path, Path]) -> None:
    pair = load_pair(*map(str, folders), device="cpu")
    assert pair.target.head is None
    assert pair.draft.head.layers == (1, 2)
    session = Session(pair, make_settings(audit=True), "the sea")
    list(session.run(3))
    assert worst_of_the_draft(session.steps) < AUDIT_TOLERANCE


def test_maps_for_another_target_are_one_sentence(folders: tuple[Path, Path], tmp_path: Path) -> None:
    other = tmp_path / "other"
    tiny.make_model("llama", layers=1).save_pretrained(other)
    tiny.make_tokenizer().save_pretrained(other)
    with patch("specviz.models.loading.read_model") as loading, pytest.raises(ModelError, match="another target"):
        load_pair(str(other), str(folders[1]), device="cpu")
    assert not loading.called, "gigabytes come last"


def test_missing_maps_are_one_sentence(folders: tuple[Path, Path]) -> None:
    (folders[1] / FILE).unlink()
    with pytest.raises(ModelError, match="missing or broken"):
        load_pair(*map(str, folders), device="cpu")


def test_other_drafts_read_nothing(tmp_path: Path) -> None:
    config = tiny.make_config("llama")
    assert read_head(Source("draft", str(tmp_path)), config, config) is None


def test_maps_are_found_in_the_hubs_cache(folders: tuple[Path, Path], tmp_path: Path) -> None:
    snapshot = tmp_path / "models--owner--name" / "snapshots" / ("0" * 40)
    snapshot.parent.mkdir(parents=True)
    folders[1].rename(snapshot)
    draft, target = (AutoConfig.from_pretrained(folder) for folder in (snapshot, folders[0]))
    with patch("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path)):
        head = read_head(Source("owner/name", "owner/name", revision="0" * 40), draft, target)
    assert head.layers == (1, 2)


def test_what_if_refuses_a_pair_whose_draft_reads_other_states() -> None:
    session = run()
    plain = pair_of(session.pair.target.model, session.pair.draft.model)
    assert plain.models.draft.id == session.pair.models.draft.id
    with pytest.raises(SettingsError, match="choose the recorded one under Settings"):
        through_models(plain, session.trace, 0, Question(verifier=Choice(name="rejection")))
