"""Bootstrap, exchange test and sums, on numbers one can follow by hand."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from specviz.compare.statistics import (
    Group,
    Tally,
    accepted_length,
    added,
    between_trees,
    block_efficiency,
    differences,
    estimate,
    from_base,
    nll_per_token,
)
from specviz.compare.text_report import format_report

GROUP = Group("paired", "2,2", 1.0)


def tally(verifier: str, prompt: str, accepted: int, steps: int = 10, group: Group = GROUP, **fields) -> Tally:
    counts = ((accepted, steps),)
    return Tally(group, verifier, prompt, "chat", steps, accepted, accepted + steps, counts, counts, **fields)


def test_an_estimate_is_a_ratio_of_sums() -> None:
    found = [tally("a", "x", 5, 10), tally("a", "y", 30, 20)]
    it = estimate(found, accepted_length)
    assert it.value == pytest.approx(35 / 30)
    assert 0.5 <= it.low <= it.value <= it.high <= 1.5
    assert it.prompts == 2
    assert estimate(found, block_efficiency).value == pytest.approx(65 / 30)
    assert estimate(found, accepted_length) == it
    assert math.isnan(estimate([], accepted_length).value)
    assert math.isnan(estimate(found, nll_per_token).value)
    assert estimate([tally("a", "x", 1, nll=6.0, tokens=4)], nll_per_token).value == 1.5


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        values = random.poisson(20, size=40)
        it = estimate([tally("a", str(i), int(v)) for i, v in enumerate(values)], accepted_length)
        hits += it.low <= 2.0 <= it.high
    assert 0.88 <= hits / 200 <= 0.99


def test_the_test_is_the_exchange_test() -> None:
    ours, theirs = [7, 9, 4, 8, 6], [5, 5, 5, 6, 3]
    found = [tally(name, str(i), v) for name, values in (("a", ours), ("b", theirs)) for i, v in enumerate(values)]
    (it,) = differences(found, accepted_length)
    assert (it.a, it.b, it.prompts) == ("a", "b", 5)
    assert it.value == pytest.approx((sum(ours) - sum(theirs)) / 50)
    gaps = np.array(ours) - np.array(theirs)
    exact = np.mean([abs(np.dot(signs, gaps)) >= abs(gaps.sum()) for signs in itertools.product((1, -1), repeat=5)])
    assert it.p == pytest.approx(exact, abs=0.02)
    assert it.adjusted == it.p


def test_alike_verifiers_do_not_differ_and_unlike_ones_do() -> None:
    values = [3 + i % 5 for i in range(30)]
    found = [
        tally(name, str(i), value + more)
        for name, more in (("a", 0), ("b", 0), ("c", 2))
        for i, value in enumerate(values)
    ]
    by_pair = {(it.a, it.b): it for it in differences(found, accepted_length)}
    assert list(by_pair) == [("a", "b"), ("a", "c"), ("b", "c")]
    assert by_pair["a", "b"].p == 1
    assert by_pair["a", "b"].value == by_pair["a", "b"].low == 0
    assert by_pair["a", "c"].p < 0.001
    assert by_pair["a", "c"].high < 0
    assert by_pair["a", "c"].adjusted == pytest.approx(3 * by_pair["a", "c"].p)
    assert [it.a for it in differences(found, accepted_length, base="a")] == ["b", "c"]


def test_a_difference_is_noise_where_it_may_be_none_after_the_correction() -> None:
    ours, theirs = [7, 9, 6, 8, 6, 9], [5, 5, 5, 6, 3, 4]  # all six prompts agree: p is 2 / 64
    found = [tally(name, str(i), v) for name, values in (("a", ours), ("b", theirs)) for i, v in enumerate(values)]

    def lines_of(some: list[Tally]) -> dict[str, bool]:
        lines = [line.split() for line in format_report(some).splitlines() if line.startswith("2,2") and " - " in line]
        return {" ".join(line[2:5]): line[-1] == "noise" for line in lines}

    assert lines_of(found) == {"a - b": False}
    found += [replace(it, verifier="c") for it in found if it.verifier == "b"]
    by_pair = {(it.a, it.b): it for it in differences(found, accepted_length)}
    assert by_pair["a", "b"].p < 0.05 < by_pair["a", "b"].adjusted, "of three tests this is no longer clear"
    assert by_pair["b", "c"].value == 0
    assert lines_of(found) == {"a - b": True, "a - c": True, "b - c": True}
    assert all(it.noise for it in differences([tally("a", "x", 1), tally("b", "y", 1)], accepted_length))


def test_verifiers_without_a_common_prompt_are_not_compared() -> None:
    (it,) = differences([tally("a", "x", 1), tally("b", "y", 1)], accepted_length)
    assert it.prompts == 0
    assert math.isnan(it.p)


def test_groups_are_kept_apart() -> None:
    other = Group("free", "1,1", 0.7)
    found = [tally(name, "x", 3, group=group) for group in (GROUP, other) for name in ("a", "b")]
    assert [it.group for it in differences(found, accepted_length)] == [GROUP, other]
    text = format_report(found)
    assert "Free-running" in text
    assert "a - b" in text
    assert format_report([]) == "No run has a step."


def test_texts_are_measured_against_the_target_alone_at_their_temperature() -> None:
    free = Group("free", "2,2", 1.0)
    other = Group("free", "1,1", 0.7)
    found = [tally("eta", str(i), 3, group=group, nll=8.0, tokens=10) for i in range(6) for group in (free, other)]
    alone = [tally("sampling", str(i), 0, group=Group("free", "no draft", 1.0), nll=12.0, tokens=10) for i in range(6)]
    (it,) = from_base([*found, *alone], nll_per_token, "sampling")
    assert (it.group, it.a, it.b, it.prompts) == (free, "eta", "sampling", 6)
    assert it.value == pytest.approx(-0.4)


def test_trees_are_compared_for_every_verifier() -> None:
    groups = [Group("paired", tree, 1.0) for tree in ("2,2", "dynamic", "1")]
    found = [
        tally(name, str(i), 3 + place, group=group)
        for i in range(5)
        for place, group in enumerate(groups)
        for name in ("a", "b")
    ]
    rows = between_trees(found, accepted_length, ["2,2", "dynamic"])
    assert [(it.group.tree, it.a, it.b) for it in rows] == [("a", "2,2", "dynamic"), ("b", "2,2", "dynamic")]
    assert rows[0].value == pytest.approx(-0.1)


def test_counts_add_up_place_by_place() -> None:
    assert added([((1, 2), (0, 1)), ((2, 3),), ()]) == ((3, 5), (0, 1))
