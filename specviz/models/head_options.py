"""What a user sets of a draft head in place of what its files say, as texts and by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from specviz.errors import SettingsError, shown
from specviz.trace.schema import Option
from specviz.trace.settings import parse_pairs


def set_by_hand(reads: str | Sequence[int], options: str | Sequence[str] | Mapping[str, Option]) -> dict[str, Option]:
    """What the user sets of a draft head, by name, ``reads`` among it.

    Raises:
        SettingsError: for what is no list of whole numbers, or no options.
    """
    if not isinstance(options, Mapping):
        some = options.split(",") if isinstance(options, str) else options
        options = parse_pairs([pair for pair in some if pair.strip()], "head")
    text = reads.strip() if isinstance(reads, str) else ",".join(map(str, reads))
    if text and not all(part.strip().isdecimal() for part in text.split(",")):
        raise SettingsError(f"The layers a head reads cannot be {shown(text)}; write numbers with commas, as 2,14,25.")
    return dict(options) | ({"reads": text} if text else {})


def heads_texts(reads: str | Sequence[int], options: str | Sequence[str] | Mapping[str, Option]) -> dict[str, str]:
    """The same as :class:`~specviz.models.pair_spec.ModelChoice` has it: in texts."""
    by_hand = set_by_hand(reads, options)
    return {
        "head_reads": str(by_hand.pop("reads", "")),
        "head_options": ",".join(f"{name}={value}" for name, value in by_hand.items()),
    }
