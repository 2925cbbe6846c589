"""Draft heads in the engine: what they emit by exact enumeration, what stays of them after a step, what is recorded."""

from __future__ import annotations

import math
from functools import cache
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch

from specviz.drafting import BUILDERS
from specviz.engine.head_runners import StepHeadRunner
from specviz.engine.session import Session
from specviz.engine.whatif import through_models
from specviz.models import language_model
from specviz.models.loading import Pair
from specviz.models.memory import as_loaded, plan_memory, step_memory
from specviz.models.nonfinite import LogitsError
from specviz.models.plain_heads import plain_head_rows
from specviz.sampling import process
from specviz.trace.metrics import TOLERANCES
from specviz.trace.schema import Choice, Sampling, Settings, Step
from specviz.trace.whatif_question import Question
from specviz.train.chats import Chat
from specviz.train.quality import overlaps
from specviz.tree import Growth, TokenTree
from specviz.verifiers import VERIFIERS
from specviz.verifiers.exact import Toy, draw_trees, emitted
from tests import block_heads, block_pairs, pairs, step_pairs, tiny

KINDS = (*step_pairs.HEADS, *block_pairs.HEADS)
SOME = ("eagle3, a part of the vocabulary", "medusa", "p_eagle, a part of the vocabulary", "dflash", "dspark")
PROMPT = "the sea is an onion in the sea"


def pair_with(kind: str, pair: Pair | None = None) -> Pair:
    made = step_pairs.step_pair if kind in step_pairs.HEADS else block_pairs.block_pair
    return made(kind, pair)


with_tokenizer = cache(pair_with)
"""Sessions share it; it holds no state of a run."""


def small_pair(vocabulary: int) -> Pair:
    """A target of a small vocabulary, whose texts are nobody's business."""
    model = tiny.make_model("llama", vocab=vocabulary)
    return pairs.pair_of(model, model)


# ------------------------------------------------------------------------------------------------------ enumeration


class Live(Toy):
    """The second step of a session, as an enumeration sees it: target and draft are the live models.

    The rows that the law is compared with come from plain forwards of the target over every text.
    """

    @classmethod
    def of(cls, session: Session, depth: int) -> Live:
        root = list(session.tokens)
        V = session.pair.target.vocabulary
        rows = []
        texts: list[list[int]] = [[]]
        for _ in range(depth + 1):
            ids = torch.tensor([root + text for text in texts])
            rows.append(session.pair.target.model(input_ids=ids).logits[:, -1].float().softmax(-1))
            texts = [[*text, token] for text in texts for token in range(V)]
        table = torch.cat(rows).double()
        live = cls("live", table / table.sum(-1, keepdim=True), table, depth)
        object.__setattr__(live, "session", session)
        object.__setattr__(live, "rows", {})
        return live

    session: Session
    rows: dict[tuple[int, ...], torch.Tensor]
    """Tokens of a growth -> the rows of its last level."""

    def expand(self, growth: Growth, nodes: list[int]) -> torch.Tensor:
        draft, key = self.session._draft_runner, tuple(growth.tokens)
        growth.tokens[0] = self.session.tokens[-1]
        if key not in self.rows:
            draft.cache.roll_back()
            draft.start_step(self.session.tokens)
            first = draft.expand(growth, [0])
            self.rows[key] = (first if nodes == [0] else draft.expand(growth, nodes)).double()
        return self.rows[key]

    def score(self, tree: TokenTree) -> torch.Tensor:
        target = self.session._target_runner
        target.cache.roll_back()
        return process(target.score(tree), Sampling()).double()


SUBSETS = [kind for kind in KINDS if "a part" in kind or "gated" in kind]


@pytest.mark.parametrize(
    ("kind", "vocabulary", "tree"), [(kind, 12, "1,1") for kind in SUBSETS] + [(kind, 4, "2,1") for kind in KINDS]
)
@torch.inference_mode()
def test_the_first_tokens_are_distributed_as_the_targets(
    kind: str, vocabulary: int, tree: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the second step: by then accepted tokens were fed again. Trees are drawn in every way they can be."""
    monkeypatch.setattr(block_heads, "MASK_ID", 2)
    pair = pair_with(kind, small_pair(vocabulary))
    settings = Settings(builder=Choice(name="k_config", options={"tree": tree}), seed=1)
    session = Session(pair, settings, "x", tokens=[1, 2, 3, 0, 2])
    session.step()
    live = Live.of(session, depth=2)
    builder, options = BUILDERS["k_config"], session._resolved.builder_options
    trees = draw_trees(builder, options, live)
    assert math.isclose(sum(grown.probability for grown in trees), 1, abs_tol=1e-6)
    # The head's own opinion is drawn from: a tree of another draft would not be told from it by the law alone.
    columns = vocabulary if pair.draft.token_ids is None else len(pair.draft.token_ids)
    assert len({grown.tree.tokens[1] for grown in trees}) == columns
    verifier = VERIFIERS["rejection" if tree == "1,1" else "traversal"]
    found = emitted(verifier, verifier.Options(), trees, live)
    assert found.distance < 2e-6
    assert found.tokens_per_step > 1.1
    assert ((trees[0].tree.rows > 0).sum(-1) == columns).all()


# ------------------------------------------------------------------------------------------------------------- runs


def run(pair: Pair, tree: str | Choice = "4,2,2", *, tokens: list[int] | None = None, **fields: Any) -> Session:
    one: dict[str, Any] = {"verifiers": (Choice(name="rejection"),), "audit": True, "max_new_tokens": 12}
    session = Session(pair, pairs.make_settings(tree, **one | fields), PROMPT, tokens=tokens)
    list(session.run())
    return session


def worst(steps: list[Step]) -> float:
    return max(step.caches.whole(name).audit.worst() for step in steps for name in ("target", "draft"))


@pytest.mark.parametrize("kind", SOME)
def test_a_text_in_several_chunks_and_steps_that_accept_nothing_or_all(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(language_model, "PREFILL_CHUNK", 4)
    monkeypatch.setattr(block_heads, "MASK_ID", 2)
    pair = pair_with(kind, small_pair(6))
    chain = Choice(name="k_config", options={"tree": "1,1"})
    session = run(pair, chain, tokens=[1, 2, 3, 4, 0, 5, 2, 2, 1, 3], max_new_tokens=40, seed=4)
    assert {len(step.committed) for step in session.steps} == {1, 2, 3}
    assert worst(session.steps) < TOLERANCES["float32"]
    layers = pair.draft.layers
    assert session._draft_runner.cache.num_committed <= len(session.tokens) - 2
    for step in session.steps:
        change = step.caches.whole("draft")
        kept = set(range(change.length_before, change.length_before + len(change.appended))) - set(change.dropped)
        roles = {slot.role for slot in change.appended if slot.slot in kept}
        root = [slot for slot in change.appended if slot.node == 0]
        assert roles <= {"context", "node"}
        assert [slot.node for slot in change.appended if slot.slot in kept and slot.node] == []
        assert len(root) == bool(layers)


@pytest.mark.parametrize("kind", ["eagle1", "eagle3, a part of the vocabulary"])
def test_drafted_keys_that_stay_are_seen_in_the_audit(kind: str) -> None:
    with patch.object(StepHeadRunner, "_staying", lambda _, nodes: nodes):
        session = run(with_tokenizer(kind), max_new_tokens=20, seed=3)
    assert any(len(step.committed) > 1 for step in session.steps)
    assert worst(session.steps) > 0.01


@pytest.mark.parametrize("kind", SOME)
def test_a_run_that_goes_on_is_the_uninterrupted_one(kind: str) -> None:
    pair = with_tokenizer(kind)
    whole = run(pair, audit=False, seed=2)
    resumed = Session.resume(pair, whole.trace, steps=2)
    list(resumed.run())
    assert resumed.trace.output_tokens() == whole.trace.output_tokens()
    for ours, theirs in zip(resumed.steps, whole.steps, strict=True):
        assert [node.token for node in ours.tree.nodes] == [node.token for node in theirs.tree.nodes]
        for mine, other in zip(ours.tree.nodes[1:], theirs.tree.nodes[1:], strict=True):
            assert mine.draft_prob == pytest.approx(other.draft_prob, abs=1e-5)
    answer = through_models(pair, whole.trace, 1, Question(verifier=Choice(name="traversal")))
    assert answer.difference < 1e-5


@pytest.mark.parametrize("kind", SOME[:4])
def test_a_prompt_of_one_token_and_the_end_of_the_context(kind: str) -> None:
    """Before the target has run a token there is no state to draft from, so the first tree is the root alone."""
    pair = with_tokenizer(kind)
    session = run(pair, tokens=[5])
    assert [len(step.tree.nodes) > 1 for step in session.steps[:2]] == [False, True]
    assert worst(session.steps) < TOLERANCES["float32"]
    lookup = run(pair, "prompt lookup", tokens=[5, 5, 5, 5, 5, 5], audit=False)
    assert len(lookup.steps[0].tree.nodes) > 1
    tokens = [3 + i % 200 for i in range(tiny.POSITIONS - 3)]
    ended = run(pair, tokens=tokens, max_new_tokens=100)
    assert ended.end_reason == "context limit"
    assert worst(ended.steps) < TOLERANCES["float32"]


def test_a_block_is_not_drafted_deeper_than_it_has_rows() -> None:
    pair = block_pairs.block_pair("medusa", depth=2)
    session = run(pair, Choice(name="k_config", options={"tree": "2,1,1,1"}), audit=False, max_new_tokens=4)
    assert max(node.depth for node in session.steps[0].tree.nodes) == 2


@pytest.mark.parametrize("kind", ["medusa", "p_eagle, a part of the vocabulary", "dspark, gated"])
def test_a_greedy_run_of_a_block_head_is_greedy_decoding(kind: str) -> None:
    session = run(
        with_tokenizer(kind),
        "dynamic",
        driver="greedy",
        verifiers=(Choice(name="greedy"),),
        target=Sampling(temperature=0),
    )
    tokens = list(session.prompt_tokens)
    with torch.no_grad():
        for _ in range(12):
            tokens.append(int(session.pair.target.model(torch.tensor([tokens])).logits[0, -1].argmax()))
    assert session.tokens == tokens
    assert worst(session.steps) < TOLERANCES["float32"]


# ---------------------------------------------------------------------------------------------------- what is recorded


def test_what_the_target_gives_to_tokens_outside_is_recorded() -> None:
    pair = with_tokenizer("eagle3, a part of the vocabulary")
    seen: list[torch.Tensor] = []
    session = Session(pair, pairs.make_settings(), PROMPT)
    session.watch = lambda _tree, probs, _results: seen.append(probs)
    step = session.step()
    assert pair.draft.info.head.vocabulary == 100
    inside = seen[0][:, pair.draft.token_ids].sum(-1)
    masses = [node.p_outside for node in step.tree.nodes]
    assert masses == pytest.approx((1 - inside).tolist(), abs=1e-5)
    for node in step.tree.nodes:
        if node.draft:
            assert set(node.draft.raw.ids) <= set(pair.draft.token_ids.tolist())
            assert sum(node.draft.processed.probs) <= 1 + 1e-5
    whole = Session(with_tokenizer("eagle1"), pairs.make_settings(), PROMPT).step()
    assert {node.p_outside for node in whole.tree.nodes} == {None}


def test_the_bias_of_a_row_and_its_confidence_are_recorded() -> None:
    pair = with_tokenizer("dspark")
    rows = [node.draft for node in run(pair, audit=False).steps[0].tree.nodes if node.draft]
    assert len({row.bias for row in rows}) > 1
    assert all(row.bias is not None and len(row.bias) == len(row.raw.ids) for row in rows)
    assert all(row.confidence is not None for row in rows)
    row = run(with_tokenizer("medusa"), audit=False).steps[0].tree.nodes[0].draft
    assert (row.bias, row.confidence) == (None, None)


@pytest.mark.parametrize("kind", SOME)
def test_a_head_with_nan_in_it_is_named(kind: str) -> None:
    pair = pair_with(kind)
    next(pair.draft.head.parameters()).fill_(math.nan)
    session = Session(pair, pairs.make_settings(), PROMPT)
    with pytest.raises(LogitsError, match=r"The draft .* gave NaN logits at node 0 in step 1; .*\((head\.|its cached)"):
        session.step()
    assert session.failed is not None
    assert session.failed.nonfinite.model == "draft"


@pytest.mark.parametrize("kind", SOME)
def test_a_head_is_in_the_memory_plan(kind: str) -> None:
    pair = with_tokenizer(kind)
    target, draft = as_loaded(pair.target), as_loaded(pair.draft)
    plan = plan_memory(target, draft, context=100, nodes=28, free=None)
    size = sum(one.nbytes for one in pair.draft.head.parameters())
    sizes = {row.part: row.draft for row in plan.rows}
    assert size <= sizes["other weights"] <= size + 10_000
    a_slot = sizes.get("KV cache, 129 slots", 0)
    cache = run(pair, audit=False)._draft_runner.cache
    assert a_slot == cache.allocated * 129 // 256
    assert step_memory(target, draft, context=100, nodes=28, draft_rows=29).total > 0


@pytest.mark.parametrize("kind", SOME)
@torch.inference_mode()
def test_the_rows_of_a_text_are_those_at_the_roots_of_its_steps(kind: str) -> None:
    pair = with_tokenizer(kind)
    session = run(pair, "chain", audit=False, max_new_tokens=6)
    rows = plain_head_rows(pair.target, pair.draft, session.tokens).softmax(-1)
    for step in session.steps:
        row = step.tree.nodes[0].draft.processed
        assert rows[step.context - 2][list(row.ids)].tolist() == pytest.approx(list(row.probs), abs=1e-5)
    prompt, reply = (np.array(some) for some in (session.prompt_tokens, session.tokens[len(session.prompt_tokens) :]))
    (overlap, _, places) = next(iter(overlaps(pair.target, pair.draft, [Chat(prompt, reply, reply, reply)])))
    assert 0 < overlap < places
    assert places == len(reply)
