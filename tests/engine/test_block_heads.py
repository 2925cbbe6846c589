"""Heads that draft a block at once, in sessions: trees of any shape over their rows, caches, and what is recorded."""

from __future__ import annotations

import pytest
import torch

from specviz.engine.session import Session
from specviz.models.cached_model import causal_mask
from specviz.models.head_model import HeadModel
from specviz.models.heads.head import BlockHead
from specviz.models.kv_cache import SlotCache
from specviz.models.loading import Pair
from specviz.trace.schema import Sampling
from tests.heads import BLOCK, pair_with
from tests.pairs import make_settings

WITHIN = 1e-5
HOT = Sampling(temperature=4.0)
"""Nearly even rows: much is accepted."""
SHAPES = ("chain", "4,2,2", "heterogeneous", "dynamic", "with replacement", "sequoia")


def head_of(pair: Pair) -> BlockHead:
    assert isinstance(pair.draft, HeadModel)
    assert isinstance(pair.draft.head, BlockHead)
    return pair.draft.head


@torch.inference_mode()
def plain_block(pair: Pair, text: list[int]) -> torch.Tensor:
    """What the head drafts [depth, H'] behind a text, the root last, with the states of a plain forward over it."""
    head = head_of(pair)
    model, last = pair.target.model, []
    with model.model.layers[-1].register_forward_hook(lambda *given: last.append(given[-1])):
        states = list(model(torch.tensor([text[:-1]]), output_hidden_states=True).hidden_states)
    if head.info.before_norm:
        states[-1] = last[0]
    carry = head.fuse(torch.cat([states[layer][0] for layer in head.info.reads], dim=-1))
    kept = len(carry) - (0 if head.remembers_root else 1)
    cache = SlotCache(max(head.layers, 1), 512)
    if head.layers:
        at = torch.arange(kept) + head.position_offset
        head.remember(carry[:kept], torch.tensor(text[1 : kept + 1]), at, causal_mask(kept, 0, torch.float32), cache)
    mask = causal_mask(head.width, kept, torch.float32)
    at = torch.arange(kept, kept + head.width) + head.position_offset
    ids = torch.tensor([text[-1], *[head.mask_id] * (head.width - 1)])
    return head.block(carry[-1:], ids, at, mask if head.causal else torch.zeros_like(mask), cache)


@pytest.mark.parametrize(("name", "tree"), list(zip(BLOCK, (*SHAPES, "4,2,2"), strict=True)))
def test_caches_are_those_of_a_plain_forward_over_the_text(name: str, tree: str) -> None:
    pair, head = pair_with(name), head_of(pair_with(name))
    settings = make_settings(tree, audit=True, max_new_tokens=6, seed=1, target=HOT, draft=HOT, driver="eta")
    steps = list(Session(pair, settings, "the sea is blue").run())
    assert len(steps) < 5, "where little is accepted, this proves little"
    for step in steps:
        assert step.caches.draft.audit is not None
        assert max(step.caches.target.audit.worst(), step.caches.draft.audit.worst()) < WITHIN
        assert max(node.depth for node in step.tree.nodes) <= head.depth
        roles = [slot.role for slot in step.caches.draft.appended]
        if head.layers:
            assert roles.count("node") == 1
            assert roles[-head.width :] == ["node", *["mask"] * (head.width - 1)]
        else:
            assert roles == []


@pytest.mark.parametrize("name", BLOCK)
@torch.inference_mode()
def test_a_row_is_what_the_head_says_at_the_depth_and_the_token_of_its_node(name: str) -> None:
    pair, head = pair_with(name), head_of(pair_with(name))
    session = Session(pair, make_settings("4,2,2", max_new_tokens=3, seed=1), "the sea is blue")
    steps = list(session.run())
    text = [*session.trace.prompt_tokens, *steps[0].committed]
    step = steps[1]
    own = plain_block(pair, text)
    ids = torch.arange(pair.target.vocabulary) if head.token_ids is None else head.token_ids
    seen = 0
    for node in step.tree.nodes:
        if node.draft is None:
            continue
        seen += 1
        row, token = own[node.depth : node.depth + 1], torch.tensor([node.token])
        logits = head.level_logits(own, node.depth, token)[0]
        places = {int(id): column for column, id in enumerate(ids)}
        columns = [places[id] for id in node.draft.raw.ids]
        assert list(node.draft.raw.probs) == pytest.approx(logits.softmax(-1)[columns].tolist(), rel=1e-4)
        bias, confidence = head.bias(row, token), head.confidence(row, token)
        assert (node.draft.bias is None) == (bias is None)
        if bias is not None:
            assert list(node.draft.bias) == pytest.approx(bias[0, columns].tolist(), rel=1e-4, abs=1e-5)
        assert (node.draft.confidence is None) == (confidence is None)
        if confidence is not None:
            assert node.draft.confidence == pytest.approx(float(confidence), rel=1e-4)
    assert seen > 3
