"""Rows of one model, and what was passed to it for them: what was said -> arrays that fit the tree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from specviz.errors import SpecvizError, shown
from specviz.recorder.arrays import Array, Snapshot, WrongCall
from specviz.recorder.checks.sums import SUMS, TOLERANCE, sums_of
from specviz.recorder.processors import lines_of
from specviz.recorder.raw_step import RawStep
from specviz.recorder.said import RowsCall, Said
from specviz.recorder.summaries import process
from specviz.trace.schema import Sampling

Report = Callable[[WrongCall], None]
"""Called with every mistake."""
_FULL = 1e-3
"""A probability may be larger than 1 by so much: rounding in half precision."""


@dataclass
class ModelRows:
    probs: Array | None = None
    logits: Array | None = None
    nodes: list[int] = field(default_factory=list)
    order: list[int] = field(default_factory=list)
    """``nodes`` and those whose rows are not recorded, in the order in which they were given."""
    positions: list[int] | None = None
    mask: Array | None = None
    slots: dict[int, int] | None = None
    dtype: str | None = None
    logits_dtype: str | None = None
    made: list[int] = field(default_factory=list)
    """Nodes whose probabilities were made of their logits here."""


def vocabulary_of(said: Said, report: Report) -> Array | None:
    if said.vocabulary is None:
        return None
    try:
        ids = whole(said.vocabulary, "draft", "vocabulary")
    except WrongCall as wrong:
        report(wrong)
        return None
    return np.array(ids, dtype=np.int64)


def model_rows(
    raw: RawStep,
    name: str,
    calls: Sequence[RowsCall],
    sampling: Sampling | None,
    vocabulary: Array | None,
    report: Report,
) -> ModelRows:
    found = ModelRows()
    for call in calls:
        try:
            _add(found, _one_call(raw, name, call, sampling, vocabulary, report), name)
        except WrongCall as wrong:
            report(wrong)
    return found


def _one_call(
    raw: RawStep, name: str, call: RowsCall, sampling: Sampling | None, vocabulary: Array | None, report: Report
) -> ModelRows:
    probs, logits = (two_dimensional(rows, name) for rows in (call.probs, call.logits))
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
    model = ModelRows(nodes=nodes, order=nodes, dtype=given.dtype if given else None)
    model.logits_dtype = call.logits.dtype if call.logits else None
    model.positions = optional(report, lambda: _positions(call, name, len(nodes)))
    model.mask = optional(report, lambda: _mask(call, name, len(nodes)))
    model.slots = optional(report, lambda: _slots(call, name, nodes))
    if first is not None:
        fine = finite_rows(name, probs, logits, nodes, report)
        if probs is not None:
            _told_sums(name, probs, nodes, fine, report)
        if logits is not None and probs is None and sampling is not None and fine.any():
            probs = _made(raw, name, nodes, fine, logits, sampling, report)
            model.made = [] if probs is None else nodes
        _keep(model, fine, probs, logits)
    return model


def _made(
    raw: RawStep, name: str, nodes: list[int], fine: Array, logits: Array, sampling: Sampling, report: Report
) -> Array | None:
    """Rows [m, V] of probabilities of an engine that gave logits alone; None where they cannot be made."""
    found = np.zeros_like(logits)
    stated = raw.processors
    if stated is None or (name == "draft" and not stated.said.draft):
        found[fine] = process(logits[fine], sampling)
        return found
    if name == "draft" and raw.vocabulary is not None:
        report(WrongCall("draft(): processors know the target's token ids alone; give probs= of such a draft", "ids"))
        return None
    import torch

    try:
        readings = stated.ready(logits.shape[1])
        lines = lines_of(raw.parents, raw.tokens, (node for node, is_fine in zip(nodes, fine, strict=True) if is_fine))
        rows = torch.from_numpy(logits[fine])
        scores = readings.scores(stated.said.mode, rows, raw.text, lines)
        found[fine] = readings.rows(scores, raw.text, sampling).numpy()
    except SpecvizError as error:
        report(WrongCall(f"{name}(): its logits cannot be processed: {error}", "processors"))
        return None
    return found


def optional(report: Report, read: Callable[[], Any]) -> Any:
    """What was read; None where it cannot be."""
    try:
        return read()
    except WrongCall as wrong:
        report(wrong)
        return None


def two_dimensional(rows: Snapshot | None, name: str) -> Array | None:
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
        nodes = whole(said, name, "nodes")
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


def finite_rows(name: str, probs: Array | None, logits: Array | None, nodes: list[int], report: Report) -> Array:
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


def _told_sums(name: str, probs: Array, nodes: list[int], fine: Array, report: Report) -> None:
    """Rows that do not add up to 1 are recorded as they were said, and told of."""
    sums = sums_of(probs)
    wrong = fine & (np.abs(sums - 1) > TOLERANCE)
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        report(
            WrongCall(
                f"{name}(): the row of node {nodes[first]} adds up to {sums[first]:.4g}, not 1; "
                f"renormalise after filtering, or give logits with logits=; {int(wrong.sum())} of {len(nodes)} rows "
                "are so, and recorded as they were said",
                SUMS,
            )
        )


def _keep(model: ModelRows, fine: Array, probs: Array | None, logits: Array | None) -> None:
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
    positions = whole(call.positions, name, "positions")
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
        listed = whole(call.slots, name, "slots")
        if len(listed) != len(nodes):
            raise WrongCall(f"{name}(): there are {len(listed)} slots for {len(nodes)} nodes", "slots")
        slots = dict(zip(nodes, listed, strict=True))
    if len({*slots.values()}) != len(slots) or min(slots.values(), default=0) < 0:
        raise WrongCall(f"{name}(): slots {shown(slots)} should be from 0 on, each of one node", "slots")
    return {node: slot for node, slot in slots.items() if node in nodes}


def _add(found: ModelRows, more: ModelRows, name: str) -> None:
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
    found.made = found.made + more.made
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


def whole(values: Snapshot, call: str, what: str) -> list[int]:
    """A flat list of whole numbers."""
    array = values.get()
    if array.ndim > 1 and array.size == max(array.shape):
        array = array.reshape(-1)
    if array.ndim == 0:
        array = array[None]
    if array.ndim != 1:
        raise WrongCall(f"{call}(): {what} should be a list of whole numbers, not of shape {list(array.shape)}", what)
    if array.size and array.dtype.kind not in "iu":
        # Of lists with None, which is no number here, numpy makes NaN.
        wrong = next((x for x in array.tolist() if x != x or x != int(x) or isinstance(x, bool)), None)
        which = f"{array[0]} is of the format {values.dtype}" if wrong is None else f"{wrong} is none"
        raise WrongCall(f"{call}(): {what} should be a list of whole numbers; {which}", what)
    found: list[int] = array.tolist()
    return found
