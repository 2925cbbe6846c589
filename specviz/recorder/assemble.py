"""What an engine said of one step -> a :class:`RawStep`, and what of it cannot be so."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from specviz.recorder.arrays import Array, Snapshot, WrongCall
from specviz.recorder.cache_reading import change
from specviz.recorder.model_rows import Report, finite_rows, model_rows, optional, two_dimensional, vocabulary_of, whole
from specviz.recorder.processors import Stated
from specviz.recorder.raw_step import BONUS, RawStep
from specviz.recorder.said import Said, VerifyCall
from specviz.trace.schema import MOST_NODES, Sampling

PADDING = 0.1
"""Rows of draft and target may differ by such a part of their columns: models pad one vocabulary to different sizes."""


@dataclass(frozen=True)
class Assembled:
    """A step, and how much of it there is.

    Attributes:
        lacks: why it is no whole step: a sentence; None if it is one.
        connected: the accepted nodes as far as each is a child of the one before.
    """

    raw: RawStep
    lacks: str | None
    connected: list[int]

    @property
    def broken(self) -> bool:
        """Whether the accepted nodes do not hang together."""
        return self.connected != self.raw.accepted or any(what == "accepted" for what, _ in self.raw.no_nodes)


def _ignore(_: WrongCall) -> None:
    pass


def assemble(
    said: Said,
    index: int,
    text: Sequence[int],
    samplings: tuple[Sampling | None, Sampling | None],
    report: Report,
    processors: Stated | None = None,
) -> Assembled:
    """Put the calls of a step together.

    Args:
        text: what was committed before.
        samplings: of the target and of the draft.
        processors: that the engine says it has.
    """
    raw = RawStep(index=index, context=len(text), tokens=[text[-1]], parents=[-1], text=[*text])
    raw.processors = processors
    raw.target_sampling, raw.draft_sampling = samplings
    raw.proposal = said.proposal
    lacks = None if said.verify else "The step ended without step.verify(...)."
    try:
        if said.has_tree:
            raw.tokens, raw.parents = _tree(said.tokens, said.parents)
    except WrongCall as wrong:
        report(wrong)
        report = _ignore  # what else is said of this tree's nodes cannot be right
        lacks = lacks or f"Its tree cannot be recorded: {wrong}."
    target = model_rows(raw, "target", said.target, samplings[0], None, report)
    raw.p, raw.p_logits, raw.p_nodes = target.probs, target.logits, target.nodes
    raw.positions, raw.mask, raw.dtype = target.positions, target.mask, target.dtype
    raw.p_made, raw.logits_dtype = target.made, target.logits_dtype
    raw.vocabulary = vocabulary_of(said, report)
    draft = model_rows(raw, "draft", said.draft, samplings[1], raw.vocabulary, report)
    raw.q, raw.q_logits, raw.q_nodes = draft.probs, draft.logits, draft.nodes
    raw.draft_positions, raw.draft_mask, raw.draft_dtype = draft.positions, draft.mask, draft.dtype
    _told_widths(raw, report)
    raw.q_made, raw.draft_logits_dtype = draft.made, draft.logits_dtype
    connected: list[int] = []
    if said.verify is not None:
        connected = _verified(raw, said.verify, said.has_tree, report)
        if lacks is not None and said.verify.committed is not None:
            lacks = None  # the text goes on, whatever the tree was
    raw.caches = {which: change(*readings) for which, readings in said.caches.items()}
    raw.slots = _slots_behind(raw, "target", target.slots, target.order or [*range(len(raw.tokens))])
    raw.draft_slots = _slots_behind(raw, "draft", draft.slots, draft.order)
    return Assembled(raw, lacks, connected)


# --------------------------------------------------------------------------------------------------------- the tree


def _tree(tokens: Snapshot | None, parents: Snapshot | None) -> tuple[list[int], list[int]]:
    if tokens is None:
        raise WrongCall("tree(): its tokens cannot be read", "tokens")
    found = whole(tokens, "tree", "tokens")
    if not 0 < len(found) <= MOST_NODES:
        raise WrongCall(f"tree(): {len(found)} tokens are no tree of 1 to {MOST_NODES:,} nodes", "tokens")
    if min(found) < 0:
        node = next(node for node, token in enumerate(found) if token < 0)
        raise WrongCall(f"tree(): node {node} has the token {found[node]}; token ids are from 0 on", "tokens")
    if parents is None:
        return found, [*range(-1, len(found) - 1)]
    above = whole(parents, "tree", "parents")
    if len(above) != len(found):
        raise WrongCall(f"tree(): there are {len(found)} tokens and {len(above)} parents", "parents")
    for node, parent in enumerate(above):
        if not (parent == -1 if node == 0 else 0 <= parent < node):
            if node == 0:
                rule = "node 0 is the root, whose parent is -1"
            elif parent < 0:
                rule = "there is one root, node 0; the parent of its children is 0"
            else:
                rule = "a parent comes before its children"
            raise WrongCall(f"tree(): node {node} has the parent {parent}, but {rule}", "parents")
    return found, above


def width_of(probs: Array | None, logits: Array | None) -> int | None:
    """Columns of the rows; None where there are none."""
    rows = logits if probs is None else probs
    return None if rows is None else rows.shape[1]


def _told_widths(raw: RawStep, report: Report) -> None:
    """Tell of rows that are not as wide as their tokens, or each other, need them."""
    width, of_draft = width_of(raw.p, raw.p_logits), width_of(raw.q, raw.q_logits)
    beyond = [node for node, token in enumerate(raw.tokens) if width is not None and token >= width]
    if beyond:
        token = raw.tokens[beyond[0]]
        report(
            WrongCall(
                f"tree(): node {beyond[0]} has token {token}, but the target's rows have {width} columns", "width"
            )
        )
    if width is None or of_draft is None or raw.vocabulary is not None:
        return
    if abs(width - of_draft) > PADDING * max(width, of_draft):
        report(
            WrongCall(
                f"draft(): its rows have {of_draft} columns and the target's {width}; they are read by the target's "
                "ids: say with vocabulary= which token each column is",
                "width",
            )
        )


# ------------------------------------------------------------------------------------------------------- the verdict


def _verified(raw: RawStep, call: VerifyCall, said_tree: bool, report: Report) -> list[int]:
    """Fill in the verdict. Returns the accepted nodes as far as they hang together."""
    accepted = optional(report, lambda: [] if call.accepted is None else whole(call.accepted, "verify", "accepted"))
    raw.accepted = accepted or []
    if raw.accepted[:1] == [0]:
        report(
            WrongCall(
                "verify(): accepted begins with node 0, the root, which is committed already; leave it out", "root"
            )
        )
        raw.accepted = raw.accepted[1:]
    coins = _numbers(call.coins, "coins", raw, report)
    thresholds = _numbers(call.thresholds, "thresholds", raw, report)
    _told_no_nodes(raw, said_tree, {"accepted": raw.accepted, "coins": coins, "thresholds": thresholds}, report)
    missing = {node for what, node in raw.no_nodes if what == "accepted"}
    connected: list[int] = []
    for node in raw.accepted:
        if node in missing:
            break
        if raw.parents[node] != (connected[-1] if connected else 0):
            above = f"a child of node {connected[-1] if connected else 0}"
            report(
                WrongCall(f"verify(): accepted node {node} is not {above}; the path is recorded up to there", "path")
            )
            break
        connected.append(node)
    bonus = optional(report, lambda: [] if call.bonus is None else whole(call.bonus, "verify", "bonus"))
    raw.bonus = bonus[0] if bonus and bonus[0] >= 0 else None
    raw.accepted = [node for node in raw.accepted if node not in missing]
    emitted = [*(raw.tokens[node] for node in raw.accepted), *([] if raw.bonus is None else [raw.bonus])]
    said = optional(report, lambda: None if call.committed is None else whole(call.committed, "verify", "committed"))
    raw.committed = [token for token in (emitted if said is None else said) if token >= 0][:MOST_NODES]
    raw.derived = said is None
    known = range(BONUS, len(raw.tokens))
    raw.coins = {node: x for node, x in coins.items() if node in known}
    raw.thresholds = {node: x for node, x in thresholds.items() if node in known}
    if wrong := [node for node, coin in raw.coins.items() if not 0 <= coin <= 1]:
        report(WrongCall(f"verify(): the coin of node {wrong[0]} is {raw.coins[wrong[0]]:.6g}, not in [0, 1]", "coins"))
        raw.coins = {node: coin for node, coin in raw.coins.items() if node not in wrong}
    row = optional(report, lambda: two_dimensional(call.bonus_row, "verify"))
    if row is not None:
        fine = finite_rows("verify", row, None, [connected[-1] if connected else 0] * len(row), report)
        raw.bonus_row = row[0] if len(row) == 1 and fine[0] else None
    width = width_of(raw.p, raw.p_logits)
    if width is not None and raw.bonus is not None and raw.bonus >= width:
        report(
            WrongCall(f"verify(): the bonus is token {raw.bonus}, but the target's rows have {width} columns", "bonus")
        )
    if width is not None and raw.bonus_row is not None and len(raw.bonus_row) != width:
        report(
            WrongCall(
                f"verify(): bonus_row has {len(raw.bonus_row)} entries, but the target's rows have {width} columns; "
                "give the whole row, by the target's ids",
                "bonus_row",
            )
        )
        raw.bonus_row = None
    return connected


def _numbers(said: Mapping[int, float] | Snapshot | None, what: str, raw: RawStep, report: Report) -> dict[int, float]:
    """Node -> number, in the order in which they were given; of a list the place is the node."""
    if said is None:
        return {}
    if isinstance(said, Snapshot):
        array = said.get().reshape(-1)
        if len(array) != len(raw.tokens):
            report(
                WrongCall(
                    f"verify(): {what} is a list of {len(array)} numbers for {len(raw.tokens)} nodes; say node -> "
                    "number, or a list with a place for every node, the root first, NaN where there is none",
                    what,
                )
            )
            return {}
        return {node: float(x) for node, x in enumerate(array.tolist()) if node and not math.isnan(x)}
    if wrong := [node for node, x in said.items() if not math.isfinite(x)]:
        report(WrongCall(f"verify(): {what} of node {wrong[0]} is {said[wrong[0]]}, which is no finite number", what))
    return {node: x for node, x in said.items() if node not in wrong}


def _told_no_nodes(raw: RawStep, said_tree: bool, numbers: Mapping[str, Iterable[int]], report: Report) -> None:
    """Tell of numbers that no node has: the checks of the path keep them."""
    size = len(raw.tokens)
    least = {"accepted": 1, "coins": BONUS, "thresholds": BONUS}
    raw.no_nodes = [(what, node) for what, nodes in numbers.items() for node in nodes if not least[what] <= node < size]
    if not raw.no_nodes:
        return
    names = [*dict.fromkeys(what for what, _ in raw.no_nodes)]
    which = f"verify(): {', '.join(names)} name{'' if len(names) > 1 else 's'} node {raw.no_nodes[0][1]}"
    if not said_tree:
        report(WrongCall(f"{which}, but no tree was said; call step.tree(tokens, parents)", "path"))
        return
    nodes = f"the nodes 0 to {size - 1}" if size > 1 else "the root alone, node 0"
    report(WrongCall(f"{which}, but the tree has {nodes}; say the places of nodes in the tree, not tokens", "path"))


# --------------------------------------------------------------------------------------------------------- the slots


def _slots_behind(raw: RawStep, which: str, said: dict[int, int] | None, nodes: Sequence[int]) -> dict[int, int] | None:
    """The slot of each node: as it was said, or else in the order of the rows, at the end of what the cache holds."""
    reading, mask = raw.caches.get(which), raw.mask if which == "target" else raw.draft_mask
    if said is not None or not nodes:
        return said
    if reading is not None and reading.length_before - reading.start >= len(nodes):
        base = reading.length_before - len(nodes)
    elif mask is not None and (mask.shape[1] > len(nodes) or raw.context == 1):
        base = mask.shape[1] - len(nodes)
    else:
        return None
    return {node: base + i for i, node in enumerate(nodes)}
