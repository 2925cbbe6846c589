"""Rows of logits that a model computed again, as the processors of a run make them of each text that they may have had.

What a file keeps of a row that an engine judged by are its likeliest tokens: enough to tell by which text it was
processed, and by how much at least it is off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from specviz.errors import SpecvizError
from specviz.recorder.processors import Reading, Readings, Stated
from specviz.trace.schema import Row, Sampling, Step, Trace


@dataclass(frozen=True)
class Reprocessed:
    """Processors of some steps of a run.

    Attributes:
        text: of the whole run.
        readings: ready for rows of the model; None where they cannot be applied, and ``lacks`` says why.
    """

    text: Sequence[int]
    readings: Readings | None
    lacks: str | None = None

    @cached_property
    def cuts(self) -> bool:
        """Whether one of them leaves tokens out by their probability, whose last digit decides then."""
        return self.readings is not None and any(one.late for one in self.readings.processing.processors)

    def scores(self, step: Step, node: int, logits: torch.Tensor, reading: Reading) -> torch.Tensor:
        """[V], logits at a node as they leave what comes before temperature, top-k and top-p.

        Raises:
            NumericsError: where a processor fails, or leaves no token.
        """
        assert self.readings is not None
        path = [step.tree.nodes[one].token for one in step.tree.path(node)]
        return self.readings.scores(reading, logits[None], self.text[: step.context], [path])[0]

    def variation(self, step: Step, row: Row, scores: torch.Tensor, sampling: Sampling) -> float:
        """The least that the total variation between the row that was recorded and that of these scores can be: of the
        listed tokens, and of all others together."""
        if row.processed is None or self.readings is None or max(row.processed.ids, default=0) >= len(scores):
            return 0.0
        ours = self.readings.rows(scores[None], self.text[: step.context], sampling)[0]
        theirs = torch.tensor(row.processed.probs, dtype=ours.dtype)
        listed = ours[list(row.processed.ids)]
        rest = abs(float(1 - listed.sum()) - max(0.0, 1 - float(theirs.sum())))
        return min(1.0, (float((listed - theirs).abs().sum()) + rest) / 2)


UNKNOWN = Reprocessed((), None, "a draft that reads tokens only, with the target's ids")
"""Of a draft head, whose columns processors do not know."""


class Reprocessing:
    """The processors of a run's target, or draft, step by step."""

    def __init__(self, trace: Trace, *, draft: bool):
        self._trace, self._draft = trace, draft
        self._text = [*trace.prompt_tokens, *trace.output_tokens()]
        self._known: dict[tuple[str, int], Reprocessed] = {}

    def at(self, position: int, vocabulary: int) -> Reprocessed | None:
        """Of a step, for rows of so many columns; None where there are none. A class of the user's is applied where
        this process has loaded it."""
        said = self._trace.processors_of(position)
        if said is None or (self._draft and not said.draft):
            return None
        key = said.model_dump_json(), vocabulary
        if key not in self._known:
            try:
                readings = Stated(said, len(self._trace.prompt_tokens), self._trace.end_tokens).ready(vocabulary)
                self._known[key] = Reprocessed(self._text, readings)
            except SpecvizError as error:
                self._known[key] = Reprocessed(self._text, None, f"processors that can be applied: {error}")
        return self._known[key]
