"""Plain greedy decoding, which the greedy verifier is held against, takes nothing from a model's generation config."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GenerationConfig

from specviz.app.diff_handlers import against_greedy
from specviz.app.server.session_registry import Sessions
from specviz.bench import greedy
from specviz.bench.greedy import compare_with_generate, plain_greedy, tell
from specviz.cli import main
from specviz.compare.prompts import Prompt, load_prompts
from specviz.engine.session import Session
from specviz.models.loading import Pair
from specviz.models.pair_spec import ModelChoice
from specviz.trace.io import save_trace
from specviz.trace.near_tie import Scores
from specviz.trace.schema import Trace
from tests import tiny
from tests.pairs import TREES, greedy_settings, make_pair, pair_of

NEW_TOKENS = 8
PROMPTS = 2
TREE = {"4,2,2": TREES["4,2,2"]}
OTHER = 7
"""A token that plain greedy decoding does not write on these prompts; it ends a text."""

LEAKS: dict[str, Any] = {
    "suppress_tokens": lambda plain: {"suppress_tokens": [plain[0]]},
    "begin_suppress_tokens": lambda plain: {"begin_suppress_tokens": [plain[0]]},
    "bad_words_ids": lambda plain: {"bad_words_ids": [[plain[1]]]},
    "sequence_bias": lambda plain: {"sequence_bias": [[[OTHER], 50.0]]},
    "no_repeat_ngram_size": lambda plain: {"no_repeat_ngram_size": 1},
    "encoder_repetition_penalty": lambda plain: {"encoder_repetition_penalty": 9.0},
    "encoder_no_repeat_ngram_size": lambda plain: {"encoder_no_repeat_ngram_size": 1},
    "guidance_scale": lambda plain: {"guidance_scale": 9.0},
    "watermarking_config": lambda plain: {"watermarking_config": {"bias": 30.0}},
    "num_beams": lambda plain: {"num_beams": 3},
    "num_return_sequences": lambda plain: {"num_return_sequences": 2},
    "penalty_alpha": lambda plain: {"penalty_alpha": 0.6, "top_k": 4},
    "dola_layers": lambda plain: {"dola_layers": "low"},
    "force_words_ids": lambda plain: {"force_words_ids": [[OTHER]], "num_beams": 2},
    "stop_strings": lambda plain: {"stop_strings": ["q"]},
    "max_time": lambda plain: {"max_time": 1e-9},
    "min_new_tokens": lambda plain: {"min_new_tokens": NEW_TOKENS},
    "forced_eos_token_id": lambda plain: {"forced_eos_token_id": OTHER},
    "exponential_decay_length_penalty": lambda plain: {"exponential_decay_length_penalty": [1, 100.0]},
    "token_healing": lambda plain: {"token_healing": True},
}
"""Settings of a ``generation_config.json``, each of which changes what ``generate`` writes, or makes it fail."""


@pytest.fixture(scope="module")
def pair() -> Pair:
    made = make_pair()
    plain, _ = plain_greedy(made, prompt_of(made), NEW_TOKENS)
    assert plain.index(plain[6]) == 6, "the first text ends two tokens before its limit"
    return replace(made, eos_ids=frozenset({OTHER, plain[6]}))


def prompt_of(pair: Pair, number: int = 0) -> list[int]:
    return pair.encode(load_prompts()[number].text, True)


@pytest.fixture
def leaking(pair: Pair, request: pytest.FixtureRequest) -> Iterator[Pair]:
    """The pair, whose target's generation config holds one of the settings."""
    plain, _ = plain_greedy(pair, prompt_of(pair), NEW_TOKENS)
    model = pair.target.model
    before, model.generation_config = model.generation_config, GenerationConfig()
    for name, value in LEAKS[request.param](plain).items():
        setattr(model.generation_config, name, value)  # some are refused by the constructor, and not by a file
    yield pair
    model.generation_config = before


def with_its_own_settings(pair: Pair) -> list[list[int]] | None:
    """What the target writes under its generation config; None where ``generate`` fails for it."""
    prompts = [torch.tensor([prompt_of(pair, number)]) for number in range(PROMPTS)]
    asked = {"do_sample": False, "max_new_tokens": NEW_TOKENS, "eos_token_id": sorted(pair.eos_ids), "pad_token_id": 0}
    try:
        return [pair.target.model.generate(ids, **asked)[0, ids.shape[1] :].tolist() for ids in prompts]
    except ValueError:
        return None


@pytest.mark.parametrize("leaking", LEAKS, indirect=True)
def test_no_setting_of_the_model_makes_a_sound_verifier_differ(leaking: Pair) -> None:
    inherited = leaking.target.model.generation_config
    before = inherited.to_dict()
    plain = [plain_greedy(leaking, prompt_of(leaking, number), NEW_TOKENS)[0] for number in range(PROMPTS)]
    assert with_its_own_settings(leaking) != plain, "the setting changes nothing here, so this would prove nothing"
    found = list(compare_with_generate(leaking, PROMPTS, NEW_TOKENS, TREE))
    assert [line.text() for line in found if not line.equal] == []
    assert found[0].tokens == 7
    assert leaking.target.model.generation_config is inherited, "it stays the model's"
    assert inherited.to_dict() == before


def test_a_model_folder_with_such_settings_is_no_fault_of_the_verifier(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target, draft = tiny.save_pair(tmp_path)
    path = target / "generation_config.json"
    settings = {"suppress_tokens": list(range(40, 120)), "num_beams": 3, "stop_strings": ["q"], "max_time": 1e-9}
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    asked = ["--prompts", "1", "--max-new-tokens", str(NEW_TOKENS)]
    assert main(["greedy", "--target", str(target), "--draft", str(draft), *asked]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "4 equal"


def test_hooks_and_weights_of_the_model_take_part(pair: Pair) -> None:
    model, before = pair.target.model, vars(pair.target.model).copy()
    heard: list[int] = []
    hook = model.register_forward_hook(lambda *_: heard.append(1))
    plain, scores = plain_greedy(pair, prompt_of(pair), 3)
    hook.remove()
    assert len(heard) == len(plain) == len(scores) == 3
    assert vars(model) == before


# ------------------------------------------------------------------------------------ the word for a difference


@dataclass(frozen=True)
class Twins:
    """Two greedy runs whose targets differ in one thing: which of two almost equal tokens wins, and by how much.

    Attributes:
        trace, other: runs with the one target and with the other.
        plain: what the other target writes by itself, with its scores.
    """

    pair: Pair
    trace: Trace
    other: Trace
    plain: tuple[list[int], list[Scores]]


def twins(margin: float, dtype: str = "float32", prompt: str = "the sea") -> Twins:
    """Twins whose two tokens are ``margin`` logits apart where one of them is written first."""
    model = tiny.make_model("llama")
    first = pair_of(model, tiny.perturbed(model))
    tokens = first.encode(prompt, False)
    (token, *_), (row, *_) = plain_greedy(first, tokens, 1)
    assert row.best is not None
    assert row.best > 1
    twin = next(i for i in range(100, tiny.VOCABULARY) if i not in (*tokens, token))
    made = []
    for scale in (1 - margin / row.best, 1 + margin / row.best):
        head = copy.deepcopy(model)
        head.lm_head.weight.data[twin] = scale * head.lm_head.weight.data[token]
        pair = pair_of(head, tiny.perturbed(model))
        target = pair.models.target.model_copy(update={"dtype": dtype})
        pair = replace(pair, models=pair.models.model_copy(update={"target": target}))
        session = Session(pair, greedy_settings("4,2,2", 4), prompt)
        list(session.run())
        made.append((pair, session.trace))
    (pair, trace), (other_pair, other) = made
    assert (trace.output_tokens()[0], other.output_tokens()[0]) == (token, twin)
    return Twins(pair, trace, other, plain_greedy(other_pair, tokens, 4))


@pytest.mark.parametrize(
    ("margin", "dtype", "kind"),
    [
        (5e-4, "float32", "near tie"),
        (0.03, "float32", "real difference"),
        (0.03, "bfloat16", "near tie"),
        (1.0, "bfloat16", "real difference"),
    ],
)
def test_greedy_diff_and_the_page_call_a_difference_the_same(
    margin: float, dtype: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    found = twins(margin, dtype)
    monkeypatch.setattr(greedy, "plain_greedy", lambda *_: found.plain)
    monkeypatch.setattr(greedy, "load_prompts", lambda: (Prompt("sea", "test", "the sea"),))
    found.pair.tokenizer.chat_template = None
    lines = list(compare_with_generate(found.pair, 1, 4, TREE))
    assert f"DIFFERS at token 1: {kind}, top-1 margin {margin:.2g} logits" in lines[0].text()
    assert tell(lines) == (kind == "near tie")
    assert capsys.readouterr().out.splitlines()[-1] == f"1 {kind}"
    for name, trace in (("a", found.trace), ("b", found.other)):
        save_trace(trace, tmp_path / f"{name}.json.gz")
    assert main(["diff", str(tmp_path / "a.json.gz"), str(tmp_path / "b.json.gz")]) == 0
    assert f"\nA {kind}: " in capsys.readouterr().out
    *_, block = against_greedy(Sessions(lambda *_, **__: found.pair), "page", found.trace, ModelChoice(), "it")
    said = json.loads(block)["compare"]["said"]
    assert [line for line in said if line.startswith(f"A {kind}: ")]
