"""Where a text ends inside what a step accepted: stop strings, end tokens, a least and a largest number of tokens."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from itertools import accumulate, product

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from transformers.generation.stopping_criteria import StopStringCriteria

from specviz.engine.session import Session
from specviz.errors import SettingsError
from specviz.figures.frames import step_frame
from specviz.figures.totals import run_totals
from specviz.models.generating import generate
from specviz.models.loading import Pair
from specviz.models.tokens import as_text
from specviz.trace.metrics import emitted_lengths
from specviz.trace.schema import Choice, Sampling, Settings, Trace
from specviz.trace.settings import build_settings
from specviz.trace.stop_strings import Completed, completed_by, parse_stops, written_stops
from specviz.trace.summary import summary
from tests import tiny
from tests.engine.test_session import worst_audit
from tests.pairs import make_pair, make_settings, pair_of

GREEDY = {
    "target": Sampling(temperature=0.0),
    "draft": Sampling(temperature=0.0),
    "driver": "greedy",
    "verifiers": (Choice(name="greedy"),),
}
FREE = {"driver": "longest_path", "verifiers": (Choice(name="longest_path"),)}
"""Its steps have two to four tokens."""
TOKENS = 24


def run(prompt: str = "the sea", *, pair: Pair | None = None, **fields: object) -> Trace:
    session = Session(pair or make_pair(), make_settings(**{"max_new_tokens": TOKENS, "audit": False} | fields), prompt)
    list(session.run())
    return session.trace


@lru_cache(maxsize=1)
def free_run() -> Trace:
    """A run that nothing ends before its length."""
    return run(**FREE)


def texts(trace: Trace) -> list[bytes]:
    """What every token of the output adds to it."""
    known = {token: text for step in trace.steps for token, text in step.text_of().items()}
    return [known[token].raw for token in trace.output_tokens()]


def same_until(free: Trace, ended: Trace) -> list[int]:
    """The tokens of a run that ended earlier: all of them are those of the run that did not."""
    tokens = ended.output_tokens()
    assert tokens == free.output_tokens()[: len(tokens)]
    return tokens


def spelt(free: Trace, pieces: dict[int, bytes]) -> Pair:
    """The pair of the run, whose tokenizer says for each token of the output what is wanted of it, by its place."""
    tokens = free.output_tokens()
    data = {tokens[place]: piece for place, piece in pieces.items()}
    assert len(data) == len(pieces), "a token stands at two of the places"
    return replace(make_pair(), token_text=lambda token: as_text(token, data.get(token, b".")))


def ends_of(trace: Trace) -> list[int]:
    """After how many tokens of the output each step ends."""
    return list(accumulate(len(step.committed) for step in trace.steps))


# ------------------------------------------------------------------------------------------------ inside a block


def test_a_stop_string_cuts_inside_an_accepted_block() -> None:
    free = free_run()
    place = next(s.context for s in free.steps if len(s.committed) == 4) - len(free.prompt_tokens)
    pair = spelt(free, {place: b"st", place + 1: b"opera"})
    ended = run(pair=pair, stop=("stop",), audit=True, **FREE)
    assert same_until(free, ended) == free.output_tokens()[: place + 2]
    assert ended.end_reason == ended.steps[-1].end_reason == "stop string"
    assert completed_by(ended, len(ended.steps) - 1) == Completed("stop", tokens=2, before=0, after=3)
    last = ended.steps[-1]
    path = last.verdicts["longest_path"].path
    assert len(path) == 3
    assert last.thrown_away() == path[2:]
    assert worst_audit(last) < 1e-5  # both caches hold what became text, and nothing of the rest
    assert last.caches.target.length_after == last.context - 1 + 2


def test_a_stop_string_may_begin_in_an_earlier_step_and_in_the_prompt() -> None:
    free = free_run()
    border = ends_of(free)[1]
    pair = spelt(free, {border - 2: b"Zlas", border - 1: b"to", border: b"pper"})
    ended = run(pair=pair, stop=("never", "stopp"), **FREE)
    assert len(same_until(free, ended)) == border + 1
    assert completed_by(ended, 2) == Completed("stopp", tokens=3, before=3, after=2)
    # The prompt's last token says "." here, as every token does of which nothing is said.
    pair = spelt(free, {0: b"end"})
    assert len(same_until(free, run(pair=pair, stop=(".end",), **FREE))) == 1


def test_a_stop_string_of_characters_that_tokens_cut() -> None:
    free = free_run()
    wave, border = "🌊".encode(), ends_of(free)[0]
    pair = spelt(free, {border - 1: b"x" + wave[:1], border: wave[1:3], border + 1: wave[3:] + b"!"})
    ended = run(pair=pair, stop=("🌊",), **FREE)
    assert len(same_until(free, ended)) == border + 2
    assert completed_by(ended, 1) == Completed("🌊", tokens=3, before=1, after=1)
    # The bytes of another character that begins alike are none of it.
    assert run(pair=pair, stop=("🌋",), **FREE).end_reason == "max_new_tokens"


def test_of_several_the_first_to_be_completed_ends_the_text_and_the_one_that_begins_first_is_named() -> None:
    free = free_run()
    pair = spelt(free, {4: b"ab", 5: b"cde", 6: b"f"})
    ended = run(pair=pair, stop=("ef", "cd", "bc", "bcd"), **FREE)
    assert len(same_until(free, ended)) == 6
    found = completed_by(ended, len(ended.steps) - 1)
    assert found == Completed("bcd", tokens=2, before=1, after=1)


def test_what_ends_the_text_first_wins_and_the_rest_is_thrown_away() -> None:
    free = free_run()
    tokens, place = free.output_tokens(), next(end for end in ends_of(free) if end > 6) - 3
    for cut in (
        {"max_new_tokens": place + 1},
        {"stop": ("end",)},
        {"end_token": tokens[place]},
        {"stop": ("end",), "max_new_tokens": place + 1},
        {"stop": ("end",), "max_new_tokens": place + 1, "end_token": tokens[place]},
    ):
        wanted = dict(cut)
        pair = replace(spelt(free, {place: b"end"}), eos_ids=frozenset({wanted.pop("end_token", 10**6)}))
        ended = run(pair=pair, **wanted, **FREE)
        reason = "end of sequence" if "end_token" in cut else "stop string" if "stop" in cut else "max_new_tokens"
        assert ended.end_reason == reason
        assert len(same_until(free, ended)) == place + 1
        thrown = ended.steps[-1].thrown_away()
        assert thrown == ended.steps[-1].verdicts["longest_path"].path[len(ended.steps[-1].committed) :]
        # A node with an end token has no children, so nothing behind it was ever accepted.
        assert bool(thrown) == ("end_token" not in cut)
    assert not any(step.thrown_away() for step in free.steps[:-1])


def test_before_the_least_number_of_tokens_nothing_that_is_said_ends_the_text() -> None:
    free = free_run()
    tokens = free.output_tokens()
    pair = spelt(free, {5: b"end", 9: b"end."})
    for least, expected in ((5, 6), (6, 10), (10, TOKENS)):
        assert len(same_until(free, run(pair=pair, stop=("end",), min_new_tokens=least, **FREE))) == expected
    place = tokens.index(tokens[7])
    pair = replace(make_pair(), eos_ids=frozenset({tokens[place]}))
    early = run(pair=pair, min_new_tokens=place, **FREE)
    assert early.end_reason == "end of sequence"
    assert early.output_tokens() == tokens[: place + 1]
    late = run(pair=pair, min_new_tokens=place + 1, **FREE)
    assert len(late.output_tokens()) > place + 1
    assert late.output_tokens()[: place + 1] == tokens[: place + 1]
    # What the driver emitted is counted on behind it, and the last step's rest as before.
    cut = sum(len(step.emitted()) - len(step.committed) for step in late.steps[:-1])
    assert cut == 0
    assert emitted_lengths(late, "longest_path")[:-1] == [len(step.committed) for step in late.steps[:-1]]


# ---------------------------------------------------------------------------------------- going on, and as text


def test_a_run_that_goes_on_sees_the_text_before_it() -> None:
    free = free_run()
    border = ends_of(free)[2]
    pair = spelt(free, {border - 1: b"st", border: b"op"})
    settings = make_settings(stop=("stop",), max_new_tokens=TOKENS, **FREE)
    whole = run(pair=pair, stop=("stop",), **FREE)
    for kept in (2, 3):
        session = Session.resume(pair, whole, steps=kept)
        list(session.run())
        assert session.trace.output_tokens() == whole.output_tokens()
        assert session.end_reason == "stop string"
    forked = Session.resume(pair, free.model_copy(update={"models": pair.models}), steps=3, settings=settings)
    list(forked.run())
    assert forked.trace.output_tokens() == whole.output_tokens()
    # It has ended for good, until it goes on without that stop string.
    assert Session.resume(pair, whole).end_reason == "stop string"
    session = Session.resume(pair, whole)
    session.go_on(TOKENS + 10)
    assert session.end_reason == "stop string"
    again = Session.resume(pair, whole, settings=settings.model_copy(update={"stop": ()}))
    assert again.end_reason is None


def test_a_file_without_stop_strings_is_as_it_was_before_there_were_any() -> None:
    plain, stopping = make_settings(), make_settings(stop=("\n", "é"), min_new_tokens=3)
    assert not {"stop", "min_new_tokens"} & plain.model_dump(mode="json").keys()
    assert Settings.model_validate_json(plain.model_dump_json()) == plain
    assert Settings.model_validate_json(stopping.model_dump_json()) == stopping
    assert Trace.model_validate_json(run(stop=("é",), **FREE).model_dump_json()).settings.stop == ("é",)


@pytest.mark.parametrize(
    ("stop", "said"),
    [(("",), "at least 1 character"), (("a" * 201,), "at most 200 characters"), (("a",) * 17, "at most 16 items")],
)
def test_stop_strings_that_no_run_takes(stop: tuple[str, ...], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        build_settings(stop=stop)


def test_stop_strings_as_text() -> None:
    strings = ("\n\n", " end\t", "a\\n", "\r", "é", "\u2028")
    assert parse_stops(written_stops(strings)) == strings
    assert parse_stops("a\r\n\n  \n\\n") == ("a", "  ", "\n")
    assert parse_stops("") == ()
    for text in ("\\x", "a\\"):
        with pytest.raises(SettingsError, match="backslash"):
            parse_stops(text)


# ------------------------------------------------------------------------------------------------ as it is shown


def test_what_is_thrown_away_is_named_everywhere() -> None:
    free = free_run()
    place = next(s.context for s in free.steps if len(s.committed) == 4) - len(free.prompt_tokens)
    ended = run(
        pair=spelt(free, {place - 1: b"s", place: b"top\n", place + 1: b"b", place + 2: b"c"}), stop=("stop",), **FREE
    )
    last = len(ended.steps) - 1
    frame = step_frame(ended, last)
    thrown = list(ended.steps[last].verdicts["longest_path"].path[1:])
    said = "stop string “stop” over 2 tokens, whose last one goes on with “⏎”"
    assert frame["textEnd"] == {"said": said, "thrown": thrown}
    assert frame["summary"].endswith("(stop string), without the bonus token; thrown away: “b” “c”.")
    commit = next(phase["caption"] for phase in frame["phases"]["after"] if phase["kind"] == "commit")
    assert commit.endswith("(cut by 3: stop string; accepted and thrown away: “b” “c”)")
    on_one_line = said.replace("⏎", "⟨U+000A⟩")
    assert f"ended: {on_one_line}; accepted and thrown away: 2 (“b” “c”)\n" in summary(ended)
    totals = run_totals(ended, ["longest_path"])
    assert totals["thrown"] == 2
    assert totals["verifiers"][0]["emitted"] - totals["tokens"] == 3
    assert step_frame(ended, 0)["textEnd"] is None
    at_limit = run(max_new_tokens=place + 1, **FREE)
    assert step_frame(at_limit, last)["textEnd"] == {"said": "max_new_tokens", "thrown": thrown}


# ------------------------------------------------------------------------------------------- beside transformers


def readable_tokenizer() -> PreTrainedTokenizerFast:
    """Letters, and pairs of them, so that a random model writes text that stop strings can be taken from."""
    letters = "abcdefghijklmnop"
    vocab = {piece: i for i, piece in enumerate([*letters, *map("".join, product(letters, letters)), "Ġ", "Ċ"])}
    backend = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend)


def test_greedy_ends_where_generate_does() -> None:
    tokenizer = readable_tokenizer()
    target = tiny.make_model("llama", vocab=len(tokenizer))
    pair = pair_of(target, tiny.perturbed(target, scale=0.03), tokenizer=tokenizer)
    cut_in_block = across_steps = 0
    for prompt in ("abc", "lake of ink"):
        free = run(prompt, pair=pair, **GREEDY)
        text, ends = b"".join(texts(free)).decode(), ends_of(free)
        # The last begins in the prompt.
        for string in (text[3:5], text[13:18], text[20:23], prompt[-1] + text[:1]):
            stop = ("zz", string)
            ended = run(prompt, pair=pair, stop=stop, **GREEDY)
            ids = torch.tensor([pair.encode(prompt, chat=False)])
            theirs = generate(
                target, ids, (), stopping=StopStringCriteria(tokenizer, list(stop)), max_new_tokens=TOKENS
            )
            tokens = same_until(free, ended)
            assert tokens == theirs[0, ids.shape[1] :].tolist()
            assert ended.end_reason == "stop string"
            cut_in_block += len(tokens) not in ends
            found = completed_by(ended, len(ended.steps) - 1)
            across_steps += found.tokens > len(ended.steps[-1].committed)
    assert cut_in_block >= 2
    assert across_steps >= 2
