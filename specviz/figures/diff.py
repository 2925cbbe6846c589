"""The difference of two runs as the page and the terminal show it; :mod:`specviz.trace.diff` computes it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter

from specviz.figures import block_types
from specviz.figures.text import one_line, pieces, shorten, token_label, token_of, visible
from specviz.trace.diff import Comparison, Parting, Side
from specviz.trace.near_tie import Meaning
from specviz.trace.schema import TokenText

NAME_COLUMNS = 32
MOST_CHARACTERS = 200_000
"""Of each text that a page shows beside the other; a piece counts as sixteen at least."""
MOST_SETTINGS = 1_000
"""Settings that differ, of those that are listed."""
VALUE_COLUMNS = 60
"""Of a setting that is named in a sentence."""
KINDS = {
    "near tie": "A near tie",
    "real difference": "A real difference",
    "not comparable": "Not comparable",
    "not recorded": "Not recorded",
}
"""How a sentence about what a difference means begins."""


def comparison_value(found: Comparison) -> block_types.ComparisonValue:
    """Plain values for the page: sentences, both texts in marked pieces, accepted lengths, settings that differ."""
    texts, said = [_marked(found, 0), _marked(found, 1)], difference_sentences(found)
    if not all(whole for _, whole in texts):
        said.append("The texts are long; their beginnings are shown.")
    if len(found.settings) > MOST_SETTINGS:
        said.append(f"{len(found.settings):,} settings differ; {MOST_SETTINGS:,} of them are listed.")
    listed = found.settings[:MOST_SETTINGS]
    return {
        "sides": [_side(found.a), _side(found.b)],
        "said": said,
        "parting": _parting(found.parting, found.texts) if found.parting else None,
        "texts": [marked for marked, _ in texts],
        "settings": {
            "name": [_line(name) for name, _, _ in listed],
            "a": [_line(a) for _, a, _ in listed],
            "b": [_line(b) for _, _, b in listed],
        },
    }


def format_comparison(found: Comparison) -> str:
    """The comparison as text for a terminal."""
    head = ("run", "driver", "tokens", "forwards", "block efficiency")
    rows = [
        (_line(side.name), _line(side.driver), str(side.tokens), str(side.steps), f"{side.block_efficiency:.3f}")
        for side in (found.a, found.b)
    ]
    lines = [*difference_sentences(found), "", *_aligned([head, *rows])]
    if found.settings:
        settings = [tuple(_line(cell) for cell in row) for row in found.settings]
        lines += ["", "Settings that differ:", *_aligned(settings)]
    return "\n".join(lines)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def difference_sentences(found: Comparison) -> list[str]:
    """What the comparison found, in sentences."""
    sentences = []
    a, b = _line(found.a.name), _line(found.b.name)
    if found.parting is None:
        if not found.same_prompt:
            sentences.append("The prompts differ, so the runs answer different questions.")
        sentences.append(f"{a} and {b} write the same {found.shared} tokens.")
        if found.a.tokens != found.b.tokens:
            short, long = sorted((found.a, found.b), key=lambda side: side.tokens)
            sentences.append(
                f"There {_line(short.name)} ends; {_line(long.name)} has {long.tokens - short.tokens} more."
            )
        sentences += [
            f"{_line(side.name)} samples, so its text follows its coins and not only the models."
            for side in (found.a, found.b)
            if side.samples
        ]
    else:
        sentences += _how(found.parting, found)
    return sentences


def _how(parting: Parting, found: Comparison) -> list[str]:
    a, b = _line(found.a.name), _line(found.b.name)
    wrote = ["nothing more" if token is None else f"“{_name(token, found.texts)}”" for token in parting.tokens]
    sentences = [f"They part at token {parting.index + 1}: {a} wrote {wrote[0]}, {b} {wrote[1]}."]
    if parting.margin is not None:
        top = ", ".join(
            f"“{_name(token, found.texts)}” {p:.4g}" for token, p in zip(parting.top, parting.probs, strict=True)
        )
        likes = f"The target likes {top} best there; its" if top else "The target's"
        sentences.append(f"{likes} top-1 margin is {parting.margin:.3g} logits.")
    return [*sentences, *_meaning(parting.meaning)]


def _meaning(meaning: Meaning) -> list[str]:
    sentences = [f"{KINDS[meaning.kind]}: {meaning.why}"]
    if meaning.others:
        others = ", ".join(f"{_value(name)} ({_value(x)} and {_value(y)})" for name, x, y in meaning.others)
        sentences.append(f"Not the same: {others}.")
    if meaning.same:
        sentences.append(f"The same: {', '.join(meaning.same)}.")
    return sentences


def _side(side: Side) -> block_types.ComparedRun:
    return {
        "name": _line(side.name),
        "run": side.id,
        "driver": _line(side.driver),
        "tokens": side.tokens,
        "steps": side.steps,
        "efficiency": None if side.block_efficiency != side.block_efficiency else round(side.block_efficiency, 4),
        "accepted": list(side.accepted),
    }


def _parting(parting: Parting, texts: dict[int, TokenText]) -> block_types.Parting:
    return {
        "index": parting.index,
        "tokens": [None if token is None else _name(token, texts) for token in parting.tokens],
        "steps": [None if place is None else place.step for place in parting.places],
        "nodes": [None if place is None else place.node for place in parting.places],
        "margin": parting.margin,
        "chosen": list(parting.chosen),
        "meaning": parting.meaning.kind,
    }


def _marked(found: Comparison, side: int) -> tuple[block_types.Pieces, bool]:
    """Pieces of one side's output, and whether that is all of it; a character split over tokens appears where it is
    complete."""
    tokens: list[tuple[str, int]] = [(kind, token) for kind, *sides in found.pieces for token in sides[side]]
    kinds: list[str] = []
    texts: list[TokenText] = []
    left = MOST_CHARACTERS
    for kind, token in tokens:
        text = token_of(token, found.texts)
        left -= len(text.text) + (16 if not kinds or kinds[-1] != kind else 0)
        if left < 0:
            break
        kinds.append(kind)
        texts.append(text)
    marked: block_types.Pieces = {"kind": [], "text": []}
    for kind, run in groupby(zip(kinds, pieces(texts), strict=True), key=itemgetter(0)):
        marked["kind"].append("equal" if kind == "equal" else "differs")
        marked["text"].append("".join(piece for _, piece in run))
    return marked, len(texts) == len(tokens)


def _name(token: int, texts: dict[int, TokenText]) -> str:
    return shorten(token_label(token_of(token, texts)), NAME_COLUMNS)


def _value(text: str) -> str:
    return one_line(text, VALUE_COLUMNS)


def _line(text: str) -> str:
    return visible(text).replace("␣", " ")
