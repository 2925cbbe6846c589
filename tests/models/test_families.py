"""The short form of ``python -m tests.families``: families that differ in their mechanism, and how it ends."""

from __future__ import annotations

import os

import pytest

from specviz.errors import ModelError
from tests import families

EXPECTED = {
    "opt": "",  # learned positions
    "deepseek_v3": "",  # latent attention and experts
    "hrm_text": "",  # the same layers again and again, each pass with a cache of its own
    "gemma3_text+full": "",  # a window in the config, in no layer
    "doge": "does not follow an attention mask",  # a window that only running beyond it shows
    "llama4_text+full": "does not follow an attention mask",  # a factor by slot, where it should be by position
    "mistral": "sliding window of 8 tokens",
    "gemma4_text+full": "keys and values of other layers",
    "mamba": "recurrent",
    "blt": "no num_hidden_layers",
}
"""Family -> what its refusal says; nothing where it is audited."""


@pytest.mark.parametrize("family", EXPECTED)
def test_an_audited_run_or_a_refusal_in_one_sentence(family):
    result = families.try_family(family)
    assert result.outcome == ("refused" if EXPECTED[family] else "audited"), result
    assert EXPECTED[family] in result.said
    if EXPECTED[family]:
        assert result.said.endswith(".")
        assert result.said.count(". ") == 0


def test_a_run_goes_beyond_what_windows_are_shrunk_to():
    tokens = families.tiny.make_tokenizer()(families.PROMPT)["input_ids"]
    assert len(tokens) > 3 * families.LENGTH
    assert families.tiny_config("gemma3_text+full").sliding_window == families.LENGTH


def test_every_family_is_tried_and_variants_are_added():
    assert len(families.families()) > 190
    assert families.trials(["gemma3_text", "starcoder2", "llama", "blt"]) == [
        "gemma3_text",
        "gemma3_text+full",
        "starcoder2",
        "starcoder2+window",
        "llama",
        "blt",
    ]


def fail(error: BaseException):
    raise error


ENDS = {
    "a refusal": (lambda *_: fail(ModelError("It is not fit; choose another.")), "refused", 0),
    "a traceback": (lambda *_: fail(KeyError("somewhere")), "traceback", 1),
    "a large difference": (lambda name, *_: families.Result(name, "beyond tolerance", ""), "beyond tolerance", 1),
    "a process that dies": (lambda *_: os._exit(3), "no answer", 1),
}


@pytest.mark.parametrize(("end", "outcome", "status"), ENDS.values(), ids=ENDS)
def test_the_exit_status_says_whether_all_is_well(monkeypatch, capfd, end, outcome, status):
    monkeypatch.setattr(families, "audited_run", end)
    assert families.main(["gpt2", "--processes", "1"]) == status
    assert f"1 families: 1 {outcome}" in capfd.readouterr().out
