"""What own runs record besides the rows: how the draft likes the bonus token, and the size of the logits."""

from __future__ import annotations

import math

import pytest
import torch

from specviz.engine.row_recording import Texts, rows_of
from specviz.engine.session import Session
from specviz.sampling import process
from specviz.trace.schema import Sampling, TokenText
from specviz.transfers import Reads
from tests import pairs


def texts() -> Texts:
    return Texts(lambda id: TokenText(id=id, text=""))


@pytest.mark.parametrize("tree", ["4,2,2", "dynamic", "prompt lookup"])
def test_the_rank_of_a_bonus_token_counts_the_tokens_that_the_draft_likes_better(tree: str) -> None:
    settings = pairs.make_settings(pairs.TREES[tree], max_new_tokens=10, draft=Sampling(top_k=30))
    session = Session(pairs.make_pair(), settings, "the sea the sea")
    expected: list[dict[str, int | None]] = []

    def watch(tree, _probs, results) -> None:
        found: dict[str, int | None] = {}
        for name, one in results.items():
            row = tree.row_of.get(one.walk.end.node)
            found[name] = None if row is None else sum(q > tree.rows[row][one.bonus.token] for q in tree.rows[row])
        expected.append(found)

    session.watch = watch
    steps = list(session.run())
    recorded = [{name: one.bonus.draft_rank for name, one in step.verdicts.items()} for step in steps]
    assert recorded == expected
    ranks = [rank for one in recorded for rank in one.values()]
    assert None in ranks, "some walk ended where the draft has no row"
    assert any(ranks)
    for step in steps:
        for one in step.verdicts.values():
            assert (one.bonus.draft_rank is None) == (step.tree.nodes[one.bonus.node].draft is None)


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=0.7, top_k=5), Sampling(temperature=0.0)])
def test_the_log_sum_exp_of_a_row_is_that_of_its_logits(sampling: Sampling) -> None:
    logits = 5 * torch.randn(4, 50, generator=torch.Generator().manual_seed(0)) + 20
    rows = rows_of(logits, process(logits, sampling), sampling, 3, Reads())(texts())
    for row, given in zip(rows, logits.double(), strict=True):
        assert row.log_sum_exp == pytest.approx(float(given.logsumexp(-1)), rel=1e-5)
        assert row.top_logit - row.log_sum_exp == pytest.approx(math.log(row.raw.probs[0]), abs=1e-3)
        assert row.variance is None, "own rows do not have it: it would cost a tenth of the recording"


def test_of_logits_that_are_infinite_there_is_no_log_sum_exp() -> None:
    logits = torch.tensor([[0.0, math.inf]])
    rows = rows_of(logits, torch.tensor([[0.0, 1.0]]), Sampling(temperature=0.5), 2, Reads())(texts())
    assert (rows[0].top_logit, rows[0].log_sum_exp) == (None, None)
