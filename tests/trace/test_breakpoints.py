"""Breakpoints: each condition on recorded runs, recomputed from the trace by hand."""

from __future__ import annotations

import math

import pytest

from specviz.errors import SettingsError
from specviz.trace.breakpoints import Breakpoints, first_hit, hits, parse_breakpoints, parse_short
from specviz.trace.io import load_trace
from specviz.trace.schema import Trace, text_of_tokens
from tests import faults, pairs
from tests.paths import ROOT


@pytest.fixture(scope="module")
def trace() -> Trace:
    return pairs.make_trace(seed=5, audit=True, max_new_tokens=40)


def positions(trace: Trace, **conditions: object) -> list[int]:
    wanted = Breakpoints(**conditions)
    return [i for i in range(len(trace.steps)) if hits(trace, i, wanted)]


def test_nothing_is_hit_by_default(trace):
    assert not Breakpoints()
    assert positions(trace) == []
    assert first_hit(trace, 0, Breakpoints()) is None


def test_verifiers_that_part(trace):
    expected = [
        i
        for i, step in enumerate(trace.steps)
        if any(verdict.path != step.verdicts[step.driver].path for verdict in step.verdicts.values())
    ]
    assert 0 < len(expected) < len(trace.steps) or expected
    assert positions(trace, parting=True) == expected
    hit = hits(trace, expected[0], Breakpoints(parting=True))[0]
    step = trace.steps[expected[0]]
    paths = [verdict.path for verdict in step.verdicts.values()]
    on_all = [node for node in paths[0] if all(node in path for path in paths)]
    assert hit.node == (on_all[-1] if on_all else 0)
    assert f"node {hit.node}" in hit.reason


def test_nothing_accepted(trace):
    expected = [i for i, step in enumerate(trace.steps) if not step.verdicts["rejection"].path]
    assert expected
    assert positions(trace, nothing_accepted=True) == expected


def test_a_token_and_the_node_that_carries_it(trace):
    step = next(step for step in trace.steps if step.verdicts["rejection"].path)
    token = step.tree.nodes[step.verdicts["rejection"].path[0]].token
    expected = [i for i, one in enumerate(trace.steps) if token in one.committed]
    assert positions(trace, token=token) == expected
    hit = hits(trace, step.index, Breakpoints(token=token))[0]
    assert step.tree.nodes[hit.node].token == token


SHIPPED = "a shipped run"


@pytest.mark.parametrize("kind", [SHIPPED, "WordPiece", "end-of-word BPE", "Unigram"])
def test_a_text_that_spans_tokens_and_steps_is_hit_where_it_is_completed(kind):
    shipped = ROOT / "assets" / "traces" / "chain-of-4.json.gz"
    trace = load_trace(shipped) if kind == SHIPPED else pairs.make_trace_of_kind(kind)
    texts = [[step.text_of()[token] for token in step.committed] for step in trace.steps]
    whole = text_of_tokens([text for step in texts for text in step])
    ends = [len(text_of_tokens([t for step in texts[: i + 1] for t in step])) for i in range(len(texts))]
    checked = 0
    for start in range(len(whole) - 6):
        piece = whole[start : start + 6]
        if "\ufffd" in piece or whole.count(piece) != 1:
            continue
        expected = next(i for i, end in enumerate(ends) if end >= start + 6)
        assert positions(trace, text=piece) == [expected]
        checked += " " in piece.strip()
    assert checked > 2
    assert "##" not in whole
    assert "</w>" not in whole
    assert positions(trace, text="no such text here") == []


def test_entropy_and_probability(trace):
    stops = [step.tree.nodes[step.verdicts["rejection"].bonus.node].target.entropy for step in trace.steps]
    middle = sorted(stops)[len(stops) // 2]
    assert positions(trace, entropy_above=middle) == [i for i, h in enumerate(stops) if h > middle]
    lowest = [
        min((step.tree.nodes[node].target_prob for node in step.verdicts["rejection"].path), default=math.inf)
        for step in trace.steps
    ]
    limit = sorted(lowest)[1]
    assert positions(trace, target_prob_below=limit) == [i for i, p in enumerate(lowest) if p < limit]


def test_a_failing_audit(trace):
    assert positions(trace, audit=True) == []
    with faults.no_compaction():
        broken = pairs.make_trace(seed=5, audit=True)
    found = positions(broken, audit=True)
    assert found
    assert "differs from its recompute" in hits(broken, found[0], Breakpoints(audit=True))[0].reason
    unaudited = pairs.make_trace(seed=5, audit=False)
    assert positions(unaudited, audit=True) == []


def test_the_first_hit_from_a_step_on(trace):
    wanted = Breakpoints(nothing_accepted=True)
    expected = positions(trace, nothing_accepted=True)
    assert first_hit(trace, 0, wanted).position == expected[0]
    assert first_hit(trace, expected[0] + 1, wanted).position == expected[1]
    assert first_hit(trace, expected[-1] + 1, wanted) is None


def test_the_form_and_the_command_line_say_the_same():
    short = parse_short(["parting", "nothing", "audit", "token=5", "text=a=b", "entropy>2.5", "prob<0.1"])
    form = parse_breakpoints(
        {
            "parting": True,
            "nothing_accepted": True,
            "audit": True,
            "token": " 5 ",
            "text": "a=b",
            "entropy_above": "2.5",
            "target_prob_below": 0.1,
        }
    )
    assert short == form
    assert parse_breakpoints({"token": "", "entropy_above": None, "text": ""}) == Breakpoints()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"token": "x"}, "not a number"),
        ({"token": 1.5}, "whole number"),
        ({"entropy_above": "nan"}, "give one from 0 to 100"),
        ({"target_prob_below": 7}, "from 0 to 1"),
        ({"text": "x" * 501}, "at most 500"),
    ],
)
def test_a_wrong_value_is_one_sentence(values, said):
    with pytest.raises(SettingsError, match=said) as caught:
        parse_breakpoints(values)
    assert "\n" not in str(caught.value)


def test_a_wrong_word_names_the_right_ones():
    with pytest.raises(SettingsError, match="choose from parting, nothing"):
        parse_short(["entropy=3"])
