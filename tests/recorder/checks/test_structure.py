"""Path, text, siblings, positions, masks and caches: the checks that need no row."""

from __future__ import annotations

import numpy as np
import pytest

from specviz.recorder.checks import kept_checks
from specviz.recorder.checks.compaction import compaction
from specviz.recorder.checks.layout import mask, positions
from specviz.recorder.checks.rows import View
from specviz.recorder.checks.siblings import no_duplicates, top_k_order
from specviz.recorder.checks.text import committed_text, path, root
from specviz.recorder.raw_step import CacheReading
from specviz.trace.checks import Check
from tests.recorder.checks import steps
from tests.recorder.checks.steps import P, Q, step

DEEP = {"tokens": [0, 3, 1, 2], "parents": [-1, 0, 0, 1]}
"""Node 3 is a child of node 1."""


def view(**changes: object) -> View:
    return View(step(**changes))


def failed(check: Check) -> tuple[int, int | None]:
    return check.failed, check.node


# ------------------------------------------------------------------------------------------------------- path, text


def test_a_path_hangs_together() -> None:
    assert path(view(**DEEP, accepted=[1, 3])).failed == 0
    assert failed(path(view(**DEEP, accepted=[2, 3]))) == (1, 3)
    assert failed(path(view(**DEEP, accepted=[3]))) == (1, 3)
    assert path(view()).lacked == "an accepted node"


def test_the_root_is_the_last_token_of_the_text() -> None:
    assert failed(root(view())) == (0, None)
    assert failed(root(view(text=[2, 3, 1, 1]))) == (1, 0)
    assert failed(root(view(text=[2, 3, 0]))) == (1, 0)
    assert root(view(text=[])).compared == 0


@pytest.mark.parametrize(
    ("said", "bonus", "wrong"),
    [
        ([1, 2], 2, 0),
        ([1], 2, 0),  # cut, which the whole run has to explain
        ([], 2, 0),
        ([1, 3], 2, 1),
        ([2], 2, 1),
        ([1, 2, 2], 2, 1),
        ([1], None, 0),
        ([1, 3], None, 0),  # the bonus was not said
        ([1, 3, 3], None, 2),
    ],
)
def test_the_committed_text_is_path_and_bonus(said: list[int], bonus: int | None, wrong: int) -> None:
    found = committed_text(view(accepted=[2], committed=said, bonus=bonus))
    assert found.failed == wrong
    assert (found.message is not None) == (wrong > 0)


# --------------------------------------------------------------------------------------------------------- siblings


def test_siblings_do_not_repeat_a_token() -> None:
    twice = {"tokens": [0, 3, 3]}
    assert no_duplicates(view()).failed == 0
    assert failed(no_duplicates(view(**twice))) == (1, 2)
    assert failed(no_duplicates(view(**twice, proposal="top_k"))) == (1, 2)
    assert no_duplicates(view(**twice, proposal="with_replacement")).compared == 0
    assert no_duplicates(view(**twice, proposal=None)).compared == 0
    assert no_duplicates(view(tokens=[0, 3, 1, 3], parents=[-1, 0, 0, 1])).failed == 0  # not a sibling
    assert no_duplicates(view(tokens=[0], parents=[-1])).compared == 0


def test_top_k_children_are_in_the_order_of_their_row() -> None:
    said = {"proposal": "top_k", "q": Q[None]}
    assert top_k_order(view(**said, tokens=[0, 3, 2])).failed == 0
    assert top_k_order(view(**said, tokens=[0, 3, 2])).compared == 2
    wrong = top_k_order(view(**said, tokens=[0, 2, 3]))
    assert failed(wrong) == (2, 1)
    assert wrong.worst == pytest.approx(0.1)
    assert failed(top_k_order(view(**said, tokens=[0, 3, 0]))) == (1, 2)
    even = np.array([[0.1, 0.3, 0.3, 0.3]])
    assert top_k_order(view(proposal="top_k", q=even, tokens=[0, 3, 1])).failed == 0
    assert top_k_order(view()).compared == 0
    assert top_k_order(view(proposal="top_k", q=None)).compared == 0
    more = {"tokens": [0, 3, 2, 1, 0, 5], "parents": [-1, 0, 0, 0, 0, 0], "proposal": "top_k"}
    assert failed(top_k_order(view(**more, q=Q[None]))) == (0, None)  # more children than tokens: q is 0


# --------------------------------------------------------------------------------------------- positions and masks


def test_positions_are_length_plus_depth() -> None:
    deep = view(**DEEP)
    assert positions(deep, [3, 4, 4, 5], []).failed == 0
    assert failed(positions(deep, [4, 5, 5, 6], [])) == (4, 0)
    by_slot = positions(deep, [3, 4, 5, 6], [])
    assert failed(by_slot) == (2, 2)
    assert "position 5, not 4" in by_slot.message
    assert positions(deep, [3, 5], [0, 3]).failed == 0
    assert positions(deep, None, []).lacked == "positions"
    assert positions(deep, [3], []).compared == 0


def test_a_mask_is_ancestry() -> None:
    deep = view(**DEEP)
    lines = [[0], [0, 1], [0, 2], [0, 1, 3]]
    assert mask(deep, steps.mask(lines, 3), [], None).failed == 0
    assert mask(deep, steps.mask(lines, 3), [], None).compared == 4
    leaks = mask(deep, steps.mask([[0], [0, 1], [0, 1, 2], [0, 1, 3]], 3), [], None)
    assert failed(leaks) == (1, 2)
    assert "sees node 1" in leaks.message
    hides = mask(deep, steps.mask([[0], [0, 1], [0, 2], [0, 3]], 3), [], None)
    assert failed(hides) == (1, 3)
    assert "does not see node 1" in hides.message
    itself = mask(deep, steps.mask([[0], [0], [0, 2], [0, 1, 3]], 3), [], None)
    assert failed(itself) == (1, 1)
    short = steps.mask(lines, 3)
    short[2, 1] = False
    assert failed(mask(deep, short, [], None)) == (1, 2)
    assert "2 of 3 tokens" in (mask(deep, short, [], None).message or "")


def test_a_text_of_another_length_is_said_once_and_not_of_positions_and_mask() -> None:
    """The engine dropped one of its four tokens and said nothing of it: its root is at 2, after two tokens."""
    lines = [[0], [0, 1], [0, 2]]

    def wrong(**changes: object) -> dict[str, str]:
        found = kept_checks(view(**changes), [0, 1, 2], [0])
        return {check.name: check.message or "" for check in found if check.failed}

    short = {"positions": [2, 3, 3], "mask": steps.mask(lines, 2), "caches": {}}
    said = "The text has 4 tokens by what was committed, but positions and mask of all nodes are those of a text of 3."
    assert wrong(**short) == {"root": said}
    assert wrong(**short, text=[2, 3, 0, 1])["root"] == f"The root is token 0, but the text ends in token 1. {said}"
    # What else is wrong with the mask is seen against the engine's own length.
    assert wrong(**short | {"mask": steps.mask([[0], [0, 1], [0, 1, 2]], 2)}).keys() == {"root", "mask"}
    # One of the two alone, or by another amount, is a fault of its own.
    assert wrong(caches={}, positions=[2, 3, 3]).keys() == {"positions"}
    assert wrong(caches={}, mask=steps.mask(lines, 2)).keys() == {"mask"}
    assert wrong(**short | {"positions": [4, 5, 5]}).keys() == {"positions", "mask"}


def test_padding_that_no_row_sees_is_no_text() -> None:
    seen = steps.mask([[0], [0, 1], [0, 2]], 3)
    padded = np.concatenate([np.zeros((3, 2), dtype=np.bool_), seen], axis=1)
    assert mask(view(), padded, [], None).failed == 0


def test_slots_of_a_mask_can_be_anywhere() -> None:
    found = np.zeros((3, 8), dtype=np.bool_)
    found[:, [1, 2, 3]] = True
    slots = {0: 0, 1: 7, 2: 5}
    for node, seen in ((0, [0]), (1, [0, 7]), (2, [0, 5])):
        found[node, seen] = True
    assert mask(view(), found, [], slots).failed == 0
    found[2, 7] = True
    assert failed(mask(view(), found, [], slots)) == (1, 2)


@pytest.mark.parametrize(
    ("said", "slots", "lacked"),
    [
        (None, None, "the attention mask"),
        (np.ones((2, 5), dtype=np.bool_), None, "a row of the mask for each of 3 nodes: there are 2"),
        (np.ones((3, 5), dtype=np.bool_), {0: 3, 1: 4}, "the slot of node 2"),
        (np.ones((3, 5), dtype=np.bool_), {0: 3, 1: 4, 2: 5}, "columns up to slot 5"),
    ],
)
def test_what_a_mask_lacks(said: np.ndarray | None, slots: dict | None, lacked: str) -> None:
    found = mask(view(), said, [], slots)
    assert found.compared == 0
    assert lacked in found.lacked


# ---------------------------------------------------------------------------------------------------------- caches


def kept(*after: str, before: tuple[str, ...] = ("a", "b", "c"), start: int = 3) -> CacheReading:
    return CacheReading(start, start + len(before), start + len(after), before, after)


ACCEPTED = {"accepted": [2], "committed": [1, 0]}


def test_a_cache_keeps_the_root_and_the_accepted_nodes() -> None:
    assert compaction(view(), kept("a"), [], None).failed == 0
    assert compaction(view(**ACCEPTED), kept("a", "c"), [], None).failed == 0
    wrong = compaction(view(**ACCEPTED), kept("a", "b"), [], None)
    assert failed(wrong) == (1, 2)
    assert "Slot 4 should hold node 2 (token 1), but holds node 1 (token 3)" in wrong.message
    stranger = compaction(view(**ACCEPTED), kept("a", "x"), [], None)
    assert "something that was not written in this step" in stranger.message


def test_a_cache_of_another_length() -> None:
    long = compaction(view(), kept("a", "b", "c"), [], None)
    assert long.failed == 2
    assert "Slot 4 was kept after the 1 slots" in long.message
    short = compaction(view(**ACCEPTED), kept("a"), [], None)
    assert failed(short) == (1, 2)
    assert "kept 1 slots of this step; 2 were to be kept" in short.message
    # Cut with the text, or a draft that is fed again what it lacks.
    assert compaction(view(accepted=[2], committed=[1]), kept("a"), [], None).failed == 0
    assert compaction(view(**ACCEPTED), kept("a"), [], None, "draft_compaction").failed == 0


def test_tokens_that_were_fed_late_come_before_the_nodes() -> None:
    before = ("l", "m", "a", "b", "c")
    assert compaction(view(**ACCEPTED), kept("l", "m", "a", "c", before=before, start=1), [], None).failed == 0
    assert failed(compaction(view(**ACCEPTED), kept("m", "l", "a", "c", before=before, start=1), [], None)) == (2, None)


def test_slots_of_a_cache_can_be_in_any_order() -> None:
    slots = {0: 3, 1: 5, 2: 4}
    assert compaction(view(**ACCEPTED), kept("a", "b"), [], slots).failed == 0
    assert failed(compaction(view(**ACCEPTED), kept("a", "c"), [], slots)) == (1, 2)


def test_a_draft_keeps_of_the_path_what_it_ran() -> None:
    deep = view(**DEEP, accepted=[1, 3], committed=[3, 2, 0])
    ran = kept("a", "b", before=("a", "b"))
    assert compaction(deep, ran, [0, 1], None, "draft_compaction").failed == 0
    assert failed(compaction(deep, kept("a", "a", before=("a", "b")), [0, 1], None, "draft_compaction")) == (1, 1)


def test_what_a_cache_lacks() -> None:
    assert compaction(view(), None, [], None).lacked == "the cache"
    assert "2 slots were written for 3 nodes" in compaction(view(), kept("a", before=("a", "b")), [], None).lacked
    assert "the accepted nodes" in compaction(view(**ACCEPTED), kept("a"), [], {0: 3, 1: 4, 2: 9}).lacked


def test_rows_at_nodes() -> None:
    found = view(p=np.stack([Q, P]), p_nodes=[2, 0])
    assert found.p(0) is not None
    assert found.p(0)[0] == P[0]
    assert found.p(1) is None
    assert found.line(2) == [0, 2]
    assert found.named(2) == "node 2 (token 1)"
