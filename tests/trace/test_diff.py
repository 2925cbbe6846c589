"""Comparisons of two runs say what both traces say."""

from __future__ import annotations

import math

import pytest
import torch

from specviz.engine.session import Session
from specviz.figures.diff import comparison_value, format_comparison
from specviz.trace.diff import Reference, _pieces, compare, place_of
from specviz.trace.near_tie import NEAR_TIE, QUANTIZED_TIE, Scores, near_tie_of
from specviz.trace.schema import WEIGHTS_SCHEME, Choice, ModelInfo, Sampling, Step, Trace
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


@pytest.fixture(scope="module")
def greedy() -> Trace:
    return pairs.make_trace(
        target=Sampling(temperature=0.0), verifiers=(Choice(name="greedy"),), driver="greedy", max_new_tokens=8
    )


def reference(run: Trace, tokens: list[int], scores: list[Scores], target: ModelInfo | None = None) -> Reference:
    texts = {token: text for step in run.steps for token, text in step.text_of().items()}
    return Reference("plain", tuple(tokens), texts, tuple(scores), target or run.models.target)


def other_target(run: Trace, **fields: object) -> Trace:
    """The run as one of a target that differs in these fields."""
    target = run.models.target.model_copy(update=fields)
    return run.model_copy(update={"models": run.models.model_copy(update={"target": target})})


def test_a_reference_without_steps_takes_part(greedy: Trace):
    tokens = greedy.output_tokens()
    place = place_of(greedy, 3)
    assert place is not None
    best, second, third = greedy.steps[place.step].tree.nodes[place.row_node].target.raw.ids[:3]
    assert best == tokens[3]
    near = near_tie_of(greedy.models.target) / 2
    run = with_row(greedy, place, row_of(greedy, place, (best, second, third), 0.0, near, 3.0))

    def kind(run: Trace, token: int, margin: float) -> str:
        scores = [Scores((token, best), (0.0, margin))] * len(tokens)
        found = compare(run, reference(run, [*tokens[:3], token, *tokens[4:]], scores))
        assert found.parting is not None
        assert found.parting.index == 3
        assert found.parting.margin == margin
        assert f"\nA {found.parting.meaning.kind}: " in format_comparison(found)
        return found.parting.meaning.kind

    assert kind(run, second, near) == "near tie"
    assert kind(run, second, 5.0) == "real difference"
    assert kind(run, third, near) == "real difference", "a tie explains a difference only between tokens that are tied"
    assert kind(greedy, second, near) == "real difference", "where the run chose, it was no near tie"
    tied = with_row(greedy, place, row_of(greedy, place, (best, second, third), 0.0, near / 2, near))
    assert kind(tied, third, near) == "near tie", "of three that are tied, any can win"


def test_what_was_not_recorded_is_called_neither(greedy: Trace):
    tokens = greedy.output_tokens()
    place = place_of(greedy, 3)
    bare = with_row(greedy, place, row_of(greedy, place, (tokens[3],), 0.0))
    other = [*tokens[:3], (tokens[3] + 1) % 100]
    for scores in ([], [Scores((), ())] * 4):
        assert compare(bare, reference(bare, other, scores)).parting.meaning.kind == "not recorded"
    far = compare(greedy, reference(greedy, other, []))
    assert far.parting.meaning.kind == "real difference", "it lies below the last that was recorded"


def row_of(run: Trace, place, ids: tuple[int, ...], *below: float):
    """The row at a place, as if its likeliest tokens were these, so many logits below the first."""
    row = run.steps[place.step].tree.nodes[place.row_node].target
    probs = tuple(0.3 * math.exp(-one) for one in below)
    return row.model_copy(update={"raw": row.raw.model_copy(update={"ids": ids, "probs": probs})})


def test_near_tie_follows_the_number_format_and_the_size_of_the_logits():
    target = pairs.make_trace(seed=5).models.target
    assert near_tie_of(target) == NEAR_TIE[target.dtype]
    half = target.model_copy(update={"dtype": "bfloat16"})
    assert near_tie_of(half) == near_tie_of(half, 30.0) == NEAR_TIE["bfloat16"] > near_tie_of(target)
    assert near_tie_of(half, -100.0) == 1.0, "numbers around 100 are 0.5 apart"
    assert near_tie_of(target.model_copy(update={"quantization": "int8"})) == QUANTIZED_TIE
    for limit in (0.0, None, 1e-30):
        assert near_tie_of(half, limit) == NEAR_TIE["bfloat16"]


def test_the_coarser_of_two_formats_decides_from_either_side(greedy: Trace):
    place = place_of(greedy, 3)
    best, second = greedy.steps[place.step].tree.nodes[place.row_node].target.raw.ids[:2]
    tokens = greedy.output_tokens()

    def kinds(margin: float, dtype: str) -> set[str]:
        run = with_row(greedy, place, row_of(greedy, place, (best, second), 0.0, margin))
        half = other_target(run, dtype=dtype).models.target
        other = [*tokens[:3], second, *tokens[4:]]
        scores = [Scores((second, best), (0.0, margin))] * len(tokens)
        sides = ((run, half), (other_target(run, dtype=dtype), run.models.target))
        return {compare(one, reference(one, other, scores, target)).parting.meaning.kind for one, target in sides}

    assert kinds(0.03, "float32") == {"real difference"}
    assert kinds(0.03, "bfloat16") == {"near tie"}
    assert kinds(0.3, "bfloat16") == {"not comparable"}, "weights rounded to bfloat16 are another target"


def test_a_trace_tells_how_coarse_its_logits_are(greedy: Trace):
    """Between two runs of a target with large logits, too, one spacing of the number format is a near tie."""
    place = place_of(greedy, 3)
    node = greedy.steps[place.step].tree.nodes[place.row_node]
    logits = pairs.make_pair().target.model(torch.tensor([[*greedy.prompt_tokens, *greedy.output_tokens()[:3]]])).logits
    assert node.target.top_logit == pytest.approx(logits[0, -1].max().item(), rel=1e-4)
    best, second = node.target.raw.ids[:2]
    for top, kind in ((-100.0, "near tie"), (20.0, "real difference"), (None, "real difference")):
        runs = []
        for ids in ((best, second), (second, best)):
            row = row_of(greedy, place, ids, 0.0, 0.5).model_copy(update={"top_logit": top})
            runs.append(other_target(with_row(greedy, place, row), dtype="bfloat16"))
        other = with_row(changed_step(runs[1], place.step, second), place, row)
        assert meaning(runs[0], other).kind == kind


def with_row(trace, place, row):
    """The trace with another target row at a place."""
    step = trace.steps[place.step]
    nodes = list(step.tree.nodes)
    nodes[place.row_node] = nodes[place.row_node].model_copy(update={"target": row})
    told = step.model_copy(update={"tree": step.tree.model_copy(update={"nodes": tuple(nodes)})})
    return trace.model_copy(update={"steps": (*trace.steps[: place.step], told, *trace.steps[place.step + 1 :])})


# ---------------------------------------------------------------------------------------------- what is the same


def meaning(a: Trace, b: Trace):
    found = compare(a, b)
    assert found.parting is not None
    return found.parting.meaning


def test_sampled_runs_of_different_seeds_differ_by_chance(two):
    found = meaning(*two)
    assert found.kind == "not comparable"
    assert found.others == (("seed", "5", "6"),)
    assert found.same == ("prompt", "models", "sampling", "tree", "driver")
    said = format_comparison(compare(*two))
    assert "Not comparable: both sample, and what determines their draws is not the same, so chance alone" in said
    assert "Not the same: seed (5 and 6).\nThe same: prompt, models, sampling, tree, driver." in said
    assert "real difference" not in said
    assert "near tie" not in said


@pytest.mark.parametrize(
    ("fields", "name", "group"),
    [
        ({"tree": "chain"}, "builder tree", "tree"),
        ({"tree": "with replacement"}, "builder proposal", "tree"),
        ({"driver": "longest_path"}, "driver", "driver"),
        ({"target": Sampling(temperature=0.7)}, "target temperature", "sampling"),
        ({"draft": Sampling(temperature=0.7)}, "draft temperature", "sampling"),
        ({"seed": 6}, "seed", "seed"),
    ],
)
def test_what_makes_the_luck_of_sampled_runs_another_is_named(two, fields: dict, name: str, group: str):
    found = meaning(two[0], pairs.make_trace(**({"seed": 5} | fields)))
    assert found.kind == "not comparable"
    assert name in [one[0] for one in found.others]
    assert group not in found.same
    assert len(found.same) == 5


@pytest.mark.parametrize("fields", [{"device": "cuda:0"}, {"dtype": "bfloat16"}])
def test_a_sampled_run_is_determined_by_device_and_number_format_too(two, fields: dict):
    found = meaning(two[0], changed_step(other_target(two[0], **fields), 2))
    assert found.kind == "not comparable"
    assert [name for name, _, _ in found.others] == [f"target {name}" for name in fields]


def changed_step(run: Trace, position: int, token: int | None = None) -> Trace:
    """The run as if the driver had drawn another bonus token in one step, which is then its last."""
    step = run.steps[position]
    token = next(t.id for t in step.tokens if t.id != step.committed[-1]) if token is None else token
    verdict = step.verdicts[step.driver]
    assert len(step.committed) == len(verdict.path) + 1
    drawn = verdict.model_copy(update={"bonus": verdict.bonus.model_copy(update={"token": token})})
    changed = {"committed": (*step.committed[:-1], token), "verdicts": {**step.verdicts, step.driver: drawn}}
    steps = (*run.steps[:position], Step.model_validate(step.model_copy(update=changed).model_dump()))
    return run.model_copy(update={"steps": steps, "end_reason": "stopped"})


def test_a_sampled_difference_is_real_where_all_that_determines_the_run_is_the_same(two):
    again = changed_step(two[0], 2).model_copy(update={"id": "again"})
    found = meaning(two[0], again)
    assert found.kind == "real difference"
    assert "determines step 3 is the same" in found.why
    assert found.same == ("prompt", "models", "sampling", "tree", "driver", "seed")
    assert found.others == ()
    # What does not change any draw is no other luck.
    more = again.settings.model_copy(update={"max_new_tokens": 99, "verifiers": again.settings.verifiers[:1]})
    assert meaning(two[0], again.model_copy(update={"settings": more})).kind == "real difference"


def test_rounding_of_a_resumed_run_is_not_called_a_real_difference(two):
    again = changed_step(two[0], 2)
    steps = (*again.steps[:1], again.steps[1].model_copy(update={"prefilled": 8}), *again.steps[2:])
    found = meaning(two[0], again.model_copy(update={"steps": steps}))
    assert found.kind == "not recorded"
    assert "one of them was resumed" in found.why


def test_a_run_that_went_on_beyond_its_token_limit_has_other_coins(two):
    whole = two[0]
    at = next(i for i, step in enumerate(whole.steps) if len(step.committed) > 1)
    tokens = sum(len(step.committed) for step in whole.steps[:at]) + 1
    cut = Session(pairs.make_pair(), whole.settings.model_copy(update={"max_new_tokens": tokens}), whole.prompt)
    list(cut.run())
    cut.go_on(whole.settings.max_new_tokens)
    list(cut.run())
    found = meaning(whole, cut.trace)
    assert found.kind == "not comparable"
    assert f"stopped at its token limit within step {at + 1}" in found.why


def test_a_greedy_and_a_sampled_run_differ_by_chance(two, greedy: Trace):
    plain = reference(two[0], [two[0].output_tokens()[0] + 1], [])
    for found in (meaning(two[0], greedy), meaning(greedy, two[0]), compare(two[0], plain).parting.meaning):
        assert (found.kind, "one of them samples" in found.why) == ("not comparable", True)


def test_a_fork_is_judged_by_the_settings_of_the_step_in_which_it_parts(two, greedy: Trace):
    """Sampled steps before a fork to greedy decoding are no reason to call a later difference chance."""
    resumed = Session.resume(pairs.make_pair(), two[0], steps=1, settings=greedy.settings)
    list(resumed.run())
    fork = resumed.trace
    assert fork.settings_of(0).seed == 5
    found = meaning(fork, changed_step(fork, 2))
    assert found.kind == "real difference"
    assert "logits below the best" in found.why
    reseeded = two[0].settings.model_copy(update={"seed": 78})
    again = Session.resume(pairs.make_pair(), two[0], steps=1, settings=reseeded)
    list(again.run())
    assert meaning(two[0], again.trace).others == (("seed", "5", "78"),)


@pytest.mark.parametrize("fields", [{"id": "other"}, {"revision": "b"}, {"quantization": "int8"}, {"parameters": 1}])
def test_other_targets_are_not_comparable(greedy: Trace, fields: dict):
    first = other_target(greedy, revision="a")
    found = meaning(first, changed_step(other_target(first, **fields), 1))
    assert found.kind == "not comparable"
    ((name, before, after),) = found.others
    assert name == f"target {next(iter(fields))}"
    assert (before, after) == (str(getattr(first.models.target, next(iter(fields))) or "none"), str(*fields.values()))


def test_a_field_that_an_older_file_lacks_is_no_difference(greedy: Trace):
    assert meaning(greedy, changed_step(other_target(greedy, revision="a"), 1)).kind == "real difference"


def weights(digit: str, scheme: str = WEIGHTS_SCHEME) -> str:
    return f"{scheme}:{digit * 64}"


def test_equal_weights_are_one_model_whatever_it_is_called(two, greedy: Trace):
    hub = {"id": "maker/model", "source": "hub", "revision": "a"}
    folder = {"id": "model", "source": "folder", "revision": None}
    for run in (greedy, two[0]):
        first = other_target(run, weights=weights("0"), **hub)
        second = changed_step(other_target(run, weights=weights("0"), **folder), 1)
        assert meaning(first, second).kind == "real difference"
        unknown = changed_step(other_target(run, **folder), 1)
        assert [name for name, _, _ in meaning(first, unknown).others] == ["target id", "target source"]


def test_other_weights_of_one_name_are_another_target(greedy: Trace):
    first = other_target(greedy, weights=weights("0"))
    found = meaning(first, changed_step(other_target(greedy, weights=weights("1")), 1))
    assert found.kind == "not comparable"
    assert found.others == (("target weights", weights("0"), weights("1")),)
    # Hashes made in two ways say nothing about each other.
    assert meaning(first, changed_step(other_target(greedy, weights=weights("1", "v0")), 1)).kind == "real difference"


def test_weights_that_a_number_format_rounded_can_be_the_same_checkpoint(greedy: Trace):
    place = place_of(greedy, 3)
    best, second = greedy.steps[place.step].tree.nodes[place.row_node].target.raw.ids[:2]
    for margin, kind in ((0.03, "near tie"), (0.3, "not comparable")):
        run = with_row(greedy, place, row_of(greedy, place, (best, second), 0.0, margin))
        wide = other_target(run, weights=weights("0"), dtype="float32")
        half = changed_step(other_target(run, weights=weights("1"), dtype="bfloat16"), place.step, second)
        found = meaning(wide, with_row(half, place, row_of(half, place, (second, best), 0.0, margin)))
        assert found.kind == kind
        assert found.others == ()


def test_a_step_is_judged_by_the_number_format_that_it_was_computed_in(greedy: Trace):
    """A run can go on in another number format; then its later steps name the models they were run on."""
    place = place_of(greedy, 3)
    best, second = greedy.steps[place.step].tree.nodes[place.row_node].target.raw.ids[:2]
    tokens = greedy.output_tokens()
    other = [*tokens[:3], second, *tokens[4:]]
    run = with_row(greedy, place, row_of(greedy, place, (best, second), 0.0, 0.03))
    scores = [Scores((second, best), (0.0, 0.03))] * len(tokens)
    for before, then, kind in (("float32", "bfloat16", "near tie"), ("bfloat16", "float32", "real difference")):
        narrow = other_target(run, dtype=then)
        step = narrow.steps[place.step].model_copy(update={"models": narrow.models})
        steps = (*run.steps[: place.step], step, *run.steps[place.step + 1 :])
        went_on = other_target(run, dtype=before).model_copy(update={"steps": steps})
        plain = reference(run, other, scores, narrow.models.target if then == "float32" else run.models.target)
        assert compare(went_on, plain).parting.meaning.kind == kind


def test_a_sampled_step_is_determined_by_the_models_that_it_was_run_on(two):
    half = other_target(two[0], dtype="bfloat16").models
    again = changed_step(two[0], 2)
    steps = (*again.steps[:2], again.steps[2].model_copy(update={"models": half}))
    found = meaning(two[0], again.model_copy(update={"steps": steps}))
    assert found.kind == "not comparable"
    assert [name for name, _, _ in found.others] == ["target dtype"]


def test_tokens_after_an_end_of_sequence_are_a_difference(two):
    tokens = two[0].output_tokens()
    short = reference(two[0], tokens[:4], [])
    assert compare(two[0], short).parting is None, "it had no more to write"
    ignored = two[0].model_copy(update={"end_tokens": (tokens[3],)})
    found = compare(ignored, short)
    assert found.parting.index == 4
    assert found.parting.tokens == (tokens[4], None)
    assert found.parting.meaning.kind == "real difference"
    assert "only one of them ended" in found.parting.meaning.why
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
    named = compare(a, other_target(b, id="\x1b[31m" + "x" * 500, dtype="\x1b" * 500))
    assert named.parting.meaning.others[0][0] == "target id"
    for line in comparison_value(named)["said"]:
        assert "\x1b" not in line
        assert len(line) < 300
