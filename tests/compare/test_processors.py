"""Processors in comparisons and in the form."""

from __future__ import annotations

import math

import pytest
import torch

from specviz.app.form import as_form_reads, write_form
from specviz.compare.named import parse_tree, parse_verifier
from specviz.compare.run_unit import negative_log_likelihood
from specviz.compare.spec import Comparison, processors_of
from specviz.models.pair_spec import ModelChoice
from specviz.trace.processors import parse_processors
from specviz.trace.schema import Choice
from tests.pairs import make_pair, make_settings


def test_a_comparison_says_its_processors_only_where_there_are_some() -> None:
    fields = {"trees": (parse_tree("2,2"),), "verifiers": (parse_verifier("rejection"),), "driver": "rejection"}
    assert "processor" not in Comparison(**fields).model_dump_json()
    given = Comparison(**fields, processors="min_p:min_p=0.2", processor_mode="frozen", processor_draft=True)
    assert Comparison.model_validate_json(given.model_dump_json()) == given
    assert processors_of(given, None) == parse_processors("min_p:min_p=0.2", "frozen", draft=True)


def test_the_form_gives_processors_back() -> None:
    chosen = parse_processors("repetition_penalty:penalty=1.5; min_p:min_p=0.2", "frozen", draft=True)
    settings = make_settings(processors=chosen, verifiers=(Choice(name="rejection"),))
    assert write_form("", ModelChoice(), settings)["processors"] == "repetition_penalty:penalty=1.5; min_p:min_p=0.2"
    assert as_form_reads(settings).processors == chosen


@pytest.mark.parametrize("mode", ["exact", "frozen"])
def test_the_likelihood_as_sampled_is_of_the_processed_target(mode: str) -> None:
    pair, text = make_pair(), [5, 9, 7, 11]
    settings = make_settings(processors=parse_processors("logit_bias:bias=9+7:3", mode))
    plain, sampled = negative_log_likelihood(pair, text, 2, settings)
    with torch.inference_mode():
        logits = pair.target.model(input_ids=torch.tensor([text])).logits[0].double()
        logits[1, 7] += 3  # after 9
    expected = -sum(torch.log_softmax(logits[i], -1)[text[i + 1]].item() for i in (1, 2))
    assert math.isclose(sampled, expected, rel_tol=1e-4)
    assert plain > sampled
