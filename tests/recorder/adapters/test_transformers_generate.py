"""Assisted generation of transformers, attached: the same text, every step of it, and what the checks say."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LogitsProcessorList, StoppingCriteriaList
from transformers.generation import utils
from transformers.generation.logits_process import (
    MinLengthLogitsProcessor,
    MinNewTokensLengthLogitsProcessor,
    NoBadWordsLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SuppressTokensLogitsProcessor,
)
from transformers.generation.stopping_criteria import StopStringCriteria

import specviz
from specviz.figures.frames import step_frame
from specviz.models.processors import About, OutputPenalty, named_processors
from specviz.recorder.audit import Finding, NotRun, audit
from specviz.recorder.recording import read_recordings
from specviz.trace.processors import parse_processors
from specviz.trace.schema import Sampling
from specviz.trace.stop_strings import Completed, completed_by
from tests import attached

TOKENS = 12
FOUND = {
    ("Gemma 4 assistant", True): {"draft_calibration"},
    ("another tokenizer, by tokens", True): {"draft_calibration"},
}
"""What is wrong in transformers 5.24, see docs/attach.md."""


def failing(trace: specviz.Trace, case: attached.Case) -> set[str]:
    found = [one for one in audit(trace, case.target, case.draft) if isinstance(one, Finding)]
    return {one.check for one in found if one.weight != "note"}


@pytest.mark.parametrize(
    ("mode", "asked"),
    [(mode, asked) for mode in attached.MODES for asked in attached.kinds(mode)],
    ids=lambda value: value if isinstance(value, str) else "sampled" if value["do_sample"] else "greedy",
)
def test_every_mode_writes_the_same_text_and_its_checks_hold(mode: str, asked: dict[str, Any]) -> None:
    case, sampled = attached.case(mode), asked["do_sample"]
    wrong = FOUND.get((mode, sampled), set())
    tokens = 20 if wrong else TOKENS
    plain = case.generate(max_new_tokens=tokens, **asked)
    state = torch.get_rng_state()
    text, trace = attached.recorded(case, max_new_tokens=tokens, **asked)
    assert text == plain
    assert torch.equal(torch.get_rng_state(), state)
    assert [*trace.prompt_tokens, *trace.output_tokens()] == text
    assert trace.end_reason == "max_new_tokens"
    assert failing(trace, case) == wrong
    assert trace.engine is not None
    drawn = "naive" if mode.endswith("prompt lookup") else "rejection"
    assert trace.engine.rule == (drawn if sampled else "greedy")
    assert trace.engine.lossless is not (sampled and mode == "Gemma 4 assistant")
    coins = [one.uniform for step in trace.steps for one in step.verdicts["transformers"].decisions]
    assert any(coin is not None for coin in coins) == (sampled and drawn == "rejection")


def test_of_an_encoder_decoder_model_the_decoder_is_recorded() -> None:
    case = attached.case("encoder-decoder, assistant model")
    _, trace = attached.recorded(case, max_new_tokens=TOKENS, **attached.SAMPLED)
    assert trace.engine is not None
    assert trace.engine.options["encoder"] == "10 places, of what is not recorded"
    assert trace.prompt_tokens == (2,)
    assert [step.caches.target.length_before for step in trace.steps if step.caches.target] == [
        step.context - 1 for step in trace.steps
    ]
    lacking = {one.check: one.lacked for one in audit(trace, case.target) if isinstance(one, NotRun)}
    assert "encoder" in lacking["target_rows"]


def test_rows_are_recorded_as_processors_left_them() -> None:
    case = attached.case("assistant model")
    asked = {"do_sample": True, "temperature": 1.5, "top_k": 5, "max_new_tokens": TOKENS}
    torch.manual_seed(0)
    with specviz.attach(case.target) as recorder:
        out = case.target.generate(
            case.prompt, **case.asked, **asked, return_dict_in_generate=True, output_scores=True, output_logits=True
        )
    trace = recorder.trace()
    assert trace.engine is not None
    assert trace.engine.target == Sampling(temperature=1.5, top_k=5)
    rows = []
    for step in trace.steps:
        walk = (0, *step.verdicts["transformers"].path)[: len(step.committed)]
        rows += [step.tree.nodes[node].target for node in walk]
    assert len(rows) == len(out.scores) == TOKENS
    for row, scores, logits in zip(rows, out.scores, out.logits, strict=True):
        assert row is not None
        assert row.processed is not None
        assert row.raw is not None
        for listed, whole in ((row.processed, scores), (row.raw, logits)):
            assert list(listed.probs) == pytest.approx(whole.softmax(-1)[0, list(listed.ids)].tolist(), rel=1e-4)


def test_processors_that_sampling_has_no_word_for_are_named() -> None:
    """And nothing is claimed of the others beside them."""
    case = attached.case("prompt lookup")
    _, trace = attached.recorded(case, max_new_tokens=4, do_sample=True, repetition_penalty=1.25, bad_words_ids=[[3]])
    assert trace.engine is not None
    assert (trace.engine.target, trace.engine.processors) == (None, None)
    assert "RepetitionPenaltyLogitsProcessor(penalty=1.25), NoBadWords" in str(trace.engine.options["processors"])
    assert lacking(trace)["processing"] == "what makes the target's rows of its logits (sampling=)"
    assert "processors" not in {one.check for one in audit(trace)}
    with specviz.attach(case.target, sampling=1.0, processors="repetition_penalty:penalty=1.25") as recorder:
        case.generate(max_new_tokens=4, do_sample=True, repetition_penalty=1.25, bad_words_ids=[[3]], top_k=0)
    # Which leaves out that token 3 is banned.
    assert failing(recorder.trace(), case) == {"processors"}
    assert recorder.trace().engine.processors == parse_processors("repetition_penalty:penalty=1.25")


def lacking(trace: specviz.Trace) -> dict[str, str]:
    return {one.check: one.lacked for one in audit(trace) if isinstance(one, NotRun)}


ALL = {"repetition_penalty": 1.5, "no_repeat_ngram_size": 2, "suppress_tokens": [3, 4], "min_new_tokens": 2}
ALL |= {"sequence_bias": [[[5, 17], 2.5], [[9], -1.0]], "eos_token_id": 1}


@pytest.mark.parametrize(
    ("asked", "sampling", "late"),
    [
        ({"do_sample": True, "top_k": 20, "temperature": 0.8, "min_p": 0.02}, {"temperature": 0.8, "top_k": 20}, True),
        ({"do_sample": False}, None, False),
    ],
    ids=["sampled", "greedy"],
)
def test_processors_that_have_names_are_stated_and_every_row_is_checked(
    asked: dict[str, Any], sampling: dict[str, Any] | None, late: bool
) -> None:
    case = attached.case("assistant model")
    plain = case.generate(max_new_tokens=TOKENS, **ALL, **asked)
    text, trace = attached.recorded(case, max_new_tokens=TOKENS, **ALL, **asked)
    assert text == plain
    assert trace.engine is not None
    assert trace.engine.target == (Sampling(**sampling) if sampling else None)
    said = "logit_bias:bias=5+17:2.5 9:-1.0; repetition_penalty:penalty=1.5; no_repeat_ngram:size=2; "
    said += "min_new_tokens:count=2; suppress_tokens:tokens=3 4" + ("; min_p:min_p=0.02" if late else "")
    assert trace.engine.processors == parse_processors(said, draft=True)
    assert failing(trace, case) == set()
    found = {one.check: one for one in audit(trace, case.target) if isinstance(one, Finding)}
    rows = sum(len(step.tree.nodes) for step in trace.steps)
    assert found["processors"].sentence == f"{rows} comparisons in {len(trace.steps)} steps, none failed."


def test_what_generate_would_do_by_a_text_with_padding_is_stated_where_it_is_the_same() -> None:
    """The penalty leaves padding out, n-grams count it."""
    case = attached.case("prompt lookup")
    padded = torch.cat((torch.zeros(1, 3, dtype=torch.long), case.prompt), -1)
    asked = {"max_new_tokens": 4, "attention_mask": (padded > 0).long(), "do_sample": False}
    runs = []
    for more in ({"repetition_penalty": 1.5, "min_new_tokens": 2, "eos_token_id": 1}, {"no_repeat_ngram_size": 2}):
        with specviz.attach(case.target) as recorder:
            case.target.generate(padded, **case.asked, **asked, **more)
        runs.append(recorder.trace())
        assert failing(runs[-1], case) == set()
    assert runs[0].engine.processors == parse_processors("repetition_penalty:penalty=1.5; min_new_tokens:count=2")
    assert runs[1].engine.processors is None


@pytest.mark.parametrize(
    ("processor", "stated"),
    [
        (OutputPenalty(8, presence=0.5), "presence_penalty:penalty=0.5"),
        (OutputPenalty(8, frequency=0.5), "frequency_penalty:penalty=0.5"),
        (OutputPenalty(7, presence=0.5), ""),
        (OutputPenalty(8, presence=0.5, frequency=0.5), ""),
        (RepetitionPenaltyLogitsProcessor(1.5, prompt_ignore_length=2), ""),
        (NoRepeatNGramLogitsProcessor(17), ""),
        (MinLengthLogitsProcessor(11, 1), "min_new_tokens:count=3"),
        (MinLengthLogitsProcessor(5, 1), "min_new_tokens:count=0"),
        (MinNewTokensLengthLogitsProcessor(8, 3, 9), ""),  # of another end token than the text has
        (NoBadWordsLogitsProcessor([[3]]), ""),  # made of one that has a name
        (lambda text, scores: scores, ""),
    ],
)
def test_which_processors_have_names(processor: Any, stated: str) -> None:
    about = About(prompt=8, end_tokens=frozenset({1}), vocabulary=64, device="cpu")
    assert named_processors([processor], about) == parse_processors(stated)
    ours = RepetitionPenaltyLogitsProcessor(1.2)
    both = f"repetition_penalty:penalty=1.2; {stated}" if stated else ""
    assert named_processors([ours, processor], about) == parse_processors(both)
    assert named_processors([SuppressTokensLogitsProcessor([3]), ours], about) is None  # another order than ours


LETTERS = (string.ascii_letters + string.digits + ".")[: attached.VOCABULARY - 1]


def test_a_stop_string_ends_a_run_and_is_said_where_it_lies() -> None:
    case, tokenizer = attached.case("prompt lookup"), attached.characters(LETTERS)
    free = case.generate(max_new_tokens=8, **attached.SAMPLED)
    begun = len(case.prompt[0])
    stop = "".join(LETTERS[token - 1] for token in free[begun + 4 : begun + 6])
    asked = {"max_new_tokens": 8, "stop_strings": ["..", stop], "tokenizer": tokenizer, **attached.SAMPLED}
    plain = case.generate(**asked)
    text, trace = attached.recorded(case, **asked)
    assert text == plain == free[: begun + 6]
    assert trace.end_reason == "stop string"
    assert trace.engine is not None
    assert trace.engine.stop == ("..", stop)
    last = len(trace.steps) - 1
    assert completed_by(trace, last) == Completed(stop, tokens=2, before=0, after=0)
    assert step_frame(trace, last)["textEnd"] == {"said": f"stop string “{stop}” over 2 tokens", "thrown": []}
    assert [step_frame(trace, position)["textEnd"] for position in range(last)] == [None] * last
    assert failing(trace, case) == set()


def test_a_stop_string_that_generate_overlooks_within_a_step_is_found() -> None:
    """transformers 5.24 looks at the end of each step alone."""
    case, tokenizer = attached.case("assistant model"), attached.characters(LETTERS)
    asked = {"max_new_tokens": TOKENS, **attached.SAMPLED}
    _, free = attached.recorded(case, **asked)
    within = next(step for step in free.steps if len(step.committed) > 2)

    def run(tokens: tuple[int, ...], **options: Any) -> specviz.Trace:
        stops = StopStringCriteria(tokenizer, ["".join(LETTERS[token - 1] for token in tokens)])
        with specviz.attach(case.target, **options) as recorder:
            case.generate(stopping_criteria=StoppingCriteriaList([stops]), **asked)
        return recorder.trace()

    at_the_end = run(within.committed[-2:], tokenizer=tokenizer)
    assert (at_the_end.end_reason, len(at_the_end.steps)) == ("stop string", within.index + 1)
    assert failing(at_the_end, case) == set()
    inside = run(within.committed[:2], tokenizer=tokenizer)
    assert (inside.end_reason, len(inside.steps)) == ("max_new_tokens", len(free.steps))
    (found,) = [one for one in audit(inside) if one.check == "text_end" and isinstance(one, Finding)]
    more = len(within.committed) - 2
    said = f"Step {within.index + 1}: the text goes on after its stop string"
    assert found.sentence.startswith(said)
    assert found.sentence.endswith(f"token {within.committed[1]} completes, with {more} more token{'s' * (more > 1)}.")
    unread = run(within.committed[:2])
    assert lacking(unread)["text_end"] == "the texts of all tokens, to look for stop strings in (decode)"


def test_an_ensemble_does_not_count_as_lossless() -> None:
    case = attached.case("assistant model")
    plain = case.generate(max_new_tokens=TOKENS, assistant_ensemble_weight=0.5, **attached.SAMPLED)
    text, trace = attached.recorded(case, max_new_tokens=TOKENS, assistant_ensemble_weight=0.5, **attached.SAMPLED)
    assert text == plain
    assert trace.engine is not None
    assert (trace.engine.rule, trace.engine.lossless) == ("ensemble", False)


def test_a_text_that_ends_within_drafted_tokens_at_an_end_of_sequence() -> None:
    """The path goes on in the step, the text does not."""
    case = attached.case("assistant model")
    text, whole = attached.recorded(case, max_new_tokens=TOKENS, **attached.GREEDY)
    drafted = [token for step in whole.steps for token in step.committed[:-1]]
    end = next(token for token in drafted if text.index(token) >= len(whole.prompt_tokens))
    text, trace = attached.recorded(case, max_new_tokens=TOKENS, eos_token_id=end, **attached.GREEDY)
    assert text[-1] == end
    assert (trace.end_reason, trace.end_tokens) == ("end of sequence", (end,))
    assert len(trace.steps[-1].committed) < len(trace.steps[-1].emitted())
    assert failing(trace, case) == set()


@pytest.mark.parametrize("mode", ["DFlash", "prompt lookup"])
def test_a_text_that_ends_within_drafted_tokens_at_its_full_length(mode: str) -> None:
    """Of two tokens that may come at all, many are proposed rightly. Of prompt lookup the draws are not seen."""
    case = attached.case(mode)
    asked = {"suppress_tokens": [*range(2, attached.VOCABULARY)], **attached.SAMPLED}
    _, whole = attached.recorded(case, max_new_tokens=TOKENS, **asked)
    before = 0
    for step in whole.steps:
        if len(step.verdicts["transformers"].path) > 1:
            break
        before += len(step.committed)
    text, trace = attached.recorded(case, max_new_tokens=before + 2, **asked)
    assert text == [*whole.prompt_tokens, *whole.output_tokens()][: len(text)]
    last = trace.steps[-1]
    assert len(last.committed) == 2
    assert len(last.verdicts["transformers"].path) >= 2
    assert (last.verdicts["transformers"].bonus is None) == (mode == "prompt lookup")
    assert failing(trace, case) == set()


def test_each_call_is_a_request_of_its_own(tmp_path: Path) -> None:
    case = attached.case("prompt lookup")
    with specviz.attach(case.target, tmp_path / "run.jsonl"):
        texts = [case.generate(seed, max_new_tokens=6, **attached.SAMPLED) for seed in (1, 2)]
    runs = read_recordings(tmp_path / "run.jsonl")
    assert {name: [*run.prompt_tokens, *run.output_tokens()] for name, run in runs.items()} == {
        "1": texts[0],
        "2": texts[1],
    }


def test_hooks_are_undone_and_a_step_that_raises_is_recorded() -> None:
    case = attached.case("assistant model")
    before = {**vars(case.target)}
    decides = utils._speculative_sampling
    calls = []

    def raising(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        calls.append(ids.shape)
        if len(calls) > 20:
            raise ZeroDivisionError("of the processor")
        return scores

    asked = {"max_new_tokens": TOKENS, "logits_processor": LogitsProcessorList([raising]), **attached.SAMPLED}
    with pytest.raises(ZeroDivisionError), specviz.attach(case.target) as recorder:
        case.generate(**asked)
    trace = recorder.trace()
    assert trace.steps
    assert trace.failed is not None
    assert (trace.end_reason, trace.end_message) == ("error", "ZeroDivisionError: of the processor")
    assert vars(case.target).keys() == before.keys()
    assert not case.target._forward_hooks
    assert utils._speculative_sampling is decides


def test_what_cannot_be_attached_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    case = attached.case("prompt lookup")
    with pytest.raises(specviz.SettingsError, match="that can be attached"), specviz.attach(object()):
        pass
    with (
        pytest.warns(specviz.RecorderWarning, match="no generate"),
        specviz.attach(case.target),
        pytest.raises(specviz.SettingsError, match="attached already"),
        specviz.attach(case.target),
    ):
        pass
    monkeypatch.setenv("SPECVIZ", "0")
    with specviz.attach(case.target):
        assert "generate" not in vars(case.target)


def test_of_two_attached_models_the_first_may_leave_first() -> None:
    one, other = attached.case("prompt lookup"), attached.case("assistant model")
    first, second = specviz.attach(one.target), specviz.attach(other.target)
    first.__enter__()
    recorder = second.__enter__()
    one.generate(max_new_tokens=2)
    first.__exit__(None, None, None)
    other.generate(max_new_tokens=6, **attached.SAMPLED)
    second.__exit__(None, None, None)
    step = recorder.trace().steps[0].verdicts["transformers"]
    assert step.decisions[0].uniform is not None
