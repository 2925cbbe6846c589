"""Runs of step heads as they lie on the hub: caches are what a recompute gives, and greedy runs are greedy decoding."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch

from specviz.engine.session import Session
from specviz.trace.metrics import TOLERANCES
from specviz.trace.schema import Choice, Sampling
from tests.heads import STEP, pair_with
from tests.pairs import TREES, make_settings

PROMPT = "the sea is blue"
pair = cache(pair_with)


@pytest.mark.parametrize(("kind", "tree"), [*((kind, "4,2,2") for kind in STEP), ("eagle3.1", "dynamic")])
def test_caches_are_what_a_recompute_over_pairs_gives(kind: str, tree: str) -> None:
    one: dict[str, Any] = {"verifiers": (Choice(name="rejection"),), "audit": True, "seed": 3, "max_new_tokens": 6}
    session = Session(pair(kind), make_settings(tree, **one), PROMPT)
    steps = list(session.run())
    assert session.trace.failed is None
    assert any(len(step.committed) > 1 for step in steps) or tree == "dynamic"
    for step in steps:
        audit = step.caches.draft.audit
        assert audit is not None
        assert audit.keys
        assert audit.worst() < TOLERANCES["float32"]
        assert step.caches.target.audit.worst() < TOLERANCES["float32"]


@pytest.mark.parametrize("kind", ["eagle3, a part of the vocabulary", "mtp"])
@torch.no_grad()
def test_a_greedy_run_is_greedy_decoding(kind: str) -> None:
    greedy: dict[str, Any] = {"verifiers": (Choice(name="greedy"),), "driver": "greedy", "max_new_tokens": 10}
    session = Session(pair(kind), make_settings(TREES["4,2,2"], **greedy, target=Sampling(temperature=0)), PROMPT)
    list(session.run())
    tokens = list(session.trace.prompt_tokens)
    model = pair(kind).target.model
    for _ in range(10):
        tokens.append(int(model(torch.tensor([tokens])).logits[0, -1].argmax()))
    assert session.trace.output_tokens() == tokens[len(session.trace.prompt_tokens) :]
