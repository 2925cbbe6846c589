"""Token text made visible: whitespace as symbols, control and bidirectional characters spelt out.

Token text is untrusted data: a vocabulary holds markup, template syntax, control characters and parts of characters.
"""

from __future__ import annotations

import codecs
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TypeVar

from specviz.display import has_no_shape, spelt_out
from specviz.trace.schema import Option, TokenText, Trace, cut

_VISIBLE = {" ": "␣", "\n": "⏎", "\t": "⇥", "\r": "␍"}
T = TypeVar("T")
MOST_LISTED = 32
"""Names that a sentence has in a row."""
LONGEST = 200
"""Characters of a token that are ever sent to a page."""


@lru_cache(maxsize=4096)  # a frame names the same few tokens hundreds of thousands of times
def visible(text: str, longest: int = LONGEST) -> str:
    """``text`` with every character showing: ``␣ ⏎ ⇥``, ``⟨U+202E⟩`` for what has no shape, ``∅`` for nothing.

    Args:
        longest: characters of it that are shown.
    """
    if not text:
        return "∅"
    shown = "".join(_show(char) for char in text[: longest + 1])
    if unicodedata.combining(text[0]):
        shown = "◌" + shown
    return shown if len(text) <= longest else shown[:longest] + "…"


def token_label(token: TokenText) -> str:
    """The visible form of a token; one that is no valid UTF-8 by itself is shown as its bytes, ``⟨f0 9f⟩``."""
    if token.bytes:
        return f"⟨{bytes.fromhex(token.bytes).hex(' ')}⟩"
    return visible(token.text)


def token_of(token: int, texts: Mapping[int, TokenText], text: str | None = None) -> TokenText:
    """A token with its text, from ``texts`` or else ``text``; ``‹72›`` where no text of it was recorded."""
    return texts.get(token) or TokenText(id=token, text=f"‹{token}›" if text is None else text)


def prompt_text(trace: Trace) -> str:
    """The prompt as it was given; the text of its tokens where an engine gave only those."""
    texts = trace.prompt_text_of
    return trace.prompt or "".join(pieces(token_of(token, texts) for token in trace.prompt_tokens))


def columns(text: str) -> int:
    """Width of ``text`` in a monospaced font; East Asian wide characters take two columns."""
    return sum(_width(char) for char in text)


@lru_cache(maxsize=4096)
def shorten(text: str, width: int) -> str:
    """``text`` in at most ``width`` columns, cut with ``…`` where it is longer."""
    if columns(text) <= width:
        return text
    kept, room = "", width - 1
    for char in text:
        room -= _width(char)
        if room < 0:
            break
        kept += char
    return kept + "…"


def one_line(text: str, width: int) -> str:
    """What a person wrote, for a title or a table: visible, with plain spaces, in at most ``width`` columns."""
    return shorten(visible(text, max(width, LONGEST)).replace("␣", " "), width)


def listed(items: Sequence[T], name: Callable[[T], str]) -> str:
    """Names in a row for a sentence, the first of them where there are many: a path may have a thousand nodes."""
    more = f" and {len(items) - MOST_LISTED} more" if len(items) > MOST_LISTED else ""
    return " ".join(map(name, items[:MOST_LISTED])) + more


def short_options(options: Mapping[str, Option]) -> dict[str, Option]:
    """Options as a page shows them: a text of thousands of characters, such as the paths of a large tree, is cut."""
    return {name: cut(value) if isinstance(value, str) else value for name, value in options.items()}


def pieces(tokens: Iterable[TokenText]) -> list[str]:
    """The readable text of each token in a row of tokens.

    A character split over several tokens appears at the one that completes it; the ones before it get an empty piece.
    The pieces joined are the text; bytes that never complete become ``\\ufffd``.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    return [decoder.decode(token.raw) for token in tokens]


def _show(char: str) -> str:
    if char in _VISIBLE:
        return _VISIBLE[char]
    return spelt_out(char) if has_no_shape(char) else char


def _width(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
