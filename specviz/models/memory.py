"""The memory plan: what a pair will need, by its configs alone, against what is free. Before a byte is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from specviz.errors import OutOfMemoryError
from specviz.models.cached_model import CachedModel
from specviz.models.choices import QUANTIZATIONS
from specviz.models.head_model import NO_LIMIT, HeadModel
from specviz.models.head_specs import HeadSpec
from specviz.models.heads.head import DraftHead
from specviz.models.language_model import PREFILL_CHUNK, LanguageModel
from specviz.models.model_spec import ModelSpec
from specviz.models.presets import PRESETS
from specviz.models.weight_sizes import Tensors, config_of, planned_tensors

ROW_COPIES = 6
"""float32 matrices [nodes, V] alive at the worst moment of a step: logits, probabilities, the draft's, and what softmax
and verifiers make of them. Measured on the default pair: 4.0 to 5.0 at temperature 1 with one to six verifiers, 28 to
212 nodes."""
PRUNED_COPIES = 3
"""The same of the draft's rows at nodes that are pruned: logits, probabilities and the tree's own copy of them.
Measured: 2.4 GB for 4,033 of them on the default pair."""
SLACK = 0.05
"""What PyTorch's allocator loses between tensors, as a share of the rest."""
CUDA_ITSELF = 500_000_000
"""Context, kernels and library workspaces on a card. Counted where the memory of a whole card is given; from what a
device says is free they are gone already."""
FIRST_SLOTS = 512
"""Slots a cache starts with; it then at least doubles whenever it is full."""
SHORTEST, SHORT = 256, 1_024
"""No shorter context is suggested; the one other pairs are suggested for."""


@dataclass(frozen=True)
class ToLoad:
    """A model as it would be loaded."""

    name: str
    config: Any
    """Of transformers."""
    dtype: torch.dtype
    quantization: str = "none"
    head: Tensors | None = None
    """Of a draft head, which was built without its weights or is loaded: their bytes. ``config`` is of its layers."""


def as_loaded(model: CachedModel) -> ToLoad:
    """A model that is loaded already, for an estimate of what a step needs beside its weights."""
    if isinstance(model, HeadModel):
        return head_to_load(model.info.id, model.head, model.dtype)
    assert isinstance(model, LanguageModel)
    return ToLoad(model.info.id, model.model.config, model.dtype)


def head_to_load(name: str, head: DraftHead, dtype: torch.dtype) -> ToLoad:
    """A head, loaded or not, as it is run in this dtype."""
    parameters = sum(one.numel() for one in head.parameters())
    buffers = sum(one.nbytes for one in head.buffers())
    return ToLoad(name, head.config, dtype, head=Tensors(0, 0, 0, parameters * dtype.itemsize + buffers, parameters, 0))


def of_spec(spec: ModelSpec, dtype: torch.dtype) -> ToLoad:
    """A model of the presets, or a head, as it would be loaded in this number format."""
    if not isinstance(spec, HeadSpec):
        return ToLoad(spec.id, config_of(spec), dtype)
    weights = Tensors(0, 0, 0, spec.parameters * dtype.itemsize, spec.parameters, 0)
    return ToLoad(spec.id, config_of(spec), dtype, head=weights)


@dataclass(frozen=True)
class MemoryRow:
    """One line of the table, in bytes."""

    part: str
    target: int
    draft: int

    @property
    def total(self) -> int:
        return self.target + self.draft


@dataclass(frozen=True)
class MemoryPlan:
    """What a pair needs and whether that fits.

    Attributes:
        title: the models and how they are loaded.
        rows: the parts; weights first.
        free: bytes; None where unknown.
        weights: bytes of both models' tensors.
        advice: what would fit instead; empty where nothing is to be said.
    """

    title: str
    rows: tuple[MemoryRow, ...]
    free: int | None
    weights: int
    advice: str = ""

    @property
    def needed(self) -> int:
        return sum(row.total for row in self.rows)

    @property
    def fits(self) -> bool | None:
        """Whether it fits; None where the free memory is unknown."""
        return None if self.free is None else self.needed <= self.free

    @property
    def verdict(self) -> str:
        """Whether it fits, in one sentence."""
        if self.free is None:
            return f"Needs {_gb(self.needed)} GB; how much is free on this device is not known."
        if self.fits:
            return f"Fits: {_gb(self.needed)} of {_gb(self.free)} GB."
        return f"Does not fit: {_gb(self.needed)} GB are needed and {_gb(self.free)} GB are free; {self.advice}."

    def table(self) -> list[tuple[str, str, str, str]]:
        """Header, a line for each part, and the sum: as text, in GB of 10^9 bytes."""
        lines = [("GB", "target", "draft", "both")]
        lines += [(row.part, _gb(row.target), _gb(row.draft), _gb(row.total)) for row in self.rows]
        lines.append(("needed", "", "", _gb(self.needed)))
        lines.append(("free", "", "", "unknown" if self.free is None else _gb(self.free)))
        return lines

    def text(self) -> str:
        """Title, table and verdict for a terminal."""
        table = self.table()
        width = max(len(line[0]) for line in table)
        lines = [f"{part:<{width}}" + "".join(f"{cell:>10}" for cell in cells) for part, *cells in table]
        return "\n".join([self.title, "", *lines, "", self.verdict])


def plan_memory(
    target: ToLoad, draft: ToLoad, *, context: int, nodes: int, free: int | None, whole_card: bool = False
) -> MemoryPlan:
    """The memory plan of a pair.

    Args:
        target, draft: one object in both places is loaded once and counted once.
        context: tokens of prompt and output together; no more are counted than both models have positions for.
        nodes: of the largest tree, the root not counted.
        free: bytes on the device.
        whole_card: ``free`` is the memory of a CUDA card, of which CUDA itself takes some.
    """
    context = min(context, _positions(target), _positions(draft))
    plan = _plan(target, draft, context, nodes, free, whole_card)
    if plan.fits is not False:
        return plan
    return replace(plan, advice=_advice(target, draft, context, nodes, plan.free or 0, whole_card))


@dataclass(frozen=True)
class StepMemory:
    """What a step needs beside the weights, in bytes.

    Attributes:
        caches: keys and values of both models, with the room that their caches may keep.
        rows: logits and probabilities.
        forward: working memory of the largest forward, masks among it.
    """

    caches: int
    rows: int
    forward: int

    @property
    def total(self) -> int:
        return self.caches + self.rows + self.forward


def step_memory(
    target: ToLoad, draft: ToLoad, *, context: int, nodes: int, draft_rows: int, audit: bool = False
) -> StepMemory:
    """The most that a step needs beside the weights.

    Args:
        context: tokens of prompt and output together.
        nodes: of the finished tree, the root not counted.
        draft_rows: nodes that the draft runs, or has rows of; those that are pruned among them.
        audit: whether both caches are compared with a recompute of the whole context.
    """
    context = min(context, _positions(target), _positions(draft))
    runs = ((target, nodes + 1), (draft, draft_rows + 1))  # the draft may have to catch up with one token
    caches = sum(_slot_bytes(model) * slots_for(context + rows) for model, rows in runs)
    forward = max(_forward_bytes(model, 0, context, rows) for model, rows in runs)
    if audit:
        caches += max(_slot_bytes(model) for model, _ in runs) * context
        forward = max(forward, *(_forward_bytes(model, 0, context, context) for model, _ in runs))
    row = 4 * max(one.config.vocab_size for one in (target, draft) if not one.head)  # a head's rows are the target's
    pruned = max(0, draft_rows - nodes - 1)
    return StepMemory(caches, row * (ROW_COPIES * (nodes + 1) + PRUNED_COPIES * pruned), forward)


def refuse_if_weights_exceed(plan: MemoryPlan, room: int | None, device: torch.device) -> None:
    """Raise OutOfMemoryError, with the plan's advice, if the weights alone are more than ``room`` bytes."""
    if room is not None and plan.weights > room:
        advice = plan.advice or "choose a smaller pair"
        raise OutOfMemoryError(
            f"The weights alone take {_gb(plan.weights)} GB and {device} has {_gb(room)} GB free; {advice}."
        )


def slots_for(needed: int) -> int:
    """The most slots a cache can have once it held ``needed``: it doubles, at the latest when one slot is missing."""
    return FIRST_SLOTS if needed <= FIRST_SLOTS else 2 * (needed - 1)


def _plan(target: ToLoad, draft: ToLoad, context: int, nodes: int, free: int | None, whole_card: bool) -> MemoryPlan:
    models = [target, draft]
    ours = planned_tensors(target.config, target.dtype, target.quantization)
    shared = target is draft
    if shared:
        theirs = Tensors(0, 0, 0, 0, 0, 0)
    else:
        theirs = draft.head or planned_tensors(draft.config, draft.dtype, draft.quantization)
    needed = context + nodes + 1
    slot = [_slot_bytes(model) for model in models]
    spare = slots_for(needed) - needed
    tree = ROW_COPIES * 4 * (nodes + 1) * target.config.vocab_size
    forward = [
        _forward_bytes(model, tensors.widest, context, nodes + 1)
        for model, tensors in zip(models, (ours, ours if shared else theirs), strict=True)
    ]
    rows = [
        MemoryRow("quantized matrices", ours.quantized, theirs.quantized),
        MemoryRow("their scales and tables", ours.state, theirs.state),
        MemoryRow("embeddings and output head", ours.embeddings, theirs.embeddings),
        MemoryRow("other weights", ours.other, theirs.other),
        MemoryRow(f"KV cache, {needed:,} slots", slot[0] * needed, slot[1] * needed),
        MemoryRow("KV cache, room it may keep", slot[0] * spare, slot[1] * spare),
        MemoryRow(f"logits and rows of {nodes:,} nodes", tree, 0),
        MemoryRow("one forward", *forward),
    ]
    rows = [row for row in rows if row.total]
    rows.append(MemoryRow(f"allocator, {SLACK:.0%}", int(SLACK * sum(row.total for row in rows)), 0))
    if whole_card:
        rows.append(MemoryRow("CUDA itself", CUDA_ITSELF, 0))
    drafting = "the same" if shared else _describe(draft)
    title = f"target {_describe(target)}; draft {drafting}; a context of {context:,}"
    return MemoryPlan(title, tuple(rows), free, ours.total + theirs.total)


def _slot_bytes(model: ToLoad) -> int:
    """Keys and values of one slot in all layers."""
    config = model.config
    if not config.num_hidden_layers:
        return 0
    return 2 * config.num_hidden_layers * _kv_heads(config) * _head_dim(config) * model.dtype.itemsize


def _forward_bytes(model: ToLoad, widest: int, context: int, rows: int) -> int:
    """Working memory of the largest forward of one layer at a time, rounded up.

    The rows of a prefill chunk or of the tree: about ten vectors of the hidden and three of the feed-forward width
    each, and their line of the mask, twice. Keys and values repeated for the query heads that share them. One quantized
    matrix as numbers again: int8 products on the CPU and nf4 products of several rows take it whole.

    Args:
        widest: numbers of the largest quantized matrix.
        rows: of the tree's largest forward.
    """
    config, size = model.config, model.dtype.itemsize
    if not config.num_hidden_layers:  # a head without layers runs one row
        return 0
    slots = context + rows
    rows = max(min(PREFILL_CHUNK, context), rows)
    hidden = config.hidden_size
    wide = getattr(config, "intermediate_size", None) or 4 * hidden
    wide = max(wide) if isinstance(wide, (list, tuple)) else wide
    repeated = 2 * config.num_attention_heads * _head_dim(config) * slots
    vectors = rows * (10 * hidden + 3 * wide + 2 * slots) + repeated
    return vectors * size + widest * max(size, 4 if model.quantization == "int8" else size)


def _positions(model: ToLoad) -> int:
    if model.head:
        return NO_LIMIT
    return getattr(model.config, "max_position_embeddings", None) or 1 << 30


def _kv_heads(config: Any) -> int:
    return getattr(config, "num_key_value_heads", None) or config.num_attention_heads


def _head_dim(config: Any) -> int:
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def _advice(target: ToLoad, draft: ToLoad, context: int, nodes: int, free: int, whole_card: bool) -> str:
    """The mildest change that fits: fewer bits, a shorter context, both, or another pair."""
    for words, other_target, other_context in _alternatives(target, context):
        other_draft = other_target if target is draft else draft
        other = _plan(other_target, other_draft, other_context, nodes, free, whole_card)
        if other.fits:
            return f"{words} would fit with {_gb(other.needed)} GB"
    pair = _pair_that_fits(free, nodes, whole_card, target.dtype)
    return f"the pair {pair} would fit with a context of {SHORT:,}" if pair else "choose a larger device"


def _alternatives(target: ToLoad, context: int) -> Iterator[tuple[str, ToLoad, int]]:
    """What could be tried instead, mildest first: fewer bits, then a shorter context, then both."""
    others = [replace(target, quantization=q) for q in QUANTIZATIONS[QUANTIZATIONS.index(target.quantization) + 1 :]]
    for other in others:
        yield other.quantization, other, context
    for model in (target, *others[::-1]):
        shorter = context // 2
        while shorter >= SHORTEST:
            with_bits = "" if model is target else f"{model.quantization} and "
            yield f"{with_bits}a context of {shorter:,}", model, shorter
            shorter //= 2


def _pair_that_fits(free: int, nodes: int, whole_card: bool, dtype: torch.dtype) -> str | None:
    """The name of the largest preset that fits in this dtype with a short context."""
    for preset in sorted(PRESETS.values(), key=lambda preset: -preset.target.parameters):
        models = [of_spec(spec, dtype) for spec in (preset.target, preset.draft)]
        if _plan(models[0], models[1], SHORT, nodes, free, whole_card).fits:
            return preset.name
    return None


def _describe(model: ToLoad) -> str:
    dtype = str(model.dtype).removeprefix("torch.")
    how = dtype if model.quantization == "none" else f"{model.quantization}, else {dtype}"
    return f"{model.name} ({how})"


def _gb(size: int) -> str:
    """In 10^9 bytes with two digits after the point; the smallest thing shown is 0.01."""
    return f"{max(size / 1e9, 0.01):.2f}" if size else "0"
