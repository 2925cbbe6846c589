"""Generators that tell how they get on and return something in the end."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any


def finish(work: Generator[Any, None, Any]) -> Any:
    """What a generator returns."""
    while True:
        try:
            next(work)
        except StopIteration as done:
            return done.value
