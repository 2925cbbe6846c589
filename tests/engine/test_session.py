"""Whole runs on small random models."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from unittest.mock import patch

import pytest
import torch

from specviz.bench.greedy import plain_greedy
from specviz.engine import session as engine_module
from specviz.engine.session import Session
from specviz.errors import NumericsError, OutOfMemoryError, SettingsError, VerifierError
from specviz.models.cached_model import Output
from specviz.models.language_model import LanguageModel
from specviz.trace.io import dump_trace, parse_trace
from specviz.trace.metrics import emitted_lengths
from specviz.trace.schema import LONGEST_NAME, LONGEST_PROMPT, LONGEST_TEXT, Choice, Sampling, Step, Trace
from specviz.verifiers import VERIFIERS, Context, Luck, Walk
from tests import faults, tiny
from tests.pairs import TREES, greedy_settings, make_pair, make_settings, make_trace, pair_of

AUDIT_TOLERANCE = 1e-5
FAMILIES = ("llama", "qwen2", "qwen3", "gpt2", "gpt_neox")


def comparable(trace: Trace) -> dict:
    """A trace without ids and times."""
    data = trace.model_dump()
    for name in ("id", "created", "forked_from"):
        data.pop(name)
    for step in data["steps"]:
        step.pop("timings")
        step.pop("prefilled")
    return data


def worst_audit(step: Step) -> float:
    audits = [step.caches.target.audit]
    if step.tree.builder != "prompt_lookup":  # which never runs the draft
        audits.append(step.caches.draft.audit)
    assert all(audit is not None for audit in audits)
    return max(audit.worst() for audit in audits)


# ------------------------------------------------------------------------------------------------------ exactness


@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_gives_the_tokens_of_plain_greedy_decoding(family: str, tree: str) -> None:
    pair = make_pair(family, scale=0.1)
    accepted = 0
    for prompt in ("the sea", "an onion in a tin"):
        session = Session(pair, greedy_settings(tree), prompt)
        steps = list(session.run())
        expected, _ = plain_greedy(pair, pair.encode(prompt, False), 24)
        assert session.trace.output_tokens() == expected
        accepted += len(expected) - len(steps)
    assert (accepted > 0) == (tree != "no draft"), "where nothing is ever accepted, this proves little"


@pytest.mark.parametrize("driver", ["rejection", "eta", "longest_path", "traversal", "naive", "greedy"])
@pytest.mark.parametrize("tree", TREES)
def test_both_caches_equal_a_recompute_after_every_step(tree: str, driver: str) -> None:
    trace = make_trace("llama", tree, driver=driver, audit=True)
    assert max(worst_audit(step) for step in trace.steps) < AUDIT_TOLERANCE


@pytest.mark.parametrize("family", FAMILIES)
def test_caches_of_every_family(family: str) -> None:
    trace = make_trace(family, "heterogeneous", audit=True, driver="longest_path")
    assert max(worst_audit(step) for step in trace.steps) < AUDIT_TOLERANCE


def test_one_seed_gives_one_trace_and_another_seed_another() -> None:
    assert comparable(make_trace(seed=7)) == comparable(make_trace(seed=7))
    assert make_trace(seed=7).output_tokens() != make_trace(seed=8).output_tokens()


@pytest.mark.parametrize("tree", TREES)
def test_the_trace_alone_reproduces_every_decision(tree: str) -> None:
    trace = parse_trace(dump_trace(make_trace("llama", tree, target=Sampling(temperature=0.8, top_p=0.9))))
    checked = 0
    for step in trace.steps:
        for verdict in step.verdicts.values():
            for decision in verdict.decisions:
                node = step.tree.nodes[decision.node]
                assert decision.threshold == verdict.thresholds[decision.node]
                passed = {
                    "uniform < threshold": lambda d=decision: d.uniform < d.threshold,
                    "p > threshold": lambda d=decision: d.p > d.threshold,
                    "token = drawn": lambda d=decision, n=node: n.token == d.expected,
                    "token = argmax": lambda d=decision, n=node: n.token == d.expected,
                }[decision.comparison]()
                assert passed == (decision.outcome != "rejected")
                assert (decision.outcome == "accepted") == (decision.node in verdict.path)
                checked += 1
            assert verdict.bonus.node == (verdict.path[-1] if verdict.path else 0)
            if verdict.verifier == "rejection":
                for decision in verdict.decisions:
                    assert decision.threshold == pytest.approx(decision.p / decision.q, rel=1e-5)
        driver = step.verdicts[step.driver]
        emitted = [*(step.tree.nodes[n].token for n in driver.path), driver.bonus.token]
        assert list(step.committed) == emitted[: len(step.committed)]
    assert checked > 0 or tree == "no draft"


def test_accepted_plus_steps_is_emitted() -> None:
    trace = make_trace(max_new_tokens=40)
    lengths = emitted_lengths(trace, "rejection")
    assert [len(step.committed) for step in trace.steps[:-1]] == lengths[:-1]
    accepted = sum(
        decision.outcome == "accepted" for s in trace.steps for decision in s.verdicts["rejection"].decisions
    )
    cut = sum(lengths) - len(trace.output_tokens())
    assert accepted + len(trace.steps) == len(trace.output_tokens()) + cut
    assert 0 <= cut < lengths[-1]


def test_all_verifiers_meet_the_same_luck() -> None:
    for step in make_trace().steps:
        coins: dict[int, set[float]] = {}
        for name in ("rejection", "longest_path", "traversal"):
            for decision in step.verdicts[name].decisions:
                coins.setdefault(decision.node, set()).add(decision.uniform)
        assert all(len(values) == 1 for values in coins.values())


# ------------------------------------------------------------------------------------------------- planted faults


def test_a_forgotten_compaction_is_caught() -> None:
    with faults.no_compaction():
        trace = make_trace(audit=True, max_new_tokens=40)
    assert max(worst_audit(step) for step in trace.steps) > 0.01
    # It also shows without an audit: what stands in the kept slots is not what was kept.
    broken = [s for s in trace.steps if s.verdicts[s.driver].path and s.verdicts[s.driver].path[0] != 1]
    change = broken[0].caches.target
    by_node = {slot.node: before for slot, before in zip(change.appended, change.fingerprints_before, strict=True)}
    path = broken[0].verdicts[broken[0].driver].path
    assert change.fingerprints_after[1] != by_node[path[0]]


def test_positions_off_by_one_are_caught() -> None:
    with faults.positions_off_by_one():
        trace = make_trace(audit=True)
    # The first step too: its root and kept nodes were run one position too far.
    assert worst_audit(trace.steps[0]) > 0.01
    assert trace.steps[0].caches.target.appended[0].position == trace.steps[0].caches.target.length_before + 1


def test_a_leaking_sibling_is_caught() -> None:
    with faults.sibling_leak():
        trace = make_trace(audit=True, max_new_tokens=40)
    assert max(worst_audit(step) for step in trace.steps) > 0.01
    slot = trace.steps[0].caches.target.appended[2]
    assert len(slot.sees) == 3
    assert trace.steps[0].tree.nodes[2].depth == 1


def test_a_draft_cache_that_is_a_token_short_is_caught() -> None:
    with faults.draft_a_token_short():
        trace = make_trace("llama", Choice(name="k_config", options={"tree": "2"}), audit=True, max_new_tokens=40)
    assert max(step.caches.draft.audit.worst() for step in trace.steps) > 0.01
    assert max(step.caches.target.audit.worst() for step in trace.steps) < AUDIT_TOLERANCE


def test_a_bonus_from_a_stale_residual_shows_in_the_trace() -> None:
    """The bonus distribution is the residual after the last rejected sibling, or it is not."""
    for planted in (False, True):
        with faults.stale_residual() if planted else nullcontext():
            trace = make_trace(verifiers=(Choice(name="rejection"),), max_new_tokens=40)
        stale = 0
        for step in trace.steps:
            verdict = step.verdicts["rejection"]
            if verdict.bonus.source == "residual":
                last = verdict.decisions[-1]
                stale += last.residual.top.ids[:5] != verdict.bonus.distribution.ids[:5]
        assert (stale > 0) == planted


@pytest.mark.parametrize("where", ["judge", "walk", "verdict"])
def test_a_verifier_that_fails_is_named_and_what_was_recorded_is_kept(where: str) -> None:
    exact = VERIFIERS["rejection"]

    def judge(tree, target, options):
        if where == "judge":
            raise KeyError("my table")
        judgement = exact.judge(tree, target, options)
        return replace(judgement, thresholds=judgement.thresholds * float("nan")) if where == "verdict" else judgement

    def walk(context, luck):
        return [][0] if where == "walk" else exact.walk(context, luck)

    mine = replace(exact, name="mine", judge=judge, walk=walk)
    with patch.dict(VERIFIERS, {"mine": mine}):
        session = Session(make_pair(), make_settings(verifiers=(Choice(name="mine"),), driver="mine"), "the sea")
        with pytest.raises(VerifierError, match="The verifier mine failed at") as caught:
            session.step()
    assert "\n" not in str(caught.value)
    assert session.trace.end_reason == "error"


def test_a_path_that_does_not_hang_together_is_the_verifiers_fault() -> None:
    exact = VERIFIERS["rejection"]
    mine = replace(exact, name="mine", walk=lambda context, luck: replace(exact.walk(context, luck), path=(2, 1)))
    with patch.dict(VERIFIERS, {"mine": mine}):
        session = Session(make_pair(), make_settings(verifiers=(Choice(name="mine"),), driver="mine"), "the sea")
        with pytest.raises(VerifierError, match=r"The verifier mine failed .* its path \[2, 1\] is not the way"):
            session.step()


def test_a_verifier_that_writes_into_its_rows_changes_no_other_verdict() -> None:
    exact = VERIFIERS["rejection"]

    def judge(tree, target, options):
        judgement = exact.judge(tree, target, options)
        tree.rows.fill_(0.5)
        target.fill_(0.5)
        return judgement

    alone = make_trace(verifiers=(Choice(name="naive"),), driver="naive", max_new_tokens=6)
    with patch.dict(VERIFIERS, {"mine": replace(exact, name="mine", judge=judge)}):
        after = make_trace(verifiers=(Choice(name="mine"), Choice(name="naive")), driver="naive", max_new_tokens=6)
    assert [step.verdicts["naive"] for step in after.steps] == [step.verdicts["naive"] for step in alone.steps]


# ------------------------------------------------------------------------------------------------------------ ends


@pytest.mark.parametrize("limit", [1, 2, 3, 17])
def test_max_new_tokens_is_exact(limit: int) -> None:
    trace = make_trace(max_new_tokens=limit, audit=True, driver="longest_path")
    assert len(trace.output_tokens()) == limit
    assert trace.end_reason == "max_new_tokens"
    assert worst_audit(trace.steps[-1]) < AUDIT_TOLERANCE


def test_end_of_sequence_inside_a_path_cuts_what_follows() -> None:
    free = make_trace(max_new_tokens=60, driver="eta")
    step = next(s for s in free.steps if len(s.verdicts["eta"].path) >= 2)
    end = step.tree.nodes[step.verdicts["eta"].path[0]].token
    pair = make_pair(end_tokens=(end,))
    session = Session(pair, make_settings(max_new_tokens=60, driver="eta", audit=True), "the sea")
    list(session.run())
    trace = session.trace
    assert trace.end_reason == "end of sequence"
    assert trace.output_tokens().index(end) == len(trace.output_tokens()) - 1
    assert worst_audit(trace.steps[-1]) < AUDIT_TOLERANCE
    for step in trace.steps:
        for children, node in zip(step.tree.children(), step.tree.nodes, strict=True):
            assert not (children and node.id and node.token == end), "an end-of-sequence node was expanded"


def test_the_context_limit_ends_the_run_before_the_models_fail() -> None:
    target = tiny.make_model("gpt2", n_positions=32)
    draft = tiny.make_model("gpt2", seed=0, n_positions=32)
    pair = pair_of(target, draft)
    session = Session(pair, make_settings(max_new_tokens=100), "the sea")
    list(session.run())
    assert session.end_reason == "context limit"
    assert len(session.tokens) == 33, "the last token is drawn from the last position and never fed"
    with pytest.raises(SettingsError, match="shorten it"):
        Session(pair, make_settings(), "x" * 40)
    assert Session.resume(pair, session.trace).end_reason == "context limit"


@pytest.mark.parametrize("positions", [(32, 32), (32, 40), (40, 32)])
def test_a_full_context_is_audited_but_for_the_logits_it_does_not_have(positions: tuple[int, int]) -> None:
    pair = pair_of(*(tiny.make_model("gpt2", n_positions=n) for n in positions))
    session = Session(pair, make_settings(max_new_tokens=100, audit=True), "the sea")
    list(session.run())
    assert session.end_reason == "context limit"
    caches = session.steps[-1].caches
    for change, limit in ((caches.target, positions[0]), (caches.draft, positions[1])):
        assert (change.audit.logits is None) == (limit == 32 == change.length_after)
    assert max(worst_audit(step) for step in session.steps) < AUDIT_TOLERANCE


def test_a_prompt_of_one_token() -> None:
    session = Session(make_pair(), make_settings(audit=True), "a")
    assert len(session.prompt_tokens) == 1
    assert worst_audit(session.step()) < AUDIT_TOLERANCE
    assert worst_audit(session.step()) < AUDIT_TOLERANCE


def test_no_draft_is_plain_sampling() -> None:
    trace = make_trace("llama", "no draft")
    assert all(len(step.tree.nodes) == 1 and len(step.committed) == 1 for step in trace.steps)


# ---------------------------------------------------------------------------------------------- live and resumed


def test_a_stopped_session_goes_on_where_it_stopped() -> None:
    whole = make_trace(seed=3)
    session = Session(make_pair(), make_settings(seed=3), "the sea")
    run = session.run()
    next(run)
    next(run)
    run.close()
    assert session.trace.end_reason == "stopped"
    list(session.run(steps=1))
    list(session.run())
    assert comparable(session.trace) == comparable(whole)
    assert [step.prefilled > 0 for step in session.steps] == [True] + [False] * (len(session.steps) - 1)


@pytest.mark.parametrize("steps", [0, 1, 4])
def test_a_session_resumed_from_a_trace_goes_on_as_the_recorded_one(steps: int) -> None:
    whole = make_trace(seed=5, audit=True)
    session = Session.resume(make_pair(), whole, steps=steps)
    list(session.run())
    again = session.trace
    assert again.output_tokens() == whole.output_tokens()
    assert again.forked_from.step == steps
    assert again.steps[steps].prefilled == again.steps[steps].context - 1
    assert worst_audit(again.steps[steps]) < AUDIT_TOLERANCE
    for ours, theirs in zip(again.steps, whole.steps, strict=True):
        assert {n: v.path for n, v in ours.verdicts.items()} == {n: v.path for n, v in theirs.verdicts.items()}


def test_a_fork_with_another_driver_keeps_the_prefix() -> None:
    whole = make_trace(seed=5)
    settings = whole.settings.model_copy(update={"driver": "eta"})
    session = Session.resume(make_pair(), whole, steps=2, settings=settings)
    list(session.run())
    kept, theirs = session.trace.steps[:2], whole.steps[:2]
    assert [step.model_copy(update={"settings": None}) for step in kept] == list(theirs)
    assert [session.trace.settings_of(i).driver for i in range(3)] == ["rejection", "rejection", "eta"]
    assert session.trace.steps[2].driver == "eta"
    again = Session.resume(make_pair(), session.trace, settings=settings.model_copy(update={"seed": 9}))
    assert [step.settings.driver for step in again.steps[:3]] == ["rejection", "rejection", "eta"]
    parse_trace(dump_trace(session.trace))


def test_going_on_after_the_token_limit() -> None:
    session = Session(make_pair(), make_settings(max_new_tokens=5, audit=True), "the sea")
    list(session.run())
    session.go_on(12)
    list(session.run())
    assert len(session.trace.output_tokens()) == 12
    assert worst_audit(session.steps[-1]) < AUDIT_TOLERANCE


def test_a_limit_that_is_passed_already_ends_the_run() -> None:
    session = Session(make_pair(), make_settings(max_new_tokens=40), "the sea")
    assert len(list(session.run(steps=2))) == 2
    session.go_on(1)
    assert session.end_reason == "max_new_tokens"
    session.go_on(40)
    assert session.end_reason is None


def test_a_trace_of_a_larger_vocabulary_is_refused() -> None:
    trace = make_trace(max_new_tokens=4)
    foreign = trace.model_copy(update={"prompt_tokens": (100_000, *trace.prompt_tokens[1:])})
    with pytest.raises(SettingsError, match="has a token 100000"):
        Session.resume(make_pair(), foreign)


def test_an_interrupted_step_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = make_trace(seed=3)
    session = Session(make_pair(), make_settings(seed=3), "the sea")
    session.step()

    def interrupted(*arguments):
        raise KeyboardInterrupt

    # Both caches have kept what was committed by then, and the text has not.
    monkeypatch.setattr(engine_module, "record_tree", interrupted)
    with pytest.raises(KeyboardInterrupt):
        session.step()
    monkeypatch.undo()
    list(session.run())
    assert session.steps[1].prefilled > 0
    assert session.trace.output_tokens() == whole.output_tokens()


def test_one_model_in_both_parts_is_timed_in_both() -> None:
    target = make_pair().target
    session = Session(replace(make_pair(), draft=target), make_settings(), "the sea")
    timings = session.step().timings
    assert timings.draft > 0
    assert timings.target > 0


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("tree", ["chain", "4,2,2", "with replacement"])
def test_a_draft_that_is_the_target_is_worth_its_path(tree: str, seed: int) -> None:
    # p and q differ by rounding only, and so does a residual from nothing.
    target = make_pair().target
    session = Session(replace(make_pair(), draft=target), make_settings(tree, seed=seed, driver="traversal"), "the sea")
    for step in session.run():
        assert max(step.verdicts["traversal"].thresholds) <= 1


# -------------------------------------------------------------------------------------------------------- failures


@pytest.mark.parametrize(("target_vocabulary", "draft_vocabulary"), [(300, 268), (268, 300)])
def test_padded_vocabularies_of_one_tokenizer(target_vocabulary: int, draft_vocabulary: int) -> None:
    pair = pair_of(tiny.make_model("qwen2", vocab=target_vocabulary), tiny.make_model("qwen2", vocab=draft_vocabulary))
    session = Session(pair, make_settings(audit=True, max_new_tokens=60), "the sea")
    list(session.run())
    assert max(worst_audit(step) for step in session.steps) < AUDIT_TOLERANCE
    nodes = [node for step in session.steps for node in step.tree.nodes]
    assert max(node.token for node in nodes) < target_vocabulary


def test_nan_logits_in_mid_run_keep_what_was_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(make_pair(), make_settings(), "the sea")
    session.step()
    session.step()
    run = LanguageModel._run
    monkeypatch.setattr(LanguageModel, "_run", lambda self, *a: Output(run(self, *a).logits * float("nan")))
    with pytest.raises(NumericsError):
        session.step()
    trace = parse_trace(dump_trace(session.trace))
    assert len(trace.steps) == 2
    assert trace.end_reason == "error"
    assert "NaN" in trace.end_message


@pytest.mark.parametrize(
    "failure",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("MPS backend out of memory"),
        MemoryError(),
    ],
)
def test_out_of_memory_in_mid_run_keeps_what_was_recorded(
    monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    session = Session(make_pair(), make_settings(), "the sea")
    session.step()

    def exhausted(*arguments):
        raise failure

    monkeypatch.setattr(engine_module, "process", exhausted)
    with pytest.raises(OutOfMemoryError, match="smaller tree"):
        session.step()
    monkeypatch.undo()
    assert session.end_reason == "error"
    assert len(session.trace.steps) == 1
    # The trace goes on in a new session.
    again = Session.resume(make_pair(), session.trace)
    again.step()
    assert len(again.trace.steps) == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"builder": Choice(name="oak")}, "no tree builder 'oak'"),
        ({"builder": Choice(name="k_config", options={"tree": "4,x"})}, "not a list of whole numbers"),
        ({"builder": Choice(name="k_config", options={"tree": "40,30"})}, "more than 1024"),
        ({"builder": Choice(name="k_config", options={"leaves": 4})}, "leaves"),
        ({"builder": Choice(name="explicit", options={"paths": "[0],[2]"})}, "elder sibling"),
        ({"builder": Choice(name="explicit", options={"paths": "[0,0]"})}, "no parent"),
        ({"draft": Sampling(eta_cutoff=0.1)}, "eta cutoff"),
        ({"verifiers": (Choice(name="oracle"),), "driver": "oracle"}, "no verifier 'oracle'"),
        ({"verifiers": (Choice(name="eta", options={"epsilon": 2.0}),), "driver": "eta"}, "epsilon"),
    ],
)
def test_unfit_settings_are_one_sentence(settings: dict, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        Session(make_pair(), make_settings(**({"tree": settings.pop("builder", "4,2,2")} | settings)), "the sea")
    assert "\n" not in str(caught.value)


def test_a_reason_without_end_is_cut_so_that_the_file_opens() -> None:
    """A verifier of a user's own says what it likes: what is recorded can be opened again."""
    plain = VERIFIERS["rejection"]

    def walk(context: Context, luck: Luck) -> Walk:
        found = plain.walk(context, luck)
        return replace(found, rulings=tuple(replace(one, reason="why " * 10_000) for one in found.rulings))

    wordy = replace(plain, name="wordy", rule="r" * 10_000, walk=walk)
    settings = make_settings(verifiers=(Choice(name="wordy"),), driver="wordy", max_new_tokens=4)
    session = Session(make_pair(), settings, "the sea", known={"wordy": wordy})
    list(session.run())
    decisions = parse_trace(dump_trace(session.trace)).steps[0].verdicts["wordy"].decisions
    assert {(len(one.rule), len(one.reason)) for one in decisions} == {(LONGEST_NAME, LONGEST_TEXT)}
    assert decisions[0].reason.endswith("…")


@pytest.mark.parametrize("name", ["", "x" * (LONGEST_NAME + 1), "a\u202eb", "a\x1b[31m"])
def test_a_verifier_has_a_name_that_shows(name: str) -> None:
    with pytest.raises(SettingsError, match="cannot be named"):
        replace(VERIFIERS["rejection"], name=name)


def test_a_prompt_that_no_file_could_hold_is_refused() -> None:
    with pytest.raises(SettingsError, match="a run takes 4,000,000; shorten it"):
        Session(make_pair(), make_settings(), "x" * (LONGEST_PROMPT + 1))
