"""How often a sound run's calibration is an alarm: ``python -m tests.tools.false_alarms`` prints docs/audit.md's table.

Rows of several kinds, tokens drawn from them, and the score looked at after every step, as somebody does who keeps the
page open. Of every kind the share of runs that were an alarm at any of these looks. Seeds are fixed.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np

from specviz.recorder.audit import is_alarm
from specviz.recorder.checks.rows import surprise

STEPS, TOKENS = 200, 2
"""Looks of a run, and tokens counted in each."""


def softmax(logits: np.ndarray) -> np.ndarray:
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def kinds() -> Iterator[tuple[str, np.ndarray]]:
    """Name and rows [m, V] of each kind."""
    random = np.random.default_rng(0)
    logits = 2 * random.normal(size=(64, 64))
    yield "random logits of deviation 2, V = 64, temperature 1", softmax(logits)
    yield "the same, temperature 0.7", softmax(logits / 0.7)
    ranks = np.log(np.arange(1, 32_001))[None]
    yield "power laws of exponent 1 to 3, V = 32,000", softmax(-random.uniform(1, 3, size=(32, 1)) * ranks)
    yield "power laws of exponent 1.5 to 6, V = 32,000", softmax(-random.uniform(1.5, 6, size=(32, 1)) * ranks)
    yield "0.99 and 0.01", np.array([[0.99, 0.01]])
    yield "0.999 and 0.001", np.array([[0.999, 0.001]])
    rare = np.full((1, 1_001), 1e-6)
    rare[0, 0] = 0.999
    yield "0.999 and a thousand tokens of 1e-6", rare
    spread = np.full((1, 90_001), 1e-5)
    spread[0, 0] = 0.1
    yield "0.1 and 90,000 tokens of 1e-5", spread


def scores(rows: np.ndarray, runs: int) -> tuple[np.ndarray, np.ndarray]:
    """Score and variance [runs, STEPS] up to each look, of tokens drawn from rows that are taken at random."""
    random = np.random.default_rng(1)
    which = random.integers(len(rows), size=(runs, STEPS * TOKENS))
    u = random.random(which.shape)
    score, variance = np.empty(which.shape), np.empty(which.shape)
    for number, row in enumerate(rows):
        there = which == number
        sums = np.cumsum(row)
        tokens = np.minimum(np.searchsorted(sums, u[there] * sums[-1], side="right"), len(row) - 1)
        first = surprise(row, 0)  # of any other token the score differs by log p
        score[there] = first.score + np.log(row[0] / row[tokens])
        variance[there] = first.variance
    looks = slice(TOKENS - 1, None, TOKENS)
    return score.cumsum(1)[:, looks], variance.cumsum(1)[:, looks]


def share_of_alarms(rows: np.ndarray, runs: int) -> dict[int, tuple[float, float]]:
    """Looks -> share of runs with an alarm above 0, and below, at any of the first so many looks."""
    score, variance = scores(rows, runs)
    alarms = np.frompyfunc(is_alarm, 2, 1)(score, variance).astype(bool)
    above, below = alarms & (score > 0), alarms & (score < 0)
    return {looks: (above[:, :looks].any(1).mean(), below[:, :looks].any(1).mean()) for looks in (20, 50, 200)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    runs = parser.parse_args().runs
    print("| rows | 20 looks | 50 looks | 200 looks |\n|---|---|---|---|")
    for name, rows in kinds():
        cells = [f"{above + below:.2%}" for above, below in share_of_alarms(rows, runs).values()]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
