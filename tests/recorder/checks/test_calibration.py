"""The calibrations: 0 in the mean and with the variance that they say, summed over every tree, coin and draw."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from specviz.dice import Draw
from specviz.recorder.checks.calibration import bonus_calibration, committed_calibration, draft_calibration
from specviz.recorder.checks.rows import View, surprise
from specviz.recorder.raw_step import RawStep
from specviz.tree import Shape, TokenTree
from specviz.verifiers import VERIFIERS, verify
from tests.recorder.checks.steps import P, Q, step

V = 4


def test_surprise_by_hand() -> None:
    found = surprise(np.array([0.5, 0.25, 0.25, 0.0]), 1)
    entropy = 1.5 * math.log(2)
    assert found.score == pytest.approx(2 * math.log(2) - entropy)
    # log p is -log 2 half of the time and -2 log 2 else.
    assert found.variance == pytest.approx(math.log(2) ** 2 / 4)
    assert surprise(np.array([0.5, 0.25, 0.25, 0.0]), 3).score == math.inf


def test_a_row_is_scaled_first() -> None:
    assert surprise(3 * P, 2) == pytest.approx(surprise(P, 2))


def test_a_row_without_chance_has_no_variance() -> None:
    assert surprise(np.array([0.0, 1.0, 0.0, 0.0]), 1) == (0.0, 0.0)


def test_surprise_in_float32_is_that_of_float64() -> None:
    row = np.random.default_rng(0).dirichlet(np.full(5000, 0.1))
    one, other = surprise(row, 7), surprise(row.astype(np.float32), 7)
    assert other == pytest.approx(one, rel=1e-4)


@pytest.mark.parametrize("row", [P, Q, np.array([0.97, 0.01, 0.01, 0.01]), np.array([0.0, 0.5, 0.5, 0.0])])
def test_a_draw_scores_0_in_the_mean_with_the_variance_it_says(row: np.ndarray) -> None:
    drawn = [token for token in range(V) if row[token] > 0]
    found = [surprise(row, token) for token in drawn]
    assert sum(row[token] * one.score for token, one in zip(drawn, found, strict=True)) == pytest.approx(0, abs=1e-12)
    squares = sum(row[token] * one.score**2 for token, one in zip(drawn, found, strict=True))
    assert squares == pytest.approx(found[0].variance)


def test_the_first_siblings_are_summed_up() -> None:
    """Two families: the root's, of two, and node 1's, of one. The second child of the root does not count."""
    rows = np.stack([Q, P])
    raw = step(tokens=[0, 3, 1, 2], parents=[-1, 0, 0, 1], q=rows, q_nodes=[0, 1])
    found = draft_calibration(View(raw))
    one, other = surprise(Q, 3), surprise(P, 2)
    assert (found.compared, found.failed) == (2, 0)
    assert found.score == pytest.approx(one.score + other.score)
    assert found.variance == pytest.approx(one.variance + other.variance)


@pytest.mark.parametrize(
    ("changes", "lacked"),
    [
        ({"proposal": None}, "how siblings were proposed"),
        ({"proposal": "top_k"}, "drawn by chance"),
        ({"q": None}, "the draft's rows"),
        ({"q": None, "q_logits": np.log(Q)[None]}, "there are its logits, so say draft_sampling= to the recorder"),
        ({"tokens": [0], "parents": [-1]}, "a drawn token"),
    ],
)
def test_what_the_draft_calibration_lacks(changes: dict, lacked: str) -> None:
    found = draft_calibration(View(step(**changes)))
    assert found.compared == 0
    assert found.score is found.variance is None
    assert lacked in found.lacked


def test_a_draft_on_a_part_of_the_vocabulary_is_read_by_its_own_columns() -> None:
    part = np.array([0.7, 0.3])
    found = draft_calibration(View(step(q=part[None], vocabulary=np.array([1, 3]))))
    assert found.score == pytest.approx(surprise(part, 1).score)  # token 3 is column 1


def test_a_token_that_its_row_rules_out_fails_by_itself() -> None:
    found = draft_calibration(View(step(q=np.array([[0.5, 0.5, 0.0, 0.0]]))))
    assert (found.failed, found.node, found.score) == (1, 1, 0)
    assert "probability 0" in found.message
    found = committed_calibration(View(step(p=np.array([[0.0, 0.5, 0.5, 0.0], P, P]))))
    assert (found.failed, found.node) == (1, 0)
    assert found.message.startswith("The token committed after the root has probability 0")


def test_greedy_tokens_are_not_judged_as_drawn() -> None:
    """Whatever its rows are before the most likely token is taken."""
    assert committed_calibration(View(step())).compared == 1
    check = committed_calibration(View(step(rule="greedy")))
    assert check.compared == 0
    assert "by the rule greedy" in str(check.lacked)


def test_committed_tokens_are_counted_down_to_the_first_node_without_a_row() -> None:
    raw = step(accepted=[2], committed=[1, 2], bonus=2)
    whole = committed_calibration(View(raw))
    assert whole.compared == 2
    assert whole.score == pytest.approx(surprise(P, 1).score + surprise(P[::-1], 2).score)
    part = committed_calibration(
        View(step(accepted=[2], committed=[1, 2], bonus=2, p=np.stack([P, Q]), p_nodes=[0, 1]))
    )
    assert (part.compared, part.score) == (1, pytest.approx(surprise(P, 1).score))
    none = committed_calibration(View(step(p=np.stack([P]), p_nodes=[1])))
    assert none.lacked == "the target's row at the root"
    assert "accepted path" in committed_calibration(View(step(committed=[3]))).lacked


# --------------------------------------------------------------- every tree, every coin, every draw of a small engine


class Branches:
    """Luck that is enumerated: each run of a walk follows one branch, and says how likely it was."""

    def __init__(self) -> None:
        self.open: list[list[int]] = [[]]

    def __iter__(self) -> Iterator[Branches]:
        while self.open:
            self.chosen, self.at, self.likely = self.open.pop(), 0, 1.0
            self.row: np.ndarray | None = None
            yield self

    def choose(self, weights: list[float]) -> int:
        if self.at == len(self.chosen):
            possible = [i for i, weight in enumerate(weights) if weight > 0]
            self.open += [[*self.chosen, i] for i in possible[1:]]
            self.chosen = [*self.chosen, possible[0]]
        choice = self.chosen[self.at]
        self.at += 1
        self.likely *= weights[choice]
        return choice

    def accept(self, node: int, threshold: float) -> tuple[bool, float | None]:
        passes = min(1.0, max(0.0, threshold))
        return self.choose([1 - passes, passes]) == 1, None

    def draw(self, node: int, weights: torch.Tensor) -> Draw:
        self.row = weights.numpy()
        total = float(weights.sum())
        return Draw(self.choose([float(weight) / total for weight in weights]), None)


SHAPES = {"chain": Shape((-1, 0, 1)), "tree": Shape((-1, 0, 0, 1)), "one level": Shape((-1, 0, 0, 0))}


def row_after(path: tuple[int, ...], seed: int) -> np.ndarray:
    """A model: the distribution after these tokens below the root."""
    return np.random.default_rng([seed, *path]).dirichlet(np.full(V, 0.7))


def trees(shape: Shape) -> Iterator[tuple[float, list[int]]]:
    """Every tree drawn without replacement, with its probability."""

    def grow(node: int, tokens: list[int], likely: float) -> Iterator[tuple[float, list[int]]]:
        if node == len(shape):
            yield likely, tokens
            return
        parent = shape.parents[node]
        path = tuple(tokens[other] for other in shape.path(parent))
        elder = [tokens[other] for other in shape.children[parent] if other < node]
        q = row_after(path, 2)
        left = 1 - sum(q[token] for token in elder)
        for token in range(V):
            if token not in elder:
                yield from grow(node + 1, [*tokens, token], likely * q[token] / left)

    yield from grow(1, [0], 1.0)


def outcomes(rule: str, shape: Shape) -> Iterator[tuple[float, RawStep]]:
    """Every step of an engine with this rule, with its probability."""
    verifier = VERIFIERS[rule]
    for likely, tokens in trees(shape):
        paths = [tuple(tokens[other] for other in shape.path(node)) for node in range(len(shape))]
        p = np.stack([row_after(path, 1) for path in paths])
        q = np.stack([row_after(path, 2) for path in paths])
        rows = {node: node for node in range(len(shape))}
        tree = TokenTree(shape, tuple(tokens), torch.from_numpy(q), rows, "without_replacement")
        for luck in Branches():
            _, walk, bonus, _ = verify(verifier, tree, torch.from_numpy(p), verifier.Options(), luck)
            committed = [*(tokens[node] for node in walk.path), bonus.token]
            raw = step(
                tokens=tokens,
                parents=list(shape.parents),
                p=p,
                p_nodes=list(range(len(shape))),
                q=q,
                q_nodes=list(range(len(shape))),
                accepted=list(walk.path),
                bonus=bonus.token,
                bonus_row=luck.row,
                rule=rule,
                committed=committed,
            )
            yield likely * luck.likely, raw


def expected(found: Iterator[tuple[float, float, float]]) -> tuple[float, float, float, float]:
    """Of (probability, score, variance): their sum, the means of score and variance, and of the squared score."""
    sums = np.zeros(4)
    for likely, score, variance in found:
        sums += likely * np.array([1.0, score, variance, score**2])
    return tuple(sums)


@pytest.mark.parametrize("shape", ["chain", "tree", "one level"])
@pytest.mark.parametrize("rule", ["rejection", "traversal", "naive"])
def test_committed_tokens_of_an_engine_that_samples_as_its_target_score_0_in_the_mean(rule: str, shape: str) -> None:
    """Whichever rule it has, and however the text is cut: at an end token (3), or at a number of tokens."""
    steps = list(outcomes(rule, SHAPES[shape]))
    for cut in ("not at all", "end", "two tokens"):

        def scored(cut: str = cut) -> Iterator[tuple[float, float, float]]:
            for likely, raw in steps:
                whole = raw.committed
                if cut == "end" and 3 in whole:
                    raw.committed = whole[: whole.index(3) + 1]
                if cut == "two tokens":
                    raw.committed = whole[:2]
                check = committed_calibration(View(raw))
                raw.committed = whole
                assert not check.failed
                yield likely, check.score, check.variance

        total, score, variance, squares = expected(scored())
        assert total == pytest.approx(1)
        assert score == pytest.approx(0, abs=1e-12)
        assert squares == pytest.approx(variance)


@pytest.mark.parametrize("shape", ["chain", "tree", "one level"])
@pytest.mark.parametrize("rule", ["rejection", "traversal", "naive"])
def test_bonus_tokens_that_are_drawn_from_their_rows_score_0_in_the_mean(rule: str, shape: str) -> None:
    """Of naive those after a leaf: it draws a token first, and one that is a child is no bonus."""

    def scored() -> Iterator[tuple[float, float, float]]:
        for likely, raw in outcomes(rule, SHAPES[shape]):
            view = View(raw)
            check = bonus_calibration(view)
            assert check.compared == (rule != "naive" or not view.children[view.walk[-1]])
            assert not check.failed
            yield likely, check.score or 0.0, check.variance or 0.0

    total, score, variance, squares = expected(scored())
    assert total == pytest.approx(1)
    assert score == pytest.approx(0, abs=1e-12)
    assert squares == pytest.approx(variance)
    assert variance > 0.02


def test_bonus_tokens_that_are_drawn_before_the_walk_ends_would_be_biased() -> None:
    def scored() -> Iterator[tuple[float, float, float]]:
        for likely, raw in outcomes("naive", SHAPES["tree"]):
            raw.rule = "rejection"
            check = bonus_calibration(View(raw))
            yield likely, check.score, check.variance

    assert abs(expected(scored())[1]) > 0.05


def test_a_bonus_that_is_the_most_likely_token_scores_below_0() -> None:
    def scored() -> Iterator[tuple[float, float, float]]:
        for likely, raw in outcomes("rejection", SHAPES["tree"]):
            raw.bonus = int(raw.bonus_row.argmax())
            check = bonus_calibration(View(raw))
            yield likely, check.score, check.variance

    assert expected(scored())[1] < -0.2


def test_a_bonus_is_calibrated_by_the_row_that_was_said_or_else_by_that_of_the_rule() -> None:
    end = {"accepted": [2], "committed": [1, 2], "bonus": 2}  # node 2 has no children: the target's row there
    row = surprise(P[::-1], 2)
    for said, due in ((None, row), (2 * P[::-1], row), (Q, surprise(Q, 2))):
        found = bonus_calibration(View(step(**end, bonus_row=said)))
        assert (found.compared, found.failed) == (1, 0)
        assert (found.score, found.variance) == pytest.approx(due)
    ruled_out = bonus_calibration(View(step(bonus=1)))
    assert ruled_out.failed == 1
    assert ruled_out.message == "The bonus after the root has probability 0 in the row that it was drawn from."
    assert bonus_calibration(View(step(bonus=None))).lacked == "the bonus token"
    for rule in (None, "naive"):
        assert "throws its coins first" in bonus_calibration(View(step(rule=rule))).lacked
        assert bonus_calibration(View(step(**end, rule=rule, bonus_row=Q))).compared == 1
    assert "(bonus_row), or the rule" in bonus_calibration(View(step(**end, bonus_row=None, rule=None))).lacked


@pytest.mark.parametrize("rule", ["eta", "longest_path"])
def test_committed_tokens_of_other_engines_do_not(rule: str) -> None:
    checks = ((likely, committed_calibration(View(raw))) for likely, raw in outcomes(rule, SHAPES["tree"]))
    _, score, _, _ = expected((likely, check.score, check.variance) for likely, check in checks)
    assert abs(score) > 0.05


def test_without_the_bonus_the_committed_tokens_would_be_biased() -> None:
    """Whether a token is accepted depends on the token, so accepted ones alone must not be counted."""

    def accepted() -> Iterator[tuple[float, float, float]]:
        for likely, raw in outcomes("rejection", SHAPES["chain"]):
            raw.committed = raw.committed[:-1]
            check = committed_calibration(View(raw))
            yield likely, check.score or 0.0, check.variance or 0.0

    assert abs(expected(accepted())[1]) > 0.05


def test_first_siblings_score_0_in_the_mean() -> None:
    def scored() -> Iterator[tuple[float, float, float]]:
        shape = SHAPES["tree"]
        for likely, tokens in trees(shape):
            paths = [tuple(tokens[other] for other in shape.path(node)) for node in (0, 1)]
            raw = step(
                tokens=tokens,
                parents=list(shape.parents),
                q=np.stack([row_after(path, 2) for path in paths]),
                q_nodes=[0, 1],
            )
            check = draft_calibration(View(raw))
            assert check.compared == 2
            yield likely, check.score, check.variance

    total, score, variance, squares = expected(scored())
    assert total == pytest.approx(1)
    assert score == pytest.approx(0, abs=1e-12)
    assert squares == pytest.approx(variance)


def test_the_last_siblings_would_be_biased() -> None:
    """Without replacement the second sibling is drawn from what the first has left, not from the row."""
    rows = [(q, second) for second in range(V) for q in [row_after((), 2)]]
    chance = {
        second: sum(q[first] * q[second] / (1 - q[first]) for first in range(V) if first != second)
        for q, second in rows
    }
    assert sum(chance.values()) == pytest.approx(1)
    assert abs(sum(chance[second] * surprise(q, second).score for q, second in rows)) > 0.05


def test_all_trees_are_enumerated() -> None:
    for shape in SHAPES.values():
        assert sum(likely for likely, _ in trees(shape)) == pytest.approx(1)
    assert len(list(trees(SHAPES["one level"]))) == len(list(itertools.permutations(range(V), 3)))
