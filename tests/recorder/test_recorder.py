"""What a loop says is what is recorded, whatever its arrays are, and nothing is raised into it."""

from __future__ import annotations

import re
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import specviz
from specviz.recorder.audit import audit
from specviz.recorder.findings import Audited, Finding, NotRun
from specviz.recorder.recorder import Recorder
from specviz.trace.schema import Sampling, Step

PROMPT = [1, 2, 3]
TOKENS, PARENTS = [3, 4, 5, 6], [-1, 0, 0, 1]
V = 12


def rows(n: int, seed: int = 0, columns: int = V) -> np.ndarray:
    """[n, V], float32, each sums to 1."""
    weights = np.random.default_rng(seed).random((n, columns), dtype=np.float32)
    return weights / weights.sum(-1, keepdims=True)


def recorder(path: Path | None = None, **options) -> Recorder:
    given = {"prompt": PROMPT, "decode": lambda ids: "".join(f"<{token}>" for token in ids), "strict": True}
    return Recorder(path, **given | options)


def one_step(rec: Recorder, **calls) -> Any:
    """Record a step of what is given for each call; the tree and a verdict always."""
    given = {"tree": {"tokens": TOKENS, "parents": PARENTS}, "verify": {"accepted": [1], "bonus": 9}} | calls
    with rec.step() as step:
        for name, arguments in given.items():
            getattr(step, name)(**arguments)
    return rec.trace().steps[-1] if rec.trace().steps else None


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


# --------------------------------------------------------------------------------------------- what goes wrong


def warned(rec: Recorder, **calls) -> tuple[Step | None, list[str]]:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        step = one_step(rec, **calls)
    assert all(warning.category is specviz.RecorderWarning and warning.filename == __file__ for warning in told)
    return step, [str(warning.message) for warning in told]


NAN = np.where(np.arange(4)[:, None] == 2, np.float32("nan"), rows(4))


@pytest.mark.parametrize(
    ("call", "said", "sentence"),
    [
        ("tree", {"tokens": TOKENS, "parents": [-1, 0, 3, 1]}, "node 2 has the parent 3, but a parent comes before"),
        ("tree", {"tokens": TOKENS, "parents": [-1, 0]}, "there are 4 tokens and 2 parents"),
        ("tree", {"tokens": [3.5, 4.0]}, "tokens should be a list of whole numbers"),
        ("tree", {"tokens": "word"}, "str is no array of numbers"),
        ("target", {"probs": rows(3)}, "there are 3 rows for 4 nodes; say with nodes="),
        ("target", {"probs": NAN}, "the row of node 2 has NaN or infinity, which are no probabilities; 1 of 4 rows"),
        ("target", {"probs": 9 * rows(4) - 4}, "give logits with logits="),
        ("target", {"logits": np.full((4, V), -np.inf)}, "the logits of node 0 have NaN or infinity"),
        ("target", {"probs": rows(4), "logits": rows(4, columns=5)}, r"probs of shape \[4, 12\] and logits of shape"),
        ("target", {"positions": [1, 2]}, "there are 2 positions for 4 nodes"),
        ("target", {"mask": np.ones((4, 3))}, "the mask should be"),
        ("target", {"slots": [1, 1, 2, 3]}, "each of one node"),
        ("draft", {"probs": rows(2), "nodes": [0, 8]}, "are not nodes of a tree of 4"),
        ("draft", {"probs": rows(2), "proposal": "magic"}, "there is no proposal 'magic'"),
        ("draft", {"probs": rows(2), "vocabulary": [1, 2]}, "rows of 12 columns do not fit a vocabulary of 2"),
        ("verify", {"accepted": [1, 2], "bonus": 9}, "accepted node 2 is not a child of node 1"),
        ("verify", {"accepted": [0, 1], "bonus": 9}, "accepted begins with node 0"),
        ("verify", {"accepted": [1], "bonus": 9, "coins": {1: 1.5}}, r"the coin of node 1 is 1.5, not in \[0, 1\]"),
        ("verify", {"accepted": [1], "bonus": 9, "thresholds": {8: 1.0}}, "thresholds of node 8: no such node"),
        ("verify", {"accepted": [1], "bonus": 9, "coins": {"a": 0.5}}, "coins should be node -> number"),
        ("verify", {"accepted": [1], "bonus": 9, "source": "luck"}, "there is no source 'luck'"),
    ],
)
def test_a_wrong_call_warns_once_in_a_sentence_and_what_can_be_recorded_is(call, said, sentence) -> None:
    rec = recorder(strict=False)
    step, told = warned(rec, **{call: said})
    assert any(re.search(sentence, text) for text in told), told
    assert all(text.startswith("specviz: ") and "\n" not in text and len(text) < 600 for text in told)
    again, told_again = warned(rec, **{call: said})
    assert told_again == []
    if call == "tree":
        failed = rec.trace().failed  # nobody knows what the text is now
        assert (step, failed.nodes[0].token) == (None, 3)
    else:
        assert (step.verdicts["my-loop"].path, step.tree.nodes[3].token) == ((1,), 6)
        assert step.committed == ((4, 5, 9) if said.get("accepted") == [1, 2] else (4, 9))
        assert step.tree == again.tree
    with pytest.raises(specviz.RecorderError, match=sentence):
        one_step(recorder(), **{call: said})


def test_of_rows_with_nan_the_others_are_recorded() -> None:
    step, _ = warned(recorder(strict=False), target={"probs": NAN, "positions": [2, 3, 3, 4], "mask": np.tri(4, 6, 2)})
    assert [node.target is None for node in step.tree.nodes] == [False, False, True, False]
    assert [node.target_prob is None for node in step.tree.nodes] == [True, False, False, False]
    assert [(slot.node, slot.slot, slot.position) for slot in step.caches.target.appended] == [
        *[(0, 2, 2), (1, 3, 3), (3, 5, 4)]
    ]


def test_a_step_that_raised_is_recorded_as_far_as_it_got_and_its_error_goes_on() -> None:
    rec = recorder(strict=False)
    one_step(rec)

    def decode() -> None:
        with rec.step() as step:
            step.tree([9, 4], [-1, 0])
            step.target(rows(2))
            raise ZeroDivisionError("division by zero")

    with pytest.raises(ZeroDivisionError):
        decode()
    trace = rec.trace()
    assert (trace.end_reason, trace.end_message) == ("error", "ZeroDivisionError: division by zero")
    assert (trace.failed.index, trace.failed.context) == (1, 5)
    assert [node.token for node in trace.failed.nodes] == [9, 4]
    assert trace.failed.nodes[1].target_prob == float(rows(2)[0, 4])
    one_step(rec, tree={"tokens": [9, 4]})  # the loop caught it, and went on
    assert (len(rec.trace().steps), rec.trace().failed) == (2, None)


def test_the_loops_own_error_is_never_replaced() -> None:
    def decode() -> None:
        with recorder().step() as step:
            step.tree([3, 4], [0, 7])
            raise KeyError("mine")

    with pytest.warns(specviz.RecorderWarning, match="node 0 has the parent 0"), pytest.raises(KeyError, match="mine"):
        decode()


def test_a_step_without_a_verdict_is_recorded_as_one_that_failed() -> None:
    rec = recorder(strict=False)
    with pytest.warns(specviz.RecorderWarning, match=r"ended without step.verify"), rec.step() as step:
        step.tree([3, 4])
    assert [node.token for node in rec.trace().failed.nodes] == [3, 4]


def test_steps_of_a_request_without_a_prompt_warn() -> None:
    rec = Recorder(engine="mine")
    with pytest.warns(specviz.RecorderWarning, match="no prompt of the request 'b' was given"), rec.step("b") as step:
        step.verify(accepted=[], bonus=3)


def test_a_decode_that_fails_is_told_of_and_tokens_are_shown_by_number() -> None:
    with pytest.warns(specviz.RecorderWarning, match="decode"):
        rec = recorder(strict=False, decode=lambda ids: {}[tuple(ids)])
    assert one_step(rec).tree.nodes[1].text == "‹4›"


@pytest.mark.parametrize("engine", ["rejection", "", "x" * 300])
def test_an_engine_has_a_name_of_its_own(engine) -> None:
    with pytest.raises(specviz.SettingsError, match="An engine cannot be called"):
        Recorder(engine=engine)


def test_a_recording_that_cannot_be_written_and_a_sampling_that_is_none_are_refused(tmp_path) -> None:
    with pytest.raises(specviz.SettingsError, match="cannot be written to"):
        Recorder(tmp_path)
    for sampling in ({"temprature": 1}, -1, {"top_p": 0.0}):
        with pytest.raises(specviz.SettingsError, match=r"The sampling .* is none"):
            Recorder(sampling=sampling)
    assert recorder(sampling={"temperature": 1}, draft_sampling=2).trace().engine.draft == Sampling(temperature=2.0)


def test_after_a_write_that_failed_the_recording_stays_as_it_was(tmp_path, monkeypatch) -> None:
    rec = recorder(tmp_path / "run.jsonl", strict=False)
    one_step(rec)
    before = (tmp_path / "run.jsonl").read_bytes()
    write = rec._file._file.write

    def full(data) -> int:
        write(bytes(data)[:9])
        raise OSError(28, "No space left on device")

    class Full:
        def __getattr__(self, name):
            return full if name == "write" else getattr(whole, name)

    whole = rec._file._file
    rec._file._file = Full()
    with pytest.warns(specviz.RecorderWarning, match="No space left on device"), rec.step() as step:
        step.verify(accepted=[], bonus=3)
    rec._file._file = whole
    with rec.step() as step:  # it would not follow the step that is missing
        step.verify(accepted=[], bonus=3)
    assert (tmp_path / "run.jsonl").read_bytes() == before


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
