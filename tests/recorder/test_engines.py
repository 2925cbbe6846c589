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
from tests.recorder.shapes import spec_tree, strategy, toy, tree_functions


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


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_a_strategy_of_mcsd(temperature: float, batched: bool) -> None:
    engine = strategy.Strategy(temperature, batched=batched)
    seed()
    plain = strategy.generate(engine, 10)
    seed()
    with specviz.attach(engine, strict=True) as rec:
        assert strategy.generate(engine, 10) == plain
    assert {*vars(engine)} == {*vars(strategy.Strategy(temperature))}
    assert engine.acceptance_check is strategy.accept
    trace = rec.trace()
    assert text_of(trace) == plain
    assert not findings(trace)
    ran = compared(trace)
    assert ran["rejudged"] == 10
    ends = Counter(step.verdicts["MCSD"].bonus.source for step in trace.steps if step.verdicts["MCSD"].bonus)
    assert ran["bonus_row"] == ends["residual"] > 0
    assert all(step.verdicts["MCSD"].path == step.verdicts["rejection"].path for step in trace.steps)


def test_mcsd_that_draws_from_the_target() -> None:
    engine = strategy.Strategy(0.8, speculative_sampling=False)
    seed()
    with specviz.attach(engine, strict=True) as rec:
        plain = strategy.generate(engine, 10)
    assert text_of(rec.trace()) == plain
    assert not findings(rec.trace())
    assert compared(rec.trace())["rejudged"] == 10


def test_rows_that_are_forgotten_by_a_fault_of_mcsd_are_found() -> None:
    engine = strategy.Strategy(0.8)
    engine.acceptance_check = lambda p, q, tokens: strategy.accept(p.clone(), q, tokens)  # p is not what is left
    seed()
    with specviz.attach(engine) as rec:
        strategy.generate(engine, 10)
    assert {*findings(rec.trace())} == {"bonus_row", "bonus_token"}


@pytest.mark.parametrize("whole_class", [False, True])
def test_a_tree_of_sequoia(whole_class: bool) -> None:
    seed()
    plain = spec_tree.generate(spec_tree.SpecTree(toy.PROMPT, 0.8), 10)
    seed()
    tree = None if whole_class else spec_tree.SpecTree(toy.PROMPT, 0.8)
    with specviz.attach(tree or spec_tree.SpecTree, strict=True) as rec:
        assert spec_tree.generate(tree or spec_tree.SpecTree(toy.PROMPT, 0.8), 10) == plain
        if whole_class:
            spec_tree.generate(spec_tree.SpecTree(toy.PROMPT, 0.8), 1)
            assert len(rec.trace("2").steps) == 1
    assert not {"verify", "accept_step"} & {*vars(tree or spec_tree.SpecTree(toy.PROMPT, 0.8))}
    trace = rec.trace()
    assert text_of(trace) == plain
    assert not findings(trace)
    ran = compared(trace)
    assert ran["rejudged"] == ran["mask"] == ran["positions"] == ran["draft_calibration"] == len(trace.steps) > 2
    assert all(step.verdicts["Sequoia"].path == step.verdicts["rejection"].path for step in trace.steps)
