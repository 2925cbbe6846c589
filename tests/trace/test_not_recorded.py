"""Schema 2: what another engine may lack is null and stays so, what specviz's own runs have is never missing."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path

import pytest

from specviz.app.page_state import Run, describe, models_of
from specviz.app.server.trace_store import StoredTrace, pack, unpack
from specviz.engine.session import Session
from specviz.engine.whatif import from_trace, through_models
from specviz.errors import SettingsError, TraceError
from specviz.trace import metrics
from specviz.trace.breakpoints import Breakpoints, hits
from specviz.trace.diff import compare
from specviz.trace.io import dump_trace, load_trace, parse_trace, save_trace
from specviz.trace.near_tie import Scores, greedy_meaning
from specviz.trace.schema import Choice, ModelInfo, Sampling, Trace, Verdict
from specviz.trace.summary import summary
from specviz.trace.whatif_question import Question
from tests import pairs
from tests.bare_run import ENGINE, bare, step, verdict
from tests.test_opens_old_files import fields
from tests.tools.same_traces import NEW_IN_2

ASSETS = Path(__file__).parents[2] / "assets" / "traces"


@cache
def own() -> Trace:
    return pairs.make_trace(max_new_tokens=8, audit=True)


def changed(trace: Trace, *path: str | int, value: object) -> bytes:
    data = json.loads(dump_trace(trace))
    place = data
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    return json.dumps(data).encode()


# ------------------------------------------------------------------------------------------------------- files


def test_a_file_of_version_1_opens() -> None:
    path = ASSETS / "chain-of-4.json.gz"
    written = json.loads(gzip.decompress(path.read_bytes()))
    trace = load_trace(path)
    assert written["schema_version"] == 1
    assert trace.schema_version == 2
    assert (trace.engine, trace.who) == (None, "specviz")
    read = json.loads(dump_trace(trace))
    assert read["steps"][0]["verdicts"]["rejection"]["bonus"]["draft_rank"] is None, "not recorded then, so not 0"
    assert not [name for name, value in fields(read) if name in NEW_IN_2 and value], "all of it is null, no or empty"


def test_a_run_with_everything_missing_that_may_be_is_the_same_when_read_again(tmp_path: Path) -> None:
    trace = bare()
    save_trace(trace, tmp_path / "bare.json.gz")
    assert load_trace(tmp_path / "bare.json.gz") == trace
    assert unpack(pack(trace)) == trace, "a prompt without texts, too, is held by the page"
    assert ENGINE in repr(trace)
    assert "target not recorded" in repr(trace)


@pytest.mark.parametrize("version", [True, 1.0, 2.0, 3, 0, "2", None, [2]])
def test_other_schema_versions_are_refused(version: object) -> None:
    with pytest.raises(TraceError, match=r"schema version .* this specviz reads 1 and 2"):
        parse_trace(changed(bare(), "schema_version", value=version))
    with pytest.raises(ValueError, match="schema_version"):
        Trace.model_validate(bare().model_dump() | {"schema_version": version})


STEP = ("steps", 1)
VERDICT = (*STEP, "verdicts", "rejection")
CACHE = (*STEP, "caches", "draft")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (("settings",), "either settings"),
        (("models", "draft"), "does not say which draft"),
        (("models", "target", "dtype"), "the dtype of its target"),
        (("prompt_texts",), "no text for token"),
        ((*STEP, "timings"), "lacks its timings"),
        ((*STEP, "timings", "commit"), "phase commit"),
        ((*STEP, "prefilled"), "lacks its prefilled"),
        ((*STEP, "tree", "builder"), "lacks its builder"),
        ((*STEP, "tree", "proposal"), "lacks its proposal"),
        ((*STEP, "tree", "nodes", 2, "text"), "no text for node 2"),
        ((*STEP, "tree", "nodes", 2, "target"), "no whole target row at node 2"),
        ((*STEP, "tree", "nodes", 2, "target", "entropy"), "no whole target row at node 2"),
        ((*STEP, "tree", "nodes", 0, "draft", "raw"), "no whole draft row at node 0"),
        ((*STEP, "tree", "nodes", 0, "draft"), "children and no draft row at node 0"),
        ((*VERDICT, "thresholds", 3), "a threshold of rejection"),
        ((*VERDICT, "decisions", 0, "comparison"), "the comparison of rejection"),
        ((*VERDICT, "decisions", 0, "reason"), "the reason of rejection"),
        ((*VERDICT, "bonus"), "the bonus token of rejection"),
        ((*VERDICT, "bonus", "distribution"), "the distribution of rejection's bonus"),
        ((*STEP, "caches", "target"), "lacks the target's cache"),
        ((*CACHE, "fingerprints_after"), "a part of the draft's cache"),
        ((*CACHE, "moves"), "a part of the draft's cache"),
        ((*CACHE, "appended", 0, "sees"), "sees of a slot of the draft's cache"),
    ],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_an_own_run_with_a_part_missing_is_refused(path: tuple[str | int, ...], said: str) -> None:
    value: object = [] if path[-1] == "prompt_texts" else None
    with pytest.raises(TraceError, match=said) as caught:
        parse_trace(changed(own(), *path, value=value))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("coin", [0.0, 1.0])
def test_a_coin_of_0_is_another_engines_only(coin: float) -> None:
    with pytest.raises(TraceError, match="a coin of rejection that is 0 or 1"):
        parse_trace(changed(own(), *VERDICT, "decisions", 0, "uniform", value=coin))
    trace = bare()
    data = json.loads(dump_trace(trace))
    one = {"node": 1, "rule": "u < p/q", "comparison": None, "threshold": None, "p": None, "q": None}
    data["steps"][0]["verdicts"][ENGINE]["decisions"] = [one | {"uniform": coin, "outcome": "accepted", "reason": None}]
    parse_trace(json.dumps(data).encode())


def test_a_run_has_settings_or_an_engine() -> None:
    with pytest.raises(TraceError, match="either settings"):
        parse_trace(changed(own(), "engine", value={"name": ENGINE}))


# ----------------------------------------------------------------------------------------- what is said of a run


def test_figures_of_what_was_not_recorded_are_none() -> None:
    trace = bare()
    assert metrics.accepted_lengths(trace.steps, ENGINE) == [2, 0, 1]
    assert metrics.emitted_lengths(trace, ENGINE) == [3, 1, 1], "the last step emitted no bonus token"
    assert metrics.acceptance_by_depth(trace.steps, ENGINE) == [(2, 3), (1, 1)]
    assert metrics.acceptance_by_rank(trace.steps, ENGINE) == [], "no decision was recorded, and that is no 0 of 0"
    assert [metrics.overhead(one) for one in trace.steps] == [None] * 3
    assert metrics.tolerances(trace.models) == {}
    text = summary(trace)
    assert "seconds: not recorded" in text
    assert "outside the two models' forwards" not in text
    assert "‹8›‹10›‹7›" in text, "a token without a text is named by its id"


def test_the_time_of_a_whole_step_gives_its_overhead() -> None:
    told = {"draft": 1.0, "target": 2.0, "total": 4.0}
    one = bare(steps=[step(0, 2, [], [7], 7) | {"timings": told}]).steps[0]
    assert metrics.overhead(one) == 0.25
    assert (
        metrics.overhead(bare(steps=[step(0, 2, [], [7], 7) | {"timings": {"draft": 1.0, "total": 4.0}}]).steps[0])
        is None
    )


def test_a_verifier_that_judged_some_steps_stands_beside_the_engine_on_those_only() -> None:
    steps = [step(0, 2, [1, 3], [8, 10, 7], 7), step(1, 5, [], [7], 7), step(2, 6, [], [7], 7)]
    steps[1]["verdicts"]["rejection"] = verdict([1], 7, "rejection")
    trace = bare(steps=steps)
    lines = summary(trace).splitlines()
    at = next(i for i, line in enumerate(lines) if "over the 1 of 3 steps that rejection could judge" in line)
    assert lines[at + 1].split()[:3] == ["*another", "engine", "1.00"], "not its 1.67 of all steps"
    assert lines[at + 2].split()[:2] == ["rejection", "2.00"]
    assert not any(line.startswith(" rejection") for line in lines[:at])
    assert [one.index for one in metrics.same_steps(trace.steps, (ENGINE, "rejection"))] == [1]


def test_what_was_not_recorded_meets_no_breakpoint() -> None:
    trace = bare()
    every = Breakpoints(parting=True, nothing_accepted=True, entropy_above=0.0, target_prob_below=1.0, audit=True)
    assert [[hit.reason for hit in hits(trace, i, every)] for i in (0, 2)] == [[], []]
    assert [hit.node for hit in hits(trace, 1, every)] == [0], "that nothing was accepted is known"
    assert [hit.node for hit in hits(trace, 2, Breakpoints(token=9))] == [2]


def test_a_difference_from_another_engine_says_what_is_not_known() -> None:
    other = bare(steps=[step(0, 2, [1], [8, 9], 9)], id="other")
    found = compare(bare(), other)
    assert found.shared == 1
    assert found.parting is not None
    assert found.parting.meaning.kind == "not comparable"
    assert "what its target was" in found.parting.meaning.why
    assert (found.a.samples, found.a.driver) == (None, ENGINE)
    assert found.texts[8].text == "‹8›"
    assert ("engine", ENGINE, "specviz") in compare(bare(), own()).settings


@pytest.mark.parametrize(
    ("ours", "theirs", "kind", "said"),
    [
        (1.0, 1.0, "not comparable", "nothing says what determined the draws"),
        (1.0, 0.0, "not comparable", "differ by chance"),
        (0.0, 0.0, "real difference", "logits below the best"),
        (0.0, None, "not comparable", "does not say whether it samples"),
    ],
)
def test_what_another_engine_says_of_its_sampling_decides_what_a_difference_means(
    ours: float, theirs: float | None, kind: str, said: str
) -> None:
    trace = own() if ours else pairs.make_trace(max_new_tokens=2, target=Sampling(temperature=ours))
    sampling = None if theirs is None else Sampling(temperature=theirs).model_dump()
    other = bare(
        engine={"name": ENGINE, "rule": "rejection", "target": sampling},
        models={"target": trace.models.target.model_dump(), "draft": None},
        prompt_tokens=list(trace.prompt_tokens),
        steps=[step(0, len(trace.prompt_tokens), [], [9999], 9999)],
    )
    meaning = compare(trace, other).parting.meaning
    assert (meaning.kind, said in meaning.why) == (kind, True), meaning


def test_a_number_format_that_was_not_recorded_explains_no_difference() -> None:
    scores = [Scores((1, 2), (0.0, 0.1))]
    known, unknown = (ModelInfo(id="x", dtype=dtype) for dtype in ("bfloat16", None))
    assert greedy_meaning((1, 2), scores, [known]).kind == "near tie"
    assert greedy_meaning((1, 2), scores, [unknown]).kind == "not recorded"
    assert greedy_meaning((1, 2), [Scores((1, 2), (0.0, 1e-5))], [unknown]).kind == "near tie", "in every format"
    assert greedy_meaning((1, 2), [Scores((1, 2), (0.0, 2.0))], [unknown]).kind == "real difference"


# --------------------------------------------------------------------------------------- what runs a model


def test_another_engines_run_is_not_run_on_here() -> None:
    trace, pair = bare(), pairs.make_pair()
    question = Question(Choice(name="rejection"))
    for run in (lambda: Session.resume(pair, trace), lambda: through_models(pair, trace, 0, question)):
        with pytest.raises(TraceError, match="recorded from another engine, 'another engine'") as caught:
            run()
        assert "\n" not in str(caught.value)


def rejudged(uniform: float | None) -> Trace:
    """A step of another engine that specviz judged again, with the coin of node 1 as given."""
    one = step(0, 2, [], [7], 7)
    again = verdict([], 7, "rejection") | {"thresholds": [1.0, 0.5, 0.5, 0.5]}
    decision = {"node": 1, "rule": "u < p/q", "comparison": "uniform < threshold", "threshold": 0.5, "p": 0.2, "q": 0.4}
    again["decisions"] = [decision | {"uniform": uniform, "outcome": "rejected", "reason": "u >= p/q"}]
    one["verdicts"]["rejection"] = again
    return bare(steps=[one])


def test_a_what_if_of_another_engines_step_has_the_coins_that_are_known() -> None:
    trace = rejudged(0.9)
    coins = {1: 0.1, 3: 0.9}
    found = from_trace(trace, 0, Question(Choice(name="rejection"), coins=coins))
    assert not isinstance(found, str)
    assert (found.path, found.thresholds) == ((1,), (1.0, 0.5, 0.5, 0.5))
    assert found.bonus is None
    assert "not in the trace" in found.needs
    with pytest.raises(SettingsError, match="coin of node 2 was not recorded; set it"):
        from_trace(trace, 0, Question(Choice(name="rejection")))


def test_a_what_if_without_thresholds_is_one_sentence() -> None:
    one = step(0, 2, [], [7], 7)
    one["verdicts"]["rejection"] = verdict([], 7, "rejection")
    said = from_trace(bare(steps=[one]), 0, Question(Choice(name="rejection")))
    assert said == "Not every threshold of rejection was recorded in this step."


def test_the_page_names_the_engine_of_a_run() -> None:
    trace = bare(request="7")
    text = describe(Run(StoredTrace(trace), "a run", models_of(trace)))
    assert "recorded from another engine · request 7 · 3 steps, 5 tokens" in text


def test_the_end_of_a_walk_is_where_its_bonus_token_was_drawn() -> None:
    given = [Verdict.model_validate_json(json.dumps(verdict(*one))) for one in (([], None), ([1, 3], None), ([1], 7))]
    assert [one.end for one in given] == [0, 3, 1]
