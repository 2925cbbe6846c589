"""How far from the target a verifier decides: exact against enumeration, and bounds that hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from specviz.compare import divergence
from specviz.compare.divergence import Divergences, ask_first_token_law, distance, kl
from specviz.dice import SeededDice
from specviz.drafting import BUILDERS
from specviz.engine.session import Session
from specviz.engine.step_values import Verified
from specviz.options import Options, parse_options
from specviz.trace.schema import Choice
from specviz.transfers import Reads
from specviz.verifiers import VERIFIERS, StepLuck, proof_table, verify
from specviz.verifiers.exact import draw_trees, law_of, toy
from tests.faults import stale_residual_verifier
from tests.pairs import make_pair, make_settings

TREES = {
    "drawn": Choice(name="k_config", options={"tree": "2,2"}),
    "heterogeneous": Choice(name="explicit", options={"paths": "[0],[1],[0,0],[1,0],[1,0,0]"}),
    "with replacement": Choice(name="k_config", options={"tree": "2,1", "proposal": "with_replacement"}),
    "top-k": Choice(name="k_config", options={"tree": "2,2", "proposal": "top_k"}),
}
EXACT = 1e-12


def trees_of(name: str, pair):
    choice = TREES[name]
    builder = BUILDERS[choice.name]
    return draw_trees(builder, parse_options(builder.Options, "builder", choice), pair)


def first_token_law(name: str, grown):
    verifier = VERIFIERS[name]
    return ask_first_token_law(verifier, verifier.Options(), grown.tree, grown.target, Reads())()


@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize("verifier", VERIFIERS.values(), ids=lambda verifier: verifier.name)
def test_the_law_of_the_first_token_is_that_of_the_enumeration(verifier, tree: str) -> None:
    pair = toy(3, depth=3)
    for grown in trees_of(tree, pair)[:40]:
        law = first_token_law(verifier.name, grown)
        whole = law_of(verifier, verifier.Options(), grown.tree, grown.target)
        expected = [sum(p for tokens, p in whole.items() if tokens[0] == x) for x in range(pair.vocabulary)]
        assert law.sum() == pytest.approx(1, abs=EXACT)
        assert law.numpy() == pytest.approx(np.array(expected), abs=EXACT)


def watched(grown, names=tuple(VERIFIERS)):
    found = Divergences()
    verified = {}
    for name in names:
        verifier = VERIFIERS[name]
        done = verify(verifier, grown.tree, grown.target, verifier.Options(), StepLuck(SeededDice(0), 0))
        tree = proof_table.Tree(BUILDERS["k_config"], BUILDERS["k_config"].Options())
        lossless = proof_table.says(verifier, verifier.Options(), grown.tree.proposal, tree)
        verified[name] = Verified(verifier, verifier.Options(), *done, lossless)
    found(grown.tree, grown.target, verified)
    return found.found[0]


@pytest.mark.parametrize("tree", TREES)
def test_bounds_and_the_unbiased_figure_hold_in_the_mean_over_all_trees(tree: str) -> None:
    pair = toy(3, depth=3)
    row = pair.target[0]
    mean = {name: torch.zeros(pair.vocabulary, dtype=torch.float64) for name in VERIFIERS}
    sums = {name: np.zeros(3) for name in VERIFIERS}
    for grown in trees_of(tree, pair):
        for name, one in watched(grown).items():
            mean[name] += grown.probability * first_token_law(name, grown)
            sums[name] += grown.probability * np.array([one.first_tv, one.first_tv_bound, one.first_excess])
    for name, law in mean.items():
        truth = distance(law, row)
        tv, bound, excess = sums[name]
        assert truth <= tv + EXACT
        assert truth <= bound + EXACT
        entropy = -float((row * row.log()).sum())
        assert excess == pytest.approx(-float((law * row.log()).sum()) - entropy, abs=1e-9)
        if VERIFIERS[name].promise("without_replacement", VERIFIERS[name].Options()) == "yes":
            assert bound == 0
            assert truth < EXACT
            assert excess == pytest.approx(0, abs=1e-9)
        if tree == "top-k":
            assert tv == pytest.approx(truth, abs=EXACT)
            assert bound == pytest.approx(truth, abs=1e-9)
    assert sums["eta"][1] > 0.01


def test_a_promise_that_nobody_proved_sets_no_bound_to_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    faulty = stale_residual_verifier("mine")
    assert faulty.promise("without_replacement", Options()) == "yes"
    monkeypatch.setitem(VERIFIERS, "mine", faulty)
    grown = trees_of("drawn", toy(17, depth=3))
    assert max(watched(one, ("mine",))["mine"].first_tv_bound for one in grown) > 0.01
    assert max(watched(one, ("rejection",))["rejection"].first_tv_bound for one in grown) == 0


def test_distances_by_hand() -> None:
    a, b = torch.tensor([0.5, 0.5, 0.0]).double(), torch.tensor([0.25, 0.25, 0.5]).double()
    assert distance(a, b) == pytest.approx(0.5)
    assert kl(a, b) == pytest.approx(math.log(2))
    assert kl(a, a) == 0


def test_what_cannot_be_summed_over_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    grown = trees_of("drawn", toy(3, depth=3))[0]
    monkeypatch.setattr(divergence, "MOST_FUTURES", 1)
    monkeypatch.setattr(divergence, "LONGEST_PATH_NODES", 1)
    found = watched(grown, ("traversal", "longest_path", "naive"))
    assert found["traversal"] == found["longest_path"] == divergence.NONE
    assert found["naive"].first_tv == 0
    assert first_token_law("rejection", grown) is None


def test_a_session_shows_every_step_to_its_watcher_and_takes_tokens() -> None:
    pair, settings = make_pair(), make_settings("4,2,2", max_new_tokens=8)
    plain = Session(pair, settings, "the sea")
    steps = list(plain.run())
    watched_one = Session(pair, settings, "", tokens=plain.prompt_tokens)
    seen = Divergences()
    watched_one.watch = seen
    assert [step.committed for step in watched_one.run()] == [step.committed for step in steps]
    assert len(seen.found) == len(steps)
    assert all(set(step) == set(steps[0].verdicts) for step in seen.found)
    assert all(one.first_tv is not None for step in seen.found for one in step.values())
