"""Comparisons of two runs say what both traces say."""

from __future__ import annotations

import math

import pytest

from specviz.figures.comparisons import comparison_value, format_comparison
from specviz.trace.diff import NEAR_TIE, Reference, _pieces, compare, near_tie_of, place_of
from specviz.trace.schema import Choice, Sampling
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


def test_the_coarser_of_two_formats_decides_from_either_side(two):
    a, b = two
    found = compare(a, b)
    place = found.parting.places[0]
    row = a.steps[place.step].tree.nodes[place.row_node].target
    margin = NEAR_TIE["bfloat16"] / 2
    close = row.model_copy(
        update={
            "raw": row.raw.model_copy(update={"ids": found.parting.tokens, "probs": (0.4, 0.4 * math.exp(-margin))})
        }
    )
    ours, theirs = (with_row(run, at, close) for run, at in zip(two, found.parting.places, strict=True))
    half = theirs.model_copy(
        update={
            "models": theirs.models.model_copy(
                update={"target": theirs.models.target.model_copy(update={"dtype": "bfloat16"})}
            )
        }
    )
    assert not compare(ours, theirs).parting.near_tie
    assert compare(ours, half).parting.near_tie
    assert compare(half, ours).parting.near_tie


def with_row(trace, place, row):
    """The trace with another target row at a place."""
    step = trace.steps[place.step]
    nodes = list(step.tree.nodes)
    nodes[place.row_node] = nodes[place.row_node].model_copy(update={"target": row})
    told = step.model_copy(update={"tree": step.tree.model_copy(update={"nodes": tuple(nodes)})})
    return trace.model_copy(update={"steps": (*trace.steps[: place.step], told, *trace.steps[place.step + 1 :])})


def test_tokens_after_an_end_of_sequence_are_a_difference(two):
    tokens = two[0].output_tokens()
    texts = {token: text for step in two[0].steps for token, text in step.text_of().items()}
    short = Reference("plain", tuple(tokens[:4]), texts, (1.0,) * 4)
    assert compare(two[0], short).parting is None, "it had no more to write"
    ignored = two[0].model_copy(update={"end_tokens": (tokens[3],)})
    found = compare(ignored, short)
    assert found.parting.index == 4
    assert found.parting.tokens == (tokens[4], None)
    assert "nothing more" in format_comparison(found)


def test_one_empty_run_is_compared(two):
    empty = two[0].model_copy(update={"steps": (), "end_reason": None})
    for found in (compare(empty, two[0]), compare(two[0], empty), compare(empty, empty)):
        assert found.parting is None
        assert found.shared == 0
        assert format_comparison(found)
        assert comparison_value(found)["parting"] is None


def test_runs_with_other_prompts_say_so(two):
    other = pairs.make_trace(seed=5, prompt="a")
    found = compare(two[0], other)
    assert not found.same_prompt
    assert "prompts differ" in format_comparison(found)


def test_very_long_texts_are_compared_in_no_time():
    ours, theirs = [1] * 30_000 + [2] + [1] * 9, [1] * 30_000 + [3] + [1] * 9
    pieces = _pieces(ours, theirs)
    assert [(kind, len(x), len(y)) for kind, x, y in pieces] == [("equal", 30_000, 30_000), ("differs", 10, 10)]
    assert [t for _, x, _ in pieces for t in x] == ours


def test_hostile_texts_stay_data():
    a, b = sample_trace(steps=2, tokens=HOSTILE, seed=1), sample_trace(steps=2, tokens=HOSTILE, seed=2)
    value = comparison_value(compare(a, b))
    assert "texts" in value
    assert "\x1b" not in format_comparison(compare(a, b))
