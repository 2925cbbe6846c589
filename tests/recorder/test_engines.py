"""Engines of a known shape, recorded in one line: stand-ins with the names, arguments and shapes of theirs."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
import torch

import specviz
from specviz.recorder.audit import audit
from specviz.recorder.findings import Finding
from specviz.trace.schema import Trace
from tests.recorder.shapes import tree_functions


def seed() -> None:
    random.seed(3)
    torch.manual_seed(3)


def findings(trace: Trace) -> dict[str, str]:
    return {one.check: one.sentence for one in audit(trace) if isinstance(one, Finding) and one.weight != "note"}


def compared(trace: Trace) -> Counter[str]:
    """Check -> in how many steps it could run."""
    return Counter(check.name for step in trace.steps for check in step.checks if check.compared)


def text_of(trace: Trace) -> list[int]:
    return [*trace.prompt_tokens, *trace.output_tokens()]


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("shape", ["eagle", "medusa"])
def test_engines_of_three_functions(shape: str, temperature: float) -> None:
    module: Any = getattr(tree_functions, shape)()
    originals = {name: getattr(module, name) for name in ("tree_decoding", "evaluate_posterior")}
    seed()
    plain = module.generate(tree_functions.Model(), temperature, 12)
    drawn_next = random.random(), torch.rand(1)
    seed()
    with specviz.attach(module, strict=True) as rec:
        assert module.generate(tree_functions.Model(), temperature, 12) == plain
        assert (random.random(), torch.rand(1)) == drawn_next
    assert {name: getattr(module, name) for name in originals} == originals
    trace = rec.trace("1")
    assert len(trace.steps) == 12
    # What EAGLE draws at the end of the last step is not in the text that it returns.
    assert text_of(trace)[: len(plain)] == plain
    assert len(text_of(trace)) == len(plain) + (shape == "eagle")
    assert not findings(trace)
    ran = compared(trace)
    assert ran["compaction"] == ran["mask"] == ran["positions"] == 12
    if shape == "eagle":
        assert trace.engine is not None
        assert trace.engine.rule == ("rejection" if temperature else "greedy")
        assert ran["rejudged"] == 12
        if temperature:
            assert ran["bonus_row"] == 12
            assert all(step.verdicts["EAGLE"].path == step.verdicts["rejection"].path for step in trace.steps)
    else:
        assert ran["rejudged"] == (0 if temperature else 12)
        assert [step.verdicts["Medusa"].bonus is None for step in trace.steps] == [False] * 11 + [True]


def test_a_stale_residual_of_eagle_is_found() -> None:
    seed()
    module: Any = tree_functions.eagle("stale")
    with specviz.attach(module) as rec:
        module.generate(tree_functions.Model(), 0.8, 12)
    assert {"rejudged", "bonus_row"} <= {*findings(rec.trace())}
