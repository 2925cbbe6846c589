"""Trace -> frames: what the page and the HTML export draw, as pure functions of a recorded run.

Python decides everything that has a meaning (layout, labels, states, colours as roles, tables); the viewer script in
``assets/viewer/`` lays the tree out, draws the columns as SVG and HTML and walks from frame to frame.
Nothing here needs a model, a page or a tensor.
"""

from specviz.figures.export import standalone_page
from specviz.figures.frames import block, dump_block, fitting_block, run_header, step_frame

__all__ = [
    "block",
    "dump_block",
    "fitting_block",
    "run_header",
    "standalone_page",
    "step_frame",
]
