"""A recorded run as the output of a notebook's cell."""

from __future__ import annotations

import html

from specviz.figures.export import standalone_page
from specviz.trace.schema import Trace

HEIGHT = 760
"""CSS pixels of the frame: the tree and its tools of a middle-sized run; the rest is scrolled to."""


def notebook_html(trace: Trace, *, height: int = HEIGHT) -> str:
    """The whole viewer in a frame of its own, so that neither the notebook nor the run can touch the other.

    The frame may run its own scripts and offer files to save. It has an origin of its own, and its page forbids itself
    every request. Size: that of :func:`~specviz.figures.export.standalone_page`, some 0.7 MB for 20 steps, which the
    notebook keeps.

    Args:
        height: of the frame, in CSS pixels.
    """
    page = html.escape(standalone_page(trace))
    return (
        f'<iframe title="specviz: a recorded run" sandbox="allow-scripts allow-downloads" '
        f'style="width: 100%; height: {height}px; border: 0" srcdoc="{page}"></iframe>'
    )
