"""Models are told apart by their weights: in what if, resuming, comparing, making again, and in what the form says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from specviz.engine.session import Session
from specviz.engine.whatif import through_models
from specviz.engine.whatif.by_models import EXACT_ROUNDING
from specviz.errors import ModelError, SettingsError
from specviz.figures.diff import format_comparison
from specviz.models.loaded import language_model
from specviz.models.loading import Pair, load_pair
from specviz.models.sources import Source, as_typed, find_source, unplaced
from specviz.models.weights import weights_hash
from specviz.trace.diff import compare
from specviz.trace.identity import caveats, first_difference, mismatch, same_weights
from specviz.trace.io import dump_trace, parse_trace
from specviz.trace.metrics import tolerances
from specviz.trace.schema import Choice, ModelInfo, Trace
from specviz.trace.whatif_question import Question
from tests import tiny
from tests.pairs import make_pair, make_settings

HASH = "sha256-sample1:" + "a" * 64
OTHER = "sha256-sample1:" + "b" * 64


def info(**fields: object) -> ModelInfo:
    known = {"id": "mine", "architecture": "Llama", "parameters": 9, "layers": 2, "vocabulary": 9}
    return ModelInfo(**(known | {"dtype": "float32", "device": "cpu"} | fields))


def save(folder: Path, seed: int) -> tuple[str, str]:
    target = tiny.make_model("llama", seed=seed)
    for name, model in (("mine", target), ("mine-draft", tiny.perturbed(target))):
        model.save_pretrained(folder / name)
        tiny.make_tokenizer().save_pretrained(folder / name)
    return str(folder / "mine"), str(folder / "mine-draft")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    """Two pairs of folders of the same names, with other weights in them."""
    home = tmp_path_factory.mktemp("same")
    return {name: save(home / name, seed) for name, seed in (("a", 0), ("b", 5))}


@pytest.fixture(scope="module")
def loaded(folders: dict[str, tuple[str, str]]) -> dict[str, Pair]:
    return {name: load_pair(*pair, device="cpu") for name, pair in folders.items()}


@pytest.fixture(scope="module")
def trace(loaded: dict[str, Pair]) -> Trace:
    session = Session(loaded["a"], make_settings("chain", max_new_tokens=12), "the sea")
    list(session.run(3))
    return session.trace


def without_hash(trace: Trace) -> Trace:
    """As specviz 0.1.0 recorded it."""
    bare = {"weights": None, "source": None}
    models = trace.models
    sides = {role: getattr(models, role).model_copy(update=bare) for role in ("target", "draft")}
    return trace.model_copy(update={"models": models.model_copy(update=sides)})


# ------------------------------------------------------------------------------------------------ the hash


def test_equal_weights_have_one_hash_in_every_process_and_wider_format(loaded) -> None:
    again = tiny.make_model("llama", seed=0)
    assert weights_hash(again) == loaded["a"].models.target.weights != loaded["b"].models.target.weights
    half = tiny.make_model("llama", seed=0).to(torch.bfloat16)
    assert weights_hash(half) == weights_hash(half.float()), "saved in bfloat16, loaded in float32 on a CPU"
    assert weights_hash(half) != weights_hash(again), "rounded to bfloat16 they are other weights"


@pytest.mark.parametrize("layer", range(2))
def test_a_fine_tune_of_one_layer_has_another_hash(layer: int) -> None:
    model = tiny.make_model("llama")
    before = weights_hash(model)
    for name, parameter in model.model.layers[layer].named_parameters():
        kept = parameter.detach().clone()
        with torch.no_grad():
            parameter.add_(1e-6 * torch.randn_like(parameter))
        assert weights_hash(model) != before, name
        with torch.no_grad():
            parameter.copy_(kept)
    assert weights_hash(model) == before


def test_every_row_of_a_large_matrix_counts_and_more_than_one_column() -> None:
    matrix = torch.nn.Linear(512, 6_000, bias=False)
    before = weights_hash(matrix)
    for row in (0, 511, 512, 513, 2_565, 5_999):  # one alone: the embedding of a token that was added
        with torch.no_grad():
            matrix.weight[row].mul_(1.5)
        assert weights_hash(matrix) != before, row
        before = weights_hash(matrix)
    for column in (0, 1, 511):
        with torch.no_grad():
            matrix.weight[:, column].mul_(1.5)
        assert weights_hash(matrix) != before, column
        before = weights_hash(matrix)


def test_a_head_that_reads_the_target_is_part_of_the_draft() -> None:
    target = tiny.make_model("llama")
    draft = tiny.perturbed(target)
    hashes = {weights_hash(draft), *(weights_hash(draft, tiny.head_for(target, draft, seed=seed)) for seed in (2, 3))}
    assert len(hashes) == 3


def test_quantized_weights_have_a_hash_of_their_own(folders) -> None:
    pytest.importorskip("bitsandbytes")
    hashes = set()
    for quantization in ("none", "int8", "nf4"):
        pairs = [load_pair(*folders["a"], device="cpu", target_quantization=quantization) for _ in range(2)]
        first, second = (pair.models.target for pair in pairs)
        assert first.weights == second.weights
        other = load_pair(*folders["b"], device="cpu", target_quantization=quantization).models.target
        assert same_weights(first, other) is False
        hashes.add(first.weights)
        with torch.inference_mode():  # int8 moves its matrices at the first forward
            pairs[0].target.plain_logits([5, 6, 7])
    assert len(hashes) == 3
    assert None not in hashes


def test_tensors_that_cannot_be_read_are_not_recorded() -> None:
    assert weights_hash(torch.nn.Linear(2, 2, device="meta")) is None


# ----------------------------------------------------------------------------------- what is refused, and said


def test_a_what_if_is_not_answered_by_other_weights_of_the_same_name(loaded, trace) -> None:
    question = Question(trace.settings.verifiers[1])
    assert through_models(loaded["a"], trace, 1, question).caveat is None
    with pytest.raises(SettingsError, match="mine has other weights"):
        through_models(loaded["b"], trace, 1, question)


def test_a_trace_of_old_does_not_name_its_weights_and_the_answer_says_so(loaded, trace) -> None:
    question, old = Question(trace.settings.verifiers[1]), without_hash(trace)
    found = through_models(loaded["a"], old, 1, question)
    assert "weights of the target and the draft were not recorded" in (found.caveat or "")
    with pytest.raises(SettingsError, match="not those of this run"):
        through_models(loaded["b"], old, 1, question)


@pytest.mark.parametrize("steps", [None, 0, 1])
def test_a_run_does_not_go_on_with_other_weights_of_the_same_name(loaded, trace, steps) -> None:
    with pytest.raises(SettingsError, match="other weights"):
        Session.resume(loaded["b"], trace, steps=steps)


def test_another_draft_is_refused_too(loaded, trace) -> None:
    models = trace.models.model_copy(update={"draft": trace.models.draft.model_copy(update={"weights": OTHER})})
    with pytest.raises(SettingsError, match="The draft mine-draft has other weights"):
        Session.resume(loaded["a"], trace.model_copy(update={"models": models}))


def test_steps_from_before_keep_what_was_recorded_of_their_models(loaded, trace) -> None:
    """A run that goes on must not say of steps of old which weights made them, nor in which number format."""
    old = without_hash(trace)
    session = Session.resume(loaded["a"], old, steps=2)
    session.step()
    grown = parse_trace(dump_trace(session.trace))
    assert [grown.models_of(i).target.weights for i in range(3)] == [None, None, loaded["a"].models.target.weights]
    assert [step.models is None for step in grown.steps] == [False, False, True]
    again = Session.resume(loaded["a"], grown)
    assert again.trace.steps == grown.steps
    half = old.models.model_copy(update={"target": old.models.target.model_copy(update={"dtype": "bfloat16"})})
    mixed = Session.resume(loaded["a"], old.model_copy(update={"models": half})).trace
    assert tolerances(mixed.models_of(0)) != tolerances(mixed.models)


def test_a_run_that_goes_on_with_its_own_models_repeats_nothing(loaded, trace) -> None:
    assert all(step.models is None for step in Session.resume(loaded["a"], trace, steps=2).trace.steps)


def test_two_runs_beside_each_other_say_that_weights_differ(loaded, trace) -> None:
    other = Session(loaded["b"], trace.settings, trace.prompt)
    list(other.run(2))
    rows = {name: (a, b) for name, a, b in compare(trace, other.trace).settings}
    hashes = tuple(pair.models.target.weights.rpartition(":")[2][:12] for pair in (loaded["a"], loaded["b"]))
    assert rows["target weights"] == hashes
    assert "target weights" in format_comparison(compare(trace, other.trace))
    assert "target weights" not in {name for name, *_ in compare(trace, trace).settings}
    assert ("draft weights", "not recorded") in {
        (name, b) for name, _, b in compare(trace, without_hash(trace)).settings
    }


@pytest.mark.parametrize(
    ("loaded_as", "recorded_as", "said"),
    [
        ({"weights": HASH}, {"weights": HASH}, None),
        ({"weights": HASH, "id": "moved"}, {"weights": HASH}, None),
        ({"weights": HASH, "dtype": "float32"}, {"weights": HASH, "dtype": "bfloat16"}, None),
        ({"weights": HASH}, {"weights": OTHER}, "other weights"),
        ({"weights": HASH, "dtype": "bfloat16"}, {"weights": OTHER}, "rounded to bfloat16"),
        ({"weights": HASH, "quantization": "x"}, {"weights": OTHER, "quantization": "x", "device": "cuda:0"}, "device"),
        (
            {"weights": HASH, "revision": "1" * 40},
            {"weights": OTHER, "revision": "2" * 40, "source": "hub", "id": "owner/name"},
            "owner/name@2222",
        ),
        ({"weights": HASH, "quantization": "bitsandbytes nf4"}, {"weights": OTHER}, "quantization"),
        ({"weights": HASH, "reads": (1,)}, {"weights": HASH, "reads": (2,)}, "hidden states"),
        ({}, {}, None),
        ({}, {"dtype": "bfloat16"}, None),
        ({"weights": HASH}, {}, None),
        ({"weights": HASH}, {"weights": "sha256-sample9:" + "b" * 64}, None),
        ({"id": "theirs"}, {}, "recorded with the target mine"),
        ({"parameters": 8}, {}, "parameters 9, now 8"),
        ({"vocabulary": 8}, {}, "vocabulary"),
        ({"quantization": "bitsandbytes int8"}, {}, "quantization"),
        ({"revision": "1" * 40}, {"revision": "2" * 40}, "revision"),
        ({"revision": "1" * 40}, {}, None),
    ],
)
def test_what_tells_models_apart(loaded_as: dict, recorded_as: dict, said: str | None) -> None:
    found = mismatch(info(**loaded_as), info(**recorded_as), "target")
    assert (found is None) == (said is None), found
    assert said is None or (said in (found or "") and (found or "").count(". ") == 0)


def test_what_is_not_known_or_not_equal_is_said(loaded) -> None:
    models = loaded["a"].models
    assert caveats(models, models) is None
    half = models.model_copy(update={"draft": models.draft.model_copy(update={"dtype": "bfloat16"})})
    assert "the draft was recorded in bfloat16 and is loaded in float32" in (caveats(models, half) or "")
    assert first_difference(models.draft, half.draft) is None


# ------------------------------------------------------------------------------------------ where a model is


def test_a_loaded_folder_is_recorded_as_one(loaded) -> None:
    target = loaded["a"].models.target
    assert (target.id, target.source) == ("mine", "folder")
    assert target.weights is not None


def test_a_model_of_the_hub_is_recorded_with_its_commit() -> None:
    """Offline, and of a converter's pull request, only the files that were read say which commit it is."""
    model = tiny.make_model("llama")
    model.config._commit_hash = "1" * 40
    found = language_model(model, Source("owner/name", "owner/name", revision="refs/pr/1")).info
    assert (found.source, found.revision) == ("hub", "1" * 40)


@pytest.mark.parametrize(
    ("fields", "typed"),
    [
        ({"id": "owner/name", "source": "hub"}, "owner/name"),
        ({"id": "gpt2", "source": "hub"}, "gpt2"),
        ({"id": "owner/name@main", "source": "hub"}, "owner/name@main"),
        ({"id": "owner/name"}, "owner/name"),
        ({"id": "SmolLM2-135M-Instruct", "source": "built-in"}, "default"),
        ({"id": "gpt2", "source": "folder"}, None),
        ({"id": "SmolLM2-135M-Instruct", "source": "folder"}, None),
        ({"id": "gpt2"}, None),
        ({"id": "gpt2", "note": "a local folder"}, None),
        ({"id": "/etc", "source": "hub"}, None),
        ({"id": "../up/name", "source": "hub"}, None),
        ({"id": "~/name"}, None),
    ],
)
def test_only_what_can_be_nothing_but_the_hubs_is_looked_up_there(fields: dict, typed: str | None) -> None:
    written = as_typed(info(**fields), "target")
    if typed is not None:
        assert written == typed
        assert unplaced(written, "target") is None
        return
    said = unplaced(written, "target")
    assert said is not None
    assert "path" in said
    with pytest.raises(ModelError, match="path"):
        find_source(written, "target", lambda *_: None)


@pytest.mark.parametrize("name", ["chain-of-4", "default-4-2-2"])
def test_shipped_runs_are_the_default_pairs_and_nothing_recorded_speaks_against_it(name: str) -> None:
    from specviz.app.run_handlers import open_recorded
    from specviz.models import default_pair

    shipped = open_recorded(name).models
    assert [as_typed(shipped.target, "target"), as_typed(shipped.draft, "draft")] == ["default", "default"]
    assert shipped.draft.revision == default_pair.assets_hash(default_pair.draft_assets())


# ---------------------------------------------------------------------------------------------- experiments


def test_a_comparison_does_not_go_on_with_other_weights(folders, tmp_path: Path) -> None:
    from specviz.compare.jobs import Job, open_folder, run_here, write_unit
    from specviz.compare.named import Named
    from specviz.compare.prompts import Prompt
    from specviz.compare.read import models_of
    from specviz.compare.spec import Comparison
    from specviz.compare.tables import merge
    from specviz.models.pair_spec import ModelChoice
    from specviz.trace.schema import Choice

    there = tmp_path / "models"
    shutil.copytree(Path(folders["a"][0]).parent, there)
    tree = Named(label="2", choice=Choice(name="k_config", options={"tree": "2"}))
    rules = tuple(Named(label=name, choice=Choice(name=name)) for name in ("rejection", "eta"))
    comparison = Comparison(trees=(tree,), verifiers=rules, temperatures=(1.0,), driver="rejection", free=0)
    comparison = comparison.model_copy(update={"max_new_tokens": 3, "chat": False})
    prompts = tuple(Prompt(f"p{i}", "plain", "the sea") for i in range(2))
    job = Job(comparison, prompts, ModelChoice(str(there / "mine"), str(there / "mine-draft"), device="cpu"))
    out = tmp_path / "out"
    open_folder(out, job)
    for index, packed in run_here(job, [0]):
        write_unit(out, index, packed)
    shutil.rmtree(there)
    shutil.copytree(Path(folders["b"][0]).parent, there)
    (other,) = run_here(job, [1])
    with pytest.raises(SettingsError, match=r"other models \(target: weights"):
        write_unit(out, *other)
    shutil.rmtree(there)
    shutil.copytree(Path(folders["a"][0]).parent, there)
    for index, packed in run_here(job, [1]):
        write_unit(out, index, packed)
    merge(out, job)
    recorded = models_of(out)
    assert recorded is not None
    assert recorded.target.weights == load_pair(*folders["a"], device="cpu").models.target.weights


def test_rows_are_not_made_again_by_other_weights(loaded) -> None:
    from specviz.compare.replay import ReplayableRun
    from specviz.models.pair_spec import ModelChoice

    recipe = ReplayableRun(ModelChoice(), make_settings(), "the sea", {}, {}, recorded=loaded["a"].models)
    recipe.refuse_others(loaded["a"].models)
    with pytest.raises(SettingsError, match="other weights"):
        recipe.refuse_others(loaded["b"].models)
    ReplayableRun(ModelChoice(), make_settings(), "the sea", {}, {}).refuse_others(make_pair().models)


# ------------------------------------------------------------- equal weights, and what the hash does not see


@pytest.fixture(scope="module")
def changed(folders, tmp_path_factory: pytest.TempPathFactory):
    """Loads the first pair with other fields in its target's config, or after a change of its target's tensors."""

    def load(fields: dict[str, object], single: bool = False) -> Pair:
        home = tmp_path_factory.mktemp("changed")
        target, draft = (shutil.copytree(folder, home / Path(folder).name) for folder in folders["a"])
        config = target / "config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | fields))
        if single:
            tensors = load_file(target / "model.safetensors")
            tensors["model.embed_tokens.weight"][:, 7][tiny.make_tokenizer()("the sea")["input_ids"][0]] += 3.0
            save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
        return load_pair(str(target), str(draft), device="cpu")

    return load


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 100.0}}, "rope_parameters.rope_theta 10000.0, now"),
        ({"hidden_act": "relu"}, "hidden_act"),
        ({"num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 4}, "head_dim 8, now 4"),
    ],
)
def test_equal_weights_under_another_config_are_another_model(changed, trace: Trace, fields, said: str) -> None:
    other = changed(fields)
    assert same_weights(other.models.target, trace.models.target)
    for use in (
        lambda: Session.resume(other, trace, steps=1),
        lambda: through_models(other, trace, 0, Question(verifier=Choice(name="naive"))),
    ):
        with pytest.raises(SettingsError, match=said):
            use()
    session = Session(other, trace.settings, trace.prompt)
    list(session.run(3))
    parting = compare(trace, session.trace).parting
    assert parting is None or parting.meaning.kind == "not comparable"


def test_fields_that_change_nothing_or_are_new_are_no_difference(changed, trace: Trace) -> None:
    again = changed(
        {"initializer_range": 0.5, "use_cache": False, "transformers_version": "9", "attention_dropout": 0.1}
    )
    assert first_difference(again.models.target, trace.models.target) is None
    assert first_difference(info(weights=HASH, config={"new": "1"}), info(weights=HASH, config={})) is None


def test_a_single_weight_that_the_hash_does_not_see_shows_in_the_rows(changed, trace: Trace) -> None:
    other = changed({}, single=True)
    assert same_weights(other.models.target, trace.models.target), "a sample does not see it"
    question = Question(verifier=Choice(name="naive"))
    found = [through_models(other, trace, at, question) for at in range(len(trace.steps))]
    assert any(one.difference > EXACT_ROUNDING for one in found)
    for one in found:
        assert (one.caveat is not None and "single weights" in one.caveat) == (one.difference > EXACT_ROUNDING)
