"""What the audit reads off: planted noise is seen whatever fills the logits, and whatever stands out in a layer."""

from __future__ import annotations

import math
import re
from unittest.mock import patch

import pytest
import torch
from transformers import AutoModelForCausalLM, PhiConfig

from specviz.engine.audit import ask_audit
from specviz.engine.session import Session
from specviz.figures.audit import audit_columns, audit_faults
from specviz.models.language_model import LanguageModel
from specviz.models.numerics import logit_difference, size_of
from specviz.trace.io import dump_trace, parse_trace
from specviz.trace.metrics import TOLERANCES
from specviz.trace.schema import INFINITE_DIFFERENCE, Audit, Trace
from specviz.trace.summary import summary
from specviz.transfers import Reads
from tests import tiny
from tests.pairs import info_of, make_pair, make_settings, pair_of

FILLERS = {"-inf": -math.inf, "finfo.min": None, "-1e4": -1e4, "-1e9": -1e9, "none": 0.0}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
MATTERS = 100
"""Ids from here on are filled."""


def filled_model(filler: float | None, dtype: torch.dtype) -> torch.nn.Module:
    """A model whose head's bias rules most tokens out, as suppressed or padded vocabularies do."""
    torch.manual_seed(0)
    config = PhiConfig(
        vocab_size=tiny.VOCABULARY,
        hidden_size=tiny.HIDDEN,
        num_hidden_layers=2,
        num_attention_heads=tiny.HEADS,
        intermediate_size=2 * tiny.HIDDEN,
        max_position_embeddings=tiny.POSITIONS,
        pad_token_id=None,
    )
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="sdpa").eval()
    with torch.no_grad():
        model.lm_head.weight.mul_(20)
        model.lm_head.bias[MATTERS:] = torch.finfo(dtype).min if filler is None else filler
    return model.to(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("filler", FILLERS)
def test_noise_on_the_logits_is_seen_whatever_fills_the_others(filler: str, dtype: str) -> None:
    model = filled_model(FILLERS[filler], DTYPES[dtype])
    pair = pair_of(model, model)
    tolerance = TOLERANCES[dtype]
    sound = Session(pair, make_settings("chain", audit=True), "the sea").step()
    plain = LanguageModel.plain_logits

    def noisy(self: LanguageModel, *arguments, **options):
        rows = plain(self, *arguments, **options).clone()
        rows[:, 3] += 3
        return rows

    with patch.object(LanguageModel, "plain_logits", noisy):
        spoiled = Session(pair, make_settings("chain", audit=True), "the sea").step()
    for change in (sound.caches.target, sound.caches.draft):
        assert change.audit.logits <= tolerance
        assert audit_faults(change.audit, tolerance) == []
    for change in (spoiled.caches.target, spoiled.caches.draft):
        assert change.audit.logits > max(2 * tolerance, 0.1)
        assert "next-token logits are off by" in audit_faults(change.audit, tolerance)[0]


def test_a_run_with_minus_infinity_is_audited_to_its_end_and_survives_its_file() -> None:
    target = filled_model(-math.inf, torch.float32)
    session = Session(
        pair_of(target, tiny.perturbed(filled_model(0.0, torch.float32))), make_settings(audit=True), "the sea"
    )
    list(session.run())
    trace = parse_trace(dump_trace(session.trace))
    assert len(trace.output_tokens()) == 24
    assert max(trace.output_tokens()) < MATTERS
    for step in trace.steps:
        assert max(step.caches.target.audit.worst(), step.caches.draft.audit.worst()) < TOLERANCES["float32"]


@pytest.mark.parametrize(
    ("got", "expected", "temperature", "difference"),
    [
        ([4.0, 1.0], [4.0, 2.0], 1.0, 0.25),
        ([4.0, -math.inf, 1.0], [4.0, -math.inf, 2.0], 1.0, 0.25),
        # Both fillers: no matter which.
        ([4.0, -1e4, 1.0], [4.0, -math.inf, 2.0], 1.0, 0.25),
        ([4.0, -1e9, 1.0], [4.0, -3e38, 1.0], 1.0, 0.0),
        # A filler on one side only.
        ([4.0, 1.0, 2.0], [4.0, -math.inf, 2.0], 1.0, math.inf),
        ([4.0, -math.inf, 2.0], [4.0, 1.0, 2.0], 1.0, math.inf),
        ([4.0, 1.0], [4.0, -1e4], 1.0, 10001 / 4),
        # A single entry that is left beside fillers is not measured by itself where it is next to 0.
        ([1e-3, -math.inf], [2e-3, -math.inf], 1.0, 1e-3),
        ([1e-3, 0.0], [2e-3, 0.0], 1.0, 0.5),
        # What has no probability at temperature 1 has some at 100.
        ([4.0, -80.0], [4.0, -90.0], 1.0, 0.0),
        ([4.0, -80.0], [4.0, -90.0], 100.0, 10 / 90),
        # Rows of which no distribution can be made are never alike.
        ([4.0, math.inf], [4.0, math.inf], 1.0, math.inf),
        ([4.0, math.nan], [4.0, math.nan], 1.0, math.inf),
        ([-math.inf, -math.inf], [-math.inf, -math.inf], 1.0, math.inf),
        ([-math.inf, -math.inf], [1.0, 1.0], 1.0, math.inf),
        ([0.0, 0.0], [0.0, 0.0], 1.0, 0.0),
    ],
)
def test_the_difference_of_two_rows_of_logits(got, expected, temperature, difference) -> None:
    found = logit_difference(torch.tensor(got), torch.tensor(expected), temperature)
    assert float(found) == pytest.approx(difference, rel=1e-5)


def test_ordinary_logits_are_measured_by_their_largest_absolute_value() -> None:
    pair = make_pair()
    with torch.inference_mode():
        row = pair.target.plain_logits([5, 6, 7], last=True)[0]
    other = row + 0.01 * torch.randn(row.shape, generator=torch.Generator().manual_seed(0))
    assert float(row.amax() - row.amin()) < 60
    assert float(logit_difference(other, row)) == pytest.approx(float((other - row).abs().max() / row.abs().max()))


# -------------------------------------------------------------------------------------------- keys and values


def audited_with(spoil, outlier=None) -> Audit:
    """The audit of a cache in which ``spoil(layer)`` changed something, of a model with an ``outlier`` in its keys."""
    model = tiny.make_model("qwen2")  # its keys have a bias
    with torch.no_grad():
        if outlier is not None:
            model.model.layers[1].self_attn.k_proj.bias[2] = outlier
    wrapped = LanguageModel(model, info_of(model, "model"))
    cache, tokens = wrapped.new_cache(32), [5, 6, 7, 8, 9, 10]
    with torch.inference_mode():
        wrapped.prefill(cache, tokens[:-1])
        spoil(cache.slot_layers[1])
        return ask_audit(wrapped, cache, tokens, 3, Reads())()


@pytest.mark.parametrize("outlier", [None, 1e3, 1e6])
def test_noise_in_the_keys_is_seen_beside_a_feature_that_stands_out(outlier: float | None) -> None:
    def spoil(layer) -> None:
        layer.keys[0, 1, 4, 5] += 1.0

    assert max(map(max, audited_with(lambda _: None, outlier).keys)) < TOLERANCES["float32"]
    found = audited_with(spoil, outlier)
    assert found.keys[1][1] > 0.05  # slot 4
    assert found.keys[0][1] < TOLERANCES["float32"]


def test_a_feature_that_stands_out_is_measured_by_itself() -> None:
    def spoil(layer) -> None:
        layer.keys[0, 0, 4, 2] *= 1.1

    assert audited_with(spoil, 1e6).keys[1][1] == pytest.approx(0.1, rel=0.1)


def test_noise_in_the_values_is_seen_beside_a_slot_that_stands_out() -> None:
    def spoil(layer) -> None:
        layer.values[0, 1, 4, 5] += 1.0

    sizes = torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(0))
    ordinary = float(size_of(sizes)[1, 4, 5])
    assert ordinary == pytest.approx(float(sizes.abs().max()))
    sizes[:, 0] *= 1e5
    sink = size_of(sizes)
    assert float(sink[1, 4, 5]) == pytest.approx(float(sizes[:, 1:].abs().max()))
    assert float(sink[1, 0, 5]) == pytest.approx(float(sizes[:, 0].abs().max()))
    assert audited_with(spoil).values[1][1] > 0.05


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_recorded_as_the_largest_difference_and_said(wrong: float) -> None:
    def spoil(layer) -> None:
        layer.values[0, 0, 4, 1] = wrong

    found = audited_with(spoil)
    assert found.values[1][1] == INFINITE_DIFFERENCE
    assert found.values[0][1] < 1e-4
    assert found.logits == INFINITE_DIFFERENCE
    assert found.worst() == INFINITE_DIFFERENCE
    said = audit_faults(found, 1e-4)
    assert "values of layer 1, slot 4, off by no finite number" in said[0]
    assert audit_columns(found, 1e-4)["wrong"] >= 1


# ------------------------------------------------------------------------------------------------ in the report


def test_the_report_does_not_say_within_of_what_is_not() -> None:
    trace = Session(make_pair(), make_settings(audit=True, max_new_tokens=4), "the sea")
    list(trace.run())
    sound = trace.trace
    for name in ("target", "draft"):
        assert re.search(rf"audit: the {name}'s cache is off by at most \S+ .*; within the tolerance", summary(sound))
    assert "beyond" not in summary(sound)
    for value, words in (
        (0.5, "off by at most 0.50 (relative)"),
        (INFINITE_DIFFERENCE, "off by at most no finite number"),
    ):
        said = summary(with_logits(sound, value))
        assert "step 1 is the first of 1 beyond the tolerance 1·10⁻⁴" in said
        assert words in said


def with_logits(trace: Trace, value: float) -> Trace:
    step = trace.steps[0]
    change = step.caches.target
    changed = change.model_copy(update={"audit": change.audit.model_copy(update={"logits": value})})
    caches = step.caches.model_copy(update={"target": changed})
    return trace.model_copy(update={"steps": (step.model_copy(update={"caches": caches}), *trace.steps[1:])})
