"""A draft that reads its target's hidden states: fed what it should be, loaded as it was written, audited like any."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from safetensors.torch import save_file

from specviz.engine import Session
from specviz.errors import ModelError
from specviz.experiments.greedy import plain_greedy
from specviz.models.features import CONFIG_KEY, FILE, FeatureReader, plain_states, read_features
from specviz.models.loading import load_pair
from specviz.questions import Question
from specviz.runners import DraftRunner, Runner
from specviz.trace import Choice, Step
from specviz.whatif import through_models
from tests import tiny
from tests.pairs import TREES, greedy_settings, make_reading_pair, make_settings

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
    reader, draft = pair.draft.reader, pair.draft.model
    added = reader.of_text(plain_states(pair.target.model, torch.tensor([text]), reader.layers))[:-1]
    with torch.inference_mode():
        for token in [*path, None]:
            embeddings = draft.get_input_embeddings()(torch.tensor([text])) + added
            output = draft(inputs_embeds=embeddings, output_hidden_states=True, use_cache=False)
            if token is not None:
                text = [*text, token]
                added = torch.cat([added, reader.feed_back(output.hidden_states[-1][0, -1:])])
    return torch.softmax(output.logits[0, -1], -1)


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
    pair = session.pair
    with patch.object(FeatureReader, "read", lambda self, states: torch.zeros(len(states), tiny.HIDDEN)):
        other = Session(pair, session.settings, "the sea")
        first = other.step()
    rows = [step.tree.nodes[0].draft.processed for step in (session.steps[0], first)]
    assert rows[0] != rows[1]


def test_accepted_tokens_are_fed_again() -> None:
    session = run(driver="longest_path", max_new_tokens=40)
    for before, after in zip(session.steps, session.steps[1:], strict=False):
        draft = before.caches.draft
        assert draft.length_after == before.context
        fed = [slot.token for slot in after.caches.draft.appended if slot.role == "context"]
        assert tuple(fed) == before.committed[:-1]


def test_guesses_that_are_kept_are_caught() -> None:
    """The fault: a draft cache that keeps what was made of the draft's own guesses at the target's states."""
    with patch.object(DraftRunner, "keep", Runner.keep), patch.object(DraftRunner, "learn", _learn_the_last):
        session = run(driver="longest_path", max_new_tokens=40)
    assert worst_of_the_draft(session.steps) > 0.001


def _learn_the_last(self: DraftRunner, states: torch.Tensor, nodes: Sequence[int]) -> None:
    ran = [node for node in nodes if node in self.node_of.values()]
    self._added = self.model.reader.read(states[list(nodes)])[len(ran) - 1 :]


def test_states_of_the_wrong_place_are_caught() -> None:
    def shifted(self: FeatureReader, states: torch.Tensor | None) -> torch.Tensor:
        return torch.cat([torch.zeros(1, tiny.HIDDEN), torch.zeros(1, tiny.HIDDEN), self.read(states)[:-1]])

    honest = FeatureReader.of_text
    session = Session(make_reading_pair(), make_settings(audit=True), "the sea")
    with patch.object(FeatureReader, "of_text", shifted), patch("specviz.engine.audit") as audit:
        from specviz.audit import audit as real

        def audited(*arguments, **named):
            with patch.object(FeatureReader, "of_text", honest):
                return real(*arguments, **named)

        audit.side_effect = audited
        step = session.step()
    assert worst_of_the_draft([step]) > 0.001


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


# ------------------------------------------------------------------------------------------------------- loading


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    target, draft = tiny.save_pair(tmp_path)
    model = tiny.make_model("llama")
    reader = tiny.reader_for(model, model)
    save_file(reader.tensors(), draft / FILE)
    config = json.loads((draft / "config.json").read_text())
    (draft / "config.json").write_text(json.dumps(config | {CONFIG_KEY: list(reader.layers)}))
    return target, draft


def test_a_folder_with_maps_reads_its_target(folders: tuple[Path, Path]) -> None:
    pair = load_pair(*map(str, folders), device="cpu")
    assert pair.target.reader is None
    assert pair.draft.reader.layers == (1, 2)
    session = Session(pair, make_settings(audit=True), "the sea")
    list(session.run(3))
    assert worst_of_the_draft(session.steps) < AUDIT_TOLERANCE


def test_maps_for_another_target_are_one_sentence(folders: tuple[Path, Path], tmp_path: Path) -> None:
    other = tmp_path / "other"
    tiny.make_model("llama", layers=1).save_pretrained(other)
    tiny.make_tokenizer().save_pretrained(other)
    with pytest.raises(ModelError, match="another target"):
        load_pair(str(other), str(folders[1]), device="cpu")


def test_missing_maps_are_one_sentence(folders: tuple[Path, Path]) -> None:
    (folders[1] / FILE).unlink()
    with pytest.raises(ModelError, match="missing or broken"):
        load_pair(*map(str, folders), device="cpu")


def test_other_drafts_read_nothing(tmp_path: Path) -> None:
    config = tiny.make_config("llama")
    assert read_features(tmp_path, config, config, "draft") is None
