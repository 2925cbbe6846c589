"""A run of another engine that says nothing it need not: trees, accepted paths, and mostly the bonus token."""

from __future__ import annotations

import json
from typing import Any

from specviz.trace.io import parse_trace
from specviz.trace.schema import Trace

ENGINE = "another engine"


def node(id: int, parent: int, depth: int, rank: int, token: int) -> dict[str, Any]:
    missing = dict.fromkeys(("text", "draft_prob", "target_prob", "draft", "target"))
    return {"id": id, "parent": parent, "depth": depth, "rank": rank, "token": token} | missing


def verdict(path: list[int], bonus: int | None = None, name: str = ENGINE) -> dict[str, Any]:
    token = {"token": bonus, "text": None, "node": path[-1] if path else 0, "source": None}
    return {
        "verifier": name,
        "options": {},
        "lossless": "unknown",
        "thresholds": [None] * 4,
        "decisions": [],
        "path": path,
        "bonus": None if bonus is None else token | {"uniform": None, "distribution": None},
    }


def step(index: int, context: int, path: list[int], committed: list[int], bonus: int | None = None) -> dict[str, Any]:
    nodes = [node(0, -1, 0, 0, 7), node(1, 0, 1, 0, 8), node(2, 0, 1, 1, 9), node(3, 1, 2, 0, 10)]
    return {
        "index": index,
        "context": context,
        "tree": {"builder": None, "proposal": None, "nodes": nodes},
        "verdicts": {ENGINE: verdict(path, bonus)},
        "driver": ENGINE,
        "committed": committed,
        "caches": {"target": None, "draft": None},
        "tokens": [],
        "timings": None,
        "prefilled": None,
    }


def bare(**fields: Any) -> Trace:
    """A run of another engine that says nothing it need not: three steps, the last one without a bonus token."""
    value = {
        "schema_version": 2,
        "id": "bare",
        "created": "now",
        "specviz_version": "0.2.0",
        "engine": {"name": ENGINE},
        "models": {"target": None, "draft": None},
        "settings": None,
        "prompt": "",
        "prompt_tokens": [6, 7],
        "prompt_texts": [],
        "steps": [step(0, 2, [1, 3], [8, 10, 7], 7), step(1, 5, [], [7], 7), step(2, 6, [2], [9])],
    }
    return parse_trace(json.dumps(value | fields).encode())
