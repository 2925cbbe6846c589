"""specviz as a model of lm-eval: its greedy scores are those of the harness' own model on the target alone."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from specviz.cli import main
from specviz.errors import SettingsError
from tests import tiny
from tests.models.test_prompt_ends import ending_tokenizer
from tests.paths import ROOT

TASKS = ROOT / "docs" / "examples" / "lm-eval"


def test_without_the_package_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval.__main__", None)
    assert main(["lm-eval", "--model", "specviz"]) == 2
    assert "pip install lm-eval" in capsys.readouterr().err


@pytest.fixture(scope="module")
def model_class():
    pytest.importorskip("lm_eval", reason="optional")
    from specviz.compare.lm_eval_model import SpeculativeLM

    return SpeculativeLM


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data sets are read from the folder of the tests into a cache of the test's own, and nothing from the hub."""
    datasets = pytest.importorskip("datasets", reason="optional")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    target, draft = tiny.save_pair(tmp_path_factory.mktemp("pair"))
    return str(target), str(draft)


def answers(model: str, **arguments: Any) -> tuple[dict, list]:
    """(scores by task, every answer to every request)."""
    import lm_eval
    from lm_eval.tasks import TaskManager

    tasks = ["facts_generate", "facts_choose"]
    manager = TaskManager(include_path=str(TASKS), include_defaults=False)
    found = lm_eval.simple_evaluate(
        model=model, model_args=arguments, tasks=tasks, task_manager=manager, device="cpu", bootstrap_iters=0
    )
    scores = {task: {k: v for k, v in found["results"][task].items() if "," in k} for task in tasks}
    return scores, [sample["resps"] for task in tasks for sample in found["samples"][task]]


def equal(ours: tuple[dict, list], theirs: tuple[dict, list]) -> bool:
    assert ours[0] == theirs[0]
    assert len(ours[1]) == len(theirs[1]) == 12
    assert ours[1][:6] == theirs[1][:6]  # the texts
    for one, other in zip(ours[1][6:], theirs[1][6:], strict=True):
        for a, b in zip(one, other, strict=True):
            assert float(a[0][0]) == pytest.approx(float(b[0][0]), abs=1e-3)
            assert a[0][1] == b[0][1]
    return True


@pytest.mark.parametrize(("verifier", "tree"), [("eta", "3x2"), ("traversal", "dynamic:total=8,depth=4,top_k=3")])
def test_greedy_scores_are_those_of_the_target(
    model_class, folders: tuple[str, str], own_cache: None, verifier: str, tree: str
) -> None:
    ours = answers("specviz", target=folders[0], draft=folders[1], verifier=verifier, tree=tree)
    assert equal(ours, answers("hf", pretrained=folders[0], dtype="float32"))
    assert any(text for text in ours[1][:6])


@pytest.mark.default_pair
def test_greedy_scores_of_the_default_pair_are_those_of_the_target(model_class, own_cache: None) -> None:
    from specviz.models.default_pair import ensure_target

    target = str(ensure_target(lambda message, fraction: None))
    ours = answers("specviz", verifier="eta", tree="4x2x2")
    assert equal(ours, answers("hf", pretrained=target, dtype="float32"))
    assert ours[0]["facts_choose"]["acc_norm,none"] == 1


def test_the_command_hands_over_to_the_harness(model_class, folders, own_cache, tmp_path: Path, capsys) -> None:
    arguments = ["--model_args", f"target={folders[0]},draft={folders[1]},verifier=eta,epsilon=0.2,tree=2x2"]
    where = ["--include_path", str(TASKS), "--output_path", str(tmp_path / "out")]
    assert (
        main(["lm-eval", "--model", "specviz", *arguments, "--device", "cpu", "--tasks", "facts_choose", *where]) == 0
    )
    assert "facts_choose" in capsys.readouterr().out
    assert list((tmp_path / "out").rglob("results*.json"))


def asked(text: str, **arguments: Any) -> SimpleNamespace:
    return SimpleNamespace(args=(text, arguments))


def test_samples_differ_and_come_again(model_class, folders: tuple[str, str]) -> None:
    request = asked("the sea", until=[], max_gen_toks=12, do_sample=True, temperature=1.0, top_p=0.95)
    runs = [
        model_class(*folders, seed=seed, device="cpu").generate_until([request, request], disable_tqdm=True)
        for seed in (3, 3, 4)
    ]
    assert runs[0] == runs[1] != runs[2]
    assert runs[0][0] != runs[0][1]


def test_texts_end_before_the_first_stop_sequence(model_class, folders: tuple[str, str]) -> None:
    model = model_class(*folders, device="cpu")
    (whole,) = model.generate_until([asked("the sea", until=[], max_gen_toks=12)], disable_tqdm=True)
    stop = whole[3:5]
    (text,) = model.generate_until([asked("the sea", until=[stop], max_gen_toks=12)], disable_tqdm=True)
    assert text == whole[: whole.index(stop)]
    (rolling,) = model.loglikelihood_rolling([SimpleNamespace(args=("the sea",))], disable_tqdm=True)
    ((joint, _),) = model.loglikelihood([SimpleNamespace(args=("", "the sea"))], disable_tqdm=True)
    assert rolling == pytest.approx(joint, abs=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"verifier": "oracle"}, "There is no verifier 'oracle'"),
        ({"verifier": "eta", "epsilon": 7}, "epsilon"),
        ({"verifier": "rejection", "epsilon": 0.1}, "epsilon"),
        ({"draft_temperature": -3}, "temperature"),
        ({"draft_temperature": "hot"}, "temperature"),
        ({"tree": "oracle"}, "There is no tree builder"),
        ({"verifier": "no_such_module:it"}, "cannot be imported"),
    ],
)
def test_bad_arguments_are_one_sentence_before_any_model_is_loaded(model_class, arguments, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        model_class("/nowhere", "/nowhere", **arguments)
    assert "\n" not in str(caught.value)


def test_trees_survive_what_the_harness_makes_of_them(model_class) -> None:
    from specviz.compare.lm_eval_model import _tree_text

    assert [_tree_text(tree) for tree in ("4x2x2", "4,2,2", (4, 2, 2), 4)] == ["4,2,2", "4,2,2", "4,2,2", "4"]
    assert _tree_text("4,2:proposal=top_k") == "4,2:proposal=top_k"
    assert _tree_text("dynamic:total=8") == "dynamic:total=8"


def test_generation_arguments_that_mean_nothing_here_are_refused(model_class, folders: tuple[str, str]) -> None:
    model = model_class(*folders, device="cpu")
    with pytest.raises(SettingsError, match="repetition_penalty"):
        model.generate_until([asked("the sea", max_gen_toks=4, repetition_penalty=2.0)], disable_tqdm=True)
    with pytest.raises(SettingsError, match="ask for fewer"):
        model.generate_until([asked("the sea", max_gen_toks=10**6)], disable_tqdm=True)


def test_a_tokenizer_that_ends_every_text(model_class, tmp_path: Path) -> None:
    target, draft = tiny.save_pair(tmp_path)
    for folder in (target, draft):
        ending_tokenizer().save_pretrained(folder)

    def made(**arguments: Any) -> Any:
        return model_class(target=str(target), draft=str(draft), device="cpu", **arguments)

    with pytest.raises(SettingsError, match="The tokenizer adds"):
        made().tok_encode("the sea")
    dropping, plain = made(prompt_end_token="drop"), tiny.make_tokenizer()
    assert dropping.tok_encode("the sea") == plain("the sea")["input_ids"]
    assert dropping.tok_encode("the sea", add_special_tokens=False) == plain("the sea")["input_ids"]
    assert made(prompt_end_token="keep").tok_encode("the sea")[-1] == tiny.END_ID
    with pytest.raises(SettingsError, match="prompt end token cannot be 'x'"):
        made(prompt_end_token="x")
