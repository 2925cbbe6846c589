"""The default pair, end to end: what the small random models cannot show."""

from __future__ import annotations

import pytest

from specviz.bench.greedy import TREES, compare_with_generate
from specviz.bench.step_cost import TREES as BENCH_TREES
from specviz.bench.step_cost import step_costs
from specviz.engine.session import Session
from specviz.models.loading import Pair, load_pair
from specviz.trace.io import dump_trace, parse_trace
from specviz.trace.metrics import block_efficiency
from specviz.trace.schema import Choice, Settings, text_of_tokens
from specviz.verifiers import VERIFIERS

pytestmark = pytest.mark.default_pair


@pytest.fixture(scope="module")
def pair() -> Pair:
    return load_pair()


def test_greedy_verification_is_plain_greedy_decoding_on_every_kind_of_tree(pair: Pair) -> None:
    found = list(compare_with_generate(pair, prompts=2, max_new_tokens=6))
    assert len(found) == 2 * len(TREES)
    assert [line.text() for line in found if not line.equal] == []
    assert any(line.steps < line.tokens for line in found)


def test_a_run_of_all_verifiers_is_audited_and_survives_its_file(pair: Pair) -> None:
    settings = Settings(
        verifiers=tuple(Choice(name=name) for name in VERIFIERS), max_new_tokens=10, chat=True, audit=True, seed=3
    )
    session = Session(pair, settings, "Why is the sky blue?")
    list(session.run())
    trace = parse_trace(dump_trace(session.trace))
    assert trace == session.trace
    worst = max(c.audit.worst() for s in trace.steps for c in (s.caches.target, s.caches.draft))
    assert worst < 1e-4
    assert block_efficiency(trace, "rejection") > 1.2, "the draft hardly ever helps: is it the one for this target?"
    texts = {token.id: token for step in trace.steps for token in step.tokens}
    ids = trace.output_tokens()
    assert text_of_tokens([texts[i] for i in ids]) == pair.tokenizer.decode(ids)


def test_what_a_step_costs_is_measured_on_the_tree_it_names(pair: Pair) -> None:
    (cost,) = step_costs(pair, steps=1, trees=BENCH_TREES[:1], say=lambda said: None)
    assert cost.tree.nodes == 28
    assert cost.ratio > 1
