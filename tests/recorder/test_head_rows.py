"""Recorded rows of draft heads against a recompute from the text: every fault that an engine can make with a head."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch

from specviz.engine.head_runners import StepHeadRunner
from specviz.engine.session import Session
from specviz.errors import ModelError
from specviz.models.head_model import HeadModel
from specviz.models.loading import Pair, load_pair
from specviz.recorder.audit import audit
from specviz.recorder.findings import Finding
from specviz.trace.schema import Choice, Trace
from tests import head_files, heads, tiny
from tests.pairs import make_pair, make_settings

TREE = Choice(name="k_config", options={"tree": "3,1"})
EAGLE = "eagle3, a part of the vocabulary"
KINDS = (
    *("eagle1", EAGLE, "eagle3.1", "mtp"),
    *("medusa", "p_eagle, a part of the vocabulary", "dflash, a part of the vocabulary", "dspark, gated"),
)


pair_with = cache(heads.pair_with)


def recorded(pair: Pair) -> Trace:
    one: dict[str, Any] = {"verifiers": (Choice(name="rejection"),), "seed": 5, "max_new_tokens": 6, "record_top_k": 8}
    session = Session(pair, make_settings(TREE, **one), "the sea is an onion")
    list(session.run())
    assert session.trace.failed is None
    return session.trace


def draft_rows(trace: Trace, kind: str) -> Finding:
    """What a recompute with the right head says."""
    right = pair_with(kind)
    found = [one for one in audit(trace, right.target, right.draft) if isinstance(one, Finding)]
    (rows,) = [one for one in found if one.check == "draft_rows"]
    return rows


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_every_kind_of_head_are_those_of_a_recompute(kind: str) -> None:
    trace = recorded(pair_with(kind))
    found = draft_rows(trace, kind)
    assert found.weight == "note", found.sentence
    # Nor is anything wrong with its slots, positions and masks, which are those of a head.
    assert [one.sentence for one in audit(trace) if isinstance(one, Finding) and one.weight != "note"] == []


@pytest.mark.parametrize("kind", KINDS)
def test_where_a_heads_rows_stand_is_judged_by_its_pairs(kind: str) -> None:
    """A pair has one slot, so most heads have one slot fewer than the text has tokens before the root."""
    trace = recorded(pair_with(kind))
    found = [one for one in audit(trace) if isinstance(one, Finding)]
    assert [one.sentence for one in found if one.weight != "note"] == []
    if kind == "medusa":  # it has no cache
        return
    assert {"draft_positions", "draft_mask"} <= {one.check for one in found}
    draft = trace.steps[1].caches.draft
    assert draft is not None
    for field, by, check in (("position", 1, "draft_positions"), ("sees_before", -1, "draft_mask")):
        rows = [
            slot.model_copy(update={field: getattr(slot, field) + by}) if slot.node == 0 else slot
            for slot in draft.appended
        ]
        caches = trace.steps[1].caches.model_copy(update={"draft": draft.model_copy(update={"appended": tuple(rows)})})
        steps = [step.model_copy(update={"caches": caches}) if step.index == 1 else step for step in trace.steps]
        wrong = audit(trace.model_copy(update={"steps": tuple(steps)}))
        assert [one.check for one in wrong if isinstance(one, Finding) and one.weight != "note"] == [check]


def test_a_head_that_was_set_by_hand_is_loaded_so_for_its_audit(tmp_path: Path) -> None:
    target, draft = tmp_path / "target", tmp_path / "head"
    tiny.make_model("llama", layers=6).save_pretrained(target)
    tiny.make_tokenizer().save_pretrained(target)
    head_files.save_head(draft, head_files.eagle3(tiny.make_config("llama", layers=6), layout="safeailab"))
    options = {"norm_output": True, "rope_theta": 500.0}
    trace = recorded(load_pair(str(target), str(draft), head_reads=(1, 3, 6), head_options=options))
    found = [one for one in audit(trace, str(target), str(draft)) if isinstance(one, Finding)]
    assert [one.sentence for one in found if one.weight != "note"] == []
    assert "draft_rows" in {one.check for one in found}


@contextmanager
def drafted_keys_stay() -> Iterator[Pair]:
    """vllm #14649: after a verdict the accepted nodes keep the slots that were made of the head's own output."""
    with patch.object(StepHeadRunner, "_staying", lambda _self, nodes: nodes):
        yield pair_with(EAGLE)


@contextmanager
def states_one_token_off() -> Iterator[Pair]:
    """Each token is read beside the state of itself and not of the one before: no shift between state and token."""
    fuse = HeadModel.fuse
    with patch.object(HeadModel, "fuse", lambda self, states: fuse(self, states.roll(-1, 0))):
        yield pair_with(EAGLE)


@contextmanager
def set_otherwise(**by_hand: Any) -> Iterator[Pair]:
    """The head is run with other options than it was made for."""
    yield heads.pair_with("eagle3.1" if "norm_output" in by_hand else EAGLE, **by_hand)


@contextmanager
def changed(change: Callable[[Any], None]) -> Iterator[Pair]:
    """Something of the head was lost while it was loaded."""
    pair = heads.pair_with("eagle3")
    change(pair.draft.head)
    yield pair


@contextmanager
def offsets_ignored() -> Iterator[Pair]:
    """Column c of the logits is taken for token c."""
    pair = heads.pair_with(EAGLE)
    pair.draft.token_ids = torch.arange(len(pair.draft.token_ids))
    yield pair


def lose_embeddings(head: Any) -> None:
    head.embed_tokens.weight = torch.nn.Parameter(0.02 * torch.randn(head.embed_tokens.weight.shape), False)


FAULTS: dict[str, tuple[str, Callable[[], Any]]] = {
    "drafted keys stay": (EAGLE, drafted_keys_stay),
    "layer index off by one": (EAGLE, lambda: set_otherwise(reads="1,2,2")),
    "norm flipped": ("eagle3.1", lambda: set_otherwise(norm_output=False)),
    "no shift between state and token": (EAGLE, states_one_token_off),
    "offsets of d2t ignored": (EAGLE, offsets_ignored),
    "rope of another base": (EAGLE, lambda: set_otherwise(rope_theta=1_000_000.0)),
    "embeddings not loaded": ("eagle3", lambda: changed(lose_embeddings)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_engines_do_wrong_with_heads_is_found(fault: str) -> None:
    kind, planted = FAULTS[fault]
    with ExitStack() as stack:
        trace = recorded(stack.enter_context(planted()))
    assert fault != "drafted keys stay" or any(len(step.committed) > 1 for step in trace.steps)
    found = draft_rows(trace, kind)
    assert found.weight == "warning", found.sentence
    assert found.meaning.startswith("the head reads other states")
    slots = [one.sentence for one in audit(trace) if isinstance(one, Finding) and one.weight != "note"]
    assert bool(slots) == (fault == "drafted keys stay"), slots  # which the slots that stayed say without a model


def test_a_head_is_asked_with_its_target() -> None:
    pair = pair_with(EAGLE)
    with pytest.raises(ModelError, match="give the target too"):
        audit(recorded(pair), draft=pair.draft)
    found = audit(recorded(pair), target=make_pair().target.model, draft=pair.draft)
    assert {one.check for one in found if isinstance(one, Finding)} >= {"draft_rows", "target_rows"}
