"""What if: the trace alone against the models, and both against runs in which it was really so."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import lru_cache
from unittest.mock import patch

import pytest

from specviz import verifiers
from specviz.engine.whatif import from_trace, through_models
from specviz.errors import SettingsError
from specviz.figures.whatif import alternative_value
from specviz.trace.schema import Choice, Trace
from specviz.trace.whatif_question import FORCED, Alternative, Question, compared_with, parse_question
from specviz.verifiers import VERIFIERS
from tests import pairs

COIN_RULES = ("rejection", "longest_path", "traversal")
TREES = ("4,2,2", "heterogeneous", "dynamic", "with replacement", "chain")


@lru_cache(maxsize=8)
def run(tree: str) -> Trace:
    return pairs.make_trace(tree=tree, seed=3)


def choice_of(trace: Trace, name: str) -> Choice:
    return Choice(name=name, options=dict(trace.steps[0].verdicts[name].options))


def taken(answer: Alternative) -> list[tuple]:
    return [(d.node, d.outcome, d.uniform, d.reason) for d in answer.decisions]


def assert_agree(alone: Alternative, scored: Alternative) -> None:
    assert [(n, o, u) for n, o, u, _ in taken(alone)] == [(n, o, u) for n, o, u, _ in taken(scored)]
    assert alone.path == scored.path
    assert scored.bonus is not None
    if alone.bonus is not None:
        assert (alone.bonus.token, alone.bonus.node, alone.bonus.source) == (
            scored.bonus.token,
            scored.bonus.node,
            scored.bonus.source,
        )
    assert (alone.bonus is None) == (alone.needs is not None)
    assert scored.difference < 1e-5


# -------------------------------------------------------------------------------------- trace against models


@pytest.mark.parametrize("tree", TREES)
def test_the_trace_alone_agrees_with_the_models_on_random_coins(tree):
    """40 questions a tree, 200 in all; coins are drawn on both sides of the threshold."""
    luck = random.Random(tree)
    trace = run(tree)
    known = 0
    for _ in range(40):
        position = luck.randrange(len(trace.steps))
        step = trace.steps[position]
        if len(step.tree.nodes) < 2:
            continue
        name = luck.choice(COIN_RULES)
        nodes = luck.sample(range(1, len(step.tree.nodes)), k=min(luck.choice((1, 1, 2, 4)), len(step.tree.nodes) - 1))
        coins = {node: luck.choice((luck.uniform(1e-9, 1 - 1e-9), 1e-12, 1 - 1e-12)) for node in nodes}
        bonus = luck.choice((None, None, luck.random()))
        question = Question(choice_of(trace, name), coins, {}, bonus)
        alone = from_trace(trace, position, question)
        assert isinstance(alone, Alternative)
        assert_agree(alone, through_models(pairs.make_pair(), trace, position, question))
        known += alone.bonus is not None
    assert known > 3


@pytest.mark.parametrize("name", pairs.ALL_VERIFIERS)
def test_forced_nodes_agree_too_for_every_rule(name):
    luck = random.Random(name)
    answered = 0
    for tree in ("4,2,2", "heterogeneous", "dynamic"):
        trace = run(tree)
        for _ in range(8):
            position = luck.randrange(len(trace.steps))
            nodes = len(trace.steps[position].tree.nodes)
            forced = {luck.randrange(1, nodes): luck.random() < 0.6 for _ in range(2)}
            question = Question(choice_of(trace, name), {}, forced)
            scored = through_models(pairs.make_pair(), trace, position, question)
            for decision in scored.decisions:
                if decision.node in forced and name != "naive":
                    assert (decision.outcome == "rejected") != forced[decision.node]
                    assert decision.reason.startswith(FORCED)
            alone = from_trace(trace, position, question)
            if isinstance(alone, str):
                assert name == "naive", alone
                continue
            answered += 1
            assert_agree(alone, scored)
    assert answered > 3


def test_forcing_the_first_child_takes_the_walk_there():
    trace = run("4,2,2")
    for position, step in enumerate(trace.steps):
        first = next(node.id for node in step.tree.nodes if node.parent == 0)
        for name in ("rejection", "naive", "eta", "greedy", "longest_path"):
            answer = through_models(
                pairs.make_pair(), trace, position, Question(choice_of(trace, name), {}, {first: True})
            )
            outcomes = {decision.node: decision.outcome for decision in answer.decisions}
            assert outcomes[first] != "rejected"
            if name in ("rejection", "naive"):
                assert answer.path[0] == first


def test_to_force_out_what_was_not_drawn_changes_nothing():
    trace = run("4,2,2")
    checked = 0
    for position, step in enumerate(trace.steps):
        verdict = step.verdicts["naive"]
        for node in (d.node for d in verdict.decisions if d.outcome == "rejected"):
            question = Question(choice_of(trace, "naive"), {}, {node: False})
            scored = through_models(pairs.make_pair(), trace, position, question)
            assert (scored.path, scored.bonus.token) == (verdict.path, verdict.bonus.token)
            assert_agree(from_trace(trace, position, question), scored)
            checked += 1
    assert checked > 10


@pytest.mark.parametrize("name", pairs.ALL_VERIFIERS)
def test_of_two_siblings_with_one_token_the_forced_one_is_meant(name):
    """Drawn with replacement, an elder sibling may carry the same token; naive follows the first that matches."""
    trace = run("with replacement")
    checked = 0
    for position, step in enumerate(trace.steps):
        top = [node for node in step.tree.nodes if node.parent == 0]
        for elder, younger in ((a.id, b.id) for a in top for b in top if a.id < b.id and a.token == b.token):
            for forced in ({younger: True}, {elder: False, younger: True}, {elder: True, younger: False}):
                question = Question(choice_of(trace, name), {}, forced)
                scored = through_models(pairs.make_pair(), trace, position, question)
                for decision in scored.decisions:
                    if decision.node in forced:
                        assert (decision.outcome == "rejected") != forced[decision.node]
                if not isinstance(alone := from_trace(trace, position, question), str):
                    assert_agree(alone, scored)
                if name == "naive" and not any(d.outcome == "accepted" for d in step.verdicts[name].decisions):
                    assert scored.path[:1] == tuple(node for node, accepted in forced.items() if accepted)
                checked += 1
    assert checked > 3


def test_a_tie_that_the_recorded_digits_hide_is_not_decided_by_them():
    trace = run("4,2,2")
    position = next(i for i, s in enumerate(trace.steps) if not s.verdicts["greedy"].path)
    step = trace.steps[position]
    child = next(node for node in step.tree.nodes if node.depth == 2)
    force = Question(choice_of(trace, "greedy"), {}, {child.parent: True})
    for ids, probs in (((child.token, 8), (0.5, 0.5)), ((), ())):
        nodes = [
            node.model_copy(
                update={
                    "target": node.target.model_copy(
                        update={"processed": node.target.processed.model_copy(update={"ids": ids, "probs": probs})}
                    )
                }
            )
            for node in step.tree.nodes
        ]
        told = step.model_copy(update={"tree": step.tree.model_copy(update={"nodes": tuple(nodes)})})
        blurred = trace.model_copy(update={"steps": (*trace.steps[:position], told, *trace.steps[position + 1 :])})
        same = from_trace(blurred, position, Question(choice_of(trace, "greedy")))
        assert (same.path, same.bonus) == (step.verdicts["greedy"].path, step.verdicts["greedy"].bonus)
        answer = from_trace(blurred, position, force)
        assert answer.path == tuple(n for n in (child.parent, *judged_best(step, child.parent)) if n)
        assert answer.bonus is None
        assert "not in the trace" in answer.needs


def judged_best(step, parent):
    """The children that the greedy verifier's own thresholds call the most likely token."""
    return [n.id for n in step.tree.nodes if n.parent == parent and step.verdicts["greedy"].thresholds[n.id] == 1]


def test_a_verifier_that_only_says_it_drew_from_the_target_is_not_believed():
    """Its bonus token must not become the answer of another verifier."""
    trace = run("4,2,2")
    position, step = next((i, s) for i, s in enumerate(trace.steps) if s.verdicts["rejection"].bonus.source != "target")
    leaf = len(step.tree.nodes) - 1
    path = step.tree.path(leaf)
    force = Question(
        choice_of(trace, "rejection"), {}, dict.fromkeys(path, True) | dict.fromkeys(elders(step, path), False)
    )
    scored = through_models(pairs.make_pair(), trace, position, force)
    assert scored.path == tuple(path)
    wrong = next(token.id for token in step.tokens if token.id != scored.bonus.token)
    row = step.tree.nodes[leaf].target.processed
    for distribution, believed in ((row, True), (row.model_copy(update={"probs": row.probs[::-1]}), False)):
        bonus = scored.bonus.model_copy(update={"token": wrong, "distribution": distribution})
        verdict = step.verdicts["eta"].model_copy(update={"bonus": bonus})
        told = step.model_copy(update={"verdicts": {**step.verdicts, "eta": verdict}})
        lied = trace.model_copy(update={"steps": (*trace.steps[:position], told, *trace.steps[position + 1 :])})
        answer = from_trace(lied, position, force)
        assert answer.path == scored.path
        assert (answer.bonus is not None) == believed


def test_rows_that_no_model_gave_are_those_of_the_trace():
    """Prompt lookup never runs the draft; its rows are the recorded shares."""
    seen = []
    exact = verifiers.VERIFIERS["rejection"]

    def judge(tree, target, options):
        seen.append(tree)
        return exact.judge(tree, target, options)

    trace = pairs.make_trace(tree="prompt lookup", prompt="the sea the sea the", seed=3)
    position, step = next((i, s) for i, s in enumerate(trace.steps) if len(s.tree.nodes) > 2)
    with patch.dict(verifiers.VERIFIERS, {"rejection": replace(exact, judge=judge)}):
        scored = through_models(pairs.make_pair(), trace, position, Question(choice_of(trace, "rejection")))
    assert scored.path == step.verdicts["rejection"].path
    for node in step.tree.nodes[1:]:
        assert float(seen[0].rows[seen[0].row_of[node.parent], node.token]) == pytest.approx(node.draft_prob)


def test_what_these_models_cannot_have_scored_is_refused():
    trace = run("4,2,2")
    step = trace.steps[0]
    stranger = step.tree.nodes[-1].model_copy(update={"token": 100_000})
    many = step.tree.nodes + tuple(
        step.tree.nodes[-1].model_copy(update={"id": i, "parent": 0, "depth": 1}) for i in range(29, 1100)
    )
    for nodes, said in (((*step.tree.nodes[:-1], stranger), "does not know"), (many, "larger than")):
        told = step.model_copy(update={"tree": step.tree.model_copy(update={"nodes": nodes})})
        with pytest.raises(SettingsError, match=said):
            through_models(
                pairs.make_pair(), trace.model_copy(update={"steps": (told,)}), 0, Question(Choice(name="naive"))
            )


def test_options_in_a_trace_that_the_verifier_does_not_have_are_one_sentence():
    trace = run("4,2,2")
    verdict = trace.steps[0].verdicts["eta"].model_copy(update={"options": {"epsilon": "x"}})
    told = trace.steps[0].model_copy(update={"verdicts": {**trace.steps[0].verdicts, "eta": verdict}})
    with pytest.raises(SettingsError, match="cannot use option epsilon"):
        from_trace(trace.model_copy(update={"steps": (told,)}), 0, Question(Choice(name="eta")))


def elders(step, path):
    """Siblings that come before the nodes of a path."""
    nodes = step.tree.nodes
    return [n.id for n in nodes for at in path if n.parent == nodes[at].parent and n.rank < nodes[at].rank]


# -------------------------------------------------------------------------------- against what was recorded


@pytest.mark.parametrize("tree", TREES)
def test_a_question_without_a_change_gives_the_recorded_verdict(tree):
    trace = run(tree)
    for position in (0, len(trace.steps) // 2, len(trace.steps) - 1):
        for name, verdict in trace.steps[position].verdicts.items():
            question = Question(choice_of(trace, name))
            alone = from_trace(trace, position, question)
            assert isinstance(alone, Alternative)
            assert (alone.decisions, alone.path, alone.bonus, alone.thresholds) == (
                verdict.decisions,
                verdict.path,
                verdict.bonus,
                verdict.thresholds,
            )
            scored = through_models(pairs.make_pair(), trace, position, question)
            assert taken(scored)[0][:2] == taken(alone)[0][:2] if verdict.decisions else True
            assert (scored.path, scored.bonus.token) == (verdict.path, verdict.bonus.token)


def test_other_options_are_those_of_a_run_that_had_them():
    trace = run("4,2,2")
    eager = Choice(name="eta", options={"epsilon": 0.02, "delta": 0.05, "select": "longest"})
    other = pairs.make_trace(tree="4,2,2", seed=3, verifiers=(Choice(name="rejection"), eager))
    assert other.output_tokens() == trace.output_tokens()
    for position in range(len(trace.steps)):
        question = Question(eager)
        assert "Other options" in from_trace(trace, position, question)
        scored = through_models(pairs.make_pair(), trace, position, question)
        assert scored.path == other.steps[position].verdicts["eta"].path
        assert scored.thresholds == pytest.approx(other.steps[position].verdicts["eta"].thresholds, rel=1e-4)


def test_another_verifier_is_that_of_a_run_that_had_it():
    few = pairs.make_trace(tree="4,2,2", seed=3, verifiers=(Choice(name="rejection"),))
    many = run("4,2,2")
    for position in range(len(few.steps)):
        for name in ("traversal", "naive", "greedy", "longest_path"):
            question = Question(Choice(name=name))
            assert "did not judge" in from_trace(few, position, question)
            scored = through_models(pairs.make_pair(), few, position, question)
            verdict = many.steps[position].verdicts[name]
            assert (scored.path, scored.bonus.token) == (verdict.path, verdict.bonus.token)


def test_a_step_from_before_a_fork_is_judged_with_its_own_settings():
    from specviz.engine.session import Session
    from specviz.trace.schema import Sampling

    whole = run("4,2,2")
    cold = whole.settings.model_copy(update={"target": Sampling(temperature=0.2), "seed": 99})
    session = Session.resume(pairs.make_pair(), whole, steps=3, settings=cold)
    list(session.run(2))
    for position in range(5):
        question = Question(choice_of(whole, "rejection"))
        verdict = session.trace.steps[position].verdicts["rejection"]
        scored = through_models(pairs.make_pair(), session.trace, position, question)
        assert (scored.path, scored.bonus.token) == (verdict.path, verdict.bonus.token)
        assert scored.difference < 1e-5
        assert from_trace(session.trace, position, question).bonus == verdict.bonus


def test_luck_that_is_not_the_seeds_is_not_made_up():
    trace = run("4,2,2")
    stranger = trace.model_copy(update={"settings": trace.settings.model_copy(update={"seed": 1234})})
    position = next(i for i, step in enumerate(trace.steps) if step.verdicts["rejection"].path)
    step = trace.steps[position]
    tried = {d.node for verdict in step.verdicts.values() for d in verdict.decisions}
    same = from_trace(stranger, position, Question(choice_of(trace, "rejection")))
    assert same.path == step.verdicts["rejection"].path
    first = step.verdicts["rejection"].path[0]
    younger = [n.id for n in step.tree.nodes if n.parent == 0 and n.id not in tried]
    if younger:
        with pytest.raises(SettingsError, match="not that of its seed"):
            from_trace(stranger, position, Question(choice_of(trace, "rejection"), {}, {first: False}))


# ----------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (None, "is an object"),
        ({}, "names one verifier"),
        ({"verifier": "rejection", "options": [1]}, "names one verifier"),
        ({"verifier": "rejection", "options": {"x": [1]}}, "no number, text"),
        ({"verifier": "rejection", "coins": {"0": 0.5}}, "no drafted node '0'"),
        ({"verifier": "rejection", "coins": {"999": 0.5}}, "no drafted node"),
        ({"verifier": "rejection", "coins": {"-1": 0.5}}, "no drafted node"),
        ({"verifier": "rejection", "coins": {"1": 1.0}}, "between 0 and 1"),
        ({"verifier": "rejection", "coins": {"1": True}}, "between 0 and 1"),
        ({"verifier": "rejection", "coins": {"1": float("nan")}}, "between 0 and 1"),
        ({"verifier": "rejection", "forced": {"1": 1}}, "accepted"),
        ({"verifier": "rejection", "forced": {str(i): True for i in range(3000)}}, "at most 2048"),
        ({"verifier": "rejection", "bonus": "x"}, "bonus coin"),
    ],
)
def test_a_question_that_makes_no_sense_is_one_sentence(wanted, said):
    with pytest.raises(SettingsError, match=said) as caught:
        parse_question(wanted, run("4,2,2").steps[0])
    assert "\n" not in str(caught.value)


def test_what_nobody_can_answer_is_one_sentence():
    trace = run("4,2,2")
    for question, said in (
        (Question(Choice(name="nobody")), "no verifier 'nobody'"),
        (Question(Choice(name="eta"), {1: 0.5}), "flips no coin"),
        (Question(Choice(name="eta", options={"epsilon": 7})), "cannot use option"),
    ):
        with pytest.raises(SettingsError, match=said):
            from_trace(trace, 0, question)
        with pytest.raises(SettingsError, match=said):
            through_models(pairs.make_pair(), trace, 0, question)
    stranger = trace.model_copy(
        update={
            "models": trace.models.model_copy(update={"target": trace.models.target.model_copy(update={"id": "x"})})
        }
    )
    with pytest.raises(SettingsError, match="recorded with the target x"):
        through_models(pairs.make_pair(), stranger, 0, Question(Choice(name="naive")))


# ------------------------------------------------------------------------------------------ what changed nothing


def idle(trace, position: int, question: Question) -> list[str]:
    """What the page says of changes that the answer does not depend on."""
    answer = from_trace(trace, position, question)
    assert not isinstance(answer, str), answer
    step = trace.steps[position]
    told = alternative_value(step, question, answer, compared_with(step, question))
    changes = len(question.coins) + len(question.forced) + (question.bonus_uniform is not None)
    if len(told["unused"]) == changes:
        assert told["samePath"]
        assert told["differing"] == []
    return told["unused"]


@pytest.mark.parametrize("name", pairs.ALL_VERIFIERS)
def test_a_change_that_is_not_looked_at_is_told_and_one_that_is_is_not(name):
    """A coin or a force is said to be idle where, and only where, the rule never examined the node."""
    trace = run("4,2,2")
    told = 0
    for position, step in enumerate(trace.steps):
        examined = {decision.node for decision in step.verdicts[name].decisions}
        flips = VERIFIERS[name].comparison == "uniform < threshold"
        for node in range(1, len(step.tree.nodes)):
            # The recorded coin, and the recorded outcome: the walk stays what it was.
            if node in examined and flips:
                coin = next(d.uniform for d in step.verdicts[name].decisions if d.node == node)
                assert idle(trace, position, Question(choice_of(trace, name), {node: coin})) == []
            elif flips:
                (said,) = idle(trace, position, Question(choice_of(trace, name), {node: 0.5}))
                assert said.startswith(f"The coin of node {node} “")
                whole = node in step.verdicts[name].path
                why = "it accepted the path through that node as a whole" if whole else "it did not come to that node"
                assert said.endswith(f"was not looked at by {name}: {why}.")
                told += 1
            elif node not in examined:
                (said,) = idle(trace, position, Question(choice_of(trace, name), {}, {node: False}))
                assert f"is rejected was not looked at by {name}: it did not come to that node." in said
                told += 1
    assert told


def test_a_coin_under_a_force_and_a_bonus_coin_of_an_argmax_are_idle():
    trace = run("4,2,2")
    step = trace.steps[0]
    node = step.verdicts["rejection"].decisions[0].node
    (said,) = idle(trace, 0, Question(choice_of(trace, "rejection"), {node: 0.5}, {node: True}))
    assert said.endswith("was not looked at: the node is forced by hand.")
    (said,) = idle(trace, 0, Question(choice_of(trace, "greedy"), bonus_uniform=0.5))
    assert said == "The bonus coin was not looked at: greedy takes the likeliest token."
    recorded = step.verdicts["rejection"].bonus.uniform
    assert idle(trace, 0, Question(choice_of(trace, "rejection"), bonus_uniform=recorded)) == []
    drawn = step.verdicts["naive"].bonus.uniform
    assert idle(trace, 0, Question(choice_of(trace, "naive"), bonus_uniform=drawn)) == []
