"""What a verifier made of a node: letter, mark and words of every outcome, for Python's texts and the viewer's scripts.

The scripts have the table in ``core/constants.js``, which ``python -m tests.tools.viewer_types --write`` makes.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """Attributes:
    mark: one character for a card, a table or a legend.
    words: as :data:`specviz.trace.schema.Outcome` has them, where a decision has that outcome.
    card: which card of :func:`specviz.figures.figure_style.tree_figure` is drawn.
    """

    mark: str
    words: str
    card: str


OUTCOMES: dict[str, Outcome] = {
    "a": Outcome("●", "accepted", "accepted"),
    "r": Outcome("✕", "rejected", "rejected"),
    "p": Outcome("○", "passed, not chosen", "passed"),
    ".": Outcome("·", "not examined", "unexamined"),
    "t": Outcome("–", "not judged", "passed"),
}
"""By letter, as frames carry them, one a node. ``t`` is the root, which is in the text already."""
LETTERS = {outcome.words: letter for letter, outcome in OUTCOMES.items()}
"""Letter of an outcome by its words."""
