"""Step heads: their logits are those of independent implementations, and files of strangers are refused in a sentence.

The numbers were written by ``python -m tests.tools.head_references``; tests/oracles runs the implementations.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from specviz.errors import ModelError, SettingsError
from specviz.models.heads import eagle1, eagle3, mtp
from specviz.models.heads.tensors import read_shapes, read_tensors
from tests import head_files, tiny
from tests.head_cases import CASES, FORMATS, LAYERS, VOCABULARY, Case, files, given, glm_config, logits, ours, reference
from tests.step_scenario import Inputs, Ours, eagle2_trees, furthest, play

CLOSE = 1e-5
"""Largest difference of logits over their scale."""
TARGET = tiny.make_config("llama", layers=LAYERS, vocab=VOCABULARY)
BY_NAME = {case.name: case for case in CASES}
Change = Callable[[dict[str, Any], dict[str, torch.Tensor]], object]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_logits_are_those_of_an_independent_implementation(case: Case) -> None:
    theirs = torch.tensor(reference(case)["logits"])
    mine = logits(case)
    assert mine.shape == theirs.shape
    assert furthest(mine, theirs) < CLOSE


@pytest.mark.parametrize("case", [case for case in CASES if "cnets" in case.oracle], ids=lambda case: case.name)
def test_eagle2_grows_the_nodes_that_its_own_code_grew(case: Case) -> None:
    assert eagle2_trees(ours(case), given(case), VOCABULARY) == reference(case)["trees"]


def test_every_option_changes_the_logits() -> None:
    """What the numbers above can miss only if it did nothing."""
    case = BY_NAME["speculators_3_1"]
    config, tensors = files(case)
    right = torch.tensor(reference(case)["logits"])
    wrong: list[dict[str, Any]] = [
        {"norm_output": False},
        {"fc_norm": False},
        {"norm_before_residual": True},
        {"rope_theta": 500.0},
        {"rope_type": "linear", "rope_factor": 4.0},
    ]
    for by_hand in wrong:
        head = eagle3.FORMAT.build(config, tensors, TARGET, by_hand)
        head.bind(tiny.make_model("llama", layers=LAYERS, vocab=VOCABULARY, seed=5))
        assert furthest(play(Ours(head), given(case)), right) > 100 * CLOSE, by_hand
        assert head.info.by_hand == tuple(sorted(by_hand))
        assert {name: head.info.options[name] for name in by_hand} == by_hand


def test_positions_may_count_from_anywhere_and_states_may_not() -> None:
    """RoPE knows differences only, so both conventions agree. States one token off give other logits."""
    case = BY_NAME["speculators"]
    config, tensors = files(case)
    right = torch.tensor(reference(case)["logits"])
    moved = eagle3.FORMAT.build(config, tensors, TARGET, {"position_offset": 7})
    assert furthest(play(Ours(moved), given(case)), right) < CLOSE
    was = given(case)
    shifted = Inputs(was.states.roll(1, 0), was.tokens, was.nodes)
    assert furthest(play(Ours(ours(case)), shifted), right) > 0.1


@pytest.mark.parametrize(
    ("layout", "reads", "expected"),
    [
        ("speculators", None, (2, 3, 3)),
        ("speculators", (1, 4, 6), (1, 4, 6)),
        ("specforge", None, (2, 3, 3)),
        ("specforge", (2, 4, 6), (2, 4, 6)),
        ("angelslim", (1, 4, 6), (1, 4, 6)),
        ("safeailab", None, (2, 3, 3)),
        ("deepspec", (1, 2, 4, 5, 6), (1, 2, 4, 5, 6)),
    ],
)
def test_layers_are_counted_as_each_layout_counts_them(
    layout: str, reads: tuple[int, ...] | None, expected: tuple[int, ...]
) -> None:
    """SpecForge, AngelSlim and DeepSpec write k for the output of layer k, which transformers calls k + 1; others
    of the first one's layout write what transformers does, and do not begin with 1."""
    config, tensors = head_files.eagle3(TARGET, layout=layout, reads=reads)
    if layout == "specforge" and reads:
        assert config["eagle_config"]["eagle_aux_hidden_state_layer_ids"] == [1, 3, 5]
    if layout == "angelslim" and reads:
        assert config["aux_hidden_states_layer_ids"] == [0, 3, 5]
    info = eagle3.FORMAT.build(config, tensors, TARGET, {}).info
    assert info.reads == expected
    assert info.before_norm
    other = (0, 1, 6, 2, 3)[: len(expected)]
    assert eagle3.FORMAT.build(config, tensors, TARGET, {"reads": ", ".join(map(str, other))}).info.reads == other
    if layout != "specforge":
        return
    for ids in ([2, 4, 6], [1, 4, 6]):  # 6 is no layer that is counted from 0
        config = {**config, "eagle_aux_hidden_state_layer_ids": None, "aux_hidden_states_layer_ids": None}
        config["eagle_config"] = {"eagle_aux_hidden_state_layer_ids": ids}
        assert eagle3.FORMAT.build(config, tensors, TARGET, {}).info.reads == tuple(ids)


def test_specforges_layout_of_eagle_3_1_gives_what_that_of_speculators_gives() -> None:
    options: dict[str, Any] = {"seed": 3, "columns": 16, "reads": (1, 2, 4), "fc_norm": True, "norm_output": True}
    inputs = given(BY_NAME["speculators"])
    found = [
        play(Ours(eagle3.FORMAT.build(*head_files.eagle3(TARGET, layout=layout, **options), TARGET, {})), inputs)
        for layout in ("speculators", "specforge")
    ]
    assert furthest(*found) < CLOSE


def test_each_column_is_the_token_that_its_offset_says() -> None:
    config, tensors = head_files.eagle3(TARGET, columns=5)
    tensors["d2t"] = torch.tensor([3, 3, 6, 6, 19])
    tensors["t2d"] = torch.zeros(VOCABULARY, dtype=torch.bool).index_fill_(0, torch.tensor([3, 4, 8, 9, 23]), True)
    head = eagle3.FORMAT.build(config, tensors, TARGET, {})
    assert head.token_ids is not None
    assert head.token_ids.tolist() == [3, 4, 8, 9, 23]
    assert head.info.vocabulary == 5


def test_a_head_reads_the_targets_embeddings_where_it_has_none_and_does_not_own_them() -> None:
    target = tiny.make_model("llama", layers=LAYERS, vocab=VOCABULARY, seed=5)
    config, tensors = head_files.eagle3(TARGET, embeddings=False)
    head = eagle3.FORMAT.build(config, tensors, TARGET, {})
    head.bind(target)
    assert head.inputs == VOCABULARY
    assert not any("embed" in name for name, _ in head.named_parameters())
    tensors["embed_tokens.weight"] = target.get_input_embeddings().weight
    own = eagle3.FORMAT.build(config, tensors, TARGET, {})
    inputs = given(BY_NAME["speculators"])
    assert torch.equal(play(Ours(head), inputs), play(Ours(own), inputs))


def _set(key: str, value: Any, inside: str | None = None) -> Change:
    def change(config: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        (config[inside] if inside else config)[key] = value

    return change


def _tensor(name: str, new: Callable[[torch.Tensor], torch.Tensor]) -> Change:
    return lambda config, tensors: tensors.update({name: new(tensors[name])})


LAYER = "transformer_layer_config"
BROKEN: list[tuple[str, Change]] = [
    ("another vocabulary", _set("vocab_size", VOCABULARY + 1, LAYER)),
    ("of another hidden size", _set("target_hidden_size", 64)),
    ("2 layers of a target of 6 are named", _set("eagle_aux_hidden_state_layer_ids", [1, 2])),
    ("whole numbers from 0 to 6", _set("eagle_aux_hidden_state_layer_ids", [1, 2, 7])),
    ("whole number", _set("hidden_size", 1 << 40, LAYER)),
    ("where its config makes it|attention heads", _set("hidden_size", 1 << 21, LAYER)),
    ("where its config makes it", _set("intermediate_size", 1 << 22, LAYER)),
    ("attention heads", _set("num_attention_heads", 512, LAYER)),
    ("attention heads|whole number", _set("head_dim", 1 << 11, LAYER)),
    ("whole number", _set("num_key_value_heads", True, LAYER)),
    ("number above", _set("rms_norm_eps", float("nan"), LAYER)),
    ("one of silu", _set("hidden_act", "os.system", LAYER)),
    ("one of default", _set("rope_scaling", {"rope_type": "dynamic", "factor": 2.0}, LAYER)),
    ("number above", _set("rope_theta", -1.0, LAYER)),
    ("whole context", _set("layer_types", ["sliding_attention"], LAYER)),
    ("has no tensors for it", _set("fc_norm", True)),
    ("true or false", _set("norm_output", "yes")),
    ("d2t", lambda config, tensors: tensors.pop("d2t")),
    ("names the token", _tensor("d2t", lambda d2t: d2t + VOCABULARY)),
    ("names the token", _tensor("d2t", lambda d2t: torch.full_like(d2t, 2**63 - 1))),
    ("a token twice", _tensor("d2t", lambda d2t: -torch.arange(len(d2t)))),
    ("different tokens", _tensor("t2d", lambda t2d: ~t2d)),
    ("not one whole number", _tensor("d2t", lambda d2t: d2t.float())),
    ("NaN or infinite", _tensor("fc.weight", lambda weight: weight.index_fill(0, torch.tensor([3]), float("nan")))),
    ("int8", _tensor("norm.weight", lambda weight: weight.to(torch.int8))),
    ("no tensor norm.weight", lambda config, tensors: tensors.pop("norm.weight")),
    ("no lm_head.weight", lambda config, tensors: tensors.pop("lm_head.weight")),
    ("does not know", lambda config, tensors: tensors.update({"layers.0.self_attn.kv_a_proj.weight": torch.ones(2)})),
    (
        "lacks some of its layers",
        lambda config, tensors: tensors.update({"layers.2.mlp.up_proj.weight": torch.ones(2)}),
    ),
    ("where its config makes it", _tensor("layers.0.mlp.up_proj.weight", lambda weight: weight.T.contiguous())),
]


@pytest.mark.parametrize(("words", "change"), BROKEN, ids=[str(number) for number in range(len(BROKEN))])
def test_a_strangers_files_are_refused_in_a_sentence(words: str, change: Change) -> None:
    """Sizes that no memory could hold among them: nothing is made of a config that the tensors do not confirm."""
    config, tensors = head_files.eagle3(TARGET, columns=16)
    change(config, tensors)
    with pytest.raises(ModelError, match=words) as caught:
        eagle3.FORMAT.build(config, tensors, TARGET, {})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("by_hand", "words"),
    [
        ({"norm_outputs": True}, "no option 'norm_outputs'"),
        ({"norm_output": 1}, "true or false"),
        ({"rope_theta": "big"}, "number above"),
        ({"reads": "1,2"}, "reads 3 hidden states"),
        ({"reads": "1,2,7"}, "from 0 to 6"),
        ({"reads": "1,,2"}, "from 0 to 6"),
        ({"position_offset": -1}, "whole number"),
    ],
)
def test_what_is_set_by_hand_is_checked(by_hand: dict[str, Any], words: str) -> None:
    config, tensors = head_files.eagle3(TARGET)
    with pytest.raises(SettingsError, match=words):
        eagle3.FORMAT.build(config, tensors, TARGET, by_hand)


def test_a_head_for_another_target_is_refused() -> None:
    wide = tiny.make_config("llama", layers=LAYERS, vocab=VOCABULARY, hidden_size=64)
    shallow = tiny.make_config("llama", layers=4, vocab=VOCABULARY)
    for kind, name in ((head_files.eagle3, "hidden size"), (head_files.eagle1, "hidden size")):
        config, tensors = kind(TARGET)
        (fitting,) = [one for one in FORMATS if one.fits(config, {key: tuple(t.shape) for key, t in tensors.items()})]
        with pytest.raises(ModelError, match=name):
            fitting.build(config, tensors, wide, {})
        with pytest.raises(ModelError, match="vocabulary"):
            fitting.build(config, tensors, tiny.make_config("llama", layers=LAYERS, vocab=30), {})
    config, tensors = head_files.eagle3(TARGET)
    with pytest.raises(ModelError, match="no layers of a target of 4 are named"):
        eagle3.FORMAT.build(config, tensors, shallow, {})


def test_eagle_1_as_speculators_converts_it_is_refused() -> None:
    config = {"speculators_model_type": "eagle"}
    assert eagle1.FORMAT.fits(config, {})
    with pytest.raises(ModelError, match="speculators has converted"):
        eagle1.FORMAT.build(config, {}, TARGET, {})


def test_an_mtp_layer_belongs_to_its_target() -> None:
    target = glm_config()
    config, tensors = head_files.mtp(target)
    with pytest.raises(ModelError, match="another kind of target"):
        mtp.FORMAT.build(config, tensors, TARGET, {})
    with pytest.raises(ModelError, match="specviz runs those with one"):
        mtp.FORMAT.build({**config, "num_nextn_predict_layers": 2}, tensors, target, {})
    lost = {name: tensor for name, tensor in tensors.items() if "hnorm" not in name}
    with pytest.raises(ModelError, match="hnorm"):
        mtp.FORMAT.build(config, lost, target, {})
    name = next(name for name in tensors if "eh_proj" in name)
    with pytest.raises(ModelError, match=r"shape|cannot run"):
        mtp.FORMAT.build(config, {**tensors, name: torch.ones(3, 3)}, target, {})
    with pytest.raises(ModelError, match="NaN"):
        mtp.FORMAT.build(config, {**tensors, name: tensors[name] * float("nan")}, target, {})


def test_a_saved_head_is_read_from_its_folder(tmp_path: Path) -> None:
    config, tensors = head_files.eagle3(TARGET, columns=16)
    folder = head_files.save_head(tmp_path / "head", (config, tensors))
    assert read_shapes(folder) == {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    read = read_tensors(folder)
    assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items())
    again = eagle3.plain_state_dict(eagle3.FORMAT.build(config, read, TARGET, {}))
    assert again.keys() == tensors.keys() - {"d2t", "t2d"}
    assert all(torch.equal(again[name], tensors[name]) for name in again)
