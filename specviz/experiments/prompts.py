"""The project's own prompts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

PROMPTS = Path(__file__).parents[2] / "assets" / "prompts.jsonl"


@dataclass(frozen=True)
class Prompt:
    """One prompt; ``kind`` says what is asked for."""

    id: str
    kind: str
    text: str


def load_prompts() -> list[Prompt]:
    """All prompts, in the order of the file."""
    with open(PROMPTS, encoding="utf-8") as file:
        return [Prompt(**json.loads(line)) for line in file]
