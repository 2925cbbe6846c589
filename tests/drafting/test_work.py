"""What a builder says of its work beforehand, and what it then does."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import pytest
import torch

from specviz.dice import SeededDice
from specviz.drafting import BUILT_IN_BUILDERS, Builder, BuilderWork, Limits, build_tree
from specviz.drafting.dynamic import DYNAMIC
from specviz.drafting.sequoia import SEQUOIA, sequoia_plan
from specviz.drafting.static import K_CONFIG
from specviz.options import Options
from specviz.transfers import Reads
from specviz.tree import Growth

VOCABULARY = 70
GRIDS: dict[str, dict[str, tuple[object, ...]]] = {
    "k_config": {"tree": ("", "1", "3,2", "1,1,1,1,1", "70"), "proposal": ("top_k", "with_replacement")},
    "explicit": {"paths": ("", "[0]", "[0],[1],[0,0],[0,0,0],[1,0]"), "proposal": ("without_replacement",)},
    "dynamic": {
        "rule": ("eagle2", "best_first"),
        "top_k": (1, 3, 64),
        "depth": (0, 1, 4, 9),
        "total": (1, 2, 8, 60),
    },
    "sequoia": {"acceptance": ("0.5", "0.5,0.2", "0.4,0.3,0.2"), "total": (1, 3, 28), "depth": (1, 2, 8)},
    "prompt_lookup": {"places": (1, 4, 64), "depth": (1, 3, 8), "ngram": (1, 3)},
}


class CountingDraft:
    """Random rows, flat or sharp, and how often they were asked for."""

    reads = Reads()

    def __init__(self, sharpness: float, text: Sequence[int]):
        self.committed = text
        self.forwards = self.rows = 0
        self._sharpness, self._generator = sharpness, torch.Generator().manual_seed(3)

    def expand(self, growth: Growth, nodes: list[int]) -> torch.Tensor:
        self.forwards += 1
        self.rows += len(nodes)
        values = torch.randn(len(nodes), VOCABULARY, generator=self._generator)
        return (self._sharpness * values).softmax(-1)

    def tabulate(self, shares: Sequence[Mapping[int, float]]) -> torch.Tensor:
        self.rows += len(shares)
        return torch.full((len(shares), VOCABULARY), 1 / VOCABULARY)


def done(builder: Builder, options: Options, sharpness: float) -> tuple[BuilderWork, int]:
    """The work of one tree, and how many nodes are left of it, the root not counted."""
    text = [*range(60), *range(60), *[1, 2, 3, 1, 2, 4, 1, 2, 5, 1, 2]]
    draft = CountingDraft(sharpness, text)
    growth, keep = build_tree(builder, options, draft, text[-1], SeededDice(1), 0, Limits(max_depth=100))
    grown = len(growth.tokens) - 1
    return BuilderWork(draft.forwards, draft.rows, grown), grown if keep is None else len(keep) - 1


def cases() -> Iterator[tuple[Builder, Options]]:
    for builder in BUILT_IN_BUILDERS:
        grid = GRIDS[builder.name]
        for values in itertools.product(*grid.values()):
            yield builder, builder.Options(**dict(zip(grid, values, strict=True)))


def test_no_tree_takes_more_than_its_builder_said() -> None:
    for builder, options in cases():
        said, most = builder.work(options), builder.max_nodes(options)
        for sharpness in (0.01, 1.0, 8.0):
            work, nodes = done(builder, options, sharpness)
            assert work.forwards <= said.forwards, (builder.name, options)
            assert work.rows <= said.rows, (builder.name, options)
            assert work.nodes <= said.nodes, (builder.name, options)
            assert nodes <= most, (builder.name, options)


@pytest.mark.parametrize(
    ("builder", "options"),
    [
        (K_CONFIG, {"tree": "3,2", "proposal": "top_k"}),
        (DYNAMIC, {"top_k": 4, "depth": 5, "total": 8}),
        (DYNAMIC, {"top_k": 64, "depth": 4, "total": 8}),
        (SEQUOIA, {"acceptance": "0.5", "total": 28, "depth": 8, "proposal": "top_k"}),
    ],
)
def test_it_is_no_more_than_what_can_happen(builder: Builder, options: dict[str, object]) -> None:
    chosen = builder.Options(**options)
    assert done(builder, chosen, 1.0)[0] == builder.work(chosen)


def test_what_is_pruned_counts() -> None:
    """128 nodes are kept of 258,112 that are grown, and of the 4,033 that the draft runs."""
    options = DYNAMIC.Options(top_k=64, depth=64, total=128)
    assert (DYNAMIC.max_nodes(options), DYNAMIC.work(options)) == (128, BuilderWork(64, 4_033, 258_112))


def test_a_level_that_cannot_be_kept_is_not_expected() -> None:
    options = DYNAMIC.Options(rule="best_first", top_k=4, depth=64, total=6)
    assert DYNAMIC.work(options) == BuilderWork(7, 1 + 4 + 5 + 4 + 3 + 2 + 1, 4 * (1 + 4 + 5 + 4 + 3 + 2 + 1))


def test_the_nodes_of_a_sequoia_tree_need_no_plan() -> None:
    grid = GRIDS["sequoia"]
    for values in itertools.product(*grid.values()):
        options = SEQUOIA.Options(**dict(zip(grid, values, strict=True)))
        plan = sequoia_plan(options.acceptance, options.total, options.depth)  # type: ignore[attr-defined]
        assert SEQUOIA.max_nodes(options) == sum(plan.values())


def test_a_builder_that_says_nothing_keeps_all_it_grows() -> None:
    silent = replace(K_CONFIG, most_work=None)
    options = K_CONFIG.Options(tree="4,2,2")
    assert silent.work(options) == BuilderWork(29, 29, 28)
    assert replace(silent, runs_draft=False).work(options) == BuilderWork(0, 29, 28)
    assert K_CONFIG.work(options) == BuilderWork(3, 13, 28)
