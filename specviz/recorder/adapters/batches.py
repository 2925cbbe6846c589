"""What the adapters of servers share: one call decides a step of every request of a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from specviz.recorder.adapters.hooks import Following
from specviz.recorder.recorder import Recorder
from specviz.recorder.step_record import NoStep, StepRecord

Requests = Callable[[], Sequence[tuple[str, Sequence[int]]]]
"""Of each row of the batch that is decided now: a name, and the text so far, whose last token is the root."""


@dataclass
class Row:
    """The step of one request, while the engine decides it.

    Attributes:
        nodes: whatever the adapter knows the tree's nodes by, in their order.
    """

    name: str
    step: StepRecord | NoStep
    nodes: list[int] = field(default_factory=list)


class Batch(Following):
    """The requests whose steps are recorded.

    Attributes:
        texts: name -> what was committed, as far as it was seen.
        rows: of the call that is going on; None in place of one that cannot be recorded.
    """

    def __init__(self, recorder: Recorder):
        super().__init__(recorder)
        self.texts: dict[str, list[int]] = {}
        self.names: dict[str, str] = {}
        self.rows: list[Row | None] = []

    def open(self, name: str, text: Sequence[int], whole: bool = True) -> Row:
        """Open the step of a request.

        Args:
            name: as the engine or the place in the batch calls it; one whose text does not go on is another request.
            text: what was committed; with ``whole`` all of it, else its last tokens.
        """
        text = [int(token) for token in text]
        current = self.names.get(name)
        known = None if current is None else self.texts[current]
        if known is None or (known if whole else known[-len(text) :]) != text:
            self.requests += 1
            current = name if name not in self.texts else f"{name} ({self.requests})"
            self.recorder.prompt(text, current)
            self.names[name], self.texts[current] = current, text
        assert current is not None
        step = self.recorder.step(current)
        step.__enter__()
        row = Row(current, step)
        self.rows.append(row)
        return row

    def close(self, row: Row, committed: list[int]) -> None:
        """Write a step whose verdict was said."""
        self.texts[row.name] += committed
        self.rows[self.rows.index(row)] = None
        row.step.__exit__(None, None, None)

    def abandon(self, error: BaseException | None) -> None:
        """Write what is open, as far as it got."""
        rows, self.rows = self.rows, []
        for row in rows:
            if row is not None:
                row.step.__exit__(None if error is None else type(error), error, None)

    def continued(self, text: Sequence[int], taken: set[str]) -> str:
        """The name of a request that is known by its text alone: of one that goes on, or a new number."""
        found = [name for name, known in self.texts.items() if known == [*text] and name not in taken]
        return found[0] if found else str(self.requests + 1)
