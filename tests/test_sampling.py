"""Logits -> probabilities: the order of the parameters, and their edges."""

from __future__ import annotations

import math

import pytest
import torch

from specviz.dice import Key, SeededDice
from specviz.engine.row_recording import Texts, rows_of
from specviz.sampling import entropy, eta_cutoff, keep_and_renormalize, process, top_k
from specviz.trace.schema import Sampling, TokenText
from specviz.transfers import Reads


def logits_of(*probs: float) -> torch.Tensor:
    """[1, V], the logarithms."""
    return torch.tensor([probs], dtype=torch.float64).log()


def random_logits(rows: int, vocabulary: int, scale: float = 2.0, seed: int = 0) -> torch.Tensor:
    return scale * torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def plain(row: list[float], sampling: Sampling) -> list[float]:
    """The same, written with lists: temperature, top-k, top-p, eta cutoff."""

    def scaled(probs: list[float]) -> list[float]:
        total = math.fsum(probs)
        return [p / total for p in probs]

    best = max(row)
    probs = scaled([math.exp((x - best) / sampling.temperature) for x in row])
    order = sorted(range(len(row)), key=lambda i: -probs[i])
    if sampling.top_k:
        probs = scaled([p if i in order[: sampling.top_k] else 0.0 for i, p in enumerate(probs)])
    if sampling.top_p < 1:
        mass, kept = 0.0, set()
        for i in order:
            if mass >= sampling.top_p:
                break
            kept.add(i)
            mass += probs[i]
        probs = scaled([p if i in kept else 0.0 for i, p in enumerate(probs)])
    if sampling.eta_cutoff:
        h = -math.fsum(p * math.log(p) for p in probs if p > 0)
        eta = min(sampling.eta_cutoff, math.sqrt(sampling.eta_cutoff) * math.exp(-h))
        probs = scaled([p if p >= eta or i == order[0] else 0.0 for i, p in enumerate(probs)])
    return probs


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(),
        Sampling(temperature=0.6),
        Sampling(temperature=1.7, top_k=5),
        Sampling(top_p=0.8),
        Sampling(temperature=0.8, top_k=7, top_p=0.7),
        Sampling(eta_cutoff=0.05),
        Sampling(temperature=1.3, top_k=9, top_p=0.95, eta_cutoff=0.1),
        Sampling(top_k=1000, top_p=0.999),
    ],
)
def test_process_equals_the_plain_form(sampling: Sampling):
    logits = random_logits(20, 12)
    found = process(logits, sampling)
    expected = torch.tensor([plain(row, sampling) for row in logits.tolist()], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_temperature_comes_before_top_p():
    # At temperature 1 one token fills the nucleus, at temperature 3 it takes two.
    logits = logits_of(0.8, 0.15, 0.05)
    assert (process(logits, Sampling(top_p=0.7)) > 0).tolist() == [[True, False, False]]
    assert (process(logits, Sampling(temperature=3.0, top_p=0.7)) > 0).tolist() == [[True, True, False]]


def test_top_k_comes_before_top_p():
    # The best token has 0.4 of everything, but 0.615 of what top-k leaves: that alone fills a nucleus of 0.61.
    logits = logits_of(0.4, 0.25, 0.15, 0.2)
    assert (process(logits, Sampling(top_p=0.61)) > 0).sum() == 2
    assert process(logits, Sampling(top_k=2, top_p=0.61)).tolist() == [[1.0, 0.0, 0.0, 0.0]]
    both = process(logits, Sampling(top_k=2, top_p=0.62))
    torch.testing.assert_close(both, torch.tensor([[0.4, 0.25, 0, 0]], dtype=torch.float64) / 0.65)


def test_eta_comes_last():
    # Before top-k the entropy is larger and the cutoff smaller: 0.12 would stay.
    logits = logits_of(0.6, 0.12, *[0.28 / 28] * 28)
    eta = 0.3
    assert (process(logits, Sampling(eta_cutoff=eta)) > 0)[0, 1]
    assert (process(logits, Sampling(eta_cutoff=eta, top_k=2)) > 0).tolist() == [[True] + [False] * 29]


def test_temperature_zero_is_the_argmax_whatever_else_is_set():
    logits = random_logits(5, 9)
    expected = torch.nn.functional.one_hot(logits.argmax(-1), 9).double()
    for sampling in (Sampling(temperature=0), Sampling(temperature=0, top_k=3, top_p=0.5, eta_cutoff=0.2)):
        assert torch.equal(process(logits, sampling), expected)


@pytest.mark.parametrize("temperature", [1e-3, 1e-30, 1e-45, 1e-300])
def test_tiny_temperatures_share_the_mass_among_the_best(temperature: float):
    logits = torch.tensor([[20.0, 1.0, -3.0, 20.0], [1.0, 2.0, 3.0, 4.0]])
    found = process(logits, Sampling(temperature=temperature))
    torch.testing.assert_close(found, torch.tensor([[0.5, 0, 0, 0.5], [0, 0, 0, 1.0]]))


def test_forbidden_tokens_stay_at_zero():
    logits = torch.tensor([[1.0, -math.inf, 2.0]])
    for sampling in (Sampling(), Sampling(temperature=0.5), Sampling(top_k=3), Sampling(top_p=0.99)):
        found = process(logits, sampling)
        assert found[0, 1] == 0
        assert found.isfinite().all()


def test_top_k_keeps_exactly_k_where_tokens_tie():
    found = process(torch.zeros(3, 10), Sampling(top_k=4))
    assert (found > 0).sum(-1).tolist() == [4, 4, 4]
    torch.testing.assert_close(found.max(-1).values, torch.full((3,), 0.25))


@pytest.mark.parametrize("kept", [Sampling(temperature=0.0), Sampling(top_k=2)])
def test_a_recorded_row_names_the_token_that_was_kept_where_tokens_tie(kept: Sampling):
    # bfloat16 logits tie often, and which of the tied tokens comes first differs between argmax and topk.
    for tied in ([7, 20, 33], [3, 4, 45], [0, 1, 49]):
        logits = torch.zeros(1, 50)
        logits[0, tied] = 4.0
        probs = process(logits, kept)
        row = rows_of(logits, probs, kept, 3, Reads())(Texts(lambda id: TokenText(id=id, text="")))[0]
        assert row.processed.ids
        assert {i: pytest.approx(p) for i, p in zip(row.processed.ids, row.processed.probs, strict=True)} == {
            i: p for i, p in enumerate(probs[0].tolist()) if p > 0
        }


def test_top_p_keeps_the_best_token_however_small_it_is():
    found = process(logits_of(0.5, 0.3, 0.2), Sampling(top_p=1e-9))
    assert found.tolist() == [[1.0, 0.0, 0.0]]


@pytest.mark.parametrize("vocabulary", [255, 256, 257, 3000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_top_p_of_a_nucleus_larger_than_the_guess(vocabulary: int, dtype: torch.dtype):
    # One flat row, whose nucleus needs a sort of everything, and one peaked row, which does not.
    logits = torch.stack([random_logits(1, vocabulary, 0.1)[0], random_logits(1, vocabulary, 8.0)[0]]).to(dtype)
    probs = process(logits, Sampling())
    found = process(logits, Sampling(top_p=0.95))
    for row, all_probs in zip(found, probs, strict=True):
        kept = row > 0
        mass = float(all_probs[kept].double().sum())
        assert mass >= 0.95 - 1e-5
        assert mass - float(all_probs[kept].min()) < 0.95 + 1e-5
        assert float(all_probs[~kept].max() if (~kept).any() else 0) <= float(all_probs[kept].min())
    assert int((found[0] > 0).sum()) > 0.9 * vocabulary


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_sum_to_one_and_keep_the_order(dtype: torch.dtype):
    logits = random_logits(50, 400, 3.0).to(dtype)
    order = logits.argsort(-1)
    for sampling in (
        Sampling(),
        Sampling(temperature=0.3, top_k=50),
        Sampling(temperature=2.0, top_p=0.9),
        Sampling(eta_cutoff=0.01),
        Sampling(temperature=1.5, top_k=100, top_p=0.8, eta_cutoff=0.002),
    ):
        found = process(logits, sampling)
        assert found.dtype == dtype
        torch.testing.assert_close(found.sum(-1), torch.ones(50, dtype=dtype), rtol=1e-5, atol=0)
        assert (found.gather(-1, order).diff(dim=-1) >= 0).all()


def test_process_leaves_its_argument_alone():
    logits = random_logits(3, 20)
    before = logits.clone()
    process(logits, Sampling(temperature=0.5, top_k=5, top_p=0.5, eta_cutoff=0.1))
    assert torch.equal(logits, before)


def test_eta_cutoff_keeps_the_best_token():
    flat = torch.full((1, 8), 0.125, dtype=torch.float64)
    assert torch.equal(eta_cutoff(flat, 0.9), flat)  # eta = sqrt(0.9) / 8: everything stays
    two = torch.tensor([[0.55, 0.45]], dtype=torch.float64)
    assert (0.99**0.5 * torch.exp(-entropy(two)))[0] > 0.45
    assert eta_cutoff(two, 0.99).tolist() == [[1.0, 0.0]]
    rows = torch.softmax(random_logits(40, 6, 4.0), -1)
    for epsilon in (1e-4, 0.3, 0.999):
        found = eta_cutoff(rows, epsilon)
        assert (found.argmax(-1) == rows.argmax(-1)).all()
        torch.testing.assert_close(found.sum(-1), torch.ones(40, dtype=torch.float64))


def test_keep_and_renormalize_never_empties_a_row():
    row = torch.tensor([[0.2, 0.5, 0.3]])
    assert keep_and_renormalize(row, torch.zeros(1, 3, dtype=torch.bool)).tolist() == [[0.0, 1.0, 0.0]]
    kept = keep_and_renormalize(row, torch.tensor([[True, False, False]]))
    torch.testing.assert_close(kept, torch.tensor([[2 / 7, 5 / 7, 0.0]]))


def test_entropy_of_known_rows():
    rows = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.25] * 4, [0.5, 0.5, 0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(entropy(rows), torch.tensor([0.0, math.log(4), math.log(2)], dtype=torch.float64))


def test_sampled_tokens_follow_the_processed_row():
    logits = random_logits(1, 6)
    probs = process(logits, Sampling(temperature=0.9, top_k=4))
    keys = [Key(step, 0, "bonus") for step in range(8000)]
    counts = [0] * 6
    for draw in SeededDice(0).draw(keys, probs.expand(len(keys), -1)):
        counts[draw.token] += 1
    statistic = 0.0
    for seen, p in zip(counts, probs[0].tolist(), strict=True):
        if p == 0:
            assert seen == 0
        else:
            statistic += (seen - 8000 * p) ** 2 / (8000 * p)
    assert statistic < 16.3  # 3 degrees of freedom, p = 0.001


@pytest.mark.parametrize("vocabulary", [3, 300, 32_000, 50_257])
def test_top_k_is_the_largest_in_falling_order(vocabulary: int) -> None:
    rows = random_logits(4, vocabulary)
    rows[0, -1] = 100.0  # behind the last whole block
    rows[1] = rows[1].sort(descending=True).values  # all in one block
    k = min(10, vocabulary)
    for values in (rows, rows[2]):
        found, ids = top_k(values, k)
        assert torch.equal(found, values.topk(k).values)
        assert torch.equal(values.gather(-1, ids), found)


def test_top_k_of_ties_names_different_tokens() -> None:
    values, ids = top_k(torch.zeros(2, 20_000), 10)
    assert values.eq(0).all()
    assert all(len(set(row)) == 10 for row in ids.tolist())


def test_entropy_of_what_is_certain_is_nothing() -> None:
    certain = torch.zeros(1, 500)
    certain[0, 7] = 1.0
    assert entropy(certain).item() == 0.0
    even = torch.full((2, 500), 1 / 500, dtype=torch.float64)
    assert entropy(even).tolist() == pytest.approx([math.log(500)] * 2, abs=1e-12)
