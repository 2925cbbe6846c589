"""Comparisons of two runs say what both traces say."""

from __future__ import annotations

import math

import pytest

from specviz.comparing import NEAR_TIE, Reference, compare, near_tie_of, place_of
from specviz.figures.comparisons import comparison_value, format_comparison
from specviz.trace import Choice, Sampling
from tests import pairs
from tests.sample_traces import HOSTILE, sample_trace


@pytest.fixture(scope="module")
def two():
    return pairs.make_trace(seed=5), pairs.make_trace(seed=6)


def test_a_run_and_itself_are_equal(two):
    found = compare(two[0], two[0])
    assert found.parting is None
    assert {kind for kind, _, _ in found.pieces} == {"equal"}
    assert found.settings == ()
    assert "the same" in format_comparison(found)


def test_the_first_token_that_differs_and_its_margin_are_those_of_the_traces(two):
    a, b = two
    ours, theirs = a.output_tokens(), b.output_tokens()
    index = next(i for i, (x, y) in enumerate(zip(ours, theirs, strict=False)) if x != y)
    found = compare(a, b, ("left", "right"))
    assert found.parting is not None
    assert found.parting.index == index
    place = place_of(a, index)
    assert place is not None
    before = sum(len(step.committed) for step in a.steps[: place.step])
    assert a.steps[place.step].committed[index - before] == ours[index]
    assert place.bonus == (index - before == len(a.steps[place.step].committed) - 1)
    row = a.steps[place.step].tree.nodes[place.row_node].target.processed
    raw = a.steps[place.step].tree.nodes[place.row_node].target.raw
    assert found.parting.margin == pytest.approx(math.log(raw.probs[0] / raw.probs[1]), rel=1e-6)
    assert row.ids, "a place has a row"
    assert ("seed", "5", "6") in found.settings
    said = format_comparison(found)
    assert f"token {index + 1}" in said


def test_pieces_put_together_are_both_outputs(two):
    found = compare(*two)
    assert [t for _, ours, _ in found.pieces for t in ours] == two[0].output_tokens()
    assert [t for _, _, theirs in found.pieces for t in theirs] == two[1].output_tokens()
    for kind, ours, theirs in found.pieces:
        assert (ours == theirs) == (kind == "equal")


def test_accepted_lengths_are_those_of_the_driver(two):
    found = compare(*two)
    for side, trace in zip((found.a, found.b), two, strict=True):
        assert list(side.accepted) == [len(step.verdicts[step.driver].path) for step in trace.steps]
        assert side.tokens == len(trace.output_tokens())


def test_a_run_that_only_stopped_earlier_differs_in_length():
    whole = pairs.make_trace(seed=5)
    short = pairs.make_trace(seed=5, max_new_tokens=6)
    assert whole.output_tokens()[: len(short.output_tokens())] == short.output_tokens()
    found = compare(whole, short)
    assert len(short.output_tokens()) < len(whole.output_tokens())
    assert found.parting is None or found.parting.index == len(short.output_tokens())
    assert ("max_new_tokens", str(whole.settings.max_new_tokens), "6") in found.settings


def test_a_reference_without_steps_takes_part():
    greedy = pairs.make_trace(
        target=Sampling(temperature=0.0), verifiers=(Choice(name="greedy"),), driver="greedy", max_new_tokens=8
    )
    tokens = greedy.output_tokens()
    texts = {token: text for step in greedy.steps for token, text in step.text_of().items()}
    place = place_of(greedy, 3)
    assert place is not None
    best, second = greedy.steps[place.step].tree.nodes[place.row_node].target.raw.ids[:2]
    assert best == tokens[3]
    other = [*tokens[:3], second, *tokens[4:]]
    margins = tuple([5.0] * 3 + [near_tie_of(greedy) / 2] + [5.0] * (len(tokens) - 4))
    near = compare(greedy, Reference("plain", tuple(other), texts, margins))
    assert near.parting is not None
    assert near.parting.index == 3
    assert near.parting.near_tie
    real = compare(greedy, Reference("plain", tuple(other), texts, tuple([5.0] * len(tokens))))
    assert real.parting is not None
    assert not real.parting.near_tie
    third = compare(greedy, Reference("plain", (*tokens[:3], unlikely(greedy, place), *tokens[4:]), texts, margins))
    assert third.parting is not None
    assert not third.parting.near_tie, "a tie explains a difference only between the two that are tied"


def unlikely(trace, place):
    """A token that is not among the two likeliest."""
    return trace.steps[place.step].tree.nodes[place.row_node].target.raw.ids[-1]


def test_near_tie_follows_the_coarsest_number_format():
    trace = pairs.make_trace(seed=5)
    assert near_tie_of(trace) == NEAR_TIE[trace.models.target.dtype]
    half = trace.model_copy(
        update={
            "models": trace.models.model_copy(
                update={"target": trace.models.target.model_copy(update={"dtype": "bfloat16"})}
            )
        }
    )
    assert near_tie_of(half) == NEAR_TIE["bfloat16"] > near_tie_of(trace)


def test_hostile_texts_stay_data():
    a, b = sample_trace(steps=2, tokens=HOSTILE, seed=1), sample_trace(steps=2, tokens=HOSTILE, seed=2)
    value = comparison_value(compare(a, b))
    assert "texts" in value
    assert "\x1b" not in format_comparison(compare(a, b))
