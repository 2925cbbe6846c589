"""A small tokenizer of every kind that language models have, so that what is promised of texts can be tried on each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tests import tiny

SPECIAL = ("<unk>", "</s>")
WORDS = ("the", "sea", "is", "blue", "in", "sing")
CHARACTERS = [chr(code) for code in range(97, 123)] + list("0123456789.,!?'’-éè今天")
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
LLAMA_2 = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]


def _made(model: Any, *, decoder: Any = None, before: Any = None, normalizer: Any = None) -> PreTrainedTokenizerFast:
    backend = Tokenizer(model)
    if decoder is not None:
        backend.decoder = decoder
    if before is not None:
        backend.pre_tokenizer = before
    if normalizer is not None:
        backend.normalizer = normalizer
    backend.add_special_tokens([AddedToken(token, normalized=False) for token in SPECIAL])
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", eos_token="</s>")


def _merges(words: tuple[str, ...], end: str = "") -> tuple[list[str], list[tuple[str, str]]]:
    """Pieces and merges with which BPE puts each word together from the left."""
    pieces: list[str] = []
    merges: list[tuple[str, str]] = []
    for word in words:
        letters = [*word[:-1], word[-1] + end]
        left = letters[0]
        for letter in letters[1:]:
            if (left, letter) not in merges:
                merges.append((left, letter))
                pieces.append(left + letter)
            left += letter
    return list(dict.fromkeys(pieces)), merges


def _ids(*groups: Any) -> dict[str, int]:
    return {piece: i for i, piece in enumerate(dict.fromkeys(piece for group in groups for piece in group))}


def _byte_fallback(decoder: Any, *, prepend: bool) -> PreTrainedTokenizerFast:
    pieces, merges = _merges(tuple(f"▁{word}" for word in WORDS))
    vocabulary = _ids(SPECIAL, BYTES, ["▁"], [chr(code) for code in range(97, 123)], pieces)
    steps = [normalizers.Prepend("▁")] if prepend else []
    return _made(
        models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True),
        decoder=decoder,
        normalizer=normalizers.Sequence([*steps, normalizers.Replace(" ", "▁")]),
    )


def _unigram(decoder: Any, *, bytes: bool) -> PreTrainedTokenizerFast:
    pieces = [*SPECIAL, *(BYTES if bytes else ()), "▁", *(f"▁{word}" for word in WORDS), *WORDS, *CHARACTERS]
    scores = [(piece, -float(len(SPECIAL) + 8 - len(piece))) for piece in dict.fromkeys(pieces)]
    model = models.Unigram(scores, unk_id=0, byte_fallback=bytes)
    return _made(model, decoder=decoder, before=pre_tokenizers.Metaspace())


def _word_piece(decoder: Any) -> PreTrainedTokenizerFast:
    vocabulary = _ids(SPECIAL, WORDS, CHARACTERS, [f"##{one}" for one in (*CHARACTERS, "ing")], ["n't", "'s"])
    model = models.WordPiece(vocabulary, unk_token="<unk>")
    return _made(model, decoder=decoder, before=pre_tokenizers.BertPreTokenizer(), normalizer=normalizers.Lowercase())


def _end_of_word() -> PreTrainedTokenizerFast:
    pieces, merges = _merges(WORDS, "</w>")
    vocabulary = _ids(SPECIAL, CHARACTERS, [f"{one}</w>" for one in CHARACTERS], pieces)
    model = models.BPE(vocabulary, merges, unk_token="<unk>", end_of_word_suffix="</w>")
    return _made(model, decoder=decoders.BPEDecoder(suffix="</w>"), before=pre_tokenizers.BertPreTokenizer())


def _characters() -> PreTrainedTokenizerFast:
    model = models.WordLevel(_ids(SPECIAL, [" ", "\n"], CHARACTERS), unk_token="<unk>")
    return _made(model, decoder=decoders.Fuse(), before=pre_tokenizers.Split(Regex(".|\\n"), "isolated"))


def _whole_words() -> PreTrainedTokenizerFast:
    model = models.WordLevel(_ids(SPECIAL, WORDS, CHARACTERS), unk_token="<unk>")
    return _made(model, before=pre_tokenizers.Whitespace())


KINDS: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "byte-level BPE": tiny.make_tokenizer,
    "byte fallback, as Llama 2": lambda: _byte_fallback(decoders.Sequence(LLAMA_2), prepend=True),
    "byte fallback, as Gemma": lambda: _byte_fallback(decoders.Sequence(LLAMA_2[:3]), prepend=False),
    "Unigram": lambda: _unigram(decoders.Metaspace(), bytes=False),
    "Unigram with byte fallback": lambda: _unigram(
        decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()]), bytes=True
    ),
    "WordPiece": lambda: _word_piece(decoders.WordPiece()),
    "WordPiece without clean-up": lambda: _word_piece(decoders.WordPiece(cleanup=False)),
    "end-of-word BPE": _end_of_word,
    "characters": _characters,
    "whole words, no decoder": _whole_words,
}
