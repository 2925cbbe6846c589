"""The optimum at a node, what rules expect there, the coupling that reaches it; tests.tools.optimum has more nodes."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch

from specviz.drafting import BUILDERS
from specviz.tree import Shape, TokenTree
from specviz.verifiers import (
    COUPLING,
    LENIENCE,
    REJECTION,
    RELAXED,
    TRAVERSAL,
    VERIFIERS,
    StepLuck,
    default_options,
)
from specviz.verifiers.base import context_of
from specviz.verifiers.coupling import choose
from specviz.verifiers.exact import draw_trees, futures, toy
from specviz.verifiers.optimum import expected_acceptance, optimum, optimum_of_nodes, proposed_within
from tests import optima

SAMPLED = ("without_replacement", "with_replacement")


@pytest.mark.parametrize("proposal", SAMPLED)
@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_the_proposals_lie_in_a_set_as_often_as_enumeration_says(proposal, k) -> None:
    for seed in range(4):
        _, q = optima.node(6, seed, spread=3.0)
        found = proposed_within(q, k, proposal)
        sequences = optima.sequences(q, k, proposal)
        for size in range(7):
            exact = sum(probability for tokens, probability in sequences if max(tokens) < size)
            assert abs(float(found[size]) - exact) < 1e-12
        fewer = proposed_within(q, k, proposal, 3)
        assert torch.allclose(fewer, found[:4], rtol=0, atol=1e-15), "of fewer sets the same"


@pytest.mark.parametrize("by_logarithms", [False, True], ids=["plain", "many siblings"])
def test_tokens_of_very_different_rates_are_raced_without_overflow(monkeypatch, by_logarithms) -> None:
    if by_logarithms:  # as for more than 15 siblings, of which there are too many sequences to sum over
        monkeypatch.setattr("specviz.verifiers.optimum._LARGEST_EXPONENT", 0.0)
    for rates in ([0.99, 0.00899, 0.001, 9e-6, 1e-6], [0.5, 0.499, 0.001, 1e-9, 1e-12], [0.4, 0.3, 0.2, 0.05, 0.05]):
        q = torch.tensor(rates, dtype=torch.float64)
        q = q / q.sum()
        drawn = optima.sequences(q, 3, "without_replacement")
        exact = [sum(probability for tokens, probability in drawn if max(tokens) < size) for size in range(6)]
        found = proposed_within(q, 3, "without_replacement")
        assert (found - torch.tensor(exact, dtype=torch.float64)).abs().max() < 1e-12


@pytest.mark.parametrize("proposal", SAMPLED)
def test_the_optimum_is_the_minimum_over_all_sets_and_what_the_best_coupling_accepts(proposal) -> None:
    for seed in range(20):
        vocabulary, k = 3 + seed % 3, 1 + seed % 3
        p, q = optima.node(vocabulary, seed)
        assert abs(optimum(p, q, k, proposal) - optima.over_all_sets(p, q, k, proposal)) < 1e-12
        assert abs(optimum(p, q, k, proposal) - optima.over_all_couplings(p, q, k, proposal)) < 1e-12


def test_of_one_sibling_the_optimum_is_one_less_the_distance() -> None:
    p, q = optima.node(50, 3)
    assert optimum(p, q, 1, "without_replacement") == pytest.approx(float(torch.minimum(p, q).sum()), abs=1e-14)
    assert optimum(q, q, 1, "with_replacement") == pytest.approx(1.0)


def test_no_rule_of_a_node_accepts_more_in_the_mean_and_the_coupling_as_much() -> None:
    names = [name for name, one in VERIFIERS.items() if one.decides_by_node and "with_replacement" in _lossless(one)]
    assert {"rejection", "naive", "coupling"} <= set(names)
    for seed in range(24):
        proposal = (*SAMPLED, "top_k")[seed % 3]
        p, q = optima.node(3 + seed % 2, seed)
        k = 1 + seed // 3 % 3
        tree, target, weights = optima.families(p, q, k, proposal)
        best = optimum_of_nodes(tree, target)[1]
        for name in names:
            mean = optima.mean_acceptance(VERIFIERS[name], tree, target, weights)
            assert mean <= best + 1e-12, (name, seed)
            if name == "coupling" or proposal == "top_k" or (k == 1 and name == "rejection"):
                assert mean == pytest.approx(best, abs=1e-9), (name, seed)


def test_a_wrong_set_function_shows() -> None:
    """What the tests above compare with is no bound by itself: with one sibling less it is passed."""
    p, q = optima.node(4, 5)
    tree, target, weights = optima.families(p, q, 3, "with_replacement")
    assert optima.mean_acceptance(COUPLING, tree, target, weights) > optimum(p, q, 2, "with_replacement") + 1e-3


def test_with_few_orders_the_coupling_accepts_less_and_not_wrongly() -> None:
    p, q = optima.node(6, 8)
    found = [choose(p, q, 3, "without_replacement", orders) for orders in (1, 2, 64)]
    accepted = [float(torch.minimum(one.law, p).sum()) for one in found]
    assert accepted == sorted(accepted)
    assert accepted[0] < accepted[2] - 1e-4
    for one in found:
        assert float(one.law.sum()) == pytest.approx(1.0)
        law = torch.zeros(6, dtype=torch.float64)
        for tokens, probability in optima.sequences(q, 3, "without_replacement"):
            law[list(tokens)] += probability * torch.tensor(one.accepted(list(tokens)), dtype=torch.float64)
        assert torch.allclose(law, torch.minimum(one.law, p), atol=1e-12)


def test_what_a_rule_expects_by_how_it_compares() -> None:
    tree = TokenTree(Shape((-1, 0, 0)), (0, 1, 1), torch.tensor([[0.2, 0.5, 0.3]]), {0: 0}, "with_replacement")
    target = torch.tensor([[0.3, 0.3, 0.4]]).expand(3, 3).double()
    at = {}
    for name, verifier in VERIFIERS.items():
        judgement = verifier.judge(tree, target, default_options(verifier)).on_host()
        at[name] = expected_acceptance(verifier, tree, judgement)
    assert at["traversal"] is None
    assert not TRAVERSAL.decides_by_node
    assert at["rejection"] == [pytest.approx(0.6), None, None], "p/q = 0.6, then nothing is left of the token"
    assert at["naive"] == [pytest.approx(0.3), None, None], "two children of one token are met by one draw"
    assert at["greedy"] == [0.0, None, None]
    assert at["eta"] == at["relaxed"] == [1.0, None, None]
    assert at["lenience"] == [1.0, None, None], "p / (q / 2) is above 1"


@pytest.mark.parametrize(("tree", "proposal"), [("2,2", "top_k"), ("2,1", "with_replacement")])
def test_what_is_expected_at_the_nodes_reached_is_what_is_accepted_there_in_the_mean(tree: str, proposal: str) -> None:
    """Over all trees and all luck. So the two stand side by side in the totals, and what is between them is luck."""
    builder = BUILDERS["k_config"]
    pair = toy(6, 4 if proposal == "top_k" else 3)
    grown = draw_trees(builder, builder.Options(tree=tree, proposal=proposal), pair)
    for name in VERIFIERS:
        verifier = VERIFIERS[name]
        if not verifier.decides_by_node:
            continue
        accepted = expected = 0.0
        for one in grown:
            judgement = verifier.judge(one.tree, one.target, default_options(verifier)).on_host()
            at = expected_acceptance(verifier, one.tree, judgement)
            context = context_of(one.tree, judgement, default_options(verifier))
            for dice, walk in futures(partial(_walk, verifier, context)):
                weight = one.probability * dice.probability
                for depth, node in enumerate((0, *walk.path)):
                    if at[node] is not None:
                        accepted += weight * (depth < len(walk.path))
                        expected += weight * at[node]
        assert accepted == pytest.approx(expected, abs=1e-12), name


def _walk(verifier, context, dice):
    return verifier.walk(context, StepLuck(dice, 0))


def test_lenience_of_one_is_rejection_and_less_bounds_every_token() -> None:
    p, q = optima.node(5, 2)
    tree, target, weights = optima.families(p, q, 1, "without_replacement")
    whole, half = (LENIENCE.Options(lenience=value) for value in (1.0, 0.5))
    ours = LENIENCE.judge(tree, target, whole).thresholds
    assert torch.equal(ours, REJECTION.judge(tree, target, default_options(REJECTION)).thresholds)
    assert (LENIENCE.promise("top_k", whole), LENIENCE.promise("top_k", half)) == ("yes", "no")
    law = optima.first_token(LENIENCE, half, tree, target, weights)
    assert float(law.sum()) == pytest.approx(1.0)
    assert bool((law <= p / 0.5 + 1e-12).all())
    assert bool((law > p + 1e-3).any()), "it is not the target's"
    # As in the paper q is smaller where it is compared, and only there: what a rejection leaves is max(p - q, 0).
    accepted, left = torch.minimum(q, p / 0.5), (p - q).clamp(min=0)
    assert torch.allclose(law, accepted + (1 - accepted.sum()) * left / left.sum(), atol=1e-12)


def test_relaxed_takes_the_n_best_within_the_margin() -> None:
    row = torch.tensor([0.1, 0.4, 0.3, 0.2, 0.0])
    tree = TokenTree(Shape((-1, 0, 0, 0, 0, 0)), (1, 0, 1, 2, 3, 4), row[None], {0: 0}, "top_k")
    target = row.expand(6, 5)

    def passing(**options: float) -> list[int]:
        judgement = RELAXED.judge(tree, target, RELAXED.Options(**options))
        return [tree.tokens[node] for node in range(1, 6) if judgement.p[node] > judgement.thresholds[node]]

    assert passing(top_n=2, margin=1.0) == [1, 2]
    assert passing(top_n=5, margin=0.25) == [1, 2, 3]
    assert passing(top_n=5, margin=0.0) == [1], "the best one reaches its own bound"
    assert passing(top_n=5, margin=1.0) == [0, 1, 2, 3], "an impossible token never passes"


def test_the_optimum_of_a_tree_is_that_of_its_nodes_and_of_top_k_what_the_children_have() -> None:
    p, q = optima.node(4, 1)
    for proposal in (*SAMPLED, "top_k"):
        tree = TokenTree(Shape((-1, 0, 0)), (0, 2, 3), q[None], {0: 0}, proposal)
        found = optimum_of_nodes(tree, p.expand(3, 4))
        wanted = float(p[2] + p[3]) if proposal == "top_k" else optimum(p, q, 2, proposal)
        assert found[1:] == [None, None]
        assert math.isclose(found[0], wanted)


def _lossless(verifier) -> list[str]:
    proposals = (*SAMPLED, "top_k")
    return [name for name in proposals if verifier.promise(name, default_options(verifier)) == "yes"]
