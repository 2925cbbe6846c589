"""What the page says of a draft on a part of the vocabulary: no lossless rule accepts more than 1 - p(outside)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

import pytest
import torch

from specviz.drafting import BUILDERS
from specviz.verifiers import ALL_PROPOSALS, VERIFIERS, StepLuck
from specviz.verifiers.base import context_of
from specviz.verifiers.exact import Grown, Toy, draw_trees, futures, toy

LOSSLESS = ("rejection", "traversal", "naive")
OUTSIDE = 3
"""The token that the draft cannot propose, of four."""
K_CONFIG = BUILDERS["k_config"]


def on_a_part(seed: int) -> Toy:
    """Random target and draft over four tokens, of which the draft proposes three."""
    pair = toy(seed, vocabulary=4, depth=2)
    draft = pair.draft.clone()
    draft[:, OUTSIDE] = 0
    return replace(pair, draft=draft / draft.sum(-1, keepdim=True))


def trees(pair: Toy, tree: str, proposal: str) -> list[Grown]:
    return draw_trees(K_CONFIG, K_CONFIG.Options(tree=tree, proposal=proposal), pair)


def acceptance(name: str, pair: Toy, grown: list[Grown]) -> Iterator[tuple[float, float]]:
    """For each text that a path may come to and that has children: how often a child of it is accepted, over all trees
    and all luck, and what the target gives there to tokens that the draft can propose."""
    verifier, reached, went_on = VERIFIERS[name], Counter(), Counter()
    options = verifier.Options()
    for one in grown:
        parents = {*one.tree.shape.parents}
        judgement = verifier.judge(one.tree, one.target.clone(), options)
        context = context_of(one.tree, judgement, options)
        for dice, walk in futures(lambda dice, context=context: verifier.walk(context, StepLuck(dice, 0))):
            path = [0, *walk.path]
            for depth, node in enumerate(path):
                if node in parents:
                    text = tuple(one.tree.tokens[at] for at in path[1 : depth + 1])
                    reached[text] += one.probability * dice.probability
                    went_on[text] += one.probability * dice.probability * (depth + 1 < len(path))
    for text, probability in reached.items():
        inside = 1 - float(pair.target[pair.context(text), OUTSIDE])
        yield went_on[text] / probability, inside


@pytest.mark.parametrize("proposal", ALL_PROPOSALS)
@pytest.mark.parametrize("name", LOSSLESS)
def test_no_lossless_rule_passes_the_ceiling_after_any_text(name: str, proposal: str) -> None:
    """An accepted token is one of the draft's, and it is the next token of the text, which the target's law decides."""
    pair = on_a_part(1)
    found = list(acceptance(name, pair, trees(pair, "2,1", proposal)))
    assert len(found) > 2, "the root and texts of one token"
    assert all(accepted <= inside + 1e-9 for accepted, inside in found)


def test_a_tree_of_all_that_can_be_proposed_reaches_it_and_a_lossy_rule_passes_it() -> None:
    pair = on_a_part(1)
    grown = trees(pair, "3", "top_k")
    assert len(grown) == 1
    ((accepted, inside),) = acceptance("naive", pair, grown)
    assert accepted == pytest.approx(inside, abs=1e-9)
    # In the best of such pairs for it: the page's ceiling is none for a rule that is not lossless.
    over = [
        a - i for seed in range(6) for a, i in acceptance("eta", on_a_part(seed), trees(on_a_part(seed), "2", "top_k"))
    ]
    assert max(over) > 0.05


@pytest.mark.parametrize("proposal", ALL_PROPOSALS)
@pytest.mark.parametrize("k", [1, 2])
def test_the_optimum_at_a_node_is_no_higher(k: int, proposal: str) -> None:
    """Over all rules that decide node by node at once: 1 + min over sets H of p(H) - P(all proposals lie in H) (Hu et
    al. 2025, arXiv 2502.18779). The draft's own tokens are one such set, and the best rule may well stay below it."""
    for seed in range(3):
        pair = on_a_part(seed)
        p, grown = pair.target[0], trees(pair, str(k), proposal)
        slack = []
        for size in range(5):
            for held in combinations(range(4), size):
                drawn = sum(one.probability for one in grown if {*one.tree.tokens[1:]} <= {*held})
                slack.append(float(p[list(held)].sum()) - drawn)
        optimum, ceiling = 1 + min(slack), 1 - float(p[OUTSIDE])
        assert optimum <= ceiling + 1e-9
        ((accepted, inside),) = acceptance("rejection", pair, grown)
        assert inside == pytest.approx(ceiling)
        assert accepted <= optimum + 1e-9
        if k == 1 and proposal != "top_k":
            assert torch.minimum(p, pair.draft[0]).sum() == pytest.approx(optimum), "of one proposal 1 - TV(p, q)"
            assert accepted == pytest.approx(optimum)
