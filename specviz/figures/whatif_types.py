"""What-if questions and answers, as a message to the browser carries them. See :mod:`specviz.figures.block_types`."""

from __future__ import annotations

from typing import Any

from typing_extensions import TypedDict


class OptionField(TypedDict):
    """An option of a verifier as a form has it; ``kind`` as :func:`specviz.options.option_kind` says."""

    name: str
    kind: str
    choices: list[str] | None
    default: Any
    note: str | None


class VerifierChoice(TypedDict):
    """A verifier that can be asked what if; ``coins`` says whether it flips any at nodes."""

    name: str
    summary: str
    coins: bool
    options: list[OptionField]


class PathNodes(TypedDict):
    """Columns over the nodes of a path."""

    node: list[int]
    text: list[str]


class OtherBonus(TypedDict):
    text: str
    node: int
    source: str | None
    uniform: float | None


class Judged(TypedDict):
    """A decision in words, with the letter of its outcome."""

    outcome: str
    said: str


class WhatIfRow(TypedDict):
    """A node that either side judged; null where that side did not examine it."""

    node: int
    text: str
    recorded: Judged | None
    now: Judged | None
    differs: bool


class WhatIfValue(TypedDict):
    """A what-if answer beside the recorded verdict.

    by          ``trace`` or ``models``
    needs       why the trace alone does not say all of it
    differing   nodes whose outcome differs
    unused      a sentence for each change that the rule never looked at"""

    verifier: str
    beside: str
    options: dict[str, Any]
    by: str
    needs: str | None
    difference: float | None
    caveat: str | None
    recordedPath: PathNodes
    path: PathNodes
    recordedBonus: OtherBonus | None
    bonus: OtherBonus | None
    samePath: bool
    sameBonus: bool
    rows: list[WhatIfRow]
    differing: list[int]
    unused: list[str]
    thresholds: list[float | None]


class WhatIf(WhatIfValue, total=False):
    """The answer to the question ``id`` about a step. It may have ``error`` alone, or ``needs`` alone."""

    run: str | int | None
    step: str | int | None
    id: str | int | None
    error: str
