"""Token text made visible: whitespace as symbols, control and bidirectional characters spelt out.

Token text is untrusted data: a vocabulary holds markup, template syntax, control characters and parts of characters.
"""

from __future__ import annotations

import codecs
import unicodedata
from collections.abc import Iterable

from specviz.trace.schema import TokenText

_VISIBLE = {" ": "␣", "\n": "⏎", "\t": "⇥", "\r": "␍"}
_SPELT_OUT = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode categories without a shape of their own; bidi marks (Cf) would also turn the text after them around."""
LONGEST = 200
"""Characters of a token that are ever sent to a page."""


def visible(text: str) -> str:
    """``text`` with every character showing: ``␣ ⏎ ⇥``, ``⟨U+202E⟩`` for what has no shape, ``∅`` for nothing."""
    if not text:
        return "∅"
    shown = "".join(_show(char) for char in text[: LONGEST + 1])
    if unicodedata.combining(text[0]):
        shown = "◌" + shown
    return shown if len(text) <= LONGEST else shown[:LONGEST] + "…"


def token_label(token: TokenText) -> str:
    """The visible form of a token; one that is no valid UTF-8 by itself is shown as its bytes, ``⟨f0 9f⟩``."""
    if token.bytes:
        return f"⟨{bytes.fromhex(token.bytes).hex(' ')}⟩"
    return visible(token.text)


def columns(text: str) -> int:
    """Width of ``text`` in a monospaced font; East Asian wide characters take two columns."""
    return sum(_width(char) for char in text)


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
    return shorten(visible(text).replace("␣", " "), width)


def pieces(tokens: Iterable[TokenText]) -> list[str]:
    """The readable text of each token in a row of tokens.

    A character split over several tokens appears at the one that completes it; the ones before it get an empty piece.
    The pieces joined are the text; bytes that never complete become ``\\ufffd``.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    made: list[str] = []
    for token in tokens:
        raw = bytes.fromhex(token.bytes) if token.bytes is not None else token.text.encode("utf-8", "replace")
        made.append(decoder.decode(raw))
    return made


def _show(char: str) -> str:
    if char in _VISIBLE:
        return _VISIBLE[char]
    if unicodedata.category(char) in _SPELT_OUT:
        return f"⟨U+{ord(char):04X}⟩"
    return char


def _width(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
