"""What is kept of rows is what torch, or a plain sum, makes of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from specviz import sampling
from specviz.recorder import summaries
from specviz.recorder.cache_reading import moves
from specviz.recorder.raw_step import CacheReading
from specviz.trace.schema import Sampling


def logits(columns: int, rows: int = 5, scale: float = 4.0) -> torch.Tensor:
    return scale * torch.randn(rows, columns, generator=torch.Generator().manual_seed(columns))


@pytest.mark.parametrize("columns", [7, 300, 9000])
@pytest.mark.parametrize(
    "chosen",
    [
        *[Sampling(), Sampling(temperature=0.0), Sampling(temperature=1e-45), Sampling(temperature=2.5)],
        *[Sampling(top_k=5), Sampling(top_k=10**6), Sampling(top_p=0.8), Sampling(temperature=9.0, top_p=0.999)],
        *[Sampling(eta_cutoff=0.01), Sampling(temperature=0.7, top_k=50, top_p=0.9, eta_cutoff=0.003)],
    ],
    ids=str,
)
def test_rows_are_processed_as_specviz_processes_its_own(chosen: Sampling, columns: int) -> None:
    given = logits(columns)
    before = given.clone()
    found = summaries.process(given.numpy(), chosen)
    expected = sampling.process(given, chosen).numpy()
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-9)
    assert ((found > 0) == (expected > 0)).all()
    assert given.equal(before)


def test_a_token_that_was_ruled_out_stays_so() -> None:
    given = logits(40)
    given[:, ::2] = -torch.inf
    found = summaries.process(given.numpy(), Sampling(temperature=0.5))
    assert not found[:, ::2].any()
    np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-5)


@pytest.mark.parametrize("columns", [3, 10, 129, 5000, 49_152, 49_999])
def test_the_largest_entries_are_found(columns: int) -> None:
    for row in logits(columns).numpy():
        order = np.argsort(-row, kind="stable")[:10]
        assert summaries.top(row, 10).tolist() == order.tolist()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_moments_are_those_of_a_plain_sum(dtype: type) -> None:
    for row in logits(5000).softmax(-1).numpy().astype(dtype):
        exact = row.astype(np.float64)
        logs = np.log(exact)
        entropy = -(exact * logs).sum()
        found = summaries.moments(row)
        assert found == pytest.approx((entropy, (exact * (logs + entropy) ** 2).sum()), rel=1e-4)


def test_of_a_certain_token_there_is_nothing_to_measure() -> None:
    row = np.eye(1, 50, 3, dtype=np.float32)[0]
    assert summaries.moments(row) == (0.0, 0.0)
    (kept,) = summaries.summaries(row[None], None)
    assert (kept.processed.ids, kept.processed.probs) == ((3,), (1.0,))
    assert summaries.log_sum_exp(np.full(4, -np.inf, dtype=np.float32)) == -np.inf


def test_tokens_have_columns_in_a_part_of_the_vocabulary() -> None:
    vocabulary = np.array([9, 2, 5])
    assert summaries.columns_of([5, 9, 2, 3, 99, 0], vocabulary, 3) == [2, 0, 1, None, None, None]
    assert summaries.columns_of([0, 2, 3], None, 3) == [0, 2, None]


@pytest.mark.parametrize(
    ("before", "after", "moved", "dropped"),
    [
        ("abcd", "abcd", (), ()),
        ("abcd", "ab", (), (12, 13)),
        ("abcd", "acd", ((12, 11), (13, 12)), (11,)),
        ("abcd", "dca", ((13, 10), (12, 11), (10, 12)), (11,)),
        ("abbc", "abc", ((13, 12),), (12,)),  # two siblings with one token: the one that is where it was stayed
        ("abcd", "axd", ((13, 12),), (11, 12)),  # x was written by somebody else
        ("abcd", "accd", ((12, 11),), (11,)),  # copied, and not cut off where it was
        ("", "", (), ()),
    ],
)
def test_moves_are_found_by_fingerprints(before: str, after: str, moved: tuple, dropped: tuple) -> None:
    reading = CacheReading(10, 10 + len(before), 10 + len(after), tuple(before), tuple(after))
    assert moves(reading) == (moved, dropped)
