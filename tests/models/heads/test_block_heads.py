"""Medusa, P-EAGLE, DFlash and DSpark: the rows they draft, the layouts they are read from, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from specviz.errors import ModelError, SettingsError
from specviz.models.heads import eagle3
from specviz.models.heads.dspark import DSparkHead
from specviz.models.heads.head import BlockHead
from specviz.models.heads.tensors import read_shapes
from specviz.models.kv_cache import SlotCache
from tests import block_heads
from tests.block_scenario import CASES, FORMATS, REFERENCES, ours, play, target, text
from tests.head_files import Files
from tests.head_files import eagle3 as eagle3_files

WITHIN = 1e-5
"""Of the largest of the numbers that are compared."""


def build(format: str, files: Files, **by_hand: Any) -> BlockHead:
    config, tensors = files
    head = FORMATS[format].build(config, tensors, target().config, by_hand)
    assert isinstance(head, BlockHead)
    head.bind(target())
    return head


def rows(head: BlockHead) -> torch.Tensor:
    return torch.stack(play(head)["logits"])


def assert_within(here: torch.Tensor, there: torch.Tensor) -> None:
    assert here.shape == there.shape
    assert float((here - there).abs().max()) <= WITHIN * float(there.abs().max())


@pytest.fixture(scope="module")
def references() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(REFERENCES.read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("name", CASES)
def test_a_head_gives_the_numbers_of_an_independent_implementation(name: str, references: dict[str, Any]) -> None:
    found = play(ours(name))
    assert_within(torch.stack(found["logits"]), torch.tensor(references[name]["logits"]))
    assert bool(found["confidence"]) == bool(references[name]["confidence"])
    if found["confidence"]:
        assert_within(torch.stack(found["confidence"]), torch.tensor(references[name]["confidence"]).squeeze(-1))


def test_each_format_knows_its_own_files_and_no_others() -> None:
    config = target().config
    files = [(case.format, case.files(config)) for case in CASES.values()]
    files += [("medusa", block_heads.medusa(config, layout=layout)) for layout in ("whole", "vllm")]
    files += [("eagle3", eagle3_files(config, layout=layout)) for layout in ("speculators", "safeailab")]
    for format, (config, tensors) in files:
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        fits = [name for name, found in FORMATS.items() if found.fits(config, shapes)]
        fits += ["eagle3"] if eagle3.FORMAT.fits(config, shapes) else []
        assert fits == [format]


@pytest.mark.parametrize("own_output", [True, False])
@pytest.mark.parametrize("blocks", [1, 2])
def test_all_layouts_of_medusa_are_the_same_heads(own_output: bool, blocks: int) -> None:
    layouts = [
        rows(build("medusa", block_heads.medusa(target().config, layout=layout, blocks=blocks, own_output=own_output)))
        for layout in ("medusa", "whole", "vllm")
    ]
    assert torch.equal(layouts[0], layouts[1])
    assert torch.equal(layouts[0], layouts[2])


def test_medusa_on_a_part_of_the_vocabulary_says_which_tokens_its_columns_are() -> None:
    config, tensors = block_heads.medusa(target().config, layout="vllm")
    ids = torch.tensor([7, 2, 20, 11])
    cut = {name: tensor[ids] if name.startswith("lm_heads") else tensor for name, tensor in tensors.items()}
    head = build("medusa", (config, cut | {"token_map": ids}))
    assert head.token_ids is not None
    assert head.token_ids.tolist() == ids.tolist()
    assert head.info.vocabulary == 4
    assert torch.equal(rows(head), rows(build("medusa", (config, tensors)))[..., ids])


@pytest.mark.parametrize("name", CASES)
def test_fewer_rows_by_hand_are_the_first_rows(name: str) -> None:
    case = CASES[name]
    head = build(case.format, case.files(target().config), depth=2)
    assert head.depth == 2
    assert head.info.by_hand == ("depth",)
    full = rows(ours(name))
    assert full.shape[1] > 2
    assert_within(rows(head), full[:, :2])


def test_layers_are_read_as_each_layout_counts_them_unless_set_by_hand() -> None:
    config = target().config
    for layout in ("zlab", "deepspec", "speculators"):
        files = block_heads.dflash(config, layout=layout, reads=(1, 3, 5))
        assert build("dflash", files).info.reads == (1, 3, 5)
        assert build("dflash", files, reads="0,2,6").info.reads == (0, 2, 6)
    made, tensors = block_heads.dflash(config, layout="deepspec", reads=(1, 3, 5))
    assert build("dflash", (made | {"target_layer_ids": [-1, 2, 4]}, tensors)).info.reads == (0, 3, 5)


def test_attention_inside_a_block_is_causal_for_p_eagle_only() -> None:
    assert ours("p_eagle").causal
    assert not ours("dflash of z-lab").causal
    # The first row of a block that is not causal depends on how many places there are behind it.
    config, tensors = CASES["dflash of z-lab"].files(target().config)
    wider = build("dflash", (config | {"block_size": 6}, tensors))
    assert not torch.allclose(rows(wider)[:, 0], rows(ours("dflash of z-lab"))[:, 0], atol=1e-3)


@torch.no_grad()
def test_the_row_of_a_node_of_dspark_depends_on_its_token_by_the_bias_alone() -> None:
    head = ours("dspark of speculators, gated")
    assert isinstance(head, DSparkHead)
    assert head.reads_tokens
    own = torch.randn(head.depth, 32, generator=torch.Generator().manual_seed(0))
    tokens = torch.tensor([3, 9, 3])
    found = head.level_logits(own, 1, tokens)
    bias = head.bias(own[1:2].expand(3, -1), tokens)
    assert bias is not None
    assert_within(found - bias, head.logits(own[1:2]).expand(3, -1))
    assert torch.equal(found[0], found[2])
    assert float(bias[0].sub(bias[1]).abs().max()) > 0.1
    assert ours("dflash of z-lab").bias(own, tokens) is None


def test_places_that_were_masked_and_dropped_leave_no_trace_in_the_next_block() -> None:
    head = ours("dflash of z-lab")
    after_another, alone = play(head)["logits"][1], play(head, roots=(8,))["logits"][0]
    assert_within(after_another, alone)


def change(**values: Any) -> Callable[[Files], Files]:
    return lambda files: (files[0] | values, files[1])


def without(name: str) -> Callable[[Files], Files]:
    return lambda files: (files[0], {key: tensor for key, tensor in files[1].items() if key != name})


def replace(name: str, tensor: torch.Tensor) -> Callable[[Files], Files]:
    return lambda files: (files[0], files[1] | {name: tensor})


def layer(**values: Any) -> Callable[[Files], Files]:
    return lambda files: (
        files[0] | {"transformer_layer_config": files[0]["transformer_layer_config"] | values},
        files[1],
    )


NAN = torch.full((32,), float("nan"))
DFLASH, SPECULATORS = "dflash of z-lab", "dflash of speculators, a part of the vocabulary"
SPARK = "dspark of DeepSpec"
REFUSED: list[tuple[str, Callable[[Files], Files], str]] = [
    (
        "medusa",
        replace("0.0.linear.weight", torch.zeros(64, 64)),
        r"another hidden size \(64, and this target has 32\)",
    ),
    ("medusa", replace("0.1.weight", torch.zeros(30, 32)), "30 columns, this target a vocabulary of 24"),
    ("medusa", replace("1.1.weight", torch.zeros(25, 32)), r"lm_heads.1.weight is \[25, 32\]"),
    ("medusa", without("1.0.linear.weight"), "no tensor blocks.1.0.weight"),
    ("medusa", replace("0.0.linear.bias", NAN), "NaN"),
    ("medusa", replace("7.0.linear.weight", torch.zeros(32, 32)), "lack blocks.3"),
    ("p_eagle", without("mask_hidden"), "no tensor mask_hidden"),
    ("p_eagle", replace("mask_hidden", torch.zeros(1, 1, 32)), "96 finite numbers are needed"),
    ("p_eagle", change(mask_token_id=24), "mask_token_id = 24"),
    ("p_eagle", change(mask_token_id=None), "mask_token_id = None"),
    ("p_eagle", layer(vocab_size=30), r"another vocabulary \(30, and this target has 24\)"),
    (DFLASH, change(hidden_size=1 << 22), "numbers|hidden size"),
    (DFLASH, change(num_attention_heads=1 << 40), "num_attention_heads"),
    (DFLASH, change(intermediate_size=1 << 22), r"mlp\.\w+_proj.weight is"),
    (DFLASH, change(block_size=1), "drafts nothing"),
    (DFLASH, change(block_size=10**9), "block_size = 1000000000"),
    (DFLASH, change(dflash_config={"target_layer_ids": [0, 2, 6], "mask_token_id": 5}), "layer 6 of its target"),
    (DFLASH, change(dflash_config={"target_layer_ids": [0, 2], "mask_token_id": 5}), "width of the 2 hidden states"),
    (DFLASH, change(dflash_config={"target_layer_ids": [0] * 10**6, "mask_token_id": 5}), "does not say which layers"),
    (DFLASH, change(dflash_config={"target_layer_ids": [0, 2, 4]}), "mask_token_id = None"),
    (DFLASH, change(layer_types=["sliding_attention"] * 2), "layer_types"),
    (DFLASH, change(rope_scaling={"rope_type": "dynamic", "factor": 2.0}), "rope_type"),
    (DFLASH, without("hidden_norm.weight"), "no tensor hidden_norm.weight"),
    (DFLASH, replace("norm.weight", NAN), "NaN"),
    (DFLASH, replace("stranger.weight", torch.zeros(2)), "stranger.weight"),
    (DFLASH, replace("norm.weight", torch.zeros(32, dtype=torch.int64)), "int64"),
    (DFLASH, replace("fc.weight", torch.tensor(1.0)), "a single number"),
    ("medusa", replace("0.1.weight", torch.tensor(1.0)), "a single number"),
    (SPARK, replace("lm_head.weight", torch.tensor(1.0)), "a single number"),
    (SPECULATORS, without("d2t"), "9 columns, this target a vocabulary of 24"),
    (SPECULATORS, replace("d2t", torch.full((9,), 24)), "names the token 24"),
    (SPECULATORS, replace("d2t", -torch.arange(9)), "names a token twice"),
    (SPECULATORS, replace("d2t", torch.zeros(9)), "not one whole number"),
    (SPECULATORS, replace("t2d", torch.ones(24, dtype=torch.bool)), "name different tokens"),
    (SPECULATORS, change(aux_hidden_state_layer_ids=None), "does not say which layers"),
    (SPECULATORS, change(aux_hidden_state_layer_ids=[1, 3, "5"]), "layer '5'"),
    (SPARK, change(markov_head_type="rnn"), "depend on the whole path"),
    (SPARK, change(markov_rank=1 << 20), r"markov_w1.weight is \[24, 8\]"),
    (SPARK, change(markov_rank=0), "is to read the markov head"),
    (SPARK, replace("embed_tokens.weight", torch.zeros(30, 32)), r"another vocabulary \(30, and this target has 24\)"),
]


@pytest.mark.parametrize(("name", "changed", "sentence"), REFUSED, ids=[f"{row[0]}: {row[2]}" for row in REFUSED])
def test_files_that_do_not_fit_are_refused_in_a_sentence(
    name: str, changed: Callable[[Files], Files], sentence: str
) -> None:
    case = CASES[name]
    with pytest.raises(ModelError, match=sentence) as refused:
        build(case.format, changed(case.files(target().config)))
    assert "\n" not in str(refused.value)
    assert str(refused.value).endswith(".")


@pytest.mark.parametrize(
    ("by_hand", "sentence"),
    [
        ({"depth": 9}, "depth of the draft head is 9"),
        ({"reads": "1,3,7"}, "1,3,7"),
        ({"reads": "1,3"}, "reads 3 hidden states of its target, and 2 are named"),
        ({"norm_output": False}, "no option"),
        ({"mask_token_id": -1}, "mask_token_id"),
    ],
)
def test_what_cannot_be_set_by_hand_is_said(by_hand: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        build("dflash", CASES[DFLASH].files(target().config), **by_hand)


def test_a_pickle_of_medusa_is_read_by_the_reader_for_weights_only(tmp_path: Path) -> None:
    _, tensors = block_heads.medusa(target().config)
    torch.save(tensors, tmp_path / "medusa_lm_head.pt")
    assert read_shapes(tmp_path) == {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    torch.save({"0.0.linear.weight": print}, tmp_path / "medusa_lm_head.pt")
    with pytest.raises(ModelError, match="would be run as a program"):
        read_shapes(tmp_path)


def _by_hand(**options: Any) -> Callable[[str, pytest.MonkeyPatch], BlockHead]:
    return lambda name, _: build(CASES[name].format, CASES[name].files(target().config), **options)


def _changed(
    changed: Callable[[BlockHead, pytest.MonkeyPatch], None],
) -> Callable[[str, pytest.MonkeyPatch], BlockHead]:
    def make(name: str, monkeypatch: pytest.MonkeyPatch) -> BlockHead:
        head = ours(name)
        changed(head, monkeypatch)
        return head

    return make


def _unshifted(head: BlockHead, monkeypatch: pytest.MonkeyPatch) -> None:
    remember = head.remember
    monkeypatch.setattr(
        head, "remember", lambda carry, ids, *rest: remember(carry, torch.cat([text()[:1], ids[:-1]]), *rest)
    )


def _kept(_: BlockHead, monkeypatch: pytest.MonkeyPatch) -> None:
    """The block's own slots stand for the three tokens from the first root to the second."""
    monkeypatch.setattr(SlotCache, "roll_back", lambda cache: cache._commit_up_to(cache.num_committed + 3))


def _positions(head: BlockHead, monkeypatch: pytest.MonkeyPatch) -> None:
    block = head.block
    monkeypatch.setattr(head, "block", lambda carry, ids, at, *rest: block(carry, ids, at + 1, *rest))


def _causal(head: BlockHead, _: pytest.MonkeyPatch) -> None:
    head.causal = not head.causal


def _foreign_embeddings(name: str, _: pytest.MonkeyPatch) -> BlockHead:
    config, tensors = CASES[name].files(target().config)
    return build(
        CASES[name].format, (config, {key: one for key, one in tensors.items() if key != "embed_tokens.weight"})
    )


FAULTS: dict[str, tuple[tuple[str, ...], Callable[[str, pytest.MonkeyPatch], BlockHead]]] = {
    "layer index off by one": (("p_eagle", "dflash of z-lab", "dspark of speculators"), _by_hand(reads="0,2,4")),
    "norm flipped": (("p_eagle",), _by_hand(norm_before_residual=True)),
    "rope of another base": (("p_eagle", "dflash of DeepSpec"), _by_hand(rope_theta=1e6)),
    "another mask token": (("p_eagle", "dflash of speculators"), _by_hand(mask_token_id=6)),
    "rows of another convention": (("dspark of DeepSpec",), _by_hand(sample_from_anchor=False, depth=3)),
    "no shift between state and token": (("p_eagle",), _changed(_unshifted)),
    "drafted slots kept": (("p_eagle", "dflash of z-lab", "dspark of DeepSpec"), _changed(_kept)),
    "positions of the block off by one": (("p_eagle", "dflash of z-lab"), _changed(_positions)),
    "the block's mask of the other kind": (("p_eagle", "dflash of speculators"), _changed(_causal)),
    "embeddings not loaded": (("p_eagle", "dspark of DeepSpec, gated"), _foreign_embeddings),
}


@pytest.mark.parametrize(("fault", "name"), [(fault, name) for fault, (names, _) in FAULTS.items() for name in names])
def test_a_planted_fault_gives_other_numbers(
    fault: str, name: str, references: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    found, right = rows(FAULTS[fault][1](name, monkeypatch)), torch.tensor(references[name]["logits"])
    difference = (found - right[:, : found.shape[1]]).abs().amax((-1, -2))
    assert float(difference[1]) > 1000 * WITHIN * float(right.abs().max())
