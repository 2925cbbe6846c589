"""The table of a failed step: the tree as far as it was grown when an error ended the step."""

from __future__ import annotations

from specviz.figures.block_types import Failed
from specviz.figures.node import number
from specviz.figures.text import token_label, token_of
from specviz.trace.schema import Trace


def failed_columns(trace: Trace) -> Failed | None:
    """What the page shows of a failed step; null for a run without one."""
    failed = trace.failed
    if failed is None:
        return None
    texts = {token.id: token for token in failed.tokens}
    marks = failed.nonfinite.marks() if failed.nonfinite else {}
    return {
        "step": failed.index,
        "message": failed.message,
        "nodes": {
            "parent": [node.parent if node.id else None for node in failed.nodes],
            "text": [token_label(token_of(node.token, texts, node.text)) for node in failed.nodes],
            "q": [number(node.draft_prob) for node in failed.nodes],
            "p": [number(node.target_prob) for node in failed.nodes],
            "wrong": [marks.get(node.id) for node in failed.nodes],
        },
    }
