"""specviz's own engine, recorded through the public recorder as any other: what both record is equal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from specviz.engine.session import Session
from specviz.recorder.recorder import Recorder
from specviz.trace.schema import Choice, Sampling, Step
from tests.pairs import make_pair, make_settings

OWN_WORDS = {"verifier", "rule", "lossless", "comparison", "reason", "options"}
"""Fields in which an engine speaks for itself."""


class Recorded(Session):
    """A session that says what it does to a recorder."""

    rec: Recorder

    def _step(self) -> Step:
        with self.rec.step(prefilled=None) as self._said:
            return super()._step()

    def _score(self, tree):
        draft, target, past = self._draft_runner, self._target_runner, len(self.tokens) - 1
        scores = super()._score(tree)
        self._said.tree(tree.tokens, tree.shape.parents)
        order = sorted(tree.row_of, key=tree.row_of.__getitem__)
        slots = {node: draft.cache.num_committed + offset for offset, node in draft.node_of.items()}
        self._said.draft(tree.rows, nodes=order, proposal=tree.proposal, slots=slots)
        written = target.cache.written
        mask = np.zeros((len(tree), past + len(tree)), dtype=bool)
        for row, one in zip(mask, written, strict=True):
            row[: one.sees_before] = True
            row[[past + offset for offset in one.sees]] = True
        self._said.target(scores.probs, logits=scores.logits, positions=[one.position for one in written], mask=mask)
        return scores

    def _commit(self, tree, scores, driver):
        draft, target, walk = self._draft_runner, self._target_runner, driver.walk
        with (
            self._said.cache("target", target.cache, length=target.cache.num_committed),
            self._said.cache("draft", draft.cache, length=draft.cache.num_committed),
        ):
            commit = super()._commit(tree, scores, driver)
        self._said.verify(
            accepted=walk.path,
            bonus=driver.bonus.token,
            committed=commit.tokens,
            coins={r.node: r.uniform for r in walk.rulings} | {-1: driver.bonus.uniform},
            thresholds=dict(enumerate(driver.judgement.thresholds.tolist()[1:], start=1)),
            bonus_row=driver.row,
            source=walk.end.source,
        )
        return commit


def differences(said: Any, own: Any, place: str = "") -> Iterator[str]:
    """Where something was recorded (null is not) and the engine itself recorded something else."""
    if said is None or own is None:
        return
    if isinstance(said, dict):
        for key in said:
            if key not in OWN_WORDS and key in own:
                yield from differences(said[key], own[key], f"{place}.{key}")
    elif isinstance(said, (list, tuple)):
        if len(said) != len(own):
            yield f"{place}: {len(said)} entries, not {len(own)}"
        for i, (one, other) in enumerate(zip(said, own, strict=False)):
            yield from differences(one, other, f"{place}.{i}")
    elif isinstance(said, float):
        if said != pytest.approx(own, rel=2e-5, abs=1e-6):
            yield f"{place}: {said}, not {own}"
    elif said != own:
        yield f"{place}: {said}, not {own}"


@pytest.mark.parametrize(
    "sampling", [Sampling(), Sampling(temperature=0.7, top_k=40, top_p=0.95)], ids=["plain", "cut"]
)
@pytest.mark.parametrize("tree", ["chain", "4,2,2", "with replacement", "no draft"])
def test_what_both_record_is_equal(tree: str, sampling: Sampling) -> None:
    pair = make_pair()
    chosen = (Choice(name="rejection"),)
    settings = make_settings(tree, target=sampling, draft=sampling, verifiers=chosen, max_new_tokens=16)
    session = Recorded(pair, settings, "the sea")
    session.rec = Recorder(
        prompt=session.prompt_tokens,
        decode=lambda tokens: "".join(pair.token_text(token).text for token in tokens),
        sampling=sampling,
        draft_sampling=sampling,
        engine="own",
        rule="rejection",
        lossless=True,
        target=pair.models.target,
        draft=pair.models.draft,
        end_tokens=tuple(pair.eos_ids),
        strict=True,
    )
    own = [*session.run()]
    trace = session.rec.trace()
    assert trace.output_tokens() == session.trace.output_tokens()
    assert trace.models == pair.models
    assert len(trace.steps) == len(own) > 2
    moves = 0
    for said, step in zip(trace.steps, own, strict=True):
        data, expected = said.model_dump(exclude={"driver", "timings", "checks"}), step.model_dump()
        mine, judged = data["verdicts"].pop("own"), data["verdicts"].pop("rejection")
        verdict = expected["verdicts"].pop("rejection")
        texts, known = data.pop("tokens"), {token["id"]: token for token in expected["tokens"]}
        assert not [*differences(data, expected)]
        assert not [*differences(mine, verdict, "verdict")]
        assert not [*differences(judged, verdict, "judged again")]
        assert all(known[text["id"]]["text"] == text["text"] for text in texts if text["id"] in known)
        assert not [check for check in said.checks if check.failed]
        assert None not in (said.caches.target.fingerprints_before, said.caches.target.fingerprints_after)
        assert said.caches.target.moves == step.caches.target.moves
        assert said.caches.draft.fingerprints_after == step.caches.draft.fingerprints_after
        moves += len(said.caches.target.moves)
    assert moves or tree in ("chain", "no draft")


def test_a_difference_would_be_seen() -> None:
    assert [*differences({"a": [1.0, None]}, {"a": [1.001, 2]})] == [".a.0: 1.0, not 1.001"]
    assert [*differences({"a": (1, 2), "rule": 1}, {"a": (1,), "rule": 2})] == [".a: 2 entries, not 1"]
