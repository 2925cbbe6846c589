"""The load test itself: a few seconds of it on a small pair, and verdicts that can fail."""

from __future__ import annotations

import json
import re

import pytest

from specviz.figures import dump_block
from specviz.models.pair_spec import ModelChoice
from specviz.trace.io import save_trace
from specviz.trace.schema import Trace
from tests import pairs, tiny
from tests.browser import find_chromium
from tests.tools import load
from tests.tools.load_visitors import Ears, Person, Seen, Wanted, check, in_turns, strangers


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> load.Report:
    """Two sessions and, if there is Chromium, a browser, for a few seconds on a real ``app.py``."""
    target, draft = tiny.save_pair(tmp_path_factory.mktemp("pair"))
    small = {"sessions": 2, "minutes": 0.2, "browsers": 1 if find_chromium() else 0, "idle_moves": 4}
    models = ModelChoice(target=str(target), draft=str(draft), device="cpu")
    return load.run(load.Load(**small, click_pause=0.5, move_pause=0.5, models=models))


def test_a_small_load(report):
    """How fast it was is not asked for: other tests run beside it."""
    verdicts = {verdict.name: verdict for verdict in report.verdicts}
    assert report.errors == []
    for name in ("no cross-talk", "no error but busy"):
        assert verdicts[name].holds, verdicts[name].said
    assert report.counts["clicks answered"] >= 2
    assert report.counts["runs saved"] >= 2
    assert len(report.memory_mb) > 3
    if report.load.browsers:
        assert report.counts["moves in browsers"] >= 1
        assert report.moves_ms["ms a move, idle"]["median"] > 0
    assert "holds  no cross-talk:" in "\n".join(report.lines())


# ------------------------------------------------------------------------------------------- verdicts that can fail


def test_memory_that_rises_is_no_flat_memory():
    noise = [0.0, 12.0, -9.0, 4.0, -6.0, 8.0]
    flat = [(float(i), 1500 + noise[i % 6]) for i in range(60)]
    assert load.memory_verdict(flat).holds
    assert not load.memory_verdict([(at, size + 3 * at) for at, size in flat]).holds
    assert load.memory_verdict([(at, size - 3 * at) for at, size in flat]).holds, "less is no leak"
    assert not load.memory_verdict([]).holds


def test_moves_are_compared_with_idle_ones():
    idle = [30.0, 31.0, 32.0, 33.0] * 10
    assert load.moves_verdict(idle, [3 * ms for ms in idle]).holds
    assert not load.moves_verdict(idle, [3.1 * ms for ms in idle]).holds
    assert not load.moves_verdict(idle, idle[:36] + [500.0] * 4).holds, "the median is not all"
    assert not load.moves_verdict(idle, []).holds


@pytest.fixture(scope="module")
def ran() -> Trace:
    return pairs.make_trace(prompt="mine", seed=5)


@pytest.mark.parametrize(
    ("asked", "settings", "wrong"),
    [
        ({}, {}, None),
        ({"prompt": "another's"}, {}, "has the prompt 'mine'"),
        ({}, {"seed": 6}, "has the prompt 'mine' and the seed 5"),
    ],
)
def test_a_trace_of_another_is_seen(ran, tmp_path, asked, settings, wrong):
    save_trace(ran, tmp_path / "run.json.gz")
    wanted = Wanted(0, {"prompt": "mine"} | asked, (tmp_path / "run.json.gz").read_bytes())
    said = check(wanted, ran.settings.model_copy(update=settings), pairs.make_pair())
    assert wrong in said if wrong else said is None


def test_a_step_that_is_another_is_seen(ran, tmp_path):
    save_trace(ran, tmp_path / "run.json.gz")
    wanted = Wanted(0, {"prompt": "mine"}, (tmp_path / "run.json.gz").read_bytes())
    assert "step 1 is another one" in check(wanted, ran.settings, pairs.make_pair(scale=0.9))


def test_who_hears_of_anothers_run_is_named():
    a, b = (Person(i, "", None, {}, 1.0, Seen()) for i in (1, 2))
    a.own, b.own = {"aa"}, {"bb"}
    a.heard, b.heard = {"aa", "00"}, {"bb", "aa", "00"}
    assert list(strangers([a, b])) == ["visitor 2 heard of a run of visitor 1"]
    ears = Ears()
    block = dump_block({"run": {"id": "0123abc", "steps": 1}})
    ears.append(f"data: {json.dumps({'output': {'data': [block]}})}")
    assert ears.runs == {"0123abc"}


def test_runs_are_made_again_in_turns():
    runs = [Wanted(visitor, {"run": run}, b"") for run in range(2) for visitor in (1, 2)]
    assert [(one.visitor, one.values["run"]) for one in in_turns(runs)] == [(1, 1), (2, 1), (1, 0), (2, 0)]


def test_the_documents_name_options_that_there_are():
    text = (load.ROOT / "docs" / "operating.md").read_text(encoding="utf-8").split("## Under load")[1].split("\n## ")[0]
    named = set(re.findall(r"`(--[a-z-]+)", text))
    assert named
    assert named <= set(load.parser()._option_string_actions)
