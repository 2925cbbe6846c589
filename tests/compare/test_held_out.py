"""An advised tree beside today's on prompts of its own, and ``specviz advise`` on the command line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from specviz.cli import main
from specviz.compare.held_out import ADVISED, TODAY, held_out, held_out_report, verdict
from specviz.compare.prompts import Prompt
from specviz.engine.session import Session
from specviz.errors import SettingsError
from specviz.models.loading import Pair
from specviz.trace.advice import Advice, advise
from specviz.trace.io import save_trace
from specviz.trace.schema import Settings, Trace
from tests.pairs import make_pair, make_settings
from tests.sample_traces import k_config, sample_trace


@pytest.fixture(scope="module")
def advice() -> Advice:
    return advise([sample_trace(k_config(2, 2), steps=120, verifiers=("rejection",))], [5])


@pytest.fixture(scope="module")
def trace() -> Trace:
    session = Session(make_pair(), make_settings("4,2,2", max_new_tokens=2), "the sea")
    for _ in session.run():
        pass
    return session.trace


def test_both_trees_run_on_the_same_prompts_and_the_difference_is_theirs(advice: Advice, trace: Trace) -> None:
    prompts = [Prompt(str(i), "other", text) for i, text in enumerate(["the sea", "a moon", "red fish"])]
    found = held_out(make_pair(), trace, advice, prompts, 8)
    assert found.difference.prompts == 2, "the run's own prompt is not held out"
    assert found.nodes[TODAY].value > 5
    assert found.nodes[ADVISED].value <= 5
    assert found.difference.value == pytest.approx(found.seen[ADVISED].value - found.seen[TODAY].value)
    assert found.expected == {TODAY: advice.today, ADVISED: advice.trees[0].expected}
    text = "\n".join(held_out_report(found))
    assert "Held out: 2 prompts" in text
    assert f"expected {advice.trees[0].expected:.3f}" in text
    assert "this may be noise" in text, "two prompts tell nothing from luck"
    with pytest.raises(SettingsError, match="two prompts or more"):
        held_out(make_pair(), trace, advice, prompts[:2], 8)


def test_both_trees_have_the_same_luck_and_propose_alike(
    advice: Advice, trace: Trace, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: dict[str, list[tuple[str, int]]] = {}
    proposals = set()

    class Seen(Session):
        def __init__(self, pair: Pair, settings: Settings, prompt: str):
            ran.setdefault(settings.builder.name, []).append((prompt, settings.seed))
            proposals.add(settings.builder.options["proposal"] if settings.builder.name == "explicit" else None)
            super().__init__(pair, settings, prompt)

    monkeypatch.setattr("specviz.compare.held_out.Session", Seen)
    prompts = [Prompt(str(i), "other", f"{i}") for i in range(2)]
    held_out(make_pair(), trace, advice._replace(proposal="with_replacement"), prompts, 1)
    assert ran["explicit"] == ran["k_config"]
    assert len(dict(ran["explicit"])) == 2
    assert proposals == {"with_replacement", None}


def test_a_gain_is_claimed_only_where_interval_and_test_agree(advice: Advice, trace: Trace) -> None:
    prompts = [Prompt(str(i), "other", f"{i}") for i in range(2)]
    one = held_out(make_pair(), trace, advice, prompts, 2).difference
    clear = replace(one, value=0.3, low=0.1, high=0.5, p=0.01, adjusted=0.01)
    assert verdict(clear) == "the advised tree gains"
    assert verdict(replace(clear, value=-0.3, low=-0.5, high=-0.1)) == "the advised tree loses"
    assert verdict(replace(clear, low=-0.1)) == "this may be noise"
    assert verdict(replace(clear, p=0.2, adjusted=0.2)) == "this may be noise"


def test_the_command_says_what_the_page_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run.json.gz"
    trace = sample_trace(k_config(3, 2), steps=120, verifiers=("rejection",))
    save_trace(trace, run)
    assert main(["advise", str(run), "--budget", "3", "6"]) == 0
    printed = capsys.readouterr().out
    best = advise([trace], [3, 6]).best()
    assert f'--builder explicit --tree "{best.paths}"' in printed
    assert "Rank in the draft's row" in printed
    for wrong, said in (
        (["--budget", "0"], "A budget is"),
        (["--held-out", "x.jsonl", "--prompts", "1"], "two --prompts"),
    ):
        assert main(["advise", str(run), *wrong]) == 2
        assert said in capsys.readouterr().err
    times = tmp_path / "bench.json"
    times.write_text("{}", encoding="utf-8")
    assert main(["advise", str(run), "--times", str(times)]) == 2
    assert "bench --json" in capsys.readouterr().err
    times.write_text("[" * 100_000, encoding="utf-8")
    assert main(["advise", str(run), "--times", str(times)]) == 2
    assert "not JSON" in capsys.readouterr().err
