"""A step of a run with processors: the target's rows in both modes, and what the other mode would decide."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch

from specviz.engine.step_values import ProcessedRows, Scores, Verified
from specviz.errors import NumericsError
from specviz.processing import Processing, distances
from specviz.sampling import process
from specviz.trace.schema import Lossless, OtherMode, Sampling
from specviz.tree import TokenTree


def processed_scores(
    processing: Processing, logits: torch.Tensor, tree: TokenTree, committed: Sequence[int], sampling: Sampling
) -> Scores:
    """The target's rows at all nodes, with what the processors did to them.

    Args:
        logits: [n, V], as the model returned them; known to be numbers.
        committed: the text up to and with the root.

    Raises:
        NumericsError: where processors fail, or leave no token after the committed text.
    """
    paths = [tree.path_tokens(node) for node in range(len(tree))]
    stuck: dict[int, NumericsError] = {}
    used = processing.rows(logits, committed, paths, sampling, stuck)
    if 0 in stuck:
        raise stuck[0]
    others = used if processing.reads_text is False else processing.other.rows(logits, committed, paths, sampling, {})
    moved = distances(used, process(logits, sampling))
    return Scores(logits, used, ProcessedRows(moved, distances(used, others), others, stuck))


def with_other_mode(
    processing: Processing,
    tree: TokenTree,
    scores: Scores,
    results: Mapping[str, Verified],
    decide: Callable[[Scores], Mapping[str, Verified]],
) -> dict[str, Verified]:
    """The results with what they would be in the other mode, and with what can be said of them in this one.

    Args:
        decide: every verifier on the same tree and with the same luck, with other rows.
    """
    assert scores.processed is not None
    found = {name: replace(one, lossless=_says(processing, one.lossless)) for name, one in results.items()}
    if not bool(scores.processed.apart.any()):
        return found
    others = decide(replace(scores, probs=scores.processed.others, processed=None))
    return {name: replace(one, other_mode=_difference(one, others[name], len(tree))) for name, one in found.items()}


def _says(processing: Processing, lossless: Lossless) -> Lossless:
    """Frozen rows are not those of the target that generates token by token; of a class of the user's nothing is
    known, for it may remember what it was called with."""
    if lossless not in ("yes", "greedy decoding"):
        return lossless
    if processing.mode == "frozen" and processing.reads_text:
        return "no"
    return "not proved" if processing.reads_text is None or _has_own(processing) else lossless


def _has_own(processing: Processing) -> bool:
    return any(one.reads_text is None for one in processing.processors)


def _difference(ours: Verified, other: Verified, size: int) -> OtherMode | None:
    a, b = _states(ours, size), _states(other, size)
    nodes = tuple(node for node in range(1, size) if a[node] != b[node])
    if not nodes and ours.bonus.token == other.bonus.token:
        return None
    return OtherMode(path=other.walk.path, bonus=other.bonus.token, nodes=nodes)


def _states(verified: Verified, size: int) -> list[str]:
    """What became of every node."""
    states = ["not examined"] * size
    for ruling in verified.walk.rulings:
        states[ruling.node] = ruling.outcome
    for node in verified.walk.path:
        states[node] = "accepted"
    return states
