"""The edges of trees and verifiers: everything accepted, nothing accepted, nothing to accept."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace

import pytest
import torch

from specviz import verifiers
from specviz.dice import Key, SeededDice, open_uniform
from specviz.drafting import BUILDERS, Builder, Limits, build_tree
from specviz.errors import SettingsError
from specviz.sampling import process
from specviz.trace.schema import Sampling
from specviz.transfers import Reads
from specviz.tree import MAX_NODES, Growth, Shape, TokenTree
from specviz.verifiers import ALL_PROPOSALS, VERIFIERS, Context, End, StepLuck, load_verifier, verify
from specviz.verifiers.check import EXACT, LOSSY, TOYS, check_one
from specviz.verifiers.exact import Toy, draw_trees, emitted, law_of, toy
from tests.paths import DOCS

K_CONFIG, EXPLICIT, DYNAMIC = BUILDERS["k_config"], BUILDERS["explicit"], BUILDERS["dynamic"]
LOSSLESS = ("rejection", "traversal", "naive")
SAMPLED = ("without_replacement", "with_replacement")
T3, ZEROS, T4 = TOYS["V=3"], TOYS["V=3 with zeros"], TOYS["V=4"]


class FixedDice(SeededDice):
    """Every uniform number is the same."""

    def __init__(self, value: float):
        super().__init__(0)
        self.value = value

    def uniform(self, key: Key) -> float:
        return self.value


def rows(*lists: list[float]) -> torch.Tensor:
    return torch.tensor(lists, dtype=torch.float64)


def hand_tree(parents: list[int], tokens: list[int], q: torch.Tensor, proposal: str) -> TokenTree:
    """A tree whose inner nodes have the draft rows ``q``, in order."""
    shape = Shape(tuple(parents))
    inner = [node for node, children in enumerate(shape.children) if children]
    return TokenTree(shape, tuple(tokens), q, {node: i for i, node in enumerate(inner)}, proposal)


def distance(name: str, pair: Toy, builder: Builder = K_CONFIG, **options) -> float:
    verifier = VERIFIERS[name]
    return emitted(verifier, verifier.Options(), draw_trees(builder, builder.Options(**options), pair), pair).distance


def steps(name: str, pair: Toy, **options) -> float:
    """Mean tokens per step."""
    verifier = VERIFIERS[name]
    trees = draw_trees(K_CONFIG, K_CONFIG.Options(**options), pair)
    return emitted(verifier, verifier.Options(), trees, pair).tokens_per_step


# ------------------------------------------------------------------------------------------ the smallest uniform


@pytest.mark.parametrize("uniform", [0.0, open_uniform(0)])
def test_a_threshold_of_zero_is_never_passed(uniform: float):
    assert not FixedDice(uniform).accept(Key(0, 1, "accept"), 0.0).accepted


@pytest.mark.parametrize("uniform", [0.0, open_uniform(0)])
@pytest.mark.parametrize("proposal", ALL_PROPOSALS)
@pytest.mark.parametrize("name", ["rejection", "traversal", "longest_path"])
def test_what_the_target_forbids_is_never_accepted(name: str, proposal: str, uniform: float):
    """With ``<=`` instead of ``<`` the first walk would go through token 0, which has p = 0."""
    tree = hand_tree([-1, 0, 1], [2, 0, 1], rows([0.7, 0.2, 0.1], [0.1, 0.8, 0.1]), proposal)
    target = rows([0.0, 0.5, 0.5], [0.2, 0.3, 0.5], [0.1, 0.1, 0.8])
    verifier = VERIFIERS[name]
    judgement, walk, bonus, _ = verify(verifier, tree, target, verifier.Options(), StepLuck(FixedDice(uniform), 0))
    assert float(judgement.thresholds[1]) == 0.0
    assert walk.path == ()
    assert bonus.token != 0
    assert all(tokens[0] != 0 for tokens in law_of(verifier, verifier.Options(), tree, target))


# -------------------------------------------------------------------------------------- everything, or nothing


@pytest.mark.parametrize("proposal", SAMPLED)
@pytest.mark.parametrize("name", ["rejection", "traversal"])
def test_a_perfect_draft_is_always_accepted(name: str, proposal: str):
    perfect = replace(T3, draft=T3.target)
    assert steps(name, perfect, tree="1,1,1", proposal=proposal) == pytest.approx(4.0, abs=1e-12)
    assert steps(name, perfect, tree="2,2", proposal=proposal) == pytest.approx(3.0, abs=1e-12)
    assert distance(name, perfect, tree="2,2", proposal=proposal) < EXACT


@pytest.mark.parametrize("proposal", ALL_PROPOSALS)
@pytest.mark.parametrize("name", LOSSLESS)
def test_a_hopeless_draft_costs_nothing_but_time(name: str, proposal: str):
    """Draft and target share no token: one token a step, from the target."""
    contexts = T4.target.shape[0]
    target, draft = T4.target.clone(), T4.draft.clone()
    target[:, :2], draft[:, 2:] = 0.0, 0.0
    hopeless = Toy(
        "disjoint", target / target.sum(-1, keepdim=True), draft / draft.sum(-1, keepdim=True), depth=T4.depth
    )
    assert contexts == hopeless.target.shape[0]
    assert steps(name, hopeless, tree="2,1", proposal=proposal) == pytest.approx(1.0)
    assert distance(name, hopeless, tree="2,1", proposal=proposal) < EXACT


@pytest.mark.parametrize("name", VERIFIERS)
def test_without_a_draft_there_is_only_the_bonus(name: str):
    (grown,) = draw_trees(K_CONFIG, K_CONFIG.Options(tree=""), T3)
    assert len(grown.tree) == 1
    verifier = VERIFIERS[name]
    _, walk, bonus, _ = verify(verifier, grown.tree, grown.target, verifier.Options(), StepLuck(SeededDice(0), 0))
    assert (walk.path, walk.rulings, walk.end.node, walk.end.rejected) == ((), (), 0, ())
    assert walk.end.source == {"eta": "truncated", "greedy": "argmax", "relaxed": "argmax"}.get(name, "target")
    assert bonus.token in range(3)


def test_a_context_that_ends_stops_the_tree():
    for builder, options in ((K_CONFIG, {"tree": "2,2,2"}), (DYNAMIC, {"top_k": 2, "depth": 3})):
        for limit in range(4):
            growth, keep = build_tree(
                builder, builder.Options(**options), T3, 0, SeededDice(0), 0, Limits(max_depth=limit)
            )
            tree, _ = growth.freeze("top_k", keep)
            assert max(tree.shape.depths) == limit


# ------------------------------------------------------------------------------------- duplicates and residuals


@pytest.mark.parametrize("name", ["rejection", "traversal"])
def test_a_duplicate_of_a_rejected_sibling(name: str):
    """p[1] < q[1]: rejecting token 1 leaves none of it, so its duplicate cannot pass."""
    tree = hand_tree([-1, 0, 0], [0, 1, 1], rows([0.2, 0.6, 0.2]), "with_replacement")
    target = rows([0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.3, 0.3, 0.4])
    verifier = VERIFIERS[name]
    judgement = verifier.judge(tree, target, verifier.Options())
    assert judgement.thresholds[1:].tolist() == pytest.approx([0.5, 0.0])
    assert judgement.residuals([1]).mass[0] == pytest.approx(0.3)
    assert judgement.distribution(End(0, "residual", (1, 2)))[1] == 0


def test_rounding_does_not_choose_between_duplicates():
    """Rows below two siblings with one token are the same but for rounding; the earlier path is taken."""
    context = Context(
        shape=Shape((-1, 0, 0, 1, 2)),
        tokens=(5, 7, 7, 8, 8),
        thresholds=[1.0] * 5,
        p=[1.0, 0.5, 0.5, 0.3, 0.3 * (1 + 1e-7)],
        expected=[],
        distribution=lambda end: rows([1.0])[0],
        options=None,
    )
    walk = VERIFIERS["longest_path"].walk(context, StepLuck(FixedDice(0.5), 0))
    assert walk.path == (1, 3)
    walk = VERIFIERS["longest_path"].walk(replace(context, p=[1.0, 0.5, 0.5, 0.3, 0.3]), StepLuck(FixedDice(0.5), 0))
    assert walk.path == (1, 3)


def test_naive_follows_the_first_of_duplicates():
    tree = hand_tree([-1, 0, 0, 1, 2], [0, 1, 1, 0, 2], rows(*[[0.2, 0.6, 0.2]] * 3), "with_replacement")
    target = rows(*[[0.5, 0.3, 0.2]] * 5)
    law = law_of(VERIFIERS["naive"], None, tree, target)
    assert sum(law.values()) == pytest.approx(1)
    assert {tokens for tokens in law if tokens[0] == 1} == {(1, 1), (1, 2), *((1, 0, x) for x in range(3))}


@pytest.mark.parametrize("proposal", SAMPLED)
@pytest.mark.parametrize("name", ["rejection", "traversal"])
def test_a_residual_without_mass_keeps_the_last_valid_row(name: str, proposal: str):
    """p = q: the rejections have probability 0, yet thresholds, residuals and bonus rows stay finite."""
    p = [0.5, 0.3, 0.2]
    tree = hand_tree([-1, 0, 0, 0], [0, 0, 1, 2], rows(p), proposal)
    target = rows(p, *[[0.2, 0.3, 0.5]] * 3)
    verifier = VERIFIERS[name]
    judgement = verifier.judge(tree, target, verifier.Options())
    assert judgement.thresholds[1] == 1.0
    assert judgement.residuals([1]).mass[0] == 0.0
    residuals = judgement.residuals([1, 2, 3])
    for tensor in (judgement.thresholds[1:], judgement.p[1:], judgement.q[1:], residuals.probs):
        assert tensor.isfinite().all()
    assert judgement.distribution(End(0, "residual", (1,))).tolist() == pytest.approx(p)
    assert judgement.distribution(End(0, "residual", (1, 2, 3))).sum() == pytest.approx(1)


@pytest.mark.parametrize("name", ["rejection", "traversal"])
def test_a_draft_row_that_runs_empty(name: str):
    """All of the support was drawn and rejected; nothing is divided by zero."""
    tree = hand_tree([-1, 0, 0], [0, 0, 1], rows([0.9, 0.1, 0.0]), "without_replacement")
    target = rows([0.1, 0.2, 0.7], *[[0.2, 0.3, 0.5]] * 2)
    verifier = VERIFIERS[name]
    judgement = verifier.judge(tree, target, verifier.Options())
    assert judgement.thresholds.isfinite().all()
    row = judgement.distribution(End(0, "residual", (1, 2)))
    assert row.isfinite().all()
    assert float(row.sum()) == pytest.approx(1)
    assert row[0] == 0


@pytest.mark.parametrize("name", VERIFIERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_number_is_finite_on_random_trees(name: str, dtype: torch.dtype):
    """Peaked rows, nearly equal rows, zeros; the verifier computes in the dtype it is given."""
    verifier = VERIFIERS[name]
    for seed, proposal in itertools.product(range(6), ALL_PROPOSALS):
        pair = toy(seed, 6, depth=3, zeros=seed % 2 == 0)
        target = (pair.target ** (1 + seed)).to(dtype)
        pair = Toy("random", target / target.sum(-1, keepdim=True), pair.draft.to(dtype), 3)
        options = K_CONFIG.Options(tree="3,2,1", proposal=proposal)
        growth, keep = build_tree(K_CONFIG, options, pair, 0, SeededDice(seed), 0, Limits(3))
        tree, _ = growth.freeze(proposal, keep)
        judgement, walk, bonus, _ = verify(
            verifier, tree, pair.score(tree), verifier.Options(), StepLuck(SeededDice(seed), 0)
        )
        assert judgement.thresholds.dtype == dtype
        assert judgement.thresholds[1:].isfinite().all()
        assert judgement.distribution(walk.end).sum() == pytest.approx(1, abs=1e-5)
        assert judgement.distribution(walk.end)[bonus.token] > 0
        assert walk.path in [(), *(tree.shape.path(node) for node in range(1, len(tree)))]
        if judgement.residuals is not None:
            residuals = judgement.residuals(range(1, len(tree)))
            assert residuals.probs.isfinite().all()
            assert (residuals.mass >= 0).all()


# --------------------------------------------------------------------------------------------- growing the tree


def test_more_siblings_than_the_support_or_the_vocabulary():
    support = (ZEROS.draft[0] > 0).sum()
    assert support == 2
    expected = {"without_replacement": {2}, "with_replacement": {5}, "top_k": {2}}
    for proposal, sizes in expected.items():
        trees = draw_trees(K_CONFIG, K_CONFIG.Options(tree="5", proposal=proposal), ZEROS)
        assert {len(grown.tree) - 1 for grown in trees} == sizes
    for name, proposal in itertools.product(LOSSLESS, ALL_PROPOSALS):
        assert distance(name, ZEROS, tree="5", proposal=proposal) < EXACT
    (grown,) = draw_trees(DYNAMIC, DYNAMIC.Options(top_k=9, depth=1, total=20), T3)
    assert len(grown.tree) - 1 == 3


@pytest.mark.parametrize("proposal", ALL_PROPOSALS)
@pytest.mark.parametrize("name", LOSSLESS)
def test_a_nucleus_that_removes_every_draft_token(name: str, proposal: str):
    """The target's top-p leaves one token a row, the draft's temperature spreads over others."""
    logits = T4.target.log()
    target = process(logits, Sampling(top_p=1e-6))
    draft = process(-logits, Sampling(temperature=0.7, top_k=3))
    assert not ((target > 0) & (draft > 0)).any()
    cut = Toy("cut", target, draft, T4.depth)
    assert steps(name, cut, tree="2,1", proposal=proposal) == pytest.approx(1.0)
    assert distance(name, cut, tree="2,1", proposal=proposal) < EXACT


@pytest.mark.parametrize(
    ("builder", "options"),
    [
        (K_CONFIG, {"tree": "3,2,2"}),
        (EXPLICIT, {"paths": "[0],[1],[2],[0,0],[1,0],[2,0],[0,0,0]"}),
        (DYNAMIC, {"top_k": 3, "depth": 3, "total": 30}),
    ],
)
def test_an_end_of_sequence_is_never_expanded(builder: Builder, options: dict):
    seen = 0
    for seed in range(20):
        for end in range(3):
            limits = Limits(max_depth=3, end_tokens=frozenset({end}))
            # The root may carry one (a prompt may end so): it is expanded all the same.
            growth, keep = build_tree(builder, builder.Options(**options), T3, end, SeededDice(seed), 0, limits)
            tree, _ = growth.freeze("top_k", keep)
            assert tree.shape.children[0]
            for node in range(1, len(tree)):
                if tree.tokens[node] == end:
                    seen += 1
                    assert tree.shape.children[node] == ()
                    assert node not in tree.row_of
    assert seen > 20


def test_explicit_trees_have_the_ranks_that_were_asked_for():
    paths = [(0,), (1,), (2,), (1, 0), (1, 1), (1, 0, 0)]
    listed = ",".join(str(list(path)) for path in reversed(paths))
    for proposal in ALL_PROPOSALS:
        growth, keep = build_tree(
            EXPLICIT, EXPLICIT.Options(paths=listed, proposal=proposal), T4, 0, SeededDice(3), 0, Limits(3)
        )
        shape = growth.freeze(proposal, keep)[0].shape
        found = [tuple(shape.ranks[n] for n in shape.path(node)) for node in range(1, len(shape))]
        assert sorted(found) == sorted(paths)


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ("[0],[2]", "ranks have no gaps"),
        ("[1]", "ranks have no gaps"),
        ("[0],[1,0]", "has no parent [1]"),
        ("[0],[0]", "listed twice"),
        ("[0],[-1]", "ranks 0, 1, 2"),
        ("[]", "ranks 0, 1, 2"),
        ("[0.5]", "ranks 0, 1, 2"),
        ("[true]", "ranks 0, 1, 2"),
        ('["a"]', "ranks 0, 1, 2"),
        ("0,1", "not lists of draw ranks"),
        ("[0", "not lists of draw ranks"),
        ("[[0]]", "not lists of draw ranks"),
        ("[" * 100_000, "not lists of draw ranks"),
    ],
)
def test_explicit_paths_that_are_refused(paths: str, message: str):
    with pytest.raises(SettingsError, match=re.escape(message)):
        EXPLICIT.max_nodes(EXPLICIT.Options(paths=paths))


@pytest.mark.parametrize("tree", ["0", "2,0", "-1", "a", "2,,2", "2;2", "1.5", "9" * 5000])
def test_k_configs_that_are_refused(tree: str):
    with pytest.raises(SettingsError):
        K_CONFIG.max_nodes(K_CONFIG.Options(tree=tree))


def test_trees_of_1024_nodes_are_grown_and_larger_ones_refused():
    for tree in ("1024", "32,31", ",".join(["1"] * 1024)):
        assert K_CONFIG.max_nodes(K_CONFIG.Options(tree=tree)) == MAX_NODES
    for tree in ("1025", "32,32", ",".join(["1"] * 1025), "1000000000,1000000000"):
        with pytest.raises(SettingsError, match="1024"):
            K_CONFIG.max_nodes(K_CONFIG.Options(tree=tree))
    siblings = ",".join(f"[{rank}]" for rank in range(1024))
    assert EXPLICIT.max_nodes(EXPLICIT.Options(paths=siblings)) == MAX_NODES
    with pytest.raises(SettingsError, match="1024"):
        EXPLICIT.max_nodes(EXPLICIT.Options(paths=siblings + ",[1024]"))
    with pytest.raises(ValueError):
        DYNAMIC.Options(total=1025)

    class Flat:
        reads = Reads()

        def expand(self, growth: Growth, nodes: list[int]) -> torch.Tensor:
            return torch.full((len(nodes), 2000), 1 / 2000)

    for proposal in ALL_PROPOSALS:
        options = K_CONFIG.Options(tree="32,31", proposal=proposal)
        growth, keep = build_tree(K_CONFIG, options, Flat(), 0, SeededDice(0), 0, Limits(9))
        tree, _ = growth.freeze(proposal, keep)
        assert len(tree) == MAX_NODES + 1
        growth.add(0, 1)
        with pytest.raises(SettingsError, match="1024"):
            growth.freeze(proposal)


def test_dynamic_trees_keep_parents_and_the_best():
    """With q = 1 along a branch every product ties; the shallower node stays."""
    certain = Toy("certain", T3.target, torch.eye(3, dtype=torch.float64)[[0] * len(T3.draft)], 3)
    for total in range(1, 4):
        (grown,) = draw_trees(DYNAMIC, DYNAMIC.Options(top_k=3, depth=3, total=total), certain)
        assert grown.tree.shape.parents == tuple(range(-1, total))
    (grown,) = draw_trees(DYNAMIC, DYNAMIC.Options(top_k=2, depth=3, total=5), T4)
    tree = grown.tree
    product = [1.0] * len(tree)
    for node in range(1, len(tree)):
        parent = tree.shape.parents[node]
        row = tree.rows[tree.row_of[parent]]
        product[node] = product[parent] * float(row[tree.tokens[node]])
        siblings = [float(row[tree.tokens[child]]) for child in tree.shape.children[parent]]
        assert siblings == sorted(siblings, reverse=True)
    # The whole EAGLE-2 tree has 10 candidates; none that was left out is better than one that was kept.
    (everything,) = draw_trees(DYNAMIC, DYNAMIC.Options(top_k=2, depth=3, total=60), T4)
    assert len(everything.tree) - 1 == 10
    assert len(tree) - 1 == 5


def test_equal_seeds_grow_equal_trees_and_other_steps_others():
    options = K_CONFIG.Options(tree="2,2,1")

    def tokens(seed: int, step: int) -> tuple[int, ...]:
        growth, keep = build_tree(K_CONFIG, options, T4, 0, SeededDice(seed), step, Limits(3))
        return growth.freeze(options.proposal, keep)[0].tokens

    assert tokens(1, 0) == tokens(1, 0)
    assert len({tokens(1, step) for step in range(10)}) > 5
    assert len({tokens(seed, 0) for seed in range(10)}) > 5


# ---------------------------------------------------------------------------------------------- a user's verifier


@pytest.fixture
def lenient(monkeypatch: pytest.MonkeyPatch) -> verifiers.Verifier:
    """The example of the documentation, loaded as a user's module is."""
    monkeypatch.setattr(verifiers, "VERIFIERS", dict(VERIFIERS))
    monkeypatch.syspath_prepend(str(DOCS / "examples"))
    found = load_verifier("my_verifier:LENIENT")
    assert verifiers.VERIFIERS["lenient"] is found
    assert load_verifier("my_verifier:LENIENT") is found
    return found


@pytest.mark.parametrize("proposal", ALL_PROPOSALS)
def test_the_example_verifier_is_as_lossy_as_it_says(lenient, proposal: str):
    found = check_one(lenient, lenient.Options(), proposal)
    assert found.worst.distance > LOSSY
    assert found.verdict == "ok, lossy"
    assert found.smallest.tree == "(1)"


def test_the_example_verifier_is_exact_at_lenience_one(lenient):
    found = check_one(lenient, lenient.Options(lenience=1), "without_replacement")
    assert found.worst.distance < EXACT
    assert found.verdict == "ok, lossless"  # of lenience one it promises that


def test_a_rule_that_looks_at_the_text_is_checked_with_one():
    exact = VERIFIERS["rejection"]

    def judge(tree, target, options):
        found = exact.judge(tree, target, options)
        again = [
            node > 0 and token == (*tree.committed, *tree.path_tokens(node))[-2]
            for node, token in enumerate(tree.tokens)
        ]
        return replace(found, thresholds=found.thresholds.masked_fill(torch.tensor(again), 0))

    shy = replace(exact, name="shy", judge=judge)
    assert check_one(shy, shy.Options(), "top_k").verdict == "NOT LOSSLESS as promised"


def test_the_documentation_shows_the_example_as_it_is():
    shown = (DOCS / "verifiers.md").read_text(encoding="utf-8")
    assert (DOCS / "examples" / "my_verifier.py").read_text(encoding="utf-8") in shown
    for verifier in VERIFIERS.values():
        assert f"### {verifier.name}" in shown
        for option in verifier.Options.model_fields:
            assert f"`{option}" in shown


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("my_verifier", "not of the form"),
        (":LENIENT", "not of the form"),
        ("no_such_module_at_all:x", "cannot be imported: .*PYTHONPATH"),
        ("my_verifier:nothing", "cannot be imported"),
        ("my_verifier:judge", "not a specviz.verifiers.Verifier"),
    ],
)
def test_verifiers_that_are_refused(spec: str, message: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(DOCS / "examples"))
    with pytest.raises(SettingsError, match=message):
        load_verifier(spec)


def test_a_verifier_cannot_take_the_name_of_another(lenient, monkeypatch: pytest.MonkeyPatch):
    import my_verifier

    monkeypatch.setattr(my_verifier, "OTHER", replace(lenient, summary="another"), raising=False)
    with pytest.raises(SettingsError, match="exists already"):
        load_verifier("my_verifier:OTHER")
