"""Short lessons about speculative decoding, each told on a recorded run: one file a lesson, listed here.

A lesson explains one step of its run in numbers looked up in the trace, and asks a question that is answered by
selecting a node of the draft tree. To add one, write a file with a ``LESSON`` and add it to :data:`LESSONS`;
:mod:`specviz.lessons.lesson` says what a lesson consists of.
"""

from __future__ import annotations

from specviz.lessons import bug, cache, chain, eta, longest, residual, trees
from specviz.lessons.lesson import FilledLesson, Lesson, Sentence, text_of

__all__ = ["LESSONS", "FilledLesson", "Lesson", "Sentence", "text_of"]

LESSONS: tuple[Lesson, ...] = (
    chain.LESSON,
    trees.LESSON,
    residual.LESSON,
    eta.LESSON,
    longest.LESSON,
    cache.LESSON,
    bug.LESSON,
)
"""In the order in which the page lists them."""
