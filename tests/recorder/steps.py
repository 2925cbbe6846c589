"""A step of four nodes, said to a recorder in part or in full."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from specviz.recorder.recorder import Recorder

PROMPT = [1, 2, 3]
TOKENS, PARENTS = [3, 4, 5, 6], [-1, 0, 0, 1]
V = 12


def rows(n: int, seed: int = 0, columns: int = V) -> np.ndarray:
    """[n, V], float32, each sums to 1."""
    weights = np.random.default_rng(seed).random((n, columns), dtype=np.float32)
    return weights / weights.sum(-1, keepdims=True)


def recorder(path: Path | None = None, **options) -> Recorder:
    given = {"prompt": PROMPT, "decode": lambda ids: "".join(f"<{token}>" for token in ids), "strict": True}
    return Recorder(path, **given | options)


def one_step(rec: Recorder, **calls) -> Any:
    """Record a step of what is given for each call; the tree and a verdict always."""
    given = {"tree": {"tokens": TOKENS, "parents": PARENTS}, "verify": {"accepted": [1], "bonus": 9}} | calls
    with rec.step() as step:
        for name, arguments in given.items():
            getattr(step, name)(**arguments)
    return rec.trace().steps[-1] if rec.trace().steps else None
