"""Step heads: one random float32 state dict gives the logits of an independent implementation."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch

from specviz.engine.session import Session
from specviz.models.heads import eagle1, eagle3
from specviz.trace.schema import Choice, Sampling
from tests import head_files, tiny
from tests.head_cases import CASES, VOCABULARY, Case, files, given, ours, target
from tests.heads import with_head
from tests.oracles import implementations as theirs
from tests.oracles.eagle_decoding import steps_of
from tests.pairs import make_settings, pair_of
from tests.step_scenario import TREE, Ours, eagle2_trees, furthest, inputs, play

pytestmark = pytest.mark.oracles

CLOSE = 1e-5
"""Largest difference of logits over their scale."""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_logits_over_two_steps_of_three_levels(case: Case, tmp_path: Path) -> None:
    mine = play(Ours(ours(case)), given(case))
    other = play(theirs.step_oracle(case, tmp_path), given(case))
    print(f"\n{case.name}: {furthest(mine, other):.2g} of a scale of {float(other.abs().max()):.3g}")
    assert mine.shape == other.shape == (26, mine.shape[1])
    assert furthest(mine, other) < CLOSE


@pytest.mark.parametrize("case", [case for case in CASES if case.oracle == "speculators"], ids=lambda case: case.name)
@torch.no_grad()
def test_speculators_own_forward_of_three_training_steps(case: Case) -> None:
    """Its forward as it is: at every place of a text three levels, each fed the head's output of the one before."""
    config, tensors = files(case)
    model, n, levels = theirs.speculators_eagle3(config, tensors), 9, 3
    text = inputs(given(case).states.shape[1], 24, seed=9)
    states, ids = text.states[:n], text.tokens[:n]
    seen: list[torch.Tensor] = []
    model.lm_head.register_forward_hook(lambda module, args, out: seen.append(out[0]))
    model(states[None], ids[None], torch.zeros(1, n, dtype=torch.long), ttt_steps=levels)

    head = Ours(ours(case))
    carry, causal, own_slot = head.fuse(states), torch.ones(n, n, dtype=torch.bool).tril(), torch.eye(n).bool()
    found: list[Any] = []
    for level in range(levels):
        tokens = torch.cat([ids[level:], ids.new_zeros(level)])
        sees = torch.cat([causal, *[own_slot] * level], dim=1)
        own = head.run(carry, tokens, [place + level for place in range(n)], sees)
        carry = head.recycle(own)
        found.append(head.logits(own))
    assert len(seen) == levels
    for mine, other in zip(found, seen, strict=True):
        assert furthest(mine, other) < CLOSE


@pytest.mark.parametrize("case", [case for case in CASES if "cnets" in case.oracle], ids=lambda case: case.name)
def test_eagle2_grows_the_same_nodes(case: Case) -> None:
    """Its own code, and our head under our builder, over two steps."""
    config, tensors = files(case)
    model = theirs.cnets_model(case.oracle, config, tensors)
    other = theirs.eagle2_trees(model, given(case), target(case).lm_head.weight if case.oracle == "cnets1" else None)
    mine = eagle2_trees(ours(case), given(case), VOCABULARY)
    print(f"\n{case.name}: {[len(tree) for tree in other]} nodes")
    assert [len(tree) for tree in other] == [TREE["total"]] * 2
    assert mine == other


@pytest.mark.parametrize("eagle3_head", [True, False])
def test_eagles_own_decoding_takes_the_same_steps(eagle3_head: bool, tmp_path: Path) -> None:
    """Greedy, with trees of EAGLE-2: its engine, its target, its cache, and a run of ours, on random weights."""
    of = tiny.make_model("llama", layers=8, vocab=12)
    kind, options = (
        (head_files.eagle3, {"layout": "safeailab", "columns": 8}) if eagle3_head else (head_files.eagle1, {})
    )
    files = kind(of.config, seed=3, **options)
    head = (eagle3 if eagle3_head else eagle1).FORMAT.build(*files, of.config, {})
    builder = Choice(name="dynamic", options={"rule": "eagle2", **TREE})
    greedy: dict[str, Any] = {"verifiers": (Choice(name="greedy"),), "driver": "greedy", "max_new_tokens": 40}
    settings = make_settings(builder, **greedy, target=Sampling(temperature=0), draft=Sampling(temperature=1))
    prompt = [1, 2, 3, 4, 5, 2, 7, 3]
    session = Session(with_head(pair_of(of, of), head), settings, "x", tokens=prompt)
    list(session.run())
    text, mine = list(prompt), []
    for step in session.trace.steps:
        mine.append([text[-1], *step.committed[:-1]])
        text += step.committed
    other = steps_of(of, files, eagle3_head, prompt, tmp_path / "head", tokens=40)
    # Ours begins with the prompt's last token as root, theirs with the token after it; then they meet.
    assert [token for step in other for token in step][:30] == text[len(prompt) :][:30]
    ours_at, theirs_at = places(mine, -1), places(other, 0)
    shared = sorted(ours_at.keys() & theirs_at.keys() & {*range(30)})
    assert len(shared) > 15
    assert any(len(ours_at[place]) > 1 for place in shared)
    assert [ours_at[place] for place in shared] == [theirs_at[place] for place in shared]


def places(steps: list[list[int]], first: int) -> dict[int, list[int]]:
    """Place of a step's root among the new tokens -> the root and the accepted tokens."""
    starts = itertools.accumulate((len(step) for step in steps), initial=first)
    return dict(zip(starts, steps))  # noqa: B905 (there is one start more)
