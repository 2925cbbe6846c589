"""Steps small enough to reckon by hand: four tokens, two children of the root."""

from __future__ import annotations

from typing import Any

import numpy as np

from specviz.recorder.raw_step import CacheReading, RawStep

P = np.array([0.4, 0.3, 0.2, 0.1])
Q = np.array([0.1, 0.2, 0.3, 0.4])


def step(**changes: Any) -> RawStep:
    """The root (token 0) after three tokens; children 3 and 1, drawn in this order without replacement; both rejected.

    By hand: the first child has p/q = 0.1 / 0.4 = 0.25. Rejected, it leaves max(p - q, 0) = (0.3, 0.1, 0, 0), scaled
    (0.75, 0.25, 0, 0), and q without it (1/6, 1/3, 1/2, 0). So the second has 0.25 / (1/3) = 0.75 and leaves
    (7/12, 0, 0, 0), scaled (1, 0, 0, 0).
    """
    fields: dict[str, Any] = {
        "index": 0,
        "context": 4,
        "tokens": [0, 3, 1],
        "parents": [-1, 0, 0],
        "text": [2, 3, 1, 0],
        "proposal": "without_replacement",
        "q": Q[None].copy(),
        "q_nodes": [0],
        "p": np.stack([P, Q, P[::-1]]),
        "p_nodes": [0, 1, 2],
        "rule": "rejection",
        "lossless": True,
        "accepted": [],
        "bonus": 0,
        "committed": [0],
        "coins": {1: 0.9, 2: 0.8},
        "thresholds": {1: 0.25, 2: 0.75},
        "bonus_row": np.array([1.0, 0.0, 0.0, 0.0]),
        "positions": [3, 4, 4],
        "mask": mask([[0], [0, 1], [0, 2]], 3),
        "caches": {"target": CacheReading(3, 6, 4, ("a", "b", "c"), ("a",))},
        "dtype": "float32",
        "draft_dtype": "float32",
    }
    return RawStep(**(fields | changes))


def mask(seen: list[list[int]], before: int) -> np.ndarray:
    """[n, before + n]: all columns before the tree, and of the tree those of the nodes that are listed."""
    found = np.zeros((len(seen), before + len(seen)), dtype=np.bool_)
    found[:, :before] = True
    for row, nodes in enumerate(seen):
        found[row, [before + node for node in nodes]] = True
    return found
