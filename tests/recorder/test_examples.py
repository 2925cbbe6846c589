"""The loops under docs/examples decode, and what they record has no fault unless one is planted."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from specviz.trace.schema import Trace
from tests.paths import ROOT
from tests.recorder import loops

EXAMPLES = ("chain", "tree", "batch")
TEMPERATURES = (0.0, 0.7, 1.0)


def failed(trace: Trace) -> Counter[str]:
    """Check -> in how many steps it found something."""
    return Counter(check.name for step in trace.steps for check in step.checks if check.failed)


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_fits_on_a_screen_or_two(example: str) -> None:
    assert len((ROOT / "docs" / "examples" / f"{example}.py").read_text(encoding="utf-8").splitlines()) < 100


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("example", EXAMPLES)
def test_a_sound_loop_has_no_finding(example: str, temperature: float) -> None:
    rec = loops.run(example, temperature=temperature, new_tokens=24)
    for request in ("a", "b") if example == "batch" else (None,):
        trace = rec.trace(request)
        assert not failed(trace)
        assert trace.end_reason == "max_new_tokens"
        assert len(trace.output_tokens()) >= 24
        assert any(step.verdicts["my-loop"].path for step in trace.steps)
        compared = Counter({check.name: check.compared for step in trace.steps for check in step.checks})
        assert compared["rejudged"] == compared["bonus_row"] == 1
        # specviz's own verifier, on the engine's rows and coins, decides as the engine did.
        assert all(step.verdicts["rejection"].path == step.verdicts["my-loop"].path for step in trace.steps)


@pytest.mark.parametrize("example", ["chain", "tree"])
def test_at_temperature_0_the_text_is_that_of_greedy_decoding(example: str) -> None:
    target, _ = loops.models()
    text = list(loops.PROMPT)
    with torch.no_grad():
        for _ in range(12):
            text.append(int(target(input_ids=torch.tensor([text])).logits[0, -1].argmax()))
    said = loops.run(example, temperature=0.0, new_tokens=12).trace().output_tokens()
    assert said[:12] == text[len(loops.PROMPT) :]


def test_half_precision_has_no_finding_either() -> None:
    for example in ("chain", "tree"):
        assert not failed(loops.run(example, dtype=torch.bfloat16, new_tokens=24, temperature=0.7).trace())
    loops.models.cache_clear()  # a model is cast in place


def test_the_caches_of_the_examples_are_read() -> None:
    tree = loops.run("tree", new_tokens=12).trace().steps[0].caches
    assert tree.draft is None
    assert (tree.target.length_before, len(tree.target.appended)) == (5, 10)
    assert tree.target.appended[4].sees == (5, 6, 9)  # the first grandchild: the root, its parent, itself
    chain = loops.run("chain", new_tokens=30, temperature=0.7, seed=2).trace()
    assert all(step.caches.target.moves == () for step in chain.steps)
    roles = Counter(slot.role for step in chain.steps for slot in step.caches.draft.appended)
    assert roles["node"] == 4 * len(chain.steps)
    late = [slot for step in chain.steps for slot in step.caches.draft.appended if slot.role == "context"]
    text = [*chain.prompt_tokens, *chain.output_tokens()]
    assert late
    assert all(slot.token == text[slot.slot] for slot in late)


# What the audits (they need the models) find is with them; calibrations need many steps.
FOUND = {
    "no compaction": {"compaction"},
    "positions + 1": {"positions"},
    "mask leaks a sibling": {"mask"},
    "stale residual": {"bonus_row"},
    "q not renormalised": {"thresholds", "bonus_row"},
    "verified at another temperature": {"thresholds", "bonus_row"},
}


@pytest.mark.parametrize("fault", loops.FAULTS)
def test_a_planted_fault_is_found_in_the_steps_that_have_it(fault: str) -> None:
    planted = loops.FAULTS[fault]
    trace = loops.run(planted.example, fault=fault, new_tokens=30).trace()
    assert {*failed(trace)} >= FOUND.get(fault, set())
    if fault not in FOUND:
        assert not failed(trace)
