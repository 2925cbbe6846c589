"""Assisted generation of transformers, attached: the same text, every step of it, and what the checks say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LogitsProcessorList
from transformers.generation import utils

import specviz
from specviz.recorder.audit import Finding, NotRun, audit
from specviz.recorder.recording import read_recordings
from specviz.trace.schema import Sampling
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
    case = attached.case("prompt lookup")
    _, trace = attached.recorded(case, max_new_tokens=4, do_sample=True, repetition_penalty=1.25)
    assert trace.engine is not None
    assert trace.engine.target is None
    assert "RepetitionPenaltyLogitsProcessor(penalty=1.25)" in str(trace.engine.options["processors"])


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
