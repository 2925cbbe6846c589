"""Text of strangers on its way to a screen: what a page or a terminal would obey is spelt out.

Models, verifiers, builders, files and vocabularies bear names that somebody else has chosen. In a page they are data,
but characters of the bidirectional algorithm still turn the text around them; a terminal obeys control characters, too.
What is drawn goes through :func:`upright`, what is printed through :func:`say`. Data stays as it is: trace files,
tables of a comparison, and what stands in a form to be used again.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TextIO

TURNING = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
"""Characters that have no shape and turn text around (Unicode Annex 9), as a class of a regular expression."""
_TURNS = re.compile(f"[{TURNING}]")
_WITHOUT_SHAPE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode categories without a shape of their own."""


def has_no_shape(char: str) -> bool:
    """Whether a character shows nothing, or is none: controls, marks of direction, halves, line separators."""
    return unicodedata.category(char) in _WITHOUT_SHAPE


def spelt_out(char: str) -> str:
    """``⟨U+202E⟩``."""
    return f"⟨U+{ord(char):04X}⟩"


def upright(text: str) -> str:
    """``text`` with every character spelt out that would turn text around; all else stays, joined emoji too."""
    return _TURNS.sub(lambda found: spelt_out(found[0]), text)


def printable(text: str, keep: str = "\n\t") -> str:
    """``text`` for a terminal: what has no shape is spelt out, but for the characters of ``keep``."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(spelt_out(char) if char not in keep and has_no_shape(char) else char for char in text)


def as_markdown(text: str) -> str:
    """``text`` in one line of Markdown that reads as it stands."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>|$#~" else c for c in printable(text.replace("\n", " "), keep=""))


def say(text: object, *, file: TextIO | None = None, end: str = "\n", flush: bool = False) -> None:
    """Print as ``print`` does, with :func:`printable` text: whatever a command prints goes this way."""
    print(printable(str(text)), file=file, end=end, flush=flush)
