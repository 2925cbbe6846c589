"""Stop strings: texts that end a run once they stand in it, wherever tokens and steps cut them.

As ``generate(stop_strings=...)`` of transformers has it: after every token the text so far, the prompt included, is
asked for a stop string that ends inside that token; bytes are compared, so that characters may be split over tokens.
The tokens up to this one are kept, it included, with the stop string and with whatever it says after it. vLLM looks at
the output alone, once a step, and cuts the *text* before the stop string; :class:`Completed` says where that is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from specviz.errors import SettingsError
from specviz.trace.schema import TokenText, Trace

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\"}


@dataclass(frozen=True)
class Completed:
    """A stop string that a token completes.

    Attributes:
        string: the one of them that begins first; of several the longest.
        tokens: over how many tokens it lies.
        before: bytes of the first of those tokens that stand before it.
        after: bytes of the last of those tokens that stand after it.
    """

    string: str
    tokens: int
    before: int
    after: int


def completed(strings: Sequence[str], tokens: Sequence[int], text_of: Callable[[int], TokenText]) -> Completed | None:
    """The stop string that the last of these tokens completes, if it does.

    Args:
        tokens: the text so far. Only as much of its end is looked at as the longest stop string takes.
    """
    if not strings or not tokens:
        return None
    wanted = [(string, string.encode()) for string in strings]
    room, length, parts = max(len(data) for _, data in wanted) - 1, 0, [text_of(tokens[-1]).raw]
    for token in reversed(tokens[:-1]):
        if length >= room:
            break
        parts.insert(0, text_of(token).raw)
        length += len(parts[0])
    text = b"".join(parts)
    # A match that ends before the last token begins is none of its own.
    places = [(text.find(data, max(0, length - len(data) + 1)), -len(data), string) for string, data in wanted]
    found = [place for place in places if place[0] >= 0]
    if not found:
        return None
    at, size, string = min(found)
    first, begins = 0, 0
    while begins + len(parts[first]) <= at:
        begins += len(parts[first])
        first += 1
    return Completed(string, len(parts) - first, at - begins, len(text) - at + size)


def completed_by(trace: Trace, position: int) -> Completed | None:
    """The stop string that ended the text in ``steps[position]``; None where none did, and where another engine did not
    say what its strings or the texts of its tokens are."""
    if trace.ended_by(position) != "stop string":
        return None
    texts, tokens = dict(trace.prompt_text_of), list(trace.prompt_tokens)
    for earlier in trace.steps[: position + 1]:
        texts.update(earlier.text_of())
        tokens += earlier.committed
    try:
        return completed(stops_of(trace, position), tokens, texts.__getitem__)
    except KeyError:
        return None


def stops_of(trace: Trace, position: int) -> tuple[str, ...]:
    """The stop strings that ``steps[position]`` ran with, as far as they were recorded."""
    said = trace.engine or trace.settings_of(position)
    return said.stop if said else ()


def end_in_words(trace: Trace, position: int, shown: Callable[[str], str]) -> str:
    """Why the text ends in ``steps[position]``; of a stop string which one, over how many tokens, and what the last of
    them says after it.

    Args:
        shown: what makes text of strangers fit to be shown.
    """
    step, found = trace.steps[position], completed_by(trace, position)
    if found is None:
        return str(trace.ended_by(position))
    said = f"stop string “{shown(found.string)}”"
    if found.tokens > 1:
        said += f" over {found.tokens} tokens"
    if found.after:
        rest = shown(step.text_of()[step.committed[-1]].raw[-found.after :].decode("utf-8", "replace"))
        said += f", whose last one goes on with “{rest}”" if found.tokens > 1 else f", then “{rest}”"
    return said


def parse_stops(text: str) -> tuple[str, ...]:
    r"""Stop strings as somebody types them, one a line; ``\n``, ``\t``, ``\r`` and ``\\`` stand for what they do in
    code.

    Raises:
        SettingsError: for another character after a backslash.
    """
    return tuple(_unescaped(line) for line in text.replace("\r\n", "\n").split("\n") if line)


def written_stops(strings: Iterable[str]) -> str:
    """The text that :func:`parse_stops` reads these from."""
    codes = {character: "\\" + letter for letter, character in _ESCAPES.items()}
    return "\n".join("".join(codes.get(character, character) for character in string) for string in strings)


def _unescaped(line: str) -> str:
    made, rest = "", iter(line)
    for character in rest:
        if character == "\\":
            letter = next(rest, "")
            if letter not in _ESCAPES:
                raise SettingsError(
                    rf"A stop string has a backslash before {letter!r}; write \\ for the character itself, \n for a "
                    "line break."
                )
            character = _ESCAPES[letter]
        made += character
    return made
