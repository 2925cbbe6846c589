"""What a verifier made of a node: mark and words of every outcome, for Python's texts and the viewer's scripts.

The scripts have the table in ``core/constants.js``, which ``python -m tests.tools.viewer_types --write`` makes.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """Attributes:
    mark: one character for a card, a table or a legend.
    words: as :data:`specviz.trace.schema.Outcome` has them, where a decision has that outcome.
    """

    mark: str
    words: str


OUTCOMES: dict[str, Outcome] = {
    "a": Outcome("●", "accepted"),
    "r": Outcome("✕", "rejected"),
    "p": Outcome("○", "passed, not chosen"),
    ".": Outcome("·", "not examined"),
    "t": Outcome("–", "not judged"),
    "n": Outcome("–", "not accepted, no decision recorded"),
}
"""By letter, as frames carry them, one a node. ``t`` is the root, which is in the text already; ``n`` is of an engine
that said which path it took and not what it decided on the way."""
LETTERS = {outcome.words: letter for letter, outcome in OUTCOMES.items()}
"""Letter of an outcome by its words."""
