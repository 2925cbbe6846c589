"""Enumeration under processors: exact keeps every promise, frozen does not where the text on the path counts."""

from __future__ import annotations

import pytest
import torch

from specviz.check_cli import _modes
from specviz.trace.schema import Choice
from specviz.verifiers import VERIFIERS, default_options
from specviz.verifiers.check import TOYS, check_tree, format_report
from specviz.verifiers.exact import processed
from specviz.verifiers.proof_table import EXACT

TREE = Choice(name="k_config", options={"tree": "2,1"})


@pytest.mark.parametrize("name", ["rejection", "traversal", "naive", "greedy"])
def test_exact_keeps_the_promise_and_frozen_does_not(name: str) -> None:
    exact, frozen = _modes(["repetition_penalty:penalty=3"])
    verifier = VERIFIERS[name]
    found = check_tree(verifier, default_options(verifier), TREE, exact)
    assert found.ok
    assert found.worst.distance < EXACT
    other = check_tree(verifier, default_options(verifier), TREE, frozen)
    assert other.verdict == "frozen: not the processed target"
    assert other.worst.distance > 0.05
    assert other.smallest is not None
    assert other.ok, "no promise is about frozen rows"
    assert "processed by the whole text" in format_report([other])


def test_where_the_text_does_not_count_there_is_one_mode() -> None:
    (only,) = _modes(["min_p:min_p=0.3", "min_new_tokens:count=0", "repetition_penalty:penalty=1"])
    assert only.mode == "exact"
    assert only.reads_text is False
    verifier = VERIFIERS["rejection"]
    frozen = check_tree(verifier, default_options(verifier), TREE, only.other)
    assert frozen.verdict == "frozen: nothing shows it"
    assert frozen.worst.distance < EXACT


def test_the_processed_toy_is_that_of_the_path() -> None:
    (found,) = (one for one in _modes(["repetition_penalty:penalty=2"]) if one.mode == "exact")
    pair = TOYS["V=3"]
    context = pair.context((2, 1))  # after the root 0
    logits = pair.target[context].log()
    expected = torch.softmax(2 * logits, -1)  # all three tokens stand in the text, and log p is negative
    torch.testing.assert_close(processed(pair, found).target[context], expected)
    root = processed(pair, found.other).scored[context]
    torch.testing.assert_close(root, torch.softmax(logits * torch.tensor([2.0, 1, 1]), -1))
