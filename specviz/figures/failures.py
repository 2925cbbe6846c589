"""The table of a failed step: the tree as far as it was grown when an error ended the step."""

from __future__ import annotations

from typing import Any

from specviz.figures.node import number
from specviz.figures.text import token_label
from specviz.trace.schema import Trace


def failed_rows(trace: Trace) -> dict[str, Any] | None:
    """What the page shows of a failed step; null for a run without one.

    step      place of the step, the first one 0
    message   the sentence
    nodes     [parent or null, token as text, draft probability or null, target probability or null, what is wrong
              with the logits there or null], by node
    """
    failed = trace.failed
    if failed is None:
        return None
    texts = {token.id: token for token in failed.tokens}
    marks = failed.nonfinite.marks() if failed.nonfinite else {}
    return {
        "step": failed.index,
        "message": failed.message,
        "nodes": [
            [
                node.parent if node.id else None,
                token_label(texts[node.token]),
                number(node.draft_prob),
                number(node.target_prob),
                marks.get(node.id),
            ]
            for node in failed.nodes
        ],
    }
