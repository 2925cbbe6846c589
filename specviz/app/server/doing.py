"""What is being done for a page, for whoever waits: the place in the queue, or the part of the step that runs."""

from __future__ import annotations

from dataclasses import asdict

from specviz.app.server.progress import Progress
from specviz.engine.step_values import StepProgress
from specviz.figures import dump_block

_WORDS = {
    "prefill": "Reading the text so far · {number} tokens",
    "draft": "Drafting level {number} of {of} …",
    "score": "Target scores {number} rows …",
    "verify": "Verifying · {number} verifiers",
    "commit": "Committing",
    "record": "Recording",
    "audit": "Auditing both caches …",
}
_REACHED = {"prefill": 0.05, "draft": 0.1, "score": 0.5, "verify": 0.8, "commit": 0.9, "record": 0.93, "audit": 0.95}
"""How far a step is when a part of it begins, for a bar that only shows that something moves."""


def step_words(doing: StepProgress) -> Progress:
    """A part of a step in words, with how far the step is."""
    reached = _REACHED[doing.part]
    if doing.part == "draft" and doing.of:
        reached += (_REACHED["score"] - reached) * (doing.number - 1) / doing.of
    return Progress(_WORDS[doing.part].format(number=doing.number, of=doing.of), reached)


def waiting_words(ahead: int) -> Progress:
    """What a click that has not begun waits for: ``ahead`` others."""
    return Progress(f"Waiting: {'one run' if ahead == 1 else f'{ahead} runs'} ahead of yours")


def doing_block(doing: StepProgress | Progress | None, ahead: int | None, asked: int | None) -> str:
    """What a page is told, as JSON: text and fraction, where there is something to say.

    Args:
        doing: of the step that runs for it, a part or what its backend can say of it.
        ahead: how many others come before its click, if that waits.
        asked: the number of the question, so that no answer is like the one before.
    """
    said = step_words(doing) if isinstance(doing, StepProgress) else doing
    if said is None and ahead:
        said = waiting_words(ahead)
    return dump_block({"asked": asked} | (asdict(said) if said else {}))
