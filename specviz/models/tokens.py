"""The text of single tokens, such that the texts of a sequence joined give what the tokenizer decodes it to.

``tokenizer.decode([id])`` cannot do this: a decoder treats the first and the last token of a text differently (it drops
a leading space, or keeps the ``##`` of WordPiece), and turns a part of a character into U+FFFD. So the tokenizer's own
decoder is asked what a token adds *between two others*. Where that is no text, the token becomes the bytes it stands
for, and :func:`specviz.trace.schema.text_of_tokens` can put an emoji that was split over tokens together again.

What is promised: the texts of any token ids, joined, are ``tokenizer.decode(ids, clean_up_tokenization_spaces=False)``
but for

* spaces at the two ends, which belong to the word before or after; and ``##``, which ``decode`` keeps in first place;
* ``<0xF0>`` tokens in a row that are no UTF-8 as a whole: ``decode`` has U+FFFD for all of them, here the characters
  among them are kept;
* what is longer than a trace holds of one token (:data:`~specviz.trace.schema.LONGEST_TOKEN`), which is cut;
* ids that the tokenizer does not have, which ``decode`` leaves out, and added tokens in which it finds no text.
"""

from __future__ import annotations

import json
import re
from typing import Any

from specviz.errors import ModelError
from specviz.trace.schema import LONGEST_TOKEN, TokenText, cut

BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
NEIGHBOUR = "x"
"""Stands before and after the token that is asked about. To every decoder it is a word, or the inside of one."""


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
            raise ModelError(
                f"The target's tokenizer ({type(tokenizer).__name__}) has no fast version, which alone says what each "
                "token stands for; choose a model with a tokenizer.json."
            )
        self._backend = backend
        decoder = backend.decoder
        # Without a decoder tokenizers puts a space between any two tokens.
        self._decode = " ".join if decoder is None else decoder.decode
        self._kinds = _kinds(json.loads(decoder.__getstate__())) if decoder is not None else set()
        self._next = self._decode([NEIGHBOUR, NEIGHBOUR]).removeprefix(NEIGHBOUR)
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
        text = self._between(piece)
        if "\ufffd" not in text:
            return TokenText(id=id, text=cut(text, LONGEST_TOKEN))
        if id in self._added:
            # Added tokens are matched in the text itself and never spelled in the vocabulary's alphabet.
            return TokenText(id=id, text=cut(self._added[id].content, LONGEST_TOKEN))
        return as_text(id, piece_bytes(piece, self._kinds))

    def _between(self, piece: str) -> str:
        """What the piece adds to a text between two others, by the tokenizer's own decoder."""
        whole: str = self._decode([NEIGHBOUR, piece, NEIGHBOUR])
        return whole.removeprefix(NEIGHBOUR).removesuffix(self._next)


def token_text(tokenizer: Any, id: int) -> TokenText:
    """The text of one token. For more than one, keep a :class:`TokenTexts`."""
    return TokenTexts(tokenizer)(id)


def as_text(id: int, data: bytes) -> TokenText:
    """``data`` as text where it is valid UTF-8, and otherwise as visible hex, ``⟨F0 9F⟩``, with ``bytes`` filled in."""
    try:
        return TokenText(id=id, text=cut(data.decode(), LONGEST_TOKEN))
    except UnicodeDecodeError:
        data = data[: LONGEST_TOKEN // 4]
        return TokenText(id=id, text=f"⟨{data.hex(' ').upper()}⟩", bytes=data.hex())


def piece_bytes(piece: str, kinds: set[str]) -> bytes:
    """The bytes that a vocabulary entry stands for, where it is no text by itself.

    Args:
        piece: the entry as the vocabulary spells it.
        kinds: of the tokenizer's decoders. ``ByteLevel`` spells one printable character per byte (GPT-2, Llama 3,
            Qwen), ``ByteFallback`` has ``<0x0A>`` for a single byte (Llama 2, Gemma).
    """
    if "ByteFallback" in kinds and (byte := BYTE_TOKEN.fullmatch(piece)):
        return bytes.fromhex(byte[1])
    if "ByteLevel" in kinds and all(character in _BYTE_OF for character in piece):
        return bytes(_BYTE_OF[character] for character in piece)
    return piece.encode()


def _byte_alphabet() -> dict[str, int]:
    """Character -> byte of byte-level BPE: printable Latin-1 stands for itself, the rest follows from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = sorted(set(range(256)) - set(printable))
    return {chr(byte): byte for byte in printable} | {chr(0x100 + i): byte for i, byte in enumerate(others)}


_BYTE_OF = _byte_alphabet()


def _kinds(decoder: dict[str, Any]) -> set[str]:
    """The kinds of the elementary decoders of a possibly nested decoder description."""
    if decoder["type"] == "Sequence":
        return {kind for inner in decoder["decoders"] for kind in _kinds(inner)}
    return {decoder["type"]}
