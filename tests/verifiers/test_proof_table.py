"""What a run may say about a verifier: only what is proved, for its options and for trees like its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import Field

from specviz.cli import main
from specviz.dice import Dice
from specviz.drafting import BUILDERS, Draft, Limits
from specviz.engine.session import Session
from specviz.errors import SettingsError, VerifierError
from specviz.options import Options
from specviz.trace.schema import Choice, Lossless
from specviz.tree import Growth
from specviz.verifiers import ALL_PROPOSALS, BUILT_IN, VERIFIERS, Verifier, proof_table
from specviz.verifiers.check import built_in_jobs, cases_for, check_one, check_tree
from tests.faults import stale_residual_verifier
from tests.pairs import make_pair, make_settings

TOP_K = Choice(name="k_config", options={"tree": "2,1", "proposal": "top_k"})


@pytest.fixture(autouse=True)
def nothing_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof_table, "_checked", {})


@pytest.fixture
def says() -> Callable[..., Lossless]:
    """What the first step of a run says of its one verifier."""

    def says(verifier: Verifier, tree: Choice = TOP_K, **options: object) -> Lossless:
        chosen = (Choice(name=verifier.name, options=options),)
        settings = make_settings(tree, verifiers=chosen, driver=verifier.name, max_new_tokens=1)
        session = Session(make_pair(), settings, "the sea", known={verifier.name: verifier})
        return session.step().verdicts[verifier.name].lossless

    return says


def copied(verifier: Verifier, **changes: object) -> Verifier:
    """The same rule in functions of its own, as a user would write it."""
    return replace(verifier, name="mine", judge=lambda *arguments: verifier.judge(*arguments), **changes)


class LenientOptions(Options):
    lenience: float = Field(0.5, gt=0, le=1)


def lenient() -> Verifier:
    """docs/examples/my_verifier.py, as it came."""
    exact = VERIFIERS["rejection"]

    def judge(tree, target, options):
        found = exact.judge(tree, target, options)
        return replace(found, thresholds=found.thresholds / options.lenience)

    def lossless(proposal, options):
        return options.lenience == 1

    return replace(exact, name="lenient", judge=judge, Options=LenientOptions, lossless=lossless)


# ----------------------------------------------------------------------------------------------- what a run says


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("rejection", "yes"),
        ("traversal", "yes"),
        ("naive", "yes"),
        ("greedy", "greedy decoding"),
        ("eta", "no"),
        ("longest_path", "no"),
    ],
)
def test_ours_are_proved_with_their_defaults(says, name: str, said: str) -> None:
    for proposal in ALL_PROPOSALS:
        tree = Choice(name="k_config", options={"tree": "2,1", "proposal": proposal})
        assert says(VERIFIERS[name], tree) == said


def test_a_promise_alone_is_not_lossless(says) -> None:
    faulty, sound = stale_residual_verifier("mine"), copied(VERIFIERS["rejection"])
    for verifier in (faulty, sound):
        assert verifier.promise("top_k", Options()) == "yes"
        assert says(verifier) == "not proved"
    for verifier in (faulty, sound):
        check_one(verifier, Options(), "top_k")
    assert says(faulty) == "no"
    assert says(sound) == "yes"
    assert says(sound, Choice(name="k_config", options={"tree": "2,1"})) == "not proved", "another proposal"


def test_greedy_decoding_is_said_of_what_is_greedy_only(says) -> None:
    sound = copied(VERIFIERS["greedy"])
    sampling = replace(copied(VERIFIERS["naive"]), is_greedy=True)
    for verifier in (sound, sampling):
        assert says(verifier) == "not proved"
    assert check_one(sound, Options(), "top_k").verdict == "ok, greedy decoding"
    assert check_one(sampling, Options(), "top_k").verdict == "NOT GREEDY DECODING as promised"
    assert says(sound) == "greedy decoding"
    assert says(sampling) == "no"


def test_what_is_proved_is_proved_for_one_set_of_options(says) -> None:
    verifier = lenient()
    assert says(verifier, lenience=1) == says(verifier) == "not proved"
    assert check_one(verifier, LenientOptions(lenience=1), "top_k").verdict == "ok, lossless"
    assert says(verifier, lenience=1) == "yes"
    assert says(verifier) == says(verifier, lenience=0.9) == "not proved"
    assert check_one(verifier, LenientOptions(), "top_k").verdict == "ok, lossy"
    assert says(verifier) == "no"


def test_options_outside_the_shipped_table_are_not_proved(says) -> None:
    eta = VERIFIERS["eta"]
    assert says(eta, epsilon=0.3, delta=0.9, select="first") == "no"
    assert says(eta, epsilon=0.31) == "not proved"


def test_what_keeps_a_promise_it_did_not_make_is_not_called_lossy(says) -> None:
    """Naive that promises nothing emits the target's law all the same: it is not lossy."""
    modest = replace(VERIFIERS["naive"], name="modest", lossless=())
    assert says(modest) == "not proved"


def test_a_verifier_is_its_functions_and_not_its_name(says) -> None:
    assert says(replace(VERIFIERS["rejection"], name="mild")) == "yes"
    assert says(replace(stale_residual_verifier(), name="rejection")) == "not proved"


def test_a_promise_that_is_no_answer_is_blamed_on_the_verifier(says) -> None:
    with pytest.raises(VerifierError, match=r"The verifier mine failed.*must answer True or False"):
        says(copied(VERIFIERS["rejection"], lossless=lambda proposal, options: "yes"))


# ---------------------------------------------------------------------------------------- a builder of one's own


class MineOptions(Options):
    by_q: bool = False


@pytest.fixture
def mine(monkeypatch: pytest.MonkeyPatch) -> str:
    """A builder that draws two siblings and, if asked, sorts them by q: which makes every exact rule inexact."""

    def grow(growth: Growth, draft: Draft, options: MineOptions, dice: Dice, step: int, limits: Limits) -> None:
        pair = BUILDERS["k_config"]
        drawn = Growth.from_root(growth.tokens[0])
        pair.grow(drawn, draft, pair.Options(tree="2"), dice, step, limits)
        row = draft.expand(growth, [0])
        growth.add_rows([0], row)
        tokens = drawn.tokens[1:]
        for token in sorted(tokens, key=lambda token: -float(row[0, token])) if options.by_q else tokens:
            growth.add(0, token)

    builder = replace(
        BUILDERS["k_config"],
        name="mine",
        Options=MineOptions,
        grow=grow,
        proposal=lambda options: "without_replacement",
        max_nodes=lambda options: 2,
    )
    monkeypatch.setitem(BUILDERS, "mine", builder)
    return "mine"


def test_with_a_builder_of_ones_own_nothing_is_proved_until_it_is_checked(says, mine: str) -> None:
    rejection = VERIFIERS["rejection"]
    drawn, sorted_by_q = Choice(name=mine), Choice(name=mine, options={"by_q": True})
    assert says(rejection, drawn) == says(rejection, sorted_by_q) == "not proved"
    assert check_tree(rejection, Options(), drawn).verdict == "ok, lossless"
    assert says(rejection, drawn) == "yes"
    assert says(rejection, sorted_by_q) == "not proved"
    assert check_tree(rejection, Options(), sorted_by_q).verdict == "NOT LOSSLESS as promised"
    assert says(rejection, sorted_by_q) == "no"


def test_one_tree_of_ours_proves_nothing_about_the_others(says) -> None:
    sound = copied(VERIFIERS["rejection"])
    assert check_tree(sound, Options(), TOP_K).verdict == "ok, lossless"
    assert says(sound) == "not proved"


def test_a_tree_that_can_be_drawn_in_too_many_ways_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("specviz.verifiers.check.MOST_TREES", 10)
    with pytest.raises(SettingsError, match=r"\(2,2\) can be drawn in more than 10 ways on V=\d"):
        check_tree(VERIFIERS["naive"], Options(), Choice(name="k_config", options={"tree": "2,2"}))


# --------------------------------------------------------------------------------------------- the shipped table


def test_the_shipped_table_is_made_from_the_sources_that_run() -> None:
    """Makes it again where this fails: python -m specviz check --write"""
    held = {(one.verifier, json.dumps(one.options), one.proposal) for one in proof_table.read_table()}
    jobs = list(built_in_jobs())
    assert held == {
        (verifier.name, json.dumps(dict(options)), proposal) for verifier, options in jobs for proposal in ALL_PROPOSALS
    }
    assert len(jobs) > len(BUILT_IN)
    ours = {verifier.name: proof_table.source_hash(verifier) for verifier in BUILT_IN}
    stale = {one.verifier for one in proof_table.read_table() if one.source != ours[one.verifier]}
    assert not stale, "python -m specviz check --write"


def test_a_part_of_the_grid_computed_again_is_what_the_table_says() -> None:
    """The defaults are compared in tests/verifiers/test_exact.py, where they are computed anyway."""
    eta = VERIFIERS["eta"]
    options = eta.Options(epsilon=0.3, delta=0.1, select="first")
    found = check_one(eta, options, "top_k")
    assert_is_the_entry(found)


def assert_is_the_entry(found) -> None:
    (held,) = [
        one
        for one in proof_table.read_table()
        if (one.verifier, one.options, one.proposal)
        == (found.verifier.partition(":")[0], found.options, found.proposal)
    ]
    assert (held.promise, held.verdict) == (found.promise, found.verdict)
    assert (held.cases, held.trees) == (found.cases, found.trees)
    # Where there is no distance, what is left is rounding, which differs between machines.
    assert held.distance == pytest.approx(found.worst.distance, rel=1e-5, abs=proof_table.EXACT)


def test_a_verifier_that_was_edited_since_is_not_proved(says, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = Path(proof_table.__file__).parents[1]
    for name in ("drafting", "verifiers"):
        (tmp_path / name).mkdir()
    for path in (*package.glob("*.py"), *package.glob("drafting/*.py"), *package.glob("verifiers/*.py")):
        (tmp_path / path.relative_to(package)).write_bytes(path.read_bytes())
    monkeypatch.setattr(proof_table, "_PACKAGE", tmp_path)
    edited = tmp_path / "verifiers" / "rejection.py"
    edited.write_text(edited.read_text(encoding="utf-8").replace("draw order", "any order"), encoding="utf-8")
    proof_table._shipped.cache_clear()
    try:
        assert says(VERIFIERS["rejection"]) == "not proved"
        assert says(VERIFIERS["lenience"]) == "not proved", "it judges as rejection does"
        assert says(VERIFIERS["naive"]) == "yes"
        (tmp_path / "tree.py").unlink()
        proof_table._shipped.cache_clear()
        assert says(VERIFIERS["naive"]) == "not proved"
    finally:
        proof_table._shipped.cache_clear()


def test_without_a_table_nothing_is_proved(says, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in (None, "", "[]", '{"proofs": 1}'):
        path = tmp_path / "proofs.json"
        if text is not None:
            path.write_text(text)
        monkeypatch.setattr(proof_table, "TABLE", path)
        proof_table._shipped.cache_clear()
        try:
            assert says(VERIFIERS["rejection"]) == "not proved"
        finally:
            proof_table._shipped.cache_clear()


# --------------------------------------------------------------------------------------------------- the command


def test_check_takes_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--tree", "2", "--options", "eta:epsilon=0.1/0.2,select=first", "naive"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:5]] == [
        "eta:epsilon=0.1,select=first",
        "eta:epsilon=0.2,select=first",
        "naive",
    ]
    assert lines[4].endswith("ok, lossless")


def test_a_broken_promise_of_some_options_fails_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    careless = replace(lenient(), lossless=ALL_PROPOSALS)
    monkeypatch.setitem(VERIFIERS, "lenient", careless)
    arguments = ["check", "--tree", "dynamic:top_k=2,depth=1,total=2", "--options"]
    assert main([*arguments, "lenient:lenience=1"]) == 0
    assert main([*arguments, "lenient"]) == 1
    assert "NOT LOSSLESS as promised" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--options", "eta:epsilon=7"], "cannot use option epsilon=7"),
        (["--options", "nobody"], "There is no verifier 'nobody'"),
        (["--tree", "nobody:x=1"], "There is no tree builder 'nobody'"),
        (["--tree", "dynamic:depth=x"], "cannot use option depth"),
        (["--write", "x.json", "--options", "eta"], "leave --verifier, --options, --processor and --tree out"),
    ],
)
def test_what_cannot_be_checked_is_one_sentence(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_the_table_is_written_as_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = [job for job in built_in_jobs() if job[0].name in ("longest_path", "greedy")]
    monkeypatch.setattr("specviz.verifiers.check.built_in_jobs", lambda: few)
    monkeypatch.setattr("specviz.verifiers.check.cases_for", lambda proposal: cases_for(proposal)[:6])
    assert main(["check", "--write", str(tmp_path / "few.json")]) == 0
    assert "(6 proofs)" in capsys.readouterr().out
    monkeypatch.setattr(proof_table, "TABLE", tmp_path / "few.json")
    assert [one.verifier for one in proof_table.read_table()] == ["longest_path"] * 3 + ["greedy"] * 3
    assert main(["check", "--write", str(tmp_path / "no" / "few.json")]) == 2
    broken = [(stale_residual_verifier(), Options())]
    monkeypatch.setattr("specviz.verifiers.check.built_in_jobs", lambda: broken)
    assert main(["check", "--write", str(tmp_path / "broken.json")]) == 1
    assert not (tmp_path / "broken.json").exists()
