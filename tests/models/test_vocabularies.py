"""Which tokenizers may share ids, and that a draft that misreads some leaves the output what it is."""

from __future__ import annotations

import dataclasses
import json

import pytest

from specviz.app.page_state import models_of
from specviz.app.server.limits import Limits
from specviz.bench.greedy import plain_greedy
from specviz.compare.jobs import Job, open_folder, read_plan
from specviz.compare.named import Named
from specviz.compare.prompts import Prompt
from specviz.compare.read import PLAN
from specviz.compare.replay import read_settings
from specviz.compare.spec import Comparison
from specviz.engine.session import Session
from specviz.errors import ModelError, SettingsError
from specviz.models import loading
from specviz.models.pair_spec import ModelChoice
from specviz.models.vocabularies import check_tokenizers
from specviz.trace.schema import MOST_RENAMED, Choice
from tests import pairs, tiny


def with_tokens(*tokens: str, special: bool = True):
    tokenizer = tiny.make_tokenizer()
    tokenizer.add_tokens(list(tokens), special_tokens=special)
    return tokenizer


def renamed_pair(tmp_path):
    target, draft = tiny.save_pair(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        path = draft / name
        path.write_text(path.read_text().replace("<|user|>", "<|im_user|>"))
    return str(target), str(draft)


def test_equal_vocabularies_differ_nowhere():
    assert check_tokenizers(tiny.make_tokenizer(), tiny.make_tokenizer(), "target", "draft") == ()


@pytest.mark.parametrize("special", [True, False])
def test_added_tokens_are_refused_with_what_they_risk_and_taken_when_asked_for(special):
    ours, theirs = with_tokens("<fim>", "<pad>", special=special), with_tokens("<think>", special=special)
    with pytest.raises(ModelError) as refusal:
        check_tokenizers(ours, theirs, "target", "draft")
    assert str(refusal.value) == (
        "The tokenizers of draft and target differ in 2 added tokens and no other (id 268: '<think>' and '<fim>', id "
        "269: none and '<pad>'); allow renamed tokens (--allow-renamed-tokens) to run them together all the same, at "
        "the risk that the draft misreads these and is accepted less often after them."
    )
    assert check_tokenizers(ours, theirs, "target", "draft", allow_renamed=True) == (268, 269)
    assert check_tokenizers(ours, theirs, "target", "draft", 269, allow_renamed=True) == (268,)


def test_an_ordinary_token_is_never_another(tmp_path):
    theirs = tiny.make_tokenizer()
    made = json.loads(theirs.backend_tokenizer.to_str())
    vocabulary = made["model"]["vocab"]
    vocabulary["in"], vocabulary["er"] = vocabulary["er"], vocabulary["in"]
    theirs.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_text(json.dumps(made))
    swapped = type(theirs).from_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"draft cannot draft for target: their tokenizers differ in 2 tokens"):
        check_tokenizers(tiny.make_tokenizer(), swapped, "target", "draft", allow_renamed=True)


def test_an_added_token_in_place_of_an_ordinary_one():
    """The first of 300 further ids: an ordinary token here, an added one there."""
    ours, theirs = with_tokens("a piece"), tiny.make_tokenizer()
    made = json.loads(theirs.backend_tokenizer.to_str())
    made["model"]["vocab"]["another"] = 268
    theirs = type(theirs)(tokenizer_object=type(theirs.backend_tokenizer).from_str(json.dumps(made)))
    with pytest.raises(ModelError, match="cannot draft for"):
        check_tokenizers(ours, theirs, "target", "draft", allow_renamed=True)


def test_at_most_so_many():
    names = [f"<{i}>" for i in range(MOST_RENAMED + 1)]
    assert len(check_tokenizers(with_tokens(*names[1:]), tiny.make_tokenizer(), "t", "d", allow_renamed=True)) == 256
    with pytest.raises(ModelError, match="cannot draft for"):
        check_tokenizers(with_tokens(*names), tiny.make_tokenizer(), "t", "d", allow_renamed=True)


def test_a_renamed_pair_is_recorded_as_one_and_writes_what_its_target_writes(tmp_path):
    target, draft = renamed_pair(tmp_path)
    with pytest.raises(ModelError, match=r"1 added token and no other \(id 1: '<\|im_user\|>' and '<\|user\|>'\)"):
        loading.load_pair(target, draft, device="cpu")
    pair = ModelChoice(target, draft, "cpu", allow_renamed_tokens=True).load()
    assert pair.models.renamed_tokens == (1,)
    session = Session(pair, pairs.greedy_settings("4,2,2", 12).model_copy(update={"chat": True}), "the sea")
    list(session.run())
    assert session.trace.output_tokens() == plain_greedy(pair, list(session.prompt_tokens), 12)[0]
    assert models_of(session.trace).allow_renamed_tokens
    assert not models_of(pairs.make_trace()).allow_renamed_tokens


def test_a_comparison_remembers_it(tmp_path):
    one = Named(label="rejection", choice=Choice(name="rejection"))
    comparison = Comparison(trees=(one,), verifiers=(one,), driver="rejection")
    choice = ModelChoice(allow_renamed_tokens=True)
    open_folder(tmp_path, Job(comparison, (Prompt("a", "text", "the sea"),), choice))
    assert read_settings(tmp_path)[1] == read_plan(tmp_path)[1] == choice
    plan = json.loads((tmp_path / PLAN).read_text())
    plan["pair"]["allow_renamed_tokens"] = "<b>"
    (tmp_path / PLAN).write_text(json.dumps(plan))
    with pytest.raises(SettingsError, match="no comparison of this version"):
        read_settings(tmp_path)


def test_a_public_page_does_not_offer_it():
    Limits(public=True).check_models(ModelChoice())
    with pytest.raises(SettingsError, match="public page allows no renamed tokens"):
        Limits(public=True).check_models(dataclasses.replace(ModelChoice(), allow_renamed_tokens=True))
