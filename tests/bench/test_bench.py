"""The measuring itself, on models so small that no figure means anything: never a word about seconds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest

from specviz.bench import greedy_speed, optimum_cost, peak_memory, recorder_cost, step_cost
from specviz.bench.bench import PARTS, Report, Sizes, bench, format_report, parse_parts
from specviz.bench.greedy_speed import ASSISTED, CHAIN, PLAIN, Difference, Speed
from specviz.bench.peak_memory import Peak
from specviz.bench.recorder_cost import RecorderCost
from specviz.bench.step_cost import TREES, CommitCost, MeasuredStep, StepCost
from specviz.cli import main
from specviz.drafting import resolve_builder
from specviz.errors import SettingsError
from specviz.models.pair_spec import ModelChoice
from specviz.trace.schema import Choice, Timings
from specviz.tree import MAX_NODES
from tests import tiny
from tests.heads import pair_with
from tests.pairs import make_pair, make_reading_pair, pair_of

SMALL_TREES = {CHAIN: greedy_speed.TREES[CHAIN], "specviz best first 8": greedy_speed.TREES["specviz best first 8"]}


def quiet(_: str) -> None:
    """Nobody to tell."""


def timings(**seconds: float) -> Timings:
    return Timings(**(dict.fromkeys(("draft", "target", "build", "verify", "commit", "record"), 0.0) | seconds))


def speed(method: str, seconds: tuple[float, ...], tokens: int = 10) -> Speed:
    later = tuple(second / 2 for second in seconds)
    return Speed(method, seconds, (tokens,) * len(seconds), later, (tokens - 4,) * len(seconds), 5, tokens, ())


def test_a_ratio_is_a_step_over_its_own_forwards() -> None:
    steps = (
        MeasuredStep(3.0, timings(draft=0.5, target=1.5, verify=0.25, record=0.25), 100),
        MeasuredStep(2.0, timings(draft=0.5, target=0.5), 300),
        MeasuredStep(6.0, timings(draft=1.0, target=4.0), 200),
    )
    assert [step.ratio for step in steps] == [1.5, 2.0, 1.2]
    assert steps[0].rest == 0.5
    cost = StepCost(TREES[0], steps, 50.0)
    assert cost.ratio == 1.5  # the median of the ratios, not the ratio of medians
    assert cost.phase("wall") == 3.0
    assert cost.json_bytes_a_step == 200
    assert cost.as_json()["step_over_forwards_of_each_step"] == [1.5, 2.0, 1.2]


def test_speeds_are_compared_run_by_run() -> None:
    assisted, ours = speed(ASSISTED, (1.0, 10.0, 2.0)), speed(CHAIN, (0.5, 10.0, 4.0))
    assert ours.over(assisted) == 1.0
    assert ours.rates == [20.0, 1.0, 2.5]
    assert ours.later_rates == [24.0, 1.2, 3.0]
    assert ours.later_over(assisted) == 1.0
    slow = speed("slow", (4.0, 40.0, 8.0))
    assert greedy_speed.best_tree([speed(PLAIN, (0.1,) * 3), assisted, slow, ours]) is ours


@pytest.fixture(scope="module")
def costs() -> list[StepCost]:
    small = [tree for tree in TREES if tree.nodes <= 64]
    return step_cost.step_costs(make_pair(), 3, small, quiet)


def test_trees_have_the_nodes_they_claim(costs: list[StepCost]) -> None:
    assert {tree.nodes for tree in TREES} == {28, 64, 256, 1024}
    assert [cost.tree.nodes for cost in costs] == [28, 64, 64]  # asserted on each recorded step while measuring


def test_a_tree_that_falls_short_is_no_measurement() -> None:
    claimed = replace(TREES[0], nodes=29)
    with pytest.raises(AssertionError, match="grew 28 nodes"):
        step_cost.step_costs(make_pair(), 1, [claimed], quiet)


def test_steps_are_measured_around_and_inside(costs: list[StepCost]) -> None:
    for cost in costs:
        assert len(cost.steps) == 3
        for step in cost.steps:
            assert step.wall > step.forwards > 0
            assert step.ratio == step.wall / (step.timings.draft + step.timings.target)
            assert step.rest >= 0
        assert 0 < cost.gzip_bytes_a_step < cost.json_bytes_a_step


def test_an_end_of_sequence_ends_no_measurement() -> None:
    pair = make_pair(end_tokens=tuple(range(tiny.VOCABULARY)))
    assert len(step_cost.step_costs(pair, 2, TREES[:1], quiet)[0].steps) == 2


def test_commits_are_measured_at_the_contexts_that_fit() -> None:
    commits = step_cost.commit_costs(make_pair(), 2, (20, 300, 10_000), quiet)
    assert [cost.context for cost in commits] == [20, 300]
    for cost in commits:
        assert len(cost.seconds) == len(cost.moved) == 2


def test_commits_that_move_slots_are_compared_with_each_other() -> None:
    assert CommitCost(256, (1.0, 9.0, 5.0, 7.0), (0, 3, 2, 1)).median == 7.0
    assert CommitCost(256, (1.0, 9.0, 5.0), (0, 0, 0)).median == 5.0


def test_growth_is_measured_at_the_contexts_that_fit_and_with_larger_trees_behind_the_shortest() -> None:
    larger = next(tree for tree in TREES if tree.nodes == 64)
    found = step_cost.growth_costs(make_pair(), 1, (20, 300, 10_000), [larger], quiet)
    assert [(cost.prompt_tokens, cost.tree.nodes) for cost in found] == [(20, 28), (300, 28), (20, 64)]
    assert found[1].as_json()["prompt_tokens"] == 300


def test_the_largest_trees_have_the_nodes_they_claim() -> None:
    for tree in step_cost.GROWN_TREES:
        builder, options = resolve_builder(tree.choice)
        assert builder.max_nodes(options) == tree.nodes
    assert step_cost.GROWN_TREES[-1].nodes == MAX_NODES


def test_a_run_starts_at_exactly_the_context_asked_for() -> None:
    assert [len(step_cost.session_at(make_pair(), n).prompt_tokens) for n in (1, 63, 64)] == [1, 63, 64]


@pytest.fixture(scope="module")
def speeds() -> list[Speed]:
    return greedy_speed.greedy_speeds(make_pair(), 2, 2, 12, SMALL_TREES, quiet)


def test_every_method_runs_the_same_prompts(speeds: list[Speed]) -> None:
    assert [s.method for s in speeds] == [PLAIN, ASSISTED, *SMALL_TREES]
    for s in speeds:
        assert len(s.seconds) == 4
        assert s.tokens == (12,) * 4
        for whole, later, tokens in zip(s.seconds, s.later_seconds, s.later_tokens, strict=True):
            assert 0 < later < whole
            assert 12 - 5 <= tokens < 12
    assert speeds[0].later_tokens == (11,) * 4
    for s in speeds:
        assert s.new_tokens == 24
        assert not s.differences, s.method


def test_assisted_generation_drafts_as_many_tokens_as_our_chain(speeds: list[Speed]) -> None:
    plain, assisted, chain, _ = speeds
    assert plain.target_forwards == plain.new_tokens
    # Ours reads the prompt in a forward of its own, once a run.
    assert assisted.target_forwards < plain.target_forwards
    assert abs(chain.target_forwards - 2 - assisted.target_forwards) <= 2


def test_the_assistants_own_settings_are_left_as_they_were() -> None:
    pair = make_pair()
    before = pair.draft.model.generation_config.to_dict()
    greedy_speed.generate_assisted(pair, [5, 6, 7], 4)
    assert pair.draft.model.generation_config.to_dict() == before


def test_other_tokens_are_told_with_their_margin(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = pair_of(tiny.make_model("llama"), tiny.make_model("llama", seed=1))
    right = greedy_speed.generate

    def wrong(*arguments, **options):
        tokens = right(*arguments, **options)
        return [*tokens[:2], (tokens[2] + 1) % tiny.VOCABULARY, *tokens[3:]] if options else tokens

    monkeypatch.setattr(greedy_speed, "generate", wrong)
    found = greedy_speed.greedy_speeds(pair, 1, 1, 6, {CHAIN: SMALL_TREES[CHAIN]}, quiet)
    (difference,) = found[1].differences
    assert difference.at == 2
    assert difference.margin > 0
    assert difference.kind == "real difference"
    told = "token 3, real difference, top-1 margin"
    assert any("DIFFER on" in line and told in line for line in greedy_speed.speed_lines(found))


def test_a_recorder_is_measured_at_every_level_and_changes_nothing() -> None:
    found = recorder_cost.recorder_costs(make_reading_pair(), 1, [(2, 2)], quiet)
    assert [(cost.nodes, cost.level) for cost in found] == [(6, 1), (6, 2), (6, 3), (6, 4)]
    assert all(len(cost.inside) == len(cost.bare) == 1 for cost in found)
    assert all(inside > 0 for cost in found for inside in cost.inside)


def test_memory_is_measured_in_a_process_of_its_own(tmp_path: Path) -> None:
    target, draft = tiny.save_pair(tmp_path)
    found = peak_memory.peaks(ModelChoice(str(target), str(draft), "cpu"), TREES[:1], quiet, baseline=False)
    assert [peak.case for peak in found] == ["4,2,2 (28 nodes)"]
    assert found[0].peak >= found[0].loaded > 0
    assert found[0].over_loaded == found[0].peak - found[0].loaded


def test_the_report_has_a_table_and_a_key_for_every_part(costs: list[StepCost], speeds: list[Speed]) -> None:
    commits = (CommitCost(256, (1.0, 3.0), (4, 4)), CommitCost(8000, (2.5, 3.5), (4, 4)))
    peaks = (Peak(PLAIN, 100, 150), Peak("4,2,2", 100, 90))
    machine = bench(make_pair(), ModelChoice(), (), Sizes(), quiet).machine
    recorders = (RecorderCost(28, 1, (0.5, 0.25, 0.75), (5.0, 2.0, 4.0)),)
    report = Report(
        machine, Sizes(), tuple(PARTS), tuple(costs), tuple(speeds), commits, peaks, tuple(costs), recorders
    )
    text = format_report(report)
    for part, title in PARTS.items():
        assert f"({part}) {title}" in text
    values = json.loads(json.dumps(report.as_json()))
    parts = {"steps", "greedy", "best_tree", "commits", "memory", "growth", "recorder"}
    assert values.keys() == {"machine", "sizes"} | parts
    assert values["recorder"][0]["inside_over_bare_step"] == 0.125
    assert values["growth"] == values["steps"]
    assert values["commits"][1]["over_first"] == 1.5
    assert [peak["over_loaded"] for peak in values["memory"]] == [50, 0]
    first = values["steps"][0]
    assert first["step_over_forwards"] == median(first["step_over_forwards_of_each_step"])
    assert values["greedy"][1]["over_assisted_generation"] == 1.0
    assert values["best_tree"] in SMALL_TREES
    assert "transformers cannot feed" not in text
    reading = bench(make_reading_pair(), ModelChoice(), (), Sizes(), quiet).machine
    assert "transformers cannot feed the head of draft" in format_report(replace(report, machine=reading))


def test_parts_are_chosen_by_letter() -> None:
    assert parse_parts("e, a") == ("a", "e")
    for text, message in (("x", "no part 'x'"), (",", "No part is chosen")):
        with pytest.raises(SettingsError, match=message):
            parse_parts(text)


def test_the_command_prints_a_table_and_writes_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target, draft = tiny.save_pair(tmp_path / "pair")
    models = ["--target", str(target), "--draft", str(draft), "--device", "cpu"]
    output = tmp_path / "bench.json"
    assert main(["bench", *models, "--only", "a,c", "--steps", "1", "--json", str(output)]) == 0
    printed = capsys.readouterr().out
    assert "step/forwards" in printed
    assert "4,2,2 (28 nodes)" in printed
    values = json.loads(output.read_text())
    assert [cost["nodes"] for cost in values["steps"]] == [tree.nodes for tree in TREES]
    assert values["sizes"]["steps"] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--only", "z"], "no part 'z'"), (["--json", "/nowhere/at/all.json"], "No figures can be saved")],
)
def test_bad_input_is_refused_before_a_model_is_loaded(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("specviz.models.loading.load_pair", lambda *a, **k: pytest.fail("a model was loaded"))
    assert main(["bench", *options]) == 2
    assert message in capsys.readouterr().err


def test_differences_and_choices_are_plain_values_in_json() -> None:
    found = replace(speed(CHAIN, (1.0,)), differences=(Difference("chat-01", 3, 0.01, "near tie"),))
    (difference,) = json.loads(json.dumps(found.as_json()))["differences"]
    assert difference == {"prompt": "chat-01", "at": 3, "margin": 0.01, "kind": "near tie"}
    assert all(isinstance(choice, Choice) for choice in greedy_speed.TREES.values())


def test_a_block_head_is_measured_with_trees_that_it_can_draft() -> None:
    pair, told = pair_with("medusa"), []
    found = step_cost.step_costs(pair, 1, TREES[:3], say=told.append)
    assert [len(cost.steps) for cost in found] == [1, 1]
    assert told[0] == "deeper than the draft's blocks, left out: 4,3,4,4 (256 nodes)"
    assert all(cost.steps[0].timings.draft > 0 for cost in found)
    with pytest.raises(SettingsError, match="the parts a, e are measured and not b; choose those"):
        bench(pair, ModelChoice(), ("a", "b"), Sizes(1, 1, 1, 1))


def test_the_optimum_is_measured_beside_a_step_that_does_not_record_it() -> None:
    tree = step_cost.BenchTree(6, Choice(name="k_config", options={"tree": "2,2", "proposal": "without_replacement"}))
    (found,) = optimum_cost.optimum_costs(make_pair(), 1, [tree], quiet)
    assert found.ratio > 0
    assert (len(found.optimum), len(found.expected), len(found.steps)) == (1, 1, 1)
    assert any("2,2 (6 nodes)" in line for line in optimum_cost.optimum_lines([found]))
