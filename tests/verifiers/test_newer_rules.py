"""Coupling, lenience and relaxed acceptance by enumeration on small trees; ``check`` has all of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from specviz.trace.schema import Choice
from specviz.tree import Shape, TokenTree
from specviz.verifiers import ALL_PROPOSALS, COUPLING, LENIENCE, RELAXED, End
from specviz.verifiers.check import EXACT, LOSSY, Finding, check_tree
from specviz.verifiers.coupling import Choice as Candidate


def found(verifier, tree: str, proposal: str, **options: float) -> Finding:
    shape = Choice(name="k_config", options={"tree": tree, "proposal": proposal})
    return check_tree(verifier, verifier.Options(**options), shape)


@pytest.mark.parametrize("proposal", ALL_PROPOSALS)
@pytest.mark.parametrize(("tree", "orders"), [("2,1", 8), ("3", 8), ("3", 1)])
def test_the_coupling_is_lossless_however_many_orders_it_mixes(tree: str, orders: int, proposal: str) -> None:
    one = found(COUPLING, tree, proposal, orders=orders)
    assert one.verdict == "ok, lossless"
    assert one.worst.distance < EXACT


@pytest.mark.parametrize("proposal", ["without_replacement", "with_replacement"])
def test_a_coupling_with_another_residual_is_caught(monkeypatch: pytest.MonkeyPatch, proposal: str) -> None:
    monkeypatch.setattr(Candidate, "row", lambda self, p: p)  # as if nothing had been rejected
    assert found(COUPLING, "2", proposal).worst.distance > LOSSY


@pytest.mark.parametrize("proposal", ALL_PROPOSALS)
def test_lenience_is_lossless_at_one_alone(proposal: str) -> None:
    assert found(LENIENCE, "2,1", proposal, lenience=1).verdict == "ok, lossless"
    assert found(LENIENCE, "2,1", proposal, lenience=0.9).verdict == "ok, lossy"


def test_a_child_is_compared_with_the_lenient_q_and_leaves_what_p_has_above_q_itself() -> None:
    """By hand: p - q is (0.3, 0.1, 0) after token 2; without it p is (0.75, 0.25, 0) and q (0.5, 0.5, 0)."""
    p, q = torch.tensor([0.5, 0.3, 0.2]).double(), torch.tensor([0.2, 0.2, 0.6]).double()
    tree = TokenTree(Shape((-1, 0, 0)), (0, 2, 0), q[None], {0: 0}, "without_replacement")
    judged = LENIENCE.judge(tree, p.expand(3, 3), LENIENCE.Options(lenience=0.5))
    assert judged.thresholds.tolist() == pytest.approx([1, 0.2 / 0.3, 0.75 / 0.25])
    assert judged.distribution(End(0, "residual", (1,))).tolist() == pytest.approx([0.75, 0.25, 0])
    assert judged.distribution(End(0, "residual", (1, 2))).tolist() == pytest.approx([1, 0, 0])


@pytest.mark.parametrize("proposal", ALL_PROPOSALS)
def test_relaxed_acceptance_is_greedy_decoding_at_its_edges_alone(proposal: str) -> None:
    greedy = replace(RELAXED, is_greedy=True)  # what it is compared with
    for edge in ({"top_n": 1}, {"margin": 0}):
        assert found(greedy, "2,1", proposal, **edge).worst.distance < EXACT
    assert found(greedy, "2,1", proposal, top_n=2, margin=0.9).worst.distance > LOSSY
