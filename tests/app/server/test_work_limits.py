"""What a step can take is estimated before it runs, and refused in one sentence that says what to lower."""

from __future__ import annotations

import gc
import json
import re
import tracemalloc
from dataclasses import replace
from typing import Any

import pytest
import torch

from specviz.app import diff_handlers, run_handlers, whatif
from specviz.app.compare.quick_run import small_job
from specviz.app.server.limits import Limits, read_limits
from specviz.app.server.session_registry import Sessions
from specviz.app.server.session_start import SessionStart
from specviz.engine.session import Session
from specviz.engine.work import option_to_lower, step_work
from specviz.errors import SettingsError
from specviz.models.memory import as_loaded, of_spec, step_memory
from specviz.models.pair_spec import ModelChoice
from specviz.models.presets import PRESETS
from specviz.trace.schema import Choice, Settings
from tests import pairs
from tests.paths import DOCS

PUBLIC = read_limits({}, public=True)
PRUNING = Choice(name="dynamic", options={"top_k": 64, "depth": 64, "total": 128})
"""128 nodes are left of it, for which the draft runs 4,033."""
HONEST = (
    Choice(name="k_config", options={"tree": "128"}),
    Choice(name="k_config", options={"tree": ",".join(["1"] * 64)}),
    Choice(name="dynamic"),
    Choice(name="dynamic", options={"rule": "best_first"}),
    Choice(name="sequoia", options={"total": 128}),
    Choice(name="prompt_lookup"),
)


def sessions_of(limits: Limits) -> Sessions:
    return Sessions(lambda *_, **__: pairs.make_pair(), limits)


def unloaded(limits: Limits) -> Sessions:
    return Sessions(lambda *_, **__: pytest.fail("models were loaded"), limits)


def told(text: str) -> str:
    """The notice of a block, which is one sentence."""
    said = str(json.loads(text)["notice"]["text"])
    assert "\n" not in said, said
    assert len(said) < 400, said
    assert said.endswith("."), said
    return said


def with_tree(choice: Choice, **changes: Any) -> Settings:
    return pairs.make_settings("chain").model_copy(update={"builder": choice, **changes})


def test_what_is_pruned_is_refused_before_models_are_loaded() -> None:
    inputs = ("the sea", ModelChoice(), with_tree(PRUNING))
    (answer,) = run_handlers.run_steps(unloaded(PUBLIC), "page", inputs, 1, None, None)
    assert "feed the models 4,162 tokens" in told(answer[0])
    assert "lower depth of the tree" in told(answer[0])
    trace = pairs.make_trace()
    (answer,) = run_handlers.fork(unloaded(PUBLIC), "page", inputs, trace, 1)
    assert "feed the models 4,162 tokens" in told(answer[0])


def test_trees_that_people_use_stay_within_the_limits_of_a_public_page() -> None:
    for choice in HONEST:
        PUBLIC.check_tree(choice, len(pairs.ALL_VERIFIERS))


@pytest.mark.parametrize("name", PRESETS)
def test_the_longest_run_of_every_preset_has_room_with_what_the_document_says(name: str) -> None:
    rows = re.findall(r"^\| (`.+`) \| ([\d,]+) \|$", (DOCS / "limits.md").read_text(encoding="utf-8"), re.MULTILINE)
    said = {preset: int(number.replace(",", "")) for names, number in rows for preset in re.findall("`(.+?)`", names)}
    preset = PRESETS[name]
    target, draft = (of_spec(spec, torch.bfloat16) for spec in (preset.target, preset.draft))
    needed = 0
    for choice in HONEST:
        work = step_work(choice)
        rows_of = {"nodes": work.nodes, "draft_rows": work.tree.rows}
        found = step_memory(target, draft, context=PUBLIC.context_tokens, audit=True, **rows_of)
        needed = max(needed, found.total >> 20)
    assert said[name] / 2 < needed < said[name] or said[name] == PUBLIC.step_mb > needed


def test_the_option_to_lower_is_the_one_that_helps_most() -> None:
    assert option_to_lower(PRUNING, lambda work: work.fed) == "depth"
    assert option_to_lower(Choice(name="sequoia"), lambda work: work.fed) == "total"
    assert option_to_lower(Choice(name="k_config"), lambda work: work.fed) == ""


def test_verifiers_count_once_for_every_node() -> None:
    Limits(verdicts=58).check_tree(pairs.TREES["4,2,2"], verifiers=2)
    with pytest.raises(SettingsError, match="2 verifiers of a tree of 28 nodes are 58 verdicts a step"):
        Limits(verdicts=57).check_tree(pairs.TREES["4,2,2"], verifiers=2)


def test_no_step_takes_more_caches_and_rows_than_was_estimated() -> None:
    pair = pairs.make_pair()
    for name in ("4,2,2", "dynamic", "sequoia"):
        settings = with_tree(pairs.TREES[name])
        session = Session(pair, settings, "the sea is blue")
        work = step_work(settings.builder, len(settings.verifiers))
        for step in session.run(3):
            fed = [len(cache.appended) - caught_up for cache, caught_up in _appended(step)]
            assert sum(fed) <= work.fed
            assert fed[0] == len(step.tree.nodes)
            context = len(session.tokens)
            said = step_memory(
                as_loaded(pair.target),
                as_loaded(pair.draft),
                context=context,
                nodes=work.nodes,
                draft_rows=work.tree.rows,
            )
            held = session._target_runner.cache.allocated + session._draft_runner.cache.allocated
            assert 0 < held <= said.caches
            assert said.rows >= 4 * pair.target.vocabulary * work.fed


def _appended(step: Any) -> list[tuple[Any, int]]:
    """Both caches, each with how many of its new slots are committed tokens that it did not have yet."""
    both = (step.caches.target, step.caches.draft)
    return [(cache, sum(slot.role == "context" for slot in cache.appended)) for cache in both]


def test_a_run_is_refused_for_the_memory_of_its_last_step() -> None:
    """By what is largest: its caches, or the rows of its tree."""
    pair = pairs.make_pair()
    long = with_tree(pairs.TREES["chain"], max_new_tokens=400)
    with pytest.raises(SettingsError, match="lower New tokens at most, or shorten the prompt"):
        SessionStart("the sea", long, replace(Limits(), step_mb=0)).open(pair)
    wide = with_tree(Choice(name="dynamic", options={"top_k": 64, "depth": 12, "total": 600}), max_new_tokens=4)
    with pytest.raises(SettingsError, match="lower depth of the tree"):
        SessionStart("the sea", wide, replace(Limits(), step_mb=0)).open(pair)
    SessionStart("the sea", wide, Limits()).open(pair)


def test_a_run_that_goes_on_with_more_tokens_is_measured_again() -> None:
    sessions = sessions_of(Limits())
    settings = with_tree(pairs.TREES["chain"], max_new_tokens=8)
    inputs = ("the sea", ModelChoice(), settings)
    *_, (_, trace, ticket) = run_handlers.run_steps(sessions, "page", inputs, 1, None, None)
    sessions.limits = replace(sessions.limits, step_mb=0)
    more = ("the sea", ModelChoice(), settings.model_copy(update={"max_new_tokens": 200}))
    *_, (text, _, _) = run_handlers.run_steps(sessions, "page", more, 1, trace, ticket)
    assert "MB beside the models" in told(text)


def test_questions_and_plain_decoding_are_measured_too() -> None:
    trace = pairs.make_trace()
    sessions = sessions_of(replace(Limits(), step_mb=0))
    asked = {"run": trace.id, "step": 0, "id": 1, "verifier": "eta", "options": {"epsilon": 0.2}}
    *_, text = whatif.through_models(sessions, trace, ModelChoice(), asked)
    assert "ask about an earlier step" in told(text)
    *_, text = diff_handlers.against_greedy(sessions, "page", trace, ModelChoice(), "run 1")
    assert "choose a run of fewer tokens" in told(text)


def test_a_small_comparison_is_the_sum_of_its_steps() -> None:
    values = {"prompts": 2, "free": 0, "tokens": 8, "trees": ["2,2"], "verifiers": ["naive"], "temperatures": ["1.0"]}
    fed = 2 * 8 * (3 + 7)
    small_job(values, ModelChoice(), Limits(comparison_rows=fed))
    with pytest.raises(SettingsError, match="feed the models 160 tokens and the page feeds a small comparison 159"):
        small_job(values, ModelChoice(), Limits(comparison_rows=fed - 1))
    pruning = values | {"trees": ["dynamic:top_k=64,depth=64,total=128"]}
    with pytest.raises(SettingsError, match="4,162 tokens"):
        small_job(pruning, ModelChoice(), PUBLIC)


def test_what_a_run_is_said_to_hold_covers_what_its_record_takes() -> None:
    """So that the total of all live runs is no fiction for long distributions and pruned trees."""
    settings = with_tree(
        Choice(name="dynamic", options={"top_k": 12, "depth": 5, "total": 10}),
        record_top_k=100,
        verifiers=tuple(Choice(name=name) for name in pairs.ALL_VERIFIERS),
        driver="rejection",
        max_new_tokens=30,
    )
    session = Session(pairs.make_pair(), settings, "the sea")
    session.step()  # what is made once does not count
    before = session.held_bytes
    gc.collect()
    tracemalloc.start()
    try:
        for _ in session.run(2):
            pass
        gc.collect()
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert 0 < taken <= session.held_bytes - before
