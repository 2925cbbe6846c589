"""Prompts that end in an end token: said with what to do, and a run begins there only if it is asked to."""

from __future__ import annotations

import dataclasses
import json

import pytest
from tokenizers import processors

from specviz.app.server.limits import Limits
from specviz.app.server.session_start import new_session
from specviz.cli import parse
from specviz.compare.jobs import Job, open_folder, refuse_ended_prompts
from specviz.compare.named import Named
from specviz.compare.prompts import Prompt
from specviz.compare.read import PLAN
from specviz.compare.spec import Comparison
from specviz.engine.cli import record_arguments
from specviz.engine.session import Session
from specviz.errors import SettingsError
from specviz.models.loading import Pair
from specviz.models.pair_spec import ModelChoice
from specviz.models.prompt_ends import without_added_end
from specviz.trace.schema import Choice, Settings
from tests import pairs, tiny
from tests.tokenizer_kinds import KINDS

USER, ASSISTANT = 1, 2


def ending_tokenizer(template: str = f"$A {tiny.END}", **tokens: str):
    """The tests' tokenizer, ending every text with its end token."""
    tokenizer = tiny.make_tokenizer()
    known = [(token, i) for i, token in enumerate(tiny.SPECIAL)]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=known)
    for name, token in tokens.items():
        setattr(tokenizer, name, token)
    return tokenizer


def pair_with(tokenizer, end_tokens: tuple[int, ...] = (tiny.END_ID,)) -> Pair:
    return dataclasses.replace(pairs.make_pair(), tokenizer=tokenizer, eos_ids=frozenset(end_tokens))


def test_an_end_that_the_tokenizer_adds_is_refused_left_out_or_kept():
    pair = pair_with(ending_tokenizer())
    plain = tiny.make_tokenizer()("the sea")["input_ids"]
    with pytest.raises(SettingsError) as refusal:
        pair.encode("the sea", chat=False)
    assert str(refusal.value) == (
        "The tokenizer adds '<|end|>', which ends a text, to the prompt, so a run would begin after the end; set the "
        "prompt end token (--prompt-end-token) to drop, which leaves it out, or to keep, which begins there."
    )
    assert pair.encode("the sea", False, "drop") == plain
    assert pair.encode("the sea", False, "keep") == [*plain, tiny.END_ID]


def test_an_end_that_the_prompt_writes_is_said_to_be_the_prompts():
    pair = pair_with(tiny.make_tokenizer())
    with pytest.raises(SettingsError, match=r"^The prompt ends in '<\|end\|>', which ends a text, so a run would"):
        pair.encode("the sea<|end|>", chat=False)
    assert pair.tokenizer.decode(pair.encode("the sea<|end|>", False, "drop")) == "the sea"
    assert pair.tokenizer.decode(pair.encode("the sea<|end|>", False, "keep")) == "the sea<|end|>"
    assert pair.tokenizer.decode(pair.encode("a<|end|> b", chat=False)) == "a<|end|> b"
    both = pair_with(ending_tokenizer())
    assert both.tokenizer.decode(both.encode("the sea<|end|>", False, "drop")) == "the sea"


def test_any_of_the_models_end_tokens_counts_and_no_other():
    pair = pair_with(ending_tokenizer("$A <|user|>"), (tiny.END_ID, USER))
    with pytest.raises(SettingsError, match=r"adds '<\|user\|>'"):
        pair.encode("the sea", chat=False)
    pair = pair_with(ending_tokenizer("$A <|assistant|>"))  # begins an answer
    assert pair.encode("the sea", chat=False)[-1] == ASSISTANT


def test_a_separator_that_ends_every_text_counts_whatever_the_config_calls_the_end():
    pair = pair_with(ending_tokenizer("$A <|user|>", sep_token="<|user|>"))
    with pytest.raises(SettingsError, match=r"adds '<\|user\|>'"):
        pair.encode("the sea", chat=False)
    assert pair.encode("the sea", False, "drop")[-1] != USER
    written = pair_with(ending_tokenizer("$A", sep_token="<|user|>"))
    assert written.encode("the sea<|user|>", chat=False)[-1] == USER


def test_the_token_that_starts_a_text_may_end_one_too():
    """GPT-2 has one token for both: alone it is where a text starts."""
    assert pair_with(tiny.make_tokenizer()).encode("", chat=False) == [tiny.END_ID]
    assert pair_with(ending_tokenizer()).encode("", chat=False) == [tiny.END_ID]
    around = pair_with(ending_tokenizer(f"{tiny.END} $A {tiny.END}"))
    assert around.tokenizer.decode(around.encode("the", False, "drop")) == "<|end|>the"
    assert around.encode("", False, "drop") == [tiny.END_ID]


def test_what_a_chat_template_writes_is_the_models_own_format():
    """DialoGPT's template ends a turn with the end token, and the answer begins there."""
    tokenizer = ending_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}<|end|>{% endfor %}"
    assert tokenizer.decode(pair_with(tokenizer).encode("the sea", chat=True)) == "the sea<|end|>"


def test_texts_in_the_sentence_have_no_spaces_of_their_own():
    tokenizer = KINDS["WordPiece"]()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    pair = pairs.pair_of(tiny.make_model("llama"), tiny.make_model("llama"), (1,), tokenizer=tokenizer)
    with pytest.raises(SettingsError, match="adds '</s>', which"):
        pair.encode("the sea", chat=False)


def test_the_setting_reaches_every_run():
    pair = pair_with(ending_tokenizer())
    for session in (Session, lambda *given: new_session(Limits(), *given)):
        with pytest.raises(SettingsError, match="adds"):
            session(pair, Settings(), "the sea")
        kept = session(pair, Settings(prompt_end_token="keep"), "the sea")
        assert kept.prompt_tokens[-1] == tiny.END_ID
        assert kept.trace.settings.prompt_end_token == "keep"
        assert session(pair, Settings(prompt_end_token="drop"), "the sea").prompt_tokens == kept.prompt_tokens[:-1]


def test_the_command_line_sets_it():
    assert record_arguments(parse(["record", "--prompt", "x"]))["prompt_end_token"] == "refuse"
    given = parse(["record", "--prompt", "x", "--prompt-end-token", "drop"])
    assert record_arguments(given)["prompt_end_token"] == "drop"


def test_a_comparison_says_it_before_its_first_run():
    one = Named(label="rejection", choice=Choice(name="rejection"))
    tree = Named(label="2", choice=Choice(name="k_config", options={"tree": "2"}))
    comparison = Comparison(trees=(tree,), verifiers=(one,), driver="rejection", chat=False)
    prompts = (Prompt("a", "text", "the sea"),)
    pair = pair_with(ending_tokenizer())
    with pytest.raises(SettingsError, match="The tokenizer adds"):
        refuse_ended_prompts(pair, comparison, prompts)
    for wanted in ("keep", "drop"):
        refuse_ended_prompts(pair, comparison.model_copy(update={"prompt_end_token": wanted}), prompts)
    refuse_ended_prompts(pair_with(tiny.make_tokenizer()), comparison, prompts)


def test_a_comparison_that_an_earlier_version_began_goes_on(tmp_path):
    one = Named(label="rejection", choice=Choice(name="rejection"))
    comparison = Comparison(trees=(one,), verifiers=(one,), driver="rejection")
    job = Job(comparison, (Prompt("a", "text", "the sea"),), ModelChoice())
    open_folder(tmp_path, job)
    plan = json.loads((tmp_path / PLAN).read_text())
    del plan["comparison"]["prompt_end_token"]
    (tmp_path / PLAN).write_text(json.dumps(plan))
    open_folder(tmp_path, job)
    with pytest.raises(SettingsError, match="another comparison"):
        open_folder(tmp_path, dataclasses.replace(job, comparison=comparison.model_copy(update={"seed": 1})))


def test_only_what_the_tokenizer_added_is_taken_from_a_harness_text():
    tokenizer = ending_tokenizer()
    ids = tokenizer("the sea<|end|>")["input_ids"]
    left = without_added_end(tokenizer, "the sea<|end|>", ids, {tiny.END_ID}, "drop")
    assert tokenizer.decode(left) == "the sea<|end|>"
    assert without_added_end(tokenizer, "the sea<|end|>", ids, {tiny.END_ID}, "keep") == ids
    with pytest.raises(SettingsError, match="The tokenizer adds"):
        without_added_end(tokenizer, "the sea", tokenizer("the sea")["input_ids"], {tiny.END_ID}, "refuse")
    plain = tiny.make_tokenizer()
    typed = plain("the sea<|end|>")["input_ids"]
    assert without_added_end(plain, "the sea<|end|>", typed, {tiny.END_ID}, "refuse") == typed
