"""Thresholds, bonus rows and paths against the rule an engine says it has, with numbers reckoned by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from specviz.dice import SeededDice
from specviz.recorder.checks import examine, online
from specviz.recorder.checks.rejudged import decisions, rejudged
from specviz.recorder.checks.results import tolerance_of_format, unit_roundoff
from specviz.recorder.checks.rows import View
from specviz.recorder.checks.rule import bonus_row, bonus_token, thresholds
from specviz.recorder.raw_step import BONUS, RawStep
from specviz.tree import Shape, TokenTree
from specviz.verifiers import ALL_PROPOSALS, VERIFIERS, StepLuck, verify
from tests.recorder.checks.steps import P, Q, step


def view(**changes: object) -> View:
    return View(step(**changes))


def test_the_numbers_by_hand_are_the_rules() -> None:
    found = thresholds(view())
    assert (found.compared, found.failed, found.lacked) == (2, 0, None)
    assert found.worst == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("said", "node"),
    [
        ({1: 0.25, 2: 0.25 / 0.2}, 2),  # q not renormalised
        ({1: 0.25, 2: 0.3 / (1 / 3)}, 2),  # p not the residual
        ({1: 0.1, 2: 0.75}, 1),  # p, without q
    ],
)
def test_another_threshold_is_found_where_it_is(said: dict[int, float], node: int) -> None:
    found = thresholds(view(thresholds=said))
    assert (found.failed, found.node) == (1, node)
    assert f"node {node}" in found.message
    assert f"{said[node]:.4g}" in found.message


def test_a_threshold_cut_at_1_is_right() -> None:
    """The first child, token 0, has p/q = 4: engines that take min(1, p/q) say 1."""
    for said, failed in ((4.0, 0), (1.0, 0), (2.0, 1)):
        assert thresholds(view(tokens=[0, 0, 1], thresholds={1: said})).failed == failed


def test_top_k_children_have_point_masses() -> None:
    """The first has p = 0.1; without it p is (0.4, 0.3, 0.2, 0) / 0.9, so the second has 1/3. No row is needed."""
    said = {"proposal": "top_k", "q": None, "q_nodes": [], "bonus_row": np.array([0.4, 0.0, 0.2, 0.0]) / 0.6}
    assert thresholds(view(thresholds={1: 0.1, 2: 1 / 3}, **said)).failed == 0
    assert thresholds(view(thresholds={1: 0.25, 2: 0.75}, **said)).failed == 2
    assert bonus_row(view(**said)).failed == 0


def test_with_replacement_q_stays_as_it_is() -> None:
    """The second child then has 0.25 / 0.2, which is more than 1."""
    assert thresholds(view(proposal="with_replacement", thresholds={2: 1.25})).failed == 0
    assert thresholds(view(proposal="with_replacement", thresholds={2: 0.75})).failed == 1


def test_eta_has_the_threshold_of_its_row() -> None:
    entropy = -float(P @ np.log(P))
    due = min(0.2, 0.3 * np.exp(-entropy))
    said = {"rule": "eta:epsilon=0.2", "proposal": None, "q": None, "q_nodes": [], "coins": {}}
    assert thresholds(view(thresholds={1: due, 2: due}, **said)).failed == 0
    assert thresholds(view(thresholds={1: 0.2, 2: due}, **said)).failed == 1


def test_other_rules_are_judged_by_their_own() -> None:
    """Longest path takes the unmodified rows: 0.25, and 0.3 / 0.2."""
    assert thresholds(view(rule="longest_path", thresholds={1: 0.25, 2: 1.5})).failed == 0
    assert thresholds(view(rule="naive", thresholds={1: 0.1, 2: 0.3})).failed == 0


@pytest.mark.parametrize(
    ("changes", "lacked"),
    [
        ({"thresholds": {}}, "thresholds"),
        ({"rule": None}, "rule"),
        ({"rule": "mine"}, "a rule that specviz has: the engine says 'mine'"),
        ({"rule": "eta:x=1"}, "a rule that specviz has"),
        ({"p": None}, "the target's rows"),
        ({"q": None}, "the draft's row at the root"),
        ({"proposal": None}, "how siblings were proposed"),
        ({"p": np.stack([P, P]), "p_nodes": [1, 2]}, "the target's row at the root"),
    ],
)
def test_what_thresholds_lack(changes: dict, lacked: str) -> None:
    found = thresholds(view(**changes))
    assert (found.compared, found.failed) == (0, 0)
    assert lacked in found.lacked


def test_rows_of_leaves_are_not_needed() -> None:
    assert thresholds(view(p=P[None], p_nodes=[0])).compared == 2


def test_the_bonus_row_is_the_residual() -> None:
    assert bonus_row(view()).failed == 0
    assert bonus_row(view(bonus_row=np.array([7.0, 0, 0, 0]))).failed == 0  # weights need not be scaled
    stale = bonus_row(view(bonus_row=np.array([0.75, 0.25, 0, 0])))
    assert (stale.failed, stale.node) == (1, 0)
    assert stale.worst == pytest.approx(0.25)
    assert "the residual" in stale.message
    leaf = {"accepted": [2], "committed": [1, 3], "bonus": 3}
    assert bonus_row(view(**leaf, bonus_row=P[::-1].copy())).failed == 0
    assert bonus_row(view(**leaf, bonus_row=P)).failed == 1
    assert "3 probabilities" in bonus_row(view(p=P[None, :3], p_nodes=[0], tokens=[0, 2, 1], q=Q[None, :3])).lacked


def test_a_bonus_that_the_residual_rules_out() -> None:
    assert bonus_token(view()).failed == 0
    found = bonus_token(view(bonus=1))
    assert (found.failed, found.compared) == (1, 1)
    assert "token 1, has probability 0" in found.message
    assert "the bonus token" in bonus_token(view(bonus=None)).lacked


def test_the_engines_own_decisions() -> None:
    assert decisions(view()).failed == 0
    found = decisions(view(coins={1: 0.2, 2: 0.8}))
    assert (found.failed, found.node) == (1, 1)
    assert "was rejected with coin 0.2 against 0.25" in found.message
    found = decisions(view(accepted=[2], coins={1: 0.9, 2: 0.8}))
    assert found.node == 2
    assert "coins" in decisions(view(coins={})).lacked
    assert "rule" in decisions(view(rule="longest_path")).lacked


def test_judged_again_with_its_coins() -> None:
    check, verdict = rejudged(view(coins={1: 0.9, 2: 0.8, BONUS: 0.5}))
    assert (check.compared, check.failed) == (1, 0)
    assert verdict.verifier == "rejection"
    assert verdict.path == ()
    assert [(one.node, one.outcome, one.uniform) for one in verdict.decisions] == [
        (1, "rejected", 0.9),
        (2, "rejected", 0.8),
    ]
    assert verdict.thresholds == pytest.approx((1, 0.25, 0.75))
    assert verdict.decisions[1].q == pytest.approx(1 / 3)
    assert verdict.decisions[1].residual.top.probs == pytest.approx((1.0,))
    assert (verdict.bonus.token, verdict.bonus.source, verdict.bonus.uniform) == (0, "residual", 0.5)


def test_another_path_is_found_at_the_node_where_it_parts() -> None:
    check, verdict = rejudged(view(coins={1: 0.9, 2: 0.7}))
    assert (check.failed, check.node) == (1, 2)
    assert "coin 0.7, threshold 0.75" in check.message
    assert verdict.path == (2,)
    assert verdict.bonus is None  # what ours would have drawn there nobody knows


def test_a_walk_that_goes_on_where_the_engine_stopped_has_parted() -> None:
    """Node 2 has a child of its own here, whose coin was never tossed."""
    tree = {"tokens": [0, 3, 1, 0], "parents": [-1, 0, 0, 2]}
    rows = {"q": np.stack([Q, Q]), "q_nodes": [0, 2], "p": np.stack([P, Q, P, P]), "p_nodes": [0, 1, 2, 3]}
    check, verdict = rejudged(view(coins={1: 0.9, 2: 0.7}, **tree, **rows))
    assert (check.failed, check.node, verdict) == (1, 2, None)
    check, verdict = rejudged(view(coins={1: 0.9}, **tree, **rows))
    assert (check.compared, verdict) == (0, None)
    assert "the coin of node 2" in check.lacked


def test_a_coin_that_rounding_may_have_put_on_either_side_is_the_engines() -> None:
    for coin, failed in ((0.75 - 1e-6, 0), (0.75 - 1e-3, 1)):
        assert rejudged(view(coins={1: 0.9, 2: coin}))[0].failed == failed
    assert rejudged(view(coins={1: 0.9, 2: 0.74}, dtype="bfloat16"))[0].failed == 0


def test_a_token_without_probability_cannot_be_saved_by_rounding() -> None:
    none = np.array([0.5, 0.5, 0.0, 0.0])
    check, _ = rejudged(view(p=np.stack([none, Q, P]), coins={1: 1e-9}, accepted=[1], committed=[3, 0]))
    assert check.failed == 1


def test_rules_without_coins_are_judged_again_too() -> None:
    said = {"proposal": None, "q": None, "q_nodes": [], "coins": {}, "thresholds": {}}
    check, verdict = rejudged(view(rule="greedy", **said))
    assert check.failed == 0
    assert verdict.decisions[0].q is None  # not recorded, so not told
    check, _ = rejudged(view(rule="greedy", **said, accepted=[2], committed=[1, 0]))
    assert check.failed == 1
    check, verdict = rejudged(view(rule="naive", **said))
    assert check.failed == 0
    assert verdict.bonus.token == 0


def test_a_draw_that_was_not_said_is_none_of_the_children() -> None:
    """The most likely token at the root is a child here, but what was drawn there is not known."""
    naive = step(rule="naive", tokens=[0, 0, 1], bonus=None, committed=[], coins={}, thresholds={})
    assert rejudged(View(naive))[0].failed == 0
    greedy = step(rule="greedy", tokens=[0, 0, 1], bonus=None, committed=[], coins={}, thresholds={})
    assert rejudged(View(greedy))[0].failed == 1


def test_a_step_whose_rule_is_not_known_is_only_shown_beside_ours() -> None:
    check, verdict = rejudged(view(rule=None))
    assert (check.compared, verdict.path) == (0, ())
    check, verdict = rejudged(view(rule=None, coins={1: 0.9, 2: 0.7}))
    assert (check.compared, verdict.path) == (0, (2,))
    check, verdict = rejudged(view(rule="mine"))
    assert (check.compared, verdict.verifier, verdict.path) == (0, "rejection", ())
    assert "a rule that specviz has" in check.lacked
    assert rejudged(view(rule="mine", coins={}))[1] is None
    assert rejudged(view(rule="mine", q=None))[1] is None
    assert rejudged(view(coins={}))[0].lacked == "coins"


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_residual_of_which_little_is_left_has_the_slack_of_its_format(dtype: str) -> None:
    """p and q differ by little more than rounding, so what is left is mostly rounding."""
    off = 3 * unit_roundoff(dtype)
    p = np.array([0.4 + off, 0.3 - off, 0.2, 0.1])
    q = np.array([0.4, 0.3, 0.2, 0.1])
    said = {"p": np.stack([p, p, p]), "q": q[None], "tokens": [0, 1, 0], "dtype": dtype, "draft_dtype": dtype}
    # The second child, token 0, has about 1 / (0.4 / 0.7) by hand, and any number as far as rounding goes.
    assert thresholds(view(**said, thresholds={2: 1.3})).failed == 0
    assert thresholds(view(**said, thresholds={1: 0.5})).failed == 1


def test_tolerances_follow_the_format() -> None:
    assert tolerance_of_format(None) == tolerance_of_format("float64") == tolerance_of_format("torch.float32") == 1e-4
    assert tolerance_of_format("float16") < tolerance_of_format("bfloat16")
    assert unit_roundoff("bfloat16") == 2**-9


def test_a_sound_step_has_no_failed_check() -> None:
    checks = online(step())
    assert not [check for check in checks if check.failed]
    assert len({check.name for check in checks}) == len(checks)
    ran = {check.name for check in checks if check.compared}
    assert ran == {one.name for one in checks} - {"path", "top_k_order", "processing"}


def test_a_step_of_which_little_was_said_lacks_the_rest() -> None:
    bare = step(
        p=None, q=None, proposal=None, rule=None, coins={}, thresholds={}, bonus_row=None, positions=None, mask=None
    )
    bare.caches = {}
    found = examine(bare)
    assert {check.name for check in found.checks if check.compared} == {"root", "committed_text"}
    assert all(check.lacked for check in found.checks if not check.compared)
    assert found.verdicts == {}


# ------------------------------------------------------------------------------- every rule, as an engine would have it


def engine_step(rule: str, proposal: str, dtype: torch.dtype, seed: int) -> RawStep:
    """A step of an engine that has one of specviz's rules, computed in its number format."""
    random = np.random.default_rng(seed)
    shape = Shape((-1, 0, 0, 0, 1, 1, 2, 4))
    rows = {name: torch.from_numpy(random.dirichlet(np.full(12, 0.5), size=len(shape))) for name in "pq"}
    # A draft that is not far off, or nothing would ever be accepted.
    p = rows["p"].to(dtype)
    q = ((rows["p"] + rows["q"]) / 2).to(dtype)
    tokens = [0] * len(shape)
    for node in shape.inner:
        family = shape.children[node]
        weights = q[node].double().numpy() / float(q[node].double().sum())
        if proposal == "top_k":
            drawn = np.argsort(-weights, kind="stable")[: len(family)]
        else:
            drawn = random.choice(12, size=len(family), p=weights, replace=proposal == "with_replacement")
        for child, token in zip(family, drawn, strict=True):
            tokens[child] = int(token)
    inner = {node: node for node in range(len(shape))}
    tree = TokenTree(shape, tuple(tokens), q, inner, proposal)
    verifier = VERIFIERS[rule]
    luck = StepLuck(SeededDice(seed), 0)
    judgement, walk, bonus, row = verify(verifier, tree, p, verifier.Options(), luck)
    coins = {one.node: one.uniform for one in walk.rulings if one.uniform is not None}
    committed = [*(tokens[node] for node in walk.path), bonus.token]
    return step(
        tokens=tokens,
        parents=list(shape.parents),
        proposal=proposal,
        p=p.float().numpy(),
        p_nodes=list(range(len(shape))),
        q=q.float().numpy(),
        q_nodes=list(range(len(shape))),
        rule=rule,
        accepted=list(walk.path),
        bonus=bonus.token,
        committed=committed,
        coins=coins,
        thresholds={one.node: float(judgement.thresholds[one.node]) for one in walk.rulings},
        bonus_row=row.float().numpy(),
        positions=[3 + depth for depth in shape.depths],
        mask=None,
        caches={},
        dtype=str(dtype).removeprefix("torch."),
        draft_dtype=str(dtype).removeprefix("torch."),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("proposal", ALL_PROPOSALS)
@pytest.mark.parametrize("rule", VERIFIERS)
def test_a_sound_engine_of_any_rule_has_no_failed_check(rule: str, proposal: str, dtype: torch.dtype) -> None:
    for seed in range(8):
        raw = engine_step(rule, proposal, dtype, seed)
        found = examine(raw)
        assert not [check for check in found.checks if check.failed]
        ran = {check.name for check in found.checks if check.compared}
        assert {"thresholds", "bonus_row", "bonus_token", "rejudged"} <= ran
        assert list(found.verdicts[rule].path) == raw.accepted
        assert found.verdicts[rule].bonus.token == raw.bonus


@pytest.mark.parametrize("proposal", ALL_PROPOSALS)
@pytest.mark.parametrize("rule", VERIFIERS)
def test_an_engine_of_another_rule_than_it_says_is_found(rule: str, proposal: str) -> None:
    """With top-k children most rules accept with p, so rejection and naive differ in luck alone."""
    other = "rejection" if rule in ("eta", "greedy", "longest_path") else "eta"
    failed = 0
    for seed in range(8):
        raw = engine_step(rule, proposal, torch.float32, seed)
        raw.rule = other
        failed += any(check.failed for check in examine(raw).checks)
    assert failed >= 4


def test_rows_that_are_no_distribution_fail_and_nothing_breaks() -> None:
    nothing = np.full(4, np.nan)
    found = examine(step(p=np.stack([nothing, Q, P]), bonus_row=nothing))
    wrong = {check.name for check in found.checks if check.failed}
    assert {"committed_calibration", "thresholds"} <= wrong
    assert "no distribution" in next(c.message for c in found.checks if c.name == "committed_calibration")
