"""Luck: inside the open interval, independent by key, the exact law, and the same again."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from specviz.dice import Key, Scanned, SeededDice, inverse_cdf, open_uniform
from specviz.drafting.base import _propose_on_device, propose
from specviz.engine.verifying import _ask_draws
from specviz.errors import NumericsError
from specviz.transfers import Reads
from specviz.verifiers import StepLuck
from specviz.verifiers.exact import EnumeratingDice, futures

EXPECTED = (0.011546754286331562, 0.6088372559549301, 0.28119470738763674)
SMALLEST, LARGEST = open_uniform(0), open_uniform(2**64 - 1)


def keys(count: int, purpose: str = "draft") -> list[Key]:
    """``count`` different keys."""
    return [Key(step, node, purpose, 0) for step, node in itertools.product(range(count // 50), range(50))]


def chi_square(observed: list[int], probabilities: list[float]) -> float:
    """Pearson's statistic; everything that cannot happen must not have happened."""
    total = sum(observed)
    assert all(seen == 0 for seen, p in zip(observed, probabilities, strict=True) if p == 0)
    return sum((seen - total * p) ** 2 / (total * p) for seen, p in zip(observed, probabilities, strict=True) if p > 0)


def test_uniform_stays_inside_the_open_interval():
    for bits in (0, 1, 2**12 - 1, 2**12, 2**63, 2**64 - 2**12, 2**64 - 1):
        assert 0.0 < open_uniform(bits) < 1.0
    assert SMALLEST == 2.0**-53
    assert LARGEST == 1.0 - 2.0**-53


def test_uniform_keeps_the_order_of_its_bits():
    values = [open_uniform(bits) for bits in range(0, 2**64, 2**59)]
    assert values == sorted(values)
    assert len(set(values)) == len(values)


def test_every_part_of_the_key_and_the_seed_matters():
    dice = SeededDice(7)
    grid = itertools.product(range(6), range(6), ("draft", "accept", "bonus"), range(6))
    values = [dice.uniform(Key(*parts)) for parts in grid]
    assert len(set(values)) == len(values) == 6 * 6 * 3 * 6
    assert SeededDice(8).uniform(Key(0, 0, "draft")) != dice.uniform(Key(0, 0, "draft"))


def test_equal_keys_replay_in_any_order():
    some = keys(500)
    first = [SeededDice(3).uniform(key) for key in some]
    again = {key: SeededDice(3).uniform(key) for key in reversed(some)}
    assert first == [again[key] for key in some]


def test_the_values_are_the_same_on_every_machine():
    # A recorded trace replays only while these numbers stay.
    dice = SeededDice(0)
    assert dice.uniform(Key(0, 0, "draft")) == EXPECTED[0]
    assert dice.uniform(Key(3, 14, "accept", 2)) == EXPECTED[1]
    assert SeededDice(2**63 - 1).uniform(Key(1, 1, "bonus")) == EXPECTED[2]


def test_uniform_is_uniform():
    dice = SeededDice(11)
    bins = [0] * 20
    for key in keys(10_000):
        bins[int(dice.uniform(key) * 20)] += 1
    assert chi_square(bins, [1 / 20] * 20) < 43.8  # 19 degrees of freedom, p = 0.001


def test_neighbouring_keys_are_uncorrelated():
    dice = SeededDice(5)
    table = {}
    for key in keys(10_000):
        here = int(dice.uniform(key) * 4)
        beside = int(dice.uniform(key._replace(node=key.node + 1)) * 4)
        table[here, beside] = table.get((here, beside), 0) + 1
    cells = [table.get((a, b), 0) for a in range(4) for b in range(4)]
    assert chi_square(cells, [1 / 16] * 16) < 37.7  # 15 degrees of freedom, p = 0.001


@pytest.mark.parametrize(
    ("weights", "limit"),
    [
        ([0.5, 0.3, 0.2], 13.8),
        ([0.0, 0.25, 0.0, 0.7, 0.05, 0.0], 13.8),
        ([3.0, 1.0, 0.0, 4.0], 13.8),  # not normalized
        ([1e-3, 0.999], 10.8),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_draws_follow_the_exact_law(weights: list[float], limit: float, dtype: torch.dtype):
    some = keys(10_000, "bonus")
    drawn = SeededDice(1).draw(some, torch.tensor([weights], dtype=dtype).expand(len(some), -1))
    counts = [0] * len(weights)
    for draw in drawn:
        counts[draw.token] += 1
    assert chi_square(counts, [w / sum(weights) for w in weights]) < limit  # p = 0.001


def test_coins_follow_the_threshold():
    some = keys(10_000, "accept")
    for threshold in (0.1, 0.5, 0.97):
        passed = sum(SeededDice(2).accept(key, threshold).accepted for key in some)
        assert chi_square([passed, len(some) - passed], [threshold, 1 - threshold]) < 10.8


def test_coins_are_strict():
    dice = SeededDice(4)
    for key in keys(500, "accept"):
        uniform = dice.uniform(key)
        assert not dice.accept(key, 0.0).accepted
        assert not dice.accept(key, -1.0).accepted
        assert not dice.accept(key, math.nan).accepted
        assert dice.accept(key, 1.0).accepted
        assert not dice.accept(key, uniform).accepted
        assert dice.accept(key, math.nextafter(uniform, 1.0)).accepted


def test_extreme_uniforms_never_pick_a_weight_of_zero():
    tiny = 1e-40  # a denormal number in float32
    rows = torch.tensor(
        [[0, 0, 1, 0, 0], [0, 1, 0, 1, 0], [0, tiny, 0, 1, 0], [0, 1, 0, tiny, 0], [0, tiny, 0, tiny, 0]],
        dtype=torch.float32,
    )
    for uniform in (SMALLEST, 0.5, LARGEST):
        for row, token in zip(rows, inverse_cdf([uniform] * len(rows), rows), strict=True):
            assert row[token] > 0


def test_inverse_cdf_equals_a_plain_loop():
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(200, 17, generator=generator, dtype=torch.float64)
    weights[torch.rand(200, 17, generator=generator) < 0.4] = 0.0
    weights[:, 5] += 0.01
    uniforms = torch.rand(200, generator=generator, dtype=torch.float64).tolist()

    def plain(uniform: float, row: list[float]) -> int:
        point, total = uniform * math.fsum(row), 0.0
        for index, weight in enumerate(row):
            total += weight
            if point < total:
                return index
        raise AssertionError

    expected = [plain(u, row) for u, row in zip(uniforms, weights.tolist(), strict=True)]
    assert inverse_cdf(uniforms, weights) == expected


def test_a_row_is_drawn_alike_alone_and_in_company():
    weights = torch.rand(8, 100, generator=torch.Generator().manual_seed(1))
    some = keys(50)[:8]
    together = SeededDice(9).draw(some, weights)
    assert together == [SeededDice(9).draw([key], weights[[i]])[0] for i, key in enumerate(some)]


def test_futures_sum_to_one_and_leave_out_the_impossible():
    def run(dice: EnumeratingDice) -> tuple[bool, ...]:
        coins = [dice.accept(Key(0, node, "accept"), threshold).accepted for node, threshold in enumerate((0.25, 0, 7))]
        token = dice.draw([Key(0, 0, "bonus")], torch.tensor([[0.0, 3.0, 1.0]]))[0].token
        return (*coins, token)

    found = {result: dice.probability for dice, result in futures(run)}
    assert found == {
        (True, False, True, 1): 0.1875,
        (True, False, True, 2): 0.0625,
        (False, False, True, 1): 0.5625,
        (False, False, True, 2): 0.1875,
    }


def test_futures_know_that_one_key_is_one_coin():
    key = Key(0, 0, "accept")

    def run(dice: EnumeratingDice) -> tuple[bool, ...]:
        return tuple(dice.accept(key, threshold).accepted for threshold in (0.5, 0.25, 0.75))

    found = {result: dice.probability for dice, result in futures(run)}
    assert found == {
        (True, True, True): 0.25,
        (True, False, True): 0.25,
        (False, False, True): 0.25,
        (False, False, False): 0.25,
    }


def test_futures_repeat_a_draw_of_the_same_key():
    key = Key(0, 0, "bonus")

    def run(dice: EnumeratingDice) -> tuple[int, int]:
        first = dice.draw([key], torch.tensor([[1.0, 1.0]]))[0].token
        return first, dice.draw([key], torch.tensor([[1.0, 2.0, 1.0]]))[0].token

    found = {result: dice.probability for dice, result in futures(run)}
    assert found == {(0, 0): 0.25, (0, 1): 0.25, (1, 1): 0.25, (1, 2): 0.25}


@pytest.mark.parametrize("row", [[0.0, 0.0], [math.nan, 1.0], [-0.5, 1.0], [math.inf, 1.0]])
def test_nothing_is_enumerated_from_broken_weights(row: list[float]):
    with pytest.raises(NumericsError):
        EnumeratingDice().draw([Key(0, 0, "bonus")], torch.tensor([row]))


@pytest.mark.parametrize("vocabulary", [127, 128, 129, 1_000, 50_257])
def test_inverse_cdf_finds_the_place_that_a_cumulation_over_the_whole_row_finds(vocabulary: int) -> None:
    random = torch.Generator().manual_seed(vocabulary)
    rows = torch.rand(40, vocabulary, generator=random, dtype=torch.float64) ** 4
    rows *= torch.rand(40, vocabulary, generator=random) > 0.5
    rows[:, vocabulary // 2] += 0.1
    uniforms = torch.rand(40, generator=random, dtype=torch.float64).tolist()
    cdf = rows.cumsum(-1)
    expected = torch.searchsorted(cdf, torch.tensor(uniforms, dtype=torch.float64)[:, None] * cdf[:, -1:], right=True)
    assert inverse_cdf(uniforms, rows) == expected[:, 0].tolist()


def test_inverse_cdf_at_the_edges_of_blocks() -> None:
    weights = torch.zeros(1, 400)
    weights[0, [127, 128, 255, 399]] = 0.25
    for uniform, token in ((SMALLEST, 127), (0.25, 128), (0.5, 255), (0.75, 399), (LARGEST, 399)):
        assert inverse_cdf([uniform], weights) == [token]


@pytest.mark.parametrize("seed", [0, 7, 2**63 - 1])
def test_the_bits_are_those_of_numpys_generator(seed):
    some = [Key(step, node, purpose, i) for step, node, purpose, i in itertools.product(
        (0, 1, 2**40), (0, 1, 1023), ("draft", "accept", "bonus"), (0, 3, 63))]  # fmt: skip
    dice = SeededDice(seed)
    expected = []
    for key in some:
        counter = np.array(
            [key.i, ("draft", "accept", "bonus").index(key.purpose), key.node, key.step], dtype=np.uint64
        )
        expected.append(open_uniform(int(np.random.Philox(key=seed, counter=counter).random_raw())))
    assert [dice.uniform(key) for key in some] == expected
    assert dice.uniforms(some) == expected, "many are computed side by side"
    assert dice.uniforms(some[:5]) == expected[:5]


def test_a_scan_draws_what_the_dice_draws() -> None:
    random = torch.Generator().manual_seed(3)
    rows = torch.rand(50, 1_000, generator=random) ** 4 * (torch.rand(50, 1_000, generator=random) > 0.5)
    rows[7] = 0.0
    dice, some = SeededDice(5), keys(50)
    found = dice.scan(some, rows)
    assert found.weights.tolist() == rows.gather(-1, found.tokens[:, None])[:, 0].tolist()
    assert (found.points == 0).nonzero().flatten().tolist() == [7], "only a row without weights has no token"
    others = [row for row in range(50) if row != 7]
    drawn = dice.draw([some[row] for row in others], rows[others])
    assert found.tokens[others].tolist() == [draw.token for draw in drawn]
    assert found.weights[others].all()


def test_a_scan_that_meets_an_entry_of_weight_0_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU, whose sums would find it: the scan says of row 1 that it has met one."""
    scan = SeededDice.scan

    def misses(self: SeededDice, some: list[Key], weights: torch.Tensor) -> Scanned:
        found = scan(self, some, weights)
        return found._replace(weights=found.weights.index_fill(0, torch.tensor([1]), 0.0))

    monkeypatch.setattr(SeededDice, "scan", misses)
    rows, dice = torch.rand(3, 40, generator=torch.Generator().manual_seed(1)), SeededDice(5)
    some = [Key(0, node, "bonus") for node in range(3)]
    luck, reads = StepLuck(dice, 0), Reads()
    assert _ask_draws(luck, some, rows, reads)() == dice.draw(some, rows)
    args = (rows, [2, 2, 1], [0, 1, 2], "without_replacement", dice, 0, reads)
    assert _propose_on_device(*args) is None
    monkeypatch.setattr(SeededDice, "scan", scan)
    assert _propose_on_device(*args) == propose(*args)
