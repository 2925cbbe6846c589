"""Recorded runs with a draft head, made of :func:`tests.sample_traces.sample_trace` by setting the fields of a head.

The numbers are plausible, not computed by a head: what is shown of them is what is tested.
"""

from __future__ import annotations

import random
import sys
from typing import Any

from specviz.trace.io import save_trace
from specviz.trace.schema import CacheChange, HeadInfo, ModelInfo, Models, Node, Slot, Step, Trace
from tests.sample_traces import k_config, sample_trace

EAGLE3 = HeadInfo(
    format="eagle3",
    kind="step",
    reads=(2, 18, 36),
    before_norm=True,
    layers=1,
    vocabulary=120,
    options={"norm_output": False, "norm_before_residual": True, "position_offset": 0, "rope_theta": 1000000.0},
    by_hand=("reads", "norm_output"),
)
DSPARK = HeadInfo(
    format="dspark", kind="block", reads=(2, 10, 18, 26, 34), before_norm=False, layers=2, depth=4, vocabulary=None
)
DFLASH = HeadInfo(format="dflash", kind="block", reads=(2, 18, 34), before_norm=False, layers=2, depth=4)
P_EAGLE = HeadInfo(
    format="p_eagle", kind="block", reads=(2, 18, 36), before_norm=True, layers=2, depth=4, vocabulary=120
)
MEDUSA = HeadInfo(format="medusa", kind="block", reads=(36,), before_norm=False, layers=0, depth=4)
HEADS = {head.format: head for head in (EAGLE3, DSPARK, DFLASH, P_EAGLE, MEDUSA)}
MASK_TOKEN = 5


def head_trace(head: HeadInfo = EAGLE3, steps: int = 12, seed: int = 3, **more: Any) -> Trace:
    """A run of a head over the tree 4,2,2: with a vocabulary of its own, biases and confidences where it has them."""
    trace = sample_trace(more.pop("parents", k_config(4, 2, 2)), steps=steps, seed=seed, **more)
    target = trace.models.both()[0].model_copy(update={"layers": 36, "vocabulary": 200})
    draft = ModelInfo(
        id=f"sample-{head.format}",
        source="folder",
        architecture=head.format,
        parameters=1000,
        layers=head.layers,
        vocabulary=head.vocabulary or 200,
        dtype="float32",
        device="cpu",
        reads=head.reads,
        head=head,
    )
    luck = random.Random(seed)
    return trace.model_copy(
        update={
            "id": f"sample-{head.format}",
            "models": Models(target=target, draft=draft),
            "steps": tuple(_step(step, head, luck, trace) for step in trace.steps),
        }
    )


def with_kept_draft(trace: Trace) -> Trace:
    """The trace of a step head with a drafted slot kept after its second step, as vllm #14649 did: the first accepted
    node's, or node 1's."""
    step = trace.steps[1]
    change = step.caches.draft
    assert change is not None
    node = (*step.verdicts[step.driver].path, 1)[0]
    place = [slot.node for slot in change.appended].index(node)
    kept = (*change.fingerprints_after, change.fingerprints_before[place])
    change = change.model_copy(update={"fingerprints_after": kept, "length_after": change.length_after + 1})
    step = step.model_copy(update={"caches": step.caches.model_copy(update={"draft": change})})
    return trace.model_copy(update={"steps": (trace.steps[0], step, *trace.steps[2:])})


def _step(step: Step, head: HeadInfo, luck: random.Random, trace: Trace) -> Step:
    nodes = tuple(_node(node, head, luck) for node in step.tree.nodes)
    tree = step.tree.model_copy(update={"nodes": nodes})
    before = trace.steps[step.index - 1] if step.index else None
    caches = step.caches.model_copy(update={"draft": _cache(step, head, before)})
    return step.model_copy(update={"tree": tree, "caches": caches})


def _node(node: Node, head: HeadInfo, luck: random.Random) -> Node:
    update: dict[str, Any] = {}
    if head.vocabulary is not None:
        update["p_outside"] = luck.random() ** 3
    if head.format == "dspark" and node.draft and node.draft.raw:
        bias = tuple(round(luck.gauss(0, 1.5), 4) for _ in node.draft.raw.ids)
        update["draft"] = node.draft.model_copy(update={"bias": bias, "confidence": luck.random() ** 0.5})
    return node.model_copy(update=update)


def _cache(step: Step, head: HeadInfo, before: Step | None) -> CacheChange:
    """What a correct head's cache goes through: the accepted tokens' pairs, the root's, and what is drafted.

    Pair j holds the target's state at token j and the token after it, so the root's is pair ``context - 2``; a head
    that remembers states alone has one for every token before the root.
    """
    nodes = step.tree.nodes
    states_alone = head.format in ("dflash", "dspark")
    first = step.context - (1 if states_alone else 2)
    late: list[int] = []
    if head.kind == "step" and before is not None:
        late = list(before.committed[:-1])
    elif before is not None:
        late = [before.tree.nodes[0].token, *before.committed[:-1]]
    if head.layers == 0:
        return CacheChange(
            length_before=0,
            appended=(),
            moves=(),
            dropped=(),
            length_after=0,
            fingerprints_before=(),
            fingerprints_after=(),
        )
    length = first - len(late)
    rows: list[Slot] = []
    for i, token in enumerate(late):
        slot = length + i
        sees = tuple(range(length, slot + 1))
        rows.append(
            Slot(slot=slot, token=token, position=slot, role="context", node=None, sees=sees, sees_before=length)
        )
    held = {slot.slot for slot in rows}
    inner = sorted({node.parent for node in nodes} - {-1})
    if head.kind == "step":
        slot_of = {node: first + i for i, node in enumerate(inner)}
        for node in inner:
            sees = sorted(held | {slot_of[one] for one in [0, *step.tree.path(node)]})
            rows.append(_slot(slot_of[node], nodes[node].token, first + nodes[node].depth, node, sees, length))
    else:
        block = list(range(first, first + (head.depth or 1)))
        for place in block:
            seen = block[: place - first + 1] if head.format == "p_eagle" else block
            node = 0 if place == first else None
            token = nodes[0].token if node == 0 else MASK_TOKEN
            rows.append(_slot(place, token, place, node, sorted([*held, *seen]), length))
    keep = len(late) + (head.kind == "step")
    prints = tuple(f"{step.index:04d}{slot.slot:08x}" for slot in rows)
    return CacheChange(
        length_before=length,
        appended=tuple(rows),
        moves=(),
        dropped=tuple(slot.slot for slot in rows[keep:] if slot.slot is not None),
        length_after=length + keep,
        fingerprints_before=prints,
        fingerprints_after=prints[:keep],
    )


def _slot(slot: int, token: int, position: int, node: int | None, sees: list[int], before: int) -> Slot:
    role = "mask" if node is None else "node"
    return Slot(slot=slot, token=token, position=position, role=role, node=node, sees=tuple(sees), sees_before=before)


if __name__ == "__main__":
    save_trace(head_trace(HEADS[sys.argv[1]], steps=24), sys.argv[2])
