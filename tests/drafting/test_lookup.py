"""Drafts from the text itself: what is found, how it becomes a tree, and that a run with them is exact."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from specviz.dice import SeededDice
from specviz.drafting import BUILDERS, Limits, build_tree
from specviz.drafting.lookup import LookupOptions, matches
from specviz.engine.session import Session
from specviz.errors import SettingsError
from specviz.trace.io import dump_trace, parse_trace
from specviz.verifiers import VERIFIERS
from specviz.verifiers.exact import draw_trees, emitted, toy
from tests.pairs import make_pair, make_settings

LOOKUP = BUILDERS["prompt_lookup"]


@dataclasses.dataclass(frozen=True, eq=False)
class Lookback(type(toy(0))):
    """A toy whose text so far repeats itself."""

    text: tuple[int, ...] = (0, 1, 2, 0, 2, 1, 0)

    @property
    def committed(self) -> tuple[int, ...]:
        return self.text


def lookback(**fields: object) -> Lookback:
    base = toy(1)
    return Lookback(base.name, base.target, base.draft, base.depth, **fields)


def grown(pair: Lookback, end_tokens: frozenset[int] = frozenset(), **options: int):
    chosen = LookupOptions(**options)
    growth, keep = build_tree(LOOKUP, chosen, pair, pair.text[-1], SeededDice(0), 0, Limits(8, end_tokens))
    return growth.freeze("top_k", keep)[0]


def test_the_longest_end_that_occurs_before_decides():
    text = [1, 2, 3, 9, 2, 3, 8, 1, 2, 3]
    assert matches(text, 3, 4) == [3]
    assert matches(text, 2, 4) == [6, 3]
    assert matches(text, 2, 1) == [6]
    assert matches([1, 2, 3], 3, 4) == []
    assert matches([5], 3, 4) == []


def test_an_occurrence_may_overlap_the_end():
    assert matches([7, 7, 7], 2, 4) == [2]
    assert matches([7, 7, 7], 1, 4) == [2, 1]


def test_places_that_agree_share_a_node():
    tree = grown(lookback(text=(5, 1, 2, 5, 1, 0, 5, 2, 2, 5)), ngram=1, depth=2)
    # 5 is followed by 2, 2 (latest), by 1, 0 and by 1, 2: two of three places agree on 1.
    assert tree.tokens == (5, 1, 2, 0, 2, 2)
    assert tree.shape.parents == (-1, 0, 0, 1, 1, 2)


def test_rows_hold_the_shares_of_the_places():
    tree = grown(lookback(text=(0, 1, 2, 0, 1, 1, 0, 2, 2, 0)), ngram=1, depth=2)
    assert tree.rows[tree.row_of[0]].tolist() == pytest.approx([0, 2 / 3, 1 / 3])
    assert torch.allclose(tree.rows.sum(-1), torch.ones(len(tree.rows), dtype=tree.rows.dtype))
    assert tree.q_is_point_mass


def test_nothing_found_is_no_tree():
    assert len(grown(lookback(text=(0, 1, 2)))) == 1


def test_an_end_of_sequence_is_never_expanded():
    text = (0, 1, 2, 0, 1, 2, 0)
    assert len(grown(lookback(text=text), ngram=3, depth=3)) == 4
    assert grown(lookback(text=text), frozenset({1}), ngram=3, depth=3).tokens == (0, 1)


@pytest.mark.parametrize("name", ["rejection", "traversal", "naive"])
def test_it_is_lossless(name: str):
    pair = lookback()
    trees = draw_trees(LOOKUP, LookupOptions(ngram=1, depth=2), pair)
    assert len(trees) == 1
    assert len(trees[0].tree) > 3
    assert emitted(VERIFIERS[name], VERIFIERS[name].Options(), trees, pair).distance < 1e-12


def test_too_many_nodes_are_refused():
    with pytest.raises(SettingsError, match="more than 1024 nodes"):
        LOOKUP.max_nodes(LookupOptions(places=64, depth=64))


def test_the_draft_model_is_never_run():
    pair = make_pair()
    session = Session(pair, make_settings("prompt lookup", audit=True), "the sea the sea the")
    pair.draft.forwards.clear()
    steps = list(session.run())
    assert pair.draft.forwards == []
    assert any(len(step.tree.nodes) > 2 for step in steps)
    for step in steps:
        assert step.timings.draft == 0
        assert step.caches.draft.length_after == 0
        assert step.caches.draft.audit is None
        assert step.caches.target.audit is not None
    assert parse_trace(dump_trace(session.trace)) == session.trace
