"""Lossless or not, proved by summing over every tree and every coin; and that the proof notices every known fault."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from specviz.dice import Dice, SeededDice
from specviz.drafting import BUILDERS, Builder, Draft, Limits
from specviz.drafting.base import propose
from specviz.tree import Growth, TokenTree
from specviz.verifiers import (
    ALL_PROPOSALS,
    VERIFIERS,
    Context,
    End,
    Judgement,
    Luck,
    StepLuck,
    Verifier,
    Walk,
    siblings,
)
from specviz.verifiers.base import context_of
from specviz.verifiers.check import (
    EXACT,
    LOSSY,
    TOYS,
    Evidence,
    Finding,
    cases_for,
    check,
    check_one,
    format_report,
)
from specviz.verifiers.exact import Emitted, Toy, draw_trees, emitted, futures, law_of, toy
from tests.faults import stale_residual_verifier
from tests.verifiers.test_proof_table import assert_is_the_entry

LOSSLESS = ("rejection", "traversal", "naive")
K_CONFIG, EXPLICIT, DYNAMIC = BUILDERS["k_config"], BUILDERS["explicit"], BUILDERS["dynamic"]
T3, ZEROS = TOYS["V=3"], TOYS["V=3 with zeros"]


def emit(verifier: Verifier | str, tree: str, proposal: str, pair: Toy = T3, builder: Builder = K_CONFIG) -> Emitted:
    """What a verifier emits on k_config (or explicit) trees."""
    verifier = VERIFIERS[verifier] if isinstance(verifier, str) else verifier
    field = "paths" if "paths" in builder.Options.model_fields else "tree"
    options = builder.Options(**{field: tree, "proposal": proposal})
    return emitted(verifier, verifier.Options(), draw_trees(builder, options, pair), pair)


# ------------------------------------------------------------------------------------------- 1. exact, or lossy


@pytest.fixture(scope="module")
def findings() -> dict[tuple[str, str], Finding]:
    """The whole check of everything built in: about 20 s on two slow cores."""
    return {(found.verifier, found.proposal): found for found in check(list(VERIFIERS.values())[:6])}


@pytest.mark.parametrize("proposal", ALL_PROPOSALS)
@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_verifiers_reproduce_the_target(findings, name: str, proposal: str):
    found = findings[name, proposal]
    assert found.promise == "yes"
    assert found.worst.distance < EXACT
    assert found.smallest is None
    assert (found.ok, found.verdict) == (True, "ok, lossless")


@pytest.mark.parametrize("proposal", ALL_PROPOSALS)
@pytest.mark.parametrize("name", ["eta", "longest_path"])
def test_lossy_verifiers_are_caught(findings, name: str, proposal: str):
    found = findings[name, proposal]
    assert found.promise == "no"
    assert found.worst.distance > LOSSY
    assert found.smallest.nodes <= 1
    assert abs(found.smallest.probability - found.smallest.reference) > LOSSY
    assert (found.ok, found.verdict) == (True, "ok, lossy")


@pytest.mark.parametrize("proposal", ALL_PROPOSALS)
def test_greedy_is_greedy_decoding(findings, proposal: str):
    found = findings["greedy", proposal]
    assert found.worst.distance < EXACT
    assert found.verdict == "ok, greedy decoding"


def test_the_shipped_table_says_what_is_found_again(findings):
    """With the defaults; the grid of options is in tests/verifiers/test_proof_table.py."""
    assert len(findings) == 18
    for found in findings.values():
        assert_is_the_entry(found)


@pytest.mark.parametrize("proposal", ALL_PROPOSALS)
def test_the_cases_cover_every_kind_of_tree(proposal: str):
    cases = cases_for(proposal)
    labels = {case.label for case in cases}
    assert {"no draft", "(1)", "(1,1)", "(1,1,1)", "(2)", "(3)", "(2,2)", "(2,1,1)", "[0],[1],[1,0]"} <= labels
    assert {case.pair for case in cases} == set(TOYS)
    for rule in ("eagle2", "best_first"):
        assert any(label.startswith(f"dynamic rule={rule}") for label in labels) == (proposal == "top_k")
    covered = {case.builder for case in cases}
    assert covered == {"k_config", "explicit", "sequoia"} | ({"dynamic"} if proposal == "top_k" else set())
    sizes = [case.nodes(proposal) for case in cases]
    assert sizes == sorted(sizes)


def test_longer_first_pays(findings):
    """On (2,2) without replacement: naive < rejection < traversal in mean tokens per step."""
    naive, rejected, traversed = (
        findings[name, "without_replacement"].tokens_per_step for name in ("naive", "rejection", "traversal")
    )
    assert naive + 0.1 < rejected
    assert rejected + 0.005 < traversed


def test_selecting_the_first_passing_edge_is_lossy_too():
    eta = VERIFIERS["eta"]
    found = check_one(eta, eta.Options(select="first"), "without_replacement")
    assert_is_the_entry(found)
    assert found.worst.distance > LOSSY


@pytest.mark.parametrize("proposal", ALL_PROPOSALS)
@pytest.mark.parametrize("name", LOSSLESS)
def test_ends_of_sequence_inside_the_tree_keep_it_exact(name: str, proposal: str):
    options = K_CONFIG.Options(tree="2,1,1", proposal=proposal)
    trees = draw_trees(K_CONFIG, options, T3, end_tokens=frozenset({0}))
    assert emitted(VERIFIERS[name], VERIFIERS[name].Options(), trees, T3).distance < EXACT


def test_toys_are_what_they_should_be():
    for pair in TOYS.values():
        for rows in (pair.target, pair.draft):
            assert rows.dtype == torch.float64
            torch.testing.assert_close(rows.sum(-1), torch.ones(len(rows), dtype=torch.float64))
        overlap = torch.minimum(pair.target, pair.draft).sum(-1).mean()
        assert 0.4 < overlap < 0.9
    assert bool((ZEROS.target == 0).any() and (ZEROS.draft == 0).any())
    proposed_but_forbidden = (ZEROS.target == 0) & (ZEROS.draft > 0)
    assert bool(proposed_but_forbidden.any())
    assert torch.equal(toy(5, 3, depth=1).target, toy(5, 3, depth=2).target[:4])


@pytest.mark.parametrize("proposal", ALL_PROPOSALS)
def test_trees_are_drawn_with_probabilities_that_sum_to_one(proposal: str):
    trees = draw_trees(K_CONFIG, K_CONFIG.Options(tree="2,1", proposal=proposal), ZEROS)
    assert sum(grown.probability for grown in trees) == pytest.approx(1)
    for grown in trees:
        for verifier in VERIFIERS.values():
            law = law_of(verifier, verifier.Options(), grown.tree, grown.target)
            assert sum(law.values()) == pytest.approx(1)
    assert len({grown.tree.tokens for grown in trees}) == len(trees)


# --------------------------------------------------------------------------------------------------- 2. mutants


def mutant_builder(change: Callable[[list[int], list[float]], list[int]]) -> Builder:
    """One level of siblings that are tampered with after they were proposed."""

    def grow(growth: Growth, draft: Draft, options, dice: Dice, step: int, limits: Limits) -> None:
        rows = draft.expand(growth, [0])
        growth.add_rows([0], rows)
        tokens = propose(rows, [int(options.tree)], [0], options.proposal, dice, step)[0]
        for token in change(tokens, rows[0].tolist()):
            growth.add(0, token)

    return replace(K_CONFIG, grow=grow)


def unchanged(tokens: list[int], q: list[float]) -> list[int]:
    return tokens


def sort_by_q(tokens: list[int], q: list[float]) -> list[int]:
    return sorted(tokens, key=lambda token: -q[token])


def prune_by_q(tokens: list[int], q: list[float]) -> list[int]:
    best = sort_by_q(tokens, q)[:2]
    return [token for token in tokens if token in best]


def merge(tokens: list[int], q: list[float]) -> list[int]:
    return list(dict.fromkeys(tokens))


SIBLING_MUTANTS = [
    (sort_by_q, "2", "without_replacement", 0.1),
    (sort_by_q, "2", "with_replacement", 0.1),
    (prune_by_q, "3", "without_replacement", 0.1),
    (merge, "3", "with_replacement", 0.01),
]


@pytest.mark.parametrize("name", ["rejection", "traversal"])
@pytest.mark.parametrize(("change", "tree", "proposal", "at_least"), SIBLING_MUTANTS)
def test_tampered_siblings_are_noticed(name: str, change, tree: str, proposal: str, at_least: float):
    assert emit(name, tree, proposal, builder=mutant_builder(unchanged)).distance < EXACT
    assert emit(name, tree, proposal, builder=mutant_builder(change)).distance > at_least


@pytest.mark.parametrize(("change", "tree", "proposal", "at_least"), SIBLING_MUTANTS)
def test_naive_does_not_care_how_siblings_were_chosen(change, tree: str, proposal: str, at_least: float):
    assert emit("naive", tree, proposal, builder=mutant_builder(change)).distance < EXACT


@pytest.mark.parametrize("name", ["rejection", "traversal"])
def test_a_draft_row_that_is_not_renormalized_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch):
    def zero_only(q: torch.Tensor, x: torch.Tensor) -> None:
        q.scatter_(-1, x, 0.0)

    monkeypatch.setattr(siblings, "take_out", zero_only)
    assert emit(name, "2", "without_replacement").distance > 0.01
    assert emit(name, "2", "with_replacement").distance < EXACT


def mutant_rows(change: Callable[[list[torch.Tensor]], list[torch.Tensor]]) -> Builder:
    """A builder that hands on other draft rows than the ones it sampled from."""

    def grow(growth: Growth, *rest) -> None:
        K_CONFIG.grow(growth, *rest)
        growth.rows = change(growth.rows)

    return replace(K_CONFIG, grow=grow)


@pytest.mark.parametrize("name", ["rejection", "traversal"])
@pytest.mark.parametrize("proposal", ["without_replacement", "with_replacement"])
def test_the_wrong_draft_row_is_noticed(name: str, proposal: str):
    def before_temperature(rows: list[torch.Tensor]) -> list[torch.Tensor]:
        return [torch.softmax(row.log() / 2, -1) for row in rows]

    def of_the_root(rows: list[torch.Tensor]) -> list[torch.Tensor]:
        return [rows[0][:1].expand_as(row) for row in rows]

    for change in (before_temperature, of_the_root):
        assert emit(name, "2,1", proposal, builder=mutant_rows(change)).distance > 0.01


def stale(name: str, forget: Callable[[tuple[int, ...]], tuple[int, ...]]) -> Verifier:
    """A verifier whose bonus comes from a residual that does not know of every rejection."""
    healthy = VERIFIERS[name]

    def judge(tree: TokenTree, target: torch.Tensor, options) -> Judgement:
        judgement = healthy.judge(tree, target, options)

        def distribution(end: End) -> torch.Tensor:
            return judgement.distribution(replace(end, rejected=forget(end.rejected)))

        return replace(judgement, distribution=distribution)

    return replace(healthy, name=f"stale_{name}", judge=judge)


@pytest.mark.parametrize("proposal", ALL_PROPOSALS)
@pytest.mark.parametrize("name", ["rejection", "traversal"])
def test_a_bonus_from_a_stale_residual_is_noticed(name: str, proposal: str):
    assert emit(stale(name, lambda rejected: ()), "1", proposal).distance > 0.01
    # The same fault where the last of several rejections alone is forgotten.
    forgetful = stale(name, lambda rejected: rejected[:-1] if len(rejected) > 1 else rejected)
    assert emit(forgetful, "1,1", proposal).distance < EXACT
    assert emit(forgetful, "2", proposal).distance > 0.01


def test_thresholds_that_ignore_the_residual_are_noticed():
    def judge(tree: TokenTree, target: torch.Tensor, options) -> Judgement:
        healthy = VERIFIERS["rejection"].judge(tree, target, options)
        return replace(healthy, thresholds=VERIFIERS["longest_path"].judge(tree, target, options).thresholds)

    assert emit(replace(VERIFIERS["rejection"], judge=judge), "2", "with_replacement").distance > 0.01


def test_one_coin_for_all_nodes_is_noticed():
    """Every coin has the right probability; only together are they wrong."""

    class OneCoin:
        def __init__(self, luck: Luck):
            self.draw = luck.draw
            self.accept = lambda node, threshold: luck.accept(0, threshold)

    def walk(context: Context, luck: Luck) -> Walk:
        return VERIFIERS["rejection"].walk(context, OneCoin(luck))

    assert emit(replace(VERIFIERS["rejection"], walk=walk), "1,1", "with_replacement").distance > 0.01


def test_check_finds_a_planted_fault_and_says_where():
    faulty = stale("rejection", lambda rejected: ())
    found = check_one(faulty, faulty.Options(), "without_replacement")
    assert not found.ok
    assert found.verdict == "NOT LOSSLESS as promised"
    assert (found.smallest.tree, found.smallest.nodes) == ("(1)", 1)
    report = format_report([found])
    assert "stale_rejection  without replacement" in report
    assert f"(1), {found.smallest.pair}" in report
    assert report.endswith("1 promises checked on 1,498 drawn trees: 1 broken.")


def test_a_verifier_that_works_in_place_spoils_nothing_for_the_next():
    healthy = VERIFIERS["rejection"]

    def judge(tree, target, options):
        judgement = healthy.judge(tree, target, options)
        target.fill_(1 / target.shape[-1])
        tree.rows.fill_(1 / target.shape[-1])
        return judgement

    grown = draw_trees(K_CONFIG, K_CONFIG.Options(tree="2", proposal="without_replacement"), T3)
    assert emitted(replace(healthy, judge=judge), healthy.Options(), grown, T3).distance > LOSSY
    assert emitted(healthy, healthy.Options(), grown, T3).distance < EXACT


def test_a_stale_residual_is_called_lossy_with_its_smallest_tree():
    faulty = stale_residual_verifier("mine")
    report = format_report(check([faulty]))
    assert report.count("NOT LOSSLESS as promised") == len(ALL_PROPOSALS)
    assert "  mine, without replacement: (1), V=3, TV" in report.split("Smallest tree that shows it:")[1]


@pytest.mark.parametrize(
    ("promise", "distance", "ok", "verdict"),
    [
        ("yes", 1e-15, True, "ok, lossless"),
        ("yes", 1e-11, False, "NOT LOSSLESS as promised"),
        ("yes", float("nan"), False, "NOT LOSSLESS as promised"),
        ("no", 0.2, True, "ok, lossy"),
        ("no", 1e-5, False, "CALLED LOSSY, but nothing shows it"),
        ("greedy decoding", 0.0, True, "ok, greedy decoding"),
        ("greedy decoding", 0.2, False, "NOT GREEDY DECODING as promised"),
    ],
)
def test_verdicts(promise, distance: float, ok: bool, verdict: str):
    worst = Evidence("(1)", "V=3", 1, distance, (0, 1), 0.1, 0.2)
    found = Finding("some", "top_k", promise, worst, None, 2.0, 10)
    assert (found.ok, found.verdict) == (ok, verdict)
    assert verdict in format_report([found])


# -------------------------------------------------------------------------------------------------- 3. textbooks


def chain_rows(tree: TokenTree, target: torch.Tensor) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Target rows [g + 1, V], draft rows [g, V] and drafted tokens of a chain."""
    return target.numpy(), tree.rows.numpy(), list(tree.tokens[1:])


def block_verification(p: np.ndarray, q: np.ndarray, x: list[int]) -> tuple[list[float], dict[tuple[int, ...], float]]:
    """Sun et al. 2024 (arXiv 2403.10444), as in the paper: thresholds h_1..h_g, and the law of what comes out."""
    g = len(x)
    worth = [1.0]
    for i in range(g):
        worth.append(min(worth[i] * p[i, x[i]] / q[i, x[i]], 1.0))
    h = []
    for i in range(1, g):
        s = np.maximum(worth[i] * p[i] - q[i], 0).sum()
        h.append(s / (s + 1 - worth[i]) if s + 1 - worth[i] > 0 else 0.0)
    h.append(worth[g])
    law: dict[tuple[int, ...], float] = {}
    later_fail = 1.0
    for accepted in range(g, -1, -1):
        stop = later_fail * (h[accepted - 1] if accepted else 1.0)
        later_fail *= 1 - (h[accepted - 1] if accepted else 1.0)
        row = p[g] if accepted == g else np.maximum(worth[accepted] * p[accepted] - q[accepted], 0)
        for token, weight in enumerate(row / row.sum() if row.sum() > 0 else row):
            law[(*x[:accepted], token)] = law.get((*x[:accepted], token), 0.0) + stop * weight
    return h, law


def leviathan(p: np.ndarray, q: np.ndarray, x: list[int]) -> dict[tuple[int, ...], float]:
    """Leviathan et al. 2023 (arXiv 2211.17192), algorithm 1: the law of what comes out."""
    law: dict[tuple[int, ...], float] = {}
    reach = 1.0
    for i in range(len(x) + 1):
        accept = min(1.0, p[i, x[i]] / q[i, x[i]]) if i < len(x) else 0.0
        row = np.maximum(p[i] - q[i], 0) if i < len(x) else p[i]
        for token, weight in enumerate(row / row.sum() if row.sum() > 0 else row):
            law[(*x[:i], token)] = law.get((*x[:i], token), 0.0) + reach * (1 - accept) * weight
        reach *= accept
    return law


def assert_same_law(found: dict[tuple[int, ...], float], expected: dict[tuple[int, ...], float]) -> None:
    for tokens in found.keys() | expected.keys():
        assert found.get(tokens, 0.0) == pytest.approx(expected.get(tokens, 0.0), abs=1e-13)


@pytest.mark.parametrize("pair", [T3, ZEROS, toy(9, 4)], ids=lambda pair: pair.name)
@pytest.mark.parametrize("tree", ["1", "1,1", "1,1,1"])
def test_traversal_on_a_chain_is_block_verification(pair: Toy, tree: str):
    verifier = VERIFIERS["traversal"]
    for grown in draw_trees(K_CONFIG, K_CONFIG.Options(tree=tree), pair):
        thresholds, law = block_verification(*chain_rows(grown.tree, grown.target))
        judged = verifier.judge(grown.tree, grown.target, verifier.Options()).thresholds
        assert judged[1:].tolist() == pytest.approx(thresholds, abs=1e-13)
        assert_same_law(law_of(verifier, verifier.Options(), grown.tree, grown.target), law)


@pytest.mark.parametrize("pair", [T3, ZEROS, toy(9, 4)], ids=lambda pair: pair.name)
@pytest.mark.parametrize("tree", ["1", "1,1", "1,1,1"])
def test_rejection_on_a_chain_is_the_textbook(pair: Toy, tree: str):
    verifier = VERIFIERS["rejection"]
    for grown in draw_trees(K_CONFIG, K_CONFIG.Options(tree=tree), pair):
        p, q, x = chain_rows(grown.tree, grown.target)
        judged = verifier.judge(grown.tree, grown.target, verifier.Options()).thresholds
        assert judged[1:].tolist() == pytest.approx([p[i, x[i]] / q[i, x[i]] for i in range(len(x))])
        assert_same_law(law_of(verifier, verifier.Options(), grown.tree, grown.target), leviathan(p, q, x))


@pytest.mark.parametrize("pair", [T3, ZEROS, toy(9, 4)], ids=lambda pair: pair.name)
def test_naive_is_rejection_on_top_k(pair: Toy):
    shapes = [(K_CONFIG, {"tree": tree, "proposal": "top_k"}) for tree in ("1,1", "3", "2,2", "2,1,1")]
    shapes += [(EXPLICIT, {"paths": "[0],[1],[1,0],[1,1],[1,0,0]", "proposal": "top_k"})]
    shapes += [(DYNAMIC, {"top_k": 3, "depth": 3, "total": 7})]
    for builder, options in shapes:
        (grown,) = draw_trees(builder, builder.Options(**options), pair)
        laws = [
            law_of(VERIFIERS[name], VERIFIERS[name].Options(), grown.tree, grown.target)
            for name in ("naive", "rejection")
        ]
        assert_same_law(*laws)


def test_the_seeded_dice_walks_the_enumerated_law():
    """Enumeration and sampling meet: 2,000 seeded steps against the exact law of one tree."""
    options = K_CONFIG.Options(tree="2,1")
    grown = draw_trees(K_CONFIG, options, T3)[7]
    for name in ("rejection", "traversal", "naive", "longest_path"):
        verifier = VERIFIERS[name]
        law = law_of(verifier, verifier.Options(), grown.tree, grown.target)
        seen = dict.fromkeys(law, 0)
        judgement = verifier.judge(grown.tree, grown.target, verifier.Options())
        context = context_of(grown.tree, judgement, verifier.Options())
        for step in range(2000):
            luck = StepLuck(SeededDice(1), step)
            walk = verifier.walk(context, luck)
            bonus = walk.end.drawn or luck.draw(walk.end.node, judgement.distribution(walk.end))
            seen[(*(grown.tree.tokens[node] for node in walk.path), bonus.token)] += 1
        statistic = sum((seen[t] - 2000 * p) ** 2 / (2000 * p) for t, p in law.items())
        assert len(law) <= 15
        assert statistic < 36.1  # at most 14 degrees of freedom, p = 0.001


def test_enumerating_a_walk_takes_every_way_once():
    grown = draw_trees(K_CONFIG, K_CONFIG.Options(tree="2"), T3)[0]
    verifier = VERIFIERS["longest_path"]
    judgement = verifier.judge(grown.tree, grown.target, verifier.Options())
    context = context_of(grown.tree, judgement, verifier.Options())
    walks = [walk.rulings for _, walk in futures(lambda dice: verifier.walk(context, StepLuck(dice, 0)))]
    open_coins = sum(0 < t < 1 for t in context.thresholds[1:])
    assert len(walks) == len(set(walks)) == 2**open_coins
