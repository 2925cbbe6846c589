"""The law of the candidate where an order ranks parts of the vocabulary, against all draws of siblings."""

from __future__ import annotations

import pytest
import torch

from specviz.verifiers import bundles
from specviz.verifiers.bundles import parts_of
from specviz.verifiers.coupling import choose
from specviz.verifiers.optimum import optimum
from tests import optima

SAMPLED = ("without_replacement", "with_replacement")


def small_tail(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """p and q of four likely tokens, five unlikely ones and one that is never proposed."""
    luck = torch.Generator().manual_seed(seed)
    rates = torch.cat([torch.rand(2, 4, generator=luck) + 0.5, torch.rand(2, 5, generator=luck) * 0.03], 1).double()
    rates = torch.cat([rates, torch.tensor([[0.1], [0.0]])], 1)
    p, q = rates / rates.sum(-1, keepdim=True)
    return p, q


@pytest.mark.parametrize(
    ("k", "proposal"), [(k, proposal) for k in (1, 2, 3) for proposal in SAMPLED] + [(4, "without_replacement")]
)
def test_what_is_accepted_of_bundles_is_what_enumeration_says(monkeypatch, k, proposal) -> None:
    monkeypatch.setattr(bundles, "SINGLE", 2)
    monkeypatch.setattr(bundles, "BUNDLES", 2)
    bundled = 0
    for seed in range(2):
        p, q = small_tail(seed)
        p[4:7] *= 1e-3  # proposed too often
        p /= p.sum()
        parts = parts_of(p, q, k, proposal)
        bundled = max(bundled, int(torch.bincount(parts.part + 1)[2:].max()))
        choice = choose(p, q, k, proposal, 4)
        assert float(choice.law.sum()) == pytest.approx(1.0, abs=1e-14)
        accepted = torch.zeros_like(p)
        for tokens, probability in optima.sequences(q[:9], k, proposal):
            accepted.index_add_(
                0, torch.tensor(tokens), probability * torch.tensor(choice.accepted(list(tokens)), dtype=p.dtype)
            )
        assert torch.allclose(accepted, torch.minimum(choice.law, p), rtol=1e-12, atol=1e-14)
    assert bundled > 1, "some part has several tokens"


def test_a_vocabulary_is_bundled_at_the_cost_of_little_acceptance() -> None:
    for seed, spread in ((1, 1.0), (2, 3.0)):
        p, q = optima.node(2_000, seed, spread)
        for k in (2, 4):
            choice = choose(p, q, k, "without_replacement", 8)
            best, reached = optimum(p, q, k, "without_replacement"), float(torch.minimum(choice.law, p).sum())
            assert best - 2e-3 < reached <= best + 1e-12, (seed, k)
            assert len(choice.places[0]) <= 1 + bundles.SINGLE + bundles.BUNDLES + 100


def test_a_draft_that_agrees_or_proposes_all_there_is_needs_no_race() -> None:
    _, q = optima.node(5, 1)
    for k in (1, 3, 5, 7):
        choice = choose(q, q, k, "without_replacement", 8)
        assert float(torch.minimum(choice.law, q).sum()) == pytest.approx(optimum(q, q, k, "without_replacement"))
    few = torch.tensor([0.0, 0.7, 0.3, 0.0], dtype=torch.float64)
    choice = choose(torch.full((4,), 0.25, dtype=torch.float64), few, 2, "without_replacement", 8)
    assert float(torch.minimum(choice.law, torch.tensor(0.25)).sum()) == pytest.approx(0.5)
    assert choice.accepted([0, 1])[0] == 0.0, "that is never proposed"
