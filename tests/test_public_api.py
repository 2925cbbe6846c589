"""The public interface in one process, on small models; tests/test_package.py has it installed."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import specviz
from specviz.cli import main, parse
from specviz.engine.cli import RECORD_DEFAULTS
from specviz.engine.session import Session
from specviz.models.pair_spec import ModelChoice
from specviz.trace.schema import Sampling, Settings
from specviz.verifiers import VERIFIERS
from tests import tiny
from tests.engine.test_session import comparable
from tests.paths import ASSETS
from tests.saved_pages import block_in

HANDED_OVER = {"progress", "on_step"}
"""What only a program can give."""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    target, draft = tiny.save_pair(tmp_path_factory.mktemp("pair"))
    return {"target": str(target), "draft": str(draft)}


@pytest.fixture(scope="module")
def shipped() -> specviz.Trace:
    return specviz.load(ASSETS / "traces" / "default-4-2-2.json.gz")


def no_models(*_: Any, **__: Any) -> None:
    pytest.fail("a model was loaded")


def test_the_function_and_the_command_take_the_same_and_mean_the_same(pair: dict[str, str], tmp_path: Path) -> None:
    options = vars(parse(["record", "--prompt", "x"]))
    renamed = {"builder_option": "builder_options", "verifier_option": "verifier_options"}
    of_command = {renamed.get(name, name): value for name, value in options.items()}
    assert of_command.keys() - {"prompt", "output", "verifier", "run", "rest"} == RECORD_DEFAULTS.keys() - HANDED_OVER
    assert {name: of_command[name] or None for name in of_command.keys() & RECORD_DEFAULTS.keys()} == {
        name: RECORD_DEFAULTS[name] or None for name in RECORD_DEFAULTS.keys() - HANDED_OVER
    }
    chosen = ["--builder", "dynamic", "--builder-option", "total=8", "--verifiers", "eta,traversal", "--seed", "3"]
    chosen += ["--verifier-option", "eta.epsilon=0.2", "--driver", "traversal", "--temperature", "0.7", "--top-k", "9"]
    chosen += ["--draft-temperature", "0.9", "--chat", "--audit", "--max-new-tokens", "9"]
    models = [f"--{name}={value}" for name, value in pair.items()]
    assert main(["record", "--prompt", "the sea", *models, *chosen, "-o", str(tmp_path / "t.json")]) == 0
    trace = specviz.record(
        "the sea",
        **pair,
        builder="dynamic",
        builder_options={"total": 8},
        verifiers=["eta", "traversal"],
        verifier_options={"eta": {"epsilon": 0.2}},
        driver="traversal",
        seed=3,
        temperature=0.7,
        top_k=9,
        draft_temperature=0.9,
        chat=True,
        audit=True,
        max_new_tokens=9,
    )
    assert comparable(trace) == comparable(specviz.load(tmp_path / "t.json"))
    assert len(trace.output_tokens()) == 9


def test_the_defaults_are_those_of_a_trace_and_of_a_pair() -> None:
    sampling = {name: value for name, value in Sampling().model_dump().items() if name in RECORD_DEFAULTS}
    settings = {name: getattr(Settings(), name) for name in ("seed", "max_new_tokens", "chat", "audit")}
    pair = {name: value for name, value in vars(ModelChoice()).items() if name not in ("target", "draft")}
    assert (sampling | settings | pair).items() <= RECORD_DEFAULTS.items()
    assert {"temperature", "top_k", "top_p", "eta_cutoff"} == sampling.keys()


@pytest.mark.parametrize(
    ("tree", "builder", "option"),
    [
        ("4,2,2", "k_config", {"tree": "4,2,2"}),
        ((2, 2), "k_config", {"tree": "2,2"}),
        ([[0], [1], (0, 0)], "explicit", {"paths": "[0],[1],[0, 0]"}),
        (None, "k_config", {}),
    ],
)
def test_a_tree_is_a_text_or_numbers(pair: dict[str, str], tree: Any, builder: str, option: dict[str, str]) -> None:
    trace = specviz.record("a", **pair, tree=tree, verifiers="naive", max_new_tokens=1)
    assert trace.settings.builder.name == builder
    assert trace.settings.builder.options == option


def test_a_verifier_of_ones_own_takes_part_without_being_registered(pair: dict[str, str]) -> None:
    mine = replace(VERIFIERS["naive"], name="mine", lossless=())
    seen: list[int] = []
    trace = specviz.record(
        "the sea",
        **pair,
        verifiers=[mine, "naive"],
        max_new_tokens=5,
        on_step=lambda step: seen.append(step.index),
    )
    first = trace.steps[0]
    assert trace.settings.driver == "mine"
    assert first.verdicts["mine"].path == first.verdicts["naive"].path
    assert (first.verdicts["mine"].lossless, first.verdicts["naive"].lossless) == ("not proved", "yes")
    assert seen == [step.index for step in trace.steps]
    assert "mine" not in VERIFIERS


def test_a_run_stops_at_a_breakpoint(pair: dict[str, str]) -> None:
    whole = specviz.record("the sea", **pair, max_new_tokens=12)
    token = whole.steps[1].committed[0]
    first = next(i for i, step in enumerate(whole.steps) if token in step.committed)
    for until in (f"token={token}", [f"token={token}"]):
        stopped = specviz.record("the sea", **pair, max_new_tokens=12, until=until)
        assert (len(stopped.steps), stopped.end_reason) == (first + 1, "stopped")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"verifiers": "oracle"}, "There is no verifier 'oracle'"),
        ({"verifiers": []}, "No verifier is chosen"),
        ({"verifiers": [replace(VERIFIERS["naive"], name="eta")]}, "A verifier named 'eta' exists already"),
        ({"driver": "greedy"}, "not one of the verifiers"),
        ({"tree": (99, 99)}, "more than 1024 nodes"),
        ({"tree": [[0], [2]]}, "elder sibling"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"verifier_options": {"naive": {"epsilon": 1}}}, "Options are given for 'naive'"),
        ({"builder_options": {"total": 3}}, "total"),
        ({"until": "never"}, "There is no breakpoint"),
        ({"preset": "unheard-of"}, "There is no preset"),
        ({"processor_mode": "frozen"}, "no processor is given"),
        ({"processor_draft": True}, "no processor is given"),
        ({"processors": "json:JSONEncoder"}, "no class derived from"),
    ],
)
def test_bad_arguments_are_one_sentence_before_any_model_is_loaded(
    arguments: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("specviz.models.loading.load_pair", no_models)
    with pytest.raises(specviz.SettingsError) as caught:
        specviz.record("x", **arguments)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.trace is None


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), specviz.NumericsError("The target's logits are NaN.")])
def test_what_was_recorded_before_a_failure_is_in_it(
    pair: dict[str, str], failure: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Session.step
    monkeypatch.setattr(Session, "step", lambda session: _fail(failure) if len(session.steps) == 2 else step(session))
    expected = specviz.RecordingInterrupted if isinstance(failure, KeyboardInterrupt) else specviz.NumericsError
    with pytest.raises(expected) as caught:
        specviz.record("the sea", **pair, max_new_tokens=12)
    assert len(caught.value.trace.steps) == 2
    assert isinstance(caught.value, KeyboardInterrupt) == isinstance(failure, KeyboardInterrupt)
    assert str(caught.value)


def _fail(failure: BaseException) -> None:
    raise failure


def test_a_run_is_saved_loaded_exported_and_compared(shipped: specviz.Trace, tmp_path: Path) -> None:
    specviz.save(shipped, tmp_path / "run.json.gz")
    assert specviz.load(tmp_path / "run.json.gz") == shipped
    assert specviz.export(shipped, tmp_path / "run.html", step=3, theme="dark") == tmp_path / "run.html"
    page = (tmp_path / "run.html").read_text(encoding="utf-8")
    assert 'data-theme="dark"' in page
    assert block_in(page)["go"] == 2
    shorter = shipped.model_copy(update={"steps": shipped.steps[:2], "end_reason": "stopped"})
    found = specviz.diff(shipped, shorter, names=("whole", "half"))
    assert (found.a.name, found.b.name, found.parting) == ("whole", "half", None)
    assert found.shared == len(shorter.output_tokens())


def test_what_cannot_be_saved_or_opened_is_one_sentence(shipped: specviz.Trace, tmp_path: Path) -> None:
    for wrong, call in (
        (specviz.TraceError, lambda: specviz.load(tmp_path / "none.json")),
        (specviz.TraceError, lambda: specviz.save(shipped, tmp_path)),
        (specviz.SettingsError, lambda: specviz.export(shipped, tmp_path)),
        (specviz.SettingsError, lambda: specviz.export(shipped, tmp_path / "x.html", step=0)),
        (specviz.SettingsError, lambda: specviz.export(shipped, tmp_path / "x.html", step=21)),
        (specviz.SettingsError, lambda: specviz.export(shipped, tmp_path / "x.html", theme="<b>")),
        (specviz.SettingsError, lambda: specviz.check("oracle")),
        (specviz.SettingsError, lambda: specviz.check([])),
    ):
        with pytest.raises(wrong) as caught:
            call()
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "x.html").exists()


def test_a_verifier_is_checked_by_name_or_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("specviz.verifiers.check.check", lambda some: [asked.append(one.name) for one in some])
    mine = replace(VERIFIERS["naive"], name="mine")
    for verifiers in ("naive, eta", [mine], None):
        specviz.check(verifiers)
    assert asked == ["naive", "eta", "mine", *VERIFIERS]


def test_a_run_is_printed_in_a_line(shipped: specviz.Trace) -> None:
    hostile = shipped.model_copy(update={"prompt": "\x1b[31m\n" + "x" * 100_000})
    for trace in (shipped, hostile):
        for text in (repr(trace), str(trace), f"{trace}", repr(trace.steps[0]), str(trace.steps[0])):
            assert len(text) < 400
            assert text.isprintable()
    assert repr(shipped).startswith(f"<Trace {shipped.id} of 'Tell a bedtime story")
    assert "48 tokens in 20 steps" in repr(shipped)
    assert "driver 'rejection', ended: max_new_tokens" in repr(shipped)
    assert "<Step 0: 29 nodes" in repr(list(shipped.steps))
    assert repr(shipped.model_copy(update={"steps": (), "end_reason": None})).endswith("ended: None>")


def test_every_public_name_says_what_it_takes_and_raises() -> None:
    for name in specviz.__all__:
        one = getattr(specviz, name)
        if name == "__version__":
            continue
        assert (inspect.getdoc(one) or "").strip(), name
        if inspect.isfunction(one):
            signature = inspect.signature(one)
            unnamed = [p.name for p in signature.parameters.values() if p.annotation is inspect.Parameter.empty]
            assert not unnamed
            assert signature.return_annotation is not inspect.Signature.empty
    documented = inspect.getdoc(specviz.record) or ""
    listed = {
        word.strip()
        for line in documented.partition("Args:")[2].partition("Raises:")[0].splitlines()
        if line.startswith("    ") and not line.startswith("     ")
        for word in line.partition(":")[0].split(",")
    }
    assert listed == {"prompt", *RECORD_DEFAULTS}


def test_the_frame_of_a_notebook_lets_nothing_out(shipped: specviz.Trace) -> None:
    evil = shipped.model_copy(update={"prompt": '"></iframe><script>alert(1)</script>'})
    for trace in (shipped, evil):
        text = trace._repr_html_()
        assert text.count("<") == 2, "the frame and its end, nothing else that is markup"
        assert text.startswith('<iframe title="specviz: a recorded run" sandbox="allow-scripts allow-downloads" ')
        assert "allow-same-origin" not in text.partition("srcdoc")[0]
    assert "height: 900px" in specviz.notebook_html(shipped, height=900)[:300]
