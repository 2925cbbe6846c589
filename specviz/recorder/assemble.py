"""What an engine said of one step -> a :class:`RawStep`, and what of it cannot be so."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from specviz.errors import shown
from specviz.recorder.arrays import Array, Snapshot, WrongCall
from specviz.recorder.cache_reading import Reading, change
from specviz.recorder.raw_step import BONUS, RawStep
from specviz.recorder.summaries import process
from specviz.trace.schema import MOST_NODES, Sampling

Report = Callable[[WrongCall], None]
"""Called with every mistake."""
_FULL = 1e-3
"""A probability may be larger than 1 by so much: rounding in half precision."""


@dataclass
class RowsCall:
    """One call of ``draft`` or ``target``: rows of some nodes, and what was passed to the model for them."""

    probs: Snapshot | None
    logits: Snapshot | None
    nodes: Snapshot | None
    positions: Snapshot | None
    mask: Snapshot | None
    slots: dict[int, int] | Snapshot | None


@dataclass
class VerifyCall:
    accepted: Snapshot | None
    bonus: Snapshot | None
    committed: Snapshot | None
    coins: dict[int, float] | Snapshot | None
    thresholds: dict[int, float] | Snapshot | None
    bonus_row: Snapshot | None


@dataclass
class Said:
    """All that was said inside one step, as it was given."""

    has_tree: bool = False
    """Whether there is one, be it one that cannot be read."""
    tokens: Snapshot | None = None
    parents: Snapshot | None = None
    draft: list[RowsCall] = field(default_factory=list)
    target: list[RowsCall] = field(default_factory=list)
    proposal: str | None = None
    vocabulary: Snapshot | None = None
    verify: VerifyCall | None = None
    caches: dict[str, tuple[Reading, Reading]] = field(default_factory=dict)

    def ready(self) -> bool:
        """Whether all of it is on the host."""
        calls = [call for call in (*self.draft, *self.target, self.verify) if call is not None]
        values = [
            self.tokens,
            self.parents,
            self.vocabulary,
            *(value for call in calls for value in vars(call).values()),
        ]
        readings = [reading for pair in self.caches.values() for reading in pair]
        return all(value.ready for value in (*values, *readings) if isinstance(value, (Snapshot, Reading)))


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


def _ignore(_: WrongCall) -> None:
    pass


def assemble(
    said: Said,
    index: int,
    text: Sequence[int],
    samplings: tuple[Sampling | None, Sampling | None],
    report: Report,
) -> Assembled:
    """Put the calls of a step together.

    Args:
        text: what was committed before.
        samplings: of the target and of the draft.
    """
    raw = RawStep(index=index, context=len(text), tokens=[text[-1]], parents=[-1], text=[*text])
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
    target = _model(raw, "target", said.target, samplings[0], None, report)
    raw.p, raw.p_logits, raw.p_nodes = target.probs, target.logits, target.nodes
    raw.positions, raw.mask, raw.dtype = target.positions, target.mask, target.dtype
    raw.vocabulary = _vocabulary(said, report)
    draft = _model(raw, "draft", said.draft, samplings[1], raw.vocabulary, report)
    raw.q, raw.q_logits, raw.q_nodes = draft.probs, draft.logits, draft.nodes
    raw.draft_positions, raw.draft_mask, raw.draft_dtype = draft.positions, draft.mask, draft.dtype
    connected: list[int] = []
    if said.verify is not None:
        connected = _verified(raw, said.verify, report)
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
    found = _whole(tokens, "tree", "tokens")
    if not found or len(found) > MOST_NODES or min(found) < 0:
        raise WrongCall(
            f"tree(): {len(found)} tokens are no tree of 1 to {MOST_NODES:,} nodes, each a token id", "tokens"
        )
    if parents is None:
        return found, [*range(-1, len(found) - 1)]
    above = _whole(parents, "tree", "parents")
    if len(above) != len(found):
        raise WrongCall(f"tree(): there are {len(found)} tokens and {len(above)} parents", "parents")
    for node, parent in enumerate(above):
        if not (parent == -1 if node == 0 else 0 <= parent < node):
            rule = "node 0 is the root, whose parent is -1" if node == 0 else "a parent comes before its children"
            raise WrongCall(f"tree(): node {node} has the parent {parent}, but {rule}", "parents")
    return found, above


def _whole(values: Snapshot, call: str, what: str) -> list[int]:
    """A flat list of whole numbers."""
    array = values.get()
    if array.ndim > 1 and array.size == max(array.shape):
        array = array.reshape(-1)
    if array.ndim == 0:
        array = array[None]
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise WrongCall(f"{call}(): {what} should be a list of whole numbers, not of shape {list(array.shape)}", what)
    found: list[int] = array.tolist()
    return found


# --------------------------------------------------------------------------------------------------------- the rows


@dataclass
class _Model:
    probs: Array | None = None
    logits: Array | None = None
    nodes: list[int] = field(default_factory=list)
    order: list[int] = field(default_factory=list)
    """``nodes`` and those whose rows are not recorded, in the order in which they were given."""
    positions: list[int] | None = None
    mask: Array | None = None
    slots: dict[int, int] | None = None
    dtype: str | None = None


def _vocabulary(said: Said, report: Report) -> Array | None:
    if said.vocabulary is None:
        return None
    try:
        ids = _whole(said.vocabulary, "draft", "vocabulary")
    except WrongCall as wrong:
        report(wrong)
        return None
    return np.array(ids, dtype=np.int64)


def _model(
    raw: RawStep,
    name: str,
    calls: Sequence[RowsCall],
    sampling: Sampling | None,
    vocabulary: Array | None,
    report: Report,
) -> _Model:
    found = _Model()
    for call in calls:
        try:
            _add(found, _one_call(raw, name, call, sampling, vocabulary, report), name)
        except WrongCall as wrong:
            report(wrong)
    return found


def _one_call(
    raw: RawStep, name: str, call: RowsCall, sampling: Sampling | None, vocabulary: Array | None, report: Report
) -> _Model:
    probs, logits = (_two_dimensional(rows, name) for rows in (call.probs, call.logits))
    if probs is not None and logits is not None and probs.shape != logits.shape:
        raise WrongCall(
            f"{name}(): probs of shape {list(probs.shape)} and logits of shape {list(logits.shape)} do not fit", "shape"
        )
    first = probs if probs is not None else logits
    if first is not None and vocabulary is not None and first.shape[1] != vocabulary.size:
        raise WrongCall(
            f"{name}(): rows of {first.shape[1]} columns do not fit a vocabulary of {vocabulary.size} tokens", "shape"
        )
    nodes = _nodes(raw, name, call.nodes, None if first is None else len(first))
    given = call.probs or call.logits
    model = _Model(nodes=nodes, order=nodes, dtype=given.dtype if given else None)
    model.positions = _optional(report, lambda: _positions(call, name, len(nodes)))
    model.mask = _optional(report, lambda: _mask(call, name, len(nodes)))
    model.slots = _optional(report, lambda: _slots(call, name, nodes))
    if first is not None:
        fine = _finite_rows(name, probs, logits, nodes, report)
        if logits is not None and probs is None and sampling is not None and fine.any():
            probs = np.zeros_like(logits)
            probs[fine] = process(logits[fine], sampling)
        _keep(model, fine, probs, logits)
    return model


def _optional(report: Report, read: Callable[[], Any]) -> Any:
    """What was read; None where it cannot be."""
    try:
        return read()
    except WrongCall as wrong:
        report(wrong)
        return None


def _two_dimensional(rows: Snapshot | None, name: str) -> Array | None:
    if rows is None:
        return None
    array = rows.get()
    if not array.size:
        return None  # rows of no node, as of a draft that was not asked
    while array.ndim > 2 and array.shape[0] == 1:
        array = array[0]
    if array.ndim == 1:
        array = array[None]
    if array.ndim != 2:
        raise WrongCall(f"{name}(): rows should be [nodes, vocabulary], not of shape {list(array.shape)}", "shape")
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float32)


def _nodes(raw: RawStep, name: str, said: Snapshot | None, rows: int | None) -> list[int]:
    size = len(raw.tokens)
    if said is not None:
        nodes = _whole(said, name, "nodes")
        if len({*nodes}) != len(nodes) or any(not 0 <= node < size for node in nodes):
            raise WrongCall(f"{name}(): nodes {shown(nodes)} are not nodes of a tree of {size}, each once", "nodes")
        if rows is not None and rows != len(nodes):
            raise WrongCall(f"{name}(): there are {rows} rows for {len(nodes)} nodes", "shape")
        return nodes
    if rows is None or rows == size:
        return [*range(size)]
    inner = sorted({*raw.parents[1:]})
    if name == "draft" and rows == len(inner):
        return inner
    wanted = f"{size} nodes" + (f", of which {len(inner)} have children" if name == "draft" else "")
    raise WrongCall(f"{name}(): there are {rows} rows for {wanted}; say with nodes= whose they are", "shape")


def _finite_rows(name: str, probs: Array | None, logits: Array | None, nodes: list[int], report: Report) -> Array:
    """[m], which rows a distribution can be made of."""
    fine = np.ones(len(nodes), dtype=bool)
    wrong: str | None = None
    if probs is not None:
        least, most = probs.min(-1), probs.max(-1)  # NaN if any entry is
        in_range = (least >= 0) & (most <= 1 + _FULL) & (most > 0)
        if not in_range.all():
            bad = int(np.flatnonzero(~in_range)[0])
            nan = not (np.isfinite(least[bad]) and np.isfinite(most[bad]))
            outside = "NaN or infinity" if nan else f"numbers from {least[bad]:.3g} to {most[bad]:.3g}"
            wrong = f"the row of node {nodes[bad]} has {outside}, which are no probabilities"
            wrong += "" if nan else "; give logits with logits="
            fine &= in_range
    if logits is not None:
        finite = np.isfinite(logits.max(-1))  # -inf for some tokens is fine
        if not finite.all():
            wrong = wrong or f"the logits of node {nodes[int(np.flatnonzero(~finite)[0])]} have NaN or infinity"
            fine &= finite
    if wrong:
        report(WrongCall(f"{name}(): {wrong}; {int((~fine).sum())} of {len(fine)} rows are not recorded", "nan"))
    return fine


def _keep(model: _Model, fine: Array, probs: Array | None, logits: Array | None) -> None:
    if fine.all():
        model.probs, model.logits = probs, logits
        return
    model.probs = None if probs is None else probs[fine]
    model.logits = None if logits is None else logits[fine]
    kept = np.flatnonzero(fine).tolist()
    model.nodes = [model.nodes[i] for i in kept]
    model.positions = None if model.positions is None else [model.positions[i] for i in kept]
    if model.mask is not None:
        before = model.mask.shape[1] - len(fine)
        if model.slots is None:
            model.slots = {node: before + i for i, node in enumerate(model.order)}
        model.mask = model.mask[fine][:, [*range(before), *(before + i for i in kept)]]


def _positions(call: RowsCall, name: str, rows: int) -> list[int] | None:
    if call.positions is None:
        return None
    positions = _whole(call.positions, name, "positions")
    if len(positions) != rows or min(positions, default=0) < 0:
        raise WrongCall(f"{name}(): there are {len(positions)} positions for {rows} nodes, each from 0 on", "positions")
    return positions


def _mask(call: RowsCall, name: str, rows: int) -> Array | None:
    if call.mask is None:
        return None
    mask = call.mask.get()
    while mask.ndim > 2 and mask.shape[0] == 1:
        mask = mask[0]
    if mask.ndim != 2 or mask.shape[0] != rows or mask.shape[1] < rows:
        raise WrongCall(
            f"{name}(): the mask should be [{rows} nodes, slots, at least {rows}], not of shape {list(mask.shape)}",
            "mask",
        )
    if mask.dtype.kind != "f":
        sees: Array = mask != 0
        return sees
    # Of numbers with a fraction those that are added to scores: 0 lets see, a large negative one does not.
    return mask > 0.5 if mask.max() > 0.5 else mask > -1


def _slots(call: RowsCall, name: str, nodes: list[int]) -> dict[int, int] | None:
    if call.slots is None:
        return None
    if isinstance(call.slots, dict):
        slots = call.slots
    else:
        listed = _whole(call.slots, name, "slots")
        if len(listed) != len(nodes):
            raise WrongCall(f"{name}(): there are {len(listed)} slots for {len(nodes)} nodes", "slots")
        slots = dict(zip(nodes, listed, strict=True))
    if len({*slots.values()}) != len(slots) or min(slots.values(), default=0) < 0:
        raise WrongCall(f"{name}(): slots {shown(slots)} should be from 0 on, each of one node", "slots")
    return {node: slot for node, slot in slots.items() if node in nodes}


def _add(found: _Model, more: _Model, name: str) -> None:
    """Join what another call said of other nodes."""
    if not found.order:
        vars(found).update(vars(more))
        return
    if again := {*found.order} & {*more.order}:
        raise WrongCall(f"{name}(): node {min(again)} was given twice", "nodes")
    for kind in ("probs", "logits"):
        one, two = getattr(found, kind), getattr(more, kind)
        if (one is None) != (two is None) or (one is not None and one.shape[1] != two.shape[1]):
            raise WrongCall(f"{name}(): two calls have {kind} that do not fit together", "shape")
        if one is not None:
            setattr(found, kind, np.concatenate((one, two)))
    found.nodes, found.order = found.nodes + more.nodes, found.order + more.order
    both = found.positions is not None and more.positions is not None
    found.positions = [*(found.positions or ()), *(more.positions or ())] if both else None
    found.slots = {**(found.slots or {}), **(more.slots or {})} or None
    if found.mask is not None and more.mask is not None:
        width = max(found.mask.shape[1], more.mask.shape[1])  # a later level has more slots to see
        found.mask = np.concatenate(
            [np.pad(mask, ((0, 0), (0, width - mask.shape[1]))) for mask in (found.mask, more.mask)]
        )
    else:
        found.mask = None


# ------------------------------------------------------------------------------------------------------- the verdict


def _verified(raw: RawStep, call: VerifyCall, report: Report) -> list[int]:
    """Fill in the verdict. Returns the accepted nodes as far as they hang together."""
    accepted = _optional(report, lambda: [] if call.accepted is None else _whole(call.accepted, "verify", "accepted"))
    raw.accepted = accepted or []
    if raw.accepted[:1] == [0]:
        report(
            WrongCall(
                "verify(): accepted begins with node 0, the root, which is committed already; leave it out", "root"
            )
        )
        raw.accepted = raw.accepted[1:]
    connected: list[int] = []
    for node in raw.accepted:
        if not 0 < node < len(raw.tokens) or raw.parents[node] != (connected[-1] if connected else 0):
            above = f"a child of node {connected[-1] if connected else 0}"
            report(
                WrongCall(f"verify(): accepted node {node} is not {above}; the path is recorded up to there", "path")
            )
            break
        connected.append(node)
    bonus = _optional(report, lambda: [] if call.bonus is None else _whole(call.bonus, "verify", "bonus"))
    raw.bonus = bonus[0] if bonus and bonus[0] >= 0 else None
    known = [node for node in raw.accepted if 0 < node < len(raw.tokens)]
    emitted = [*(raw.tokens[node] for node in known), *([] if raw.bonus is None else [raw.bonus])]
    said = _optional(report, lambda: None if call.committed is None else _whole(call.committed, "verify", "committed"))
    raw.committed = [token for token in (emitted if said is None else said) if token >= 0][:MOST_NODES]
    raw.coins = _by_node(call.coins, "coins", raw, report)
    raw.thresholds = _by_node(call.thresholds, "thresholds", raw, report)
    if wrong := [node for node, coin in raw.coins.items() if not 0 <= coin <= 1]:
        report(WrongCall(f"verify(): the coin of node {wrong[0]} is {raw.coins[wrong[0]]:.6g}, not in [0, 1]", "coins"))
        raw.coins = {node: coin for node, coin in raw.coins.items() if node not in wrong}
    row = _optional(report, lambda: _two_dimensional(call.bonus_row, "verify"))
    if row is not None:
        fine = _finite_rows("verify", row, None, [connected[-1] if connected else 0] * len(row), report)
        raw.bonus_row = row[0] if len(row) == 1 and fine[0] else None
    return connected


def _by_node(said: Mapping[int, float] | Snapshot | None, what: str, raw: RawStep, report: Report) -> dict[int, float]:
    """Node -> number, in the order in which they were given; of a list the place is the node."""
    if said is None:
        return {}
    if isinstance(said, Snapshot):
        array = said.get().reshape(-1)
        numbers = {node: float(x) for node, x in enumerate(array.tolist()) if node and not math.isnan(x)}
    else:
        numbers = {**said}
    known = range(BONUS, len(raw.tokens))
    if wrong := [node for node, x in numbers.items() if node not in known or not math.isfinite(x)]:
        report(WrongCall(f"verify(): {what} of node {wrong[0]}: no such node, or no finite number", what))
    return {node: x for node, x in numbers.items() if node not in wrong}


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
