"""Recorded rows of a draft head against a recompute from the text.

Such a row depends on the target's states at the text, on the pairs that the head reads and on its own outputs below
the root: a state of another layer or of another token, drafted keys that stayed, a norm too many, another base of the
rotary embeddings, or another order of the columns all show here, whoever recorded the run.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from specviz.models.plain_head import PlainHead
from specviz.trace.schema import Row, Sampling, Step, Trace


def head_rows(
    trace: Trace, head: PlainHead, every_node: int
) -> Iterator[tuple[int, int, Row, torch.Tensor, Sampling | None]]:
    """Step, node, recorded row, recomputed logits [V] and the draft's sampling of each row that can be recomputed.

    Args:
        every_node: steps of which the rows of all nodes are recomputed; of the others that of the root.
    """
    text = list(trace.prompt_tokens)
    for position, step in enumerate(trace.steps):
        nodes = [node for node in step.tree.nodes if node.draft is not None and (position < every_node or node.id == 0)]
        if nodes and len(text) > 1:
            logits = head.logits(text, [_tokens(step, node.id) for node in nodes])
            sampling = trace.sampling_of(position)[1]
            for node, row in zip(nodes, logits, strict=True):
                assert node.draft is not None
                yield step.index, node.id, node.draft, row, sampling
        text += step.committed


def _tokens(step: Step, node: int) -> list[int]:
    """Of the path from below the root to this node."""
    return [step.tree.nodes[one].token for one in step.tree.path(node)]
