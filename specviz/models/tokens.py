"""The text of single tokens, such that the texts of a sequence joined give the sequence's text.

``tokenizer.decode([id])`` cannot do this: it drops leading spaces and turns a part of a character into U+FFFD. Here
every token becomes the bytes it stands for; valid UTF-8 is shown as text, anything else keeps its bytes, so that
:func:`specviz.trace.schema.text_of_tokens` can put an emoji that was split over tokens together again.
"""

from __future__ import annotations

import json
import re
from typing import Any, Literal

from specviz.errors import ModelError
from specviz.trace.schema import TokenText

Scheme = Literal["byte-level", "sentencepiece", "plain"]
"""How a vocabulary entry spells its bytes.

``byte-level``: one printable character per byte (GPT-2, Llama 3, Qwen). ``sentencepiece``: UTF-8 with ``▁`` for a space
and ``<0x0A>`` for a single byte (Llama 2, Gemma). ``plain``: the text itself.
"""

BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


class TokenTexts:
    """Token id -> :class:`~specviz.trace.schema.TokenText`, remembered per id.

    Args:
        tokenizer: a fast tokenizer of transformers.

    Raises:
        ModelError: if the tokenizer is not a fast one, because only those say how they decode.
    """

    def __init__(self, tokenizer: Any):
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise ModelError("This model has no fast tokenizer (tokenizer.json); choose one that has.")
        self._backend = backend
        self._scheme, self._space = _scheme(backend.decoder)
        self._added = backend.get_added_tokens_decoder()
        self._texts: dict[int, TokenText] = {}

    def __call__(self, id: int) -> TokenText:
        """The text of ``id``. An id the tokenizer does not have (padded vocabularies) reads ``⟨id 49999⟩``."""
        if id not in self._texts:
            self._texts[id] = self._read(id)
        return self._texts[id]

    def _read(self, id: int) -> TokenText:
        piece = self._backend.id_to_token(id)
        if piece is None:
            return TokenText(id=id, text=f"⟨id {id}⟩")
        added = self._added.get(id)
        if added is not None and (added.special or self._scheme != "sentencepiece"):
            # Added tokens are matched in the text itself and never spelled in the vocabulary's alphabet.
            return TokenText(id=id, text=added.content)
        return as_text(id, piece_bytes(piece, self._scheme, self._space))


def token_text(tokenizer: Any, id: int) -> TokenText:
    """The text of one token. For more than one, keep a :class:`TokenTexts`."""
    return TokenTexts(tokenizer)(id)


def as_text(id: int, data: bytes) -> TokenText:
    """``data`` as text where it is valid UTF-8, and otherwise as visible hex, ``⟨F0 9F⟩``, with ``bytes`` filled in."""
    try:
        return TokenText(id=id, text=data.decode())
    except UnicodeDecodeError:
        return TokenText(id=id, text=f"⟨{data.hex(' ').upper()}⟩", bytes=data.hex())


def piece_bytes(piece: str, scheme: Scheme, space: str = "▁") -> bytes:
    """The bytes that a vocabulary entry stands for.

    Args:
        piece: the entry as the vocabulary spells it.
        scheme: see :data:`Scheme`.
        space: the character that stands for a space in a ``sentencepiece`` vocabulary.
    """
    if scheme == "byte-level":
        if all(character in _BYTE_OF for character in piece):
            return bytes(_BYTE_OF[character] for character in piece)
        # Entries outside the alphabet exist (runs of plain spaces in CodeGen's); decoders take them literally.
        return piece.encode()
    if scheme == "sentencepiece":
        if byte := BYTE_TOKEN.fullmatch(piece):
            return bytes.fromhex(byte[1])
        return piece.replace(space, " ").encode()
    return piece.encode()


def _byte_alphabet() -> dict[str, int]:
    """Character -> byte of byte-level BPE: printable Latin-1 stands for itself, the rest follows from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = sorted(set(range(256)) - set(printable))
    return {chr(byte): byte for byte in printable} | {chr(0x100 + i): byte for i, byte in enumerate(others)}


_BYTE_OF = _byte_alphabet()


def _scheme(decoder: Any) -> tuple[Scheme, str]:
    """The spelling that a backend's decoder undoes, and its space character."""
    parts = _parts(json.loads(decoder.__getstate__())) if decoder is not None else []
    kinds = {part["type"] for part in parts}
    if "ByteLevel" in kinds:
        return "byte-level", ""
    for part in parts:
        if part["type"] == "Metaspace":
            return "sentencepiece", part.get("replacement", "▁")
        if part["type"] == "Replace" and part.get("content") == " ":
            return "sentencepiece", part["pattern"].get("String", "▁")
    return ("sentencepiece", "▁") if "ByteFallback" in kinds else ("plain", "")


def _parts(decoder: dict[str, Any]) -> list[dict[str, Any]]:
    """The elementary decoders of a possibly nested decoder description."""
    if decoder["type"] == "Sequence":
        return [part for inner in decoder["decoders"] for part in _parts(inner)]
    return [decoder]
