"""The slot cache and the tree forward, by themselves."""

from __future__ import annotations

import pytest
import torch

from specviz.errors import NumericsError
from specviz.fingerprints import Fingerprints, by_device
from specviz.models.cached_model import tree_mask
from specviz.models.kv_cache import SlotCache
from specviz.models.language_model import LanguageModel
from tests import tiny
from tests.pairs import info_of, make_pair

PREFIX = [9, 30, 71, 12, 55]
TOKENS = [40, 41, 42, 43, 44, 45, 46, 47]
PARENTS = [-1, 0, 0, 1, 1, 2, 4, 5]
"""A heterogeneous tree: two children, then two and one, then one each."""


def path_to(node: int) -> list[int]:
    path = []
    while node >= 0:
        path.append(node)
        node = PARENTS[node]
    return path[::-1]


def plain_logits(model: LanguageModel, tokens: list[int]) -> torch.Tensor:
    """All rows [len(tokens), V] of a forward without specviz' cache, mask and positions."""
    with torch.inference_mode():
        return model.model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0].float()


def assert_close(a: torch.Tensor, b: torch.Tensor) -> None:
    assert float((a - b).abs().max() / b.abs().max()) < 1e-5


@pytest.fixture(params=tiny.FAMILIES)
def model(request: pytest.FixtureRequest) -> LanguageModel:
    return make_pair(request.param).target


def scored(model: LanguageModel, tokens: list[int], parents: list[int]) -> tuple[SlotCache, torch.Tensor]:
    cache = model.new_cache(16)
    with torch.inference_mode():
        model.prefill(cache, PREFIX)
        return cache, model.forward(cache, tokens, parents, len(tokens)).logits


def test_every_node_sees_its_path_and_nothing_else(model: LanguageModel) -> None:
    _, logits = scored(model, TOKENS, PARENTS)
    for node in range(len(TOKENS)):
        path = [*PREFIX, *(TOKENS[n] for n in path_to(node))]
        assert_close(logits[node], plain_logits(model, path)[-1])


def test_sibling_order_does_not_matter(model: LanguageModel) -> None:
    _, one = scored(model, [40, 41, 42], [-1, 0, 0])
    _, other = scored(model, [40, 42, 41], [-1, 0, 0])
    assert_close(one[1], other[2])
    assert_close(one[2], other[1])


def test_level_by_level_equals_all_at_once(model: LanguageModel) -> None:
    _, together = scored(model, TOKENS, PARENTS)
    cache = model.new_cache(16)
    with torch.inference_mode():
        model.prefill(cache, PREFIX)
        levels = [[0], [1, 2], [3, 4, 5], [6, 7]]
        for level in levels:
            logits = model.forward(cache, [TOKENS[n] for n in level], [PARENTS[n] for n in level], len(level)).logits
            assert_close(logits, together[level])


def test_keep_gathers_a_path_that_equals_a_recompute(model: LanguageModel) -> None:
    cache, _ = scored(model, TOKENS, PARENTS)
    path = path_to(6)
    compaction = cache.compact(path)
    base = len(PREFIX)
    assert compaction.moves == tuple((base + node, base + i) for i, node in enumerate(path) if node != i)
    assert compaction.dropped == tuple(base + n for n in range(len(TOKENS)) if n not in path)
    fresh = model.new_cache(16)
    text = [*PREFIX, *(TOKENS[n] for n in path)]
    with torch.inference_mode():
        model.prefill(fresh, text)
        next_logits = model.forward(cache, [90], [-1], 1).logits[0]
    assert_close(next_logits, plain_logits(model, [*text, 90])[-1])
    for ours, theirs in zip(cache.slot_layers, fresh.slot_layers, strict=True):
        for name in ("keys", "values"):
            assert_close(getattr(ours, name)[:, :, : len(text)], getattr(theirs, name)[:, :, : len(text)])


def test_a_stale_tail_is_never_read(model: LanguageModel) -> None:
    cache, _ = scored(model, TOKENS, PARENTS)
    cache.compact([0])
    with torch.inference_mode():
        clean = model.forward(cache, [90], [-1], 1).logits
        cache.roll_back()
        for layer in cache.slot_layers:
            layer.keys[:, :, cache.num_committed :] = float("nan")
            layer.values[:, :, cache.num_committed :] = float("nan")
        poisoned = model.forward(cache, [90], [-1], 1).logits
    assert torch.equal(clean, poisoned)


def test_moved_slots_keep_their_fingerprints(model: LanguageModel) -> None:
    cache, _ = scored(model, TOKENS, PARENTS)
    base = len(PREFIX)
    before = cache.fingerprints(base, cache.length)
    assert len(set(before)) == len(TOKENS)
    path = path_to(7)
    cache.compact(path)
    assert cache.fingerprints(base, cache.length) == tuple(before[n] for n in path)


def test_keys_and_values_of_different_sizes_have_fingerprints() -> None:
    cache = SlotCache(2, 8)
    with torch.inference_mode():
        for index, layer in enumerate(cache.slot_layers):
            random = torch.Generator().manual_seed(index)
            sizes = ((1, 2, 3, 6), (1, 2, 3, 4))
            layer.update(*(torch.randn(size, generator=random) for size in sizes))
    before = cache.fingerprints(0, 3)
    assert len(set(before)) == 3
    with torch.inference_mode():
        cache.slot_layers[1].values[0, 1, 2, 3] += 1
    assert [a == b for a, b in zip(cache.fingerprints(0, 3), before, strict=True)] == [True, True, False]


def test_one_changed_bit_changes_the_fingerprint() -> None:
    model = make_pair().target
    cache, _ = scored(model, TOKENS, PARENTS)
    before = cache.fingerprints(0, cache.length)
    layer = cache.slot_layers[-1]
    with torch.inference_mode():
        layer.values.view(torch.int32)[0, -1, 6, -1] ^= 1
    after = cache.fingerprints(0, cache.length)
    assert [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b] == [6]


def test_reserve_moves_the_slots_and_doubles() -> None:
    model = make_pair().target
    cache, _ = scored(model, TOKENS, PARENTS)
    before = cache.fingerprints(0, cache.length)
    assert cache.capacity == 16
    cache.reserve(4)
    assert cache.capacity == 32
    assert cache.fingerprints(0, cache.length) == before


def test_what_was_passed_is_what_is_noted() -> None:
    cache, _ = scored(make_pair().target, TOKENS, PARENTS)
    for node, row in enumerate(cache.written):
        assert row.token == TOKENS[node]
        assert row.position == len(PREFIX) + len(path_to(node)) - 1
        assert row.sees == tuple(path_to(node))
        assert row.sees_before == len(PREFIX)


def test_a_mask_that_leaks_is_noted_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    def leaking(lines, base, total, dtype):
        mask = tree_mask(lines, base, total, dtype)
        mask[0, 0, 2, base + 1] = 0
        return mask

    monkeypatch.setattr("specviz.models.cached_model.tree_mask", leaking)
    cache, _ = scored(make_pair().target, TOKENS, PARENTS)
    assert cache.written[2].sees == (0, 1, 2)


def test_prefill_in_chunks_equals_one_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_pair("qwen3").target
    tokens = [(7 * i) % 200 for i in range(40)]
    monkeypatch.setattr("specviz.models.language_model.PREFILL_CHUNK", 7)
    cache = model.new_cache(8)
    with torch.inference_mode():
        model.prefill(cache, tokens[:-1])
        got = model.forward(cache, tokens[-1:], [-1], 1).logits[0]
    assert_close(got, plain_logits(model, tokens)[-1])


def test_nan_logits_are_refused_in_one_sentence() -> None:
    broken = tiny.make_model("llama", seed=3)
    with torch.no_grad():
        broken.model.norm.weight.fill_(float("nan"))
    model = LanguageModel(broken, info_of(broken, "broken"))
    with pytest.raises(NumericsError, match=r"broken gave NaN logits; .* \(model.norm\)"):
        scored(model, [1], [-1])


def test_layers_on_several_devices_have_the_fingerprints_they_have_on_one(
    model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, _ = scored(model, TOKENS, PARENTS)
    on_one = cache.fingerprints(0, cache.length)
    # There is one device here: pretend that every other layer lies on another, and that tensors move to it.
    monkeypatch.setattr("specviz.fingerprints.by_device", lambda tensors: {"a": [0], "b": [1]})
    move = torch.Tensor.to
    monkeypatch.setattr(torch.Tensor, "to", lambda t, *a, **k: t if a[:1] in (("a",), ("b",)) else move(t, *a, **k))
    cache._fingerprints = Fingerprints()
    assert cache.fingerprints(0, cache.length) == on_one
    assert {frozenset(weights) for weights in cache._fingerprints._weights.values()} == {frozenset({"a", "b"})}


def test_layers_are_grouped_by_the_device_they_are_on() -> None:
    tensors = [torch.zeros(1, device=device) for device in ("cpu", "meta", "cpu", "meta")]
    assert by_device(tensors) == {torch.device("cpu"): [0, 2], torch.device("meta"): [1, 3]}
