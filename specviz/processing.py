"""Logits -> distributions, where processors look at the text: on a tree every node has a text of its own.

The order is that of transformers' ``generate``: what adds to or bans logits first, then temperature, top-k and top-p
(:func:`specviz.sampling.process`), then min-p. Two modes on one tree: *exact* processes every node by the text on its
path, *frozen* processes all nodes by the committed text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from specviz.errors import NumericsError, SpecvizError
from specviz.sampling import process, take_rows
from specviz.trace.schema import ProcessorMode, Sampling

_TOGETHER = 32
"""Rows that a processor is given at once: some compare every row with every place of its text."""
Function = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Text [n, L] and scores [n, V] -> scores [n, V]; transformers' LogitsProcessor is one."""


@dataclass(frozen=True)
class Processor:
    """One processor of a run, ready to be called.

    Attributes:
        reads_text: whether it gives a row another value where the text before it is another; None: not known, of a
            class of the user's.
        late: whether it comes after temperature, top-k and top-p.
    """

    name: str
    function: Function
    reads_text: bool | None
    late: bool = False

    def __call__(self, text: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Raises NumericsError where it fails, gives another shape, NaN, or leaves no token."""
        try:
            found = self.function(text, scores)
        except SpecvizError:
            raise
        except Exception as error:
            if isinstance(error, (MemoryError, RuntimeError)) and "memory" in str(error).lower():
                raise  # the machine's fault
            what = " ".join(str(error).split())[:200]
            raise NumericsError(
                f"The processor {self.name} failed ({type(error).__name__}: {what}); change its options or leave it "
                "out."
            ) from error
        if not isinstance(found, torch.Tensor) or found.shape != scores.shape:
            raise NumericsError(f"The processor {self.name} gives no scores of the shape it was given; leave it out.")
        if not bool(found.amax(-1).isfinite().all()):  # the largest of a row with NaN is NaN
            raise NumericsError(
                f"The processor {self.name} leaves no token to choose, or scores that are no numbers; weaken it or "
                "leave it out."
            )
        return found


@dataclass(frozen=True)
class Processing:
    """The processors of a run, in the order in which they are applied."""

    processors: tuple[Processor, ...]
    mode: ProcessorMode
    draft: bool = False

    @property
    def reads_text(self) -> bool | None:
        """Whether exact and frozen can differ; None: not known."""
        each = [one.reads_text for one in self.processors]
        return True if True in each else None if None in each else False

    @property
    def other(self) -> Processing:
        """The same in the other mode."""
        return replace(self, mode="frozen" if self.mode == "exact" else "exact")

    def rows(
        self, logits: torch.Tensor, committed: Sequence[int], paths: Sequence[Sequence[int]], sampling: Sampling
    ) -> torch.Tensor:
        """Probabilities [n, V] of logits [n, V].

        Args:
            committed: the text up to and with the root.
            paths: of every row, the tokens from below the root down to its node.

        Raises:
            NumericsError: see :class:`Processor`.
        """
        return self._by_text(logits, committed, paths, lambda text, rows: self._of_texts(rows, text, sampling))

    def scores(self, logits: torch.Tensor, committed: Sequence[int], paths: Sequence[Sequence[int]]) -> torch.Tensor:
        """Logits [n, V] as those processors leave them that come before temperature, top-k and top-p; see
        :meth:`rows`."""
        return self._by_text(logits, committed, paths, self._early)

    def of_scores(self, scores: torch.Tensor, committed: Sequence[int], sampling: Sampling) -> torch.Tensor:
        """Probabilities [n, V] of what :meth:`scores` gives, where what comes after it does not look at the text."""
        text = torch.tensor(list(committed), dtype=torch.long, device=scores.device)
        return self._after(scores, text.expand(len(scores), -1), sampling)

    def _by_text(
        self, logits: torch.Tensor, committed: Sequence[int], paths: Sequence[Sequence[int]], make: Function
    ) -> torch.Tensor:
        """What ``make`` gives for the text [m, L] and the logits [m, V] of some rows at a time."""
        if self.mode == "frozen":
            paths = [()] * len(logits)
        by_length: dict[int, list[int]] = {}
        for row, path in enumerate(paths):
            by_length.setdefault(len(path), []).append(row)
        text = torch.tensor(list(committed), dtype=torch.long, device=logits.device)
        found = torch.empty_like(logits)
        parts = (
            (length, rows[i : i + _TOGETHER])
            for length, rows in by_length.items()
            for i in range(0, len(rows), _TOGETHER)
        )
        for length, rows in parts:
            below = torch.tensor([list(paths[row]) for row in rows], dtype=torch.long, device=logits.device)
            whole = torch.cat((text.expand(len(rows), -1), below.view(len(rows), length)), -1)
            found[rows] = make(whole, take_rows(logits, rows))
        return found

    def _of_texts(self, scores: torch.Tensor, text: torch.Tensor, sampling: Sampling) -> torch.Tensor:
        return self._after(self._early(text, scores), text, sampling)

    def _early(self, text: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        for one in self.processors:
            if not one.late:
                scores = one(text, scores)
        return scores

    def _after(self, scores: torch.Tensor, text: torch.Tensor, sampling: Sampling) -> torch.Tensor:
        late = [one for one in self.processors if one.late]

        def after(probs: torch.Tensor) -> torch.Tensor:
            scores = probs.log()
            for one in late:
                scores = one(text, scores)
            return torch.softmax(scores, -1)

        return process(scores, sampling, after if late else None)


def distances(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """[n], the total variation between the rows of two [n, V]."""
    return ((a - b).abs().sum(-1) / 2).clamp(max=1)
