"""Logits -> distributions, where processors look at the text: on a tree every node has a text of its own.

The order is that of transformers' ``generate``: what adds to or bans logits first, then temperature, top-k and top-p
(:func:`specviz.sampling.process`), then min-p. Two modes on one tree: *exact* processes every node by the text on its
path, *frozen* processes all nodes by the committed text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch

from specviz.errors import NumericsError, SpecvizError
from specviz.sampling import process, take_rows
from specviz.trace.schema import ProcessorMode, Sampling

_NO_TOKEN = "The processor {} leaves no token to choose; weaken it or leave it out."
_TOGETHER = 32
"""Rows that a processor is given at once: some compare every row with every place of its text."""
Function = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Text [n, L] and scores [n, V] -> scores [n, V]; transformers' LogitsProcessor is one."""
_Made = tuple[torch.Tensor, dict[int, str]]
"""Rows [n, V], and which of them a processor left no token, by its name; the values of those say nothing."""


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

    def __call__(self, text: torch.Tensor, scores: torch.Tensor) -> tuple[torch.Tensor, list[int]]:
        """The scores [n, V], and the rows that it leaves no token.

        Raises:
            NumericsError: where it fails, or gives another shape or no numbers.
        """
        try:
            found = self.function(text, scores)
        except SpecvizError:
            raise
        except Exception as error:
            said = str(error).lower()
            if isinstance(error, MemoryError) or "out of memory" in said or "can't allocate memory" in said:
                raise  # the machine's fault
            what = " ".join(str(error).split())[:200]
            raise NumericsError(
                f"The processor {self.name} failed ({type(error).__name__}: {what}); change its options or leave it "
                "out."
            ) from error
        if not (
            isinstance(found, torch.Tensor)
            and (found.shape, found.device, found.layout) == (scores.shape, scores.device, scores.layout)
            and found.is_floating_point()
        ):
            raise NumericsError(
                f"The processor {self.name} gives no scores of the shape and kind it was given; leave it out."
            )
        found = found.to(scores.dtype)
        largest = found.amax(-1)  # of a row with NaN it is NaN
        if bool(largest.isfinite().all()):
            return found, []
        if not bool((largest < torch.inf).all()):
            raise NumericsError(f"The processor {self.name} gives scores that are no numbers; leave it out.")
        return found, largest.isinf().nonzero()[:, 0].tolist()


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
        self,
        logits: torch.Tensor,
        committed: Sequence[int],
        paths: Sequence[Sequence[int]],
        sampling: Sampling,
        stuck: dict[int, NumericsError] | None = None,
    ) -> torch.Tensor:
        """Probabilities [n, V] of logits [n, V].

        Args:
            committed: the text up to and with the root.
            paths: of every row, the tokens from below the root down to its node.
            stuck: takes the rows that a processor leaves no token, with what is to be raised where the text comes
                there; they are as they would be without processors. None: it is raised at once.

        Raises:
            NumericsError: for such a row, and see :class:`Processor`.
        """
        found, without = self._by_text(logits, committed, paths, partial(self._of_texts, sampling=sampling))
        if without:
            if stuck is None:
                _refuse(without)
            else:
                stuck.update({row: NumericsError(_NO_TOKEN.format(name)) for row, name in without.items()})
            found[list(without)] = process(take_rows(logits, list(without)), sampling)
        return found

    def scores(self, logits: torch.Tensor, committed: Sequence[int], paths: Sequence[Sequence[int]]) -> torch.Tensor:
        """Logits [n, V] as those processors leave them that come before temperature, top-k and top-p; see
        :meth:`rows`."""
        found, without = self._by_text(logits, committed, paths, self._early)
        _refuse(without)
        return found

    def of_scores(self, scores: torch.Tensor, committed: Sequence[int], sampling: Sampling) -> torch.Tensor:
        """Probabilities [n, V] of what :meth:`scores` gives, where what comes after it does not look at the text."""
        text = torch.tensor(list(committed), dtype=torch.long, device=scores.device)
        found, without = self._after(text.expand(len(scores), -1), scores, sampling)
        _refuse(without)
        return found

    def _by_text(
        self,
        logits: torch.Tensor,
        committed: Sequence[int],
        paths: Sequence[Sequence[int]],
        make: Callable[[torch.Tensor, torch.Tensor], _Made],
    ) -> _Made:
        """What ``make`` gives for the text [m, L] and the logits [m, V] of some rows at a time."""
        if self.mode == "frozen":
            paths = [()] * len(logits)
        by_length: dict[int, list[int]] = {}
        for row, path in enumerate(paths):
            by_length.setdefault(len(path), []).append(row)
        text = torch.tensor(list(committed), dtype=torch.long, device=logits.device)
        found = torch.empty_like(logits)
        stuck: dict[int, str] = {}
        parts = (
            (length, rows[i : i + _TOGETHER])
            for length, rows in by_length.items()
            for i in range(0, len(rows), _TOGETHER)
        )
        for length, rows in parts:
            below = torch.tensor([list(paths[row]) for row in rows], dtype=torch.long, device=logits.device)
            whole = torch.cat((text.expand(len(rows), -1), below.view(len(rows), length)), -1)
            found[rows], without = make(whole, take_rows(logits, rows))
            stuck.update({rows[row]: name for row, name in without.items()})
        return found, stuck

    def _of_texts(self, text: torch.Tensor, logits: torch.Tensor, sampling: Sampling) -> _Made:
        scores, before = self._early(text, logits)
        found, after = self._after(text, scores, sampling)
        return found, after | before

    def _early(self, text: torch.Tensor, scores: torch.Tensor) -> _Made:
        return _apply([one for one in self.processors if not one.late], text, scores)

    def _after(self, text: torch.Tensor, scores: torch.Tensor, sampling: Sampling) -> _Made:
        late = [one for one in self.processors if one.late]
        stuck: dict[int, str] = {}

        def after(probs: torch.Tensor) -> torch.Tensor:
            found, without = _apply(late, text, probs.log())
            stuck.update(without)
            return torch.softmax(found, -1)

        return process(scores, sampling, after if late else None), stuck


def _apply(processors: Sequence[Processor], text: torch.Tensor, scores: torch.Tensor) -> _Made:
    stuck: dict[int, str] = {}
    for one in processors:
        scores, without = one(text, scores)
        if without:  # what comes after has numbers to work on
            scores = scores.index_fill(0, torch.tensor(without, device=scores.device), 0.0)
            stuck.update((row, one.name) for row in without if row not in stuck)
    return scores, stuck


def _refuse(stuck: dict[int, str]) -> None:
    if stuck:
        raise NumericsError(_NO_TOKEN.format(next(iter(stuck.values()))))


def distances(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """[n], the total variation between the rows of two [n, V]."""
    return ((a - b).abs().sum(-1) / 2).clamp(max=1)
