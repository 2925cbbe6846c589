"""The texts of single tokens, and that they join to the text they came from."""

from __future__ import annotations

import random

import pytest
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from specviz.errors import ModelError
from specviz.figures import block
from specviz.models.tokens import TokenTexts, token_text
from specviz.trace.schema import text_of_tokens
from tests import pairs, tiny
from tests.tokenizer_kinds import BYTES, KINDS, LLAMA_2


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


TEXTS = (
    "the sea is blue",
    "the seas, singing: isn't it? 3.14",
    "in the sea!</s>the sea",
    "the  blue  sea is",
    "the 🌍 is é今天",
)


@pytest.mark.parametrize("kind", KINDS)
def test_joined_texts_are_the_decoded_text(kind):
    tokenizer = KINDS[kind]()
    texts = TokenTexts(tokenizer)
    for text in TEXTS:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        decoded = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        assert len(ids) > 3
        assert text_of_tokens([texts(id) for id in ids]).strip(" ") == decoded.strip(" ")


@pytest.mark.parametrize("kind", KINDS)
def test_joined_texts_of_any_tokens_are_their_decoded_text(kind):
    """Also where no encoder would put these tokens beside each other, as a model may."""
    tokenizer = KINDS[kind]()
    texts, random_ids = TokenTexts(tokenizer), random.Random(0)
    # The two exceptions have a test of their own: bytes that form no character, and WordPiece's ## in first place.
    ids = [id for piece, id in tokenizer.get_vocab().items() if piece not in BYTES or len(tokenizer) < 200]
    first = [id for id in ids if not tokenizer.convert_ids_to_tokens(id).startswith("##")]
    for _ in range(50):
        row = [random_ids.choice(first), *random_ids.choices(ids, k=12)]
        decoded = tokenizer.decode(row, clean_up_tokenization_spaces=False)
        assert text_of_tokens([texts(id) for id in row]).strip(" ") == decoded.strip(" "), row


def test_words_are_apart_and_pieces_together():
    texts = {kind: TokenTexts(make()) for kind, make in KINDS.items()}
    ids = {kind: make().convert_tokens_to_ids for kind, make in KINDS.items()}

    def text(kind: str, piece: str) -> str:
        return texts[kind](ids[kind](piece)).text

    assert [text("WordPiece", piece) for piece in ("sea", "##s", ".", "n't")] == [" sea", "s", ".", "n't"]
    assert text("WordPiece without clean-up", ".") == " ."
    assert [text("end-of-word BPE", piece) for piece in ("sea</w>", "se", ".</w>")] == ["sea ", "se", ". "]
    assert [text("Unigram", piece) for piece in ("▁sea", "sea", "▁")] == [" sea", "sea", " "]
    assert [text("characters", piece) for piece in ("s", " ", "\n")] == ["s", " ", "\n"]
    assert text("whole words, no decoder", "sea") == " sea"


def byte_fallback(decoder) -> PreTrainedTokenizerFast:
    pieces = ["<unk>", "</s>", "▁the", "▁", "cat", *BYTES]
    backend = Tokenizer(models.BPE(vocab={p: i for i, p in enumerate(pieces)}, merges=[], byte_fallback=True))
    backend.decoder = decoder
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", unk_token="<unk>")


@pytest.mark.parametrize("decoder", [LLAMA_2, [decoders.ByteFallback(), decoders.Metaspace()]])
def test_single_bytes(decoder):
    texts = TokenTexts(byte_fallback(decoders.Sequence(decoder)))
    byte = 5
    assert [texts(id).text for id in (1, 2, 3, 4, byte + 0x0A)] == ["</s>", " the", " ", "cat", "\n"]
    emoji = [texts(byte + value) for value in "🌍".encode()]
    assert emoji[0].text == "⟨F0⟩"
    assert text_of_tokens(emoji) == "🌍"


def test_where_the_joined_texts_say_more_than_the_decoded_text():
    tokenizer = byte_fallback(decoders.Sequence(LLAMA_2))
    texts, ids = TokenTexts(tokenizer), [4, 5 + 0xF0, 5 + 0x41, 49999]
    assert tokenizer.decode(ids) == "cat\ufffd\ufffd"
    assert text_of_tokens([texts(id) for id in ids]) == "cat\ufffdA⟨id 49999⟩"
    pieces = KINDS["WordPiece"]()
    ids = pieces.convert_tokens_to_ids(["##s", "sea"])
    assert pieces.decode(ids) == "##s sea"
    assert text_of_tokens([token_text(pieces, id) for id in ids]) == "s sea"


def test_what_looks_like_a_byte_is_text_where_the_tokenizer_decodes_it_as_text():
    tokenizer = byte_fallback(decoders.Metaspace())
    assert tokenizer.decode([4, 5 + 0x0A]) == "cat<0x0A>"
    assert TokenTexts(tokenizer)(5 + 0x0A).text == "<0x0A>"


def test_a_slow_tokenizer_is_refused():
    with pytest.raises(ModelError, match=r"tokenizer \(object\) has no fast version.*choose a model with a tokenizer"):
        TokenTexts(object())


@pytest.mark.parametrize("kind", ["WordPiece", "end-of-word BPE", "Unigram"])
def test_the_page_writes_the_decoded_text(kind):
    """Its script puts these pieces one after the other, see assets/viewer/panels/text.js; so does an exported page."""
    trace, tokenizer = pairs.make_trace_of_kind(kind), KINDS[kind]()
    shown = block(trace, range(len(trace.steps)))
    written = [piece for frame in shown["frames"] for piece in frame["commit"]["piece"]]
    ids = [*trace.prompt_tokens, *trace.output_tokens()]
    whole = shown["run"]["prompt"] + "".join(written)
    decoded = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    assert whole.strip(" ") == decoded.strip(" ")
