"""The command line, as a person uses it, on small models in folders."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from specviz.cli import main
from specviz.digits import digits
from specviz.display import printable, say
from specviz.engine.session import Session
from specviz.errors import NumericsError
from specviz.trace.io import load_trace
from specviz.verifiers import VERIFIERS
from tests import tiny
from tests.engine.test_session import comparable
from tests.saved_pages import block_in


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    target, draft = tiny.save_pair(tmp_path_factory.mktemp("pair"))
    return ["--target", str(target), "--draft", str(draft)]


STALE = """
from dataclasses import replace

from specviz.verifiers import VERIFIERS

exact = VERIFIERS["rejection"]


def judge(tree, target, options):
    judgement = exact.judge(tree, target, options)
    # The residual of all rejected siblings but the last: what was left before it.
    return replace(judgement, distribution=lambda end: judgement.distribution(replace(end, rejected=end.rejected[:-1])))


STALE = replace(exact, name="stale", judge=judge)
"""


def record(folders: list[str], output: Path, *more: str) -> int:
    return main(["record", "--prompt", "the sea", *folders, "--max-new-tokens", "12", "-o", str(output), *more])


def test_record_saves_a_trace_and_sums_it_up(
    folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert record(folders, tmp_path / "t.json.gz", "--audit") == 0
    trace = load_trace(tmp_path / "t.json.gz")
    assert len(trace.output_tokens()) == 12
    assert list(trace.steps[0].verdicts) == ["rejection", "eta", "longest_path"]
    printed = capsys.readouterr().out
    assert f"12 tokens in {len(trace.steps)} steps" in printed
    for word in ("block eff.", "by depth", "by sibling rank", "seconds: draft"):
        assert word in printed
    for model in ("target", "draft"):
        worst = digits(max(getattr(step.caches, model).audit.worst() for step in trace.steps), 2)
        said = f"audit: the {model}'s cache is off by at most {worst} (relative) from a recompute"
        count = len(trace.steps)
        assert f"{said} at {count} of {count} steps; within the tolerance 1·10⁻⁴" in printed


def test_record_twice_with_one_seed_gives_equal_traces(folders: list[str], tmp_path: Path) -> None:
    traces = []
    for name in ("a.json", "b.json"):
        assert record(folders, tmp_path / name, "--seed", "11", "--verifiers", "traversal,naive") == 0
        traces.append(load_trace(tmp_path / name))
    assert comparable(traces[0]) == comparable(traces[1])
    assert traces[0].id != traces[1].id


@pytest.mark.parametrize(
    ("options", "builder", "expected"),
    [
        (["--tree", "2,2"], "k_config", {"tree": "2,2"}),
        (["--tree", "[0],[1],[0,0]", "--proposal", "top_k"], "explicit", {"proposal": "top_k"}),
        (["--builder", "dynamic", "--builder-option", "total=8"], "dynamic", {"total": 8}),
    ],
)
def test_every_way_to_name_a_tree(
    folders: list[str], tmp_path: Path, options: list[str], builder: str, expected: dict
) -> None:
    assert record(folders, tmp_path / "t.json", *options) == 0
    trace = load_trace(tmp_path / "t.json")
    assert trace.settings.builder.name == builder
    assert expected.items() <= trace.settings.builder.options.items()


def test_options_reach_their_verifier(folders: list[str], tmp_path: Path) -> None:
    assert record(folders, tmp_path / "t.json", "--verifier-option", "eta.epsilon=0.2", "--driver", "eta") == 0
    trace = load_trace(tmp_path / "t.json")
    assert trace.steps[0].driver == "eta"
    assert trace.steps[0].verdicts["eta"].options["epsilon"] == 0.2


def test_a_chat_prompt_is_wrapped(folders: list[str], tmp_path: Path) -> None:
    assert record(folders, tmp_path / "t.json", "--chat") == 0
    trace = load_trace(tmp_path / "t.json")
    texts = {token.id: token.text for token in trace.prompt_texts}
    assert [texts[t] for t in trace.prompt_tokens[:1]] == ["<|user|>"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--verifiers", "oracle"], "There is no verifier 'oracle'"),
        (["--verifiers", ","], "No verifier is chosen"),
        (["--driver", "eta", "--verifiers", "naive"], "not one of the verifiers"),
        (["--tree", "99,99"], "more than 1024 nodes"),
        (["--tree", "[0],[2]"], "elder sibling"),
        (["--temperature", "-1"], "temperature"),
        (["--top-p", "0"], "top_p"),
        (["--max-new-tokens", "0"], "max_new_tokens"),
        (["--min-new-tokens", "-1"], "min_new_tokens"),
        (["--stop", ""], "at least 1 character"),
        (["--verifier-option", "eta.epsilon"], "name=value"),
        (["--verifier-option", "naive.epsilon=1"], "naive"),
        (["--verifier", "nothing"], "my_module:my_verifier"),
        (["--verifier", "no_such_module:x"], "cannot be imported"),
        (["--verifier", "json:dumps"], "not a specviz.verifiers.Verifier"),
        (["--verifier-option", "eta.delta=nan"], "finite number"),
        (["--builder-option", "total=inf"], "finite number"),
        (["--verifiers", "x" * 300], "at most 200 characters"),
        (["-o", "/nowhere/at/all.json"], "no folder"),
        (["-o", "/"], "cannot be saved"),
    ],
)
def test_bad_input_is_one_sentence_before_any_model_is_loaded(
    options: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("specviz.models.loading.load_pair", lambda *a, **k: pytest.fail("a model was loaded"))
    assert main(["record", "--prompt", "x", "-o", str(tmp_path / "t.json"), *options]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert len(printed.strip().splitlines()) == 1
    assert not (tmp_path / "t.json").exists()


def test_an_unknown_model_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["record", "--prompt", "x", "--target", str(tmp_path / "none"), "-o", str(tmp_path / "t.json")]
    assert main(arguments) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


@pytest.mark.parametrize(("failure", "status"), [(KeyboardInterrupt(), 0), (NumericsError("NaN."), 2)])
def test_what_was_recorded_is_saved_when_a_run_breaks_off(
    folders: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException, status: int
) -> None:
    step = Session._step

    def failing(self: Session):
        if len(self.steps) == 2:
            raise failure
        return step(self)

    monkeypatch.setattr(Session, "_step", failing)
    assert record(folders, tmp_path / "t.json") == status
    trace = load_trace(tmp_path / "t.json")
    assert len(trace.steps) == 2
    assert trace.end_reason == ("error" if status else "stopped")


def test_a_verifier_of_ones_own_is_treated_like_ours(
    folders: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(VERIFIERS, "strict", None)  # the registry itself, so that what is registered goes again
    monkeypatch.delitem(VERIFIERS, "strict")
    (tmp_path / "mine_for_cli.py").write_text(
        "from dataclasses import replace\n"
        "from specviz.verifiers import VERIFIERS\n"
        "strict = replace(VERIFIERS['naive'], name='strict', lossless=())\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    arguments = ["--verifier", "mine_for_cli:strict", "--verifiers", "strict,rejection"]
    assert record(folders, tmp_path / "t.json", *arguments) == 0
    assert load_trace(tmp_path / "t.json").steps[0].verdicts["strict"].lossless == "not proved"


def test_an_interrupt_while_models_load_is_no_stack_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("specviz.models.loading.load_pair", interrupted)
    assert main(["record", "--prompt", "x", "-o", str(tmp_path / "t.json")]) == 130
    assert capsys.readouterr().err == "specviz: stopped\n"


@pytest.mark.parametrize(
    "options", [["greedy", "--max-new-tokens", "0"], ["greedy", "--prompts", "0"], ["bench", "--steps", "-1"]]
)
def test_a_comparison_of_nothing_is_refused(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(options)
    assert caught.value.code == 2
    assert "is not a whole number from 1 on" in capsys.readouterr().err


def test_export_writes_one_page_that_holds_the_run(
    folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert record(folders, tmp_path / "t.json.gz") == 0
    assert main(["export", str(tmp_path / "t.json.gz")]) == 0
    page = (tmp_path / "t.html").read_text(encoding="utf-8")
    assert block_in(page)["run"]["id"] == load_trace(tmp_path / "t.json.gz").id
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=.?https?:", page)
    alone = ["export", str(tmp_path / "t.json.gz"), "--alone", "-o", str(tmp_path / "step.html"), "--step"]
    assert main([*alone, "2"]) == 0
    step = (tmp_path / "step.html").read_text(encoding="utf-8")
    assert "<title>step 2 of “" in step
    assert len(block_in(step)["frames"]) == 1 < len(block_in(page)["frames"])
    assert main([*alone, "99"]) == 2
    assert "There is no step 99; choose one from 1 to" in capsys.readouterr().err
    assert main(["export", str(tmp_path / "t.json.gz"), "-o", "/nowhere/t.html"]) == 2
    assert main(["export", str(tmp_path / "none.json")]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_hostile_text_does_not_reach_the_terminal_raw(capsys: pytest.CaptureFixture[str]) -> None:
    say("a\x1b[31mb\u202ec\r\u200fd\ne\u2028f\ud800")
    assert capsys.readouterr().out == "a⟨U+001B⟩[31mb⟨U+202E⟩c⟨U+000D⟩⟨U+200F⟩d\ne⟨U+2028⟩f⟨U+D800⟩\n"
    assert printable("a\nb", keep="") == "a⟨U+000A⟩b"


def test_a_run_stops_at_a_breakpoint(folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert record(folders, tmp_path / "whole.json") == 0
    whole = load_trace(tmp_path / "whole.json")
    token = whole.steps[1].committed[0]
    first = next(i for i, step in enumerate(whole.steps) if token in step.committed)
    capsys.readouterr()
    assert record(folders, tmp_path / "t.json", "--until", f"token={token}") == 0
    assert f"oken {token} was committed." in capsys.readouterr().out
    stopped = load_trace(tmp_path / "t.json")
    assert len(stopped.steps) == first + 1
    assert stopped.output_tokens() == whole.output_tokens()[: len(stopped.output_tokens())]
    assert record(folders, tmp_path / "t.json", "--until", "token=never") == 2
    assert "token" in capsys.readouterr().err


def test_two_runs_are_compared(folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, seed in (("a", "1"), ("b", "2")):
        assert record(folders, tmp_path / f"{name}.json", "--seed", seed) == 0
    capsys.readouterr()
    assert main(["diff", str(tmp_path / "a.json"), str(tmp_path / "b.json")]) == 0
    said = capsys.readouterr().out
    assert "Not comparable: both sample, and what determines their draws is not the same, so chance alone" in said
    assert "Not the same: seed (1 and 2)." in said
    assert "real difference" not in said
    ours, theirs = (load_trace(tmp_path / f"{name}.json").output_tokens() for name in ("a", "b"))
    index = next(i for i, (x, y) in enumerate(zip(ours, theirs, strict=False)) if x != y)
    assert f"part at token {index + 1}" in said
    assert main(["diff", str(tmp_path / "a.json"), str(tmp_path / "nothing.json")]) == 2


def test_a_verifier_of_ones_own_is_checked_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hasty.py").write_text(STALE)
    monkeypatch.chdir(tmp_path)
    # The registry itself: modules that are first imported here would hold on to another one.
    monkeypatch.setitem(VERIFIERS, "stale", None)
    for name in [name for name in VERIFIERS if name != "rejection"]:
        monkeypatch.delitem(VERIFIERS, name)
    assert main(["check", "--verifier", "hasty:STALE"]) == 1
    mine, ours = capsys.readouterr().out.split("promises checked", 1)
    assert mine.count("NOT LOSSLESS as promised") == 3
    assert "  stale, without replacement: (1), V=3, TV" in mine
    assert "rejection" not in mine
    assert "ok, lossless" in ours
