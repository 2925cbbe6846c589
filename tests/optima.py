"""Random nodes, everything that can be proposed at them, and the optimum and acceptances there by enumeration."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import networkx
import torch
from networkx.algorithms.flow import edmonds_karp

from specviz.trace.schema import Proposal
from specviz.tree import Shape, TokenTree
from specviz.verifiers import End, Verifier, default_options
from specviz.verifiers.optimum import expected_acceptance

Sequences = list[tuple[tuple[int, ...], float]]


def node(vocabulary: int, seed: int, spread: float = 1.5) -> tuple[torch.Tensor, torch.Tensor]:
    """p and q [V] that disagree."""
    luck = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, vocabulary, dtype=torch.float64, generator=luck) * spread
    p, q = logits.softmax(-1)
    return p, q


def sequences(q: torch.Tensor, k: int, proposal: Proposal) -> Sequences:
    """All siblings in draw order, with their probability."""
    if proposal == "top_k":
        return [(tuple(q.topk(min(k, len(q))).indices.tolist()), 1.0)]
    rates = q.tolist()
    if proposal == "with_replacement":
        drawn = itertools.product(range(len(rates)), repeat=k)
        return [(tokens, float(q[list(tokens)].prod())) for tokens in drawn]
    found = []
    for tokens in itertools.permutations(range(len(rates)), min(k, len(rates))):
        probability, left = 1.0, set(range(len(rates)))
        for token in tokens:
            probability *= rates[token] / sum(sorted(rates[other] for other in left))
            left.remove(token)
        found.append((tokens, probability))
    return found


def over_all_sets(p: torch.Tensor, q: torch.Tensor, k: int, proposal: Proposal) -> float:
    """``1 + min over H of p(H) - Q(H)``, every set H tried."""
    drawn = sequences(q, k, proposal)
    least = 0.0
    for size in range(len(p) + 1):
        for inside in itertools.combinations(range(len(p)), size):
            within = sum(probability for tokens, probability in drawn if set(tokens) <= set(inside))
            least = min(least, float(p[list(inside)].sum()) - within)
    return 1 + least


def over_all_couplings(p: torch.Tensor, q: torch.Tensor, k: int, proposal: Proposal) -> float:
    """The linear programme over all couplings: as much of every draw as can go to its own tokens, p[x] to each at most.

    It is the largest flow from draws to tokens; capacities are fractions, so that nothing is rounded.
    """
    graph = networkx.DiGraph()
    for tokens, probability in sequences(q, k, proposal):
        graph.add_edge("from", tokens, capacity=Fraction(probability))
        graph.add_edges_from((tokens, token) for token in tokens)
    graph.add_edges_from((token, "to", {"capacity": Fraction(float(p[token]))}) for token in range(len(p)))
    return float(networkx.maximum_flow_value(graph, "from", "to", flow_func=edmonds_karp))


def families(
    p: torch.Tensor, q: torch.Tensor, k: int, proposal: Proposal
) -> tuple[TokenTree, torch.Tensor, list[float]]:
    """A tree with a node for every sequence of siblings, each with these children, and the sequences' probabilities.

    Nodes 1, 2, ... are those nodes; they are children of the root for want of another place.
    """
    drawn = sequences(q, k, proposal)
    parents, tokens = [-1, *([0] * len(drawn))], [0] * (len(drawn) + 1)
    for parent, (siblings, _) in enumerate(drawn, start=1):
        parents += [parent] * len(siblings)
        tokens += siblings
    row_of = dict.fromkeys(range(len(drawn) + 1), 0)
    tree = TokenTree(Shape(tuple(parents)), tuple(tokens), q[None], row_of, proposal)
    # The root's own children are no draw from q, so nothing is judged there: it has the row of a node of its own.
    return tree, p.expand(len(parents), len(p)), [probability for _, probability in drawn]


def mean_acceptance(verifier: Verifier, tree: TokenTree, target: torch.Tensor, weights: Sequence[float]) -> float:
    """Over all sequences of siblings: what the rule expects at a node."""
    judgement = verifier.judge(tree, target, default_options(verifier)).on_host()
    found = expected_acceptance(verifier, tree, judgement)
    assert found is not None
    return sum(weight * found[place] for place, weight in enumerate(weights, start=1))


def first_token(
    verifier: Verifier, options: Any, tree: TokenTree, target: torch.Tensor, weights: Sequence[float]
) -> torch.Tensor:
    """[V], the law of the token after a node under a rule that flips a coin for each child in turn."""
    judgement = verifier.judge(tree, target, options)
    law = torch.zeros(target.shape[-1], dtype=target.dtype)
    for node_id, weight in enumerate(weights, start=1):
        children, left = tree.shape.children[node_id], weight
        for child in children:
            share = min(1.0, float(judgement.thresholds[child]))
            law[tree.tokens[child]] += left * share
            left *= 1 - share
        law += left * judgement.distribution(End(node_id, "residual", children))
    return law
