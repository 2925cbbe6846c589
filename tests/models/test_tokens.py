"""The texts of single tokens, and that they join to the text they came from."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from specviz.errors import ModelError
from specviz.models.tokens import TokenTexts, token_text
from specviz.trace.schema import text_of_tokens
from tests import tiny


def joined(tokenizer, text: str) -> str:
    texts = TokenTexts(tokenizer)
    return text_of_tokens([texts(id) for id in tokenizer(text, add_special_tokens=False)["input_ids"]])


@pytest.mark.parametrize(
    "text", ["the other  thing\n\tand é", "👩‍👩‍👧‍👦 🌍🏽", "தமிழ் 日本", " \u00a0\u00ad\u0000\x7f", "<|user|>hi<|end|>"]
)
def test_byte_level_texts_join_to_the_text(text):
    assert joined(tiny.make_tokenizer(), text) == text


def test_the_alphabet_of_bytes_is_complete():
    texts = TokenTexts(tiny.make_tokenizer())
    first = len(tiny.SPECIAL)
    for byte in range(256):
        token = texts(first + byte)
        assert (bytes.fromhex(token.bytes) if token.bytes else token.text.encode()) == bytes([byte])


def test_part_of_a_character_shows_its_bytes():
    tokenizer = tiny.make_tokenizer()
    first = token_text(tokenizer, tokenizer("🌍")["input_ids"][0])
    assert (first.text, first.bytes) == ("⟨F0⟩", "f0")


def test_a_truncated_character_becomes_a_replacement_and_no_error():
    tokenizer = tiny.make_tokenizer()
    texts = TokenTexts(tokenizer)
    assert text_of_tokens([texts(id) for id in tokenizer("a🌍")["input_ids"][:-1]]) == "a\ufffd"


def test_whitespace_stays_what_it_is():
    tokenizer = tiny.make_tokenizer()
    assert token_text(tokenizer, tokenizer(" the")["input_ids"][0]).text == " the"
    assert token_text(tokenizer, tokenizer("\n")["input_ids"][0]).text == "\n"


def test_special_tokens_are_their_own_text():
    assert token_text(tiny.make_tokenizer(), tiny.END_ID).text == tiny.END


def test_an_added_token_is_not_read_in_the_byte_alphabet():
    tokenizer = tiny.make_tokenizer()
    tokenizer.add_tokens(["Ġé"])
    assert token_text(tokenizer, len(tokenizer) - 1).text == "Ġé"


def test_ids_beyond_the_tokenizer():
    token = token_text(tiny.make_tokenizer(), 49999)
    assert (token.id, token.text, token.bytes) == (49999, "⟨id 49999⟩", None)


def sentencepiece_like(decoder) -> PreTrainedTokenizerFast:
    pieces = ["<unk>", "</s>", "▁the", "▁", "cat", *(f"<0x{byte:02X}>" for byte in range(256))]
    backend = Tokenizer(models.BPE(vocab={p: i for i, p in enumerate(pieces)}, merges=[], byte_fallback=True))
    backend.decoder = decoder
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", unk_token="<unk>")


LLAMA_2 = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]


@pytest.mark.parametrize("decoder", [decoders.Sequence(LLAMA_2), decoders.Metaspace()])
def test_sentencepiece_texts(decoder):
    texts = TokenTexts(sentencepiece_like(decoder))
    byte = 5
    assert [texts(id).text for id in (1, 2, 3, 4, byte + 0x0A)] == ["</s>", " the", " ", "cat", "\n"]
    emoji = [texts(byte + value) for value in "🌍".encode()]
    assert emoji[0].text == "⟨F0⟩"
    assert text_of_tokens(emoji) == "🌍"


def test_a_slow_tokenizer_is_refused():
    with pytest.raises(ModelError, match="fast tokenizer"):
        TokenTexts(object())
