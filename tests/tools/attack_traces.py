"""Trace files that an attacker sends: large, heavy, or with texts that are not for the eye. All are valid JSON."""

from __future__ import annotations

import copy
import gzip
import json
import random
from functools import cache
from typing import Any

from specviz.trace.io import dump_trace
from tests.paths import ASSETS
from tests.sample_traces import sample_trace

MB = 1024 * 1024
TURNING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c"
"""Characters that turn the text after them around."""
STRINGS = (
    ("steps", 0, "verdicts", "rejection", "decisions", 0, "reason"),
    ("steps", 0, "verdicts", "rejection", "decisions", 0, "rule"),
    ("steps", 0, "verdicts", "rejection", "bonus", "text"),
    ("steps", 0, "tree", "builder"),
    ("steps", 0, "tree", "nodes", 1, "text"),
    ("models", "target", "note"),
    ("models", "target", "id"),
    ("models", "draft", "architecture"),
    ("prompt",),
    ("end_message",),
)
"""Where a trace has a string whose length was nobody's business."""


@cache
def _base(steps: int = 2, nodes: int | None = None) -> dict[str, Any]:
    parents = [-1, *(i // 2 for i in range(nodes))] if nodes else None
    value: dict[str, Any] = json.loads(dump_trace(sample_trace(parents, steps=steps)))
    return value


def with_value(path: tuple[str | int, ...], value: Any, name: str) -> bytes:
    """A small trace with one value in the place of another, gzipped.

    Args:
        name: its id, so that two of them are two runs.
    """
    trace = copy.deepcopy(_base())
    trace["id"] = name
    inside = trace
    for key in path[:-1]:
        inside = inside[key]  # type: ignore[index]
    inside[path[-1]] = value  # type: ignore[index]
    return packed(trace)


def heavy(name: str, most: int = 15 * MB) -> bytes:
    """A trace, of the default pair, of as many steps with 128 drafted nodes each as fit so many bytes."""
    trace = copy.deepcopy(_base(1, 128))
    trace["models"] = json.loads(gzip.decompress((ASSETS / "traces" / "default-4-2-2.json.gz").read_bytes()))["models"]
    (step,) = trace["steps"]
    count = max(1, most // len(json.dumps(step)))
    trace["id"] = name
    trace["steps"] = [
        step | {"index": i, "context": step["context"] + i * len(step["committed"])} for i in range(count)
    ]
    return packed(trace)


def noisy(name: str, seed: int, most: int = 15 * MB) -> bytes:
    """A trace that hardly gets smaller when it is packed: the texts of its tokens are noise."""
    luck = random.Random(seed)
    trace = copy.deepcopy(_base())
    trace["id"] = name
    count = most // (3 * 900 + 60)
    noise = ["".join(map(chr, luck.choices(range(0x4E00, 0x9FFF), k=900))) for _ in range(count)]
    trace["prompt_tokens"] = list(range(count))
    trace["prompt_texts"] = [{"id": i, "text": one, "bytes": None} for i, one in enumerate(noise)]
    trace["steps"], trace["end_reason"] = [], "stopped"
    return packed(trace)


def many_tokens(name: str, most: int = 12 * MB) -> bytes:
    """A trace of a prompt of 250,000 tokens: as values it takes far more than as a file, and packed next to nothing."""
    trace = copy.deepcopy(_base())
    trace["id"] = name
    count = most // 48
    trace["prompt_tokens"] = list(range(count))
    trace["prompt_texts"] = [{"id": i, "text": "a", "bytes": None} for i in range(count)]
    trace["steps"], trace["end_reason"] = [], "stopped"
    return packed(trace)


def turning() -> bytes:
    """A trace whose names and texts turn what follows them around."""
    trace = copy.deepcopy(_base())
    said = f"safe{TURNING}evil"
    trace["id"] = "turning"
    for model in trace["models"].values():
        if isinstance(model, dict):
            model.update(id=said, architecture=said, note=said, revision=said)
    for step in trace["steps"]:
        step["tree"]["builder"] = said
        for verdict in step["verdicts"].values():
            for decision in verdict["decisions"]:
                decision.update(rule=said, reason=said)
            verdict["bonus"]["text"] = said
        renamed = step["verdicts"].pop("eta")
        step["verdicts"][said] = renamed | {"verifier": said}
    for choice in trace["settings"]["verifiers"]:
        choice["name"] = said if choice["name"] == "eta" else choice["name"]
    trace["settings"]["builder"]["name"] = said
    trace["prompt"] = said
    return packed(trace)


def packed(trace: dict[str, Any]) -> bytes:
    return gzip.compress(json.dumps(trace, ensure_ascii=False).encode(), 1)
