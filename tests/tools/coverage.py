"""``python -m tests.tools.coverage``: how often the intervals of the totals hold the truth, on simulated runs.

A run is drawn whose steps have a mood of their own: places where the draft is right follow each other less than in a
text, but the decisions of one step do resemble each other. Printed is the share of runs whose 95 % interval holds the
true value, for Student's t as the totals have it, for a percentile bootstrap over steps, and for a share by sibling
rank with and without the design effect; and how often two verifiers that are alike are said to differ.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np

from specviz.trace.calibration import Interval, ratio_interval, wilson
from specviz.trace.intervals import efficiency_interval, share_interval

DEPTH = 4
MOODS = (0.2, 0.5, 0.8)
"""Acceptance at every depth of a step, one of these at random."""


def lengths(steps: int, luck: random.Random) -> list[int]:
    """New tokens of each step of a run: accepted one after the other until a rejection, and the bonus."""
    return [_accepted(luck.choice(MOODS), luck) + 1 for _ in range(steps)]


def mean_length() -> float:
    """What those are on average."""
    return 1 + sum(mood**depth for mood in MOODS for depth in range(1, DEPTH + 1)) / len(MOODS)


def _accepted(mood: float, luck: random.Random) -> int:
    count = 0
    while count < DEPTH and luck.random() < mood:
        count += 1
    return count


def decisions(steps: int, share: float, luck: random.Random) -> list[tuple[int, int]]:
    """(accepted, decisions) at one sibling rank: up to four a step, of its own acceptance, ``share`` on average."""
    found = []
    for _ in range(steps):
        own, of = luck.choice((0.5 * share, 1.5 * share)), luck.randint(1, 4)
        found.append((sum(luck.random() < own for _ in range(of)), of))
    return found


def alike(steps: int, luck: random.Random) -> list[int]:
    """Difference of new tokens a step of two verifiers of one law on the same trees: they part in some steps only."""
    pairs = [(_accepted(mood, luck), _accepted(mood, luck)) for mood in (luck.choice(MOODS) for _ in range(steps))]
    return [a - b if luck.random() < 0.5 else 0 for a, b in pairs]


def coverage(runs: int, interval: Callable[[random.Random], Interval | None], truth: float, seed: int = 0) -> float:
    """Share of runs whose interval holds ``truth``."""
    luck = random.Random(seed)
    found = [interval(luck) for _ in range(runs)]
    return sum(one is not None and one[0] <= truth <= one[1] for one in found) / runs


def bootstrap(values: Sequence[int], draws: int = 1000) -> Interval:
    """Percentile bootstrap over steps of a mean."""
    means = np.array(values)[np.random.default_rng(len(values)).integers(0, len(values), (draws, len(values)))].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def main() -> None:
    print(f"{'':<46}" + "".join(f"{steps:>8} steps" for steps in (12, 25, 100)))
    rows: dict[str, Callable[[int], float]] = {
        "block efficiency, t": lambda n: coverage(
            2000, lambda luck: efficiency_interval(lengths(n, luck)), mean_length()
        ),
        "block efficiency, bootstrap over steps": lambda n: coverage(
            500, lambda luck: bootstrap(lengths(n, luck)), mean_length()
        ),
        "no difference, t over paired steps": lambda n: coverage(
            2000, lambda luck: ratio_interval([(one, 1) for one in alike(n, luck)]), 0.0
        ),
    }
    for share in (0.4, 0.05):
        rows[f"rank accepted {share:.0%}, Wilson with design effect"] = lambda n, share=share: coverage(  # type: ignore[misc]
            2000, lambda luck: share_interval(decisions(n, share, luck)), share
        )
        rows[f"rank accepted {share:.0%}, Wilson without"] = lambda n, share=share: coverage(  # type: ignore[misc]
            2000, lambda luck: _plain(decisions(n, share, luck)), share
        )
    for name, covered in rows.items():
        print(f"{name:<46}" + "".join(f"{covered(steps):>14.3f}" for steps in (12, 25, 100)), flush=True)


def _plain(pairs: Sequence[tuple[int, int]]) -> Interval | None:
    return wilson(sum(a for a, _ in pairs), sum(of for _, of in pairs))


if __name__ == "__main__":
    main()
