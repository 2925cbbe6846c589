"""What a recorder knows of one request."""

from __future__ import annotations

from dataclasses import dataclass

from specviz.trace.recording import Run


@dataclass
class Request:
    """What is known of one request.

    Attributes:
        number: in the order in which they began, from 0 on.
        text: the prompt and all that was committed.
        steps: how many are written.
        guessed: whether nobody knows the text: a step accepted no path, and did not say what it committed.
        lost: whether a step could not be written, so that no other can follow it.
    """

    number: int
    run: Run
    text: list[int]
    steps: int = 0
    lost: bool = False
    guessed: bool = False
