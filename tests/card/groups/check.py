"""``specviz check`` with the toy models' tables on the card: what only a card does otherwise, summed over all luck."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from specviz.verifiers import ALL_PROPOSALS, VERIFIERS, check, default_options
from specviz.verifiers.check import Case, Finding

torch.set_num_threads(1)
# Siblings, one of which has a child that others must not see, and a chain below them.
CASES = [
    Case(builder, options, pair)
    for builder, options in (("k_config", (("tree", "2,1"),)), ("explicit", (("paths", "[0],[1],[1,0]"),)))
    for pair in ("V=3", "V=3 with zeros")
]


@pytest.fixture
def to_card(monkeypatch):
    """Puts the tables on the card, once it is called; the law that they are compared with is computed on the host."""
    plain, toys = check.emitted, check.TOYS

    def emitted(verifier, options, trees, pair):
        return plain(verifier, options, trees, replace(pair, target=pair.target.cpu()))

    def move() -> None:
        there = {name: replace(t, target=t.target.to("cuda"), draft=t.draft.to("cuda")) for name, t in toys.items()}
        monkeypatch.setattr(check, "TOYS", there)
        monkeypatch.setattr(check, "emitted", emitted)
        check._trees.cache_clear()

    check._trees.cache_clear()
    yield move
    check._trees.cache_clear()


@pytest.mark.parametrize("proposal", ALL_PROPOSALS)
@pytest.mark.parametrize("verifier", list(VERIFIERS))
def test_the_law_is_the_one_of_the_cpu(verifier, proposal, to_card):
    def found() -> Finding:
        one = VERIFIERS[verifier]
        return check._enumerate(one, default_options(one), proposal, CASES)

    on_cpu = found()
    to_card()
    on_card = found()
    assert on_card.trees == on_cpu.trees >= 4
    assert on_card.verdict == on_cpu.verdict
    assert on_card.worst.distance == pytest.approx(on_cpu.worst.distance, abs=1e-12)
    assert on_card.worst.tree == on_cpu.worst.tree or on_cpu.worst.distance < 1e-12
