"""Engines of a known shape, recorded in one line: stand-ins with the names, arguments and shapes of theirs."""

from __future__ import annotations

import random
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import specviz
from specviz.recorder.audit import audit
from specviz.recorder.findings import Finding
from specviz.trace.schema import Trace
from tests.recorder.shapes import kernels, spec_tree, strategy, toy, tree_functions

STEPS = 8


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
    plain = module.generate(tree_functions.Model(), temperature, STEPS)
    drawn_next = random.random(), torch.rand(1)
    seed()
    with specviz.attach(module, strict=True) as rec:
        assert module.generate(tree_functions.Model(), temperature, STEPS) == plain
        assert (random.random(), torch.rand(1)) == drawn_next
    assert {name: getattr(module, name) for name in originals} == originals
    trace = rec.trace("1")
    assert len(trace.steps) == STEPS
    # What EAGLE draws at the end of the last step is not in the text that it returns.
    assert text_of(trace)[: len(plain)] == plain
    assert len(text_of(trace)) == len(plain) + (shape == "eagle")
    assert not findings(trace)
    ran = compared(trace)
    assert ran["compaction"] == ran["mask"] == ran["positions"] == STEPS
    if shape == "eagle":
        assert trace.engine is not None
        assert trace.engine.rule == ("rejection" if temperature else "greedy")
        assert ran["rejudged"] == STEPS
        if temperature:
            assert ran["bonus_row"] == STEPS
            assert all(step.verdicts["EAGLE"].path == step.verdicts["rejection"].path for step in trace.steps)
    else:
        assert ran["rejudged"] == (0 if temperature else STEPS)
        assert [step.verdicts["Medusa"].bonus is None for step in trace.steps] == [False] * (STEPS - 1) + [True]


def test_a_stale_residual_of_eagle_is_found() -> None:
    seed()
    module: Any = tree_functions.eagle("stale")
    with specviz.attach(module) as rec:
        module.generate(tree_functions.Model(), 0.8, STEPS)
    assert {"rejudged", "bonus_row"} <= {*findings(rec.trace())}


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_a_strategy_of_mcsd(temperature: float, batched: bool) -> None:
    engine = strategy.Strategy(temperature, batched=batched)
    seed()
    plain = strategy.generate(engine, STEPS)
    seed()
    with specviz.attach(engine, strict=True) as rec:
        assert strategy.generate(engine, STEPS) == plain
    assert {*vars(engine)} == {*vars(strategy.Strategy(temperature))}
    assert engine.acceptance_check is strategy.accept
    trace = rec.trace()
    assert text_of(trace) == plain
    assert not findings(trace)
    ran = compared(trace)
    assert ran["rejudged"] == STEPS
    ends = Counter(step.verdicts["MCSD"].bonus.source for step in trace.steps if step.verdicts["MCSD"].bonus)
    assert ran["bonus_row"] == ends["residual"] > 0
    assert all(step.verdicts["MCSD"].path == step.verdicts["rejection"].path for step in trace.steps)


def test_mcsd_that_draws_from_the_target() -> None:
    engine = strategy.Strategy(0.8, speculative_sampling=False)
    seed()
    with specviz.attach(engine, strict=True) as rec:
        plain = strategy.generate(engine, STEPS)
    assert text_of(rec.trace()) == plain
    assert not findings(rec.trace())
    assert compared(rec.trace())["rejudged"] == STEPS


def test_rows_that_are_forgotten_by_a_fault_of_mcsd_are_found() -> None:
    engine = strategy.Strategy(0.8)
    engine.acceptance_check = lambda p, q, tokens: strategy.accept(p.clone(), q, tokens)  # p is not what is left
    seed()
    with specviz.attach(engine) as rec:
        strategy.generate(engine, STEPS)
    assert {*findings(rec.trace())} == {"bonus_row", "bonus_token"}


@pytest.mark.parametrize("whole_class", [False, True])
def test_a_tree_of_sequoia(whole_class: bool) -> None:
    seed()
    plain = spec_tree.generate(spec_tree.SpecTree(toy.PROMPT, 0.8), STEPS)
    seed()
    tree = None if whole_class else spec_tree.SpecTree(toy.PROMPT, 0.8)
    with specviz.attach(tree or spec_tree.SpecTree, strict=True) as rec:
        assert spec_tree.generate(tree or spec_tree.SpecTree(toy.PROMPT, 0.8), STEPS) == plain
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


def test_a_bonus_that_is_written_over_an_accepted_token_of_sequoia_is_found() -> None:
    torch.manual_seed(4)  # in the fifth step the second child of the root is accepted, and nothing below it
    with specviz.attach(spec_tree.SpecTree) as rec:
        plain = spec_tree.generate(spec_tree.SpecTree(toy.PROMPT, 0.8, early=True), STEPS)
    assert text_of(rec.trace()) == plain
    assert "committed_text" in findings(rec.trace())


@pytest.mark.parametrize("greedy", [False, True])
def test_the_kernels_of_sglang(greedy: bool) -> None:
    seed()
    plain = kernels.serve(kernels.sglang(greedy), 6)
    seed()
    module = kernels.sglang(greedy)
    with specviz.attach(module, strict=True) as rec:
        assert kernels.serve(module, 6) == plain
    assert [text_of(rec.trace(name)) for name in "ab"] == plain
    assert [len(rec.trace(name).steps) for name in "ab"] == [2, 6]
    assert not findings(rec.trace("a")) | findings(rec.trace("b"))
    verdicts = [step.verdicts["SGLang"] for step in rec.trace("b").steps]
    assert all(verdict.bonus and (verdict.bonus.uniform is None) == greedy for verdict in verdicts)
    if not greedy:
        # One coin decided about all children of a node; each has what was left of it, by which rejection decides alike.
        assert all(one.verdicts["SGLang"].path == one.verdicts["rejection"].path for one in rec.trace("b").steps)
        assert compared(rec.trace("b"))["rejudged"] == 6


def test_thresholds_of_sglang_that_accept_more_are_no_rejection() -> None:
    seed()
    module = kernels.sglang(False, threshold_acc=0.5)
    with specviz.attach(module, strict=True) as rec:
        kernels.serve(module, 3)
    trace = rec.trace("b")
    assert trace.engine is not None
    assert trace.engine.rule == "target_only"
    assert all([*step.verdicts] == ["SGLang"] for step in trace.steps)


def test_without_names_rows_of_sglang_are_known_by_their_place() -> None:
    seed()
    module: Any = kernels.sglang(False)
    caller = SimpleNamespace(EagleVerifyInput=module.EagleVerifyInput)
    del module.EagleVerifyInput
    with specviz.attach(module, strict=True) as rec:
        plain = kernels.serve(caller, 2)
    # The text begins with the first root.
    assert text_of(rec.trace("row 0")) == plain[0][len(toy.PROMPT) :]
    assert text_of(rec.trace("row 1")) == plain[1][2:]


@pytest.mark.parametrize("greedy", [False, True])
@pytest.mark.parametrize("known_draft", [False, True])
def test_the_sampler_of_vllm(known_draft: bool, greedy: bool) -> None:
    texts = [[*toy.PROMPT], [4, 9]]
    module: Any = kernels.vllm(known_draft)
    seed()
    module.generate(texts, STEPS, greedy)
    again = [[*toy.PROMPT], [4, 9]]
    seed()
    with specviz.attach(module, strict=True) as rec:
        module.generate(again, STEPS, greedy)
    assert [text_of(rec.trace(name)) for name in "12"] == texts == again
    for name in "12":
        trace = rec.trace(name)
        assert not findings(trace)
        assert compared(trace)["rejudged"] == len(trace.steps) == STEPS


@pytest.mark.filterwarnings("ignore:.*nothing was recorded")
def test_a_row_of_vllm_whose_text_is_not_known_is_not_recorded() -> None:
    module: Any = kernels.vllm(False)
    with (
        pytest.warns(specviz.RecorderWarning, match="requests="),
        specviz.attach(module, requests=lambda: [("a", [])]) as rec,
    ):
        module.generate([[*toy.PROMPT]], 1, False)
    with pytest.raises(specviz.TraceError):
        rec.trace("a")


def test_what_has_no_known_shape_is_refused() -> None:
    for thing in (object(), [1], torch):
        with pytest.raises(specviz.SettingsError, match=r"docs/engines\.md"):
            specviz.attach(thing)


def test_a_module_whose_functions_nobody_calls() -> None:
    with pytest.warns(specviz.RecorderWarning, match="nothing was recorded"), specviz.attach(tree_functions.eagle()):
        pass


def test_an_error_of_the_engine_ends_its_step_and_goes_on() -> None:
    engine = strategy.Strategy(0.8)

    def broken(ground_probs: Any, cand_probs: Any, cand_tokens: Any) -> None:
        raise ZeroDivisionError("in the engine")

    engine.acceptance_check = broken  # type: ignore[assignment]
    with pytest.raises(ZeroDivisionError), specviz.attach(engine) as rec:
        strategy.generate(engine, 1)
    trace = rec.trace()
    assert trace.failed is not None
    assert "in the engine" in trace.failed.message
    assert engine.acceptance_check is broken


def test_nothing_is_hooked_where_recording_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPECVIZ", "0")
    module: Any = tree_functions.eagle()
    before = module.tree_decoding
    with specviz.attach(module):
        assert module.tree_decoding is before
