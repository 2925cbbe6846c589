"""What goes wrong in a loop, or in what it says, is told and recorded, and nothing is raised into it unasked."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest

import specviz
from specviz.figures.findings import findings_of
from specviz.recorder.audit import audit
from specviz.recorder.findings import Finding, NotRun
from specviz.recorder.recorder import Recorder
from specviz.trace.io import dump_trace, parse_trace
from specviz.trace.schema import Sampling, Step, Trace
from specviz.trace.summary import summary
from tests.recorder import steps
from tests.recorder.steps import PARENTS, TOKENS, V, one_step, recorder, rows


def warned(rec: Recorder, **calls) -> tuple[Step | None, list[str]]:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        step = one_step(rec, **calls)
    assert all(warning.category is specviz.RecorderWarning and warning.filename == steps.__file__ for warning in told)
    return step, [str(warning.message) for warning in told]


NAN = np.where(np.arange(4)[:, None] == 2, np.float32("nan"), rows(4))


@pytest.mark.parametrize(
    ("call", "said", "sentence"),
    [
        ("tree", {"tokens": TOKENS, "parents": [-1, 0, 3, 1]}, "node 2 has the parent 3, but a parent comes before"),
        (
            "tree",
            {"tokens": TOKENS, "parents": [-1, 0, -1, 0]},
            "node 2 has the parent -1, but there is one root, node 0",
        ),
        ("tree", {"tokens": [3, 4, -5]}, "node 2 has the token -5; token ids are from 0 on"),
        ("tree", {"tokens": TOKENS, "parents": [-1, 0]}, "there are 4 tokens and 2 parents"),
        ("tree", {"tokens": [3.5, 4.0]}, "tokens should be a list of whole numbers"),
        ("tree", {"tokens": [2.0, 3.5, 4.0]}, "tokens should be a list of whole numbers; 3.5 is none"),
        (
            "tree",
            {"tokens": TOKENS, "parents": [None, 0, 0, 1]},
            "parents should be a list of whole numbers; nan is none",
        ),
        ("tree", {"tokens": "word"}, "str is no array of numbers; give token ids"),
        ("target", {"probs": rows(3)}, "there are 3 rows for 4 nodes; say with nodes="),
        ("target", {"probs": NAN}, "the row of node 2 has NaN or infinity, which are no probabilities; 1 of 4 rows"),
        ("target", {"probs": 9 * rows(4) - 4}, "give logits with logits="),
        ("target", {"logits": np.full((4, V), -np.inf)}, "the logits of node 0 have NaN or infinity"),
        ("target", {"probs": rows(4), "logits": rows(4, columns=5)}, r"probs of shape \[4, 12\] and logits of shape"),
        ("target", {"probs": rows(4) / 2}, "the row of node 0 adds up to 0.5, not 1; renormalise .* 4 of 4 rows"),
        ("draft", {"probs": 1.3 * rows(2)}, "draft.*adds up to 1.3, not 1.*2 of 2 rows are so, and recorded"),
        ("target", {"positions": [1, 2]}, "there are 2 positions for 4 nodes"),
        ("target", {"mask": np.ones((4, 3))}, "the mask should be"),
        ("target", {"slots": [1, 1, 2, 3]}, "each of one node"),
        ("draft", {"probs": rows(2), "nodes": [0, 8]}, "are not nodes of a tree of 4"),
        ("draft", {"probs": rows(2), "proposal": "magic"}, "there is no proposal 'magic'"),
        ("draft", {"probs": rows(2), "vocabulary": [1, 2]}, "rows of 12 columns do not fit a vocabulary of 2"),
        ("verify", {"accepted": [1, 2], "bonus": 9}, "accepted node 2 is not a child of node 1"),
        ("verify", {"accepted": [0, 1], "bonus": 9}, "accepted begins with node 0"),
        ("verify", {"accepted": [1], "bonus": 9, "coins": {1: 1.5}}, r"the coin of node 1 is 1.5, not in \[0, 1\]"),
        (
            "verify",
            {"accepted": [1], "bonus": 9, "thresholds": {8: 1.0}},
            "thresholds names node 8, but the tree has the nodes 0 to 3",
        ),
        (
            "verify",
            {"accepted": [1], "bonus": 9, "thresholds": {1: np.inf}},
            "thresholds of node 1 is inf, which is no",
        ),
        ("verify", {"accepted": [1], "bonus": 9, "coins": [0.1, 0.2]}, "coins is a list of 2 numbers for 4 nodes; say"),
        ("verify", {"accepted": [1], "bonus": 9, "coins": {"a": 0.5}}, "coins should be node -> number"),
        ("verify", {"accepted": [1], "bonus": 9, "rule": "rejektion"}, "no rule 'rejektion'.*say 'rejection'"),
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


@pytest.mark.parametrize("made", ["float32", "bfloat16", "float16"])
def test_rows_that_a_softmax_made_in_any_format_add_up_to_1(made) -> None:
    torch = pytest.importorskip("torch")
    logits = torch.randn(4, 49_152, generator=torch.Generator().manual_seed(0)).to(getattr(torch, made))
    for said in (logits.softmax(-1), logits.softmax(-1).float()):
        step, told = warned(recorder(strict=False), target={"probs": said})
        sums = next(check for check in step.checks if check.name == "sums")
        assert (told, sums.compared, sums.failed) == ([], 4, 0)


def test_rows_that_do_not_add_up_to_1_are_recorded_as_said_and_the_file_says_so() -> None:
    p = rows(4)
    p[2] *= 0.9
    rec = recorder(strict=False)
    step, _ = warned(rec, draft={"probs": rows(2)}, target={"probs": p})
    sums = next(check for check in step.checks if check.name == "sums")
    assert (sums.compared, sums.failed, sums.node) == (6, 1, 2)
    assert sums.message == "The target's row at node 2 (token 5) adds up to 0.9, not 1."
    assert step.tree.nodes[3].target_prob == float(p[1, 6])
    assert [one.sentence for one in audit(rec.trace()) if one.check == "sums"] == [
        "Step 1: The target's row at node 2 (token 5) adds up to 0.9, not 1; "
        "1 of 6 comparisons failed, in 1 of 1 steps."
    ]


@pytest.mark.parametrize(
    ("tree", "accepted", "sentence", "kept"),
    [
        ({}, [7], "accepted names node 7, but the tree has the nodes 0 to 3; say the places", "the nodes are 0 to 3"),
        ({"tokens": [3]}, [1], "accepted, coins, thresholds name node 1, but the tree has the root alone", "0 alone"),
        (None, [1], "accepted, coins, thresholds name node 1, but no tree was said; call step.tree", "0 alone"),
    ],
)
def test_accepted_numbers_that_no_node_has_fail_the_path_and_end_no_check(tree, accepted, sentence, kept) -> None:
    said = {"accepted": accepted, "bonus": 9, "coins": {1: 0.5}, "thresholds": {1: 0.1}}
    rec = recorder(strict=False, rule="rejection")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in range(2):
            with rec.step() as step:
                if tree is not None:
                    step.tree(TOKENS, PARENTS)
                if tree:
                    step.tree(**tree)
                step.target(rows(4) if tree == {} else rows(1), positions=[2, 3, 3, 4] if tree == {} else [2])
                step.verify(**said)
    assert any(sentence in str(one.message) for one in told)
    assert not any("IndexError" in str(one.message) or "not a child" in str(one.message) for one in told)
    found = audit(rec.trace())
    wrong = [one for one in found if isinstance(one, Finding) and one.weight == "error"]
    assert [one.check for one in wrong] == ["path"]
    assert f"There is no node {accepted[0]}, which accepted names; " in wrong[0].sentence
    assert kept in wrong[0].sentence
    lacked = {one.check: one.lacked for one in found if isinstance(one, NotRun)}
    assert lacked["bonus_token"] == lacked["committed_calibration"] == "accepted nodes that hang together (accepted)"
    # Of the second step nobody knows where it begins, as the first did not say what it committed.
    second = {check.name: check.lacked for check in rec.trace().steps[1].checks}
    assert "committed=" in second["root"]
    assert "committed=" in second["positions"]
    with pytest.raises(specviz.RecorderError, match="accepted"):
        one_step(recorder(), **({"tree": tree} if tree else {}), verify={"accepted": [7], "bonus": 9})


def test_what_was_not_committed_by_word_is_not_checked_against_itself() -> None:
    derived = {check.name: check for check in one_step(recorder()).checks}["committed_text"]
    said = one_step(recorder(), verify={"accepted": [1], "bonus": 9, "committed": [4, 8]})
    assert (derived.compared, derived.lacked) == (0, "what was appended to the text (committed)")
    assert {check.name: check for check in said.checks}["committed_text"].failed == 1


def test_what_was_dropped_with_a_warning_is_a_finding_of_the_file(tmp_path) -> None:
    rec = recorder(tmp_path / "run.jsonl", strict=False)
    warned(rec, draft={"probs": rows(2), "proposal": "magic"}, target={"probs": rows(3)})
    rec.close()
    found = [one for one in audit(specviz.load(tmp_path / "run.jsonl")) if isinstance(one, Finding)]
    assert [(one.check, one.sentence) for one in found if one.weight != "note"] == [
        (
            "calls",
            "Step 1: draft(): there is no proposal 'magic'; say without_replacement, with_replacement, top_k "
            "(1 more of 2); 2 of 2 comparisons failed, in 1 of 1 steps.",
        )
    ]


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"draft": {"probs": rows(2, columns=5)}}, "its rows have 5 columns and the target's 12.*vocabulary="),
        ({"tree": {"tokens": [3, 4, 99, 6], "parents": PARENTS}}, "node 2 has token 99, but the target's rows have 12"),
        ({"verify": {"accepted": [1], "bonus": 50}}, "the bonus is token 50, but the target's rows have 12 columns"),
        ({"verify": {"accepted": [1], "bonus": 9, "bonus_row": rows(1, columns=3)}}, "bonus_row has 3 entries, but"),
    ],
)
def test_rows_that_are_not_as_wide_as_others_are_told_of(said, sentence) -> None:
    step, told = warned(recorder(strict=False), **({"target": {"probs": rows(4)}} | said))
    assert len(told) == 1
    assert re.search(sentence, told[0]), told
    assert [bool(re.search(sentence, check.message)) for check in step.checks if check.name == "calls"] == [True]
    # A vocabulary that one model pads and the other does not is none of these.
    assert warned(recorder(strict=False), target={"probs": rows(4)}, draft={"probs": rows(2, columns=11)})[1] == []


def test_a_cache_is_at_least_as_long_as_it_is_said_to_be() -> None:
    torch = pytest.importorskip("torch")
    cache = [(torch.zeros(1, 1, 6, 2), torch.zeros(1, 1, 6, 2))]
    rec = recorder(strict=False)
    with rec.step() as step:
        step.tree(TOKENS, PARENTS)
        reading = step.cache("target", cache, length=7)
        with pytest.warns(specviz.RecorderWarning, match=r"length=7, but the target's cache has 6 slots; say how many"):
            reading.__enter__()
        reading.__exit__(None, None, None)
        step.verify(accepted=[1], bonus=9)
    assert rec.trace().steps[0].caches.target is None


def test_calls_outside_of_their_step_are_told_of_and_change_nothing() -> None:
    rec = recorder(strict=False)
    made = rec.step()
    with pytest.warns(specviz.RecorderWarning, match=r"the step has not begun.*write: with rec.step\(\) as step:"):
        made.tree(TOKENS, PARENTS)
    with rec.step() as step:
        step.tree(TOKENS, PARENTS)
        step.verify(accepted=[1], bonus=9)
    before = rec.trace()
    with pytest.warns(specviz.RecorderWarning, match=r"verify\(\): the step has ended, and this call is not recorded"):
        step.verify(accepted=[], bonus=8, rule="naive")
    assert rec.trace() == before
    with rec.step() as outer:
        outer.verify(accepted=[], bonus=9)
        inner = rec.step()
        with pytest.warns(specviz.RecorderWarning, match=r"it begins before the last step has ended; end that first"):
            inner.__enter__()
        inner.verify(accepted=[], bonus=9)
        inner.__exit__(None, None, None)


def test_a_prompt_is_token_ids_given_once() -> None:
    rec = recorder(strict=False)
    with pytest.warns(specviz.RecorderWarning, match=r"prompt\(\): there is one already; give each text of a batch a"):
        rec.prompt([1])
    with pytest.warns(specviz.RecorderWarning, match=r"prompt\(\): str is no array of numbers; give token ids"):
        rec.prompt("Why is the sky blue?", request="a")
    with pytest.warns(specviz.RecorderWarning, match="there is no rule 'Rejection'.*say 'rejection:x=1'"):
        recorder(strict=False, rule="Rejection:x=1")


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
    trace = rec.trace()
    assert (len(trace.steps), trace.failed) == (2, None)
    assert [(one.index, one.message) for one in trace.failures] == [(1, "ZeroDivisionError: division by zero")]
    assert "step 2 failed, and the loop went on: ZeroDivisionError: division by zero" in summary(trace)
    sentence = "Failed, and the loop went on: ZeroDivisionError: division by zero."
    assert sentence in findings_of(trace)["found"]["sentence"]
    with pytest.raises(ZeroDivisionError):
        decode()
    with pytest.raises(ZeroDivisionError):
        decode()
    trace = rec.trace()
    assert ([one.index for one in trace.failures], trace.failed.index) == ([1, 2], 2)
    assert [one.sentence for one in audit(trace) if one.check == "failed_steps"] == [
        f"Step 2: {sentence.removesuffix('.')}; 3 steps failed."
    ]
    assert parse_trace(dump_trace(trace)) == trace
    wrong = dict(trace) | {"failures": (trace.failures[0].model_copy(update={"context": 9}),)}
    with pytest.raises(ValueError, match="the failed step 1 does not begin where step 1 does"):
        Trace.model_validate(wrong)


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
