"""Frames: what the layout begins from, what a card says, what stays small, and that hostile text stays text."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from specviz.assets import ASSETS
from specviz.figures import block, dump_block, standalone_page, step_frame
from specviz.figures.diff import difference_sentences
from specviz.figures.figure_style import verifier_looks
from specviz.figures.node import TokenTable
from specviz.figures.text import columns, pieces, shorten, token_label, visible
from specviz.figures.tree import parting, verdict_states
from specviz.figures.tree_order import FOLD_ABOVE, folded_nodes
from specviz.trace.diff import compare
from specviz.trace.io import load_trace
from specviz.trace.schema import Step, TokenText, Trace, text_of_tokens
from specviz.verifier_styles import SLOTS
from tests.sample_traces import HOSTILE, RULES, k_config, random_tree, sample_trace


def frame_of(trace: Trace, position: int = 0) -> dict:
    """The frame as a browser gets it."""
    return json.loads(dump_block(step_frame(trace, position)))


def frame_of_step(step: Step) -> dict:
    return frame_of(sample_trace(steps=1).model_copy(update={"steps": (step,)}))


# ------------------------------------------------------------------------------------------------ order, folds


@pytest.mark.parametrize("parents", [[-1], [-1, 0, 1, 2, 3], k_config(4, 2, 2), random_tree(300, seed=2)], ids=len)
def test_leaves_come_in_draw_order_and_parents_after_their_children(parents):
    step = sample_trace(parents, steps=1).steps[0]
    place = {node: i for i, node in enumerate(frame_of_step(step)["tree"]["order"])}
    assert sorted(place) == list(range(len(parents)))
    for node, children in enumerate(step.tree.children()):
        places = [place[child] for child in children]
        assert places == sorted(places)
        assert all(at < place[node] for at in places)


def test_small_trees_are_never_folded_and_large_ones_keep_what_was_accepted():
    assert len(k_config(4, 2, 2)) <= FOLD_ABOVE
    assert folded_nodes(sample_trace(steps=1).steps[0]) == set()
    step = sample_trace(random_tree(1024), steps=1, verifiers=tuple(RULES)).steps[0]
    folded = folded_nodes(step)
    kept = {0}.union(*(verdict.path for verdict in step.verdicts.values()))
    assert len(folded) > 500
    assert not folded & kept


# ------------------------------------------------------------------------------------------------------- text


def test_text_that_cannot_be_seen_is_made_visible():
    assert visible(" the\n") == "␣the⏎"
    assert visible("") == "∅"
    assert visible("\u202egnp") == "⟨U+202E⟩gnp"
    assert visible("\u200b\u0000") == "⟨U+200B⟩⟨U+0000⟩"
    assert visible("\u0301") == "◌\u0301"
    assert token_label(TokenText(id=1, text="\ufffd", bytes="f09f")) == "⟨f0 9f⟩"


@pytest.mark.parametrize(
    ("text", "width", "cut"), [("abcdef", 6, "abcdef"), ("abcdef", 4, "abc…"), ("日本語の", 5, "日本…")]
)
def test_long_tokens_are_cut_by_their_width(text, width, cut):
    assert shorten(text, width) == cut
    assert columns(cut) <= width


def test_a_character_split_over_tokens_appears_where_it_is_complete():
    halves = [TokenText(id=1, text="\ufffd", bytes="f09f"), TokenText(id=2, text="\ufffd", bytes="9880")]
    tokens = [TokenText(id=0, text="a"), *halves, TokenText(id=3, text="b")]
    assert pieces(tokens) == ["a", "", "😀", "b"]
    assert "".join(pieces(tokens)) == text_of_tokens(tokens)


def test_a_block_cannot_close_the_script_it_stands_in():
    trace = sample_trace(tokens=HOSTILE)
    assert "<" not in dump_block(block(trace, range(3)))
    assert "<script>alert(1)" not in standalone_page(trace)


# ------------------------------------------------------------------------------------------------------ frames


def test_a_saved_page_is_small_and_has_no_library_in_it():
    page = standalone_page(load_trace(ASSETS / "traces" / "default-4-2-2.json.gz"))
    assert len(page.encode()) < 1_000_000
    assert "plotly" not in page.lower()


def test_a_node_says_token_and_both_probabilities():
    trace = sample_trace()
    node = trace.steps[0].tree.nodes[5]
    frame = frame_of(trace)
    assert frame["nodes"]["q"][5] == pytest.approx(node.draft_prob, rel=1e-3)
    assert frame["nodes"]["p"][5] == pytest.approx(node.target_prob, rel=1e-3)
    assert frame["nodes"]["text"][5] == visible(node.text)


def test_states_are_told_for_every_verifier():
    step = sample_trace(verifiers=tuple(RULES), seed=3).steps[0]
    for verdict in step.verdicts.values():
        states = verdict_states(verdict, len(step.tree.nodes))
        assert states[0] == "t", "no verifier judges the root"
        assert [i for i, state in enumerate(states) if state == "a"] == sorted(verdict.path)
        examined = {decision.node for decision in verdict.decisions}
        assert {i for i, state in enumerate(states) if state != "."} == examined | set(verdict.path) | {0}


def test_a_decision_carries_its_numbers():
    trace = sample_trace()
    verdict = trace.steps[0].verdicts["rejection"]
    told = frame_of(trace)["verdicts"][0]["decisions"]
    decision = verdict.decisions[0]
    assert told["node"][0] == decision.node
    assert told["uniform"][0] == pytest.approx(decision.uniform, rel=1e-6)
    assert told["details"]["at"][0] == 0
    assert told["details"]["threshold"][0] == pytest.approx(decision.threshold, rel=1e-6)
    assert told["details"]["reason"][0] == decision.reason
    residuals = [one["mass"] if one else -1 for one in told["details"]["residual"]]
    masses = [one.residual.mass if one.residual else -1 for one in verdict.decisions]
    assert residuals == pytest.approx(masses, rel=1e-6)


def test_where_paths_part():
    step = sample_trace(verifiers=("rejection", "eta"), seed=5).steps[0]
    equal = step.model_copy(update={"verdicts": {"rejection": step.verdicts["rejection"]}})
    assert parting(equal) is None
    paths = [verdict.path for verdict in step.verdicts.values()]
    node = parting(step)
    if paths[0] != paths[1]:
        assert node is not None
        shared = step.tree.path(node)
        assert all(list(path[: len(shared)]) == shared for path in paths)


def test_verifiers_keep_their_colour_and_never_share_one():
    alone, together = verifier_looks(["eta"]), verifier_looks(["mine", *RULES])
    assert alone[0] == next(look for look in together if look["name"] == "eta")
    for names in (list(RULES), ["mine", *RULES], ["a", "b", "rejection"]):
        looks = verifier_looks(names)
        assert len({look["role"] for look in looks}) == len(looks) <= len(SLOTS)
        assert len({look["dash"] for look in looks}) == len(looks)


@pytest.mark.parametrize(("size", "limit"), [(29, 60_000), (257, 200_000), (1024, 400_000)])
def test_bytes_a_step(size, limit):
    parents = k_config(4, 2, 2) if size == 29 else random_tree(size)
    trace = sample_trace(parents, steps=1, verifiers=tuple(RULES))
    assert len(dump_block(step_frame(trace, 0)).encode()) <= limit


# ------------------------------------------------------------------------------------------------------ caches


def test_a_sound_step_has_no_faults():
    for position in range(3):
        caches = frame_of(sample_trace(seed=1), position)["caches"]
        assert caches["target"]["faults"] == caches["draft"]["faults"] == []
        assert all(caches["target"]["after"]["good"])


@pytest.mark.parametrize(
    ("fault", "said"), [("no_compaction", "does not hold"), ("position", "position"), ("mask", "no ancestor")]
)
def test_planted_faults_are_told(fault, said):
    trace = sample_trace(fault=fault, steps=4, seed=2)
    faults = [line for i in range(4) for line in frame_of(trace, i)["caches"]["target"]["faults"]]
    assert any(said in line for line in faults)


def test_every_written_slot_is_kept_moved_or_dropped():
    trace = sample_trace(seed=2)
    change = trace.steps[0].caches.target
    columns_ = frame_of(trace)["caches"]["target"]
    assert columns_["state"].count("d") == len(change.dropped)
    assert columns_["state"].count("m") == len(change.moves)
    assert len(columns_["after"]["slot"]) == change.length_after - change.length_before


# ------------------------------------------------------------------------------------------------------- rooms


def test_a_run_that_was_left_off_is_said_to_end_there():
    whole = sample_trace(steps=3)
    left = whole.model_copy(update={"id": "left", "steps": whole.steps[:1], "end_reason": "stopped"})
    more = len(whole.output_tokens()) - len(left.output_tokens())
    for runs, names in (((whole, left), ("whole", "left")), ((left, whole), ("left", "whole"))):
        told = " ".join(difference_sentences(compare(*runs, names)))
        assert f"There left ends; whole has {more} more." in told


def test_figures_need_no_model_no_page_and_no_tensors():
    code = "import sys, specviz.figures; print([m for m in ('torch', 'gradio', 'transformers') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_rows_are_called_equal_only_where_they_are():
    """A cut that takes next to nothing still makes another distribution."""
    step = sample_trace(steps=1).steps[0]
    row = step.tree.nodes[0].target
    tokens = TokenTable(step)

    def processed(row):
        return tokens.distributions([None, row], [3, 3])["processed"]["node"]

    assert processed(row) == []
    moved = row.processed.model_copy(update={"probs": tuple(p * 1.00001 for p in row.processed.probs)})
    assert processed(row.model_copy(update={"processed": moved})) == [1]
    # Nor where they differ only beyond the entries that are carried.
    fewer = row.processed.model_copy(update={"ids": row.processed.ids[:-1], "probs": row.processed.probs[:-1]})
    assert processed(row.model_copy(update={"processed": fewer})) == [1]
