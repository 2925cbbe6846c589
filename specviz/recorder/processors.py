"""The processors that an engine says it has, put on its raw rows in each of the ways in which engines do.

What an engine says is a :class:`~specviz.trace.schema.Processors`: which there are, and by which text they look at the
nodes of a tree. Whether it does as it says is told by making its rows in every way, see :data:`READINGS`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from specviz.digits import digits
from specviz.trace.processors import parse_processors, written
from specviz.trace.schema import Choice, ProcessorMode, Processors, Sampling

if TYPE_CHECKING:  # at run time it would import torch
    import torch

    from specviz.processing import Processing

Reading = Literal["exact", "frozen", "first", "none"]
READINGS: tuple[Reading, ...] = ("exact", "frozen", "first", "none")
"""How the rows of a tree may have been processed. ``exact``: each by the text on its path; ``frozen``: all by the
committed text; ``first``: by the committed text at the root, and nowhere else; ``none``: nowhere. The last two leave
out processors that look at the text: those that do not have none that could be wrong."""


@dataclass(frozen=True)
class Stated:
    """What an engine says of its processors, with what these have to know of a request.

    Attributes:
        prompt: tokens of the prompt.
        end_tokens: those that end the text.
    """

    said: Processors
    prompt: int
    end_tokens: tuple[int, ...]

    def ready(self, vocabulary: int, loosened: float = 0.0) -> Readings:
        """For rows of so many columns.

        Args:
            loosened: by which share ``min_p`` lets through a little more, or less where it is below 0.

        Raises:
            SettingsError: for processors that are not known, or cannot be made for this vocabulary.
        """
        from specviz.models.processors import About, make_processing

        chosen = tuple(_loosened(choice, loosened) for choice in self.said.chosen)
        about = About(self.prompt, frozenset(self.end_tokens), vocabulary, "cpu")
        processing = make_processing(self.said.model_copy(update={"chosen": chosen, "mode": "exact"}), about)
        assert processing is not None
        return Readings(self, processing)

    def looking(self) -> str:
        """Those that may look at the text."""
        from specviz.models.processors import check_processors

        found = check_processors(self.said)
        return written(choice for choice, kind, options in found if kind is None or kind.reads_text(options))

    def __str__(self) -> str:
        return written(self.said.chosen)


@dataclass(frozen=True)
class Readings:
    """Processors that are ready to be put on raw rows [n, V]."""

    stated: Stated
    processing: Processing

    @cached_property
    def _blind(self) -> Processing:
        """Those alone that do not look at the text."""
        kept = tuple(one for one in self.processing.processors if one.reads_text is False)
        return replace(self.processing, processors=kept)

    def scores(
        self, reading: Reading, logits: torch.Tensor, committed: Sequence[int], paths: Sequence[Sequence[int]]
    ) -> torch.Tensor:
        """Logits [n, V] as what comes before temperature, top-k and top-p leaves them.

        Args:
            committed: the text up to and with the root.
            paths: of every row, the tokens from below the root down to its node.

        Raises:
            NumericsError: where a processor fails, or leaves no token.
        """
        if reading in ("exact", "frozen"):
            return replace(self.processing, mode=reading).scores(logits, committed, paths)
        found = self._blind.scores(logits, committed, paths)
        roots = [row for row, path in enumerate(paths) if not path]
        if reading == "first" and roots:
            found = found.clone()
            found[roots] = self.processing.scores(logits[roots], committed, [()] * len(roots))
        return found

    def rows(self, scores: torch.Tensor, committed: Sequence[int], sampling: Sampling) -> torch.Tensor:
        """Probabilities [n, V] of scores."""
        return self.processing.of_scores(scores, committed, sampling)


def stated(processors: Any, mode: ProcessorMode = "exact", *, draft: bool = False) -> Processors | None:
    """Processors as a recorder is told of them: ready ones, text, or a list of texts; None for none.

    Raises:
        SettingsError: for what is no processor.
    """
    found = processors if isinstance(processors, Processors) else parse_processors(processors or "", mode, draft=draft)
    if found is not None:
        from specviz.models.processors import check_processors, load_named

        load_named(found)  # the program that records names its own code
        check_processors(found)
    return found


_OR: Mapping[Reading, str] = {
    "exact": ", or by the text on each path",
    "frozen": ", or by the committed text alone",
    "first": ", or only that of the root is",
    "none": ", or none is",
}


def say_reading(
    stated: Stated,
    fitting: Sequence[Reading],
    who: str,
    where: str,
    variations: Mapping[str, float],
    *,
    at_least: bool = False,
) -> str:
    """What rows are that are not as they are due.

    Args:
        fitting: how they may have been processed; empty: in no way that is known.
        where: the node that shows it.
        variations: there, by mode: the total variation to the row of that mode.
    """
    rows, path = f"the {who}'s rows of this tree", "the text on each node's path"
    really, looking = fitting[0] if fitting else None, stated.looking()
    said = {
        "exact": f"{rows} are those of {stated} by {path} (exact), not by the committed text alone",
        "frozen": f"{rows} are those of {stated} by the committed text alone (frozen), not by {path}",
        "first": f"of {rows} only that of the root is processed by {looking}",
        "none": f"{rows} are those without {looking}",
        None: f"the {who}'s row at {where} is that of {stated} neither by the text on its path (exact) nor by the "
        "committed text alone (frozen)",
    }[really]
    said += "".join(_OR[other] for other in fitting[1:])
    least = "at least " if at_least else ""
    numbers = " and ".join(f"{least}{digits(value)} to {mode}" for mode, value in variations.items())
    place = "" if really is None else f"at {where} "
    more = "; so the engine says, but it says that it is lossless, too, and frozen is not"
    so_said = really == "frozen" and stated.said.mode == "frozen"
    return f"{said[0].upper()}{said[1:]}: {place}the total variation is {numbers}{more if so_said else ''}"


def lines_of(parents: Sequence[int], tokens: Sequence[int], nodes: Iterable[int]) -> list[list[int]]:
    """Of each node the tokens from below the root down to it."""
    found = []
    for node in nodes:
        line = []
        while node > 0:
            line.append(tokens[node])
            node = parents[node]
        found.append(line[::-1])
    return found


def _loosened(choice: Choice, by: float) -> Choice:
    least = choice.options.get("min_p", 0.05)
    if choice.name != "min_p" or not by or not isinstance(least, (int, float)):
        return choice
    return choice.model_copy(update={"options": {"min_p": min(1.0, max(0.0, float(least) * (1 - by)))}})
