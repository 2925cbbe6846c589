"""What shape would pay: the recursion against every tree, acceptance by rank, ranks of the target's tokens, times."""

from __future__ import annotations

import itertools
import random
from statistics import median

import pytest

from specviz.errors import SettingsError
from specviz.trace.acceptance import MOST_RANKS, Reached, _product_limit, acceptance, reached
from specviz.trace.advice import LEAST_DECISIONS, advise
from specviz.trace.advice_report import advice_report, rank_report
from specviz.trace.best_tree import BestTrees, RankPath, expected_tokens, paths_of, paths_text
from specviz.trace.forward_times import ForwardTimes, Width, merged, times_of_bench, times_of_run
from specviz.trace.processors import parse_processors
from specviz.trace.schema import Step, TopK, Trace
from specviz.trace.target_ranks import BINS, rank_histograms, target_rank
from tests.head_traces import MEDUSA
from tests.sample_traces import k_config, sample_trace

ACCEPTANCE = ((0.5, 0.3, 0.05), (0.2, 0.15), (0.6,))


@pytest.fixture(scope="module")
def trace() -> Trace:
    return sample_trace(k_config(3, 2), steps=150, verifiers=("rejection", "eta"))


def trees(nodes: int, ranks: int, depth: int) -> set[frozenset[RankPath]]:
    """All trees of so many nodes whose ranks have no gaps."""
    found: set[frozenset[RankPath]] = {frozenset()}
    for _ in range(nodes):
        grown = set()
        for tree in found:
            for parent in [(), *tree]:
                rank = sum(len(path) == len(parent) + 1 and path[: len(parent)] == parent for path in tree)
                if rank < ranks and len(parent) < depth:
                    grown.add(tree | {(*parent, rank)})
        found = grown
    return found


def worth(tree: frozenset[RankPath], depth_rows: tuple[tuple[float, ...], ...] = ACCEPTANCE) -> float:
    """New tokens a forward, by the paths."""
    total = 1.0
    for path in tree:
        p = 1.0
        for level, rank in enumerate(path):
            row = depth_rows[min(level, len(depth_rows) - 1)]
            p *= row[rank] if rank < len(row) else 0.0
        total += p
    return total


@pytest.mark.parametrize("nodes", [1, 3, 6])
def test_no_tree_of_the_budget_is_worth_more_than_the_advised_one(nodes: int) -> None:
    best = BestTrees(ACCEPTANCE, 6, 3)
    plan = best.plan(nodes)
    paths = frozenset(paths_of(plan))
    assert len(paths) == nodes
    assert worth(paths) == pytest.approx(best.expected(nodes), abs=1e-12)
    assert best.expected(nodes) == pytest.approx(max(map(worth, trees(nodes, 3, 3))), abs=1e-12)
    order = [(), *paths_of(plan)]
    parents = [-1, *(order.index(path[:-1]) for path in order[1:])]
    ranks = [0, *(path[-1] for path in order[1:])]
    assert expected_tokens(ACCEPTANCE, parents, ranks) == pytest.approx(best.expected(nodes), abs=1e-12)


def test_ranks_and_levels_that_there_are_not_bound_the_tree() -> None:
    best = BestTrees(((0.5, 0.1),), 64, 2)
    assert sum(best.plan(64).values()) == 6
    assert paths_text(best.plan(2)) == "[0],[0,0]"
    assert best.expected(64) == pytest.approx(1 + 0.6 + 0.36)


def test_a_narrow_tree_says_nothing_of_the_ranks_it_has_not_got() -> None:
    true, luck, found = (0.4, 0.2, 0.1), random.Random(3), []
    for _ in range(20_000):
        u, width = luck.random(), luck.choice((1, 3))
        rank = next((r for r, edge in enumerate(itertools.accumulate(true)) if u < edge), None)
        found.append(Reached(1, rank if rank is not None and rank < width else None, width))
    assert _product_limit(found) == pytest.approx(true, abs=0.015)
    naive = sum(one.rank == 1 for one in found) / len(found)
    assert naive < 0.12, "the plain share would halve what a second child is worth"


def test_depths_with_few_decisions_are_taken_together(trace: Trace) -> None:
    found = acceptance(trace.steps)
    nodes = [one for step in trace.steps for one in reached(step)]
    assert sum(found.decisions) == len(nodes)
    assert found.decisions[0] == len(trace.steps), "each step judges the root's children"
    first = sum(one.rank == 0 for one in nodes if one.depth == 1) / len(trace.steps)
    assert found.rows[0][0] == pytest.approx(first)
    assert len(acceptance(trace.steps[:50]).rows) == 1
    assert found.decisions == (150, len(nodes) - 150), "of a second level there are enough"
    few = acceptance(trace.steps[:110])
    assert (len(few.rows), few.decisions) == (1, (sum(len(reached(step)) for step in trace.steps[:110]),))


def with_end(step: Step, rank: int | None, ids: tuple[int, ...], probs: tuple[float, ...], top_k: bool) -> Step:
    """The step whose driver accepts nothing, with this draft row at the root and the bonus token 7 of this rank."""
    verdict, nodes = step.verdicts[step.driver], list(step.tree.nodes)
    row = nodes[0].draft.model_copy(update={"processed": TopK(ids=ids, probs=probs)})
    nodes[0] = nodes[0].model_copy(update={"draft": row})
    bonus = verdict.bonus.model_copy(update={"token": 7, "node": 0, "draft_rank": rank})
    ended = verdict.model_copy(update={"path": (), "bonus": bonus})
    proposal = "top_k" if top_k else "without_replacement"
    tree = step.tree.model_copy(update={"nodes": tuple(nodes), "proposal": proposal})
    return step.model_copy(update={"tree": tree, "verdicts": {step.driver: ended}})


@pytest.mark.parametrize(
    ("rank", "ids", "probs", "kind", "known"),
    [
        (5, (1, 2), (0.5, 0.2), "rank", 5),
        (None, (1, 7, 2), (0.5, 0.2, 0.1), "rank", 1),
        (2, (1, 7, 2), (0.5, 0.2, 0.2), "rank", 2),
        (None, (1, 2), (0.5, 0.2), "beyond", 2),
        (2, (1, 2), (0.5, 0.5), "never", 0),
        (40, (1, 2), (0.9999, 0.0001), "rank", 40),
        (None, (1, 2), (0.9, 0.0998), "beyond", 2),
        (None, (1, 2), (0.5, 0.5), "never", 0),
    ],
)
def test_a_rank_is_known_or_it_is_said_why_not(
    trace: Trace, rank: int | None, ids: tuple[int, ...], probs: tuple[float, ...], kind: str, known: int
) -> None:
    step = with_end(trace.steps[0], rank, ids, probs, top_k=True)
    end = target_rank(step)
    assert (end.depth, end.children, end.kind, end.rank) == (0, 3, kind, known)
    wider = reached(step)[0]
    if kind == "rank" and known >= 3:
        assert wider == Reached(1, known, MOST_RANKS), "of top-k children the next ones are known"
    elif kind == "never":
        assert wider == Reached(1, None, MOST_RANKS)
    else:
        assert wider == Reached(1, None, 3), "past the recorded width nothing is known"
    assert reached(with_end(trace.steps[0], rank, ids, probs, top_k=False))[0] == Reached(1, None, 3)
    rejections, leaves = rank_histograms([step])
    assert not leaves
    one = rejections[0]
    assert (one.depth, one.ends) == (1, 1)
    assert sum(one.known) + one.never + one.beyond + one.no_row == 1
    if kind == "rank":
        assert one.known[sum(edge <= known for edge in BINS) - 1] == 1
    if kind == "beyond":
        assert "2 entries or more; that rank cannot be known" in "\n".join(rank_report([step]))


def test_a_rule_that_draws_its_bonus_elsewhere_says_nothing_of_a_wider_tree(trace: Trace) -> None:
    step = with_end(trace.steps[0], 5, (1, 2), (0.5, 0.2), top_k=True)
    lossy = step.verdicts[step.driver].model_copy(update={"lossless": "no"})
    assert reached(step.model_copy(update={"verdicts": {step.driver: lossy}}))[0] == Reached(1, None, 3)


def test_too_few_decisions_are_refused_with_their_number(trace: Trace) -> None:
    few = trace.model_copy(update={"steps": trace.steps[:20]})
    number = sum(acceptance(few.steps).decisions)
    assert number < LEAST_DECISIONS
    with pytest.raises(SettingsError, match=rf"^{number} decisions are too few to advise a tree; it takes 100 "):
        advise([few])
    with pytest.raises(SettingsError, match=r"^0 decisions"):
        advise([trace.model_copy(update={"steps": ()})])
    copied = [
        s.model_copy(update={"tree": s.tree.model_copy(update={"builder": "prompt_lookup"})}) for s in trace.steps
    ]
    with pytest.raises(SettingsError, match="copied from the text"):
        advise([trace.model_copy(update={"steps": tuple(copied)})])
    for wrong in ([0], [257]):
        with pytest.raises(SettingsError, match="budget"):
            advise([trace], wrong)


def test_the_advice_says_what_it_expects_of_todays_trees_and_what_was_seen(trace: Trace) -> None:
    found = advise([trace], [4, 9])
    emitted = [len(step.verdicts["rejection"].path) + 1 for step in trace.steps]
    assert found.seen == pytest.approx(sum(emitted) / len(emitted), abs=0.02)
    assert found.interval[0] < found.seen < found.interval[1]
    assert found.today == pytest.approx(found.seen, abs=0.05), "the model was fitted to these steps"
    assert [tree.budget for tree in found.trees] == [4, 9]
    nine = found.trees[1]
    assert nine.expected >= found.today - 1e-9, "today's tree has nine nodes, too"
    printed = "\n".join(advice_report(found))
    assert f"{found.decisions} decisions in 150 steps" in printed
    assert f"seen {found.seen:.2f}"[:8] in printed
    assert "too hopeful" in printed
    assert f"--tree {found.best().paths} --proposal" in printed


def test_steps_of_another_driver_are_left_out(trace: Trace) -> None:
    other = [step.model_copy(update={"driver": "eta"}) for step in trace.steps[:9]]
    found = advise([trace.model_copy(update={"steps": (*other, *trace.steps[9:])})])
    assert (found.steps, found.left_out) == (141, 9)
    optioned = []
    for step in trace.steps[:9]:
        verdict = step.verdicts["rejection"].model_copy(update={"options": {"lenience": 0.5}})
        optioned.append(step.model_copy(update={"verdicts": {"rejection": verdict}}))
    found = advise([trace.model_copy(update={"steps": (*optioned, *trace.steps[9:])})])
    assert (found.steps, found.left_out) == (141, 9), "with other options it is another rule"
    settings = trace.settings.model_copy(update={"processors": parse_processors("min_p")})
    processed = [step.model_copy(update={"settings": settings}) for step in trace.steps[:9]]
    found = advise([trace.model_copy(update={"steps": (*processed, *trace.steps[9:])})])
    assert (found.steps, found.left_out) == (141, 9), "processors are of the sampling"


def test_what_was_seen_counts_on_behind_an_end_token_that_ends_nothing(trace: Trace) -> None:
    ends = tuple(sorted({node.token for step in trace.steps for node in step.tree.nodes}))
    settings = trace.settings.model_copy(update={"min_new_tokens": 10_000})
    going_on = trace.model_copy(update={"end_tokens": ends, "settings": settings})
    assert advise([going_on]).seen == advise([trace]).seen
    assert advise([trace.model_copy(update={"end_tokens": ends})]).seen < advise([trace]).seen


def test_a_block_head_drafts_so_many_levels_and_all_of_them_at_once(trace: Trace) -> None:
    draft = trace.models.draft.model_copy(update={"head": MEDUSA.model_copy(update={"depth": 1})})
    block = trace.model_copy(update={"models": trace.models.model_copy(update={"draft": draft})})
    assert {tree.levels for tree in advise([trace], [9]).trees} == {3}
    assert {tree.levels for tree in advise([block], [9]).trees} == {1}
    times = times_of_run([block])
    assert times.seconds(9, 4) == pytest.approx(times.target[0].seconds + times.draft)
    whole = [step.timings.draft for step in trace.steps if not step.prefilled]
    assert times.draft == pytest.approx(median(whole))


def test_a_step_that_prefilled_says_nothing_of_times(trace: Trace) -> None:
    slow = [step.timings.model_copy(update={"target": 100.0}) for step in trace.steps]
    filled = [step.model_copy(update={"prefilled": 9, "timings": t}) for step, t in zip(trace.steps, slow, strict=True)]
    both = trace.model_copy(update={"steps": (*trace.steps, *filled, *filled)})
    assert times_of_run([both]).target[0].seconds < 100


def test_a_budget_is_called_fastest_only_between_widths_that_were_measured(trace: Trace) -> None:
    one = times_of_run([trace])
    assert [width.rows for width in one.target] == [10]
    assert one.seconds(9, 2) == pytest.approx(one.target[0].seconds + 2 * one.draft)
    assert one.seconds(8, 2) is None
    assert advise([trace]).fastest is None
    steep = ForwardTimes((Width(5, 0.01, 3), Width(10, 1.0, 3)), 0.001)
    assert steep.seconds(6, 1) == pytest.approx(0.01 + 0.4 * 0.99 + 0.001)
    slow, flat = (
        advise([trace], [4, 9], measured=[ForwardTimes((Width(5, 9.0, 200), Width(10, at, 200)), 0.001)])
        for at in (90.0, 9.001)
    )
    assert (slow.fastest, flat.fastest) == (4, 9)
    assert merged([one, steep]).target == (Width(5, 0.01, 3), one.target[0])
    report = {"steps": [{"nodes": 4, "tree": {"options": {"tree": "2,1"}}, "steps": 5}]}
    report["steps"][0]["median_seconds"] = {"target": 0.5, "draft": 0.2}
    assert times_of_bench(report) == ForwardTimes((Width(5, 0.5, 5),), 0.1)
    for wrong in ({}, {"steps": []}, {"steps": [{}]}, {"steps": 3}, []):
        with pytest.raises(SettingsError, match="bench --json"):
            times_of_bench(wrong)
