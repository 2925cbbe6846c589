"""Rows against raw ones, as transformers' own classes process them by the text on a path, or by the committed one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers.generation import (
    LogitsProcessorList,
    MinPLogitsWarper,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
    SuppressTokensLogitsProcessor,
    TopKLogitsWarper,
)

from specviz.digits import digits
from specviz.errors import RecorderError
from specviz.recorder.checks import examine
from specviz.recorder.checks.processors import processors
from specviz.recorder.checks.rows import View
from specviz.recorder.processors import Stated
from specviz.trace.processors import parse_processors
from specviz.trace.schema import Sampling
from tests.recorder import steps as recorded
from tests.recorder.checks.steps import step

V = recorded.V
TEXT, TOKENS, PARENTS = [1, 2, 3], [3, 4, 5, 6], [-1, 0, 0, 1]
LINES = [[], [4], [5], [4, 6]]
Z = 1 + torch.randn(4, V, generator=torch.Generator().manual_seed(1))
KINDS: dict[str, tuple[str, list[Any]]] = {
    "penalty": ("repetition_penalty:penalty=3", [RepetitionPenaltyLogitsProcessor(3.0)]),
    "n-grams": ("no_repeat_ngram:size=1", [NoRepeatNGramLogitsProcessor(1)]),
    "biases": ("logit_bias:bias=4+6:3 1:-2", [SequenceBiasLogitsProcessor([[[4, 6], 3.0], [[1], -2.0]])]),
    "several": (
        "min_p:min_p=0.2; suppress_tokens:tokens=7 8; repetition_penalty:penalty=3",
        [RepetitionPenaltyLogitsProcessor(3.0), SuppressTokensLogitsProcessor([7, 8]), MinPLogitsWarper(0.2)],
    ),
}


def by(functions: list[Any], texts: list[list[int]], logits: torch.Tensor = Z) -> torch.Tensor:
    """Each row by a text of its own, as ``generate`` does with one row at a time."""
    made = [
        LogitsProcessorList(functions)(torch.tensor([text]), row[None].clone())
        for text, row in zip(texts, logits, strict=True)
    ]
    return torch.cat(made).softmax(-1)


def exact(functions: list[Any], logits: torch.Tensor = Z) -> torch.Tensor:
    return by(functions, [TEXT + line for line in LINES], logits)


def frozen(functions: list[Any], logits: torch.Tensor = Z) -> torch.Tensor:
    return by(functions, [TEXT] * 4, logits)


def said(probs: torch.Tensor | None, spec: str, mode: Any = "exact", **changes: Any) -> View:
    fields: dict[str, Any] = {
        "context": 3,
        "tokens": TOKENS,
        "parents": PARENTS,
        "text": TEXT,
        "q": None,
        "q_nodes": [],
    }
    fields |= {"p": None if probs is None else probs.numpy(), "p_logits": Z.numpy().copy(), "p_nodes": [0, 1, 2, 3]}
    fields |= {"target_sampling": Sampling(), "coins": {}, "thresholds": {}, "bonus_row": None, "bonus": 9}
    fields |= {"committed": [9], "lossless": None, "positions": None, "mask": None, "caches": {}}
    fields |= {"processors": Stated(parse_processors(spec, mode), 2, (0,))}
    return View(step(**fields | changes))


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_are_processed_as_was_said_fit(kind: str) -> None:
    spec, functions = KINDS[kind]
    for mode, made in (("exact", exact), ("frozen", frozen)):
        found = processors(said(made(functions), spec, mode))
        assert (found.name, found.compared, found.failed) == ("processors", 4, 0)
        assert found.worst < 1e-6


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "several"])
def test_rows_of_the_other_mode_are_named_so(kind: str) -> None:
    spec, functions = KINDS[kind]
    one, other = exact(functions), frozen(functions)
    apart = (one - other).abs().sum(-1) / 2
    for mode, made, word in (("exact", other, "frozen), not by the text on"), ("frozen", one, "exact), not by the")):
        found = processors(said(made, spec, mode))
        assert found.failed == int((apart > 1e-6).sum()) > 0
        assert word in found.message
        assert found.node == int((one - other).abs().amax(-1).argmax())
    assert processors(said(frozen(functions), spec, lossless=True)).failed
    found = processors(said(frozen(functions), spec, "frozen", lossless=True))
    assert "so the engine says, but it says that it is lossless, too" in found.message


def test_rows_of_the_first_token_alone_of_none_and_of_neither_mode() -> None:
    spec, functions = KINDS["several"]
    blind = functions[1:]
    none, neither = exact(blind), exact([RepetitionPenaltyLogitsProcessor(2.0), *blind])
    first = none.clone()
    first[0] = exact(functions)[0]
    found = processors(said(first, spec))
    assert found.failed == 3
    assert found.message.startswith("Of the target's rows of this tree only that of the root is processed by repet")
    found = processors(said(none, spec))
    assert (found.failed, "rows of this tree are those without repetition_penalty:penalty=3:" in found.message) == (
        4,
        True,
    )
    found = processors(said(neither, spec))
    assert "neither by the text on its path (exact) nor by the committed text alone (frozen)" in found.message
    variation = float((neither[found.node] - exact(functions)[found.node]).abs().sum() / 2)
    assert f"the total variation is {digits(variation)} to exact" in found.message


def test_a_reading_that_is_closer_by_far_counts_in_a_coarse_format_too() -> None:
    """A penalty that moves less than bfloat16 may round."""
    spec, functions = "repetition_penalty:penalty=1.1", [RepetitionPenaltyLogitsProcessor(1.1)]
    one, other = exact(functions), frozen(functions)
    assert 1e-3 < float((one - other).abs().max()) < 0.05
    coarse = {"dtype": "bfloat16", "logits_dtype": "bfloat16"}
    assert processors(said(other, spec, **coarse)).failed
    rounded = torch.from_numpy(one.bfloat16().float().numpy())
    assert not processors(said(rounded, spec, **coarse)).failed


def test_rounding_at_the_edge_of_a_filter_is_no_finding() -> None:
    edge = torch.tensor([[2.0, 0.0, 2.0 + float(np.log(0.2)), -9.0] * 3] * 4)
    for bias in (1e-6, -1e-6):
        moved = edge + torch.tensor([0.0, 0.0, bias, 0.0] * 3)
        probs = exact([MinPLogitsWarper(0.2)], moved)
        assert not processors(said(probs, "min_p:min_p=0.2", p_logits=edge.numpy())).failed
    kept = exact([TopKLogitsWarper(6)], edge)
    view = said(kept, "suppress_tokens:tokens=11", p_logits=edge.numpy(), target_sampling=Sampling(top_k=6))
    assert not processors(view).failed


@pytest.mark.parametrize(
    ("changes", "lacked"),
    [
        ({"p_logits": None}, "the target's raw rows (logits=)"),
        ({"target_sampling": None}, "besides (sampling=)"),
        ({"p_made": [0, 1, 2, 3]}, "as probabilities and as logits, both"),
        ({"p": None}, "the target's rows"),
        ({"text": [1, 2, 4]}, "a root that is the text's last token"),
        ({"guessed": True}, "the text: an earlier step"),
        ({"processors": Stated(parse_processors("min_new_tokens"), 2, ())}, "these models have none"),
        ({"processors": Stated(parse_processors("suppress_tokens:tokens=12"), 2, ())}, "knows 0 to 11"),
        ({"processors": Stated(parse_processors("some.module:Class"), 2, ())}, "is code"),
    ],
)
def test_what_it_lacks(changes: dict[str, Any], lacked: str) -> None:
    found = processors(said(exact(KINDS["penalty"][1]), KINDS["penalty"][0], **changes))
    assert (found.compared, found.failed) == (0, 0)
    assert lacked in found.lacked
    names = {
        check.name for check in examine(said(exact(KINDS["penalty"][1]), KINDS["penalty"][0], **changes).step).checks
    }
    assert "processing" not in names


def test_of_greedy_rows_the_softmax_counts() -> None:
    spec, functions = KINDS["penalty"]
    assert not processors(said(exact(functions), spec, rule="greedy", target_sampling=None)).failed
    assert processors(said(frozen(functions), spec, rule="greedy", target_sampling=None)).failed


@pytest.mark.parametrize("mode", ["exact", "frozen"])
def test_logits_alone_are_processed_as_was_said(mode: str) -> None:
    spec, functions = KINDS["several"]
    rec = recorded.recorder(sampling=1.0, processors=spec, processor_mode=mode)
    step_ = recorded.one_step(rec, target={"logits": Z})
    due = (exact if mode == "exact" else frozen)(functions)
    for row, node in zip(due, step_.tree.nodes, strict=True):
        kept = [token for token in row.argsort(descending=True).tolist() if row[token] > 0]
        assert node.target.processed.ids == tuple(kept[:10])
        assert node.target.processed.probs == pytest.approx(row[kept[:10]].tolist(), rel=1e-4)
        assert node.processed.moved > 0
    rec = recorded.recorder(sampling=1.0, processors="suppress_tokens:tokens=99")
    with pytest.raises(
        RecorderError, match="its logits cannot be processed: The processor suppress_tokens names token 99"
    ):
        recorded.one_step(rec, target={"logits": Z})


def test_the_drafts_rows_are_checked_where_it_is_said_that_they_are_processed() -> None:
    spec, functions = KINDS["penalty"]
    logits = Z[:2]
    for probs, failed in (
        (by(functions, [TEXT, [*TEXT, 4]], logits), False),
        (by(functions, [TEXT] * 2, logits), True),
    ):
        rec = recorded.recorder(sampling=1.0, draft_sampling=1.0, processors=spec, processor_draft=True)
        said_ = {"probs": probs, "logits": logits, "nodes": [0, 1], "proposal": "without_replacement"}
        checks = {check.name: check for check in recorded.one_step(rec, draft=said_).checks}
        assert "draft_processing" not in checks
        assert bool(checks["draft_processors"].failed) is failed
        if failed:
            assert checks["draft_processors"].message.startswith("The draft's rows of this tree are those of")


def rejudged(probs: torch.Tensor, mode: str, **verify: Any) -> Any:
    """Our verdict on an engine's rows: top-k children, greedy."""
    spec = KINDS["penalty"][0]
    rec = recorded.recorder(sampling=1.0, processors=spec, processor_mode=mode, rule="greedy")
    said_ = {"target": {"probs": probs, "logits": HAND}, "verify": verify, "draft": {"proposal": "top_k"}}
    return recorded.one_step(rec, **said_).verdicts["greedy"]


HAND = torch.zeros(4, V)
HAND[0, 4], HAND[1, 4], HAND[1, 6], HAND[2, 9], HAND[3, 10] = 9.0, 6.0, 4.0, 2.0, 2.0


def test_judged_again_by_the_other_text() -> None:
    """After token 4, token 4 is the likeliest but for its penalty: exact takes node 3 (token 6), frozen does not."""
    functions = KINDS["penalty"][1]
    one, other = exact(functions, HAND), frozen(functions, HAND)
    assert (int(one[1].argmax()), int(other[1].argmax())) == (6, 4)
    verdict = rejudged(one, "exact", accepted=[1, 3], bonus=10)
    assert verdict.path == (1, 3)
    assert (verdict.other_mode.path, verdict.other_mode.nodes, verdict.other_mode.mode) == ((1,), (3,), None)
    assert (verdict.bonus.token, verdict.other_mode.bonus) == (10, 4)
    verdict = rejudged(other, "exact", accepted=[1], bonus=4)  # rows that are not as the engine says
    assert verdict.path == (1,)
    assert (verdict.other_mode.path, verdict.other_mode.nodes, verdict.other_mode.mode) == ((1, 3), (3,), "exact")
    assert verdict.other_mode.bonus == 10
