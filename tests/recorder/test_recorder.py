"""What a loop says is what is recorded, whatever its arrays are."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

import specviz
from specviz.recorder.audit import audit
from specviz.recorder.findings import Audited, Finding, NotRun
from specviz.recorder.recorder import Recorder
from tests.recorder.steps import PARENTS, TOKENS, V, one_step, recorder, rows
from tests.tokenizer_kinds import KINDS

# -------------------------------------------------------------------------------------------------------- levels


def test_level_1_is_tokens_and_a_path() -> None:
    step = one_step(recorder())
    verdict = step.verdicts["my-loop"]
    assert [(node.token, node.parent, node.depth, node.rank, node.text) for node in step.tree.nodes] == [
        *[(3, -1, 0, 0, "<3>"), (4, 0, 1, 0, "<4>"), (5, 0, 1, 1, "<5>"), (6, 1, 2, 0, "<6>")]
    ]
    assert (verdict.path, verdict.bonus.token, verdict.lossless, step.committed) == ((1,), 9, "unknown", (4, 9))
    assert step.context == 3
    # What was not said is null, never a zero.
    assert {node.draft_prob for node in step.tree.nodes} | {node.target for node in step.tree.nodes} == {None}
    assert verdict.thresholds == (1.0, None, None, None)
    assert (verdict.decisions, verdict.bonus.uniform, verdict.bonus.distribution, verdict.bonus.source) == (
        (),
        *[None] * 3,
    )
    assert (step.caches.target, step.caches.draft, step.prefilled, step.tree.proposal) == (None,) * 4
    assert step.timings.total > 0
    assert step.timings.draft is None


def test_level_2_is_what_both_models_thought() -> None:
    p, q = rows(4), rows(2, seed=1)
    step = one_step(recorder(), draft={"probs": q, "proposal": "with_replacement"}, target={"probs": p})
    nodes = step.tree.nodes
    assert [node.draft is None for node in nodes] == [False, False, True, True]  # those with children
    assert [node.target_prob for node in nodes] == [
        None,
        *(float(p[parent, t]) for parent, t in ((0, 4), (0, 5), (1, 6))),
    ]
    assert [node.draft_prob for node in nodes] == [
        None,
        *(float(q[parent, t]) for parent, t in ((0, 4), (0, 5), (1, 6))),
    ]
    row = nodes[2].target
    exact = p[2].astype(np.float64)
    assert row.entropy == pytest.approx(-(exact * np.log(exact)).sum(), rel=1e-5)
    assert row.variance == pytest.approx((exact * np.log(exact) ** 2).sum() - row.entropy**2, rel=1e-4)
    assert row.processed.ids == tuple(np.argsort(-exact)[:10])
    assert row.processed.probs == pytest.approx(np.sort(exact)[::-1][:10], rel=1e-5)
    assert (row.raw, row.top_logit, row.log_sum_exp) == (None, None, None)
    assert step.tree.proposal == "with_replacement"
    assert step.verdicts["my-loop"].bonus.draft_rank == (q[1] > q[1, 9]).sum()
    assert step.text_of()[int(row.processed.ids[0])].text == f"<{row.processed.ids[0]}>"


def test_logits_become_rows_by_the_sampling_that_was_said() -> None:
    logits = 3 * torch.randn(4, V, generator=torch.Generator().manual_seed(0))
    step = one_step(recorder(sampling={"temperature": 0.5, "top_k": 5}), target={"logits": logits})
    row = step.tree.nodes[0].target
    kept = (2 * logits[0]).topk(5)
    assert row.processed.ids == tuple(kept.indices.tolist())
    assert row.processed.probs == pytest.approx(kept.values.softmax(-1).tolist(), rel=1e-4)
    assert row.raw.probs == pytest.approx(logits[0].softmax(-1).topk(10).values.tolist(), rel=1e-4)
    assert row.log_sum_exp == pytest.approx(float(logits[0].logsumexp(-1)), rel=1e-5)
    assert row.top_logit == pytest.approx(float(logits[0].max()), rel=1e-5)
    unsaid = one_step(recorder(), target={"logits": logits}).tree.nodes[0].target
    assert (unsaid.processed, unsaid.entropy) == (None, None)
    assert unsaid.raw == row.raw


def test_level_3_is_coins_in_their_order_and_what_they_were_compared_with() -> None:
    said = {"accepted": [1], "bonus": 9, "rule": "rejection", "source": "residual", "bonus_row": rows(1)[0]}
    said |= {"coins": {2: 1.0, 1: 0.25, None: 0.5}, "thresholds": {1: 0.5, 2: 0.125}}
    rec = recorder()
    verdict = one_step(rec, verify=said).verdicts["my-loop"]
    assert [(d.node, d.uniform, d.threshold, d.outcome) for d in verdict.decisions] == [
        *[(2, 1.0, 0.125, "rejected"), (1, 0.25, 0.5, "accepted")]
    ]
    assert {(d.p, d.q, d.reason) for d in verdict.decisions} == {(None, None, None)}
    assert verdict.thresholds == (1.0, 0.5, 0.125, None)
    assert (verdict.bonus.uniform, verdict.bonus.source) == (0.5, "residual")
    assert verdict.bonus.distribution.probs[0] == pytest.approx(rows(1).max(), rel=1e-5)
    assert rec.trace().engine.rule == "rejection"
    assert rec.trace().engine.lossless is None


def test_coins_may_be_a_list_with_a_place_for_every_node() -> None:
    coins = [float("nan"), 0.25, 0.0, float("nan")]
    verdict = one_step(recorder(), verify={"accepted": [1], "bonus": 9, "coins": coins}).verdicts["my-loop"]
    assert [(d.node, d.uniform) for d in verdict.decisions] == [(1, 0.25), (2, 0.0)]


def moved(layers: list, order: list[int]) -> list:
    return [tuple(x[:, :, order] for x in layer) for layer in layers]


def test_level_4_is_what_the_cache_holds_before_and_after() -> None:
    layers = [tuple(torch.randn(2, 2, 9, 4) for _ in range(2)) for _ in range(3)]
    mask = np.tri(4, 6, 2, dtype=bool) & (np.arange(6) != 3)  # nobody sees node 1
    rec = recorder()
    with rec.step() as step:
        step.tree(TOKENS, PARENTS)
        step.target(positions=[2, 3, 3, 4], mask=mask)
        with step.cache("target", lambda: layers, length=4, row=1):
            layers = moved(layers, [0, 1, 2, 3, 4, 5, 7])
        step.verify(accepted=[1], bonus=9)
    change = rec.trace().steps[0].caches.target
    assert [(slot.slot, slot.token, slot.position, slot.role, slot.node) for slot in change.appended] == [
        (4, 2, None, "context", None),  # one more than there are nodes: the token before the root was fed late
        *[(5, 3, 2, "node", 0), (6, 4, 3, "node", 1), (7, 5, 3, "node", 2), (8, 6, 4, "node", 3)],
    ]
    assert (change.length_before, change.length_after, change.moves, change.dropped) == (4, 7, ((7, 6),), (6, 8))
    assert [slot.sees_before for slot in change.appended] == [None, 2, 2, 2, 2]
    assert [slot.sees for slot in change.appended] == [None, (5,), (5,), (5, 7), (5, 7, 8)]
    before, after = change.fingerprints_before, change.fingerprints_after
    assert after == (before[0], before[1], before[3])
    assert len({*before}) == 5


def test_a_cache_of_transformers_and_a_list_are_read_alike() -> None:
    from transformers import DynamicCache

    keys, values = torch.randn(1, 2, 6, 4), torch.randn(1, 2, 6, 4)
    cache = DynamicCache()
    cache.update(keys, values, 0)
    found = []
    for given in (cache, [(keys, values)], lambda: cache):
        rec = recorder()
        with rec.step() as step:
            step.tree(TOKENS, PARENTS)
            with step.cache("draft", given, length=2):
                pass
            step.verify(accepted=[], bonus=4)
        found.append(rec.trace().steps[0].caches.draft)
    assert found[0] == found[1] == found[2]
    assert found[0].length_after == 6
    assert len(found[0].fingerprints_after) == 4


def test_a_draft_on_a_part_of_the_vocabulary_is_told_in_the_targets_ids() -> None:
    ids = np.array([9, 4, 6, 11])
    q = rows(2, columns=4)
    step = one_step(recorder(), draft={"probs": q, "vocabulary": ids})
    nodes = step.tree.nodes
    p = rows(4)
    outside = [token for token in range(p.shape[1]) if token not in ids]
    told = one_step(recorder(), draft={"probs": q, "vocabulary": ids}, target={"probs": p})
    assert [node.p_outside for node in told.tree.nodes] == pytest.approx(p[:, outside].sum(axis=1))
    assert [node.p_outside for node in nodes] == [None] * 4, "where the target's rows were not said"
    whole = one_step(recorder(), draft={"probs": rows(2), "vocabulary": np.arange(p.shape[1])}, target={"probs": p})
    assert [node.p_outside for node in whole.tree.nodes] == [None] * 4, "where it can propose every token"
    assert [node.draft_prob for node in nodes] == [None, float(q[0, 1]), 0.0, float(q[1, 2])]
    assert nodes[0].draft.processed.ids == tuple(ids[np.argsort(-q[0])])
    assert step.verdicts["my-loop"].bonus.draft_rank == (q[1] > q[1, 0]).sum()


def test_the_draft_may_be_told_level_by_level() -> None:
    q, mask = rows(2), np.ones((1, 4), dtype=bool)
    with (rec := recorder()).step() as step:
        step.draft(q[:1], nodes=[0], positions=[2], mask=mask[:, :3], proposal="top_k")
        step.draft(q[1:], nodes=torch.tensor([1]), positions=[3], mask=mask)
        step.tree(TOKENS, PARENTS)
        step.verify(accepted=[], bonus=4)
    both = rec.trace().steps[0]
    assert both.tree.nodes == one_step(recorder(), draft={"probs": q}).tree.nodes
    assert [(slot.node, slot.position, slot.slot, slot.sees_before) for slot in both.caches.draft.appended] == [
        *[(0, 2, 2, 2), (1, 3, 3, 2)]
    ]


# -------------------------------------------------------------------------------------------------------- arrays


@pytest.mark.parametrize(
    "of",
    [
        *[np.ndarray.tolist, lambda x: x, lambda x: x.astype(np.float64), lambda x: x[None], torch.from_numpy],
        lambda x: torch.from_numpy(x)[None, None].clone().requires_grad_(),
        lambda x: list(torch.from_numpy(x)),
        lambda x: torch.from_numpy(x).double(),
        lambda x: np.asfortranarray(x),
    ],
)
def test_every_kind_of_array_is_the_same(of) -> None:
    p = rows(4)
    expected = one_step(recorder(), target={"probs": p}).tree
    ints = {"tokens": torch.tensor([TOKENS], dtype=torch.int32), "parents": np.array(PARENTS, dtype=np.int16)}
    found = one_step(
        recorder(),
        tree=ints,
        target={"probs": of(p)},
        verify={"accepted": torch.tensor([1]), "bonus": torch.tensor(9), "coins": {1: torch.tensor(0.5)}},
    )
    assert [node.target_prob for node in found.tree.nodes] == [node.target_prob for node in expected.nodes]
    assert found.tree.nodes[3].target.entropy == pytest.approx(expected.nodes[3].target.entropy, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_read_as_it_is(dtype) -> None:
    p = torch.from_numpy(rows(4)).to(dtype)
    rec = recorder()
    assert one_step(rec, target={"probs": p}).tree.nodes[1].target_prob == float(p[0, 4])
    assert rec.trace().engine.options["dtype"] == str(dtype).removeprefix("torch.")


@pytest.mark.parametrize("as_tensor", [False, True])
def test_rows_that_the_engine_changes_afterwards_were_read_before(as_tensor) -> None:
    p, q, row = rows(4), rows(2), rows(1)[0]
    calls = {"draft": {"probs": q}, "target": {"probs": p}}
    said = {"accepted": [1], "bonus": 9, "bonus_row": row}
    expected = one_step(recorder(), **calls, verify=said)
    given = [torch.from_numpy(x.copy()) if as_tensor else x.copy() for x in (p, q, row)]
    tokens, path = np.array(TOKENS), [1]
    rec = recorder()
    with rec.step() as step:
        step.tree(tokens, PARENTS)
        step.target(given[0])
        step.draft(given[1])
        step.verify(accepted=path, bonus=9, bonus_row=given[2])
        for x in given:
            x[:] = 0
        tokens[:] = 7
        path.clear()
    found = rec.trace().steps[0]
    assert found.tree == expected.tree
    assert found.verdicts == expected.verdicts


# --------------------------------------------------------------------------------------- several, and none at all


def test_steps_of_two_requests_may_interleave() -> None:
    rec = Recorder(strict=True)
    rec.prompt([1, 2], request="a")
    rec.prompt([5], request=7)
    with rec.step("a") as a, rec.step(7) as b:
        b.tree([5, 6])
        a.tree([2, 3])
        a.verify(accepted=[1], bonus=4)
        b.verify(accepted=[], bonus=8)
    with rec.step(7) as b:
        b.verify(accepted=[], bonus=9)
    rec.end("max_new_tokens", request=7)
    a, b = rec.trace(), rec.trace(7)
    assert (a.request, a.output_tokens(), a.end_reason) == ("a", [3, 4], None)
    assert (b.request, b.output_tokens(), b.end_reason) == ("7", [8, 9], "max_new_tokens")
    assert a.id != b.id
    with pytest.raises(specviz.TraceError, match="no request 'c'"):
        rec.trace("c")


def test_threads_may_share_a_recorder(tmp_path) -> None:
    rec = Recorder(tmp_path / "run.jsonl", strict=True)
    names = [f"request {i}" for i in range(4)]

    def decode(name: str) -> None:
        rec.prompt([1], request=name)
        for i in range(25):
            with rec.step(name) as step:
                step.tree([i + 1, i + 2])
                step.target(rows(2, columns=40))
                step.verify(accepted=[], bonus=i + 2)

    threads = [threading.Thread(target=decode, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in names:
        assert specviz.load(tmp_path / "run.jsonl", request=name).output_tokens() == [*range(2, 27)]


def test_with_the_environment_variable_0_nothing_is_done(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("SPECVIZ", "0")
    rec = Recorder(tmp_path / "run.jsonl", prompt=object(), target=object(), engine="rejection")
    with rec.step() as step:
        step.tree(None, unknown=1)
        step.draft(1)
        step.target()
        with step.cache("target", None, length=3) as read:
            assert read is not None
        step.verify()
    with rec.step() as another:
        assert another is step
    rec.prompt([1])
    rec.end("no reason")
    rec.close()
    assert not [*tmp_path.iterdir()]
    assert "SPECVIZ=0" in rec._repr_html_()
    with pytest.raises(specviz.TraceError, match="SPECVIZ=0"):
        rec.trace()


def test_whole_rows_are_kept_beside_the_recording_where_that_is_asked_for(tmp_path) -> None:
    p, q = rows(4), rows(2)
    rec = recorder(tmp_path / "run.jsonl", rows=True)
    one_step(rec, target={"probs": p}, draft={"probs": q})
    with np.load(tmp_path / "run.jsonl.rows" / "0-0.npz", allow_pickle=False) as kept:
        assert {*kept} == {"p", "q", "p_nodes", "q_nodes"}
        assert kept["p"].dtype == np.float16
        np.testing.assert_allclose(kept["p"], p, rtol=1e-3)
        assert kept["q_nodes"].tolist() == [0, 1]
    one_step(recorder(tmp_path / "other.jsonl"), target={"probs": p})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.jsonl", "run.jsonl", "run.jsonl.rows"]


def test_models_are_named_or_measured() -> None:
    from tests import tiny

    model = tiny.make_model("llama")
    models = recorder(target=model, draft="me/draft").trace().models
    assert (models.draft.id, models.draft.parameters) == ("me/draft", None)
    assert models.target.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert (models.target.dtype, models.target.device) == ("float32", "cpu")
    assert models.target.architecture == type(model).__name__


def test_a_recorder_shows_itself_in_a_notebook(monkeypatch) -> None:
    monkeypatch.setitem(vars(specviz), "notebook_html", lambda trace: f"{len(trace.steps)} steps")
    rec = recorder()
    one_step(rec)
    assert rec._repr_html_() == "1 steps"
    assert "before its first run" in specviz.Recorder()._repr_html_()


def test_a_recorder_says_what_its_checks_found_as_text_and_as_a_table() -> None:
    rec = recorder()
    one_step(rec)
    found = rec.audit()
    assert found == audit(rec.trace())
    assert str(found) == repr(found)
    assert str(found).endswith("0 errors, 0 warnings")
    assert "not run  target_rows: it lacked the target model (--target)" in str(found)
    sentence = "a <b> \u202eand\x1b[31m"
    found = Audited([Finding("root", "error", 0, None, sentence, "usual", "text"), NotRun("mask", "a mask")])
    page = found._repr_html_()
    assert page.count("<tr>") == 3
    assert "<caption>1 error, 0 warnings</caption>" in page
    assert "a &lt;b&gt; ⟨U+202E⟩and" in page
    assert "<td>usual</td><td>text</td>" in page
    assert "<td>not run</td><td>mask</td><td>it lacked a mask</td>" in page
    assert "error    root: a <b> ⟨U+202E⟩and⟨U+001B⟩[31m" in str(found)
    with pytest.raises(specviz.TraceError, match="before its first run"):
        specviz.Recorder().audit()


def test_a_step_has_the_texts_of_its_own_tokens_only() -> None:
    rec = recorder(decode=str)
    for token in range(20, 24):
        with rec.step() as step:
            step.tree([token - 1, token], [-1, 0])
            step.verify(accepted=[], bonus=token)
    assert [[text.id for text in step.tokens] for step in rec.trace().steps] == [
        [token - 1, token] for token in range(20, 24)
    ]


@pytest.mark.parametrize("kind", ["byte-level BPE", "byte fallback, as Llama 2"])
def test_a_fast_tokenizer_says_what_each_token_adds_within_a_text(kind: str) -> None:
    """Alone a token has no leading space, and a part of a character is none."""
    tokenizer = KINDS[kind]()
    ids = tokenizer.encode("the sea 🌊", add_special_tokens=False)
    rec = recorder(prompt=ids, decode=tokenizer.decode)
    step = one_step(rec, tree={"tokens": ids[-1:]}, verify={"accepted": [], "bonus": ids[1]})
    texts = {**rec.trace().prompt_text_of, **step.text_of()}
    assert b"".join(texts[token].raw for token in ids).decode().strip() == "the sea 🌊"
    assert {texts[token].bytes for token in ids} != {None}
    plain = recorder(prompt=ids, decode=lambda tokens: tokenizer.decode(tokens))
    assert {text.bytes for text in one_step(plain, tree={"tokens": ids[-1:]}, verify={"accepted": []}).tokens} == {None}
