"""Are the processed rows that the engine gave those that its sampling makes of the logits that it gave?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from specviz.digits import digits
from specviz.recorder.checks.results import compared, lacked, tolerance_of_format, unit_roundoff
from specviz.recorder.checks.rows import View
from specviz.recorder.raw_step import Rows
from specviz.recorder.summaries import process
from specviz.trace.checks import Check
from specviz.trace.schema import Sampling

PROCESSING = "processing"
DRAFT_PROCESSING = "draft_processing"


def processing(view: View, *, draft: bool = False) -> Check:
    """The rows [V] at the root and the accepted nodes against logits and sampling: the largest difference of an entry.

    Rows beside the path are made in the same way, and each costs a softmax over the vocabulary.
    """
    step = view.step
    name, who = (DRAFT_PROCESSING, "draft") if draft else (PROCESSING, "target")
    probs, logits, nodes = (step.q, step.q_logits, step.q_nodes) if draft else (step.p, step.p_logits, step.p_nodes)
    made, sampling = (step.q_made, step.draft_sampling) if draft else (step.p_made, step.target_sampling)
    formats = (step.draft_dtype, step.draft_logits_dtype) if draft else (step.dtype, step.logits_dtype)
    if probs is None or logits is None or {*made} >= {*nodes}:
        return lacked(name, f"the {who}'s rows as probabilities and as logits, both")
    if sampling is None:
        return lacked(name, f"what makes the {who}'s rows of its logits ({'draft_' if draft else ''}sampling=)")
    dtype = max(formats, key=tolerance_of_format)
    limit = tolerance_of_format(dtype)
    places = {node: place for place, node in enumerate(nodes) if node not in made}

    def make(rows: Rows, by: float) -> Rows:
        return process(rows, loosened(sampling, by) if by else sampling)

    found = [
        (node, apart(probs[places[node]], logits[places[node]], make, sampling, limit, unit_roundoff(dtype)))
        for node in view.walk
        if node in places
    ]
    if not found:
        return lacked(name, f"the {who}'s row of the root or of an accepted node")
    return compared(
        name,
        found,
        lambda node, worst: (
            f"The {who}'s row at {view.named(node or 0)} is not what {_named(sampling)} makes of its logits: "
            f"they differ by {worst:.2g}."
        ),
        limit,
    )


def apart(
    said: Rows,
    logits: Rows,
    make: Callable[[Rows, float], Rows],
    sampling: Sampling,
    limit: float,
    roundoff: float,
) -> float:
    """The largest difference of an entry; 0 where rounding alone decided which tokens were left out.

    Tokens with equal logits at the edge of the k most likely ones, or of the nucleus, may be taken or left.

    Args:
        make: rows of logits with filters that let through more by this share, see :func:`loosened`.
    """
    ours = make(logits[None], 0.0)[0]
    worst = float(np.abs(said - ours).max())
    taken = said > 0
    if worst <= limit or not taken.any():
        return worst
    few, many = (make(logits[None], by)[0] > 0 for by in (-limit, limit))
    edges = [float(logits[kept].min()) for kept in (few, many)]
    slack = [4 * roundoff * abs(edge) for edge in edges]
    left_out = taken.sum() < few.sum() or (taken < (logits > edges[0] + slack[0])).any()
    if left_out or (taken & (logits < edges[1] - slack[1])).any():
        return worst
    if sampling.temperature == 0:
        return 0.0 if abs(float(said.sum()) - 1) <= limit else worst
    plain = Sampling(temperature=sampling.temperature)
    again = process(np.where(taken, logits, -np.inf)[None], plain)[0]
    return 0.0 if float(np.abs(said - again).max()) <= limit else worst


def loosened(sampling: Sampling, by: float) -> Sampling:
    """With filters that let through a little more, or less where ``by`` is below 0."""
    top_p = sampling.top_p if sampling.top_p == 1 else min(1.0, max(1e-6, sampling.top_p + by))
    return sampling.model_copy(update={"top_p": top_p, "eta_cutoff": sampling.eta_cutoff * (1 - by)})


def _named(sampling: Sampling) -> str:
    said = [f"temperature {digits(sampling.temperature)}"]
    said += [f"top-k {sampling.top_k}"] if sampling.top_k else []
    said += [f"top-p {digits(sampling.top_p)}"] if sampling.top_p < 1 else []
    said += [f"eta cutoff {digits(sampling.eta_cutoff)}"] if sampling.eta_cutoff else []
    return ", ".join(said)
